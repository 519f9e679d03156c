"""Where the command line writes: answers to stdout, progress and errors to stderr, all by rich.

Invariant: an error is one line, however long; ``NO_COLOR`` and a pipe take the colours away. Texts
of users and records go out as they are, never read as markup.
"""

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

PIPE_COLUMNS = 160
"""A table in a pipe: wide enough that names are not cut."""


def answers() -> "Console":
    """The console for what was asked for."""
    return _console(stderr=False)


def notes() -> "Console":
    """The console for progress, warnings and errors."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> "Console":
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_COLUMNS
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def say(text: str, *, style: str = "", stderr: bool = False) -> None:
    """Write a line that is never wrapped by us."""
    console = notes() if stderr else answers()
    console.print(text, style=style or None, soft_wrap=True)


def line_of(word: str, text: str, style: str, console: "Console | None" = None) -> None:
    """Write ``word: text`` on stderr as one line, the word in colour."""
    from rich.text import Text

    made = Text.assemble((f"{word}:", style), " ", " ".join(text.split()))
    (console or notes()).print(made, soft_wrap=True)
