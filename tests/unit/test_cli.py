"""The command line: verbs that run, describe and look, and every kind of error in one line."""

import gc
import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from streamfn.cli.settings_help import meanings
from streamfn.config import Config
from tests.unit.cli_shell import TEXTS, Shell, open_shell, rows_of


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A shell in an empty folder."""
    with open_shell(tmp_path, monkeypatch) as opened:
        yield opened


@pytest.fixture
def done(shell: Shell) -> Shell:
    """A shell in which the words are counted."""
    shell.lines(TEXTS)
    shell("run", shell.program(), "--until-end")
    return shell


# help
@pytest.mark.parametrize(
    "verb",
    ["", "run", "describe", "topics", "produce", "consume", "state", "reset", "version"],
)
def test_help_teaches(shell: Shell, verb: str) -> None:
    """Each verb says what it does, and shows an example."""
    text = shell(*[word for word in (verb, "--help") if word]).stdout
    assert "Example:\n    streamfn " in text
    assert max(map(len, text.splitlines())) <= 100


def test_help_of_run_has_the_exit_codes(shell: Shell) -> None:
    """The codes of all errors are documented where they are looked for."""
    text = shell("run", "--help").stdout
    assert all(f" {code}  " in text for code in (0, 2, 3, 4, 5, 6, 7, 8, 70, 130))


def test_version_names_everything(shell: Shell) -> None:
    """A bug report needs all of them."""
    names = [line.split()[0] for line in shell("version").stdout.splitlines()]
    assert names == [
        *("streamfn", "python", "confluent-kafka", "rocksdict", "msgspec", "librdkafka"),
    ]


# run
def test_run_until_end_sums_up_and_reports(shell: Shell) -> None:
    """The summary counts, the report reads state and topics; a second run adds nothing."""
    shell.lines(TEXTS)
    first = shell("run", shell.program(), "--until-end").stdout
    assert "words: 9 records in" in first
    assert "3 rows loaded" in first
    assert "report {'a': 1, 'b': 2, 'c': 3} 6" in first
    again = shell("run", "words.py:app", "--until-end").stdout
    assert "words: 0 records in" in again
    assert "report {'a': 1, 'b': 2, 'c': 3} 6" in again


def test_run_leaves_the_garbage_collector_as_it_was(shell: Shell) -> None:
    """What a run changes for its own speed is not left to whoever called it."""
    shell.lines(TEXTS)
    before = gc.get_threshold(), gc.get_freeze_count()
    shell("run", shell.program(), "--until-end")
    assert (gc.get_threshold(), gc.get_freeze_count()) == before


def test_run_shows_the_users_own_traceback(shell: Shell) -> None:
    """A function that fails: the user's frames, then where in the topic it was."""
    shell.lines(["a b", "bad"])
    result = shell("run", shell.program(), "--until-end", code=5)
    assert 'raise ValueError("a bad word")' in result.stderr
    assert "streamfn/engine" not in result.stderr
    error = result.stderr.splitlines()[-1]
    assert "stage 'count' failed on words-" in error
    assert "key b'bad': ValueError: a bad word" in error


def test_run_says_how_to_see_dead_letters(shell: Shell) -> None:
    """The command in the summary is one that works."""
    shell.lines(["a b", "bad"])
    text = shell("run", shell.program(policy=', on_error="dead_letter"'), "--until-end").stdout
    line = next(line for line in text.splitlines() if "1 dead letter;" in line)
    found = rows_of(shell(*line.partition("streamfn ")[2].split()))
    assert [row["value"] for row in found] == ["bad"]
    assert ["streamfn.stage", "count"] in found[0]["headers"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "2"], "needs a Kafka"),
        (["-o", "commit_intervall_ms=5"], "did you mean 'commit_interval_ms'?"),
        (["-o", "isolation.level=read_uncommitted"], "refused"),
        (["--on-gap", "ignore"], "give one of fail, skip"),
    ],
)
def test_run_refuses_settings(shell: Shell, words: list[str], said: str) -> None:
    """A setting that is wrong or not there yet is one line, before anything is made."""
    assert said in shell.fails("run", shell.program(), *words, code=4)
    assert not Path(".streamfn").exists()


def test_run_lists_settings(shell: Shell) -> None:
    """Each with its default and what it means, and no program is needed to be right for it."""
    text = shell("run", "nosuch.py", "-o", "help").stdout
    for field in fields(Config):
        assert field.name in text or field.name == "client_settings"
        assert meanings()[field.name]
    assert "kafka.NAME" in text


def test_worker_is_not_for_people(shell: Shell) -> None:
    """It is not in the help, and says what to use instead."""
    assert "worker " not in shell("--help").stdout.partition("Commands:")[2]


def test_run_refuses_a_folder_without_rights(shell: Shell) -> None:
    """A file stands where the state folder should be, which root cannot cure either."""
    Path("taken").write_text("")
    error = shell.fails("run", shell.program(), "--state-dir", "taken", code=6)
    assert "name another folder" in error


def test_a_broken_report_is_the_users(done: Shell) -> None:
    """The run is committed; the report's own traceback is shown."""
    done.program("words.py")
    text = Path("words.py").read_text().replace('print("report"', "print(1 / 0")
    Path("broken.py").write_text(text)
    result = done("run", "broken.py", "--until-end", code=1)
    assert "print(1 / 0" in result.stderr
    assert "report 'show' failed; got ZeroDivisionError" in result.stderr.splitlines()[-1]


def test_a_bug_shows_its_traceback(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody expected is told as what it is."""

    def broken(*given: object, **named: object) -> None:
        message = "unexpected"
        raise RuntimeError(message)

    monkeypatch.setattr("streamfn.cli.load.load_app", broken)
    result = shell("describe", "words.py", code=70)
    assert "Traceback" in result.stderr
    assert "this is a bug in streamfn" in result.stderr.splitlines()[-1]


# programs that cannot be loaded
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = (1,\n", "got '(' was never closed at program.py:1"),
        ("import nosuch\n", "No module named 'nosuch' at program.py:1; install it"),
        ("\n1 / 0\n", "ZeroDivisionError: division by zero at program.py:2"),
        ("import json\njson.loads('')\n", "at program.py:2"),
        ("import sys\nsys.exit(3)\n", "a call of exit at program.py:2"),
        ("x = 1\n", "has no App"),
        ("import streamfn as sf\na = sf.App('a')\nb = sf.App('b')\n", "say which: program.py:a"),
    ],
)
def test_programs_that_cannot_be_loaded(shell: Shell, text: str, said: str) -> None:
    """One line with file:line, and what to do."""
    Path("program.py").write_text(text)
    assert said in shell.fails("describe", "program.py", code=3)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("nosuch.py", "no such file"),
        ("", "no program is named; got ''; give FILE.py[:app] or package.module[:app]"),
        (":app", "no program is named; got ':app'"),
        (".", "a folder"),
        ("nosuch.module", "no module 'nosuch'"),
        ("words.py:lines", "got a Topic; its apps are app"),
        ("words.py:nothing", "got nothing; its apps are app"),
        ("./words", "did you mean 'words.py'?"),
    ],
)
def test_targets_that_are_no_program(shell: Shell, target: str, said: str) -> None:
    """What was meant is said if it can be known."""
    shell.program()
    assert said in shell.fails("describe", target, code=3)


def test_a_program_imports_its_siblings(shell: Shell) -> None:
    """A program in another folder finds the modules beside it, as Python would run it."""
    Path("other").mkdir()
    Path("other/shared_words.py").write_text("from json import loads\nNAME = 'sibling'\n")
    text = "import streamfn as sf\nfrom shared_words import NAME\napp = sf.App(NAME)\n"
    source = 't = app.topic("t", key=str, value=int)\napp.stream(t).to(t)\n'
    Path("other/json.py").write_text(text + source.replace("to(t)", "peek(print)"))
    assert "application sibling" in shell("describe", "other/json.py").stdout


def test_all_mistakes_are_shown(shell: Shell) -> None:
    """One line each, all at once."""
    Path("wrong.py").write_text(
        "import streamfn as sf\napp = sf.App('wrong')\nt = app.topic('t', key=str, value=int)\n"
        "@app.function(t)\ndef first(x: str) -> None: ...\n"
        "@app.function(t)\ndef second(x: int, total: int) -> None: ...\n"
    )
    lines = shell("run", "wrong.py", code=3).stderr.splitlines()
    assert [line.split(":")[:3] for line in lines] == [
        ["error", " wrong.py", "5"],
        ["error", " wrong.py", "7"],
    ]


# describe
def test_describe_in_all_forms(shell: Shell) -> None:
    """Text, JSON, flowchart and code are of the same program, and nothing is made on disk."""
    name = shell.program()
    assert "sub-topology lines: 2 tasks" in shell("describe", name).stdout
    assert json.loads(shell("describe", name, "--json").stdout)["application"] == "words"
    assert shell("describe", name, "--mermaid").stdout.startswith("flowchart LR\n")
    code = shell("describe", name, "--code").stdout
    assert "is a flat_map_values" in code
    assert not Path(".streamfn").exists()
    shell("describe", name, "--json", "--code", code=2)


# looking
def test_topics_are_listed(done: Shell) -> None:
    """Alone it lists; with --json for programs; purposes are known without the program too."""
    assert "words-count-total-changelog" in done("topics").stdout
    found = {row["topic"]: row for row in rows_of(done("topics", "list", "--json"))}
    assert sum(found["lines"]["end"]) == 3
    assert found["counts"]["purpose"] == "user"
    typed = rows_of(done("topics", "list", "--json", "--app", "words.py"))
    assert {row["topic"]: row["purpose"] for row in typed}["counts"] == "sink"


def test_topics_are_created(shell: Shell) -> None:
    """They are there before the first run, and once only."""
    name = shell.program()
    assert "created lines, partitions 2" in shell("topics", "create", "--app", name).stdout
    assert shell("topics", "create", "--app", name).stdout == "all topics are there\n"


def test_consume_selects(done: Shell) -> None:
    """By partition, by offset from either end, and at most so many."""
    everything = rows_of(done("consume", "counts"))
    assert [(row["key"], row["value"]) for row in everything if row["key"] == "c"] == [
        *(("c", 1), ("c", 2), ("c", 3)),
    ]
    assert rows_of(done("consume", "counts", "--offset", "-2")) == everything[-2:]
    assert rows_of(done("consume", "counts", "--offset", "1", "--max", "2")) == everything[1:3]
    typed = rows_of(done("consume", "lines", "--app", "words.py", "--partition", "1"))
    assert all(row["partition"] == 1 for row in typed)
    assert "has no partition 7" in done.fails("consume", "counts", "--partition", "7", code=4)
    assert "the log has counts, lines" in done.fails("consume", "nosuch", code=4)


def test_state_with_and_without_types(done: Shell) -> None:
    """Entries by type with the program; without it text keys and MessagePack values."""
    typed = rows_of(done("state", "count-total", "--app", "words.py", "--json"))
    assert {row["key"]: row["value"] for row in typed} == {"a": 1, "b": 2, "c": 3}
    guessed = rows_of(done("state", "count-total", "b", "--json"))
    assert [(row["key"], row["value"]) for row in guessed] == [("b", 2)]
    under = rows_of(done("state", "count-seen", "a", "--app", "words.py", "--json"))
    assert [(row["key"], row["value"]) for row in under] == [(["a", "a"], 1)]
    assert done("state").stdout == "count-seen  3 keys\ncount-total  3 keys\n"
    assert "1 of them not shown" in done("state", "count-total", "--limit", "2").stdout
    assert "it has count-seen, count-total" in done.fails("state", "nosuch", code=4)
    assert "has no key 'z'" in done.fails("state", "count-total", "z", code=4)


def test_looking_makes_nothing(shell: Shell) -> None:
    """Where there is nothing to look at, an error says so and the folder stays empty."""
    for words in (("topics",), ("consume", "x"), ("state",), ("reset",)):
        assert "has no application" in shell.fails(*words, code=4)
    assert "nothing under" in shell.fails("state", "--application", "words", code=4)
    assert not Path(".streamfn").exists()


def test_several_applications_must_be_told_apart(done: Shell) -> None:
    """The error lists them."""
    Path(".streamfn/other/log").mkdir(parents=True)
    assert "got other, words" in done.fails("consume", "counts", code=4)
    done("consume", "counts", "--application", "words")
