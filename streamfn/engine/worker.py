"""The worker.

One loop over poll → tasks → commit, the same on Kafka, the embedded log, the test driver and a
simulator.

Records come from ``Log.poll`` and go to the task that owns their partition; what tasks and feeds
have made goes out in one transaction a commit interval. It does no I/O of its own and has one
thread. Invariant: whatever goes wrong, there is one way back: a new producer, and every task
rewound to what is committed.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from streamfn.clock import Clock, Random
from streamfn.config import Config
from streamfn.connectors.log import Log
from streamfn.connectors.source import Source
from streamfn.engine.assignment import Assignment
from streamfn.engine.chores import Chores
from streamfn.engine.commit import Committer, Participant, Refused, Rewind
from streamfn.engine.feed import FeedTask, RowError
from streamfn.engine.narrowing import Narrowing
from streamfn.engine.restore import Restore
from streamfn.engine.task import Task
from streamfn.engine.topics import ensure_topics
from streamfn.errors import FencedError, StageError, StateCorruptedError
from streamfn.graph.plan import Plan
from streamfn.graph.topology import Feed
from streamfn.metrics import Metrics
from streamfn.record import TopicPartition
from streamfn.state.store import TaskHomes

log_ = logging.getLogger("streamfn")

FEED_ROWS = 2_000


class Slot(Protocol):
    """The worker's place on this machine: it remembers where the worker was if it crashes."""

    def note_position(self, task: str, topic: str, offset: int) -> None:
        """Remember what is about to be processed."""
        ...

    def forget_crash(self, task: str) -> None:
        """The task has got past where it crashed."""
        ...


class Worker:
    """One worker. ``step`` is one round of the loop; ``run`` goes round until told to stop."""

    def __init__(
        self,
        plan: Plan,
        log: Log,
        homes: TaskHomes,
        clock: Clock,
        random: Random,
        config: Config,
        *,
        partition_of: Callable[[bytes, int], int],
        open_feed: Callable[[Feed], Source] = lambda feed: feed.open(),
        slot: Slot | None = None,
        beat: Callable[[float], None] = lambda now_s: None,
        create_user_topics: bool = True,
        generated: bool = True,
    ) -> None:
        self.plan, self.config, self.metrics = plan, config, Metrics()
        self._log, self._clock, self._open_feed = log, clock, open_feed
        self._slot, self._beat = slot, beat
        self._create_user_topics = create_user_topics
        self.committer = Committer(log, clock, random, self.metrics, config)
        self.assignment = Assignment(
            plan, log, homes, clock, self.metrics, config,
            partition_of=partition_of, generated=generated,
        )  # fmt: skip
        self.feeds: list[FeedTask] = []
        self.stopping = False
        self._paused: set[TopicPartition] = set()
        self._narrowing = Narrowing()
        self._chores = Chores(self.plan, log, clock, config)
        self._last_commit_s = self._last_store_s = clock.monotonic_s()
        self._transaction_records = 0
        self._rewinds_in_a_row = 0
        self._fenced = False
        self._busy = True

    @property
    def tasks(self) -> dict[str, Task]:
        """All tasks by name, restoring ones included."""
        return self.assignment.tasks

    @property
    def restores(self) -> dict[str, Restore]:
        """The restores under way, by task."""
        return self.assignment.restores

    # life
    def start(self) -> None:
        """Check the log, open a producer, join the group, open the feeds."""
        self._log.join(self.plan.application, self.plan.tokens, self)
        ensure_topics(
            self.plan, self._log, self.config, create_user_topics=self._create_user_topics
        )
        self.committer.open()
        for feed in self.plan.topology.feeds:
            task = FeedTask(
                feed, self.plan, self._open_feed(feed), self._log, self._clock, self.metrics
            )
            task.start()
            self.feeds.append(task)

    def run(
        self, *, until_end: bool = False, each_round: Callable[[], None] = lambda: None
    ) -> None:
        """Work until ``stop`` or, with ``until_end``, until all inputs are processed.

        Raises:
            StageError: a record failed under ``on_error`` fail; all before it is committed.
        """
        while not self.stopping and not (until_end and self.finished):
            self.step()
            each_round()

    def stop(self) -> None:
        """Have ``run`` return after this round; safe in a signal handler."""
        self.stopping = True

    def close(self, *, commit: bool = True) -> None:
        """Commit, write the stores, leave the group; without ``commit`` drop the rest."""
        try:
            if commit:
                self.commit()
        finally:
            for feed in self.feeds:
                feed.dirty = False
            self.assignment.release(write=True)
            self._log.leave()
            for feed in self.feeds:
                feed.close()

    # the round
    def step(self) -> None:
        """Go round once: poll, restore, process, feed, timers, commit if it is time."""
        self._beat(self._clock.monotonic_s())
        for batch in self._log.poll(self._poll_timeout_s()):
            task = self.assignment.owners.get(batch.source)
            if task is not None:
                task.add(batch)
                self._pause_if_full(task, batch.source)
        self.assignment.open_arrivals()
        try:
            done = self._restore() + self._process() + self._feed()
            if self._narrowing.limit is None:
                for task in self.assignment.running:
                    task.fire_wall_timers()
        except (StageError, RowError) as error:
            redo = isinstance(error, StageError) and error.redo
            if redo or self.commit():
                raise
            self._busy = True  # what came before it is not committed yet: it will be met again
            return
        self._busy = done > 0
        if self._commit_due():
            self.commit()
        self._write_stores()
        self._chores.run(self.assignment.running)

    def _poll_timeout_s(self) -> float:
        """Wait for records only if there is nothing else to do, and not past the next commit."""
        if self._busy or self.assignment.restores:
            return 0.0
        timeout_s = self.config.poll_timeout_ms / 1000
        if not self._dirty():
            return timeout_s
        due_s = self._last_commit_s + self.config.commit_interval_ms / 1000
        return max(0.0, min(timeout_s, due_s - self._clock.monotonic_s()))

    def _restore(self) -> int:
        """Restore slices; a task commits its start positions before its first record."""
        begun = self.assignment.restore_slice()
        if not all(task.has_committed for task in begun):
            self.commit()
        return len(begun) + len(self.assignment.restores)

    def _process(self) -> int:
        deadline_s = self._clock.monotonic_s() + self.config.process_slice_ms / 1000
        done = 0
        for task in self.assignment.running:
            budget = self._budget() - done
            if budget <= 0:
                break
            self._note(task)
            before = self.metrics.records
            try:
                task.process(deadline_s, self.caught_up, budget)
            except StateCorruptedError:
                task.home.begin_restore()  # so that the next one to open it begins anew
                raise
            finally:
                done += self.metrics.records - before
                self._transaction_records += self.metrics.records - before
            self._resume_if_drained(task)
        return done

    def _budget(self) -> int:
        limit = self._narrowing.limit or self.config.transaction_records_max
        return limit - self._transaction_records

    def _note(self, task: Task) -> None:
        """Leave word of where we are, for the case that this record kills the process."""
        if self._slot is not None and len(task.buffer):
            source = task.sources[0]
            self._slot.note_position(task.name, source.topic, task.positions[source])

    def _feed(self) -> int:
        if self._narrowing.limit is not None:
            return 0
        searching = [f for f in self.feeds if f.searching and (f.dirty or not f.at_end)]
        return sum(feed.step(FEED_ROWS) for feed in searching[:1] or self.feeds)

    def caught_up(self, source: TopicPartition) -> bool:
        """True if there is nothing earlier to come.

        The end is reached and no feed adds to the topic, nor holds rows of it that are not
        committed yet.
        """
        return self._log.caught_up(source) and not any(
            feed.feed.topic.name == source.topic and (feed.dirty or not feed.at_end)
            for feed in self.feeds
        )

    def _pause_if_full(self, task: Task, source: TopicPartition) -> None:
        if task.buffer.count(source) >= self.config.buffer_records_max:
            self._log.pause([source])
            self._paused.add(source)

    def _resume_if_drained(self, task: Task) -> None:
        for source in task.sources:
            drained = task.buffer.count(source) <= self.config.buffer_records_max // 2
            if source in self._paused and drained:
                self._log.resume([source])
                self._paused.discard(source)

    # state of the whole
    @property
    def quiet(self) -> bool:
        """True if a further round would change nothing at this time."""
        if self._busy or not self.assignment.settled or (self._dirty() and self._commit_due()):
            return False
        return all(map(self._log.caught_up, self.assignment.owners))

    @property
    def finished(self) -> bool:
        """True if every input is processed and committed, and nothing waits to be tried again."""
        return (
            self.quiet
            and not self._dirty()
            and all(feed.at_end for feed in self.feeds)
            and not any(task.parked_reason or len(task.buffer) for task in self.assignment.running)
        )

    # commit
    def _dirty(self) -> list[Participant]:
        dirty: list[Participant] = [task for task in self.assignment.running if task.dirty]
        return dirty + [feed for feed in self.feeds if feed.dirty]

    def _commit_due(self) -> bool:
        if self._narrowing.limit is not None or self._budget() <= 0:
            return True
        if any(feed.searching and feed.dirty for feed in self.feeds):
            return True
        elapsed_s = self._clock.monotonic_s() - self._last_commit_s
        if elapsed_s * 1000 >= self.config.commit_interval_ms:
            return True
        return (
            sum(t.output_bytes() for t in self.assignment.running)
            > self.config.transaction_bytes_max
        )

    def commit(self) -> bool:
        """Commit what tasks and feeds have made; after any failure go back to what is committed.

        Return False if it went back.
        """
        participants, committed = self._dirty(), True
        moved = [task.name for task in self.assignment.running if task.last_done is not None]
        if participants:
            try:
                self.committer.commit(participants)
            except Refused as refused:
                committed = False
                try:
                    self._blame(refused.error)
                finally:
                    self._rewind()
            except Rewind as rewind:
                committed = False
                self._check_fenced(rewind.__cause__)
                log_.warning("transaction not committed, rewinding: %s", rewind.__cause__)
                self._rewind()
            else:
                self._committed(moved)
        self._last_commit_s = self._clock.monotonic_s()
        return committed

    def _blame(self, error: Exception) -> None:
        """Find out whose record cannot be sent: a task's, or else a row of a feed."""
        feeds = [feed for feed in self.feeds if feed.dirty]
        if self._transaction_records == 0 and feeds:
            for feed in feeds:
                feed.refused(error, alone=len(feeds) == 1)
        else:
            self._narrowing.refused(error, self.assignment.running, self._transaction_records)

    def _committed(self, moved: Sequence[str]) -> None:
        self._transaction_records = self._rewinds_in_a_row = 0
        self._fenced = False
        self._narrowing.committed(self.assignment.running)
        if self._slot is not None:
            for name in moved:  # only these have got past a record
                self._slot.forget_crash(name)

    def _check_fenced(self, error: BaseException | None) -> None:
        """Fenced once may be a long outage; again at once, somebody else works with our id."""
        if isinstance(error, FencedError) and self._fenced:
            raise error
        self._fenced = isinstance(error, FencedError)

    def _rewind(self) -> None:
        """The one way out of all trouble."""
        self.metrics.rewinds += 1
        searching = self._narrowing.limit is not None or any(f.searching for f in self.feeds)
        if self._rewinds_in_a_row and not searching:
            self._clock.sleep(min(5.0, 0.05 * 2**self._rewinds_in_a_row))
        self._rewinds_in_a_row += 1
        self.metrics.records -= self._transaction_records  # they will be processed again
        self._transaction_records = 0
        self.committer.open()
        self.committer.patiently(self.assignment.rewind, "committed positions")
        self._log.resume(self._paused)
        self._paused.clear()
        for feed in self.feeds:
            feed.start()

    def _write_stores(self) -> None:
        """Write committed changes to the databases, every few commits: the changelog has them."""
        now_s = self._clock.monotonic_s()
        due = (now_s - self._last_store_s) * 1000 >= self.config.store_interval_ms
        if due:
            self._last_store_s = now_s
        for task in self.assignment.running:
            if (due and task.unwritten) or task.pending_entries > self.config.pending_entries_max:
                task.write_store()

    # the log's listener
    def assigned(self, tokens: list[int]) -> None:
        """Remember the tokens; their tasks are opened outside the log's callback."""
        self.assignment.add(tokens)

    def revoked(self, tokens: list[int]) -> None:
        """Commit and hand over."""
        self.commit()
        self._paused.difference_update(self.assignment.release(tokens, write=True))

    def lost(self, tokens: list[int]) -> None:
        """Drop the tasks of these tokens with all that is not written."""
        self._paused.difference_update(self.assignment.release(tokens, write=False))
