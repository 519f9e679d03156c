"""How workers look as one: a live view on a terminal, a line every few seconds elsewhere.

Numbers are what the workers said last; all goes to stderr, but what programs print. Invariant:
columns are as wide as the widest they have had, so that nothing jumps; a line of a worker stands
above the view, once.
"""

from collections import deque
from time import monotonic
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from streamfn.cli.console import line_of
from streamfn.cli.display import LIVE_S, PLAIN_S, Rate, feeds_table, happened, live_on
from streamfn.cli.snapshot import NOTHING, TASKS
from streamfn.engine.status import Note
from streamfn.engine.supervisor import Supervised, Supervisor
from streamfn.graph.describe import counted

SPARKS = "▁▂▃▄▅▆▇█"
SPARKS_SHOWN = 32
SPARK_S = 1.0
STILL_WAITING_S = 30.0
STYLES = {"error": "bold red", "critical": "bold red"}
COLUMNS = ("worker", "pid", "", "tasks", "records/s", "lag", "rebalances", "restarts")
WIDTHS = (6, 7, 12, 5, 9, 11, 10, 8)


class WorkersView:
    """Shows a supervisor's workers; ``tick`` is called each round."""

    def __init__(self, application: str, supervisor: Supervisor, console: Console) -> None:
        self._application, self._supervisor, self._console = application, supervisor, console
        self._started_s = self._shown_s = monotonic()
        self._spark_s = 0.0
        self._rates = {worker.number: Rate() for worker in supervisor.workers}
        self._sparks: deque[float] = deque(maxlen=SPARKS_SHOWN)
        self._live: Live | None = None
        self._said, self._said_s = "", 0.0
        self._waits_s: dict[str, float] = {}

    def __enter__(self) -> "WorkersView":
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

    def note(self, number: int, note: Note) -> None:
        """Write a line of a worker's, or of the supervisor itself (number 0)."""
        who = f"worker {number}: " if number else ""
        if note.word == "stdout":
            print(note.text, flush=True)
        elif note.word == "stderr":
            self._console.print(f"{who}{note.text}".rstrip(), style="dim", soft_wrap=True)
        else:
            style = STYLES.get(note.word, "bold yellow")
            line_of(note.word, f"{who}{note.text}", style, self._console)

    def tick(self) -> None:
        """Draw if it is time."""
        now_s = monotonic()
        if now_s - self._shown_s < (LIVE_S if self._live else PLAIN_S):
            return
        self._shown_s = now_s
        rates = {
            worker.number: self._rates[worker.number].of(now_s, worker.counts["records"])
            for worker in self._supervisor.workers
        }
        if self._live is not None:
            if now_s - self._spark_s >= SPARK_S:
                self._spark_s = now_s
                self._sparks.append(sum(rates.values()))
            self._live.update(self._view(rates), refresh=True)
        else:
            self._say(sum(rates.values()))

    # on a terminal
    def _view(self, rates: dict[int, float]) -> Group:
        supervisor, total = self._supervisor, sum(rates.values())
        counts = supervisor.counts
        head = Text.assemble(
            (self._application, "bold"),
            f"  {counts['records']:,} records  {total:>9,.0f}/s  ",
            (sparkline(self._sparks), "cyan"),
            f"  lag {lag_of(supervisor):,}",
        )
        parts: list[Text | Table] = [head]
        done = happened(counts)
        if done:
            parts.append(Text("  ".join(f"{name} {count:,}" for name, count in done), "dim"))
        restoring = restoring_of(supervisor)
        if restoring:
            parts.append(Text(f"restoring, {restoring:,} changelog records to go", "yellow"))
        feeds = [f for w in supervisor.workers if w.status for f in w.status.feeds]
        if feeds:
            parts.append(feeds_table(feeds))
        parts.append(self._table(rates))
        parts += [Text(line, "yellow", no_wrap=True) for line in self._since(waits(supervisor))]
        parts.append(Text(hint_of(supervisor), "dim"))
        return Group(*parts)

    def _table(self, rates: dict[int, float]) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        for name, width in zip(COLUMNS, WIDTHS, strict=True):
            table.add_column(
                name, min_width=width, no_wrap=True, justify="right" if width != 12 else "left"
            )
        for worker in self._supervisor.workers:
            status, state = worker.status, state_of(worker, self._supervisor)
            table.add_row(
                str(worker.number),
                str(worker.child.pid) if worker.child else "",
                Text(state, STATE_STYLES.get(state, "yellow")),
                str(len(status.tasks)) if status else "",
                f"{rates[worker.number]:,.0f}" if status else "",
                f"{status.lag:,}" if status else "",
                str(worker.counts["rebalances"]),
                str(worker.restarts),
            )
        return table

    # elsewhere
    def _say(self, rate: float) -> None:
        """Write a line; while nothing changes only one."""
        supervisor = self._supervisor
        at_work = sum(worker.status is not None for worker in supervisor.workers)
        tasks = sum(len(w.status.tasks) for w in supervisor.workers if w.status)
        said = [
            f"{supervisor.counts['records']:,} records", f"{rate:,.0f} a second",
            f"{at_work} of {counted(len(supervisor.workers), 'worker')} at work",
            counted(tasks, "task"),
        ]  # fmt: skip
        if lag := lag_of(supervisor):
            said.append(f"lag {lag:,}")
        if restoring := restoring_of(supervisor):
            said.append(f"restoring, {restoring:,} changelog records to go")
        named = [(n, count) for n, count in happened(supervisor.counts) if n != "commits"]
        said += [f"{name} {count:,}" for name, count in named]
        now_s, lines = monotonic(), waits(supervisor)
        facts = ", ".join(said + lines)
        if facts != self._said or (lines and now_s - self._said_s >= STILL_WAITING_S):
            text = f"{self._application}: {', '.join(said + self._since(lines))}"
            self._console.print(text, soft_wrap=True)
            self._said_s = now_s
        self._said = facts

    def _since(self, lines: list[str]) -> list[str]:
        """Say of what waits since when, if it does not say so itself."""
        now_s = monotonic()
        self._waits_s = {line: self._waits_s.get(line, now_s) for line in lines}
        seconds = {line: now_s - since_s for line, since_s in self._waits_s.items()}
        return [
            line
            if s < 1 or "since " in line or "silent for " in line
            else f"{line} (since {s:.0f} s)"
            for line, s in seconds.items()
        ]


STATE_STYLES = {"running": "green", "idle": "dim", "ended": "dim"}


def state_of(worker: Supervised, supervisor: Supervisor) -> str:
    """Say in a word or two what a worker is at."""
    if worker.child is None:
        return "ended" if supervisor.stopping else "crashed"
    if supervisor.stopping:
        return "stopping"
    if worker.status is None:
        return "starting"
    states = {task.state for task in worker.status.tasks}
    for state in ("restoring", "parked"):
        if state in states:
            return state
    return "running" if states else "idle"


def waits(supervisor: Supervisor) -> list[str]:
    """Say what each worker waits for, but for records; workers that wait for the same share one."""
    found: dict[str, list[str]] = {}
    without = tasks_without(supervisor)
    for worker in supervisor.workers:
        text = worker.waits_for
        if worker.child is None and not supervisor.stopping:
            text = f"its next start: {worker.ended}"
        if text and text != NOTHING and (without or text != TASKS):
            found.setdefault(text, []).append(str(worker.number))
    lines = [
        f"workers {', '.join(numbers)} wait for {text}"
        if len(numbers) > 1
        else f"worker {numbers[0]} waits for {text}"
        for text, numbers in found.items()
    ]
    others = supervisor.waits_for_others()
    end = f"the end waits for {others}" if others else without
    return lines + ([end] if end else [])


def tasks_without(supervisor: Supervisor) -> str:
    """Say how many tasks no worker here has, once a worker knows how many there are."""
    statuses = [worker.status for worker in supervisor.workers if worker.status]
    planned = max((status.tasks_planned for status in statuses), default=0)
    missing = planned - sum(len(status.tasks) for status in statuses)
    if missing <= 0 or supervisor.stopping:
        return ""
    return f"{missing} of {counted(planned, 'task')} are with no worker here"


def hint_of(supervisor: Supervisor) -> str:
    """Say what a key would do now."""
    if supervisor.finishing:
        return "all is done; the workers leave"
    if supervisor.stopping:
        return "stopping: the workers commit and leave; Ctrl-C again kills them"
    quiet = [w.waits_for in (NOTHING, TASKS) for w in supervisor.workers]
    return f"{'waiting for records; ' if all(quiet) else ''}Ctrl-C stops"


def lag_of(supervisor: Supervisor) -> int:
    """Records to process in all tasks."""
    return sum(worker.status.lag for worker in supervisor.workers if worker.status)


def restoring_of(supervisor: Supervisor) -> int:
    """Changelog records to restore in all tasks."""
    return sum(worker.status.restoring for worker in supervisor.workers if worker.status)


def sparkline(values: "deque[float]") -> str:
    """Draw numbers as little bars, the highest one full; always equally wide.

    >>> sparkline(deque([0.0, 50.0, 100.0]))[-3:]
    '▁▄█'
    """
    top = max(values, default=0.0) or 1.0
    bars = "".join(SPARKS[min(7, int(7.99 * value / top))] for value in values)
    return bars.rjust(SPARKS_SHOWN)
