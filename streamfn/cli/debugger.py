"""``streamfn replay --key K --stage S [--break]``: the history of one key, and a debugger in it.

A replay fills the history; each call of it can then be run again under pdb, in any order, from the
state that was before it. Invariant: whatever is done in the session, the history stays as the
replay has written it.
"""

import difflib
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, Final, get_args, get_origin

from rich.console import Console

from streamfn.cli.console import answers, line_of
from streamfn.cli.debugger_session import Session, print_lines
from streamfn.cli.debugger_view import (
    effect_lines,
    heading,
    history_table,
    key_text,
    record_lines,
    state_lines,
    text_of,
)
from streamfn.cli.progress import Progress
from streamfn.cli.values import key_candidates
from streamfn.config import Config
from streamfn.errors import ConfigError, SerdeError
from streamfn.graph.describe import counted
from streamfn.graph.topology import UNKNOWN, Function, Topology
from streamfn.replay.effects import Effects
from streamfn.replay.history.calls import History
from streamfn.replay.history.watching import key_type, stage_named, watched
from streamfn.replay.recording import Inputs
from streamfn.replay.replay import replay
from streamfn.windowed import Windowed

NEAR_SHOWN: Final = 5
_WINDOWED: Any = Windowed


def debug(
    topology: Topology,
    inputs: Inputs,
    *,
    stage: str,
    key: str,
    at: int | None = None,
    interactive: bool = False,
    commands: IO[str] | None = None,
    console: Console | None = None,
    **manner: Any,
) -> int:
    """Replay, then show the history of a key at a stage, or debug it; return the exit code.

    ``manner`` goes to ``key_history``, the others to ``examine``.
    """
    history = key_history(topology, inputs, stage=stage, key=key, **manner)
    return examine(history, at=at, interactive=interactive, commands=commands, console=console)


def key_history(
    topology: Topology,
    inputs: Inputs,
    *,
    stage: str,
    key: str,
    config: Config | None = None,
    end_to_end: bool = False,
    repartitions: bool = False,
) -> History:
    """Replay, and return the calls of a stage for a key; the inputs can be closed then.

    Args:
        topology: the program.
        inputs: what it is replayed on.
        stage: one with functions of the user's own.
        key: as plain text or JSON.
        config: as of ``replay``.
        end_to_end: as of ``replay``.
        repartitions: as of ``replay``.

    Raises:
        ConfigError: there is no such stage, it was never called for the key, or the text can be
            no key of it.
    """
    try:
        is_wanted = wanted(key, key_type(topology, stage))
    except SerdeError as error:  # no record is wrong here, but what was typed
        raise ConfigError(str(error)) from error
    program, history = watched(topology, stage, is_wanted)
    # A step's stand-in finds its record on the stack, where generated code has other names.
    generated = isinstance(stage_named(program, stage), Function)
    with (
        Progress(program.application, inputs.total) as bar,
        replay(
            program, inputs, _Unheard(), config=config, end_to_end=end_to_end,
            repartitions=repartitions, generated=generated,
            progress=lambda done, total: bar.show(done, total=total),
        ) as done,
    ):  # fmt: skip
        history.undo(done.raised)
    for notice in done.notices:
        line_of("note", notice, "yellow")
    if not history.made:
        raise ConfigError(_never(history, key))
    if history.dropped:
        text = f"the last {len(history):,} of {history.made:,} calls are kept"
        line_of("note", text, "yellow")
    return history


def examine(
    history: History,
    *,
    at: int | None = None,
    interactive: bool = False,
    commands: IO[str] | None = None,
    console: Console | None = None,
) -> int:
    """Show a history, or debug its calls; return the exit code.

    Args:
        history: at least one call.
        at: begin at the first call for a record of that time in ms, or later.
        interactive: stop in each call; else a table is printed.
        commands: where the session reads what to do; None: stdin.
        console: where all is printed; stdout.
    """
    console = console or answers()
    if not interactive:
        console.print(history_table(history))
        return 0
    lines = _scripted(commands)
    if lines is not None and not lines:
        _print_all(history, console)
    else:
        Session(history, console, lines).go(_start(history, at))
    return 0


def wanted(text: str, kind: object) -> Callable[[Any], bool]:
    """Tell which keys a text means, given their type; of windows those of all windows of the key.

    Raises:
        SerdeError: it can be no key of that type.
    """
    inner = get_args(kind)[0] if get_origin(kind) is Windowed else kind
    found: list[Any] = []
    with suppress(TypeError):  # a type that only its own serde knows: as it is shown
        found = key_candidates(text, Any if inner is UNKNOWN else inner)
    if not found or inner is UNKNOWN:
        found.append(text.encode())
        shown = {text, f"{text!r}"}
        return lambda key: _inner(key) in found or key_text(_inner(key)) in shown
    return lambda key: _inner(key) in found


def _inner(key: Any) -> Any:
    if type(key) is not _WINDOWED:
        return key
    found: Any = key.key
    return found


class _Unheard:
    """Takes what the replay makes: here nobody asks for it."""

    def effects(self, found: list[Effects]) -> None:
        """Take what one chunk has made."""


def _never(history: History, key: str) -> str:
    names = {text_of(seen): count for seen, count in history.seen.items()}
    if not names:
        return (
            f"stage {history.stage!r} was never called for key {key!r}; got no record with a key "
            "there; choose another stage or more records"
        )
    near = difflib.get_close_matches(key, names, n=NEAR_SHOWN)
    often = sorted(names, key=lambda name: (-names[name], name))[:NEAR_SHOWN]
    among = ", ".join(near or often)
    return (
        f"stage {history.stage!r} was never called for key {key!r}; got "
        f"{counted(len(names), 'other key')}, {'near ones' if near else 'most often'} {among}; "
        "name one that was there"
    )


def _start(history: History, at: int | None) -> int:
    """Where to begin: at a time, else at the first call that failed, else at the first."""
    numbers = range(len(history))
    if at is not None:
        found = (i for i in numbers if history[i].place.timestamp_ms >= at)
        return next(found, len(history) - 1)
    return next((i for i in numbers if history[i].failed), 0)


def _scripted(commands: IO[str] | None) -> list[str] | None:
    """Return the commands of a file or a pipe; None: somebody sits there."""
    source = sys.stdin if commands is None else commands
    if commands is None and source.isatty():
        return None
    return source.read().splitlines()


def _print_all(history: History, console: Console) -> None:
    console.print(history_table(history))
    for call in history:
        print_lines(console, ["", heading(call, history), *record_lines(call)])
        print_lines(console, [*state_lines(call.before), *effect_lines(call, call.outcome)])
