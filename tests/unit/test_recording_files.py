"""Recording files give back what was written, in order, and are whole or not there."""

import gzip
import io
import json
import os
import zlib
from pathlib import Path
from typing import Any

import fastavro
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfn.connectors.file_streams import Place, open_stream
from streamfn.errors import ConfigError, InternalError, RecordingError
from streamfn.record import Batch, TopicPartition
from streamfn.replay.recording import Entry
from streamfn.replay.recordings import file_writer
from streamfn.replay.recordings.avro_write import SCHEMA, AvroEncoder, best_codec
from streamfn.replay.recordings.file_writer import FileWriter
from streamfn.replay.recordings.files import create_recording, open_recording, recording_to
from streamfn.replay.recordings.partial_file import PartialFile
from tests.recordings import (
    FORMATS,
    SOME_ENTRIES,
    SOME_ROWS,
    Row,
    chunk_of,
    entries_of,
    header_of,
    recorded_rows,
    records_of,
    rows_of,
    write,
)


@pytest.fixture(params=FORMATS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file to be, of each format."""
    return tmp_path / f"day{request.param}"


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The lines of a .jsonl, as another program reads them."""
    stream = open_stream(Place(path))
    lines = stream.inside.read().splitlines()
    stream.close()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("suffix", FORMATS)
@settings(max_examples=40, deadline=None)
@given(rows=recorded_rows(), few=st.integers(1, 8))
def test_round_trip(
    suffix: str, rows: list[Row], few: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """All rows come back with all their bytes, ranked from 0 on."""
    path = tmp_path_factory.mktemp("trip") / f"day{suffix}"
    write(path, rows, few=few)
    assert records_of(path) == list(enumerate(rows))


def test_state_and_header(path: Path) -> None:
    """Entries and the header come back as they were."""
    write(path, SOME_ROWS, SOME_ENTRIES)
    inputs = open_recording(path)
    assert inputs.header == header_of(SOME_ROWS)
    assert inputs.place == str(path)
    assert tuple(inputs.state()) == SOME_ENTRIES
    assert [each for chunk in inputs.chunks() for each in rows_of(chunk)] == list(
        enumerate(SOME_ROWS)
    )
    inputs.close()


def test_nothing_recorded(path: Path) -> None:
    """A recording may hold no record at all."""
    write(path, [])
    assert (records_of(path), entries_of(path)) == ([], [])


def test_passes_over_some_topics(path: Path) -> None:
    """Each pass has the same ranks, whichever topics it is over."""
    write(path, SOME_ROWS, SOME_ENTRIES)
    both = records_of(path, {"a"}) + records_of(path, {"b"})
    assert sorted(both) == list(enumerate(SOME_ROWS))
    assert records_of(path, ()) == []


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (b'"offset":4', b'"offset":9', r"line 9: a\[0\] offset 9 is outside its range"),
        (b'"topic":"a","partition":1', b'"topic":"b","partition":1', "does not say what the file"),
        (b'"records":7', b'"records":8', "does not say what the file holds; got 8 records"),
    ],
)
def test_wrong_in_a_pass_over_some_topics(
    old: bytes, new: bytes, text: str, tmp_path: Path
) -> None:
    """Rows of other topics are left out and counted: places and the end are told as ever."""
    path = tmp_path / "day.jsonl"
    write(path, SOME_ROWS)
    data = b""
    for line in path.read_bytes().replace(old, new).splitlines(keepends=True):
        is_check = line.startswith(b'{"check"')
        data += b'{"check":"%08x"}\n' % zlib.crc32(data) if is_check else line
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=text):
        records_of(path, {"a"})


def test_two_passes_at_once(path: Path) -> None:
    """A pass does not disturb another."""
    write(path, SOME_ROWS, few=1)
    inputs = open_recording(path)
    pairs = list(zip(inputs.chunks(), inputs.chunks(), strict=True))
    assert pairs
    assert all(rows_of(one) == rows_of(other) for one, other in pairs)
    inputs.close()


def test_sections_make_chunks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks are cut as they were written: by number, and by size where records are large."""
    monkeypatch.setattr(file_writer, "SECTION_BYTES", 100)
    rows = [Row("a", 0, offset, offset, b"", b"x" * 40) for offset in range(9)]
    write(path, rows, few=9)
    inputs = open_recording(path)
    chunks = list(inputs.chunks())
    assert [len(batch) for chunk in chunks for batch in chunk] == [2, 2, 2, 2, 1]
    assert [each for chunk in chunks for each in rows_of(chunk)] == list(enumerate(rows))


def test_offsets_without_gaps_are_a_range(path: Path) -> None:
    """Where there are no gaps, offsets are a range; the next offset follows the last."""
    write(path, [Row("a", 0, offset, 5, None, b"v") for offset in range(7, 10)])
    (chunk,) = open_recording(path).chunks()
    assert (chunk[0].offsets, chunk[0].next_offset) == (range(7, 10), 10)
    assert chunk[0].headers is None


def test_total_and_progress(path: Path) -> None:
    """Lines tell at once how many records there are; bytes tell how far a pass is."""
    write(path, SOME_ROWS)
    inputs = open_recording(path)
    assert inputs.total == (None if path.suffix == ".avro" else len(SOME_ROWS))
    assert inputs.bytes_total == path.stat().st_size
    assert list(inputs.chunks())
    assert inputs.bytes_done == inputs.bytes_total


def test_a_pass_left_early_closes_its_file(path: Path) -> None:
    """Whoever stops in the middle may close the recording, and another pass begins anew."""
    write(path, SOME_ROWS, few=1)
    inputs = open_recording(path)
    chunks = inputs.chunks()
    assert next(chunks)
    inputs.close()
    with pytest.raises(RecordingError, match="closed while it was read"):
        list(chunks)
    assert list(inputs.chunks())


# What is written


def test_lines(tmp_path: Path) -> None:
    """The lines are those of docs/recordings.md; the checksum is of all bytes before its line."""
    path = tmp_path / "day.jsonl"
    write(path, SOME_ROWS, SOME_ENTRIES)
    lines = lines_of(path)
    assert (lines[0]["streamfn_recording"], lines[0]["sealed"]) == (1, True)
    assert lines[2] == {"store": "counts", "partition": 0, "key": "k", "value": {"base64": "AAH/"}}
    late = {"topic": "a", "partition": 0, "offset": 1, "timestamp_ms": 900, "key": None}
    headers = [["trace", "x"], ["raw", {"base64": "/g=="}]]
    assert lines[6] == late | {"value": {"base64": "/wA="}, "headers": headers}
    topics = {"a": {"0": 3, "1": 1}, "b": {"0": 2, "1": 1}}
    assert lines[-2] == {"end": {"entries": 2, "records": 7, "topics": topics}}
    whole, _, last = path.read_bytes().removesuffix(b"\n").rpartition(b"\n")
    crc32 = zlib.crc32(whole + b"\n")
    assert json.loads(last) == {"check": f"{crc32:08x}"}


def test_other_tools_read_it(tmp_path: Path) -> None:
    """All parts of a compressed file are there for gzip and zstandard too."""
    plain = tmp_path / "day.jsonl"
    write(plain, SOME_ROWS)
    for suffix in (".gz", ".zst"):
        path = tmp_path / f"day.jsonl{suffix}"
        write(path, SOME_ROWS)
        with path.open("rb") as file:
            reader = (
                gzip.GzipFile(fileobj=file)
                if suffix == ".gz"
                else zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            )
            assert reader.read() == plain.read_bytes()


def test_rows_of_avro(tmp_path: Path) -> None:
    """Any Avro reader sees the rows; the kind tells records from the rest."""
    path = tmp_path / "day.avro"
    write(path, SOME_ROWS, SOME_ENTRIES)
    with path.open("rb") as file:
        reader: Any = fastavro.reader(file)
        rows = list(reader)
    assert json.loads(reader.metadata["streamfn.recording"])["application"] == "app"
    kinds = [row["kind"] for row in rows]
    assert (kinds.count("record"), kinds.count("entry"), kinds.count("end")) == (7, 2, 1)
    assert kinds[-1] == "check"
    assert rows[kinds.index("record")]["key"] == b"k"


def test_avro_with_zstandard(tmp_path: Path) -> None:
    """Blocks compressed by zstandard are read whether or not fastavro could."""
    assert best_codec() in ("deflate", "zstandard")
    path, mark = tmp_path / "day.avro", b"0123456789abcdef"
    metadata = {
        "avro.schema": json.dumps(SCHEMA).encode(),
        "avro.codec": b"zstandard",
        "streamfn.recording": b'{"streamfn_recording":1}',
    }
    block = zstandard.compress(b"".join(encoded(SCHEMA, avro_row(row)) for row in SOME_ROWS))
    head = b"Obj\x01" + encoded({"type": "map", "values": "bytes"}, metadata) + mark
    path.write_bytes(head + encoded("long", len(SOME_ROWS)) + encoded("bytes", block) + mark)
    assert records_of(path) == list(enumerate(SOME_ROWS))


def encoded(schema: Any, value: Any) -> bytes:
    """Encode a value as Avro, without a container."""
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema, value)  # pyright: ignore[reportUnknownMemberType]  # half typed
    return buffer.getvalue()


def avro_row(row: Row) -> dict[str, Any]:
    """A record as another program says it."""
    headers = [{"name": name, "value": value} for name, value in row.headers]
    return row._asdict() | {"headers": headers}


# Names


def test_nothing_has_the_name_before_it_is_finished(path: Path) -> None:
    """What is half written has another name, and is removed when it is abandoned."""
    writer = create_recording(path, header_of(SOME_ROWS))
    writer.chunk(chunk_of(SOME_ROWS))
    assert os.listdir(path.parent) == [f"{path.name}.partial"]
    writer.abandon()
    assert os.listdir(path.parent) == []
    writer.abandon()


def test_an_error_leaves_nothing(path: Path) -> None:
    """The block that writes may raise."""

    def interrupted() -> None:
        with recording_to(path, header_of(SOME_ROWS)) as writer:
            writer.chunk(chunk_of(SOME_ROWS))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(path.parent) == []


def test_what_a_crash_left_is_written_over(path: Path) -> None:
    """A partial file of a process that died is nobody's."""
    path.with_name(f"{path.name}.partial").write_bytes(b"half" * 1000)
    write(path, SOME_ROWS)
    assert records_of(path) == list(enumerate(SOME_ROWS))
    assert os.listdir(path.parent) == [path.name]


def test_two_writers(path: Path) -> None:
    """The second is told that there is a first."""
    first = create_recording(path, header_of())
    with pytest.raises(ConfigError, match="being written by another process"):
        create_recording(path, header_of())
    first.finish()
    assert records_of(path) == []


def test_an_existing_file_is_kept(path: Path) -> None:
    """Unless the caller says that it may go; also if it came while writing."""
    path.write_bytes(b"mine")
    with pytest.raises(ConfigError, match="exists; choose another name"):
        create_recording(path, header_of())
    path.unlink()
    writer = create_recording(path, header_of())
    path.write_bytes(b"mine")
    with pytest.raises(ConfigError, match="exists"):
        writer.finish()
    writer.abandon()
    assert path.read_bytes() == b"mine"
    write(path, SOME_ROWS)
    assert records_of(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("day.csv", "has no known ending; name it with one of .jsonl"),
        ("day", "has no known ending"),
        ("gone/day.jsonl", "cannot be written; got No such file or directory; check folder"),
        ("folder.jsonl", "is a folder; name a file in it"),
    ],
)
def test_where_nothing_can_be_written(name: str, text: str, tmp_path: Path) -> None:
    """Mistakes in the name are told before anything is read."""
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(ConfigError, match=text):
        create_recording(tmp_path / name, header_of())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("day.csv", "has no known ending"),
        ("gone.jsonl", "does not exist; check the path"),
        ("gone.avro", "does not exist; check the path"),
        ("folder.jsonl", "is a folder; name a file in it"),
        ("pipe.jsonl", "is no regular file"),
        ("file/day.jsonl", "cannot be opened; got Not a directory"),
    ],
)
def test_what_cannot_be_opened(name: str, text: str, tmp_path: Path) -> None:
    """Mistakes in the name are mistakes of a setting."""
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "day.csv").touch()
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(ConfigError, match=text):
        open_recording(tmp_path / name)


def test_no_rights(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be read is told as such."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path.touch()
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigError, match="Permission denied; check its rights"):
        open_recording(path)


# What a writer refuses


def test_rows_out_of_order_are_not_written(path: Path) -> None:
    """A writer checks what the reader would find."""
    with pytest.raises(RecordingError, match=r"while it is written, record 1: .* out of replay"):
        write(path, [Row("a", 0, 1, 5, None, b""), Row("a", 1, 0, 4, None, b"")])
    with pytest.raises(RecordingError, match="goes back"):
        write(path, [Row("a", 0, 1, 5, None, b""), Row("a", 0, 1, 6, None, b"")])
    assert not path.exists()


def test_what_a_writer_is_given_wrongly(path: Path) -> None:
    """Ranks are needed to merge batches; state comes first."""
    batch = Batch(TopicPartition("a", 0), [b""], [b""], [1], [0], 1)
    with recording_to(path, header_of([Row("a", 0, 0, 1, b"", b"")])) as writer:
        writer.chunk([batch])
        with pytest.raises(InternalError, match="no ranks"):
            writer.chunk([batch, batch])
        with pytest.raises(InternalError, match="behind records"):
            writer.entry(Entry("counts", 0, b"", b""))
    assert len(records_of(path)) == 1


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the system refuses is told with the file's name."""
    file = PartialFile(tmp_path / "day.avro", overwrite=False)
    writer = FileWriter(file, AvroEncoder(file), header_of(SOME_ROWS))

    def refuse(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(ConfigError, match=r"day\.avro' cannot be written; got No space left"):
        writer.finish()
    writer.abandon()
    assert os.listdir(tmp_path) == []
