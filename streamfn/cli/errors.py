"""What becomes of an error on the command line: one line on stderr and a documented exit code.

Invariant: a traceback is shown only of a user's own code (a function that failed) and of a bug in
streamfn.
"""

import re
import shlex
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from streamfn.cli.console import line_of, notes
from streamfn.cli.options import STATE_DIR
from streamfn.errors import InternalError, StageError, StreamfnError, TopologyError

if TYPE_CHECKING:
    from streamfn.config import Config

EXIT_CODES = {
    0: "done, or stopped by Ctrl-C or SIGTERM after a commit",
    1: "another error; describe --check, replay --diff: something was found",
    2: "the command line is wrong",
    3: "the program is wrong or cannot be loaded",
    4: "a setting, or a file to load, is wrong",
    5: "a record or row failed, and its policy is to fail",
    6: "state: the folder cannot be used, is in use, or holds another type",
    7: "the log, or a schema registry, cannot be used, or another process uses it",
    8: "stopped on purpose: going on would lose or double something",
    9: "a recording is cut short, damaged, foreign or not in order",
    70: "a bug in streamfn",
    130: "Ctrl-C: a second one, or before --until-end came to the end (143: SIGTERM)",
}

BUG = "this is a bug in streamfn; please report it with the lines above"


class ReportError(StreamfnError):
    """A function decorated with ``@app.report`` raised; the run itself is done and committed."""


class Explanation(NamedTuple):
    """An error in words: lines, the exit code, and a traceback where that is of use."""

    lines: tuple[str, ...]
    exit_code: int
    trace: str = ""


@contextmanager
def explained() -> Generator[None]:
    """Show errors and end with their exit codes."""
    import typer

    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:  # whoever reads has enough
        close_stdout()
        raise typer.Exit(0) from None
    except Exception as error:
        if type(error).__module__.split(".")[0] in ("click", "typer"):
            raise
        raise typer.Exit(show(explanation(error))) from None


@contextmanager
def cures_of(application: str, config: "Config", target: str = "") -> Generator[None]:
    """Have the cure ``streamfn reset`` of an error name the application and where it is.

    On a Kafka that is the program and the broker.
    """
    try:
        yield
    except TopologyError:
        raise
    except StreamfnError as error:
        known = rf"streamfn reset( {re.escape(application)}\b)?"
        which = f"--app {target} --broker {config.broker}" if config.broker else application
        named = f"streamfn reset {which}{elsewhere(config.state_dir)}"
        error.args = (re.sub(known, lambda _: named, str(error)),)
        raise


def elsewhere(state_dir: Path) -> str:
    """The option that a command needs to find a state folder, if it needs one."""
    return "" if state_dir == STATE_DIR else f" --state-dir {shlex.quote(str(state_dir))}"


def explanation(error: Exception) -> Explanation:
    """Put an error into words."""
    if isinstance(error, TopologyError):
        return Explanation(tuple(map(str, error.mistakes)), error.exit_code)
    if isinstance(error, StreamfnError) and not isinstance(error, InternalError):
        return Explanation((str(error),), error.exit_code, _trace_of_user(error))
    if isinstance(error, OSError):
        about = f" for {error.filename!r}" if error.filename else ""
        return Explanation((f"the system refuses; got {error.strerror or error}{about}",), 1)
    said = str(error) if isinstance(error, InternalError) else f"{type(error).__name__}: {error}"
    trace = "".join(traceback.format_exception(error))
    return Explanation((f"{said}; {BUG}",), InternalError.exit_code, trace)


def _trace_of_user(error: StreamfnError) -> str:
    """The user's part of a traceback; "" if there is none, as then the line says it all."""
    if not isinstance(error, StageError | ReportError) or error.__cause__ is None:
        return ""
    from streamfn.engine.failure import user_traceback

    trace = user_traceback(error.__cause__)
    return trace if '  File "' in trace else ""


def show(found: Explanation) -> int:
    """Write an error to stderr; return the exit code."""
    if found.trace:
        notes().print(found.trace, end="", soft_wrap=True)
    for line in found.lines:
        line_of("error", line, "bold red")
    return found.exit_code


def close_stdout() -> None:
    """Have nothing more written to a pipe that nobody reads."""
    import os
    import sys

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
