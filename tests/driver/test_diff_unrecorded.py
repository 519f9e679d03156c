"""A real run did what nobody has recorded: it fired timers, and merged partitions of one key.

An untouched program has no differences then; a changed one still has.
"""

from collections.abc import Sequence
from pathlib import Path

from streamfn.record import TopicPartition
from streamfn.replay.diff.compare import Comparison, Options, diff_against_run
from streamfn.replay.diff.orders import Ordered, in_lanes
from streamfn.replay.diff.rows import Content, Pair, Row
from streamfn.replay.recording import Header, Range, RecordedTopic
from streamfn.replay.recordings.files import open_recording, recording_to
from tests.driver.test_diff_versions import ROOT_MS, batch

PROGRAM = """
from collections.abc import Iterator
from datetime import timedelta
import streamfn as sf

app = sf.App("beats")
numbers = app.topic("numbers", key=str, value=int, partitions=2)
some = app.topic("some", key=str, value=int, partitions=1)
sums = app.topic("sums", key=str, value=int, partitions=1)
plain = app.topic("plain", key=str, value=int, partitions=1)

app.stream(numbers).filter(lambda number: number // 2 % 3 == 0).to(some)
app.stream(numbers).map_values(lambda number: number + 1, value=int).to(plain)

@app.function(numbers, to=sums)
def total(number: int, sum: sf.Value[int]) -> int:
    sum.value += number
    return sum.value

@total.every(timedelta(seconds=1), clock="wall")
def beat(context: sf.Context[str]) -> Iterator[sf.Outgoing[str, int]]:
    yield sums.record(key="beat", value=-1)
"""
ROWS = 40


def rows_of(numbers: Sequence[int], more: int = 0) -> list[tuple[int, int]]:
    """Value and time of what a step has made of some inputs."""
    return [(number + more, ROOT_MS + 100 * (number // 2)) for number in numbers]


def recorded(path: Path, some: Sequence[int], beats: int = 3) -> Path:
    """One key in two partitions, by turns, and what the real run made of it."""
    numbers = range(ROWS)
    sums = [(sum(range(number + 1)), at_ms) for number, at_ms in rows_of(numbers)]
    sums += [(-1, ROOT_MS + 100 * ROWS)] * beats
    written = {"some": rows_of(some), "plain": rows_of(numbers, 1), "sums": sums}
    rows = [
        ("numbers", at % 2, at // 2, value, at_ms) for at, (value, at_ms) in
        enumerate(rows_of(numbers))
    ]  # fmt: skip
    rows += [(name, 0, at, *row) for name, made in written.items() for at, row in enumerate(made)]
    topics = [RecordedTopic("numbers", 2, "input", {n: Range(0, ROWS // 2) for n in range(2)})]
    topics += [RecordedTopic(n, 1, "output", {0: Range(0, len(m))}) for n, m in written.items()]
    with recording_to(path, Header("beats", 0, "here", tuple(topics))) as writer:
        for rank, row in enumerate(sorted(rows, key=lambda row: (row[4], row[:3]))):
            name, partition, offset, value, at_ms = row
            key = b"beat" if value < 0 else b"k"
            chunk = [batch(name, partition, offset, key, str(value).encode(), at_ms, rank)]
            writer.chunk(chunk)
    return path


def compared(path: Path, folder: Path, old: str = "", new: str = "") -> Comparison:
    """Compare a program with the real run."""
    program = folder / "program.py"
    program.write_text(PROGRAM.replace(old, new) if old else PROGRAM)
    inputs = open_recording(path)
    try:
        return diff_against_run(str(program), inputs, Options(self_check=False))
    finally:
        inputs.close()


CHOSEN = [number for number in range(ROWS) if number // 2 % 3 == 0]
MERGED = [number ^ 1 for number in CHOSEN]
"""The two partitions, the other one first."""


def test_partitions_of_one_key_are_merged_somehow(tmp_path: Path) -> None:
    """The other order is none that the program has made."""
    comparison = compared(recorded(tmp_path / "r.jsonl", MERGED), tmp_path)
    assert comparison.groups == []
    assert comparison.exit_code == 0


def test_timers_of_the_wall_clock_are_not_judged(tmp_path: Path) -> None:
    """When they fired is not recorded; what they wrote is counted, and nothing else is let pass."""
    path = recorded(tmp_path / "r.jsonl", CHOSEN)
    comparison = compared(path, tmp_path)
    assert comparison.groups == []
    assert comparison.exit_code == 0
    assert {(found.topic, found.edge) for found in comparison.not_judged} == {
        ("sums", "wall clock")
    }
    assert any("by the wall clock of sums; when the real" in text for text in comparison.notices)
    changed = compared(path, tmp_path, "number + 1", "number + 100")
    assert {(group.stage, group.kind) for group in changed.groups if not group.follows} == {
        (changed.groups[0].stage, "changed")
    }
    assert changed.groups[0].places == {"plain": ROWS}


def test_an_order_that_the_program_has_changed(tmp_path: Path) -> None:
    """Rows of one partition have an order."""
    left = [_row(number, offset) for offset, number in enumerate([0, 1, 2, 3])]
    right = [_row(number, offset) for offset, number in enumerate([2, 1, 0, 3])]
    pairs = _paired(left, right)
    assert any(pair.moved for pair in in_lanes(pairs))
    other = [row._replace(root=(TopicPartition("in", row.offset), 0)) for row in right]
    pairs = _paired(left, other)
    assert any(pair.moved for pair in pairs)
    assert not any(pair.moved for pair in in_lanes(pairs))


def _row(number: int, offset: int) -> Row:
    content = Content(b"k", b"%d" % number, ROOT_MS)
    return Row(content, 0, offset, offset, (TopicPartition("in", 0), offset))


def _paired(left: Sequence[Row], right: Sequence[Row]) -> list[Pair]:
    rows = Ordered(lambda row: row.content.key)
    return [*rows.add(left, right), *rows.finish()]
