"""Which rows of a recording can be judged, by what its header and the rows themselves say."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import streamfn as sf
from streamfn.connectors.log import Committed
from streamfn.errors import LogError
from streamfn.graph.plan import plan
from streamfn.record import Batch, Headers, TopicPartition
from streamfn.replay.diff.edges import Edges
from streamfn.replay.diff.rows import BEGIN, END, MAYBE_BEGIN, MAYBE_END
from streamfn.replay.effects import Effects
from streamfn.replay.ranges import Span
from streamfn.replay.recording import CUT_BY_OFFSET, CUT_BY_TIME, Header, Range, RecordedTopic
from streamfn.replay.recordings.file_header import encode_header
from streamfn.replay.recordings.files import open_recording, recording_to
from streamfn.replay.roles import Selection, header_of, select
from tests.unit.log_world import NOW_MS, opened_log, write

IN, OUT = TopicPartition("in", 0), TopicPartition("out", 0)
EDGED = Range(5, 20, own_from=7, sure_from=9, sure_to=15)


def edges_of(
    out: Range, source: Range | None = None, *, note: str = "", steady: bool = False,
    in_flight: int = 0, inputs: tuple[str, ...] = ("in",),
) -> Edges:  # fmt: skip
    """What is known of a topic that is made of another one."""
    topics = (
        RecordedTopic("in", 1, "input", {0: source or Range(0, 10)}),
        RecordedTopic("out", 1, "output", {0: out}),
    )
    header = Header("edges", 0, "", topics, note=note, in_flight=in_flight)
    return Edges(header, {"out": inputs}, {"in"}, "dead", ["out"] if steady else [])


def recorded(edges: Edges, offsets: Iterable[int], headers: Headers = ()) -> dict[int, int]:
    """The marks of recorded rows, by offset; those that are left out are not there."""
    found = [*offsets]
    rows = len(found)
    told = [headers] * rows if headers else None
    batch = Batch(OUT, [b"k"] * rows, [b"v"] * rows, found[:], found, found[-1] + 1, told)
    return {row.offset: row.unsure for row in edges.recorded(batch)}


def made(edges: Edges, roots: Iterable[int]) -> dict[int, int]:
    """The marks of rows that were made of some records, by these."""
    found = [*roots]
    rows = len(found)
    effects = Effects(
        "out", 0, 0, [b"k"] * rows, [b"v"] * rows, found, {}, found, [(IN, at) for at in found],
        [""] * rows,
    )  # fmt: skip
    return {row.rank: row.unsure for row in edges.made(effects)}


def test_where_a_row_stands() -> None:
    """In front of what is the program's own it is left out, at the edges it is in doubt."""
    edges = edges_of(EDGED)
    assert recorded(edges, range(5, 20)) == {
        **dict.fromkeys((7, 8), BEGIN), **dict.fromkeys(range(9, 15), 0),
        **dict.fromkeys(range(15, 20), END),
    }  # fmt: skip
    assert edges.left_out == [2, 0]


def test_how_far_the_real_run_had_come() -> None:
    """What it had not come to is in doubt, or left out if nothing was written after that."""
    told = Range(0, 10, done=6)
    edges = edges_of(EDGED, told)
    assert made(edges, range(4, 9)) == {4: 0, 5: 0, 6: END, 7: END, 8: END}
    edges = edges_of(Range(0, 20, sure_to=20), told)
    assert made(edges, range(4, 9)) == {4: 0, 5: 0}
    assert edges.left_out == [0, 3]


def test_a_header_that_says_nothing() -> None:
    """All is compared, but where the recording begins in the middle, or was cut."""
    rows = range(3)
    assert set(recorded(edges_of(Range(0, 9)), rows).values()) == {0}
    assert set(made(edges_of(Range(0, 9)), rows).values()) == {0}
    both = MAYBE_BEGIN | MAYBE_END
    for edges in (edges_of(Range(0, 9), Range(3, 9)), edges_of(Range(0, 9), note=CUT_BY_OFFSET)):
        assert set(recorded(edges, rows).values()) == {both}
        assert set(made(edges, rows).values()) == {both}


def test_between_two_times() -> None:
    """Rows of other times are left out; late ones are in doubt where it is known of the inputs."""
    out = Range(0, 90, from_ms=10, to_ms=20)
    late = Range(0, 90, late_ms=18)
    edges = edges_of(out, late, note=CUT_BY_TIME, steady=True)
    assert recorded(edges, range(15, 20)) == {15: 0, 16: 0, 17: 0, 18: END, 19: END}
    assert made(edges, range(8, 22)) == dict.fromkeys(range(10, 20), 0)
    edges = edges_of(out, late, note=CUT_BY_TIME)
    assert set(recorded(edges, range(15, 20)).values()) == {MAYBE_BEGIN | MAYBE_END}
    behind = edges_of(out, late, note=CUT_BY_TIME, in_flight=2, inputs=("between",))
    assert set(made(behind, range(10, 20)).values()) == {MAYBE_END}


@pytest.mark.parametrize(
    ("header", "offset", "inside"),
    [
        ("price 1a2b in 0 3", 16, True),
        ("price 1a2b in 0 10", 16, False),
        ("price 1a2b in 1 3", 16, False),
        ("price 1a2b other 0 3", 16, None),
        ("price 1a2b - 0 -1", 16, None),
        ("of somebody else", 16, None),
    ],
)
def test_rows_that_say_what_they_are_of(header: str, offset: int, inside: bool | None) -> None:
    """Provenance settles what the offset leaves open; what nobody can read settles nothing."""
    told = (("streamfn.provenance", header.encode()),)
    expected = {} if inside is False else {offset: 0 if inside else END}
    assert recorded(edges_of(EDGED), [offset], told) == expected


def test_dead_letters_say_it_too() -> None:
    """They are the records that failed."""
    topics = (
        RecordedTopic("in", 1, "input", {0: Range(0, 10)}),
        RecordedTopic("out", 1, "dead_letters", {0: EDGED}),
    )
    edges = Edges(Header("edges", 0, "", topics), {}, {"in"}, "out")
    names = ("topic", "partition", "offset")

    def letter(*facts: bytes) -> Headers:
        return tuple((f"streamfn.{name}", fact) for name, fact in zip(names, facts, strict=True))

    assert recorded(edges, [16], letter(b"in", b"0", b"9")) == {16: 0}
    assert recorded(edges, [16], letter(b"in", b"0", b"10")) == {}
    assert recorded(edges, [16], letter(b"in", b"0", b"x")) == {16: END}
    feed = (*letter(b"in", b"0", b"9"), ("streamfn.feed", b"f"))
    assert recorded(edges, [16], feed) == {16: END}


@pytest.mark.parametrize("name", ["a.jsonl", "a.avro"])
def test_edges_are_written_and_read(name: str, tmp_path: Path) -> None:
    """A file holds what a header knows."""
    topics = (RecordedTopic("out", 1, "output", {0: EDGED}),)
    header = Header("edges", 0, "here", topics, in_flight=3)
    with recording_to(tmp_path / name, header):
        pass
    inputs = open_recording(tmp_path / name)
    assert inputs.header == header
    inputs.close()


def test_a_header_without_edges_does_not_speak_of_them() -> None:
    """It is the one of before."""
    topics = (RecordedTopic("a", 1, "input", {0: Range(0, 2)}),)
    line = encode_header(Header("edges", 0, "here", topics))
    assert b'"ranges":{"0":{"start":0,"end":2}}' in line
    assert b"in_flight" not in line


@dataclass
class Refusing:
    """A log whose positions may not be seen."""

    log: Any
    retriable: bool = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.log, name)

    def committed(self, sources: Iterable[TopicPartition]) -> Mapping[TopicPartition, Committed]:
        """Say no."""
        message = "Group authorization failed"
        raise LogError(message, retriable=self.retriable)


def test_positions_that_may_not_be_seen() -> None:
    """The recording is made without them, and says what that costs; an outage is no such thing."""
    app = sf.App("edges")
    rows = app.topic("rows", key=str, value=str, partitions=1)
    app.stream(rows).to(app.topic("copies", key=str, value=str, partitions=1))
    log = opened_log()
    for name in ("rows", "copies"):
        log.create_topic(name, 1, {})
        write(log, name, 0, [1, 2, 3])
    planned = plan(app.topology())
    refusing: Any = Refusing(log)
    selected = select(refusing, planned, Selection(), Span(), NOW_MS)
    assert selected.notes[0].startswith("where edges stands cannot be asked (Group authorization")
    header = header_of(log, selected, application="edges", source="", now_ms=NOW_MS)
    assert {part.sure_to for topic in header.topics for part in topic.ranges.values()} == {-1}
    outage: Any = Refusing(log, retriable=True)
    with pytest.raises(LogError):
        select(outage, planned, Selection(), Span(), NOW_MS)
