"""State at a commit boundary: what each task's stores held at positions that were committed.

A boundary is the positions in the metadata of which a task's mark says how far its changelogs
reached in the same transaction. Changelogs are folded up to there into a database in a folder of
its own, and go on as the entries of a recording. Invariant: entries and positions are of one
transaction of each task, also while the application goes on to commit; nothing is copied twice.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from streamfn.clock import Clock
from streamfn.connectors.log import Committed, Log
from streamfn.engine.marks import Mark, end_in, mark_of, token_of
from streamfn.errors import LogError, StopError
from streamfn.graph.plan import Plan, Subtopology
from streamfn.record import Batch, TopicPartition
from streamfn.replay.recording import Entry, Range, RecordedStore
from streamfn.replay.standing import (
    QUIET_WAIT_S,
    Standing,
    asked,
    partitions_written,
    sources_of,
    sources_of_all,
)
from streamfn.rocks import Rocks
from streamfn.serde import type_name

FRESH_S: Final = 5.0
"""A copy that takes longer than this is brought up to a later boundary: meanwhile the broker may
have dropped entries whose keys were written again. It compacts no sooner than every 15 s."""
TRIES_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class TaskPositions:
    """Where a task stands: its inputs, its stream time, and the ends of its changelogs."""

    starts: Mapping[TopicPartition, int]
    stream_time_ms: int
    ends: Mapping[TopicPartition, int]
    """Of the stores that are copied; those that no mark knows are missing."""
    token: str


@dataclass(frozen=True, slots=True)
class Boundary:
    """A copy of stores, and the positions that it belongs to."""

    stores: tuple[RecordedStore, ...]
    starts: Mapping[TopicPartition, Range]
    """Where the input of each task goes on; the ends are open."""
    standing: Standing
    """The positions, and where what is written ended around them."""
    database: Rocks
    folder: tempfile.TemporaryDirectory[str]

    def entries(self) -> Iterator[Entry]:
        """Yield what the stores hold, store by store, then by partition and key."""
        for store in self.stores:
            for key, value in self.database.scan(store.name, b"", None):
                yield Entry(store.name, int.from_bytes(key[:4], "big"), key[4:], value)

    def close(self) -> None:
        """Drop the copy."""
        self.database.close()
        self.folder.cleanup()


@dataclass(slots=True)
class Copier:
    """Copies stores of a log's application, whether it runs or not."""

    log: Log
    plan: Plan
    stores: Sequence[str]
    clock: Clock
    records: int = 0
    """Changelog records that were read, for progress."""
    _at: dict[TopicPartition, int] = field(default_factory=dict[TopicPartition, int])
    _standing: Standing = field(default_factory=Standing)

    def copy(self) -> Boundary:
        """Copy the stores, and return them with the positions that they belong to.

        Raises:
            StopError: the marks do not say where the state ends, and the application runs.
            LogError: a changelog has lost what was not read yet.
        """
        folder = tempfile.TemporaryDirectory(prefix="streamfn-state-")
        database = Rocks(Path(folder.name) / "copy", self.stores)
        try:
            tasks = self._filled(database)
        except BaseException:
            database.close()
            folder.cleanup()
            raise
        starts = {
            source: Range(start, -1, task.stream_time_ms)
            for task in tasks
            for source, start in task.starts.items()
        }
        specs = tuple(self._recorded(name) for name in self.stores)
        return Boundary(specs, starts, self._standing, database, folder)

    def _recorded(self, name: str) -> RecordedStore:
        spec = self.plan.topology.stores[name]
        sub = next(sub for sub in self.plan.subtopologies if name in sub.stores)
        key, value = type_name(spec.key), type_name(spec.value)
        return RecordedStore(name, spec.kind, key, value, sub.partitions)

    def _filled(self, database: Rocks) -> list[TaskPositions]:
        """Follow the changelogs to a boundary that was reached in no time since the last one."""
        for _ in range(TRIES_MAX):
            began_s = self.clock.monotonic_s()
            tasks = self._positions()
            known = self._ends(tasks)
            self._follow(database, known)
            if self._unmarked(tasks) and self._tokens(self._positions()) != self._tokens(tasks):
                continue
            if self.clock.monotonic_s() - began_s <= FRESH_S:
                return tasks
        message = (
            f"state of {self.plan.application!r} cannot be copied; its commits do not say where "
            "it ends, or it grows faster than it is read; stop the application meanwhile"
        )
        raise StopError(message)

    # where the tasks stand
    def _positions(self) -> list[TaskPositions]:
        """Return a boundary of each task; all that one commits it commits under one token.

        If possible it is one at which nothing is being written.
        """
        best: list[TaskPositions] = []
        sources, written = [*sources_of_all(self.plan)], partitions_written(self.log, self.plan)
        for _ in range(TRIES_MAX):
            standing = asked(self.log, sources, written)
            begins = self.log.begin_offsets(sources)
            tasks = [self._task(s, n, standing.positions, begins) for s, n in self._tasks()]
            found = [task for task in tasks if task is not None]
            if found == tasks and (not best or standing.doubtful < self._standing.doubtful):
                best, self._standing = found, standing
            if best and not self._standing.doubtful:
                break
            self.clock.sleep(QUIET_WAIT_S)
        if best:
            return best
        message = (
            f"positions of {self.plan.application!r} are not of one transaction; got several "
            "tokens in one task; see that its workers run one version"
        )
        raise StopError(message)

    def _tasks(self) -> Iterator[tuple[Subtopology, int]]:
        return ((sub, n) for sub in self.plan.subtopologies for n in range(sub.partitions))

    def _task(
        self,
        sub: Subtopology,
        partition: int,
        committed: Mapping[TopicPartition, Committed],
        begins: Mapping[TopicPartition, int],
    ) -> TaskPositions | None:
        """Return where a task stands; None if its positions are of two transactions."""
        sources = sources_of(sub, partition)
        found = [committed[source] for source in sources if source in committed]
        tokens = {token_of(each) for each in found} - {""}
        if len(tokens) > 1:
            return None
        mark = next((mark_of(each) for each in found if token_of(each)), Mark())
        starts = {s: committed[s].offset if s in committed else begins[s] for s in sources}
        ends: dict[TopicPartition, int] = {}
        for name in sub.stores:
            end = end_in(mark, name)
            if name in self.stores and end is not None:
                ends[TopicPartition(self.plan.changelog(name), partition)] = end
        return TaskPositions(starts, mark.stream_time_ms, ends, mark.token)

    # how far the changelogs are copied
    def _changelogs(self) -> dict[TopicPartition, str]:
        """The partitions of the changelogs that are copied, with their stores."""
        return {
            TopicPartition(self.plan.changelog(name), n): name
            for sub, n in self._tasks()
            for name in sub.stores
            if name in self.stores
        }

    def _ends(self, tasks: Iterable[TaskPositions]) -> dict[TopicPartition, int]:
        """Where each changelog is to be copied to: the mark says it, else it is its end of now."""
        marked = {source: end for task in tasks for source, end in task.ends.items()}
        others = [source for source in self._changelogs() if source not in marked]
        return self.log.end_offsets(others) | marked

    def _unmarked(self, tasks: Iterable[TaskPositions]) -> bool:
        return len({s for task in tasks for s in task.ends}) < len(self._changelogs())

    @staticmethod
    def _tokens(tasks: Iterable[TaskPositions]) -> list[str]:
        return [task.token for task in tasks]

    def _follow(self, database: Rocks, ends: Mapping[TopicPartition, int]) -> None:
        """Apply the changelog records up to these ends that are not applied yet."""
        begins = self.log.begin_offsets(ends)
        stores = self._changelogs()
        for source, end in ends.items():
            start = self._at.get(source, begins[source])
            if start > end:
                message = (
                    f"{source} was copied to {start} and its task went back to {end}; got "
                    "positions that were reset meanwhile; copy it again"
                )
                raise LogError(message)
            for batch in self.log.read(source, start, end):
                self._apply(database, stores[source], batch)
            self._at[source] = end

    def _apply(self, database: Rocks, store: str, batch: Batch) -> None:
        partition = batch.source.partition.to_bytes(4, "big")
        rows = zip(batch.keys, batch.values, strict=True)
        changes = {partition + key: value for key, value in rows if key is not None}
        if changes:
            database.write({store: changes})
        self.records += len(batch)
