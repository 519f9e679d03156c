"""What a replay has made: rows of topics, each with the input record that it goes back to.

They come from the replay's log when a chunk of inputs is done, and go to a file, a comparison or a
test. Invariant: their order depends on the inputs and the program alone, never on the commit
interval, the number of workers or where chunks end.
"""

from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from streamfn.record import Headers, TopicPartition

Root: TypeAlias = tuple[TopicPartition, int]
"""An input record: its partition and offset."""


@dataclass(slots=True)
class Effects:
    """Rows of one partition of a topic, from one chunk of inputs, in order."""

    topic: str
    partition: int
    first_offset: int = 0
    """The rows' offsets in the replay count on from here."""
    keys: list[bytes | None] = field(default_factory=list[bytes | None])
    values: list[bytes | None] = field(default_factory=list[bytes | None])
    timestamps: list[int] = field(default_factory=list[int])
    headers: dict[int, Headers] = field(default_factory=dict[int, Headers])
    """Of the rows that have any."""
    ranks: list[int] = field(default_factory=list[int])
    """Of the input record that each row goes back to."""
    roots: list[Root] = field(default_factory=list[Root])
    """Where that record stands."""
    stages: list[str] = field(default_factory=list[str])
    """Which stage has made each row."""

    def __len__(self) -> int:
        return len(self.values)


class EffectSink(Protocol):
    """Whoever takes what a replay makes."""

    def effects(self, found: list[Effects]) -> None:
        """Take what one chunk of inputs has made: topics in order of name, then partitions."""
        ...


@dataclass(slots=True)
class Collected:
    """Keeps all effects in memory: for tests and small replays."""

    found: list[Effects] = field(default_factory=list[Effects])

    def effects(self, found: list[Effects]) -> None:
        """Take what one chunk has made."""
        self.found += found


@dataclass(frozen=True, slots=True)
class Raised:
    """A record whose function raised under ``on_error`` fail: undone, and the replay went on."""

    stage: str
    task: str
    source: TopicPartition
    offset: int
    root: Root
    """The input record that this one goes back to."""
    key: bytes | None
    error: str
    """The class of what was raised."""
    message: str
    traceback: str
    """The user's own frames."""
