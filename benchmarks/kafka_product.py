"""streamfn's side: the product's own path, from ``opened`` over ``work`` to closed.

State is in RocksDB on disk, with a changelog. Nothing is special to the benchmark but that the
worker is told to stop once it has processed so many records. Invariant: the topology is written
with public names only.
"""

import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import streamfn as sf
from benchmarks.kafka_case import WINDOW_MS, Figures, Order, Priced, Span, Task
from streamfn.config import Config
from streamfn.graph.topology import Topology
from streamfn.run import Run, opened, work

STALLED_S = 60.0


def topology(task: Task) -> Topology:
    """The job as a user writes it."""
    app, case = sf.App(task.id), task.case
    if case.job == "passthrough":
        raw = app.topic(task.source, key=str, value=bytes)
        app.stream(raw).to(app.topic(task.sink, key=str, value=bytes))
        return app.topology()
    orders = app.topic(task.source, key=str, value=Order)
    if case.job == "map":
        sink = app.topic(task.sink, key=str, value=Priced)
        app.stream(orders).map_values(_priced, value=Priced).to(sink)
        return app.topology()
    if case.job == "tumbling":
        sums = app.topic(task.sink, key=sf.Windowed[str], value=float)
        windows = sf.Tumbling(timedelta(milliseconds=WINDOW_MS))
        by_key = app.stream(orders).group_by_key().window(windows)
        by_key.aggregate(0.0, lambda total, order: total + order.amount).to_stream().to(sums)
        return app.topology()
    counts = app.topic(task.sink, key=str, value=int)

    @app.function(orders, to=counts)
    def count(order: Order, total: sf.Value[int]) -> int:
        total.value += 1
        return total.value

    return app.topology()


def _priced(order: Order) -> Priced:
    return Priced(order.user, order.amount * 1.2)


def run(task: Task) -> Figures:
    """Process all records of the source."""
    with tempfile.TemporaryDirectory() as folder:
        life, span = Span(), Span()
        with open_run(task, Path(folder)) as running:
            work(running, each_round=marking(running, span, task.records))
            metrics = running.worker.metrics
        life.committed()
        if metrics.rewinds:
            message = f"{metrics.rewinds} transactions were not committed; run again"
            raise AssertionError(message)
        return Figures.of(
            task.records, span, life, commits=metrics.commits, changes=metrics.changelog_records
        )


def open_run(task: Task, folder: Path) -> AbstractContextManager[Run]:
    """Open the product with its state in a folder."""
    config = Config(
        state_dir=folder, broker=task.broker, commit_interval_ms=task.commit_interval_ms
    )
    return opened(topology(task), config)


def marking(running: Run, span: Span, records: int) -> Callable[[], None]:
    """What is done each round: mark the span, stop at the end."""
    worker, metrics = running.worker, running.worker.metrics
    commits, seen, moved_s = 0, 0, time.monotonic()

    def after_round() -> None:
        nonlocal commits, seen, moved_s
        if metrics.commits != commits:
            commits = metrics.commits
            span.committed()
        if metrics.records != seen:
            seen, moved_s = metrics.records, time.monotonic()
            return
        if not seen:
            span.waiting()
        if seen >= records and worker.finished:
            worker.stop()
        elif time.monotonic() - moved_s > STALLED_S:
            message = f"stalled at {seen} of {records} records"
            raise AssertionError(message)

    return after_round
