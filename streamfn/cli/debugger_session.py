"""The session of the debugger: calls of a history, run again under pdb, forth and back.

Commands come from a terminal, a pipe or a file; what is said goes to a console. Invariant: a call
runs from the state that was before it, whatever was done to it in an earlier run.
"""

import sys
from bdb import BdbQuit
from cmd import Cmd
from collections.abc import Callable, Iterable
from contextlib import suppress
from pdb import Pdb
from types import FrameType, TracebackType
from typing import IO, Any, Final

from rich.console import Console

from streamfn.cli.debugger_view import (
    between_lines,
    departures,
    effect_lines,
    heading,
    history_table,
    record_lines,
    state_lines,
)
from streamfn.graph.describe import counted
from streamfn.replay.history.calls import Call, History, Outcome
from streamfn.replay.history.standalone import at_once, run_again

OWN: Final = (
    "streamfn.cli.*", "streamfn.engine.*", "streamfn.function.*", "streamfn.graph.*",
    "streamfn.replay.*", "streamfn.serde.*", "streamfn.state.*", "streamfn.chance",
    "streamfn.windowed", "copy",
)  # fmt: skip
"""Modules that a step does not stop in."""
HELP: Final = """\
  fw, forward   to the next call of the key         bk, back     to the one before
  goto N        to call N                           history      all calls
  record        the record, whole                   state        the state before the call, whole
  effects       what the call did in the replay     verify [all] run it again, and compare
  restart       this call from its first line       q            end

Besides, all commands of pdb while a call runs: n, s, p NAME, w, b FILE:LINE, … (help NAME). c runs
the call to its end: then its effects are shown. A variable named like a command: p NAME, or !NAME.\
"""


class Left(BaseException):
    """The session leaves a call before its end; user code that catches errors does not see it."""


def print_lines(console: Console, lines: Iterable[str]) -> None:
    """Print lines as they are."""
    for line in lines:
        console.print(line, soft_wrap=True)


class Script:
    """Commands from a pipe or a file, as a terminal would show them."""

    def __init__(self, lines: list[str], out: IO[str]) -> None:
        self._lines, self._out = iter(lines), out

    def readline(self) -> str:
        """Return the next command, and show it."""
        line = next(self._lines, None)
        if line is None:
            self._out.write("\n")
            return ""
        self._out.write(f"{line}\n")
        return f"{line}\n"


class Session:
    """Goes through the calls of a history, forth and back."""

    def __init__(self, history: History, console: Console, lines: list[str] | None) -> None:
        self.history, self.console = history, console
        self.at = 0
        self.move: int | None = None
        """Where to go next; None ends the session."""
        script: Any = None if lines is None else Script(lines, console.file)
        out: Any = None if lines is None else console.file
        self._stopping = Stopping(self, script, out)
        self._between = Between(self, script, out)

    @property
    def call(self) -> Call:
        """The call at which the session is."""
        return self.history[self.at]

    def go(self, at: int) -> None:
        """Go through calls until somebody has had enough."""
        self.move = at
        while self.move is not None:
            self.at, self.move = self.move, None
            self._announce()
            outcome = self._run()
            if outcome is not None:
                self._conclude(outcome)
                self._between.cmdloop()
        self._stopping.clear_all_breaks()  # bdb keeps them for the process

    def say(self, lines: Iterable[str]) -> None:
        """Print lines."""
        print_lines(self.console, lines)

    def step(self, by: int) -> bool:
        """Choose the next call; False if there is none."""
        return self.choose(self.at + by)

    def choose(self, at: int) -> bool:
        """Choose a call by its index; False if there is none."""
        if not 0 <= at < len(self.history):
            first, last = self.history[0].number, self.history[-1].number
            self.say([f"no such call: they go from {first} to {last}"])
            return False
        self.move = at
        return True

    def _announce(self) -> None:
        call = self.call
        if self.at:
            self.say(between_lines(self.history[self.at - 1], call))
        self.console.print(heading(call, self.history), style="bold", soft_wrap=True)
        self.say([*record_lines(call), *state_lines(call.before)])

    def _run(self) -> Outcome | None:
        """Run the call under pdb; None if it was left before its end."""
        self._stopping.begin(self.call)
        try:
            outcome = run_again(self.call, self._stopping.run)
        except Left:
            return None
        if not self._stopping.stopped:
            self.say(["  there is no line of Python to stop at"])
        return outcome

    def _conclude(self, outcome: Outcome) -> None:
        self.say([f"call {self.call.number} has ended", *effect_lines(self.call, outcome)])
        self.verdict(self.call, outcome)

    def verdict(self, call: Call, outcome: Outcome) -> None:
        """Say whether the same came of it as in the replay."""
        found = departures(call.outcome, outcome)
        if not found:
            self.say(["VERIFIED: the same as in the replay"])
            return
        self.say(["differs from the replay:", *(f"  {line}" for line in found)])
        self.say(["  unless you have changed something, the function depends on more than it gets"])


class Moving(Cmd):
    """The commands that both prompts have."""

    session: Session

    def leave(self) -> bool:
        """End this prompt."""
        return True

    def do_forward(self, arg: str) -> bool:
        """Go to the next call of the key: fw."""
        return self.session.step(1) and self.leave()

    def do_back(self, arg: str) -> bool:
        """Go to the call before: bk."""
        return self.session.step(-1) and self.leave()

    def do_goto(self, arg: str) -> bool:
        """Go to a call by its number: goto 3."""
        first = self.session.history[0].number
        at = int(arg) - first if arg.strip().isdigit() else -1
        return self.session.choose(at) and self.leave()

    def do_restart(self, arg: str) -> bool:
        """Run this call from its first line again."""
        return self.session.step(0) and self.leave()

    def do_history(self, arg: str) -> None:
        """Show all calls of the key."""
        table = history_table(self.session.history, self.session.call.number)
        self.session.console.print(table)

    def do_record(self, arg: str) -> None:
        """Show the record of this call, whole."""
        self.session.say(record_lines(self.session.call, 0))

    def do_state(self, arg: str) -> None:
        """Show the state before this call, whole."""
        self.session.say(state_lines(self.session.call.before, 0))

    def do_effects(self, arg: str) -> None:
        """Show what this call did in the replay, whole."""
        call = self.session.call
        self.session.say(effect_lines(call, call.outcome, 0))

    def do_verify(self, arg: str) -> None:
        """Run this call again without a stop, or all of them (verify all), and compare."""
        with self.untraced():
            if arg.strip() == "all":
                self._verify_all()
            else:
                self.session.verdict(self.session.call, run_again(self.session.call))

    def _verify_all(self) -> None:
        calls = list(self.session.history)
        wrong = [call for call in calls if departures(call.outcome, run_again(call))]
        done = len(calls) - len(wrong)
        self.session.say([f"{done:,} of {counted(len(calls), 'call')} VERIFIED"])
        if wrong:
            numbers = ", ".join(str(call.number) for call in wrong[:20])
            self.session.say([f"different: {numbers}{', …' if len(wrong) > 20 else ''}"])

    def untraced(self) -> "Untraced":
        """Run something without the debugger."""
        return Untraced()

    def do_quit(self, arg: str) -> bool:
        """End the session."""
        self.session.move = None
        return self.leave()

    def do_help(self, arg: str) -> None:
        """Show the commands, or what one of them does."""
        if arg:
            super().do_help(arg)
        else:
            self.session.say([HELP])

    do_fw = do_forward
    do_bk = do_back
    do_run = do_restart
    do_q = do_quit
    do_exit = do_quit
    do_EOF = do_quit


class Untraced:
    """Takes the tracing away for a while."""

    def __enter__(self) -> None:
        self._trace = sys.gettrace()
        sys.settrace(None)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sys.settrace(self._trace)


class Between(Moving):
    """The prompt when a call has ended."""

    def __init__(self, session: Session, script: Any, out: Any) -> None:
        super().__init__(stdin=script, stdout=out)
        self.session = session
        self.use_rawinput = script is None

    def preloop(self) -> None:
        """Say in the prompt at which call it is."""
        self.prompt = f"(call {self.session.call.number}, ended) "

    def emptyline(self) -> bool:
        """An empty line does nothing."""
        return False

    def default(self, line: str) -> None:
        """Say what can be done here."""
        word = line.split()[0]
        self.session.say([f"{word}: the call has ended; fw, bk, goto N, restart, q or help"])


class Stopping(Moving, Pdb):
    """pdb in the user's function; our own modules are no places to stop at."""

    def __init__(self, session: Session, script: Any, out: Any) -> None:
        Pdb.__init__(
            self, stdin=script, stdout=out, skip=OWN, nosigint=script is not None,
            readrc=script is None,
        )  # fmt: skip
        self.session = session
        self.stopped = self._left = False

    def begin(self, call: Call) -> None:
        """Get ready for a call."""
        self.stopped = self._left = False
        self.prompt = f"(call {call.number}) "

    def run(self, fn: Callable[..., Any], arguments: tuple[Any, ...], spread: bool) -> Any:  # type: ignore[override]  # a call, not a statement
        """Run the function, stopping at its first line.

        Raises:
            Left: the session goes somewhere else.
        """
        before, result = sys.gettrace(), None
        try:
            with suppress(BdbQuit):
                result = self.runcall(at_once, fn, arguments, spread)
        except (Exception, SystemExit):
            if not self._left:  # else user code has caught what pdb leaves it by
                raise
        finally:
            sys.settrace(before)
        if self._left:
            raise Left
        return result

    def leave(self) -> bool:
        """Leave the function where it is."""
        self._left = True
        self.set_quit()
        return True

    def stop_here(self, frame: FrameType) -> bool:
        """Stop in what the user's code calls, and not in what our own code calls for it."""
        if not super().stop_here(frame):
            return False
        above, through_ours = frame.f_back, False
        while above is not None and above.f_code is not at_once.__code__:
            ours = self.is_skipped_module(above.f_globals.get("__name__") or "")
            if through_ours and not ours:
                return False
            through_ours |= ours
            above = above.f_back
        return True

    def user_call(self, frame: FrameType, argument_list: None) -> None:
        """Stop at calls that are stepped into, not at that of the function itself."""
        if self.stopped:
            super().user_call(frame, argument_list)

    def user_line(self, frame: FrameType) -> None:
        """Stop at a line."""
        self.stopped = True
        super().user_line(frame)

    def get_stack(
        self, f: FrameType | None, t: TracebackType | None
    ) -> tuple[list[tuple[FrameType, int]], int]:
        """Return the user's part of the stack: what lies behind our own call."""
        stack, at = super().get_stack(f, t)
        ours = [i for i, (frame, _) in enumerate(stack) if frame.f_code is at_once.__code__]
        cut = ours[-1] + 1 if ours and ours[-1] < at else 0
        return stack[cut:], at - cut

    def do_help(self, arg: str) -> None:
        """Show the commands of the session, or what one of them or of pdb's does."""
        if arg:
            Pdb.do_help(self, arg)
        else:
            self.session.say([HELP])
