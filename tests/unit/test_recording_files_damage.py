"""A damaged recording never gives a wrong record, and says where it is damaged.

Each test changes a small sealed recording whose sections are of two rows, so that records before
the damaged place are given and all behind it are not.
"""

import json
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fastavro
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamfn.errors import RecordingError
from streamfn.replay.recording import Entry, Header
from streamfn.replay.recordings import file_writer
from streamfn.replay.recordings.files import open_recording
from tests.recordings import FORMATS, SOME_ENTRIES, SOME_ROWS, Row, header_of, rows_of, write


@cache
def sealed(suffix: str) -> bytes:
    """The bytes of a recording."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_writer, "FEW", 2)
        path = Path(folder, f"day{suffix}")
        write(path, SOME_ROWS, (*SOME_ENTRIES, SOME_ENTRIES[0]))
        return path.read_bytes()


class Found:
    """What a reader was given of a file before it was told that the file is damaged."""

    def __init__(self, path: Path) -> None:
        self.header: Header | None = None
        self.entries: list[Entry] = []
        self.rows: list[Row] = []
        self.error = ""
        try:
            inputs = open_recording(path)
            self.header = inputs.header
            self.entries.extend(inputs.state())
            for chunk in inputs.chunks():
                self.rows += [row for _, row in rows_of(chunk)]
        except RecordingError as error:
            self.error = str(error)

    def check(self) -> None:
        """Nothing wrong was given, and nothing is missing without an error."""
        entries = [*SOME_ENTRIES, SOME_ENTRIES[0]]
        assert self.header in (None, header_of(SOME_ROWS))
        assert self.rows == SOME_ROWS[: len(self.rows)]
        assert self.entries == entries[: len(self.entries)]
        if not self.error:
            assert (len(self.entries), len(self.rows)) == (len(entries), len(SOME_ROWS))


def read_changed(suffix: str, data: bytes) -> Found:
    """Read a file of these bytes."""
    with TemporaryDirectory() as folder:
        path = Path(folder, f"day{suffix}")
        path.write_bytes(data)
        return Found(path)


@pytest.mark.parametrize("suffix", FORMATS)
@settings(max_examples=200, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
@example(place=0.0, mask=1)
def test_a_flipped_byte(suffix: str, place: float, mask: int) -> None:
    """Any byte may be another."""
    data = bytearray(sealed(suffix))
    data[int(place * len(data))] ^= mask
    read_changed(suffix, bytes(data)).check()


@pytest.mark.parametrize("suffix", FORMATS)
def test_cut_short(suffix: str) -> None:
    """The end may be missing, from any byte on."""
    data = sealed(suffix)
    for length in range(len(data)):
        found = read_changed(suffix, data[:length])
        found.check()
        assert found.error, length


@pytest.mark.parametrize("suffix", FORMATS)
@settings(max_examples=80, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), length=st.integers(1, 40), more=st.binary())
def test_a_piece_replaced(suffix: str, place: float, length: int, more: bytes) -> None:
    """A piece may be missing or another."""
    data = sealed(suffix)
    start = int(place * len(data))
    changed = data[:start] + more + data[start + length :]
    found = read_changed(suffix, changed)
    found.check()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("more", [b"\n", b"{}", b"\x00" * 40, None], ids=str)
def test_something_behind_the_end(suffix: str, more: bytes | None) -> None:
    """Also a second recording behind the first is none."""
    data = sealed(suffix)
    found = read_changed(suffix, data + (data if more is None else more))
    found.check()
    padding = suffix == ".jsonl.gz" and more == b"\x00" * 40  # as gzip allows
    assert bool(found.error) != padding


def damaged(path: Path, change: Callable[[list[bytes]], None]) -> str:
    """The error of a .jsonl whose lines were changed."""
    lines = sealed(".jsonl").splitlines(keepends=True)
    change(lines)
    path.write_bytes(b"".join(lines))
    return Found(path).error


def test_the_place_is_named(tmp_path: Path) -> None:
    """Lines and blocks are named, and what is before them is given."""
    path = tmp_path / "day.jsonl"

    def change(lines: list[bytes]) -> None:
        lines[11] = lines[11].replace(b'"partition":0', b'"partition":1')

    error = damaged(path, change)
    assert error.startswith(f"recording {str(path)!r}, lines 11 to 13: are damaged: their checksum")
    assert error.endswith("; record again, or take an undamaged copy")
    assert len(Found(path).rows) == 2
    assert ", after line 10: is cut short" in damaged(
        path, lambda lines: lines.__delitem__(slice(10, None))
    )
    assert ", after line 7: is cut short" in damaged(
        path, lambda lines: lines.__delitem__(slice(8, None))
    )
    data = bytearray(sealed(".avro"))
    data[len(data) // 2] ^= 1
    assert ", block " in read_changed(".avro", bytes(data)).error


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst"])
def test_the_place_in_compressed_bytes_is_named(suffix: str) -> None:
    """What cannot be unpacked has no line: it lies before a byte of the file."""
    data = bytearray(sealed(suffix))
    cut = read_changed(suffix, bytes(data[:-3])).error
    assert f", before byte {len(data) - 3:,} of {len(data) - 3:,}: is cut short" in cut
    data[len(data) // 2] ^= 1
    damaged = read_changed(suffix, bytes(data)).error
    assert f", before byte {len(data):,} of {len(data):,}: is damaged" in damaged


def resealed(path: Path, change: Callable[[list[bytes]], None]) -> str:
    """The error of a .jsonl of a wrong program that computes right checksums."""
    lines = [
        line for line in sealed(".jsonl").splitlines(keepends=True) if b'{"check"' not in line[:8]
    ]
    change(lines)
    data = b""
    for line in lines:
        data += line
        data += b'{"check":"%08x"}\n' % zlib.crc32(data)
    path.write_bytes(data)
    return Found(path).error


@pytest.mark.parametrize(
    ("line", "old", "new", "text"),
    [
        (5, b'"offset":1', b'"offset":"1"', "line 11: is no line of a recording, though its"),
        (5, b'"topic":"a"', b'"topic":"c"', r"line 11: c\[0\] is not in the header; name it"),
        (5, b'"partition":0', b'"partition":9', r"a\[9\] is not in the header"),
        (5, b'"offset":1', b'"offset":5', r"line 11: a\[0\] offset 5 is outside its range"),
        (5, b'"offset":1', b'"offset":0', "goes back; got the one before it was 0; number"),
        (6, b"1000", b"999", "line 13: .* is out of replay order; got timestamp_ms 999 after a"),
        (7, b"1000", b"9000", "line 17: .* is out of replay order; .* sort the records by"),
        (1, b'"partition":0', b'"partition":9', "line 3: is of store 'counts', partition 9"),
        (1, b'"key":"k"', b'"key":null', "line 3: is no line of a recording"),
        (-1, b'"records":7', b'"records":8', "does not say what the file holds; got 8 records"),
        (-1, b'"entries":3', b'"entries":2', "does not say what the file holds"),
        (-1, b'"1":1', b'"1":2', "does not say what the file holds"),
        (-1, b'{"end"', b'{"END"', "is no line of a recording"),
        (0, b'"streamfn_recording":1', b'"streamfn_recording":2', "is of version 2; this"),
        (0, b'"sealed":true', b'"sealed":7', "is no valid header"),
        (0, b'"name":"b"', b'"name":"a"', "names a topic twice; got a"),
        (0, b'"partitions":2', b'"partitions":1', "has a range that cannot be, of topic 'a'"),
        (0, b'"ranges"', b'"extra"', "is no valid header"),
    ],
)
def test_wrong_though_sealed(line: int, old: bytes, new: bytes, text: str, tmp_path: Path) -> None:
    """Right checksums do not make a right recording."""
    import re

    def change(lines: list[bytes]) -> None:
        assert old in lines[line]
        lines[line] = lines[line].replace(old, new)

    error = resealed(tmp_path / "day.jsonl", change)
    assert re.search(text, error), error


def test_entries_behind_records(tmp_path: Path) -> None:
    """State is what a recording begins with."""
    error = resealed(tmp_path / "day.jsonl", lambda lines: lines.insert(8, lines[1]))
    assert "has an entry of a store behind records" in error


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("x.jsonl", b"", "is empty; a recording begins with"),
        ("x.jsonl.gz", b"", "is empty"),
        ("x.jsonl.zst", b"", "is empty"),
        ("x.avro", b"", "its head: is cut short"),
        ("x.jsonl", b"year,month\n2013,1\n", "line 1: is not the header of a recording; got 'year"),
        ("x.jsonl", b'{"year": 2013}\n', "missing required field `streamfn_recording`"),
        ("x.jsonl", b'{"streamfn_recording": "1"}\n', "is not the header of a recording"),
        ("x.jsonl", b"[" * 100_000, "is not the header of a recording"),
        ("x.jsonl", b"\xff\xfe\x00", "is not the header of a recording"),
        ("x.jsonl", zstandard.compress(b"x"), "is not the header of a recording"),
        ("x.jsonl.zst", b"year,month\n", "is damaged, or is not what its name says; got not valid"),
        ("x.jsonl.zst", zstandard.compress(b"a,b\n"), "is not the header of a recording"),
        ("x.jsonl.gz", b"year,month\n", "is damaged, or is not what its name says"),
        ("x.avro", b"year,month\n", "is no Avro container; check that it is the right file"),
    ],
)  # fmt: skip
def test_something_else(name: str, data: bytes, text: str, tmp_path: Path) -> None:
    """Files of other kinds are told as such."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(RecordingError, match=text):
        open_recording(tmp_path / name)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200), suffix=st.sampled_from(FORMATS))
def test_random_bytes(data: bytes, suffix: str) -> None:
    """Random bytes are no recording, whatever their beginning."""
    start = {".jsonl": b"", ".avro": b"Obj\x01", ".jsonl.gz": b"\x1f\x8b", ".jsonl.zst": b""}
    assert read_changed(suffix, start[suffix] + data).error


def foreign(path: Path, schema: Any, rows: list[Any], said: str | None, codec: str = "null") -> str:
    """The error of an Avro file of another program."""
    metadata = {} if said is None else {"streamfn.recording": said}
    with path.open("wb") as file:
        fastavro.writer(file, schema, rows, codec=codec, metadata=metadata)  # pyright: ignore[reportUnknownMemberType]  # half typed
    return Found(path).error


FLIGHT = {"type": "record", "name": "Flight", "fields": [{"name": "carrier", "type": "string"}]}


@pytest.mark.parametrize(
    ("said", "codec", "text"),
    [
        (None, "null", "its metadata: is not that of a recording"),
        ('{"streamfn_recording":1}', "null", "block 1: does not decode with the schema"),
        ('{"streamfn_recording":1,"sealed":true}', "null", "does not decode with the schema"),
        ('{"streamfn_recording":3}', "null", "its header: is of version 3"),
        (None, "bzip2", "a codec that streamfn does not read: 'bzip2'; write it with one of null"),
    ],
)
def test_another_avro(said: str | None, codec: str, text: str, tmp_path: Path) -> None:
    """Avro files of another schema are no recordings."""
    assert text in foreign(tmp_path / "x.avro", FLIGHT, [{"carrier": "UA"}], said, codec)


def test_header_of_json_kind(tmp_path: Path) -> None:
    """A header that is JSON but cut in its middle says so."""
    path = tmp_path / "day.jsonl"
    path.write_text(json.dumps({"streamfn_recording": 1, "topics": [{"name": 1}]}) + "\n")
    assert "is no valid header; got Expected `str`, got `int`" in Found(path).error
