"""What the tests of mistakes share: a program to get wrong, and how its mistakes are checked.

The wrong line of each program ends with ``# here``.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import streamfn as sf
from streamfn.errors import Mistake


class Program:
    """An app with topics; of any type, so that what is wrong can be written at all."""

    def __init__(self) -> None:
        self.app: Any = sf.App("app")
        self.numbers: Any = self.app.topic("numbers", key=str, value=int)
        self.texts: Any = self.app.topic("texts", key=str, value=str)
        self.stream: Any = self.app.stream(self.numbers)


class Wrong(Program):
    """A program with groups and tables to get wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped: Any = self.stream.group_by_key()
        self.words: Any = self.app.stream(self.texts)
        self.table: Any = self.app.table(self.numbers)
        self.names: Any = self.app.table(self.texts)
        self.sessions: Any = self.grouped.window(sf.Session(timedelta(hours=1)))

    def counted(self, window: Any) -> Any:
        """Count in windows."""
        return self.grouped.window(window).count(name="counted")

    def short(self) -> Any:
        """A table that knows the last minute."""
        return self.app.table(self.texts, versioned=timedelta(minutes=1), name="v")


def mistakes_of(app: Any) -> tuple[Mistake, ...]:
    """Build an app that is wrong."""
    with pytest.raises(sf.TopologyError) as caught:
        app.topology()
    return caught.value.mistakes


def check(app: Any, wrong: str, got: str, cure: str) -> None:
    """Check the only mistake of an app, and that it stands where the test says."""
    (mistake,) = mistakes_of(app)
    assert is_marked(mistake), mistake
    assert wrong in mistake.wrong
    assert got in mistake.got
    assert cure in mistake.cure


def is_marked(mistake: Mistake) -> bool:
    """Tell whether a mistake is told of a line that is marked."""
    file, line = mistake.where.rsplit(":", 1)
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    return lines[int(line) - 1].endswith("# here")


def print_number(number: int) -> None:
    """A function that can be a stage."""


def keep(number: int, total: sf.Value[int]) -> None:
    """A function with state."""
