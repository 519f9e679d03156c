"""Global tables: a topic's last values, all partitions of it, in every worker.

A worker reads the whole topic before its first record and follows it from then on; stages of all
its tasks look up in it by any key. Committed records come from ``Log.read``, go to a database of
the worker's own, and from there to look-ups. Invariant: what the database holds is the topic folded
up to the positions written in the same batch, so that a restart reads on from there.

**Not part of the tasks' transactions.** A look-up sees what the worker has read by then: it is not
in step with the time of the records, may see a row that is younger than the record, and may find
another one when the record is processed again. What must be in step is a table.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from streamfn.clock import Clock
from streamfn.config import Config
from streamfn.connectors.log import Log, TopicInfo
from streamfn.engine.global_table import GlobalTable, Read, tables_of
from streamfn.errors import LogError, SerdeError, StateCorruptedError, StateLockedError, StopError
from streamfn.graph.plan import Plan
from streamfn.metrics import Metrics
from streamfn.record import Batch, TopicPartition
from streamfn.serde import fingerprint
from streamfn.state.store import TaskHome, TaskHomes

log_ = logging.getLogger("streamfn")

HOME: Final = "global-tables"
"""Begins the name of the worker's database; no task's name ends like it, without a partition."""
FORMAT_VERSION: Final = 1
LOOK_EVERY_S: Final = 0.1
"""How often a broker is asked for what is new; an embedded log is asked in every round."""
LEVEL_EVERY_S: Final = 3600.0
"""How often it is written that the database is up to date, if nothing new comes."""
WRITE_ENTRIES: Final = 20_000
SLICE_RECORDS: Final = 20_000
TOMBSTONES_KEPT_MS: Final = 24 * 3_600_000
"""``delete.retention.ms`` of a topic that does not say otherwise."""


@dataclass(slots=True)
class _Partition:
    """Where the reading of a partition is; ``wanted`` is the end when it was last asked for."""

    table: GlobalTable
    source: TopicPartition
    position: int
    wanted: int
    came_s: float
    """When it last gave anything."""
    batches: Iterator[Batch] | None = None


class GlobalTables(Mapping[str, GlobalTable]):
    """The global tables of one worker, by name; ``step`` reads on."""

    def __init__(
        self,
        plan: Plan,
        log: Log,
        homes: TaskHomes,
        clock: Clock,
        metrics: Metrics,
        config: Config,
    ) -> None:
        self._plan, self._log, self._homes = plan, log, homes
        self._clock, self._metrics, self._config = clock, metrics, config
        self._tables = tables_of(plan.topology, config.cache_entries_max)
        self._home: TaskHome | None = None
        self._partitions: list[_Partition] = []
        self._identities: dict[str, dict[str, Any]] = {}
        self._every_s = LOOK_EVERY_S if config.broker else 0.0
        self._looked_s = self._checked_s = self._written_s = self._level_s = clock.monotonic_s()
        self.loaded = not self._tables
        """True once all that was in the topics at the start has been read."""

    def __getitem__(self, name: str) -> GlobalTable:
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def entries(self, name: str) -> dict[Any, Any]:
        """All rows of a table, in order of their keys."""
        table = self._tables[name]
        return table.entries([] if self._home is None else self._home.store.scan(name, b"", None))

    @property
    def waits_for(self) -> str:
        """What is not loaded yet, or ""."""
        names = sorted({p.table.name for p in self._partitions if p.position < p.wanted})
        return "" if self.loaded else f"global tables {', '.join(names)}, which are being read"

    # life
    def open(self) -> None:
        """Open the database and see where to read on from; the topics exist.

        Raises:
            LogError: the log does not answer.
        """
        if not self._tables or self._partitions:
            return
        topics = self._topics()
        if self._home is None:
            self._home = self._opened_home()
        for table in self._tables.values():
            self._identities[table.name] = self._identity(table, topics[table.spec.topic.name])
        meta = self._meta(self._home)
        partitions, reason = self._resumed(topics, meta or {})
        reason = "it is in pieces" if meta is None else reason
        if reason:
            self._home.wipe(reason)
            self._home.end_restore()
            partitions, _ = self._resumed(topics, {})
        for table in self._tables.values():
            table.read = self._reader(self._home, table.name)
        self._partitions = partitions

    def _topics(self) -> dict[str, TopicInfo]:
        names = {table.spec.topic.name for table in self._tables.values()}
        topics = self._log.topics(names)
        missing = sorted(names - set(topics))
        if missing:
            message = (
                f"topic {missing[0]!r} of a global table does not exist; got none of that name; "
                "make it, and start again"
            )
            raise LogError(message, retriable=True)
        return topics

    def _opened_home(self, number: int = 0) -> TaskHome:
        """Each worker of a machine has a database of its own: the first that nobody holds."""
        try:
            return self._homes.open(f"{HOME}.{number}", self._tables)
        except StateLockedError:
            return self._opened_home(number + 1)

    def _meta(self, home: TaskHome) -> dict[str, bytes] | None:
        """What the database says of itself; None if it is in pieces."""
        try:
            return None if home.was_restoring else home.store.meta()
        except StateCorruptedError:
            return None

    def _reader(self, home: TaskHome, name: str) -> Read:
        read = home.store.reader(name)

        def checked(key: bytes) -> bytes | None:
            try:
                return read(key)
            except StateCorruptedError:
                home.begin_restore()  # so that the next one to open it begins anew
                raise

        return checked

    # where to read on from
    def _identity(self, table: GlobalTable, info: TopicInfo) -> dict[str, Any]:
        return {
            "format": FORMAT_VERSION,
            "application": self._plan.application,
            "cluster": self._log.cluster_id,
            "topic": info.name,
            "id": info.id,
            "key": f"{table.spec.topic.key.name} {fingerprint(table.spec.store.key)}",
        }

    def _resumed(
        self, topics: Mapping[str, TopicInfo], meta: Mapping[str, bytes]
    ) -> tuple[list[_Partition], str]:
        """Return the partitions, and why the database cannot be brought up to date, or ""."""
        made: list[_Partition] = []
        reason, now_s = "", self._clock.monotonic_s()
        for table in self._tables.values():
            info = topics[table.spec.topic.name]
            sources = [TopicPartition(info.name, number) for number in range(info.partitions)]
            begins, ends = self._log.begin_offsets(sources), self._log.end_offsets(sources)
            known = json.loads(meta.get(table.name, b"{}"))
            reason = reason or self._distrust(table, info, known)
            at = dict(zip(sources, known.get("positions", []), strict=False))
            for source in sources:
                position = at.get(source, begins[source])
                made.append(_Partition(table, source, position, ends[source], now_s))
                if not begins[source] <= position <= ends[source]:
                    held = f"{begins[source]} to {ends[source]}"
                    reason = f"{source} now holds {held}, not {position}"
        return made, reason

    def _distrust(self, table: GlobalTable, info: TopicInfo, known: Mapping[str, Any]) -> str:
        if not known:
            return ""
        if known["identity"] != self._identities[table.name]:
            return f"what it holds of global table {table.name!r} is of another topic or key type"
        kept_ms = int(info.config.get("delete.retention.ms", TOMBSTONES_KEPT_MS))
        away_ms = self._clock.now_ms() - known["level_at_ms"]
        if away_ms > kept_ms // 2:
            hours = away_ms // 3_600_000
            return f"it is {hours} hours old: topic {info.name!r} may have dropped tombstones"
        return ""

    # reading on
    def step(self) -> int:
        """Read what is new, a slice of it; return how many records that were.

        Raises:
            LogError: the log does not answer; call again.
            StopError: a record cannot be read, and the application's policy is to fail.
        """
        now_s = self._clock.monotonic_s()
        if not self._partitions or (self.loaded and now_s - self._looked_s < self._every_s):
            return 0
        if self.loaded:
            self._look(now_s)
        done = sum(self._read(each) for each in self._partitions if each.position < each.wanted)
        if done < SLICE_RECORDS:
            self._looked_s = now_s
        if not self.loaded and all(each.position >= each.wanted for each in self._partitions):
            self.loaded, self._level_s = True, now_s - LEVEL_EVERY_S
        self._write_if_due(now_s)
        return done

    def _look(self, now_s: float) -> None:
        """Ask for the ends of what has been read, and now and then for new partitions."""
        if now_s - self._checked_s >= self._config.topic_check_interval_ms / 1000:
            self._checked_s = now_s
            self._add_partitions()
        idle = [each for each in self._partitions if each.position >= each.wanted]
        ends = self._log.end_offsets({each.source for each in idle})
        for each in idle:
            each.wanted, each.came_s = max(each.wanted, ends[each.source]), now_s

    def _add_partitions(self) -> None:
        for name, info in self._topics().items():
            for table in self._tables.values():
                mine = [each for each in self._partitions if each.table is table]
                if table.spec.topic.name == name:
                    self._partitions += [
                        _Partition(table, TopicPartition(name, number), 0, 0, 0.0)
                        for number in range(len(mine), info.partitions)
                    ]

    def _read(self, each: _Partition) -> int:
        """Read a partition on until nothing comes for now, or a slice is full."""
        if each.batches is None:
            each.batches = self._log.read(each.source, each.position, each.wanted)
        done = 0
        try:
            while done < SLICE_RECORDS:
                batch = next(each.batches, None)
                if batch is None:
                    each.batches, each.position = None, each.wanted
                    break
                if not len(batch):
                    self._check_waited(each)
                    break
                self._take(each.table, batch)
                each.position = batch.next_offset
                each.came_s = self._clock.monotonic_s()
                done += len(batch)
        except LogError:
            each.batches = None
            raise
        return done

    def _check_waited(self, each: _Partition) -> None:
        """What is behind an open transaction comes when that ends; do not wait for ever.

        A worker that runs reads anew instead: it has not promised to hold the last row.
        """
        waited_s = self._clock.monotonic_s() - each.came_s
        if waited_s * 1000 <= self._config.restore_timeout_ms:
            return
        if self.loaded:
            each.batches, each.came_s = None, self._clock.monotonic_s()
            return
        message = (
            f"global table {each.table.name!r} cannot be read; {each.source} gave nothing for "
            f"{waited_s:.0f} s at offset {each.position} of {each.wanted}; check the log for "
            "transactions that do not end, then start again"
        )
        raise StopError(message)

    def _take(self, table: GlobalTable, batch: Batch) -> None:
        take, drop, name = table.take, self._metrics.drop, table.name
        for row, (key, value) in enumerate(zip(batch.keys, batch.values, strict=True)):
            if key is None:
                drop("null key", name)
                continue
            try:
                take(key, value)
            except SerdeError as error:
                self._unreadable(table, batch, row, error)

    def _unreadable(self, table: GlobalTable, batch: Batch, row: int, error: Exception) -> None:
        """A key that is none: nobody can ask for it, and something is wrong with the topic."""
        if self._plan.topology.policy.on_error != "fail":
            self._metrics.drop("unreadable key", table.name)
            return
        message = (
            f"record at offset {batch.offsets[row]} of {batch.source} has no key of global table "
            f"{table.name!r}; got {error}; say the key's type as it was written, or have such "
            "records dropped: App(on_error='skip')"
        )
        raise StopError(message) from error

    # the database
    def _write_if_due(self, now_s: float) -> None:
        new = sum(len(table.new) for table in self._tables.values())
        waited_ms = (now_s - self._written_s) * 1000
        due = new >= WRITE_ENTRIES or (new and waited_ms >= self._config.store_interval_ms)
        if due or (self.loaded and now_s - self._level_s >= LEVEL_EVERY_S):
            self.write()

    def write(self) -> None:
        """Write what was read, and how far that was, in one batch."""
        if self._home is None or not self._partitions:
            return
        self._written_s = now_s = self._clock.monotonic_s()
        old = self._home.store.meta()
        meta: dict[str, bytes | None] = {}
        for table in self._tables.values():
            known = json.loads(old.get(table.name, b"{}"))
            now_ms = self._clock.now_ms()
            facts = {
                "identity": self._identities[table.name],
                "positions": [p.position for p in self._partitions if p.table is table],
                "level_at_ms": now_ms if self.loaded else known.get("level_at_ms", now_ms),
            }
            meta[table.name] = json.dumps(facts).encode()
        if self.loaded:
            self._level_s = now_s
        self._home.store.write({table.name: table.new for table in self._tables.values()}, meta)
        for table in self._tables.values():
            table.new = {}

    def close(self) -> None:
        """Write, and let the database go."""
        if self._home is None:
            return
        try:
            self.write()
        finally:
            home, self._home = self._home, None
            self._partitions = []
            home.close()
