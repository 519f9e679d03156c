"""What a child process tells of its replay, as frames on a pipe: length, then MessagePack.

First what the program is, then chunk after chunk of effects, then the last state, then the end; or,
at any point, why it failed. Invariant: bytes come out as they went in; values of serdes that only
the program has are sent as JSON, so that the other end needs none of its code.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import repeat
from struct import Struct
from typing import Any, Final, TypeAlias

import msgspec

from streamfn.record import Batch, Headers, TopicPartition
from streamfn.replay.diff.graph import Graph, translated
from streamfn.replay.effects import Effects, Raised
from streamfn.serde import Serde

_LENGTH: Final = Struct(">I")

Translations: TypeAlias = Mapping[str, tuple[Serde[Any] | None, Serde[Any] | None]]


class Rows(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Effects of one partition; what is mostly the same in all rows stands once."""

    topic: str
    partition: int
    first_offset: int
    keys: list[bytes | None]
    values: list[bytes | None]
    timestamps: list[int]
    headers: dict[int, Headers]
    ranks: list[int]
    sources: list[tuple[str, int]]
    root_sources: list[int]
    """Which of the sources each row's input record is of; empty: all of the first."""
    root_offsets: list[int]
    stages: list[str]
    """One if it is the same for all."""


class Hello(msgspec.Struct, frozen=True, tag=True):
    """The program is loaded."""

    graph: Graph
    reads: list[str]
    """The topics that it reads from the recording."""
    policies: dict[str, str] = {}
    """What each stage does with a record that fails; here all become dead letters."""


class Made(msgspec.Struct, frozen=True, tag=True):
    """What a chunk of inputs has made; so many records are done."""

    found: list[Rows]
    records: int


class Failing(msgspec.Struct, frozen=True, tag=True):
    """A function has raised."""

    raised: Raised


class Entries(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Entries of a store at the end, in order of partition and key; ``shown`` are keys as JSON."""

    store: str
    partition: int
    keys: list[bytes]
    values: list[bytes]
    shown: list[bytes]


class Ended(msgspec.Struct, frozen=True, tag=True):
    """All inputs are through; entries follow."""

    records: int
    notices: list[str]


class Closed(msgspec.Struct, frozen=True, tag=True):
    """Nothing follows."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """There will be no more: why, in lines."""

    lines: list[str]
    exit_code: int


Frame: TypeAlias = Hello | Made | Failing | Entries | Ended | Closed | Failed

_encode: Final = msgspec.msgpack.Encoder().encode
_decoder: Final[msgspec.msgpack.Decoder[Frame]] = msgspec.msgpack.Decoder(Frame)


def written(frame: Frame) -> bytes:
    """Write a frame."""
    body = _encode(frame)
    return _LENGTH.pack(len(body)) + body


class Unread:
    """Bytes of a pipe, cut into frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, data: bytes) -> Iterator[Frame]:
        """Take more bytes; yield the frames that are whole."""
        self._data += data
        at = 0
        while len(self._data) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._data, at)
            begin = at + _LENGTH.size
            if len(self._data) - begin < length:
                break
            body = bytes(memoryview(self._data)[begin : begin + length])
            at = begin + length
            yield _decoder.decode(body)
        del self._data[:at]


def rows_of(effects: Effects, serdes: Translations) -> Rows:
    """Make effects ready to be sent."""
    key, value = serdes.get(effects.topic, (None, None))
    sources: dict[TopicPartition, int] = {}
    which = [sources.setdefault(source, len(sources)) for source, _ in effects.roots]
    return Rows(
        effects.topic, effects.partition, effects.first_offset,
        translated(effects.keys, key), translated(effects.values, value),
        effects.timestamps, effects.headers, effects.ranks,
        [(source.topic, source.partition) for source in sources],
        which if len(sources) > 1 else [],
        [offset for _, offset in effects.roots],
        effects.stages[:1] if len(set(effects.stages)) == 1 else effects.stages,
    )  # fmt: skip


def effects_of(rows: Rows) -> Effects:
    """Make effects of what was sent."""
    sources = [TopicPartition(*source) for source in rows.sources]
    roots: Iterable[TopicPartition] = repeat(sources[0]) if sources else ()
    if rows.root_sources:
        roots = map(sources.__getitem__, rows.root_sources)
    one = len(rows.stages) == 1
    return Effects(
        rows.topic, rows.partition, rows.first_offset, rows.keys, rows.values, rows.timestamps,
        rows.headers, rows.ranks, list(zip(roots, rows.root_offsets, strict=False)),
        rows.stages * len(rows.values) if one else rows.stages,
    )  # fmt: skip


def translated_effects(effects: Effects, serdes: Translations) -> Effects:
    """The same with JSON in place of bytes that only the program can read."""
    if effects.topic not in serdes:
        return effects
    key, value = serdes[effects.topic]
    keys, values = translated(effects.keys, key), translated(effects.values, value)
    return replace(effects, keys=keys, values=values)


def translated_batch(batch: Batch, serdes: Translations) -> Batch:
    """The same of records that the real run wrote."""
    key, value = serdes.get(batch.source.topic, (None, None))
    return replace(batch, keys=translated(batch.keys, key), values=translated(batch.values, value))


class Outlet:
    """Takes effects of a replay and sends them."""

    def __init__(self, send: Callable[[bytes], None], serdes: Translations) -> None:
        self._send, self._serdes = send, serdes
        self.records = 0
        self.told: set[int] = set()
        """Which failures were sent already, by identity."""

    def effects(self, found: list[Effects]) -> None:
        """Send what one chunk has made."""
        rows = [rows_of(effects, self._serdes) for effects in found if len(effects)]
        self._send(written(Made(rows, self.records)))

    def raised(self, raised: Raised) -> None:
        """Send a failure."""
        self.told.add(id(raised))
        self._send(written(Failing(raised)))

    def progress(self, records: int, total: int | None) -> None:
        """Note how many records are done."""
        self.records = records
