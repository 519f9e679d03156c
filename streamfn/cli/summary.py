"""What ``streamfn run`` says at its end: how much, how fast, and what became of each topic.

Counts come from the worker's metrics and from where the topics ended before and after. Invariant:
figures are of this run only, unless their column says total.
"""

from collections.abc import Iterator
from pathlib import Path

from rich.table import Table
from rich.text import Text

from streamfn.cli.console import answers, say
from streamfn.cli.errors import elsewhere
from streamfn.connectors.log import Log
from streamfn.graph.describe import counted, topic_purposes
from streamfn.results import partitions_of
from streamfn.run import EmbeddedRun


class Ends:
    """Where all topics end at a moment."""

    def __init__(self, log: Log) -> None:
        self._at = {name: sum(_ends(log, name)) for name in log.topics()}

    def since(self, log: Log, topic: str) -> int:
        """Offsets added to a topic since then."""
        return sum(_ends(log, topic)) - self._at.get(topic, 0)


def _ends(log: Log, topic: str) -> Iterator[int]:
    return iter(log.end_offsets(partitions_of(log, topic)).values())


def print_summary(run: EmbeddedRun, before: Ends, seconds: float, *, whole: bool) -> None:
    """Print the summary of a run; without ``whole`` (it was stopped) one line."""
    metrics = run.worker.metrics
    rate = f", {metrics.records / max(seconds, 1e-9):,.0f} a second" if whole else ""
    say(
        f"{run.plan.application}: {counted(metrics.records, 'record')} in {seconds:.1f} s{rate}; "
        f"{counted(metrics.outputs, 'output')}, {counted(metrics.commits, 'commit')}",
        stderr=not whole,
    )
    for line in _asides(run):
        say(f"  {line}", stderr=not whole)
    if whole:
        answers().print(_topics(run, before))


def _asides(run: EmbeddedRun) -> Iterator[str]:
    """What went another way, each with what to do about it."""
    metrics = run.worker.metrics
    if metrics.rows_loaded:
        yield f"{metrics.rows_loaded:,} rows loaded"
    if metrics.restored_records:
        yield f"{metrics.restored_records:,} changelog records restored"
    if metrics.dead_letters:
        yield f"{counted(metrics.dead_letters, 'dead letter')}; look at them: {_look(run)}"
    if metrics.skipped:
        yield f"{metrics.skipped:,} skipped, as on_error='skip' says"
    for name, count in metrics.dropped.items():
        yield f"{count:,} dropped: {name}"
    if metrics.retries:
        yield f"{metrics.retries:,} retries"
    if metrics.rewinds:
        yield f"{metrics.rewinds:,} rewinds"


def _look(run: EmbeddedRun) -> str:
    topic, name = run.plan.dead_letter_topic, run.plan.application
    place = elsewhere(Path(run.config.state_dir))
    return f"streamfn consume {topic} --application {name}{place} --headers"


def _topics(run: EmbeddedRun, before: Ends) -> Table:
    table = Table(box=None, padding=(0, 2), pad_edge=False, header_style="dim")
    table.add_column("topic", overflow="fold")  # the one that shrinks
    table.add_column("new records", justify="right", no_wrap=True)
    table.add_column("total", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name, purpose in topic_purposes(run.plan).items():
        if purpose in ("changelog", "position"):
            continue
        new, total = before.since(run.log, name), sum(_ends(run.log, name))
        table.add_row(Text(name), f"{new:,}", f"{total:,}", purpose)
    return table
