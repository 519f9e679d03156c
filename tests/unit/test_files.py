"""Files as sources: the same rows in one go or in pieces, and no row is lost without a word."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfn.connectors.files import FileSource
from streamfn.connectors.source import Rejected, Source
from streamfn.errors import ConfigError


def encode(row: dict[str, Any]) -> tuple[bytes | None, bytes | None, int]:
    """The row itself as the value."""
    if "boom" in row.values():
        message = "it said boom"
        raise ValueError(message)
    return None, json.dumps(row).encode(), 0


def source(path: Path | str, **options: Any) -> FileSource:
    """A source whose values are the rows."""
    return FileSource(path, encode=encode, **options)


Seen = tuple[list[Any], list[Rejected], bytes]


def read_all(opened: Source, limit: int = 1000) -> Seen:
    """All rows and refused ones of an opened source, and the last position."""
    rows, rejected = list[Any](), list[Rejected]()
    while True:
        portion = opened.read(limit)
        rows += [json.loads(value or b"") for value in portion.columns.values]
        rejected += portion.rejected
        if portion.at_end:
            return rows, rejected, portion.position


def read_file(path: Path | str, **options: Any) -> Seen:
    """All of a file in one go."""
    with closing(source(path, **options)) as opened:
        opened.open(None)
        return read_all(opened)


def zipped(data: bytes) -> bytes:
    """An archive with one member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.csv", data)
    return buffer.getvalue()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": lambda data: bz2.compress(data, 1),
    ".xz": lzma.compress,
    ".zst": lambda data: zstandard.compress(data[:9]) + zstandard.compress(data[9:]),
    ".zip": zipped,
}

cells = st.text(st.sampled_from('aé,"\n\r ;'), max_size=5)


@st.composite
def csv_files(draw: st.DrawFn) -> bytes:
    """A CSV file: right rows, and lines that may be anything."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=draw(st.sampled_from(["\n", "\r\n"])))
    writer.writerow(["a", "b"])
    for cell in draw(st.lists(st.tuples(cells, cells), min_size=1, max_size=8)):
        writer.writerow(cell)
    lines = draw(st.lists(st.sampled_from([b'x,"y\n', b"1\n", b"\xff,2\n", b"\n", b"boom,2\n"])))
    data = draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + out.getvalue().encode()
    return data + b"".join(lines) + draw(st.sampled_from([b"", b"x,y", b'x,"y']))


@settings(max_examples=150)
@given(csv_files(), st.sampled_from(list(PACK)), st.lists(st.integers(1, 4), min_size=1))
def test_pieces_are_the_whole(data: bytes, suffix: str, limits: list[int]) -> None:
    """Closed and opened again at any committed position, a file gives each row once, in order."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"rows.csv{suffix}")
        path.write_bytes(PACK[suffix](data))
        rows, rejected, _ = read_file(path)
        pieces, refused = list[Any](), list[Rejected]()
        position, at_end = None, False
        while not at_end:
            opened = source(path)
            opened.open(position)
            portion = opened.read(limits[0])
            opened.close()
            limits = [*limits[1:], limits[0]]
            pieces += [json.loads(value or b"") for value in portion.columns.values]
            refused += portion.rejected
            position, at_end = portion.position, portion.at_end
        assert (pieces, refused) == (rows, rejected)


@given(st.lists(st.tuples(cells, cells), min_size=1))
def test_csv_is_read_as_it_was_written(rows: list[tuple[str, str]]) -> None:
    """Quotes, commas and newlines inside quotes come back; an empty text is None."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.csv")
        with path.open("w", newline="", encoding="utf-8") as out:
            csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
        expected = [{"a": a or None, "b": b or None} for a, b in rows]
        assert read_file(path)[:2] == (expected, [])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test writes its CSV file."""
    return tmp_path / "rows.csv"


def test_refused_rows_have_line_bytes_and_reason(path: Path) -> None:
    """Wrong column counts, wrong bytes, stray quotes, errors of ``encode``: one row each."""
    path.write_bytes(b'a,b\n1\n"x\ny",2\n\n\xff,3\nboom,4\n5,"6\n7,8\n')
    rows, rejected, _ = read_file(path)
    assert rows == [{"a": "x\ny", "b": "2"}, {"a": "7", "b": "8"}]
    assert [(each.line, each.raw) for each in rejected] == [
        (2, b"1\n"),
        (6, b"\xff,3\n"),
        (7, b"boom,4\n"),
        (8, b'5,"6\n'),
    ]
    reasons = [each.reason for each in rejected]
    assert reasons[0] == "1 columns; the header has 2"
    assert reasons[1].startswith("not UTF-8")
    assert reasons[2] == "it said boom"
    assert reasons[3].startswith("not CSV")


def test_a_stray_quote_costs_one_row_only(path: Path) -> None:
    """A quote that is never closed does not swallow the thousands of rows behind it."""
    path.write_text('a,b\n"stray,1\n' + "".join(f"{n},x\n" for n in range(40_000)))
    rows, rejected, _ = read_file(path)
    assert [each.line for each in rejected] == [2]
    assert [row["a"] for row in rows] == [str(n) for n in range(40_000)]


def test_a_line_without_end_does_not_fill_the_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line beyond the limit is one refused row, cut short."""
    monkeypatch.setattr("streamfn.connectors.file_lines.MAX_LINE_BYTES", 100)
    monkeypatch.setattr("streamfn.connectors.file_lines.MAX_RAW_BYTES", 10)
    path.write_bytes(b"a\n" + b"x" * 1001 + b"\nlast\n")
    rows, rejected, position = read_file(path)
    assert rows == [{"a": "last"}]
    assert [(each.line, each.raw) for each in rejected] == [(2, b"x" * 10)]
    assert json.loads(position)["offset"] == path.stat().st_size


def test_json_lines(tmp_path: Path) -> None:
    """One object a line; empty lines are skipped, everything else is refused."""
    path = tmp_path / "rows.jsonl.gz"
    data = b'\xef\xbb\xbf{"a":1}\n\n[1]\n{"a":\n{"a":"\xff"}\n{"a":[null]}'
    path.write_bytes(gzip.compress(data))
    rows, rejected, _ = read_file(path)
    assert rows == [{"a": 1}, {"a": [None]}]
    assert [each.line for each in rejected] == [3, 4, 5]
    assert rejected[2].reason.startswith("not UTF-8")


def test_formats_and_nulls(tmp_path: Path) -> None:
    """The suffix tells the format, and tabs for .tsv; options overrule it."""
    (tmp_path / "rows.TSV").write_text("a\tb\nNA\t-\n")
    assert read_file(tmp_path / "rows.TSV")[0] == [{"a": None, "b": "-"}]
    (tmp_path / "rows.txt").write_text("a;b\nNA;-\n")
    seen = read_file(tmp_path / "rows.txt", format="csv", delimiter=";", null=("-",))
    assert seen[0] == [{"a": "NA", "b": None}]


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_a_truncated_file_gives_its_rows_first(tmp_path: Path, suffix: str) -> None:
    """All whole rows are delivered, then one error says where the file broke off."""
    path = tmp_path / f"rows.csv{suffix}"
    noise = os.urandom(200_000).hex()
    lines = [f"{n},{noise[n * 40 : n * 40 + 40]}\n" for n in range(10_000)]
    packed = PACK[suffix](("a,b\n" + "".join(lines)).encode())
    path.write_bytes(packed[: len(packed) * 3 // 4])
    rows = 0
    with closing(source(path)) as opened:
        opened.open(None)
        with pytest.raises(ConfigError, match="truncated after line") as caught:  # noqa: PT012
            for portion in iter(lambda: opened.read(1000), None):
                rows += len(portion.columns)
        with pytest.raises(ConfigError, match="truncated"):
            opened.read(1000)
    assert rows > 1000
    assert f"after line {rows + 1}, byte {len('a,b' + ''.join(lines[:rows])) + 1} " in str(
        caught.value
    )


def test_members_of_archives(tmp_path: Path) -> None:
    """A single member needs no name; among several one must be named."""
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("one.csv", "a\n1\n")
        archive.writestr("two.jsonl", '{"a":2}\n')
    assert read_file(f"{path}!one.csv")[0] == [{"a": "1"}]
    assert read_file(f"{path}!two.jsonl")[0] == [{"a": 2}]
    for mistake, text in (
        (path, "exactly one member; got one.csv, two.jsonl"),
        (f"{path}!x.csv", "x.csv"),
    ):
        with pytest.raises(ConfigError, match=text):
            read_file(mistake)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty; got 0 bytes"),
        (b"a,b\n", "has no rows"),
        (b"a,b\n\n\n", "has no rows"),
        (b"a,b,a\n1,2,3\n", "got 'a' twice"),
        (b"\na\n1\n", "got an empty line"),
        (b"\xff\n1\n", "header is not UTF-8"),
        (b'"a\n1\n', "header is not CSV"),
        (None, "does not exist"),
    ],
)
def test_files_that_cannot_be_read(path: Path, content: bytes | None, text: str) -> None:
    """Each is one error that names the file."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=text) as caught:
        read_file(path)
    assert str(path) in str(caught.value)


def test_other_things_that_cannot_be_read(tmp_path: Path) -> None:
    """A folder, a file that is not what its suffix says, an unknown format, a followed .gz."""
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "rows.csv.gz").write_text("a\n1\n")
    (tmp_path / "rows.csv.zst").write_text("a\n1\n")
    (tmp_path / "rows.csv.zip").write_text("a\n1\n")
    (tmp_path / "none.csv.gz").write_bytes(gzip.compress(b""))
    (tmp_path / "rows.dat").write_text("a\n1\n")
    (tmp_path / "folder").mkdir()
    for name, text in (
        ("folder.csv", "is a folder"),
        ("folder", "is a folder"),
        ("nosuch", "does not exist"),
        ("rows.csv.gz", "cannot be read.*gzip"),
        ("rows.csv.zst", "cannot be read.*zstd"),
        ("rows.csv.zip", "cannot be read.*zip"),
        ("none.csv.gz", "nothing in it"),
        ("rows.dat", "no known format; got suffix '.dat'"),
    ):
        with pytest.raises(ConfigError, match=text):
            read_file(tmp_path / name)
    with pytest.raises(ConfigError, match="cannot be followed"):
        source("rows.csv.gz", follow=True)


def changed(path: Path, before: bytes, after: bytes) -> Seen:
    """Read a file, write it anew, and go on from where the first reading ended."""
    path.write_bytes(before)
    position = read_file(path)[2]
    path.write_bytes(after)
    with closing(source(path)) as opened:
        opened.open(position)
        return read_all(opened)


def test_a_grown_file_goes_on(path: Path) -> None:
    """Rows that were appended are read, and nothing again; an unchanged file has no more."""
    assert changed(path, b"a\n1\n", b"a\n1\n2\n")[0] == [{"a": "2"}]
    assert changed(path, b"a\n1", b"a\n1\n2\n")[0] == [{"a": "2"}]
    assert changed(path, b"a\n1\n", b"a\n1\n")[0] == []


def test_a_row_behind_the_position_may_be_mended(path: Path) -> None:
    """What was not read yet may change, in length too: a bad row is cured and the load goes on."""
    path.write_bytes(b"a,b\n1,1\n2\n3,3\n")
    with closing(source(path)) as opened:
        opened.open(None)
        position = opened.read(1).position
    path.write_bytes(b"a,b\n1,1\n2,22\n3,3\n")
    with closing(source(path)) as opened:
        opened.open(position)
        assert read_all(opened)[0] == [{"a": "2", "b": "22"}, {"a": "3", "b": "3"}]


@pytest.mark.parametrize(
    ("after", "text"),
    [
        (b"a\n12\n", "shrunk since.*got 5 bytes, 6 then"),
        (b"a\n0\n2\n3\n", "begins differently"),
        (b"a\n1\n22\n", "read half written"),
    ],
)
def test_another_file_is_not_taken_for_the_rest(path: Path, after: bytes, text: str) -> None:
    """A file that lost or changed what was read is refused, with the cure."""
    with pytest.raises(ConfigError, match=f"{text}.*give the source another name"):
        changed(path, b"a\n1\n2" + b"\n" * ("half" not in text), after)


def test_positions_of_others_are_refused(tmp_path: Path) -> None:
    """A position of another file, of no file, or of a compressed file that changed."""
    packed, plain = tmp_path / "rows.csv.gz", tmp_path / "rows.csv"
    plain.write_bytes(b"a\n1\n")
    packed.write_bytes(gzip.compress(b"a\n1\n"))
    position = read_file(packed)[2]
    with pytest.raises(ConfigError, match=r"not the file of its position, 'rows\.csv\.gz'"):
        source(plain).open(position)
    with pytest.raises(ConfigError, match="position of another kind"):
        source(plain).open(b"x")
    packed.write_bytes(packed.read_bytes() + gzip.compress(b"2\n"))
    with pytest.raises(ConfigError, match="has changed since"):
        source(packed).open(position)


def test_following_waits_for_whole_rows(path: Path) -> None:
    """What is half written, header and quoted newlines too, is read when it is complete."""
    path.write_bytes(b"a")
    opened = source(path, follow=True)
    opened.open(None)
    for appended, expected in (
        (b"", []),
        (b",b\n1,", []),
        (b'2\n"x\n', [{"a": "1", "b": "2"}]),
        (b'y",3\n4', [{"a": "x\ny", "b": "3"}]),
        (b"", []),
        (b",5\n", [{"a": "4", "b": "5"}]),
    ):
        with path.open("ab") as out:
            out.write(appended)
        rows, rejected, position = read_all(opened)
        assert (rows, rejected) == (expected, [])
    assert opened.progress() == (path.stat().st_size,) * 2
    assert json.loads(position)["offset"] == path.stat().st_size
    path.write_bytes(b"a,b\n")
    with pytest.raises(ConfigError, match="replaced or has shrunk"):
        opened.read(1)
    opened.close()


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    """Bytes done grow to the bytes in total, whatever the compression."""
    for suffix, pack in PACK.items():
        path = tmp_path / f"rows.csv{suffix}"
        path.write_bytes(pack(b"a\n" + b"1\n" * 1000))
        opened = source(path)
        assert opened.progress() == (0, 0)
        opened.open(None)
        assert opened.progress()[0] <= opened.progress()[1]
        read_all(opened)
        assert opened.progress()[0] == opened.progress()[1] > 0
        opened.close()
