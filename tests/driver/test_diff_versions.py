"""Two versions whose records have other times or policies, or go other ways through them."""

from pathlib import Path

import pytest

from streamfn.record import Batch, TopicPartition
from streamfn.replay.diff.compare import Comparison, Options, diff_versions
from streamfn.replay.recording import Header, Range, RecordedTopic
from streamfn.replay.recordings.files import open_recording, recording_to

CLICKS = """
import msgspec
import streamfn as sf

app = sf.App("clicks", on_error="dead_letter")

class Click(msgspec.Struct):
    page: str
    at: int

class Page(msgspec.Struct):
    name: str

def time_of(click: Click) -> int:
    return click.at

clicks = app.topic("clicks", key=str, value=Click, partitions=2, timestamp=time_of)
names = app.global_table(app.topic("names", key=str, value=Page, partitions=1))
visits = app.topic("visits", key=str, value=str)
rare = app.topic("rare", key=str, value=Click)

@app.function(clicks)
def check(click: Click) -> Click:
    if click.page == "p3":
        raise ValueError("no such page")
    return click

def rarely(click: Click) -> bool:
    return not click.at % 7

few, many = app.stream(check).split(rarely)
few.to(rare)

def page_of(click: Click) -> str:
    return click.page

def joined(click: Click, page: Page) -> str:
    return page.name

named = many.join(names, joined, on=page_of)
named.map_values(lambda name: name + "!", value=str).to(visits)
"""
SKIPPING = '@app.function(clicks, on_error="skip")'
ROWS, PAGES = 120, 5
ROOT_MS = 1_700_000_000_000


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clicks whose own times are not those at which they were written."""
    path = tmp_path_factory.mktemp("recording") / "clicks.jsonl"
    half = {0: Range(0, ROWS // 2), 1: Range(0, ROWS // 2)}
    topics = (
        RecordedTopic("names", 1, "global_table", {0: Range(0, PAGES)}),
        RecordedTopic("clicks", 2, "input", half),
    )
    with recording_to(path, Header("clicks", 0, "here", topics)) as writer:
        for page in range(PAGES):
            value = b'{"name":"page %d"}' % page
            writer.chunk([batch("names", 0, page, b"p%d" % page, value, ROOT_MS + page, page)])
        for at in range(ROWS):
            value = b'{"page":"p%d","at":%d}' % (at % PAGES, ROOT_MS + 10 * at + (at % 3) * 15)
            key, rank = b"k%d" % (at % 2), PAGES + at
            writer.chunk([batch("clicks", at % 2, at // 2, key, value, ROOT_MS + 10 + at, rank)])
    return path


def batch(
    topic: str, partition: int, offset: int, key: bytes, value: bytes, at_ms: int, rank: int
) -> Batch:
    """Make a row of a topic."""
    source = TopicPartition(topic, partition)
    return Batch(source, [key], [value], [at_ms], [offset], offset + 1, None, [rank])


def compared(recording: Path, folder: Path, old: str = "", new: str = "") -> Comparison:
    """Compare the program with a changed one."""
    assert not old or CLICKS.count(old) == 1
    (folder / "one.py").write_text(CLICKS)
    (folder / "other.py").write_text(CLICKS.replace(old, new) if old else CLICKS)
    inputs = open_recording(recording)
    try:
        options = Options(self_check=False)
        return diff_versions(str(folder / "other.py"), str(folder / "one.py"), inputs, options)
    finally:
        inputs.close()


def blamed(comparison: Comparison) -> set[tuple[str, str, str]]:
    """Stage, field and kind of what is to blame."""
    return {(g.stage, g.field, g.kind) for g in comparison.groups if not g.follows}


def test_nothing_is_changed(recording: Path, tmp_path: Path) -> None:
    """The program is equal to itself."""
    comparison = compared(recording, tmp_path)
    assert comparison.lines() == [f"{comparison.records:,} records compared, all equal"]


def test_other_times(recording: Path, tmp_path: Path) -> None:
    """Each row is compared with that of the same record, in whatever order the two read them."""
    comparison = compared(
        recording, tmp_path, "return click.at\n", 'return click.at + 25 * (click.page == "p1")\n'
    )
    assert blamed(comparison) == {("clicks", "<timestamp>", "changed")}
    assert {group.field for group in comparison.groups} == {"<timestamp>"}
    (first,) = (group for group in comparison.groups if not group.follows)
    assert first.count == ROWS // PAGES


def test_records_that_are_refused(recording: Path, tmp_path: Path) -> None:
    """A value that does not decode any more has no time of its own, and comes elsewhere."""
    comparison = compared(
        recording, tmp_path, "    at: int", "    at: int\n    def __post_init__(self) -> None:\n"
        "        if self.page == 'p1':\n            raise ValueError('unknown')",
    )  # fmt: skip
    assert {stage for stage, _, _ in blamed(comparison)} == {"clicks"}
    raised = sum(group.count for group in comparison.groups if group.kind == "raised")
    assert raised == ROWS // PAGES
    assert {group.kind for group in comparison.groups} <= {"raised", "missing"}


def test_what_is_done_with_failing_records(recording: Path, tmp_path: Path) -> None:
    """They fail on both sides and are no longer written: that is a difference."""
    comparison = compared(recording, tmp_path, "@app.function(clicks)", SKIPPING)
    assert blamed(comparison) == {("check", "on_error", "changed")}
    (group,) = comparison.groups
    assert (group.count, comparison.different) == (ROWS // PAGES, ROWS // PAGES)
    assert (group.examples[0].expected, group.examples[0].actual) == ("dead_letter", "skip")


def test_a_global_join_is_blamed(recording: Path, tmp_path: Path) -> None:
    """It is the joiner that changed, not the step behind it."""
    comparison = compared(recording, tmp_path, "return page.name", "return page.name.upper()")
    assert {stage for stage, _, _ in blamed(comparison)} == {"check-join-names-global-table"}


def test_a_split_is_blamed(recording: Path, tmp_path: Path) -> None:
    """It is the split that sends records another way, not what stands behind it."""
    comparison = compared(recording, tmp_path, "not click.at % 7", "not click.at % 5")
    assert {stage for stage, _, _ in blamed(comparison)} == {
        "check-split-if-rarely",
        "check-split-rest",
    }
