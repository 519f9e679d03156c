"""The worker.

One loop over poll → tasks → commit, the same on Kafka, the embedded log, the test driver and a
simulator.

Records come from ``Log.poll`` and go to the task that owns their partition; what tasks and feeds
have made goes out in one transaction a commit interval. It does no I/O of its own and has one
thread. Invariant: whatever goes wrong, there is one way back: a new producer, and every task
rewound to what is committed.
"""

import logging
from collections.abc import Callable

from streamfn.clock import Clock, Random
from streamfn.config import Config
from streamfn.connectors.log import Log
from streamfn.connectors.source import Source
from streamfn.engine.assignment import Assignment
from streamfn.engine.backpressure import Backpressure
from streamfn.engine.chores import Chores
from streamfn.engine.commit import Committer, Participant, Refused, Rewind
from streamfn.engine.ending import ASK_EVERY_S, Ending
from streamfn.engine.feed import FeedTask, RowError
from streamfn.engine.feeds import Feeds
from streamfn.engine.global_tables import GlobalTables
from streamfn.engine.restore import Restore
from streamfn.engine.starts import Starts
from streamfn.engine.store_writes import StoreWrites
from streamfn.engine.task import Task
from streamfn.engine.topic_check import RetentionWatch
from streamfn.engine.topics import ensure_topics, existing_partitions
from streamfn.engine.transaction import Transaction
from streamfn.errors import AbortedError, StageError, StateCorruptedError
from streamfn.graph.plan import Plan, plan
from streamfn.graph.topology import Feed
from streamfn.metrics import Metrics
from streamfn.record import Batch
from streamfn.state.store import Slot, TaskHomes

log_ = logging.getLogger("streamfn")


class Worker:
    """One worker. ``step`` is one round of the loop; ``run`` goes round until told to stop."""

    def __init__(
        self,
        planned: Plan,
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
        self.plan, self.config, self.metrics = planned, config, Metrics()
        self._log, self._clock = log, clock
        self._slot, self._beat = slot, beat
        self._create, self._start_patience_s = create_user_topics, config.connect_timeout_ms / 1000
        self.committer = Committer(
            log, clock, random, self.metrics, config, beat=beat, stopping=lambda: self.stopping
        )
        self.global_tables = GlobalTables(planned, log, homes, clock, self.metrics, config)
        self.assignment = Assignment(
            planned, log, homes, clock, self.metrics, config, partition_of=partition_of,
            generated=generated, global_tables=self.global_tables,
        )  # fmt: skip
        self._feeds = Feeds(planned, open_feed, log, clock, self.metrics)
        self.tokens: set[int] = set()
        """The tokens that are ours."""
        self.stopping = False
        self._backpressure = Backpressure(log, config.buffer_records_max)
        self._ending = Ending(log, clock, every_s=ASK_EVERY_S if config.broker else 0)
        self._starts = Starts(log, config)
        self._transaction = Transaction(config)
        self._chores = Chores(planned, log, clock, config, self.metrics, self._feeds.caught_up)
        self._store_writes = StoreWrites(clock, config)
        self._last_commit_s = clock.monotonic_s()
        self._busy = True
        self._rewind_due = self._verify_due = self._closing = False

    @property
    def tasks(self) -> dict[str, Task]:
        """All tasks by name, restoring ones included."""
        return self.assignment.tasks

    @property
    def restores(self) -> dict[str, Restore]:
        """The restores under way, by task."""
        return self.assignment.restores

    @property
    def feeds(self) -> list[FeedTask]:
        """The feeds that are ours."""
        return self._feeds.mine

    @property
    def waiting_for(self) -> str:
        """What the worker as a whole or a task waits for, other than records, and since when."""
        if self.committer.waiting_for:
            since_s = self._clock.monotonic_s() - self.committer.waiting_since_s
            return f"{self.committer.waiting_for} (since {since_s:.0f} s)"
        parked = (task.parked_reason for task in self.tasks.values() if task.parked_reason)
        return next(parked, "") or self.assignment.waits_for or self.global_tables.waits_for

    # life
    def start(self) -> None:
        """Check the log, open a producer, join the group; tokens come with the first rounds."""
        self.committer.patiently(self._prepare, "topics", patience_s=self._start_patience_s)
        self.committer.open(patience_s=self._start_patience_s)

    def _prepare(self) -> None:
        self._log.join(self.plan.application, 0, self)
        ensure_topics(self.plan, self._log, self.config, create_user_topics=self._create)
        self._log.join(self.plan.application, self.plan.tokens, self)
        self._chores.start()
        self._retention = RetentionWatch(self.plan, self._log)
        self.global_tables.open()

    def run(
        self, *, until_end: bool = False, each_round: Callable[[], None] = lambda: None
    ) -> None:
        """Work until ``stop`` or, with ``until_end``, until all inputs are processed.

        Raises:
            StageError: a record failed under ``on_error`` fail; all before it is committed.
        """
        while not self.stopping and not (until_end and self.tokens and self.finished):
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
            self._closing = True
            try:
                self.assignment.release(write=True)
            finally:
                self._feeds.release()
                try:
                    self.global_tables.close()
                finally:
                    self._log.leave()

    # the round
    def step(self) -> None:
        """Go round once: poll, restore, process, feed, timers, commit if it is time."""
        self._beat(self._clock.monotonic_s())
        self._poll()
        self._open_arrivals()
        read = self.committer.patiently(self.global_tables.step, "global tables")
        if not self.global_tables.loaded:
            self._busy = True  # no record is processed before they are there
            return
        try:
            done = read + self._restore() + self._process()
            if not self._transaction.searching:
                done += self._feeds.step()
            if not self._transaction.searching:
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
        self._store_writes.step(self.assignment.running)
        if self._chores.run(self.assignment.running, self.feeds):
            self.commit()
            self.committer.patiently(self._follow_growth, "partition counts")

    def _poll(self) -> None:
        """Take records, and what the log's callbacks have left to do; a rewind reads them anew."""
        batches: list[Batch] = []
        try:
            batches = self._log.poll(self._poll_timeout_s())
        except AbortedError as error:
            log_.warning("inputs cannot be read on, rewinding: %s", error)
            self._rewind_due = True
        if self._rewind_due:
            self._rewind()
            return
        for batch in batches:
            task = self.assignment.owners.get(batch.source)
            if task is not None and len(batch):
                self._retention.look(batch, self._clock.now_ms())
                task.add(batch)
                self._backpressure.added(task, batch.source)

    def _open_arrivals(self) -> None:
        """Open the tasks and feeds of tokens that have come."""
        if self._verify_due:
            self._log.verify_membership()
            self._verify_due = False
        if self.assignment.arrivals and not self._starts.known:
            resolved = self.committer.patiently(
                lambda: self._starts.resolve(self.plan, self.committer, self.tokens),
                "start positions",
            )
            if not resolved:
                self._rewind()
        if self._starts.known:
            self.assignment.open_arrivals()
        if not self._feeds.settled:
            self.committer.patiently(self._feeds.open_arrivals, "positions of feeds")

    def _follow_growth(self) -> None:
        """A source topic of a stateless sub-topology has more partitions: read them too."""
        topology = self.plan.topology
        planned = plan(topology, existing_partitions(topology, self._log))
        self._log.join(planned.application, planned.tokens, self)
        self.plan = self._chores.plan = planned
        self._feeds.replan(planned, self.tokens)
        self._backpressure.forget(self.assignment.replan(self.plan, self.tokens))
        log_.warning("source topics have grown; their new partitions are read from now on")

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
        if any(feed.searching for feed in self.feeds):
            return 0  # its rows go alone, so that the bad one is known
        for task in self.assignment.running:
            budget = self._transaction.allowance
            if budget <= 0:
                break
            self._note(task)
            before = self.metrics.records
            try:
                task.process(deadline_s, self._feeds.caught_up, budget)
            except StateCorruptedError:
                task.home.begin_restore()  # so that the next one to open it begins anew
                raise
            finally:
                done += self.metrics.records - before
                self._transaction.records += self.metrics.records - before
                if self._slot is not None:
                    self._slot.forget_position()
            self._backpressure.processed(task)
        return done

    def _note(self, task: Task) -> None:
        """Leave word of where we are, for the case that this record kills the process."""
        if self._slot is not None and len(task.buffer):
            source = task.sources[0]
            self._slot.note_position(task.name, source.topic, task.positions[source])

    # state of the whole
    @property
    def quiet(self) -> bool:
        """True if a further round would change nothing at this time."""
        settled = self.assignment.settled and self._feeds.settled and not self._rewind_due
        if self._busy or not settled or (self._dirty() and self._commit_due()):
            return False
        return all(map(self._log.caught_up, self.assignment.owners))

    @property
    def finished(self) -> bool:
        """True if every input is processed and committed, and nothing waits to be tried again.

        What is reached must be the end as it is after that: it is asked for, now and then.
        """
        done = (
            self.quiet
            and not self._dirty()
            and all(feed.at_end for feed in self.feeds)
            and not any(task.parked_reason or len(task.buffer) for task in self.assignment.running)
        )
        if not done:
            self._ending.not_yet()
        return done and self._ending.reached(self.assignment.owners)

    def ask_ends_again(self) -> None:
        """Have ``finished`` be true only if it is so by what the log holds from now on."""
        self._ending.ask_again()

    # commit
    def _dirty(self) -> list[Participant]:
        dirty: list[Participant] = [task for task in self.assignment.running if task.dirty]
        return dirty + [feed for feed in self.feeds if feed.dirty]

    def _commit_due(self) -> bool:
        if any(feed.searching and feed.dirty for feed in self.feeds):
            return True
        elapsed_ms = round((self._clock.monotonic_s() - self._last_commit_s) * 1000, 3)
        due = elapsed_ms >= self.config.commit_interval_ms
        return due or self._transaction.full(self.assignment.running)

    def commit(self) -> bool:
        """Commit what tasks and feeds have made; after any failure go back to what is committed.

        Return False if it went back.
        """
        committed = self._try_commit()
        if not committed:
            self._rewind()
        return committed

    def _try_commit(self) -> bool:
        """Commit; False if all has to go back to what is committed."""
        participants = self._dirty()
        moved = [task.name for task in self.assignment.running if task.last_done is not None]
        self._last_commit_s = self._clock.monotonic_s()
        if not participants:
            return True
        try:
            self.committer.commit(participants)
        except Refused as refused:
            self._transaction.refused(refused.error, self.assignment.running, self.feeds)
            return False
        except Rewind as rewind:
            self._transaction.failed(rewind.__cause__)
            log_.warning("transaction not committed, rewinding: %s", rewind.__cause__)
            return False
        self._transaction.committed(self.assignment.running)
        if self._slot is not None:
            for name in moved:  # only these have got past a record
                self._slot.forget_crash(name)
        self._last_commit_s = self._clock.monotonic_s()
        return True

    def _rewind(self) -> None:
        """The one way out of all trouble; a record that nobody can mend is told of behind it."""
        self.metrics.rewinds += 1
        self._rewind_due = False
        self.metrics.records -= self._transaction.records  # they will be processed again
        searching = self._transaction.searching or any(feed.searching for feed in self.feeds)
        self._clock.sleep(self._transaction.rewound(patient=not searching))
        self.committer.open()
        gone = self.committer.patiently(self.assignment.rewind, "committed positions")
        self._backpressure.forget(gone)
        self._backpressure.resume_all()
        self.committer.patiently(self._feeds.rewind, "positions of feeds")
        self._transaction.check_verdict()

    # the log's listener
    def assigned(self, tokens: list[int]) -> None:
        """Remember the tokens; their tasks are opened outside the log's callback."""
        self.metrics.rebalances += 1
        self.tokens.update(tokens)
        self._verify_due = True
        self.assignment.add(tokens)
        self._feeds.assigned(tokens)

    def revoked(self, tokens: list[int]) -> None:
        """Commit and hand over; if that fails, the others are taken back outside the callback."""
        if not (self._rewind_due or self._closing) and not self._try_commit():
            self._rewind_due = True
        self._release(tokens, write=not self._closing)

    def lost(self, tokens: list[int]) -> None:
        """Drop the tasks of these tokens with all that is not written."""
        self._release(tokens, write=False)

    def _release(self, tokens: list[int], *, write: bool) -> None:
        self.metrics.rebalances += 1
        self.tokens.difference_update(tokens)
        if 0 in tokens:
            self._starts.forget()
        self._feeds.release(tokens)
        self._backpressure.forget(self.assignment.release(tokens, write=write))
