"""The command line as a process: Ctrl-C while it starts, closed streams, narrow terminals."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cli_shell import ROOT, TEXTS, Shell, open_shell

INTERRUPTED = """
import runpy, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[0]:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
{start}
"""
STARTS = (
    "runpy.run_module('streamfn', run_name='__main__')",
    "from streamfn.__main__ import main; main()",
)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A shell in an empty folder."""
    with open_shell(tmp_path, monkeypatch) as opened:
        yield opened


def process(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("module", ["streamfn.cli.main", "typer", "streamfn.app", "rocksdict"])
def test_ctrl_c_while_modules_are_imported_is_silent(shell: Shell, module: str, start: str) -> None:
    """Nobody who has changed their mind wants to see where the import was."""
    shell.program()
    text = INTERRUPTED.format(start=f"sys.argv = [{module!r}, 'run', 'words.py']; {start}")
    found = process(sys.executable, "-c", text)
    assert (found.returncode, found.stdout, found.stderr) == (130, "", "")


def test_every_public_name_is_there(shell: Shell) -> None:
    """They are loaded when asked for, so that a start loads none of them."""
    text = "import sys, streamfn; print([n for n in sys.modules if n.startswith('streamfn.')]);"
    found = process(sys.executable, "-c", text + "from streamfn import *; print(App, Results)")
    assert found.stdout.startswith("[]\n<class"), found.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_matter(shell: Shell, closed: str) -> None:
    """What nobody can see is not written; the work is done all the same."""
    shell.lines(TEXTS)
    command = f"'{sys.executable}' -m streamfn run {shell.program()} --until-end {closed}"
    found = process("sh", "-c", command)
    assert found.returncode == 0, found.stderr
    assert "Traceback" not in found.stderr
    assert shell("state").stdout == "count-seen  3 keys\ncount-total  3 keys\n"
    for verb in ("topics", "state", "consume counts", "version"):
        found = process("sh", "-c", f"'{sys.executable}' -m streamfn {verb} {closed}")
        assert (found.returncode, found.stderr) == (0, "")


def test_a_narrow_summary_keeps_its_numbers(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names give way."""
    monkeypatch.setenv("COLUMNS", "60")
    shell.lines(["a " * 1_234])
    text = shell.program()
    long = "counts-of-words-that-nobody-would-want-to-read-in-full-and-yet"
    Path(text).write_text(Path(text).read_text().replace('"counts"', f'"{long}"'))
    said = shell("run", text, "--until-end").stdout
    assert "…" not in said
    assert said.count("1,234") >= 3


def test_a_program_without_rights_says_so(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that a line of it is to be mended."""
    name, real = shell.program(), Path.open

    def refuses(path: Path, *given: object) -> object:
        if path.name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *given)  # type: ignore[call-overload]  # as it was called

    monkeypatch.setattr(Path, "open", refuses)
    assert shell.fails("describe", name, code=3).endswith(
        "'words.py' cannot be read; got Permission denied; change its permissions"
    )


def test_an_error_that_is_not_in_the_users_code_has_no_traceback(shell: Shell) -> None:
    """A value that its topic does not take: the line says all there is."""
    Path("wrong.py").write_text(
        "import streamfn as sf\napp = sf.App('wrong')\n"
        "lines = app.topic('lines', key=str, value=dict)\n"
        "out = app.topic('out', key=str, value=str)\n"
        "app.feed(lines, 'lines.csv', key='text')\n"
        "@app.function(lines, to=out)\n"
        "def wrong(line: dict, last: sf.Value[str]) -> str:\n    last.value = 5\n    return ''\n"
    )
    shell.lines(TEXTS)
    result = shell("run", "wrong.py", "--until-end", code=5)
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1
