"""What Ctrl-C, SIGTERM and a closed terminal do to a verb that reads a log and writes a file.

Invariant: they end the verb by an exception, so that whatever it has opened is closed and what is
half-written is removed, also if more signals come meanwhile; the exit code names the first one.
"""

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Final

import typer

from streamfn.cli.console import say

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TIDY_S: Final = 10.0
"""So long what is open may take to be closed and removed before another signal ends that, too."""


@contextmanager
def interruptible(end: Callable[[], str]) -> Generator[None]:
    """Have a signal end the block, and say which end that is.

    Raises:
        typer.Exit: with 128 and the number of the signal.
    """
    came: list[int] = []
    tidy_until_s = 0.0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal tidy_until_s
        now_s = monotonic()
        if now_s < tidy_until_s:  # a second one would end the tidying
            return
        came.append(number)
        tidy_until_s = now_s + TIDY_S
        raise KeyboardInterrupt

    handled = {
        number: signal.signal(number, handle)
        for number in SIGNALS
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN  # nohup
    }
    try:
        yield
    except KeyboardInterrupt:
        say(end(), stderr=True)
        raise typer.Exit(128 + (came[0] if came else signal.SIGINT)) from None
    finally:
        for number, old in handled.items():
            signal.signal(number, old)


def stopped(path: Path | None, verb: str) -> Callable[[], str]:
    """Have it said whether the file of a verb, if it has one, is whole when a signal comes.

    It gets its name at the very end, and the signal may come right after that.
    """
    before = _inode(path)

    def end() -> str:
        if path is None:
            return "stopped"
        whole = _inode(path) != before
        return f"stopped; all was {verb} into {path}" if whole else f"stopped; nothing was {verb}"

    return end


def _inode(path: Path | None) -> int:
    """Which file it is; 0 for none."""
    return path.stat().st_ino if path is not None and path.exists() else 0
