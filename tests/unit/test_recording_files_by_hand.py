"""Recordings that people or other programs write: little need be said, and mistakes are named."""

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfn.errors import RecordingError
from streamfn.replay.recording import Entry, Range, RecordedStore, RecordedTopic
from streamfn.replay.recordings import jsonl_free
from streamfn.replay.recordings.files import open_recording
from tests.recordings import FORMATS, Row, entries_of, recorded_rows, records_of, write

FIRST = '{"streamfn_recording": 1}'


def by_hand(folder: Path, *lines: str) -> Path:
    """A file of lines."""
    path = folder / "hand.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def rows(path: Path) -> list[Row]:
    """All rows of a recording."""
    return [row for _, row in records_of(path)]


def test_the_least(tmp_path: Path) -> None:
    """Offsets count up, the partition is 0, there is no key; the header is found out."""
    path = by_hand(
        tmp_path,
        FIRST,
        '{"topic": "orders", "timestamp_ms": 1000, "value": "a"}',
        "",
        '{"topic": "orders", "timestamp_ms": 900, "value": null}',
        '{"topic": "orders", "partition": 2, "timestamp_ms": 1500, "key": "k", "value": "b"}\r',
        '{"topic": "orders", "offset": 7, "timestamp_ms": 2000, "value": "c"}',
        '{"topic": "orders", "timestamp_ms": 2000, "value": "d"}',
    )
    assert rows(path) == [
        Row("orders", 0, 0, 1000, None, b"a"),
        Row("orders", 0, 1, 900, None, None),
        Row("orders", 2, 0, 1500, b"k", b"b"),
        Row("orders", 0, 7, 2000, None, b"c"),
        Row("orders", 0, 8, 2000, None, b"d"),
    ]
    inputs = open_recording(path)
    ranges = {0: Range(0, 9), 2: Range(0, 1)}
    assert inputs.header.topics == (RecordedTopic("orders", 3, "input", ranges),)
    assert (inputs.header.source, inputs.total) == ("written by hand", 5)
    assert list(inputs.chunks())
    assert inputs.bytes_done == inputs.bytes_total


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ('{"n": 1, "x": [1.0, 1e3, "ü"]}', '{"n":1,"x":[1.0,1e3,"ü"]}'),
        ("[1, 2]", "[1,2]"),
        ("5", "5"),
        ("0.10", "0.10"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("true", "true"),
        ('"5"', "5"),
        ('"\\"text\\""', '"text"'),
        ('""', ""),
        ('{"base64": "aGk="}', "hi"),
        ('{"base64": 5}', '{"base64":5}'),
        ('{"base64": "aGk=", "x": 1}', '{"base64":"aGk=","x":1}'),
        ("{}", "{}"),
    ],
)
def test_values_as_json(said: str, meant: str, tmp_path: Path) -> None:
    """Text is its bytes; any other JSON is its own text without spaces, numbers as they stand."""
    line = f'{{"topic": "t", "timestamp_ms": 1, "key": {said}, "value": {said}}}'
    assert rows(by_hand(tmp_path, FIRST, line)) == [
        Row("t", 0, 0, 1, meant.encode(), meant.encode())
    ]


def test_headers(tmp_path: Path) -> None:
    """Headers are pairs, text or base64."""
    headers = '[["trace", "x"], ["trace", {"base64": "/w=="}]]'
    line = f'{{"topic": "t", "timestamp_ms": 1, "value": 1, "headers": {headers}}}'
    assert rows(by_hand(tmp_path, FIRST, line))[0].headers == (("trace", b"x"), ("trace", b"\xff"))


def test_a_header_that_says_more(tmp_path: Path) -> None:
    """What the header says is kept; offsets begin at its ranges."""
    topics = '[{"name": "t", "partitions": 4, "ranges": {"1": {"start": 10, "end": 20}}}, '
    topics += '{"name": "u", "role": "global_table", "key": "str"}]'
    path = by_hand(
        tmp_path,
        f'{{"streamfn_recording": 1, "application": "shop", "topics": {topics}}}',
        '{"topic": "t", "partition": 1, "timestamp_ms": 1, "value": 1}',
        '{"topic": "u", "timestamp_ms": 1, "value": 1}',
    )
    assert [row.offset for row in rows(path)] == [10, 0]
    header = open_recording(path).header
    assert header.application == "shop"
    assert header.topics == (
        RecordedTopic("t", 4, "input", {1: Range(10, 20)}),
        RecordedTopic("u", 1, "global_table", {0: Range(0, 1)}, "str"),
    )


def test_a_complete_header_is_believed(tmp_path: Path) -> None:
    """Then the file is not read before it is wanted; topics without records may be named."""
    path = by_hand(
        tmp_path,
        '{"streamfn_recording": 1, "topics": [{"name": "t", "partitions": 1, "ranges": {}}]}',
        "nonsense",
    )
    inputs = open_recording(path)
    assert (inputs.header.topics, inputs.total) == ((RecordedTopic("t", 1, "input", {}),), None)
    with pytest.raises(RecordingError, match="line 2: is no line"):
        list(inputs.chunks())


def test_state(tmp_path: Path) -> None:
    """Entries come first; their stores need not be named."""
    path = by_hand(
        tmp_path,
        FIRST,
        '{"store": "counts", "partition": 1, "key": "k", "value": 5}',
        '{"store": "counts", "key": {"base64": "AA=="}, "value": ""}',
        '{"topic": "t", "timestamp_ms": 1, "value": 1}',
    )
    assert entries_of(path) == [Entry("counts", 1, b"k", b"5"), Entry("counts", 0, b"\0", b"")]
    assert open_recording(path).header.stores == (RecordedStore("counts", "", "", "", 2),)
    assert len(rows(path)) == 1


def test_nothing_but_a_header(tmp_path: Path) -> None:
    """A recording without records is one."""
    path = tmp_path / "hand.jsonl"
    path.write_text(FIRST)
    assert rows(path) == []


LINE = '{"topic": "t", "timestamp_ms": 5, "value": 1'
NAMED = '{"streamfn_recording": 1, "topics": [{"name": "u", "partitions": 1, "ranges": {}}]}'


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["{}"], "line 2: is neither a record nor an entry; name a topic, or a store"),
        (['{"topic": "t", "value": 1}'], "line 2: has no timestamp_ms; add it"),
        (['{"topic": "t", "timestamp_ms": 5}'], "has no value; add it; the value of a tombstone"),
        ([f'{LINE}, "ofset": 1}}'], "line 2: is no line .* unknown field `ofset`.*; see docs"),
        ([f'{LINE}, "partition": -1}}'], "line 2: is no line .*>= 0"),
        ([f'{LINE}, "offset": 9223372036854775808}}'], "line 2: is no line"),
        (["", LINE], "line 3: is no line of a recording; got .*truncated"),
        (["hello"], "line 2: is no line of a recording; got 'hello'"),
        ([f'{LINE}, "key": "\\ud800"}}'], "line 2"),
        ([f"{LINE}}}", LINE.replace("5", "4").replace('"t"', '"u"') + "}"], "line 3: u.* out of r"),
        (
            [f"{LINE}}}", f'{LINE}, "offset": 0}}'],
            r"line 3: t\[0\] offset 0 goes back; got the one",
        ),
        (
            [f"{LINE}}}", '{"store": "s", "key": "k", "value": 1}'],
            "line 3: has an entry of a store",
        ),
        (['{"store": "s", "key": "k", "value": null}'], "line 2: is an entry without key or value"),
        (['{"store": "s", "value": 1}'], "line 2: is an entry without key or value"),
        (['{"store": "s", "key": 1, "value": 1, "offset": 5}'], "is an entry with an offset"),
        ([f'{LINE}, "key": {"[" * 50_000}{"]" * 50_000}}}'], "line 2"),
    ],
)
def test_mistakes(lines: list[str], text: str, tmp_path: Path) -> None:
    """The line is named, and what to do."""
    with pytest.raises(RecordingError, match=text):
        open_recording(by_hand(tmp_path, FIRST, *lines))


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (f"{LINE}}}", r"line 2: t\[0\] is not in the header; name it and its range there"),
        ('{"store": "s", "key": "k", "value": 1}', "line 2: is of store 's', partition 0; got a"),
    ],
)
def test_what_a_complete_header_does_not_know(line: str, text: str, tmp_path: Path) -> None:
    """A header that says all must say it rightly."""
    inputs = open_recording(by_hand(tmp_path, NAMED, line))
    with pytest.raises(RecordingError, match=text):
        assert len(list(inputs.state())) == len(list(inputs.chunks()))


@settings(max_examples=40, deadline=None)
@given(found=recorded_rows(), few=st.integers(1, 4))
def test_a_recording_unsealed(
    found: list[Row], few: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The lines of a sealed file without its checksums are a recording by hand."""
    path = tmp_path_factory.mktemp("hand") / "day.jsonl"
    write(path, found)
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    del lines[0]["sealed"]
    kept = [line for line in lines if not {"check", "end"} & set(line)]
    path.write_text("".join(json.dumps(line) + "\n" for line in kept))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl_free, "FEW", few)
        assert records_of(path) == list(enumerate(found))


@pytest.mark.parametrize("suffix", FORMATS[1:3])
def test_compressed_by_hand(suffix: str, tmp_path: Path) -> None:
    """What gzip or zstd made of such a file is read too, and a cut one is told."""
    import gzip

    import zstandard

    pack = gzip.compress if suffix.endswith("gz") else zstandard.compress
    path = tmp_path / f"hand{suffix}"
    data = pack(f"{FIRST}\n{LINE}}}\n".encode())
    path.write_bytes(data)
    assert len(rows(path)) == 1
    path.write_bytes(data[:-1])
    with pytest.raises(RecordingError, match="is cut short: its end is missing; got Compressed"):
        open_recording(path)


SMALL: dict[str, Any] = {
    "type": "record",
    "name": "Row",
    "fields": [
        {"name": "topic", "type": "string"},
        {"name": "timestamp_ms", "type": "long"},
        {"name": "value", "type": "bytes"},
    ],
}
FULL: dict[str, Any] = SMALL | {
    "fields": [
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["record", "entry"]}},
        {"name": "partition", "type": "int"},
        {"name": "key", "type": ["null", "bytes"]},
        *SMALL["fields"],
    ],
}


def avro(path: Path, schema: dict[str, Any], found: list[dict[str, Any]]) -> Path:
    """An Avro file of another program, with small blocks."""
    buffer = io.BytesIO()
    metadata = {"streamfn.recording": FIRST}
    fastavro.writer(buffer, schema, found, "deflate", 1, metadata)  # pyright: ignore[reportUnknownMemberType]  # half typed
    path.write_bytes(buffer.getvalue())
    return path


def test_avro_of_another_program(tmp_path: Path) -> None:
    """What its schema leaves out is filled in as in lines."""
    found = [{"topic": "t", "timestamp_ms": time, "value": b"v"} for time in (1, 2)]
    path = avro(tmp_path / "x.avro", SMALL, found)
    assert rows(path) == [Row("t", 0, 0, 1, None, b"v"), Row("t", 0, 1, 2, None, b"v")]
    assert open_recording(path).header.topics == (RecordedTopic("t", 1, "input", {0: Range(0, 2)}),)


def full(kind: str, topic: str = "t", **fields: Any) -> dict[str, Any]:
    """A row with defaults."""
    row = {"kind": kind, "topic": topic, "partition": 0, "key": b"k", "value": b"v"}
    return row | {"timestamp_ms": 1} | fields


def test_state_of_another_program(tmp_path: Path) -> None:
    """Entries come first there too."""
    path = avro(tmp_path / "x.avro", FULL, [full("entry", "s"), full("record")])
    assert entries_of(path) == [Entry("s", 0, b"k", b"v")]
    assert rows(path) == [Row("t", 0, 0, 1, b"k", b"v")]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ([full("record"), full("record", partition=-1)], "row 2 from the start of block 1: names"),
        ([full("record", "")], "names no topic, or a partition below 0"),
        ([full("record", timestamp_ms=-2)], "has a timestamp_ms below -1"),
        ([full("entry", key=None)], "is an entry without key or value"),
        ([full("record"), full("entry", "s")], "row 2 .*: has an entry of a store behind records"),
        ([full("record", timestamp_ms=3), full("record", "u")], "row 2 .* out of replay order"),
    ],
)
def test_mistakes_in_avro(found: list[dict[str, Any]], text: str, tmp_path: Path) -> None:
    """The row is named."""
    with pytest.raises(RecordingError, match=text):
        open_recording(avro(tmp_path / "x.avro", FULL, found))
