"""What a task lends to its compiled chains.

Stores, output columns, the journal, and where it is in its input.

Invariant: everything here belongs to one task and one thread. A record that fails is undone by
replaying ``undo`` backwards and cutting the output columns back; nothing else that a record changes
lives outside these two.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import length_hint
from typing import Any, TypeAlias

from streamfn.chance import Chance, root_text
from streamfn.clock import Clock
from streamfn.engine.global_table import GlobalTable
from streamfn.graph.plan import Subtopology
from streamfn.graph.stores import entry_serde
from streamfn.graph.topology import PLAIN_KINDS, TopicSpec
from streamfn.metrics import Metrics
from streamfn.record import Batch, Columns, Headers, TopicPartition
from streamfn.serde import is_immutable
from streamfn.state.levels import SCALARS, Levels, Undo
from streamfn.state.store import StateStore

Row: TypeAlias = tuple[bytes | None, bytes | None, int]
Run: TypeAlias = Callable[[Any, Any, int], None]
"""A compiled node: ``run(key, value, timestamp_ms)``."""
RunBatch: TypeAlias = Callable[[Iterator[Row]], None]
"""A compiled chain: processes rows of its source, one ``try`` a record."""

NO_SOURCE = TopicPartition("", -1)


class Cursor:
    """Where the task is in its input; the row is found from what the values' iterator has left.

    So the hot loop counts nothing, and yet a failing record knows its offset.
    """

    __slots__ = ("_batch", "_highest", "_seen", "_stop", "fired_ms", "left", "moved", "source")

    def __init__(self) -> None:
        self.source = NO_SOURCE
        self._batch: Batch | None = None
        self.left: Callable[[], int] = partial(length_hint, ())
        """How many rows of the slice are still to come; it costs next to nothing."""
        self._stop = self._seen = 0
        self._highest = -1
        self.fired_ms = -1
        """When the timer was due that runs, or ran last."""
        self.moved = -1
        """In a replay: the rank of the last record, which moved the time of the timers."""

    def rows(self, batch: Batch, start: int, stop: int) -> Iterator[Row]:
        """Iterate over rows ``start`` to ``stop`` of a batch, remembering the place."""
        whole = start == 0 and stop == len(batch)
        keys, values, timestamps = batch.keys, batch.values, batch.timestamps
        if not whole:
            keys, values = keys[start:stop], values[start:stop]
            timestamps = timestamps[start:stop]
        self.source, self._batch, self._stop = batch.source, batch, stop
        self._seen, self._highest = start, -1
        rest = iter(values)
        self.left = partial(length_hint, rest)
        return zip(keys, rest, timestamps, strict=False)

    def leave(self) -> None:
        """No record is being processed (a timer runs)."""
        self.moved = self.rank
        self.source, self._batch = NO_SOURCE, None

    @property
    def index(self) -> int:
        """The current row of the batch."""
        return self._stop - self.left() - 1

    @property
    def last(self) -> int:
        """The last row of the slice."""
        return self._stop - 1

    @property
    def offset(self) -> int:
        """The current record's offset, -1 in a timer."""
        return -1 if self._batch is None else self._batch.offsets[self.index]

    @property
    def headers(self) -> Headers:
        """The current record's headers."""
        if self._batch is None or self._batch.headers is None:
            return ()
        return self._batch.headers[self.index]

    @property
    def rank(self) -> int:
        """In a replay: where the current record stands in the order of all inputs."""
        batch = self._batch
        return -1 if batch is None or batch.ranks is None else batch.ranks[self.index]

    @property
    def root(self) -> str:
        """Where the current record entered the program, as text."""
        assert self._batch is not None, "no record is being processed"
        return root_of(self._batch, self.index)

    @property
    def highest_timestamp_ms(self) -> int:
        """The highest timestamp of the rows begun so far; -1 when no record is being processed."""
        if self._batch is None:
            return -1
        upto = self.index + 1
        if upto > self._seen:
            self._highest = max(self._highest, *self._batch.timestamps[self._seen : upto])
            self._seen = upto
        return self._highest

    @property
    def raw(self) -> Row:
        """Key, value and timestamp of the current record as they were read."""
        assert self._batch is not None, "no record is being processed"
        at, batch = self.index, self._batch
        return batch.keys[at], batch.values[at], batch.timestamps[at]


def root_of(batch: Batch, row: int) -> str:
    """Return where a record entered the program: what it was told of, or its own place."""
    if batch.roots is not None:
        return batch.roots[row].decode()
    topic, partition = batch.source
    return root_text(topic, partition, batch.offsets[row], batch.timestamps[row])


@dataclass(frozen=True, slots=True)
class Idle:
    """What a stage does when nothing comes for a time: asked between records."""

    stage: str
    due: Callable[[int], bool]
    """``due(wall clock in ms)``."""
    fire: Callable[[int], None]


@dataclass(slots=True)
class Scope:
    """One task's belongings, as its chains see them."""

    task: str
    partition: int
    subtopology: Subtopology
    levels: dict[str, Levels]
    undo: Undo
    metrics: Metrics
    clock: Clock
    partition_of: Callable[[bytes, int], int]
    failed: Callable[[BaseException, Sequence[int]], None] = field(init=False)
    """Undo the current record and apply its policy; raises if the task is to park or stop."""
    result_failed: Callable[[str, int, Sequence[Columns], BaseException, Sequence[int]], None] = (
        field(init=False)
    )
    """Undo a result that failed on its way, back to marks, and drop it if its policy lets it."""
    reset: Callable[[], None] = field(init=False)
    """Bring the injected values back in order after a failure."""
    chances: dict[str, Chance] = field(default_factory=dict[str, Chance])
    """By stage, however many ways lead to it: two calls for one record share it."""
    cursor: Cursor = field(default_factory=Cursor)
    outputs: dict[str, Columns] = field(default_factory=dict[str, Columns])
    stream_time_ms: int = -1
    unchanged: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """Topic written to → topics whose keys it gets just as they were read."""
    rekeyed: set[str] = field(default_factory=set[str])
    """Topics that also get other keys."""
    replayed: bool = False
    """Clocks show the record's time."""
    traced: bool = False
    """Outputs note which record and stage made them."""
    global_tables: Mapping[str, GlobalTable] = field(default_factory=dict[str, GlobalTable])
    """The worker's own, for look-ups: no part of the task's state."""
    topics: Mapping[str, TopicSpec] = field(default_factory=dict[str, TopicSpec])
    """The user's topics as the program knows them."""
    internal: frozenset[str] = frozenset()
    """The application's own topics, which no record may choose."""
    chosen: dict[str, TopicSpec] = field(default_factory=dict[str, TopicSpec])
    """Topics that records have chosen so far."""

    def again(self) -> None:
        """What ran is processed again: it gets the same chance."""
        self.reset()
        for chance in self.chances.values():
            chance.reset()

    def note_keys(self, topic: str, source: str | None) -> None:
        """Remember whose keys a sink writes; None: not those of a source as they were read."""
        if source is None:
            self.rekeyed.add(topic)
        else:
            self.unchanged.setdefault(topic, set()).add(source)

    def origins(self, topic: str) -> tuple[TopicPartition, ...]:
        """The partitions that all keys written to a topic come from, if that is known."""
        if topic in self.rekeyed:
            return ()
        return tuple(TopicPartition(s, self.partition) for s in self.unchanged.get(topic, ()))

    def output(self, topic: str) -> Columns:
        """The columns for a topic; all sinks of the topic share them."""
        return self.outputs.setdefault(topic, Columns.empty())


def open_levels(sub: Subtopology, store: StateStore, undo: Undo) -> dict[str, Levels]:
    """Open the levels of all stores of a task over its database."""
    made: dict[str, Levels] = {}
    for name, spec in sub.stores.items():
        serde, plain = entry_serde(spec), spec.kind in PLAIN_KINDS
        made[name] = Levels(
            name, store, serde.encode, serde.decode,
            mutable=not is_immutable(spec.value), undo=undo, indexed=spec.kind != "value",
            exact=spec.value if plain and isinstance(spec.value, type) else None,
            trusted=not plain and spec.value in SCALARS,
        )  # fmt: skip
    return made
