"""Each streamfn name in the tables of equivalents exists: classes, operators, parameters, commands.

The column headed ``streamfn`` is read: of each piece of code in it, what follows a dot or ``sf.``,
what stands before ``=``, and what follows the command ``streamfn``.
"""

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
from typer.main import get_command

import streamfn as sf
from streamfn.cli.main import app
from streamfn.config import Config
from tests.pages import ROOT

PAGES = ("from-kafka-streams.md", "from-faust.md")
OTHERS = {"msgspec", "file"}
"""What stands before a dot and is not ours."""


def cells(page: str) -> Iterator[str]:
    """The cells of a page that say what something is called here."""
    column = None
    for line in (ROOT / "docs" / page).read_text().splitlines():
        row = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            column = None
        elif column is None:
            column = row.index("streamfn")
        elif not set(line) <= set("|-"):
            yield row[column]


def public() -> dict[str, Any]:
    """Each public name with what it is."""
    return {name: getattr(sf, name) for name in sf.__all__}


def members() -> set[str]:
    """The methods and attributes of all public classes, and of the test driver."""
    classes = [
        each for each in (*public().values(), sf.testing.TestDriver) if isinstance(each, type)
    ]
    found = {name for each in classes for name in dir(each) if not name.startswith("_")}
    return found | {"TestDriver"} | set(sf.__all__)


def parameters() -> set[str]:
    """The parameters of all that is public, and the settings."""
    found = {field.name for field in fields(Config)}
    for each in (*public().values(), sf.testing.TestDriver):
        parts = [each, *(getattr(each, name, None) for name in dir(each) if name[0] != "_")]
        for part in parts:
            if callable(part) and (inspect.isroutine(part) or isinstance(part, type)):
                try:
                    found |= set(inspect.signature(part).parameters)
                except (TypeError, ValueError):  # of C, which tells no signature
                    continue
    return found


def commands() -> dict[str, Any]:
    """The verbs of the command line."""
    group: Any = get_command(app)
    return group.commands  # type: ignore[no-any-return]  # a group of commands is not in typer's types


def unknown(code: str) -> list[str]:
    """The names in a piece of code that do not exist."""
    if code.startswith("streamfn "):
        return [] if code.split()[1] in commands() else [code]
    if code.startswith("--"):
        options = {option for each in commands()["run"].params for option in each.opts}
        return [] if code in options else [code]
    missing = [
        name for name in re.findall(r"\bsf\.(\w+)", code) if name not in {*sf.__all__, "testing"}
    ]
    for before, name in re.findall(r"(\w*)\.(\w+)", code):
        if before not in {*OTHERS, "sf"} and name not in members():
            missing.append(name)
    missing += [name for name in re.findall(r"\b(\w+)=(?!=)", code) if name not in parameters()]
    if re.fullmatch(r"[a-z]+(_[a-z]+)+", code):  # a setting
        missing += [] if code in parameters() else [code]
    return missing


@pytest.mark.parametrize("page", PAGES)
def test_names_exist(page: str) -> None:
    """Nothing is promised that is not there."""
    found = [code for cell in cells(page) for code in re.findall(r"`([^`]+)`", cell)]
    assert len(found) > 30
    assert {code: unknown(code) for code in found if unknown(code)} == {}


def test_the_check_sees() -> None:
    """What does not exist is found."""
    for code in ("sf.Tumblin(size)", ".windowed_by(x)", "graze=", "streamfn walk", "state_folder"):
        assert unknown(code), code
