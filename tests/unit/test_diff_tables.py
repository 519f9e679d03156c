"""Tables and windows have no taps of their own: a change in one is found all the same."""

from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from streamfn.graph.plan import Plan
from streamfn.record import Batch, TopicPartition
from streamfn.replay.diff.compare import StateRow, compare_effects, state_rows
from streamfn.replay.effects import Collected, Effects
from streamfn.replay.recording import Header, Range, RecordedTopic
from streamfn.replay.recordings.files import open_recording, recording_to
from streamfn.replay.replay import replay

SOURCE = """
from datetime import timedelta
import streamfn as sf

app = sf.App("sums")
rows = app.topic("rows", key=str, value=int, partitions=2)
doubles = app.topic("doubles", key=str, value=int)
windows = app.topic("windows", key=sf.Windowed[str], value=int)
stream = app.stream(rows)
agg = stream.group_by_key().aggregate(lambda: 0, lambda all, one: all + one, name="agg", value=int)
agg.map_values(lambda value: value * 2, value=int, name="double").to_stream().to(doubles)
tens = stream.group_by_key().window(sf.Tumbling(timedelta(milliseconds=10)))
win = tens.aggregate(lambda: 0, lambda all, one: one + all, name="win", value=int)
win.to_stream().to(windows)
"""
ROWS = 60


class Made(NamedTuple):
    """What a replay has made."""

    effects: list[Effects]
    state: list[StateRow]
    plan: Plan


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Numbers of two keys."""
    path = tmp_path_factory.mktemp("recording") / "rows.jsonl"
    half = Range(0, ROWS // 2)
    topics = (RecordedTopic("rows", 2, "input", {0: half, 1: half}),)
    with recording_to(path, Header("sums", 0, "here", topics)) as writer:
        for at in range(ROWS):
            source, row = TopicPartition("rows", at % 2), at // 2
            key, value = b"k%d" % (at % 2), b"%d" % at
            writer.chunk([Batch(source, [key], [value], [at], [row], row + 1, None, [at])])
    return path


def made_by(source: str, path: Path) -> Made:
    """Replay a source text."""
    module = ModuleType("sums_changed")
    exec(compile(source, "sums_changed.py", "exec", dont_inherit=True), module.__dict__)
    found, inputs = Collected(), open_recording(path)
    with replay(module.app.topology(), inputs, found, taps=True, in_memory=True) as done:
        return Made(found.found, list(state_rows(done)), done.plan)


@pytest.mark.parametrize(
    ("old", "new", "stages"),
    [
        ("all + one", "all + one", []),
        ("all + one", "all + one + (one > 20)", ["agg"]),
        ("value * 2", "value * 3", ["double"]),
        ("one + all", "one + all + (one == 20)", ["win"]),
        ("one + all", "max(one, all)", ["win"]),
    ],
)
def test_table_is_blamed(old: str, new: str, stages: list[str], recording: Path) -> None:
    """The table whose function was changed, not the stream made of it or a table behind it."""
    one, other = made_by(SOURCE, recording), made_by(SOURCE.replace(old, new), recording)
    comparison = compare_effects(
        one.effects, other.effects, other.plan,
        other_plan=one.plan, states=(one.state, other.state),
    )  # fmt: skip
    assert comparison.blamed == stages, comparison.lines()
    assert comparison.records > 4 * ROWS
