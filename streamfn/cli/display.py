"""How a run looks while it works: a live view on a terminal, a line every few seconds elsewhere.

Numbers are read off the worker between two rounds of its loop and go to stderr. Invariant: looking
changes nothing and costs little: one snapshot a quarter of a second, drawn by the loop itself,
without a thread.
"""

import logging
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from time import monotonic
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from streamfn.cli.console import line_of
from streamfn.cli.snapshot import NOTHING, take
from streamfn.engine.status import DROPPED, FeedStatus, Status
from streamfn.run import Run

LIVE_S = 0.25
PLAIN_S = 3.0
TASKS_SHOWN = 12
TASKS_SAID = 4
RATE_S = 3.0
SHOWN = ("outputs", "commits", "dead letters", "skipped", "retries", "rewinds", "rebalances")


class Rate:
    """Records a second over the last seconds, from a count that grows."""

    def __init__(self) -> None:
        self._started_s = monotonic()
        self._seen: deque[tuple[float, int]] = deque()

    def of(self, now_s: float, count: int) -> float:
        """Take the count of now."""
        seen = self._seen
        seen.append((now_s, count))
        while len(seen) > 2 and now_s - seen[0][0] > RATE_S:
            seen.popleft()
        since_s, before = seen[0] if len(seen) > 1 else (self._started_s, 0)
        return max(0.0, (count - before) / max(now_s - since_s, 1e-9))


class Display:
    """Shows a run; ``tick`` is called each round."""

    def __init__(self, run: Run, console: Console) -> None:
        self._run, self._console = run, console
        self._started_s = self._shown_s = monotonic()
        self._rate = Rate()
        self._quiet_said = False
        self._live: Live | None = None

    def __enter__(self) -> "Display":
        self._live = live_on(self._console)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return monotonic() - self._started_s

    def tick(self) -> None:
        """Draw if it is time."""
        now_s = monotonic()
        if now_s - self._shown_s < (LIVE_S if self._live else PLAIN_S):
            return
        self._shown_s = now_s
        status = take(self._run)
        rate = self._rate.of(now_s, status.records)
        if self._live is not None:
            self._live.update(view(self._run.plan.application, status, rate), refresh=True)
        else:
            self._say(status, rate)

    def _say(self, status: Status, rate: float) -> None:
        """Write a line; once all is processed only one, until there is more."""
        quiet = status.waits_for == NOTHING
        if not (quiet and self._quiet_said):
            text = f"{self._run.plan.application}: {sentence(status, rate)}"
            self._console.print(text, soft_wrap=True)
        self._quiet_said = quiet


def live_on(console: Console) -> Live | None:
    """Start a live view if there is a terminal to draw it on."""
    if not console.is_terminal:
        return None
    out = Console().is_terminal  # what goes to a pipe must not be led to the terminal
    live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=out)
    live.start()
    return live


def happened(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """What a run has done, and what went another way: only what there is."""
    dropped = sum(count for name, count in counts.items() if name.startswith(DROPPED))
    names = {name: counts.get(name.replace(" ", "_"), 0) for name in SHOWN}
    names["rejected rows"], names["dropped"] = counts.get("rows_rejected", 0), dropped
    return [(name, count) for name, count in names.items() if count]


def sentence(status: Status, rate: float) -> str:
    """Write a status as one line."""
    said = [f"{status.records:,} records", f"{rate:,.0f} a second"]
    if status.lag:
        behind = sorted(status.tasks, key=lambda task: -task.lag)[:TASKS_SAID]
        names = ", ".join(f"{t.name} {t.lag:,}" for t in behind if t.lag and t.state != "restoring")
        said.append(f"lag {status.lag:,} ({names})")
    if status.restoring:
        said.append(f"restoring, {status.restoring:,} changelog records to go")
    said += [f"loading {feed.name}, {_share(feed.done, feed.total)}" for feed in status.feeds]
    said += [f"{name} {count:,}" for name, count in happened(status.counts)]
    if status.waits_for:
        said.append(f"waiting for {status.waits_for}")
    return ", ".join(said)


def _share(done: int, total: int) -> str:
    return f"{100 * done // total} % of {size(total)}" if total else size(done)


def size(count: int) -> str:
    """Write bytes for people.

    >>> size(999), size(12_345_678)
    ('999 B', '12.3 MB')
    """
    if count < 1000:
        return f"{count} B"
    units = ("kB", "MB", "GB", "TB")
    power = next((n for n in range(1, len(units)) if count < 1000 ** (n + 1)), len(units))
    return f"{count / 1000**power:.1f} {units[power - 1]}"


def view(application: str, status: Status, rate: float) -> Group:
    """Draw a status for a terminal."""
    head = Text.assemble(
        (application, "bold"),
        f"  {status.records:,} records  {rate:,.0f}/s  lag {status.lag:,}",
    )
    parts: list[Text | Table] = [head]
    counts = happened(status.counts)
    if counts:
        parts.append(Text("  ".join(f"{name} {count:,}" for name, count in counts), "dim"))
    if status.feeds:
        parts.append(feeds_table(status.feeds))
    if status.tasks:
        parts.append(_tasks(status))
    if status.waits_for:
        parts.append(Text(f"waiting for {status.waits_for}; Ctrl-C stops", "dim"))
    return Group(*parts)


def feeds_table(feeds: Iterable[FeedStatus]) -> Table:
    """Draw how far feeds are."""
    table = Table.grid(padding=(0, 2))
    for feed in feeds:
        bar = ProgressBar(total=max(feed.total, 1), completed=feed.done, width=30)
        table.add_row(f"loading {feed.name}", bar, _share(feed.done, feed.total))
    return table


def _tasks(status: Status) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_column(justify="right")
    for task in status.tasks[:TASKS_SHOWN]:
        style = "yellow" if task.state in ("restoring", "parked") else "dim" if not task.lag else ""
        lag = f"{task.lag:,} behind" if task.lag or task.state != "running" else "caught up"
        table.add_row(task.name, task.state, lag, style=style)
    more = len(status.tasks) - TASKS_SHOWN
    if more > 0:
        table.add_row(f"and {more} more tasks", "", "")
    return table


class _Lines(logging.Handler):
    """Writes warnings of the engine as lines, above the live view."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        word = record.levelname.lower()
        line_of(word, record.getMessage(), "bold yellow", self._console)


@contextmanager
def warnings_on(console: Console) -> Generator[None]:
    """Show the engine's warnings."""
    logger, handler = logging.getLogger("streamfn"), _Lines(console)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
