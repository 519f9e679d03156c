"""How a run looks while it works: a live view on a terminal, a line every few seconds elsewhere.

Numbers are read off the worker between two rounds of its loop and go to stderr. Invariant: looking
changes nothing and costs little: one snapshot a quarter of a second, drawn by the loop itself,
without a thread.
"""

import logging
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from streamfn.cli.console import line_of
from streamfn.engine.task import Task, TaskState
from streamfn.run import EmbeddedRun

LIVE_S = 0.25
PLAIN_S = 3.0
TASKS_SHOWN = 12
TASKS_SAID = 4
RATE_S = 3.0


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """A task now; ``lag`` counts records, while it restores those of its changelogs."""

    name: str
    state: str
    lag: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A worker now."""

    records: int
    rate: float
    tasks: tuple[TaskFacts, ...]
    feeds: tuple[tuple[str, int, int], ...]
    """Name, bytes done, bytes in total of the feeds that are not at their end."""
    counts: tuple[tuple[str, int], ...]
    """What went another way: skipped, dead letters, dropped; only what there is."""
    waits_for: str

    @property
    def lag(self) -> int:
        """Records to process in all tasks."""
        return sum(task.lag for task in self.tasks if task.state != "restoring")

    @property
    def restoring(self) -> int:
        """Changelog records to restore in all tasks."""
        return sum(task.lag for task in self.tasks if task.state == "restoring")


class Display:
    """Shows a run; ``tick`` is called each round."""

    def __init__(self, run: EmbeddedRun, console: Console) -> None:
        self._run, self._console = run, console
        self._started_s = self._shown_s = monotonic()
        self._seen: deque[tuple[float, int]] = deque()
        self._quiet_said = False
        self._live: Live | None = None

    def __enter__(self) -> "Display":
        if self._console.is_terminal:
            out = Console().is_terminal  # what goes to a pipe must not be led to the terminal
            self._live = Live(
                console=self._console, auto_refresh=False, transient=True, redirect_stdout=out
            )
            self._live.start()
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
        snapshot = take(self._run, self._rate(now_s))
        if self._live is not None:
            self._live.update(view(self._run.plan.application, snapshot), refresh=True)
        else:
            self._say(snapshot)

    def _rate(self, now_s: float) -> float:
        """Records a second over the last seconds."""
        seen, records = self._seen, self._run.worker.metrics.records
        seen.append((now_s, records))
        while len(seen) > 2 and now_s - seen[0][0] > RATE_S:
            seen.popleft()
        since_s, before = seen[0] if len(seen) > 1 else (self._started_s, 0)
        return (records - before) / max(now_s - since_s, 1e-9)

    def _say(self, snapshot: Snapshot) -> None:
        """Write a line; once all is processed only one, until there is more."""
        quiet = snapshot.waits_for == "records"
        if not (quiet and self._quiet_said):
            text = f"{self._run.plan.application}: {sentence(snapshot)}"
            self._console.print(text, soft_wrap=True)
        self._quiet_said = quiet


def take(run: EmbeddedRun, rate: float) -> Snapshot:
    """Look at a worker."""
    worker, metrics = run.worker, run.worker.metrics
    counts = {
        "outputs": metrics.outputs,
        "commits": metrics.commits,
        "dead letters": metrics.dead_letters,
        "skipped": metrics.skipped,
        "dropped": sum(metrics.dropped.values()),
        "rejected rows": metrics.rows_rejected,
        "retries": metrics.retries,
        "rewinds": metrics.rewinds,
    }
    tasks = tuple(_task(run, task) for task in worker.tasks.values())
    feeds = tuple((f.feed.name, *f.progress()) for f in worker.feeds if not f.at_end)
    parked = next((t.parked_reason for t in worker.tasks.values() if t.parked_reason), "")
    waits_for = parked or ("" if feeds or any(task.lag for task in tasks) else "records")
    said = tuple((name, count) for name, count in counts.items() if count)
    return Snapshot(metrics.records, rate, tasks, feeds, said, waits_for)


def _task(run: EmbeddedRun, task: Task) -> TaskFacts:
    restore = run.worker.restores.get(task.name)
    if restore is not None:
        return TaskFacts(task.name, "restoring", restore.remaining)
    if task.state is not TaskState.RUNNING:
        return TaskFacts(task.name, task.state.value, 0)
    lag = len(task.buffer) + sum(run.log.lag(source) for source in task.sources)
    return TaskFacts(task.name, "parked" if task.parked_reason else "running", lag)


def sentence(snapshot: Snapshot) -> str:
    """Write a snapshot as one line."""
    said = [f"{snapshot.records:,} records", f"{snapshot.rate:,.0f} a second"]
    if snapshot.lag:
        behind = sorted(snapshot.tasks, key=lambda task: -task.lag)[:TASKS_SAID]
        names = ", ".join(f"{t.name} {t.lag:,}" for t in behind if t.lag and t.state != "restoring")
        said.append(f"lag {snapshot.lag:,} ({names})")
    if snapshot.restoring:
        said.append(f"restoring, {snapshot.restoring:,} changelog records to go")
    said += [f"loading {name}, {_share(done, total)}" for name, done, total in snapshot.feeds]
    said += [f"{name} {count:,}" for name, count in snapshot.counts]
    if snapshot.waits_for:
        said.append(f"waiting for {snapshot.waits_for}")
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


def view(application: str, snapshot: Snapshot) -> Group:
    """Draw a snapshot for a terminal."""
    head = Text.assemble(
        (application, "bold"),
        f"  {snapshot.records:,} records  {snapshot.rate:,.0f}/s  lag {snapshot.lag:,}",
    )
    parts: list[Text | Table] = [head]
    if snapshot.counts:
        parts.append(Text("  ".join(f"{name} {count:,}" for name, count in snapshot.counts), "dim"))
    if snapshot.feeds:
        parts.append(_feeds(snapshot))
    if snapshot.tasks:
        parts.append(_tasks(snapshot))
    if snapshot.waits_for:
        parts.append(Text(f"waiting for {snapshot.waits_for}; Ctrl-C stops", "dim"))
    return Group(*parts)


def _feeds(snapshot: Snapshot) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, done, total in snapshot.feeds:
        bar = ProgressBar(total=max(total, 1), completed=done, width=30)
        table.add_row(f"loading {name}", bar, _share(done, total))
    return table


def _tasks(snapshot: Snapshot) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_column(justify="right")
    for task in snapshot.tasks[:TASKS_SHOWN]:
        style = "yellow" if task.state in ("restoring", "parked") else "dim" if not task.lag else ""
        lag = f"{task.lag:,} behind" if task.lag or task.state != "running" else "caught up"
        table.add_row(task.name, task.state, lag, style=style)
    more = len(snapshot.tasks) - TASKS_SHOWN
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
