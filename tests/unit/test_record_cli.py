"""``streamfn record`` on the embedded log: what it writes, says and refuses."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamfn.cli import recorder
from streamfn.cli.recorder import bytes_of_key
from streamfn.replay.record import Copied, copy
from streamfn.replay.recording import Inputs, Writer
from streamfn.replay.recordings.files import open_recording
from tests.unit.cli_shell import TEXTS, Shell, open_shell
from tests.unit.log_world import rows_of


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A shell in a folder where the words are counted."""
    with open_shell(tmp_path, monkeypatch) as opened:
        opened.lines(TEXTS)
        opened.program()
        opened("run", "words.py", "--until-end")
        yield opened


def written(path: str, topic: str = "") -> list[dict[str, Any]]:
    """The records of a recording as its lines have them."""
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    return [
        row for row in rows if "timestamp_ms" in row and row["topic"] in (topic or row["topic"])
    ]


def test_all_of_a_program(shell: Shell) -> None:
    """Each topic in its role; what is said counts what is there."""
    said = shell("record", "--app", "words.py", "-o", "all.jsonl").stdout
    inputs = open_recording("all.jsonl")
    roles = {topic.name: topic.role for topic in inputs.header.topics}
    assert sorted(roles.values()) == ["input", "output", "repartition"]
    assert inputs.header.application == "words"
    assert inputs.header.source.startswith("embedded ")
    assert len(rows_of(inputs)) == 3 + 6 + 6
    inputs.close()
    assert "recorded 15 records into all.jsonl" in said
    (line,) = (line for line in said.splitlines() if line.startswith("lines"))
    assert line.split()[1:4] == ["input", "2", "3"]


@pytest.mark.parametrize("name", ["r.jsonl.gz", "r.jsonl.zst", "r.avro"])
def test_each_format_holds_the_same(shell: Shell, name: str) -> None:
    """Topics without a program, as they are."""
    shell("record", "lines", "counts", "-o", name)
    shell("record", "lines", "counts", "-o", "r.jsonl")
    one, other = open_recording(name), open_recording("r.jsonl")
    assert rows_of(one) == rows_of(other)
    assert [t.role for t in one.header.topics] == ["other", "other"]
    one.close()
    other.close()


def test_keys_and_samples(shell: Shell) -> None:
    """Of the inputs by their own keys, with a warning where stages key anew."""
    result = shell("record", "--app", "words.py", "--key", "b c", "-o", "k.jsonl")
    assert [row["key"] for row in written("k.jsonl")] == ["b c"]
    assert "warning: keys are chosen as the inputs have them; stages behind words-" in result.stderr
    shell("record", "counts", "--key", "c", "--key", "a", "-o", "c.jsonl")
    assert sorted(row["key"] for row in written("c.jsonl")) == ["a", "c", "c", "c"]
    shell("record", "lines", "--sample", "50%", "-o", "s.jsonl")
    keys = {row["key"] for row in written("s.jsonl")}
    shell("record", "lines", "--sample", "0.5", "-o", "again.jsonl")
    assert {row["key"] for row in written("again.jsonl")} == keys
    inputs = open_recording("s.jsonl")
    assert inputs.header.sample == "50 % of the keys"
    inputs.close()
    shell("record", "--app", "words.py", "--key", "c", "--with-outputs", "-o", "w.jsonl")
    assert {row["topic"] for row in written("w.jsonl")} == {"counts"}


def test_keys_without_types() -> None:
    """A key may stand in a topic as text, as JSON or as other bytes."""
    assert bytes_of_key("a") == {b"a", b'"a"'}
    assert bytes_of_key("0x0aff") == {b"0x0aff", b'"0x0aff"', b"\x0a\xff"}
    assert bytes_of_key("0xy") == {b"0xy", b'"0xy"'}


def test_state_goes_first(shell: Shell) -> None:
    """What the stores held, then what came afterwards."""
    shell.lines(["c d"], "more.csv")
    shell("produce", "lines", "--from", "more.csv", "--key", "text", "--app", "words.py")
    said = shell("record", "--app", "words.py", "--state", "all", "-o", "s.jsonl").stdout
    assert "store count-seen: 3 entries" in said
    assert "store count-total: 3 entries" in said
    assert [row["key"] for row in written("s.jsonl")] == ["c d"]
    shell("record", "--app", "words.py", "--state", "count-total", "-o", "one.jsonl")
    inputs = open_recording("one.jsonl")
    assert sorted(entry.key.decode() for entry in inputs.state()) == ["a", "b", "c"]
    assert [store.name for store in inputs.header.stores] == ["count-total"]
    inputs.close()


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("-o", "r.jsonl"), 4, "no topic is named; name some, or give --app"),
        (("lines", "-o", "r.csv"), 4, "has no known ending"),
        (("nix", "-o", "r.jsonl"), 4, "topic 'nix' does not exist"),
        (("nix", "--app", "words.py", "-o", "r.jsonl"), 4, "it has lines, words-"),
        (("lines", "--key", "a", "--sample", "1%", "-o", "r.jsonl"), 4, "give one of them"),
        (("lines", "--state", "all", "-o", "r.jsonl"), 4, "--state needs the program"),
        (("--app", "words.py", "--state", "x", "-o", "r.jsonl"), 4, "store 'x' is not one"),
        (
            ("--app", "words.py", "--state", "all", "--from", "3", "-o", "r.jsonl"),
            4,
            "leave --from out",
        ),
        (("lines", "--on-gap", "x", "-o", "r.jsonl"), 4, "give one of fail, skip"),
        (("lines", "--from", "x", "-o", "r.jsonl"), 4, "'x' is no place in a topic"),
        (("lines", "--partition", "7", "-o", "r.jsonl"), 4, "no such partition; got [7]"),
        (("lines", "--from", "nix:0:1", "-o", "r.jsonl"), 4, "nix[0] has a bound and is not"),
    ],
)
def test_what_is_refused(shell: Shell, words: tuple[str, ...], code: int, text: str) -> None:
    """In one line, and nothing is written."""
    assert text in shell.fails("record", *words, code=code)
    assert not list(Path().glob("r.*"))


def test_a_recording_is_not_replaced_unasked(shell: Shell) -> None:
    """It may be the only one."""
    shell("record", "lines", "-o", "r.jsonl")
    before = Path("r.jsonl").read_bytes()
    assert "'r.jsonl' exists" in shell.fails("record", "counts", "-o", "r.jsonl", code=4)
    assert Path("r.jsonl").read_bytes() == before
    shell("record", "counts", "-o", "r.jsonl", "--overwrite")
    assert {row["topic"] for row in written("r.jsonl")} == {"counts"}


def test_a_part_in_time(shell: Shell) -> None:
    """Nothing of before, nothing of after, and no waiting for what is past."""
    times = sorted(row["timestamp_ms"] for row in made(shell))
    shell("record", "lines", "--from", f"@{times[0] + 1}", "--to", "now", "-o", "t.jsonl")
    assert all(row["timestamp_ms"] > times[0] for row in written("t.jsonl"))
    shell("record", "lines", "--to", f"@{times[0]}", "-o", "none.jsonl")
    assert written("none.jsonl") == []


def made(shell: Shell) -> list[dict[str, Any]]:
    """All lines, recorded."""
    shell("record", "lines", "-o", "made.jsonl")
    return written("made.jsonl")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_while_it_writes(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    """It says so, and leaves no file, not even half of one."""
    halves: list[Path] = []

    def interrupted(inputs: Inputs, writer: Writer, progress: Callable[[int], None]) -> Copied:
        copy(inputs, writer, progress)
        halves.extend(Path().glob("r.*"))
        os.kill(os.getpid(), number)
        return copy(inputs, writer, progress)

    monkeypatch.setattr(recorder, "copy", interrupted)
    before = signal.getsignal(number)
    result = shell("record", "lines", "-o", "r.jsonl", code=code)
    assert result.stderr == "stopped; nothing was recorded\n"
    assert [path.name for path in halves] == ["r.jsonl.partial"]
    assert not list(Path().glob("r.*"))
    assert signal.getsignal(number) == before


def test_an_embedded_log_is_not_waited_for(shell: Shell) -> None:
    """Nobody can write to it meanwhile."""
    shell("record", "lines", "--to", "+10m", "-o", "r.jsonl")
    assert len(written("r.jsonl")) == 3
