"""What a recording is: its header, its records in order, the state it begins with.

Records come from a log or from a file (``Inputs``) in the order of a replay and go to the replay,
or to another file (``Writer``). Invariant: all bytes are those of the topics; the order is the
merge of all partitions by the timestamps at their heads, ties by topic and partition, so that it is
the same wherever the records are read from.
"""

from collections.abc import Container, Iterator
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from streamfn.record import Batch

Chunk: TypeAlias = list[Batch]
"""Batches of several partitions, each with ranks; all of a chunk are above those of the last."""

Role: TypeAlias = Literal["input", "repartition", "output", "dead_letters", "global_table", "other"]
"""What a topic is to the application that was recorded."""


CUT_BY_TIME: Final = "cut by time"
"""A note of a header: inputs begin and end at the first record of a time or a later one."""
CUT_BY_OFFSET: Final = "cut by offset"
"""A note of a header: each topic begins and ends where somebody has said."""


class Range(msgspec.Struct, frozen=True, omit_defaults=True):
    """Offsets from ``start`` up to, not including, ``end`` of one partition.

    The others say what is known of its edges, -1 that nothing is.
    """

    start: int
    end: int
    stream_time_ms: int = -1
    """In a recording with state: how far its task's stream time was at ``start``."""
    own_from: int = -1
    """Of what the program writes: what is in front is of inputs before the recorded ones."""
    sure_from: int = -1
    """From here on all rows are of recorded inputs, or of later ones."""
    sure_to: int = -1
    """Up to here all rows are of recorded inputs, or of earlier ones."""
    done: int = -1
    """Of what it reads: what the records in front have made is recorded."""
    from_ms: int = -1
    to_ms: int = -1
    """Of outputs that were chosen by their times: from when, and up to, not including, when."""
    late_ms: int = -1
    """Of what is read, where a time cut it: the first time of the records behind ``end`` that are
    of the span all the same; the end of the span if there are none."""


class RecordedTopic(msgspec.Struct, frozen=True):
    """A topic and which part of it was recorded; the names of its serdes are for people."""

    name: str
    partitions: int
    role: Role
    ranges: dict[int, Range]
    key: str = ""
    value: str = ""


class RecordedStore(msgspec.Struct, frozen=True):
    """A store whose entries at the start of the ranges are part of the recording."""

    name: str
    kind: str
    key: str
    value: str
    partitions: int


class Header(msgspec.Struct, frozen=True):
    """What stands in front of a recording."""

    application: str
    made_at_ms: int
    source: str
    """Which log it was: a cluster's id, or an embedded log's."""
    topics: tuple[RecordedTopic, ...]
    stores: tuple[RecordedStore, ...] = ()
    sample: str = ""
    """Which keys were taken, in words; "" for all."""
    note: str = ""
    in_flight: int = 0
    """Records of repartition topics that are not recorded and were not processed at the end."""
    version: int = 1

    def topic(self, name: str) -> RecordedTopic | None:
        """Find a topic by its name."""
        return next((topic for topic in self.topics if topic.name == name), None)


class Entry(NamedTuple):
    """One entry of a store's state, as its changelog would hold it."""

    store: str
    partition: int
    key: bytes
    value: bytes


class Inputs(Protocol):
    """What a replay reads: a recording file, or the topics of a log."""

    @property
    def header(self) -> Header:
        """What is in it."""
        ...

    @property
    def place(self) -> str:
        """How errors and notices speak of it."""
        ...

    @property
    def total(self) -> int | None:
        """How many records there are, if that is known."""
        ...

    def state(self) -> Iterator[Entry]:
        """Yield the entries of the recorded stores."""
        ...

    def chunks(self, topics: Container[str] | None = None) -> Iterator[Chunk]:
        """Yield the records, or those of some topics, in order; each call is a pass of its own."""
        ...

    def close(self) -> None:
        """Release what was opened."""
        ...


class Writer(Protocol):
    """Where a recording is written; nothing bears the final name before ``finish``."""

    def entry(self, entry: Entry) -> None:
        """Write an entry of the state; all come before the first chunk."""
        ...

    def chunk(self, chunk: Chunk) -> None:
        """Write records, in the order of their ranks."""
        ...

    def finish(self) -> None:
        """Write the end, and give the file its name."""
        ...

    def abandon(self) -> None:
        """Remove what is half written."""
        ...
