"""A task: one sub-topology over partition *i* of its inputs.

Buffer → chains → stores and output columns.

    created ──▶ restoring ──▶ running ◀──▶ suspended
       │            │            │             │
       └────────────┴─────┬──────┴─────────────┘
                          ▼
                        closed

Batches come from the worker's ``poll``; outputs, changed keys and positions go into the worker's
transaction. Invariant: a task has no mutable fact outside what a commit writes and a rewind takes
back: stores, outputs, positions and stream time are state; what it otherwise remembers (retries,
timers due on the wall clock) changes no answer.
"""

import json
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final

from streamfn.clock import Clock
from streamfn.config import Config
from streamfn.connectors.log import Committed, Log
from streamfn.engine.buffer import Buffer, Slice
from streamfn.engine.compile import Compiled, CompiledIdle, CompiledTimer, compile_task, stages_of
from streamfn.engine.condemned import condemned_rows
from streamfn.engine.failure import Failures, Parked, stage_behind
from streamfn.engine.global_table import GlobalTable, tables_of
from streamfn.engine.marks import Mark, ends_of, mark_of, written
from streamfn.engine.outputs import Outputs
from streamfn.engine.scope import Scope, open_levels
from streamfn.engine.steps import merge_time
from streamfn.engine.timers import Timers
from streamfn.engine.tracing import Tracer, is_traced, without_own_headers
from streamfn.errors import InternalError
from streamfn.graph.plan import Plan, Subtopology
from streamfn.graph.topology import Timer
from streamfn.metrics import Metrics
from streamfn.record import Batch, Columns, TopicPartition
from streamfn.state.levels import Undo
from streamfn.state.store import TaskHome


class TaskState(Enum):
    """Where a task is in its life."""

    CREATED = "created"
    RESTORING = "restoring"
    RUNNING = "running"
    SUSPENDED = "suspended"
    CLOSED = "closed"


_NEXT: Final = {
    TaskState.CREATED: {TaskState.RESTORING, TaskState.CLOSED},
    TaskState.RESTORING: {TaskState.RUNNING, TaskState.CLOSED},
    TaskState.RUNNING: {TaskState.SUSPENDED, TaskState.CLOSED},
    TaskState.SUSPENDED: {TaskState.RUNNING, TaskState.CLOSED},
    TaskState.CLOSED: set[TaskState](),
}

CHUNK_ROWS_MAX: Final = 1_000
FAST_CHUNK_S: Final = 0.01


class Task:
    """One task; its worker calls everything here from one thread."""

    def __init__(
        self,
        plan: Plan,
        sub: Subtopology,
        partition: int,
        home: TaskHome,
        clock: Clock,
        metrics: Metrics,
        partition_of: Callable[[bytes, int], int],
        config: Config,
        *,
        generated: bool = True,
        global_tables: Mapping[str, GlobalTable] | None = None,
    ) -> None:
        self.plan, self.subtopology, self.partition = plan, sub, partition
        self.name = f"{sub.name}_{partition}"
        self.home, self._clock, self._metrics, self._config = home, clock, metrics, config
        self.state = TaskState.CREATED
        self.sources = [
            TopicPartition(topic, partition)
            for topic, width in sub.source_partitions.items()
            if partition < width
        ]
        self.positions: dict[TopicPartition, int] = {}
        self.started: dict[TopicPartition, Committed] = {}
        """Start positions that are resolved and not committed yet: a rewind goes back to them."""
        self.buffer = Buffer(self.sources, config.max_task_idle_ms)
        undo: Undo = []
        self.scope = Scope(
            self.name, partition, sub, open_levels(sub, home.store, undo), undo, metrics, clock,
            partition_of, topics=plan.known_topics, internal=plan.own_topics,
            replayed=plan.replayed, traced=is_traced(plan, sub),
            global_tables=tables_of(plan.topology) if global_tables is None else global_tables,
        )  # fmt: skip
        self._tracer = Tracer(self.scope, plan) if self.scope.traced else None
        self.changelogs: tuple[str, ...] = ()
        """Which topics hold the state, for the mark of a transaction."""
        self._failures = Failures(self.scope, plan)
        self._outputs = Outputs(self.scope, plan, config)
        self.compiled: Compiled = compile_task(self.scope, generated=generated)
        self.condemned: dict[tuple[TopicPartition, int], Exception] = {}
        """Records that cannot be sent: they fail instead of being run."""
        self.parked_until_s = 0.0
        self.parked_reason = ""
        self.fired = ""
        """The last timer fired since the last commit."""
        self.last_done: tuple[TopicPartition, int] | None = None
        """The last record processed since the last commit."""
        self._moved = False
        self._chunk_rows = 64
        self._sent: list[str] = []
        self._changelog_ends: dict[str, int] = {}
        self._timers = Timers(self.compiled.timers, self._fire, replayed=plan.replayed)
        self._token, self._stored_token, self._committed_time_ms = "", "", -1

    def transition_to(self, state: TaskState) -> None:
        """The only way to change state."""
        if state not in _NEXT[self.state]:
            message = f"task {self.name!r} cannot go from {self.state.value} to {state.value}"
            raise InternalError(message)
        self.state = state

    # input
    def add(self, batch: Batch) -> None:
        """Take a batch; where the topic has an event time of its own, that is its timestamps."""
        source = self.compiled.chains[batch.source.topic].source
        topic, batch = source.topic, without_own_headers(batch, internal=source.internal)
        if topic.timestamp is not None:
            for row, raw in enumerate(batch.values):
                batch.timestamps[row] = merge_time(topic, raw, batch.timestamps[row])
        texts = bool(self.subtopology.stores) and topic.key.type is str
        for offset, error in condemned_rows(batch, text_keys=texts):
            self.condemned[batch.source, offset] = error
        self.buffer.add(batch)

    def process(
        self, deadline_s: float, caught_up: Callable[[TopicPartition], bool], rows_max: int
    ) -> int:
        """Run what may run until the deadline, in order; return how many records were done."""
        done, now_ms, started_s = 0, self._clock.now_ms(), self._clock.monotonic_s()
        if started_s < self.parked_until_s:
            return 0
        self.parked_reason = ""
        while done < rows_max and started_s < deadline_s:
            limit = min(self._chunk_rows, rows_max - done)
            found = self.buffer.next(limit, caught_up, now_ms)
            if found is None:
                break
            try:
                done += self._run(found)
            except Parked as parked:
                self.parked_reason = parked.reason
                self.parked_until_s = self._clock.monotonic_s() + parked.delay_ms / 1000
                break
            ended_s = self._clock.monotonic_s()
            self._adapt_chunk(ended_s - started_s)
            started_s = ended_s
        return done

    def _adapt_chunk(self, seconds: float) -> None:
        """Slow functions get small chunks, so that the loop is never long away from its duties."""
        if seconds < FAST_CHUNK_S:
            self._chunk_rows = min(CHUNK_ROWS_MAX, self._chunk_rows * 2)
        else:
            self._chunk_rows = max(1, self._chunk_rows // 2)

    def _run(self, found: Slice) -> int:
        """Run a slice, up to the record that moves stream time over a timer; then fire it."""
        batch, start = found.batch, found.start
        before_ms = self.scope.stream_time_ms
        stop = self._timers.stop_row(batch, start, found.stop, before_ms)
        try:
            stop = self._run_chain(batch, start, stop)
            self._timers.fire_stream(before_ms, self.scope.stream_time_ms)
        finally:
            self._trace(batch)
        return stop - start

    def _run_chain(self, batch: Batch, start: int, stop: int) -> int:
        """Run rows up to ``stop``, or the first of them alone; return where it came to."""
        apart = batch.headers is not None or bool(self.condemned)
        if apart:
            stop = start + 1
        chain = self.compiled.chains[batch.source.topic]
        self._failures.marked, self._failures.lines = chain.marked, stages_of(chain.run)
        self._moved = True
        cursor = self.scope.cursor
        rows = cursor.rows(batch, start, stop)
        done = start
        try:
            if apart:
                self._run_one(batch, start, rows, chain.run)
            else:
                chain.run(rows)
            done = stop
        finally:  # a record that stops the task is not done, those before it are
            self._advance(batch, start, max(done, cursor.index) if done < stop else stop)
            cursor.leave()
        return stop

    def _trace(self, batch: Batch | None) -> None:
        if self._tracer is not None:
            self._tracer.settle(batch)

    def _run_one(self, batch: Batch, row: int, rows: Any, run: Callable[[Any], None]) -> None:
        """Run one record: one that may be condemned, or whose headers go on to its outputs."""
        headers = () if batch.headers is None else batch.headers[row]
        before = {topic: len(columns) for topic, columns in self.scope.outputs.items()}
        error = self.condemned.get((batch.source, batch.offsets[row]))
        if error is not None:
            next(rows)
            self._failures.failed(error, (), stage_behind(self.subtopology, batch.source.topic))
        else:
            run(rows)
        if headers:
            for topic, columns in self.scope.outputs.items():
                for new in range(before.get(topic, 0), len(columns)):
                    columns.headers[new] = headers + columns.headers.get(new, ())

    def _advance(self, batch: Batch, start: int, stop: int) -> None:
        """Rows ``start`` to ``stop`` are done: the position and stream time move."""
        if stop == start:
            return
        at_end = stop == len(batch)
        self.positions[batch.source] = batch.next_offset if at_end else batch.offsets[stop]
        highest = max(
            batch.timestamps if stop - start == len(batch) else batch.timestamps[start:stop]
        )
        self.scope.stream_time_ms = max(self.scope.stream_time_ms, highest)
        self.last_done = batch.source, batch.offsets[stop - 1]
        self._metrics.records += stop - start
        self.buffer.advance(batch.source, stop - start)

    # timers
    def fire_wall_timers(self) -> None:
        """Fire what is due on the wall clock, between records."""
        if self._clock.monotonic_s() >= self.parked_until_s and not self.plan.replayed:
            now_ms = self._clock.now_ms()
            self._timers.fire_wall(now_ms)
            for idle in self.compiled.idle:
                if idle.idle.due(now_ms):
                    self._fire_idle(idle, now_ms)
            self._trace(None)

    def _fire_idle(self, idle: CompiledIdle, now_ms: int) -> None:
        timer = Timer(idle.idle.stage, idle.idle.fire, 0, "wall", (), False, "")
        self._fire(CompiledTimer(idle.idle.stage, timer, idle.idle.fire, idle.marked), now_ms)

    def _fire(self, timer: CompiledTimer, now_ms: int) -> None:
        self._failures.marked, self._moved = timer.marked, True
        self.scope.cursor.fired_ms = now_ms
        self.fired = timer.timer.name
        marks = [len(columns) for columns in timer.marked]
        try:
            timer.fire(now_ms)
            self.scope.undo.clear()
        except BaseException as error:  # an exit too leaves nothing of the firing
            self._failures.timer_failed(timer, now_ms, error, marks)

    # commit
    @property
    def dirty(self) -> bool:
        """True if there is anything to commit."""
        return self._moved

    def output_bytes(self) -> int:
        """Bytes of outputs that wait for the commit."""
        return self._outputs.waiting_bytes()

    def emit(self, log: Log) -> None:
        """Put outputs and the changed keys, once each, into the transaction."""
        self._outputs.emit(log)
        now_ms = self._clock.now_ms()
        self._sent = []
        for name, levels in self.scope.levels.items():
            if levels.dirty:
                keys, values = levels.changelog()
                if not keys:
                    continue  # all of it came and went since the last commit
                self._sent.append(name)
                columns = Columns(keys, values, [now_ms] * len(keys), {})
                log.emit(self.plan.changelog(name), self.partition, columns)

    def offsets(
        self, token: str, ends: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, Committed]:
        """Positions of all inputs, each with what makes the commit a boundary to start from."""
        at = ends_of(self._ends(ends))
        text = written(Mark(token, self.scope.stream_time_ms, changelogs=self.changelogs, ends=at))
        return {source: Committed(self.positions[source], text) for source in self.sources}

    def _ends(self, ends: Mapping[TopicPartition, int]) -> dict[str, int]:
        """How far each changelog holds what this transaction commits; unknown if some was lost."""
        changelog, here = self.plan.changelog, self.partition
        sent = {s: ends.get(TopicPartition(changelog(s), here), -1) for s in self._sent}
        return {} if -1 in sent.values() else self._changelog_ends | sent

    def committed(self, token: str, ends: dict[TopicPartition, int]) -> None:
        """The transaction is committed: what was dirty is pending now."""
        self._changelog_ends = self._ends(ends)
        for name in self._sent:
            self._metrics.changelog_records += len(self.scope.levels[name].dirty)
            self.scope.levels[name].committed()
        self._metrics.outputs += self._outputs.clear()
        self._sent, self._moved, self.last_done, self.fired = [], False, None, ""
        self._token, self._committed_time_ms = token, self.scope.stream_time_ms
        self.started.clear()
        if self.condemned:
            at = self.positions
            self.condemned = {k: e for k, e in self.condemned.items() if k[1] >= at[k[0]]}
        self._timers.keep()
        for levels in self.scope.levels.values():
            levels.shrink(self._config.cache_entries_max)

    def write_store(self) -> None:
        """Write what is pending, with the offsets it stands for, in one batch."""
        meta: dict[str, bytes | None] = {
            f"changelog:{name}": str(end).encode() for name, end in self._changelog_ends.items()
        }
        meta["token"] = self._token.encode()
        meta["stream_time_ms"] = str(self._committed_time_ms).encode()
        meta["level_at_ms"] = str(self._clock.now_ms()).encode()
        meta["sources"] = self.known_sources()
        levels = self.scope.levels
        self.home.store.write({name: level.to_write() for name, level in levels.items()}, meta)
        for level in levels.values():
            level.written()
        self._stored_token = self._token

    @property
    def unwritten(self) -> bool:
        """True if the database is behind the log: by changes, or by the token alone."""
        behind = bool(self.scope.levels) and self._stored_token != self._token
        return self.state is TaskState.RUNNING and behind

    def known_sources(self) -> bytes:
        """The inputs whose positions are committed, as the store's meta entries name them."""
        return json.dumps([source.topic for source in self.sources]).encode()

    @property
    def has_committed(self) -> bool:
        """False until the start positions are committed: before any record."""
        return bool(self._token)

    def touch(self) -> None:
        """Have the positions committed even if nothing was processed."""
        self._moved = True

    @property
    def pending_entries(self) -> int:
        """Committed changes that wait to be written to the database."""
        return sum(len(levels.pending) for levels in self.scope.levels.values())

    def begin(self, committed: Mapping[TopicPartition, Committed]) -> None:
        """Take the committed positions and stream time as the present."""
        self.positions = {source: each.offset for source, each in committed.items()}
        self.started = {source: each for source, each in committed.items() if not each.metadata}
        marks = [mark_of(each) for each in committed.values()]
        self.scope.stream_time_ms = max((mark.stream_time_ms for mark in marks), default=-1)
        self._committed_time_ms = self.scope.stream_time_ms
        self._token = next((mark.token for mark in marks if mark.token), "")

    def is_last_of(self, committed: Mapping[TopicPartition, Committed]) -> bool:
        """Tell whether nobody else has gone on from the state that is here.

        Another's token means that they have: what is here is stale, and were it written under that
        token, it would be taken for level with the changelog (a frozen worker that woke up did so).
        """
        return all(mark_of(each).token in ("", self._token) for each in committed.values())

    def restored(self, ends: dict[str, int]) -> None:
        """The stores hold everything up to these changelog offsets."""
        self._changelog_ends = dict(ends)

    def rewind(self, committed: Mapping[TopicPartition, Committed]) -> None:
        """Forget what was not committed; the inputs are sought back to the committed positions."""
        for levels in self.scope.levels.values():
            levels.rewind()
        self._outputs.clear()
        self.scope.undo.clear()
        self.buffer.clear()
        self.scope.again()
        self._timers.undo()
        self._sent, self._moved, self.last_done, self.fired = [], False, None, ""
        self.begin(committed)

    def close(self) -> None:
        """Release the stores; whatever is not committed is gone."""
        if self.state is not TaskState.CLOSED:
            self.transition_to(TaskState.CLOSED)
            self.home.close()
