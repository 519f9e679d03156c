"""Small recordings for tests: made of plain rows, read back as plain rows.

Invariant: ``records_of`` returns what ``write`` was given, if a file holds it unchanged.
"""

from collections.abc import Container, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from hypothesis import strategies as st

from streamfn.record import Batch, Headers, TopicPartition
from streamfn.replay.recording import Chunk, Entry, Header, Range, RecordedStore, RecordedTopic
from streamfn.replay.recordings.files import open_recording, recording_to

FORMATS: Final = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".avro")
PARTITIONS: Final = 2
TOPICS: Final = ("a", "b")


class Row(NamedTuple):
    """A record as tests compare it."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


def header_of(rows: Sequence[Row] = (), note: str = "") -> Header:
    """A header that fits the rows, with a store."""
    ends = {(row.topic, row.partition): row.offset + 1 for row in rows}
    topics = tuple(
        RecordedTopic(
            name,
            PARTITIONS,
            "input",
            {number: Range(0, ends.get((name, number), 0)) for number in range(PARTITIONS)},
            "bytes",
            "json",
        )
        for name in TOPICS
    )
    stores = (RecordedStore("counts", "key_value", "str", "int", PARTITIONS),)
    return Header("app", 1, "embedded", topics, stores, "1%", note)


def chunk_of(rows: Sequence[Row], rank: int = 0) -> Chunk:
    """Rows in replay order as batches of their partitions."""
    found: Chunk = []
    for place in dict.fromkeys((row.topic, row.partition) for row in rows):
        ranks = [index for index, row in enumerate(rows) if row[:2] == place]
        mine = [rows[index] for index in ranks]
        found.append(
            Batch(
                TopicPartition(*place),
                [row.key for row in mine],
                [row.value for row in mine],
                [row.timestamp_ms for row in mine],
                [row.offset for row in mine],
                mine[-1].offset + 1,
                [row.headers for row in mine],
                [rank + index for index in ranks],
            )
        )
    return found


def write(path: Path, rows: Sequence[Row], entries: Sequence[Entry] = (), few: int = 3) -> None:
    """Write a recording, a few rows at a time."""
    with recording_to(path, header_of(rows), overwrite=True) as writer:
        for entry in entries:
            writer.entry(entry)
        for start in range(0, len(rows), few):
            writer.chunk(chunk_of(rows[start : start + few], start))


def rows_of(chunk: Chunk) -> list[tuple[int, Row]]:
    """The rows of a chunk with their ranks, in order."""
    found: list[tuple[int, Row]] = []
    for batch in chunk:
        assert batch.ranks is not None
        headers = batch.headers or [()] * len(batch)
        rows = zip(batch.offsets, batch.timestamps, batch.keys, batch.values, headers, strict=True)
        found += zip(batch.ranks, (Row._make((*batch.source, *row)) for row in rows), strict=True)
    return sorted(found)


def records_of(path: Path, topics: Container[str] | None = None) -> list[tuple[int, Row]]:
    """All rows of a recording with their ranks."""
    inputs = open_recording(path)
    try:
        return [each for chunk in inputs.chunks(topics) for each in rows_of(chunk)]
    finally:
        inputs.close()


def entries_of(path: Path) -> list[Entry]:
    """All entries of a recording."""
    inputs = open_recording(path)
    try:
        return list(inputs.state())
    finally:
        inputs.close()


def in_order(rows: Sequence[Row]) -> list[Row]:
    """Sort rows as a replay does; they are in order of offsets within each partition."""
    highest: dict[tuple[str, int], int] = {}
    marked: list[tuple[int, str, int, int, Row]] = []
    for row in rows:
        place = row.topic, row.partition
        highest[place] = max(highest.get(place, row.timestamp_ms), row.timestamp_ms)
        marked.append((highest[place], *place, row.offset, row))
    return [each[-1] for each in sorted(marked, key=lambda each: each[:4])]


BYTES: Final = st.one_of(st.binary(max_size=6), st.text(max_size=6).map(str.encode))
HEADERS: Final = st.lists(st.tuples(st.text(max_size=3), BYTES), max_size=2).map(tuple)


@st.composite
def recorded_rows(draw: st.DrawFn) -> list[Row]:
    """Rows in replay order: gaps in offsets, late records, anything as bytes."""
    rows: list[Row] = []
    for topic in TOPICS:
        for partition in range(PARTITIONS):
            offset = 0
            for _ in range(draw(st.integers(0, 5))):
                offset += draw(st.sampled_from((1, 1, 1, 7)))
                optional = st.one_of(st.none(), BYTES)
                row = (draw(st.integers(-1, 9)), draw(optional), draw(optional), draw(HEADERS))
                rows.append(Row(topic, partition, offset, *row))
    return in_order(rows)


SOME_ROWS: Final = in_order(
    [
        Row("a", 0, 0, 1000, b"k", b'{"n":1}'),
        Row("a", 0, 1, 900, None, b"\xff\x00", (("trace", b"x"), ("raw", b"\xfe"))),
        Row("a", 0, 4, 3000, b"k", None),
        Row("a", 1, 0, 1000, "ü".encode(), b"two"),
        Row("b", 0, 0, 1000, b"", b""),
        Row("b", 0, 1, 2500, b"k", b"line\nbreak"),
        Row("b", 1, 0, 2000, b"k", b'{"check":"0"}'),
    ]
)
SOME_ENTRIES: Final = (
    Entry("counts", 0, b"k", b"\x00\x01\xff"),
    Entry("counts", 1, b"other", b"5"),
)
