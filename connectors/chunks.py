"""How the embedded log keeps records: chunks of columns, under partition and base offset.

A chunk is what one transaction wrote to one partition (a part of it, if that was much); later,
several small ones merged. Columns come from ``EmbeddedLog.flush`` and leave as a ``Batch``.

Invariant: a chunk covers the offsets from its base to the next chunk's base (or the partition's
end); all its records lie there, in order. Only compaction leaves gaps between them.
"""

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from streamfn.connectors.catalogue import CHUNKS, Partition
from streamfn.errors import LogError
from streamfn.record import Batch, Columns, Headers, TopicPartition
from streamfn.rocks import Database

CHUNK_ROWS = 1000
CHUNK_BYTES = 1 << 20
RECORD_OVERHEAD = 70
"""What Kafka's batch and record headers add to a single record, about."""
_BASE = struct.Struct(">Q")

_Stored = tuple[
    list[bytes | None],
    list[bytes | None],
    bytes,
    dict[int, tuple[tuple[str, bytes], ...]] | None,
    list[int] | None,
]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Stored).decode


@dataclass(slots=True)
class Chunk:
    """Columns with their offsets; ``base`` is the first offset covered."""

    base: int
    keys: list[bytes | None]
    values: list[bytes | None]
    timestamps: list[int]
    headers: dict[int, Headers]
    offsets: Sequence[int]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Sequence[int]) -> "Chunk":
        """Return a chunk of some rows, in order."""
        headers = self.headers
        return Chunk(
            self.base,
            [self.keys[row] for row in rows],
            [self.values[row] for row in rows],
            [self.timestamps[row] for row in rows],
            {at: headers[row] for at, row in enumerate(rows) if row in headers} if headers else {},
            [self.offsets[row] for row in rows],
        )

    def extend(self, other: "Chunk") -> None:
        """Append the rows of the next chunk."""
        if other.headers:
            rows = len(self.values)
            self.headers |= {rows + row: headers for row, headers in other.headers.items()}
        self.keys += other.keys
        self.values += other.values
        self.timestamps += other.timestamps
        self.offsets = _joined(self.offsets, other.offsets)

    def encoded(self) -> bytes:
        """Return the bytes that are stored."""
        whole = isinstance(self.offsets, range) and self.offsets.start == self.base
        return _encode(
            (
                self.keys,
                self.values,
                array("q", self.timestamps).tobytes(),
                self.headers or None,
                None if whole else list(self.offsets),
            )
        )


def _joined(first: Sequence[int], second: Sequence[int]) -> Sequence[int]:
    if isinstance(first, range) and isinstance(second, range) and first.stop == second.start:
        return range(first.start, second.stop)
    return [*first, *second]


def chunk_key(partition: Partition, base: int) -> bytes:
    """Return where a chunk is stored."""
    return partition.prefix + _BASE.pack(base)


def base_of(key: bytes) -> int:
    """Return the base offset in a chunk's key."""
    return int.from_bytes(key[8:], "big")


def decode_chunk(key: bytes, value: bytes) -> Chunk:
    """Read a stored chunk."""
    base = base_of(key)
    try:
        keys, values, timestamps, headers, offsets = _decode(value)
    except msgspec.MsgspecError as error:
        message = f"chunk {key.hex()} of the embedded log is damaged; got {error}; restore the log"
        raise LogError(message) from error
    times = array("q")
    times.frombytes(timestamps)
    every = range(base, base + len(values)) if offsets is None else offsets
    return Chunk(base, keys, values, times.tolist(), headers or {}, every)


def encode_columns(columns: Columns) -> list[tuple[int, bytes]]:
    """Return the columns as stored chunks, each with its first row; big ones are split."""
    rows = len(columns.values)
    parts: list[tuple[int, bytes]] = []
    for start in range(0, rows, CHUNK_ROWS):
        _encode_part(columns, start, min(start + CHUNK_ROWS, rows), parts)
    return parts


def _encode_part(columns: Columns, start: int, stop: int, parts: list[tuple[int, bytes]]) -> None:
    keys, values, timestamps = columns.keys, columns.values, columns.timestamps
    headers = columns.headers or None
    if stop - start < len(values):
        keys, values, timestamps = keys[start:stop], values[start:stop], timestamps[start:stop]
        if headers:
            known = headers  # each part looks at its own rows only, however many there are
            headers = {at: known[row] for at, row in enumerate(range(start, stop)) if row in known}
    times = array("q", timestamps).tobytes()
    stored = _encode((keys, values, times, headers or None, None))
    if len(stored) <= CHUNK_BYTES or stop - start == 1:
        parts.append((start, stored))
        return
    middle = (start + stop) // 2
    _encode_part(columns, start, middle, parts)
    _encode_part(columns, middle, stop, parts)


def stored_chunks(
    database: Database, partition: Partition, start: int, end: int
) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of the chunks whose base lies in ``start <= base < end``."""
    return database.scan(CHUNKS, chunk_key(partition, start), chunk_key(partition, end))


def chunk_at(database: Database, partition: Partition, offset: int) -> tuple[bytes, bytes] | None:
    """Return key and value of the chunk that covers an offset, if there is one."""
    at_most = chunk_key(partition, offset)
    return database.last(CHUNKS, chunk_key(partition, 0), at_most)


def read_batch(database: Database, partition: Partition, start: int, end: int) -> Batch | None:
    """Return about ``CHUNK_ROWS`` records from ``start`` on and before ``end``, or None."""
    gathered: Chunk | None = None
    size = 0
    for key, value in _covering(database, partition, start, end):
        chunk = _within(decode_chunk(key, value), start, end)
        if gathered is None or not gathered.values:
            gathered = chunk
        else:
            gathered.extend(chunk)
        size += len(value)
        rows = len(gathered.values)
        if rows >= CHUNK_ROWS or (rows and size >= CHUNK_BYTES):
            break
    if gathered is None or not gathered.values:
        return None
    return _batch(partition.source, gathered)


def _covering(
    database: Database, partition: Partition, start: int, end: int
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the stored chunks that may hold records from ``start`` on."""
    chunks = stored_chunks(database, partition, start, end)
    first = next(chunks, None)
    if first is None or base_of(first[0]) != start:
        before = chunk_at(database, partition, start)
        if before is not None:
            yield before
    if first is not None:
        yield first
        yield from chunks


def _within(chunk: Chunk, start: int, end: int) -> Chunk:
    offsets = chunk.offsets
    if not offsets or (start <= offsets[0] and offsets[-1] < end):
        return chunk
    low, high = bisect_left(offsets, start), bisect_left(offsets, end)
    headers = {row - low: headers for row, headers in chunk.headers.items() if low <= row < high}
    return Chunk(
        chunk.base,
        chunk.keys[low:high],
        chunk.values[low:high],
        chunk.timestamps[low:high],
        headers,
        offsets[low:high],
    )


def _batch(source: TopicPartition, chunk: Chunk) -> Batch:
    headers: list[Headers] | None = None
    if chunk.headers:
        headers = [chunk.headers.get(row, ()) for row in range(len(chunk))]
    return Batch(
        source,
        chunk.keys,
        chunk.values,
        chunk.timestamps,
        chunk.offsets,
        chunk.offsets[-1] + 1,
        headers,
    )


def first_oversized(columns: Columns, limit: int) -> int | None:
    """Return the size of the first record that has more than ``limit`` bytes."""
    for row, (key, value) in enumerate(zip(columns.keys, columns.values, strict=True)):
        headers = columns.headers.get(row, ())
        size = RECORD_OVERHEAD + len(key or b"") + len(value or b"")
        size += sum(len(name.encode()) + len(text) for name, text in headers)
        if size > limit:
            return size
    return None
