"""Signals to ``streamfn replay``: it ends, says so, and leaves nothing half-written anywhere."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from streamfn.cli import interrupts
from streamfn.cli.interrupts import interruptible, stopped
from tests.unit.cli_shell import TEXTS, Shell, open_shell


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A shell in a folder with a recording, and with an empty folder for temporary files."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    with open_shell(tmp_path, monkeypatch) as opened:
        opened.lines(TEXTS)
        opened("run", opened.program(), "--until-end")
        opened("record", "--app", "words.py", "-o", "r.jsonl")
        yield opened


@pytest.fixture(autouse=True)
def hearing() -> Iterator[None]:
    """Have started processes hear SIGHUP, also where these tests run under ``nohup``."""

    def ignored(*_: object) -> None:
        """A handler, unlike SIG_IGN, is not handed down."""

    before = signal.signal(signal.SIGHUP, ignored)
    yield
    signal.signal(signal.SIGHUP, before)


SEND = """import os, sys, time
    if not os.path.exists("sent"):
        open("sent", "x").close()
        ours = "replay_child" in " ".join(sys.orig_argv)
        os.kill(os.getppid() if ours else os.getpid(), {number})
        time.sleep(600)
    seen[word]"""


def signalled(number: int) -> str:
    """Write a version of the program that sends a signal, once, to the command that replays it."""
    text = Path("words.py").read_text()
    Path("words.py").write_text(text.replace("seen[word]", SEND.format(number=int(number))))
    return "words.py"


@pytest.mark.parametrize(
    ("number", "code", "more"),
    [
        (signal.SIGINT, 130, ("--out", "out.jsonl.zst")),
        (signal.SIGTERM, 143, ("--out", "out.jsonl.zst")),
        (signal.SIGTERM, 143, ("--against", "old.py")),
        (signal.SIGHUP, 129, ("--diff",)),
    ],
)
def test_a_signal_in_the_midst(
    shell: Shell, number: signal.Signals, code: int, more: tuple[str, ...]
) -> None:
    """No file of outputs, no temporary folder, one line, the signal's exit code."""
    shell.program("old.py")
    with open("errors", "w") as errors:
        command = shell.start("replay", signalled(number), "r.jsonl", *more, errors=errors)
        said, _ = command.communicate(timeout=300)
    lines = Path("errors").read_text().splitlines()
    assert command.returncode == code, lines
    assert lines[-1] == ("stopped; nothing was written" if "--out" in more else "stopped")
    assert not said
    assert os.listdir("temporary") == []
    assert not [name for name in os.listdir() if name.startswith("out")]


def test_more_signals_do_not_disturb_the_tidying(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who presses Ctrl-C twice gets no half of it; only what takes long can be ended once more."""
    now_s, tidied = [100.0], list[str]()
    monkeypatch.setattr(interrupts, "monotonic", lambda: now_s[0])

    def send(number: signal.Signals) -> None:
        os.kill(os.getpid(), number)

    def work() -> None:
        try:
            send(signal.SIGTERM)
            pytest.fail("the first signal ends the work")
        finally:
            send(signal.SIGINT)
            tidied.append("a part")
            now_s[0] += interrupts.TIDY_S
            send(signal.SIGINT)
            tidied.append("what takes too long")

    with pytest.raises(typer.Exit) as raised, interruptible(lambda: "stopped"):
        work()
    assert tidied == ["a part"]
    assert raised.value.exit_code == 143


def test_the_end_is_told_from_the_file(tmp_path: Path) -> None:
    """A signal may come when the file has its name already."""
    path = tmp_path / "r.jsonl"
    end = stopped(path, "recorded")
    assert end() == "stopped; nothing was recorded"
    path.touch()
    assert end() == f"stopped; all was recorded into {path}"
    end = stopped(path, "recorded")
    assert end() == "stopped; nothing was recorded"
    (tmp_path / "new").touch()
    (tmp_path / "new").replace(path)
    assert end() == f"stopped; all was recorded into {path}"
    assert stopped(None, "written")() == "stopped"
