"""The Kafka part of ``make bench``: rounds of all cases on one real broker, then the tables.

The broker is the one that STREAMFN_TEST_BROKER names, or else one started here, and ended. Each run
is a process of its own with a fresh folder and fresh topics; the sides take turns and swap places
each round. Invariant: inputs aside, no topic outlives the run that made it.
"""

import os
import subprocess
import sys
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
from rich.console import Console

from benchmarks import kafka_report as report
from benchmarks.kafka_case import (
    CASES,
    COMMIT_INTERVAL_MS,
    LOOP,
    SIDES,
    STREAMFN,
    Case,
    Figures,
    Task,
)
from benchmarks.kafka_latency import KEYS, PER_S, SETTLE_RECORDS, Latency, measure
from benchmarks.kafka_topics import FOREVER, PREFIX, Topics

COUNT_SMALL, COUNT_LARGE = CASES[2], CASES[3]
RESTORE, LATENCY = "restore", "latency"
JOBS = (*dict.fromkeys(case.job for case in CASES), LATENCY, RESTORE)
LATENCY_INTERVALS_MS = (COMMIT_INTERVAL_MS, 10)
LATENCY_S = 15
RUN_WITHIN_S = 600.0
WIDTH = 120
"""Of the tables: a ratio that is cut off says nothing."""


@dataclass(frozen=True)
class Options:
    """What is to be measured, and how often."""

    jobs: frozenset[str]
    records: int
    rounds: int
    broker: str = ""
    markdown: bool = False
    clean: bool = False


class Bench:
    """All that is measured on one broker."""

    def __init__(self, broker: str, options: Options, console: Console) -> None:
        self._broker, self._options, self._console = broker, options, console
        self._topics = Topics(broker)
        self.results: dict[Case, dict[str, list[Figures]]] = {}
        self.latencies: dict[str, list[Latency]] = {}
        self.restores: list[Figures] = []

    def run(self) -> None:
        """Measure everything that was asked for."""
        for number in range(self._options.rounds):
            for case in CASES:
                if case.job in self._options.jobs:
                    for side in SIDES if number % 2 == 0 else reversed(SIDES):
                        self._throughput(number, case, side)
            if RESTORE in self._options.jobs:
                self._restore(number)
        if LATENCY in self._options.jobs:
            for interval_ms in LATENCY_INTERVALS_MS:
                for side in SIDES:
                    self._latency(side, interval_ms)

    def _throughput(self, number: int, case: Case, side: str) -> None:
        source = self._filled(case)
        with self._task(side, case, self._options.records, source) as task:
            figures = _child("kafka_one", task)
        self.results.setdefault(case, {}).setdefault(side, []).append(figures)
        self._say(f"round {number + 1}: {case}, {side}: {figures.per_cpu_s:,.0f} per CPU-second")

    def _restore(self, number: int) -> None:
        with self._task(STREAMFN, COUNT_LARGE, self._options.records, "") as task:
            self.restores.append(_child("kafka_one", task, RESTORE))
        self._say(f"round {number + 1}: restore: {self.restores[-1].per_cpu_s:,.0f} per CPU-second")

    def _latency(self, side: str, interval_ms: int) -> None:
        records = KEYS + SETTLE_RECORDS + PER_S * LATENCY_S
        with self._task(side, COUNT_SMALL, records, "", interval_ms) as task:
            found = measure(task)
        self.latencies.setdefault(side, []).append(found)
        self._say(f"latency, {side}, commits each {interval_ms} ms: p50 {found.p50_ms:.1f} ms")

    @contextmanager
    def _task(
        self,
        side: str,
        case: Case,
        records: int,
        source: str,
        interval_ms: int = COMMIT_INTERVAL_MS,
    ) -> Generator[Task]:
        """Make a run's topics; delete all that bears its name afterwards."""
        name = f"{PREFIX}{uuid.uuid4().hex[:12]}"
        own_source = source or f"{name}-in"
        task = Task(self._broker, name, side, case, records, own_source, interval_ms, bool(source))
        try:
            for topic in {task.sink} if source else {task.sink, own_source}:
                self._topics.create(topic, case.partitions, FOREVER)
            if side == LOOP and case.job in ("count", "tumbling"):
                self._topics.create(
                    f"{name}-changelog", case.partitions, {"cleanup.policy": "compact"}
                )
            yield task
        finally:
            self._topics.delete(name)

    def _filled(self, case: Case) -> str:
        """Fill in a process of its own: the memory it takes would count as that of our children."""
        command = [sys.executable, "-m", "benchmarks.kafka_topics", self._broker]
        arguments = [str(case.keys), str(case.partitions), str(self._options.records)]
        done = subprocess.run([*command, *arguments], stdout=subprocess.PIPE, check=True)
        return done.stdout.decode().strip()

    def clean(self) -> None:
        """Delete the inputs too."""
        self._topics.delete(f"{PREFIX}in-")

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr)

    # results
    def show(self) -> None:
        """Print the tables."""
        for title, headings, found in self._tables():
            if self._options.markdown:
                print(report.markdown(title, headings, found))
            else:
                report.show(self._console, title, headings, found)

    def _tables(self) -> Iterator[tuple[str, tuple[str, ...], list[list[str]]]]:
        if self.results:
            title = (
                f"Kafka, exactly once, {self._options.records:,} records, "
                f"commits each {COMMIT_INTERVAL_MS} ms, verified"
            )
            yield title, report.HEADINGS, report.rows(self.results)
        if self.latencies:
            title = f"end-to-end latency of the count at {PER_S:,} records/s, ms"
            yield title, report.LATENCY_HEADINGS, report.latency_rows(self.latencies)
        if self.restores:
            title = f"restore of {COUNT_LARGE.keys:,} keys, {COUNT_LARGE.partitions} partitions"
            yield title, report.RESTORE_HEADINGS, report.restore_rows(self.restores)


def _child(module: str, task: Task, *arguments: str) -> Figures:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        input=msgspec.json.encode(task), stdout=subprocess.PIPE, check=True, timeout=RUN_WITHIN_S,
    )  # fmt: skip
    return msgspec.json.decode(done.stdout, type=Figures)


def run(options: Options) -> int:
    """Measure and print; return 1 if a target is missed."""
    with _broker(options.broker) as address:
        console = Console()
        console.width = max(console.width, WIDTH)
        bench = Bench(address, options, console)
        try:
            bench.run()
        finally:
            if options.clean:
                bench.clean()
            bench.show()
    below = report.missed(bench.results)
    for each in below:
        print(f"MISSED: {each}")
    return 1 if below else 0


@contextmanager
def _broker(address: str) -> Generator[str]:
    address = address or os.environ.get("STREAMFN_TEST_BROKER", "")
    if address:
        yield address
        return
    from tests.kafka_broker import Broker

    with Broker() as broker:
        yield broker.bootstrap
