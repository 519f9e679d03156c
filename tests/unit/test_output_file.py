"""The file of a replay's outputs: its lines, held to what docs/replay.md says of each.

Chunks of made-up effects go in; each line is worked out here on its own, as plain JSON. Invariant:
lines stand in the order of the input records, then of topics, partitions and offsets.
"""

from base64 import b64encode
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from streamfn.record import Headers, TopicPartition
from streamfn.replay.effects import Effects
from streamfn.replay.output_file import OutputFile

DATA = st.none() | st.binary(max_size=6) | st.text(max_size=6).map(str.encode)
HEADERS = st.lists(st.tuples(st.text(max_size=3), st.binary(max_size=3)), max_size=2).map(tuple)
ROWS = st.lists(st.tuples(st.integers(0, 5), DATA, DATA, st.integers(-1, 9), HEADERS), max_size=8)


def effects_of(topic: str, first: int, rows: list[Any]) -> Effects:
    """Rows of a partition, in order of rank."""
    found = Effects(topic, 3, first)
    for number, (rank, key, value, at_ms, headers) in enumerate(sorted(rows, key=lambda r: r[0])):
        found.keys.append(key)
        found.values.append(value)
        found.timestamps.append(at_ms)
        found.ranks.append(rank)
        found.roots.append((TopicPartition("in", rank % 2), 100 + rank))
        found.stages.append(f"stage {key!r}")
        if headers:
            found.headers[number] = headers
    return found


def said(data: bytes | None) -> Any:
    """What the page says of keys and values."""
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(data or b"").decode()}


def line_of(found: Effects, row: int) -> bytes:
    """A line, made by itself."""
    rank = found.ranks[row]
    line: dict[str, Any] = {
        "topic": found.topic, "partition": 3, "offset": found.first_offset + row,
        "timestamp_ms": found.timestamps[row], "key": said(found.keys[row]),
        "value": said(found.values[row]), "stage": found.stages[row],
        "from": ["in", rank % 2, 100 + rank],
    }  # fmt: skip
    headers: Headers = found.headers.get(row, ())
    if headers:
        line["headers"] = [[name, said(value)] for name, value in headers]
    return msgspec.json.encode(line) + b"\n"


@given(ROWS, ROWS, st.integers(0, 1_000_000))
def test_lines_are_as_documented(one: list[Any], other: list[Any], first: int) -> None:
    """Text, bytes, nulls and headers of several partitions, record by record."""
    found = [effects_of("a", first, one), effects_of('b"ü', 0, other)]
    written: list[bytes] = []
    OutputFile(written.append).effects(found)
    want: list[bytes] = []
    for rank in range(6):
        for each in found:
            want += [line_of(each, row) for row in range(len(each)) if each.ranks[row] == rank]
    assert b"".join(written) == b"".join(want)
