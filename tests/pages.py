"""Reads the pages of the documentation as a reader does: writes their files, runs their commands.

A block that names a broker is for ``tests/broker/test_docs_kafka.py``, all others are run by
``tests/unit/test_docs.py``. Invariant: each line that a page shows below a command is found in what
the command prints.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parent.parent
PAGES: Final = [
    "README.md",
    *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")),
]
BROKER: Final = "localhost:9092"
"""The broker of the pages."""
BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAME: Final = re.compile(r"# ([\w./]+)\n")
FILES: Final = ("python", "json")
PATIENCE_S: Final = 600
INSTALLED: Final = bool(entry_points(group="pytest11", name="streamfn"))
PLUGIN: Final = {} if INSTALLED else {"PYTEST_ADDOPTS": "-p streamfn.testing.plugin"}
"""A reader has streamfn installed, and so pytest knows its plugin."""


class Block(NamedTuple):
    """One fenced block of a page."""

    page: str
    language: str
    text: str
    line: int

    @property
    def needs_broker(self) -> bool:
        """True if its commands name a Kafka."""
        return self.language == "console" and BROKER in self.text


def blocks(page: str) -> list[Block]:
    """Read the fenced blocks of a page."""
    text = (ROOT / page).read_text()
    return [
        Block(page, found[1], found[2], text.count("\n", 0, found.start()) + 1)
        for found in BLOCK.finditer(text)
    ]


def play(
    page: str,
    folder: Path,
    runs: Callable[[Block], bool],
    change: Callable[[Block], Block] = lambda block: block,
) -> int:
    """Go through a page: write all its files, run those of its sessions that ``runs`` chooses.

    Return how many lines of output were found as the page shows them.
    """
    shown = 0
    for block in blocks(page):
        if block.language in FILES:
            assert write(change(block), folder), f"{page}:{block.line}: begin with '# file name'"
        elif block.language == "console" and runs(block):
            shown += check_session(change(block), folder)
    return shown


def write(block: Block, folder: Path) -> bool:
    """Write a block that begins with a file's name; JSON has no comments, so that line goes."""
    name = NAME.match(block.text)
    if name is None:
        return False
    text = block.text[name.end() :] if block.language == "json" else block.text
    (folder / name[1]).write_text(text)
    return True


def run(command: str, folder: Path) -> str:
    """Run a command as a reader would, ``streamfn`` being this tree's."""
    words = command.split("#")[0].strip()
    words = re.sub(r"^streamfn\b", f"{sys.executable} -m streamfn", words)
    words = re.sub(r"^(pytest|python)\b", f"{sys.executable} -m pytest", words)
    done = subprocess.run(
        words,
        shell=True,
        cwd=folder,
        env={**os.environ, **PLUGIN, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done.stdout


def check_session(block: Block, folder: Path) -> int:
    """Run a console block; each line below a command must appear in what it prints."""
    printed, shown = "", 0
    for line in block.text.splitlines():
        if line.startswith("$ make "):
            printed = ""
        elif line.startswith("$ "):
            printed = run(line[2:], folder)
        elif line.strip() and line.strip() != "…":
            shown += 1
            words, place = " ".join(line.split()), f"{block.page}:{block.line}"
            assert words in " ".join(printed.split()), f"{place}: {line!r}\n{printed}"
    return shown
