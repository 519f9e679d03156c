"""The command line: verbs that load and delete, and what signals do to them."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

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


# produce
def values(shell: Shell, topic: str) -> list[object]:
    """The values of a topic."""
    return [row["value"] for row in rows_of(shell("consume", topic))]


def test_produce_loads_a_file_once(shell: Shell) -> None:
    """A second load adds nothing, a grown file is continued, --again loads it all."""
    file = shell.lines(["a", "b"])
    words = ("produce", "rows", "--from", file, "--key", "text")
    assert "2 rows of lines.csv loaded into rows" in shell(*words, "--application", "new").stdout
    assert shell(*words).stdout.startswith("already loaded: lines.csv up to line 3")
    with Path(file).open("a") as more:
        more.write("c,2\n")
    assert "1 row of lines.csv loaded into rows, going on behind line 3" in shell(*words).stdout
    assert values(shell, "rows") == [
        {"text": text, "number": str(number)} for number, text in enumerate("abc")
    ]
    assert shell(*words, "--again").stdout.startswith("3 rows")
    assert len(values(shell, "rows")) == 6


def test_produce_goes_by_the_programs_types(shell: Shell) -> None:
    """With --app a row must be a value of the topic, and the program's partitions are made."""
    file = shell.lines(["a b", "b c"])
    name = shell.program(feed="")
    shell("produce", "lines", "--from", file, "--app", name, "--key", "text")
    assert sorted(row["value"]["number"] for row in rows_of(shell("consume", "lines"))) == [0, 1]
    assert "report {'a': 1, 'b': 2, 'c': 1} 4" in shell("run", name, "--until-end").stdout
    assert shell("produce", "lines", "--from", file, "--app", name).stdout.startswith("already")


def test_produce_stops_at_a_broken_row(shell: Shell) -> None:
    """What is before it is loaded; mended, the rest follows; or it is skipped on demand."""
    Path("rows.csv").write_text("text,number\na,1\nbroken\nb,2\n")
    words = ("produce", "rows", "--from", "rows.csv", "--application", "new")
    error = shell.fails(*words, code=5)
    assert error.startswith("error: file 'rows.csv', line 3 makes no sense")
    assert error.endswith("give --on-error skip or dead_letter")
    assert len(values(shell, "rows")) == 1
    assert "1 row made no sense, skipped" in shell(*words, "--on-error", "skip").stdout
    assert [value["text"] for value in values(shell, "rows") if isinstance(value, dict)] == [
        *("a", "b"),
    ]


def test_produce_refuses_another_file_in_its_place(shell: Shell) -> None:
    """Rows of another file are not taken for the rest of this one, unless that is asked for."""
    words = ("produce", "rows", "--from", shell.lines(["a"]), "--application", "new")
    shell(*words)
    shell.lines(["x", "y"])
    assert shell.fails(*words, code=4).endswith("load it anew: --again")
    assert shell(*words, "--again").stdout.startswith("2 rows")
    assert len(values(shell, "rows")) == 3


def test_produce_reads_stdin(shell: Shell) -> None:
    """JSON lines; each time anew, as there is nothing to resume."""
    words = ("produce", "rows", "--from", "-", "--application", "new")
    for _ in range(2):
        assert shell(*words, given='{"a": 1}\n{"a": 2}\n').stdout.startswith("2 rows of stdin")
    assert values(shell, "rows") == [{"a": 1}, {"a": 2}] * 2
    assert "stdin has no rows" in shell.fails(*words, code=4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rows", "--from", "lines.csv"), "--application NAME"),
        (("rows", "--from", "nosuch.csv", "--application", "x"), "does not exist"),
        (("rows", "--from", "nosuch", "--application", "x"), "'nosuch' does not exist"),
        (("rows", "--from", ".", "--application", "x"), "is a folder; name one file in it"),
        (("rows", "--from", "words.py", "--application", "x"), "say --format csv"),
        (("rows", "--from", "lines.csv", "--format", "xml"), "one of auto, csv, jsonl"),
        (("rows", "--from", "lines.csv", "--on-error", "ignore"), "one of fail, skip"),
        (("rows", "--from", "lines.csv", "--app", "words.py"), "it has lines, counts"),
        (("lines", "--from", "lines.csv", "--app", "words.py", "--partitions", "3"), "has 2 part"),
    ],
)
def test_produce_refuses(shell: Shell, words: tuple[str, ...], said: str) -> None:
    """What cannot be loaded is one line that says what can."""
    shell.lines(TEXTS)
    shell.program()
    assert said in shell.fails("produce", *words, code=4)


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        *((name, "use 1 to 200 of A-Z") for name in ("", "a/b", "x y", "é", "..", "x" * 201)),
        *((f"x-a-{kind}", "internal to 'x'") for kind in ("changelog", "repartition", "position")),
        ("x-dead-letters", "internal to 'x'"),
    ],
)
def test_produce_refuses_topics_that_are_not_the_users(shell: Shell, topic: str, said: str) -> None:
    """A name that no topic may have, and what only streamfn writes; nothing is made."""
    words = ("--from", shell.lines(TEXTS), "--application", "x")
    assert said in shell.fails("produce", topic, *words, code=4)
    assert not Path(".streamfn").exists()


def test_a_row_without_columns_says_so(shell: Shell) -> None:
    """There is none to name."""
    Path("rows.jsonl").write_text("{}\n")
    words = ("--from", "rows.jsonl", "--key", "k", "--application", "new")
    error = shell.fails("produce", "rows", *words, code=5)
    assert "there is no column 'k'; the row has no columns at all" in error


# reset
def test_reset_asks_first(done: Shell) -> None:
    """Without a yes nothing is deleted, and what would be is said."""
    before = done("topics", "list", "--json").stdout
    said = done("reset", given="n\n", code=1).stdout
    assert "words-count-total-changelog" in said
    assert "nothing was deleted" in said
    assert done("topics", "list", "--json").stdout == before


def test_reset_without_an_answer_tells_of_yes(done: Shell) -> None:
    """In a script nobody answers."""
    assert "nothing was deleted; got no answer; where nobody answers, give --yes" in (
        done("reset", given="", code=1).stdout
    )


def test_a_reset_that_cannot_delete_all_begins_nothing(done: Shell) -> None:
    """A folder of somebody else's is refused before the mark that stops the program is made."""
    stranger = Path(".streamfn/words/tasks/thesis")
    stranger.mkdir()
    (stranger / "thesis.txt").write_text("years of work")
    assert "was not made by streamfn" in done.fails("reset", "--yes", code=6)
    assert "words: 0 records in" in done("run", "words.py", "--until-end").stdout


def test_reset_starts_anew_from_the_inputs(done: Shell) -> None:
    """Inputs stay and are processed again, outputs are kept and appended to."""
    state = done("state", "count-total", "--json").stdout
    done("reset", "words", "--yes")
    assert done("state").stdout == "application 'words' has no stores\n"
    text = done("run", "words.py", "--until-end").stdout
    assert "words: 9 records" in text
    assert done("state", "count-total", "--json").stdout == state
    assert len(values(done, "counts")) == 12
    done("reset", "--app", "words.py", "--outputs", "--yes")
    done("run", "words.py", "--until-end")
    assert len(values(done, "counts")) == 6
    assert done("state", "count-total", "--json").stdout == state


def test_reset_of_a_store(done: Shell) -> None:
    """Its entries are gone, other stores and positions stay."""
    done("reset", "--store", "count-total", "--yes")
    assert "words: 0 records" in done("run", "words.py", "--until-end").stdout
    assert done("state").stdout == "count-seen  3 keys\ncount-total  0 keys\n"


def test_reset_of_a_topic(done: Shell) -> None:
    """An internal one only; without its position a file is loaded again."""
    done("reset", "--topic", "words-lines-feed-position", "--yes")
    assert "3 rows loaded" in done("run", "words.py", "--until-end").stdout
    assert "not internal" in done.fails("reset", "--topic", "lines", "--yes", code=4)
    assert "it has count-seen" in done.fails("reset", "--store", "x", "--yes", code=4)
    assert "needs --app" in done.fails("reset", "--outputs", "--yes", code=4)


def test_a_half_done_reset_is_finished_first(done: Shell) -> None:
    """An application does not run on what a killed reset has left."""
    Path(".streamfn/words/resetting").write_text("")
    error = done.fails("run", "words.py", "--until-end", code=8)
    assert error.endswith("finish it: streamfn reset words")
    Path(".streamfn").rename("else where")
    error = done.fails("run", "words.py", "--state-dir", "else where", code=8)
    assert error.endswith("finish it: streamfn reset words --state-dir 'else where'")
    Path("else where").rename(".streamfn")
    done("reset", "words", "--yes")
    assert "9 records" in done("run", "words.py", "--until-end").stdout


# signals
WAITING = """
import streamfn as sf
app = sf.App("waiting")
rows = app.topic("rows", key=str, value=dict)
app.feed(rows, "lines.csv", key="text")

@app.function(rows)
def work(row: dict, total: sf.Value[int]) -> None:
    print("at work", flush=True)
    total.value += 1
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_commits_and_leaves(shell: Shell, number: int) -> None:
    """The first signal ends a run cleanly; meanwhile a second process is told who has the log."""
    shell.lines(TEXTS)
    Path("waiting.py").write_text(WAITING)
    with (
        Path("errors").open("w") as errors,
        shell.start("run", "waiting.py", errors=errors) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        error = shell.fails("state", "--application", "waiting", code=7)
        assert f"in use by process {process.pid}" in error
        process.send_signal(number)
        assert process.wait(120) == 0
    assert Path("errors").read_text().endswith("stopped; committed up to here\n")
    assert "work-total  " in shell("state").stdout


def test_a_stop_before_the_end_is_no_success(shell: Shell) -> None:
    """A script that asked for the end must not go on as if it had been reached."""
    shell.lines(TEXTS * 50_000)
    Path("waiting.py").write_text(WAITING)
    with (
        Path("errors").open("w") as errors,
        shell.start("run", "waiting.py", "--until-end", errors=errors) as process,
    ):
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
        assert process.returncode == 130
    assert "stopped before the end" in Path("errors").read_text()


def test_a_second_signal_kills(shell: Shell) -> None:
    """A function that hangs cannot keep the process."""
    shell.lines(TEXTS)
    text = WAITING.replace("    total", "    import threading; threading.Event().wait()\n    total")
    Path("hanging.py").write_text(text)
    with (
        Path("errors").open("w") as errors,
        shell.start("run", "hanging.py", errors=errors) as process,
    ):
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
        assert process.returncode == -signal.SIGINT
