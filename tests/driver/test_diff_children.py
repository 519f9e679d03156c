"""Comparisons by child processes: what is not deterministic, and what cannot be replayed."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamfn.errors import StreamfnError
from streamfn.record import Batch, TopicPartition
from streamfn.replay.diff.compare import Comparison, Options, diff_against_run, diff_versions, rules
from streamfn.replay.recording import Chunk, Header, Inputs, Range, RecordedTopic
from streamfn.replay.recordings.files import open_recording, recording_to

PROGRAM = """
import msgspec
import streamfn as sf

app = sf.App("sums"{policy})

class Row(msgspec.Struct):
    number: int
    share: float

rows = app.topic("rows", key=str, value=Row, partitions=2)
sums = app.topic("sums", key=str, value=Row)
tags = app.topic("tags", key=str, value=list[str])

@app.function(rows, to=sums)
def add(row: Row, total: sf.Value[int]) -> Row:
    {check}
    total.value += row.number
    return Row(total.value, {share})

@app.function(add, to=tags)
def tag(row: Row) -> list[str]:
    return {tags}
"""
TAGS = '["a", "b"]'
ROWS = 60


def program(
    path: Path, *, check: str = "pass", share: str = "row.share", tags: str = TAGS, policy: str = ""
) -> str:
    """Write a version of the program."""
    path.write_text(PROGRAM.format(check=check, share=share, tags=tags, policy=policy))
    return str(path)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some rows of two partitions, and what the program once made of them."""
    path = tmp_path_factory.mktemp("recording") / "rows.jsonl"
    half = {0: Range(0, ROWS // 2), 1: Range(0, ROWS // 2)}
    topics = (
        RecordedTopic("rows", 2, "input", half),
        RecordedTopic("sums", 1, "output", {0: Range(0, ROWS)}),
    )
    with recording_to(path, Header("sums", 0, "here", topics)) as writer:
        sums = {b"k0": 0, b"k1": 0}
        for at in range(ROWS):
            key = b"k%d" % (at % 2)
            sums[key] += at
            writer.chunk(
                [
                    batch("rows", at % 2, at // 2, key, at, at, 2 * at),
                    batch("sums", 0, at, key, sums[key], at, 2 * at + 1),
                ]
            )
    return path


def batch(  # one row
    topic: str, partition: int, offset: int, key: bytes, number: int, at: int, rank: int
) -> Batch:
    """Make a row of a topic."""
    value = b'{"number":%d,"share":0.5}' % number
    source = TopicPartition(topic, partition)
    return Batch(source, [key], [value], [at], [offset], offset + 1, None, [rank])


@contextmanager
def opened(path: Path) -> Generator[Inputs]:
    """Open a recording."""
    inputs = open_recording(path)
    yield inputs
    inputs.close()


class InALog:
    """Inputs that are in no file."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self.header, self.total, self.place = inputs.header, inputs.total, "the log"
        self.state, self.close = inputs.state, inputs.close

    def chunks(self, topics: object = None) -> Generator[Chunk]:
        """All records."""
        assert topics is None
        yield from self._inputs.chunks()


def versions(recording: Path, one: str, other: str, options: Options | None = None) -> Comparison:
    """Compare two versions."""
    with opened(recording) as inputs:
        return diff_versions(one, other, inputs, options)


def found(comparison: Comparison) -> set[tuple[str, str, str]]:
    """Stage, field and kind of what is to blame."""
    return {(g.stage, g.field, g.kind) for g in comparison.groups if not g.follows}


def test_hash_seed_is_found(recording: Path, tmp_path: Path) -> None:
    """What depends on the hash seed is no difference of versions, but is told."""
    order = "sorted(('a', 'b', 'c', 'd', 'e', 'f'), key=hash)"
    one = program(tmp_path / "one.py", tags=order, share="hash(str(row.number)) % 97 / 97")
    other = program(tmp_path / "other.py", tags=order, share="hash(str(row.number)) % 89 / 89")
    told: list[tuple[str, int]] = []
    with opened(recording) as inputs:
        comparison = diff_versions(one, other, inputs, tell=lambda what, n: told.append((what, n)))
    assert comparison.groups == []
    assert {group.stage for group in comparison.unstable} == {"add", "tag"}
    assert comparison.exit_code == 1
    assert any("not deterministic: add share" in line for line in comparison.lines())
    assert dict(told) == {"comparing the program with itself": ROWS, "comparing": ROWS}
    comparison = versions(recording, one, other, Options(self_check=False))
    assert ("add", "share", "changed") in found(comparison)


def test_masked_difference_does_not_hide_others(recording: Path, tmp_path: Path) -> None:
    """Beside a field that is never the same, another one is compared."""
    share = "hash(str(row.number)) % 97 / 97"
    one = program(tmp_path / "one.py", share=share)
    other = program(tmp_path / "other.py", share=share, check="row.number += row.number > 50")
    comparison = versions(recording, one, other)
    assert found(comparison) == {("add", "number", "changed"), ("add", "<value>", "changed")}
    assert [(g.stage, g.field) for g in comparison.unstable] == [("add", "share")]


def test_rules_hold(recording: Path, tmp_path: Path) -> None:
    """Ignored fields and near numbers are equal, in state as well."""
    one = program(tmp_path / "one.py")
    other = program(tmp_path / "other.py", share="row.share + 0.001", check="row.number *= 2")
    options = Options(rules(["number", "add-total:<value>"], ["0.01"]), self_check=False)
    comparison = versions(recording, one, other, options)
    assert comparison.exit_code == 0, comparison.lines()
    options = Options(rules(["number"]), self_check=False)
    comparison = versions(recording, one, other, options)
    assert found(comparison) == {("add", "share", "changed"), ("add", "<value>", "changed")}
    (state,) = (group for group in comparison.groups if group.field == "<value>")
    assert set(state.places) == {"state add-total"}
    assert [example.key for example in state.examples] == ["k0", "k1"]


@pytest.mark.parametrize("policy", ["", ', on_error="skip"', ', on_error="dead_letter"'])
def test_raised(policy: str, recording: Path, tmp_path: Path) -> None:
    """A function that raises is to blame, not those in front of it whose work is undone."""
    one = program(tmp_path / "one.py", policy=policy)
    other = program(tmp_path / "other.py", tags="[str(1 / (row.number - 870))]", policy=policy)
    comparison = versions(recording, one, other, Options(self_check=False))
    assert comparison.blamed == ["tag"]
    (raised,) = (group for group in comparison.groups if group.kind == "raised")
    assert (raised.stage, raised.count) == ("tag", 1)
    assert raised.examples[0].key == "k0"
    assert str(raised.examples[0].expected).startswith("ZeroDivisionError")
    assert ("add", "extra", "tag") in {(g.stage, g.kind, g.follows) for g in comparison.groups}


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("import streamfn as sf\nimport nothing_of_that_name\n", 3, "No module named 'nothing_of"),
        ("import os\nos._exit(7)\n", 1, "its process died while it replayed; got exit code 7"),
        ("import os\nos.kill(os.getpid(), 9)\n", 1, "its process died .*; got signal 9"),
        ("x = 1\n", 3, "has no App"),
        (
            "import streamfn as sf\napp = sf.App('a')\nt = app.topic('t', key=str, value=str)\n"
            "u = app.topic('u', key=str, value=str)\napp.stream(t).to(u)\n",
            4, "topic 't', which the program reads, is not in",
        ),
    ],
)  # fmt: skip
def test_a_version_that_cannot(
    text: str, code: int, said: str, recording: Path, tmp_path: Path
) -> None:
    """The error is one line that names the version."""
    one = program(tmp_path / "one.py")
    (tmp_path / "other.py").write_text(text)
    with pytest.raises(StreamfnError, match=said) as raised:
        versions(recording, one, str(tmp_path / "other.py"), Options(self_check=False))
    assert str(raised.value).startswith(f"{tmp_path / 'other.py'}: ")
    assert raised.value.exit_code == code
    assert "\n" not in str(raised.value)


def test_against_the_run_from_a_log(recording: Path, tmp_path: Path) -> None:
    """Inputs that are in no file are recorded for the children; topics alone are compared."""
    same = program(tmp_path / "same.py")
    with opened(recording) as inputs:
        comparison = diff_against_run(same, InALog(inputs), Options(self_check=False))
    assert comparison.exit_code == 0, comparison.lines()
    assert (comparison.records, comparison.inputs) == (ROWS, ROWS)
    other = program(tmp_path / "other.py", check="if row.number == 30: return None")
    with opened(recording) as inputs:
        comparison = diff_against_run(other, inputs, Options(self_check=False))
    kinds = {(group.kind, group.field): group.count for group in comparison.groups}
    assert kinds == {("missing", ""): 1, ("changed", "number"): 14}
