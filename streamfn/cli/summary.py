"""What ``streamfn run`` says at its end: how much, how fast, and what became of each topic.

Counts come from the worker's metrics and from where the topics ended before and after. Invariant:
figures are of this run only, unless their column says total.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from streamfn.cli.console import answers, say
from streamfn.cli.errors import elsewhere
from streamfn.config import Config
from streamfn.connectors.log import Log
from streamfn.graph.describe import counted, topic_purposes
from streamfn.graph.plan import Plan
from streamfn.metrics import Metrics
from streamfn.results import partitions_of


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run has done, in one process or in several."""

    plan: Plan
    config: Config
    metrics: Metrics
    seconds: float
    workers: tuple[str, ...] = ()
    """A line for each, if there were several."""


class Ends:
    """Where the application's topics end at a moment."""

    def __init__(self, log: Log, plan: Plan) -> None:
        names = log.topics(topic_purposes(plan))
        self._at = {name: sum(_ends(log, name)) for name in names}

    def since(self, log: Log, topic: str) -> int:
        """Offsets added to a topic since then."""
        return sum(_ends(log, topic)) - self._at.get(topic, 0)


def _ends(log: Log, topic: str) -> Iterator[int]:
    return iter(log.end_offsets(partitions_of(log, topic)).values())


def print_summary(figures: Figures, log: Log | None = None, before: Ends | None = None) -> None:
    """Print the summary of a run; without a log to look at (it was stopped) one line."""
    metrics, whole = figures.metrics, log is not None
    rate = f", {metrics.records / max(figures.seconds, 1e-9):,.0f} a second" if whole else ""
    say(
        f"{figures.plan.application}: {counted(metrics.records, 'record')} in "
        f"{figures.seconds:.1f} s{rate}; "
        f"{counted(metrics.outputs, 'output')}, {counted(metrics.commits, 'commit')}",
        stderr=not whole,
    )
    for line in (*figures.workers, *_asides(figures)):
        say(f"  {line}", stderr=not whole)
    if log is not None and before is not None:
        answers().print(_topics(figures, log, before))


def _asides(figures: Figures) -> Iterator[str]:
    """What went another way, each with what to do about it."""
    metrics = figures.metrics
    if metrics.rows_loaded:
        yield f"{metrics.rows_loaded:,} rows loaded"
    if metrics.restored_records:
        yield f"{metrics.restored_records:,} changelog records restored"
    if metrics.dead_letters:
        yield f"{counted(metrics.dead_letters, 'dead letter')}; look at them: {_look(figures)}"
    if metrics.skipped:
        yield f"{metrics.skipped:,} skipped, as on_error='skip' says"
    for name, count in metrics.dropped.items():
        yield f"{count:,} dropped: {name}"
    if metrics.retries:
        yield f"{metrics.retries:,} retries"
    if metrics.rewinds:
        yield f"{metrics.rewinds:,} rewinds"


def _look(figures: Figures) -> str:
    topic, name = figures.plan.dead_letter_topic, figures.plan.application
    place = elsewhere(Path(figures.config.state_dir))
    if figures.config.broker:
        place += f" --broker {figures.config.broker}"
    return f"streamfn consume {topic} --application {name}{place} --headers"


def _topics(figures: Figures, log: Log, before: Ends) -> Table:
    """What became of the topics; a Kafka counts the ends of transactions as offsets, too."""
    what = "offsets" if figures.config.broker else "records"
    table = Table(box=None, padding=(0, 2), pad_edge=False, header_style="dim")
    table.add_column("topic", overflow="fold")  # the one that shrinks
    table.add_column(f"new {what}", justify="right", no_wrap=True)
    table.add_column("total", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name, purpose in topic_purposes(figures.plan).items():
        if purpose in ("changelog", "position"):
            continue
        new, total = before.since(log, name), sum(_ends(log, name))
        table.add_row(Text(name), f"{new:,}", f"{total:,}", purpose)
    return table
