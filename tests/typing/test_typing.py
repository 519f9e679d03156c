"""Both type checkers take what is right and refuse what is wrong, at the user's own line.

``good.py`` and ``good_more.py`` must be clean; each bad line of ``bad.py`` ends with the error that
it must get from each.
"""

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
GOOD, MORE, BAD = (f"tests/typing/{name}.py" for name in ("good", "good_more", "bad"))
EXPECTED = re.compile(r"  # (?P<mypy>[a-z-]+) (?P<pyright>report\w+|-)$")

Errors: TypeAlias = dict[str, dict[int, set[str]]]
"""File → line → the names of its errors."""


class Checkers(NamedTuple):
    """What each checker found in the two files."""

    mypy: Errors
    pyright: Errors


@pytest.fixture(scope="module")
def checkers() -> Checkers:
    """Run both checkers once, at the same time."""
    mypy = started("mypy", "--strict", "--output", "json", GOOD, MORE, BAD)
    # The tree's own settings leave the bad file out, even if it is named: these name both.
    settings = ["-p", "tests/typing/pyrightconfig.json", "--pythonpath", sys.executable]
    pyright = started("pyright", *settings, "--outputjson")
    return Checkers(mypy_errors(finished(mypy)), pyright_errors(finished(pyright)))


def started(checker: str, *arguments: str) -> "subprocess.Popen[str]":
    """Start a checker in the root of the tree, where its settings stand."""
    command = [sys.executable, "-m", checker, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def finished(process: "subprocess.Popen[str]") -> str:
    """Return what a checker wrote; ending with 0 or 1 is its answer, all else a failure."""
    output, complaint = process.communicate(timeout=1200)
    assert process.returncode in (0, 1), f"{output}\n{complaint}"
    return output


def mypy_errors(output: str) -> Errors:
    """Read mypy's lines of JSON."""
    found: Errors = defaultdict(lambda: defaultdict(set))
    for line in output.splitlines():
        error: dict[str, Any] = json.loads(line)
        if error["severity"] == "error":
            found[error["file"]][error["line"]].add(error["code"])
    return found


def pyright_errors(output: str) -> Errors:
    """Read pyright's report."""
    found: Errors = defaultdict(lambda: defaultdict(set))
    report: dict[str, Any] = json.loads(output)
    for error in report["generalDiagnostics"]:
        if error["severity"] == "error":
            file = Path(error["file"]).relative_to(ROOT).as_posix()
            found[file][error["range"]["start"]["line"] + 1].add(error.get("rule", "syntax"))
    return found


def expected(checker: str) -> dict[int, str]:
    """The error that each bad line must get, by line."""
    lines = (ROOT / BAD).read_text(encoding="utf-8").splitlines()
    marks = {number: EXPECTED.search(line) for number, line in enumerate(lines, 1)}
    wanted = {number: mark[checker] for number, mark in marks.items() if mark}
    return {number: error for number, error in wanted.items() if error != "-"}


def test_bad_lines_are_marked() -> None:
    """The marks of the bad file can be read: else nothing would be expected of it."""
    assert len(expected("mypy")) > 40
    assert len(expected("pyright")) > 40


@pytest.mark.parametrize("checker", Checkers._fields)
def test_good_program_is_clean(checkers: Checkers, checker: str) -> None:
    """A right program gets no error, and has the types that it asserts."""
    errors: Errors = getattr(checkers, checker)
    for file in (GOOD, MORE):
        assert {line: sorted(codes) for line, codes in errors[file].items()} == {}, file


@pytest.mark.parametrize("checker", Checkers._fields)
def test_bad_lines_get_their_error(checkers: Checkers, checker: str) -> None:
    """Each bad line gets its own error."""
    found: dict[int, set[str]] = getattr(checkers, checker)[BAD]
    missed = {
        line: (error, sorted(found.get(line, set())))
        for line, error in expected(checker).items()
        if error not in found.get(line, set())
    }
    assert missed == {}


@pytest.mark.parametrize("checker", Checkers._fields)
def test_other_lines_get_none(checkers: Checkers, checker: str) -> None:
    """An error never shows at another line than the one that is wrong."""
    found: dict[int, set[str]] = getattr(checkers, checker)[BAD]
    assert sorted(found.keys() - expected(checker).keys()) == []
