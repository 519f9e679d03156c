"""A small world for one application: a log that fails by plan, disks that outlive a crash.

Workers come and go on it: ``crash`` drops one without a word, ``start`` begins another on what is
on the disks. Invariant: only ``log_disk`` and the homes' ``disks`` and ``marks`` outlive a worker.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from streamfn.app import App
from streamfn.clock import CountingRandom, ManualClock
from streamfn.config import Config
from streamfn.connectors.embedded import EmbeddedLog
from streamfn.connectors.partitioner import Partitioner
from streamfn.database import Memory, Space
from streamfn.engine.worker import Worker
from streamfn.errors import StateCorruptedError
from streamfn.graph.plan import plan
from streamfn.record import Columns, Headers, TopicPartition
from streamfn.state.levels import MISSING
from streamfn.state.memory import MemoryStore
from streamfn.state.store import Changes, Slot, StateStore, TaskHome, TaskHomes
from tests.faulty_log import Crash, FaultyLog, Plan, no_faults

Row: TypeAlias = tuple[bytes | None, bytes | None, int]
Disk: TypeAlias = dict[str, Space]

STEPS_MAX = 3_000


class CrashingStore(MemoryStore):
    """A store whose process may die in a write or a load, and whose blocks may be found damaged."""

    def __init__(self, stores: Iterable[str], disk: Disk, faults: Plan) -> None:
        super().__init__(stores, disk=disk)
        self._faults = faults

    def reader(self, store: str) -> Callable[[bytes], bytes | None]:
        """Read, and find a damaged block."""
        read = super().reader(store)

        def checked(key: bytes) -> bytes | None:
            if self._faults("store_get") == "corrupt":
                message = "block checksum mismatch"
                raise StateCorruptedError(message)
            return read(key)

        return checked

    def write(
        self,
        changes: Changes,
        meta: Mapping[str, bytes | None],
        delete_ranges: Iterable[tuple[str, bytes, bytes]] = (),
    ) -> None:
        """Write, and die before or after it."""
        fault = self._faults("store_write")
        if fault == "crash":
            raise Crash(fault)
        super().write(changes, meta, delete_ranges)
        if fault == "crashed":
            raise Crash(fault)

    def load(self, store: str, entries: Iterable[tuple[bytes, bytes | None]]) -> int:
        """Load, and die in the middle of it or after it."""
        fault, loaded = self._faults("store_load"), list(entries)
        if fault == "crash":
            super().load(store, loaded[: len(loaded) // 2])
            raise Crash(fault)
        count = super().load(store, loaded)
        if fault == "crashed":
            raise Crash(fault)
        return count


class Home:
    """A task's home whose mark of an unfinished restore is on the disk, as a folder's is."""

    def __init__(self, homes: "Homes", task: str, stores: Iterable[str]) -> None:
        self._homes, self._task, self._stores = homes, task, list(stores)
        self.store: StateStore = self._opened()

    def _opened(self) -> StateStore:
        disk = self._homes.disks.setdefault(self._task, {})
        return CrashingStore(self._stores, disk, self._homes.faults)

    @property
    def was_restoring(self) -> bool:
        """True if a restore was begun and not ended."""
        return self._task in self._homes.marks

    def begin_restore(self) -> None:
        """Mark it."""
        self._homes.marks.add(self._task)

    def end_restore(self) -> None:
        """Remove the mark."""
        self._homes.marks.discard(self._task)

    def wipe(self, reason: str) -> None:
        """Go on with an empty store."""
        self._homes.wiped.append((self._task, reason))
        self.store.close()
        self._homes.disks[self._task] = {}
        self.store = self._opened()

    def close(self) -> None:
        """Close the store."""
        self.store.close()


class Homes:
    """Homes on disks that outlive the workers."""

    def __init__(self, faults: Plan) -> None:
        self.faults = faults
        self.disks: dict[str, Disk] = {}
        self.marks: set[str] = set()
        self.wiped: list[tuple[str, str]] = []

    def open(self, task: str, stores: Iterable[str], *, private: bool = False) -> TaskHome:
        """Open what the task left."""
        return Home(self, task, stores)

    def copies(self) -> tuple[dict[str, Disk], set[str]]:
        """Copy all folders, marks included."""
        return copy.deepcopy(self.disks), set(self.marks)


class World:
    """An application's log, homes and clock, and at most one worker."""

    def __init__(
        self,
        app: App,
        *,
        faults: Plan = no_faults,
        slot: Slot | None = None,
        generated: bool = True,
        random: CountingRandom | None = None,
        **settings: Any,
    ) -> None:
        self.app, self.faults, self._slot, self._generated = app, faults, slot, generated
        self.topology = app.topology()
        given: dict[str, Any] = {"commit_interval_ms": 0, "poll_timeout_ms": 0, **settings}
        self.config = Config(**given)
        self.clock, self.random = ManualClock(), random or CountingRandom()
        self.log_disk: Disk = {}
        self.homes = Homes(lambda call: self.faults(call))
        self.task_homes: TaskHomes = self.homes
        self.open_log()
        for name, topic in plan(self.topology).user_topics.items():
            self.inner.create_topic(name, topic.partitions or 1, topic.config)
        self.worker: Worker | None = None

    def open_log(self) -> None:
        """Open the log anew, as another process does."""
        self.inner = EmbeddedLog(
            lambda: Memory(disk=self.log_disk),
            clock=self.clock,
            random=self.random,
            group=self.topology.application,
        )
        self.inner.open_producer()
        self.log = FaultyLog(self.inner, lambda call: self.faults(call), self.clock)

    def start(self) -> Worker:
        """Start a worker on what is there."""
        self.open_log()
        existing = {name: topic.partitions for name, topic in self.inner.topics().items()}
        self.worker = worker = Worker(
            plan(self.topology, existing), self.log, self.task_homes, self.clock, self.random,
            self.config, partition_of=Partitioner().partition_of, slot=self._slot,
            generated=self._generated,
        )  # fmt: skip
        worker.start()
        return worker

    def settle(self) -> Worker:
        """Go round until a further round would change nothing; the clock stands still."""
        worker = self.worker or self.start()
        worker.step()
        for _ in range(STEPS_MAX):
            if worker.quiet:
                return worker
            worker.step()
        message = "the worker never comes to rest"
        raise AssertionError(message)

    def crash(self) -> None:
        """Drop the worker without a word; the system closes its files."""
        for feed in self.worker.feeds if self.worker is not None else ():
            feed.close()
        self.worker = None
        self.open_log()

    def close(self) -> None:
        """Close the worker in order."""
        if self.worker is not None:
            self.worker.close()
        self.worker = None

    def run_again(self) -> Worker:
        """Crash, start another and settle."""
        self.crash()
        return self.settle()

    # the outside
    def write(self, topic: str, *rows: Row, partition: int | None = None) -> None:
        """Write rows to a topic in one transaction, as another application does."""
        columns = Columns.empty()
        for row in rows:
            columns.add(*row)
        self._write(topic, columns, partition)

    def write_with(self, topic: str, row: Row, headers: Headers) -> None:
        """Write one row with headers."""
        columns = Columns.empty()
        columns.add(*row, headers)
        self._write(topic, columns, None)

    def _write(self, topic: str, columns: Columns, partition: int | None) -> None:
        self.inner.begin()
        self.inner.emit(topic, partition, columns)
        self.inner.commit()

    def records(self, topic: str) -> Iterator[tuple[int, bytes | None, bytes | None, int, Headers]]:
        """Yield partition, key, value, timestamp and headers of all records of a topic."""
        for partition in range(self.inner.topics()[topic].partitions):
            source = TopicPartition(topic, partition)
            begin, end = self.inner.begin_offsets([source]), self.inner.end_offsets([source])
            for batch in self.inner.read(source, begin[source], end[source]):
                headers: list[Headers] = batch.headers or [()] * len(batch)
                columns = (batch.keys, batch.values, batch.timestamps, headers)
                for row in zip(*columns, strict=True):
                    yield (partition, *row)

    def values(self, topic: str) -> list[bytes | None]:
        """Return the values of a topic, partition by partition."""
        return [value for _, _, value, _, _ in self.records(topic)]

    def folded(self, changelog: str) -> dict[int, dict[bytes, bytes]]:
        """Fold a changelog into what the stores should hold, by partition."""
        found: dict[int, dict[bytes, bytes]] = {}
        for partition, key, value, _, _ in self.records(changelog):
            assert key is not None
            entries = found.setdefault(partition, {})
            if value is None:
                entries.pop(key, None)
            else:
                entries[key] = value
        return {partition: entries for partition, entries in found.items() if entries}

    def on_disk(self, store: str) -> dict[int, dict[bytes, bytes]]:
        """Return what the task's disks hold of a store, by partition."""
        found: dict[int, dict[bytes, bytes]] = {}
        for task, disk in self.homes.disks.items():
            space = disk.get(f"store:{store}")
            if space is not None and space.entries:
                found[int(task.rpartition("_")[2])] = dict(space.entries)
        return found

    def in_tasks(self, store: str) -> dict[int, dict[bytes, bytes]]:
        """Return what the running tasks hold of a store, by partition, encoded."""
        assert self.worker is not None
        found: dict[int, dict[bytes, bytes]] = {}
        for task in self.worker.tasks.values():
            levels = task.scope.levels.get(store)
            if levels is not None:
                entries = {
                    key: levels.encode(value)
                    for key, value in levels.scan(b"", None)
                    if value is not MISSING
                }
                if entries:
                    found[task.partition] = entries
        return found
