"""How far a pass over records has come: a bar on a terminal, a line every few seconds elsewhere.

Counts come from the verb's own loop, which draws too, without a thread, and go to stderr.
Invariant: drawing costs little, however often it is asked for.
"""

from time import monotonic
from types import TracebackType
from typing import Final

from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from streamfn.cli.console import notes
from streamfn.cli.display import PLAIN_S, Rate

DRAW_S: Final = 0.2


class Progress:
    """Shows how far a loop is; ``show`` is called each round."""

    def __init__(self, what: str, total: int | None = None) -> None:
        self._what, self._total, self._console = what, total, notes()
        self._bar: Bar | None = None
        self._task = TaskID(0)
        if self._console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
                TextColumn("{task.fields[done]:,} records  {task.fields[rate]:,.0f}/s"),
                TimeRemainingColumn(), console=self._console, auto_refresh=False, transient=True,
            )  # fmt: skip
            self._task = self._bar.add_task(what, total=total, done=0, rate=0.0)
        self._rate, self._started_s = Rate(), monotonic()
        self._drawn_s = self._started_s

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return monotonic() - self._started_s

    def show(self, passed: int, done: int | None = None, *, total: int | None = None) -> None:
        """Draw if it is time: ``passed`` of the total, and how many records were ``done``."""
        now_s = monotonic()
        if now_s - self._drawn_s < (DRAW_S if self._bar else PLAIN_S):
            return
        self._drawn_s, total = now_s, total or self._total
        done = passed if done is None else done
        rate = self._rate.of(now_s, done)
        if self._bar is not None:
            self._bar.update(
                self._task, completed=passed, total=total, done=done, rate=rate, refresh=True
            )
            return
        share = f", {passed * 100 // total} %" if total else ""
        text = f"{self._what}: {done:,} records, {rate:,.0f} a second{share}"
        self._console.print(text, soft_wrap=True)
