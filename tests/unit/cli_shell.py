"""A shell for tests of the command line: runs verbs in a folder of its own, and has a program."""

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from typer.testing import CliRunner, Result

from streamfn.cli.main import app as command

ROOT = Path(__file__).resolve().parents[2]

WORDS = """
import sys
import msgspec
import streamfn as sf

app = sf.App("words"{policy})

class Line(msgspec.Struct):
    text: str
    number: int

lines = app.topic("lines", key=str, value=Line, partitions=2)
counts = app.topic("counts", key=str, value=int)
{feed}
words = app.stream(lines).flat_map_values(lambda line: line.text.split(), value=str)

@app.function(words.key_by(lambda word: word), to=counts)
def count(word: str, total: sf.Value[int], seen: sf.Map[str, int]) -> int:
    if word == "bad":
        raise ValueError("a bad word")
    seen[word] = len(word)
    total.value += 1
    return total.value

@app.report
def show(results: sf.Results) -> None:
    print("report", results.state(count, "total"), len(list(results.read(counts))))
"""
FEED = 'app.feed(lines, "lines.csv", key="text")'
TEXTS = ["a b", "b c", "c c"]


class Shell:
    """Runs verbs in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: str, code: int = 0, given: str | None = None) -> Result:
        """Run a verb in this process and check its exit code."""
        result = CliRunner().invoke(command, words, input=given)
        assert result.exit_code == code, result.output
        return result

    def fails(self, *words: str, code: int) -> str:
        """Run a verb that fails; return its one line of error."""
        lines = self(*words, code=code).stderr.splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        assert errors == lines[-1:], lines
        return errors[0]

    def program(self, name: str = "words.py", *, feed: str = FEED, policy: str = "") -> str:
        """Write the program that counts words."""
        Path(name).write_text(WORDS.format(feed=feed, policy=policy))
        return name

    def lines(self, texts: list[str], name: str = "lines.csv") -> str:
        """Write a file of lines."""
        rows = "".join(f"{text},{number}\n" for number, text in enumerate(texts))
        Path(name).write_text(f"text,number\n{rows}")
        return name

    def start(self, *words: str, errors: IO[str]) -> "subprocess.Popen[str]":
        """Start a verb as a process whose stdout is read by the test."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        return subprocess.Popen(
            [sys.executable, "-m", "streamfn", *words],
            cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=errors,
            text=True,
        )  # fmt: skip


@contextmanager
def open_shell(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Shell]:
    """Work in a folder; what programs have imported is forgotten afterwards."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("COLUMNS", "160")  # whatever the terminal of who runs the tests
    before = set(sys.modules)
    yield Shell(folder)
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def rows_of(result: Result) -> list[dict[str, Any]]:
    """JSON lines as dicts."""
    return [json.loads(line) for line in result.stdout.splitlines()]
