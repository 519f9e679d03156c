"""``streamfn replay`` on the embedded log: what it makes, says, compares and refuses."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli_shell import TEXTS, Shell, open_shell

PROGRAM = "words.py"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A shell in a folder where the words are counted and recorded."""
    with open_shell(tmp_path, monkeypatch) as opened:
        opened.lines(TEXTS)
        opened.program()
        opened("run", PROGRAM, "--until-end")
        opened("record", "--app", PROGRAM, "-o", "r.jsonl")
        yield opened


def changed(old: str, new: str, name: str = "other.py") -> str:
    """Write another version of the program."""
    text = Path(PROGRAM).read_text()
    assert text.count(old) == 1
    Path(name).write_text(text.replace(old, new))
    return name


def lines_of(path: str) -> list[dict[str, Any]]:
    """What ``--out`` has written."""
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_file_and_topics_give_the_same_bytes(shell: Shell) -> None:
    """Whatever the source, the workers, the commit interval and how the file is compressed."""
    shell("replay", PROGRAM, "r.jsonl", "--out", "a.jsonl")
    shell("replay", PROGRAM, "--out", "b.jsonl", "--workers", "3", "-o", "commit_interval_ms=0")
    assert Path("a.jsonl").read_bytes() == Path("b.jsonl").read_bytes()
    made = lines_of("a.jsonl")
    counts = [line for line in made if line.get("topic") == "counts"]
    assert sorted(line["value"] for line in counts) == ["1", "1", "1", "2", "2", "3"]
    assert counts[0]["stage"] == "count"
    assert counts[0]["from"][0] == "lines"
    stores = {line["store"] for line in made if "store" in line}
    assert stores == {"count-total", "count-seen"}


def test_summary_and_shown_rows(shell: Shell) -> None:
    """A table of what was made, rows that are asked for, and that nothing was touched."""
    said = shell("replay", PROGRAM, "r.jsonl", "--show", "counts", "--show", "count-total")
    assert "replayed 3 records in" in said.stdout
    assert "nothing was committed, and no topic was written to" in said.stdout
    assert re.search(r"^counts +topic +6$", said.stdout, re.MULTILINE)
    assert re.search(r"^c +3$", said.stdout, re.MULTILINE)
    assert "from recording 'r.jsonl'" in said.stderr


def test_what_waits_in_an_operator_is_no_rows(shell: Shell) -> None:
    """A buffer holds nothing for people; it is not said to be empty for that."""
    Path("waits.py").write_text(
        """
from datetime import timedelta
import streamfn as sf
app = sf.App("words")
lines = app.topic("lines", key=str, value=str, partitions=2)
pairs = app.topic("pairs", key=str, value=str)
read = app.stream(lines)
near = sf.JoinWindow(timedelta(days=9))
read.join(read, lambda one, other: one + other, near, name="near").to(pairs)
"""
    )
    said = shell("replay", "waits.py", "r.jsonl", "--out", "o.jsonl").stdout
    assert re.search(r"^near-left +store +-$", said, re.MULTILINE), said
    assert any(line.get("store") == "near-left" for line in lines_of("o.jsonl"))
    error = shell.fails("replay", "waits.py", "r.jsonl", "--show", "near-left", code=4)
    assert "--show 'near-left': the store holds what waits in its operator, no rows" in error


def test_log_is_left_as_it_is(shell: Shell) -> None:
    """Topics, positions and state are those from before."""
    before = shell("topics", "list", "--json").stdout, shell("state", "count-total").stdout
    shell("replay", PROGRAM)
    shell("replay", PROGRAM, "--diff", "--no-self-check")
    after = shell("topics", "list", "--json").stdout, shell("state", "count-total").stdout
    assert before == after


def test_part_of_the_topics(shell: Shell) -> None:
    """Offsets bound what is replayed."""
    said = shell("replay", PROGRAM, "--from", "lines:0:0", "--to", "lines:0:0").stdout
    assert "replayed 3 records in" not in said
    assert "lines[9]" in shell.fails("replay", PROGRAM, "--from", "lines:9:0", code=4)


def test_failures_are_told_and_the_rest_goes_on(shell: Shell) -> None:
    """Each failing record, its stage, its place and where it came from; exit code 5."""
    Path("bad.jsonl").write_text(
        '{"streamfn_recording": 1}\n'
        '{"topic": "lines", "timestamp_ms": 1, "value": {"text": "a bad a", "number": 1}}\n'
    )
    said = shell("replay", PROGRAM, "bad.jsonl", "--show", "count-total", code=5)
    assert "a  2" in said.stdout
    assert "stage 'count' failed on words-lines-by-" in said.stderr
    assert "which goes back to lines[0] at offset 0" in said.stderr
    assert "ValueError: a bad word" in said.stderr
    assert "1 record failed, undone (count 1); a run would have stopped" in said.stderr
    fast = shell("replay", PROGRAM, "bad.jsonl", "--fail-fast", "--out", "x.jsonl", code=5)
    assert "failed on" in fast.stderr
    assert not list(Path().glob("x.jsonl*")), "nothing half-written"


def test_difference_to_the_real_run_and_to_a_version(shell: Shell) -> None:
    """An untouched program has none; a changed one is found, with its stage."""
    assert "all equal" in shell("replay", PROGRAM, "r.jsonl", "--diff").stdout
    other = changed("total.value += 1", "total.value += 2")
    for words in (("--diff",), ("--against", PROGRAM)):
        said = shell("replay", other, "r.jsonl", *words, code=1).stdout
        assert "to blame: count" in said, said
    facts = json.loads(shell("replay", other, "r.jsonl", "--diff", "--json", code=1).stdout)
    assert facts["differences"][0]["stage"] == "count"


def test_history_of_a_key(shell: Shell) -> None:
    """A table of the calls, and the debugger by commands on stdin."""
    said = shell("replay", PROGRAM, "r.jsonl", "--key", "c", "--stage", "count").stdout
    assert re.search(r"\b3\b.*total 3", said), said
    missing = shell.fails("replay", PROGRAM, "r.jsonl", "--key", "z", "--stage", "count", code=4)
    assert "'z'" in missing


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("gone.jsonl",), 4, "recording 'gone.jsonl' does not exist"),
        (("r.jsonl", "--from", "-2h"), 4, "--from is for topics; got a recording"),
        (("r.jsonl", "--broker", "b:1"), 4, "--broker is for topics; got a recording"),
        (("r.jsonl", "--show", "nothing"), 4, "--show 'nothing' is neither a topic nor a store"),
        (("r.jsonl", "--out", "r.jsonl"), 4, "'r.jsonl' exists"),
        (("r.jsonl", "--diff", "--against", "x.py"), 4, "leave one of them out"),
        (("r.jsonl", "--diff", "--key", "a"), 4, "leave one out"),
        (("r.jsonl", "--diff", "--out", "x"), 4, "--out and --show are of a replay on its own"),
        (("r.jsonl", "--key", "a"), 4, "give both --key K and --stage S"),
        (("r.jsonl", "--key", "a", "--stage", "count", "--at", "now"), 4, "add --break"),
        (("--on-gap", "perhaps"), 4, "on_gap"),
        (("r.jsonl", "--tolerance", "x=y"), 4, "tolerance"),
    ],
)
def test_what_does_not_fit_is_said(
    shell: Shell, words: tuple[str, ...], code: int, said: str
) -> None:
    """One line with what was got and what to do."""
    assert said in shell.fails("replay", PROGRAM, *words, code=code)


def test_damaged_recording_leaves_nothing(shell: Shell) -> None:
    """The place of the damage, exit code 9, and no output file."""
    text = Path("r.jsonl").read_bytes()
    Path("cut.jsonl").write_bytes(text[: len(text) // 2])
    assert "cut.jsonl" in shell.fails("replay", PROGRAM, "cut.jsonl", "--out", "o.jsonl", code=9)
    assert not list(Path().glob("o.jsonl*"))


def test_recording_of_another_program(shell: Shell) -> None:
    """A topic that the program reads and the recording lacks is named."""
    shell("record", "counts", "-o", "counts.jsonl")
    said = shell.fails("replay", PROGRAM, "counts.jsonl", code=4)
    assert "topic 'lines', which the program reads, is not in" in said


def test_against_a_revision_with_paths_from_here(shell: Shell) -> None:
    """The recording is found where the command was given, though the revision lies elsewhere."""
    for words in (["init", "-q"], ["add", PROGRAM], ["commit", "-q", "-m", "one"]):
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *words], check=True)
    said = shell("replay", PROGRAM, "r.jsonl", "--against", "HEAD", "--no-self-check")
    assert "all equal" in said.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--json"], "--json is of a comparison; add --diff or --against, or leave it out"),
        (["--ignore", "a"], "--ignore is of a comparison"),
        (["--tolerance", "1"], "--tolerance is of a comparison"),
        (["--no-self-check"], "--no-self-check is of a comparison"),
        (["--examples", "0"], "--examples is of a comparison"),
        (["--out", "o.parquet"], "--out writes lines of JSON; got 'o.parquet'"),
        (["--out", "./r.jsonl", "--overwrite"], "--out is the recording itself; got 'r.jsonl'"),
    ],
)
def test_options_that_would_do_nothing_or_harm(shell: Shell, words: list[str], said: str) -> None:
    """What has no meaning here is refused, and no recording is replaced by its replay."""
    before = Path("r.jsonl").read_bytes()
    assert said in shell.fails("replay", PROGRAM, "r.jsonl", *words, code=4)
    assert Path("r.jsonl").read_bytes() == before


OWN_TOPIC = """
import streamfn as sf

app = sf.App("own")
first = app.topic("first", key=str, value=int)
second = app.topic("second", key=str, value=int)


@app.function(first, to=second)
def double(number: int) -> int:
    return number * 2


@app.function(second, to=app.topic("third", key=str, value=int))
def add(number: int) -> int:
    return number + 1
"""
OWN_RECORDING = (
    '{"streamfn_recording": 1}\n'
    '{"topic": "first", "timestamp_ms": 0, "key": "a", "value": 1}\n'
    '{"topic": "second", "timestamp_ms": 0, "key": "a", "value": 2}\n'
)


def test_topic_that_is_read_as_it_was_recorded(shell: Shell) -> None:
    """A change in front of such a topic is not seen behind it, so it is said."""
    Path("own.py").write_text(OWN_TOPIC)
    Path("own.jsonl").write_text(OWN_RECORDING)
    told = "note: second, which the program also writes, is read as it was recorded; "
    told += "to feed what the replay writes there: --end-to-end"
    assert told in shell("replay", "own.py", "own.jsonl").stderr
    assert told in shell("replay", "own.py", "own.jsonl", "--against", "own.py").stderr
    assert "also writes" not in shell("replay", "own.py", "own.jsonl", "--end-to-end").stderr


WINDOWS = """
from datetime import timedelta

import streamfn as sf

app = sf.App("w")
numbers = app.stream(app.topic("numbers", key=str, value=int))
numbers.group_by_key().window(sf.Tumbling(timedelta(minutes=1))).count(name="each")
"""


def test_counts_entries_as_the_verb_state_does(shell: Shell) -> None:
    """A store's book-keeping is not counted."""
    Path("w.py").write_text(WINDOWS)
    line = '{"topic": "numbers", "timestamp_ms": 0, "key": "a", "value": 1}\n'
    Path("w.jsonl").write_text('{"streamfn_recording": 1}\n' + line)
    said = shell("replay", "w.py", "w.jsonl").stdout
    assert re.search(r"^each +store +1$", said, re.MULTILINE)


def test_key_of_another_type(shell: Shell) -> None:
    """A key that cannot be one is a mistake of the command line."""
    program = OWN_TOPIC.replace('"first", key=str', '"first", key=tuple[str, int]')
    program = program.replace('"second", key=str', '"second", key=tuple[str, int]')
    Path("own.py").write_text(program.replace('"third", key=str', '"third", key=tuple[str, int]'))
    Path("own.jsonl").write_text(OWN_RECORDING)
    words = ("replay", "own.py", "own.jsonl", "--stage", "double", "--key", "u1")
    assert "key 'u1' is no tuple[str, int]" in shell.fails(*words, code=4)
