"""What travels.

A ``TopicPartition``, a ``Batch`` of columns inside the engine, a ``Record`` outside it.

Invariant: the columns of a batch are equally long and its offsets ascend. A batch comes from
``Log.poll`` or ``Log.read`` and goes to a task's buffer or into a store; ``Record`` is what tests,
tools and replays show to people and never exists on the hot path.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

K = TypeVar("K", covariant=True)
V = TypeVar("V", covariant=True)

TIME_END_MS: Final = 253_402_300_800_000
"""Where the year 9999 ends. A greater timestamp is one of microseconds or a slip; taken, it would
close all windows for ever."""

Headers: TypeAlias = tuple[tuple[str, bytes], ...]
"""A record's headers in order; a name may occur more than once, as in Kafka."""


class TopicPartition(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


@dataclass(frozen=True, slots=True)
class Batch:
    """Columns of consecutive records of one partition; ``next_offset`` is the position after them.

    ``offsets`` is a range where there are no gaps. ``headers`` is None when no record has any.
    """

    source: TopicPartition
    keys: list[bytes | None]
    values: list[bytes | None]
    timestamps: list[int]
    offsets: Sequence[int]
    next_offset: int
    headers: list[Headers] | None = None
    ranks: Sequence[int] | None = None
    """In a replay: where each record stands in the order of all inputs."""
    roots: list[bytes] | None = None
    """Of a repartition topic: the records at the source that these go back to, as text."""

    def __len__(self) -> int:
        return len(self.values)

    def part(self, start: int, stop: int) -> "Batch":
        """Return rows ``start`` to ``stop`` as a batch of their own."""
        rows = slice(start, stop)
        after = self.offsets[stop] if stop < len(self) else self.next_offset
        return Batch(
            self.source, self.keys[rows], self.values[rows], self.timestamps[rows],
            self.offsets[rows], after,
            None if self.headers is None else self.headers[rows],
            None if self.ranks is None else self.ranks[rows],
            None if self.roots is None else self.roots[rows],
        )  # fmt: skip


@dataclass(slots=True)
class Columns:
    """Records on their way out to one topic; ``headers`` holds those of the rows that have any."""

    keys: list[bytes | None]
    values: list[bytes | None]
    timestamps: list[int]
    headers: dict[int, Headers]
    origins: tuple[TopicPartition, ...] = ()
    """Given: every key is one that was read, unchanged, from one of these partitions."""
    left: list[int] = field(default_factory=list[int])
    """If outputs are traced: how many rows of the slice of the input were still to come."""
    stages: list[str] = field(default_factory=list[str])
    """If outputs are traced: which stage has made each of them."""
    ranks: list[int] = field(default_factory=list[int])
    """In a replay: the ranks of the input records, filled in behind each slice."""
    settled: int = 0
    """If outputs are traced: so many rows bear already what their causes have to say."""
    task: str = ""
    """In a replay: whose rows these are."""
    places: Sequence[int] = ()
    """Given: where each row stood before some were put apart."""

    @classmethod
    def empty(cls) -> "Columns":
        """Make columns without rows."""
        return cls([], [], [], {})

    def __len__(self) -> int:
        return len(self.values)

    def add(
        self, key: bytes | None, value: bytes | None, timestamp_ms: int, headers: Headers = ()
    ) -> None:
        """Append one row."""
        if headers:
            self.headers[len(self.values)] = headers
        self.keys.append(key)
        self.values.append(value)
        self.timestamps.append(timestamp_ms)

    def cut(self, length: int) -> None:
        """Drop all rows from ``length`` on: how a failed record's outputs are undone."""
        if self.headers:  # all rows may have some: look only at those that go
            for row in range(length, len(self.keys)):
                self.headers.pop(row, None)
        del self.keys[length:], self.values[length:], self.timestamps[length:]
        del self.left[length:], self.stages[length:]

    def clear(self) -> None:
        """Drop all rows."""
        self.keys.clear()
        self.values.clear()
        self.timestamps.clear()
        self.headers.clear()
        self.left.clear()
        self.stages.clear()
        self.ranks.clear()
        self.settled = 0


@dataclass(frozen=True, slots=True)
class Record(Generic[K, V]):
    """One decoded record with where it stands, as people look at it."""

    key: K
    value: V
    timestamp_ms: int
    topic: str = ""
    partition: int = 0
    offset: int = -1
    headers: Headers = ()
