"""``python -m benchmarks.week``: what is left of windows that are over, through a simulated week.

    a sum of each key and minute, 1,000 keys, an order every second of event time for seven days:
    604,800 windows, of which some thousand are remembered at a time

The product runs embedded, with RocksDB and a changelog on disk. After each day it says how many
entries the store holds, how large its files are, how many keys the changelog holds for a restore,
and how large the process is.
Invariant: exit 1 if the last day holds more than half as much again as the second one.
"""

import argparse
import random
import resource
import sys
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

import streamfn as sf
from streamfn.clock import SystemClock, SystemRandom
from streamfn.config import Config
from streamfn.connectors.embedded import open_embedded
from streamfn.record import Columns, TopicPartition
from streamfn.results import changelog_entries
from streamfn.run import Run, embedded, work

DAY_MS = 86_400_000
STEP_MS, KEYS, DAYS = 1_000, 1_000, 7
GROWTH_MAX = 1.5
STORE = "sums"


@dataclass(frozen=True)
class Day:
    """What there is at the end of a day."""

    entries: int
    state_kb: int
    """RocksDB's files, without its write-ahead log, which begins anew when it is full."""
    changelog_keys: int
    """Keys that a restore would load."""
    memory_mb: int


def topology() -> sf.App:
    """The sum a user would write."""
    app = sf.App("week")
    orders = app.topic("orders", key=str, value=float)
    sums = app.topic("sums-per-minute", key=sf.Windowed[str], value=float)
    minutes = sf.Tumbling(timedelta(minutes=1), grace=timedelta(minutes=5))
    by_minute = app.stream(orders).group_by_key().window(minutes)
    by_minute.reduce(lambda one, other: one + other, name=STORE).to_stream().to(sums)
    return app


def fill(folder: Path, days: int) -> None:
    """Write the orders of some days."""
    log = open_embedded(folder / "week" / "log", clock=SystemClock(), random=SystemRandom())
    log.create_topic("orders", 1, {})
    log.open_producer()
    chance = random.Random(1)
    for start_ms in range(0, days * DAY_MS, 5_000 * STEP_MS):
        columns = Columns.empty()
        for at_ms in range(start_ms, min(start_ms + 5_000 * STEP_MS, days * DAY_MS), STEP_MS):
            columns.add(b"user-%d" % chance.randrange(KEYS), b"1.5", at_ms)
        log.begin()
        log.emit("orders", None, columns)
        log.flush()
        log.commit()
    log.close()


def live(running: Run, folder: Path) -> Day:
    """Count what there is now."""
    (task,) = running.worker.tasks.values()
    entries = sum(1 for _ in task.scope.levels[STORE].scan(b"", None))
    tables = (folder / "week" / "tasks").rglob("*.sst")
    kept = changelog_entries(running.log, TopicPartition(running.plan.changelog(STORE), 0))
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Day(
        entries,
        sum(path.stat().st_size for path in tables) // 1024,
        len(kept),
        pages * resource.getpagesize() >> 20,
    )


def measure(folder: Path, days: int) -> list[Day]:
    """Run to the end, looking at the end of each day."""
    found: list[Day] = []
    config = Config(state_dir=folder, watchdog_ms=0, store_interval_ms=1_000)
    with embedded(topology().topology(), config) as running:

        def each_round() -> None:
            for task in running.worker.tasks.values():
                while task.scope.stream_time_ms >= (len(found) + 1) * DAY_MS - STEP_MS:
                    found.append(live(running, folder))

        work(running, until_end=True, each_round=each_round)
    return found


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=DAYS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), options.days)
        days = measure(Path(folder), options.days)
    table = Table(title=f"a week of windows of a minute, {KEYS:,} keys, an order a second")
    for heading in ("day", "entries", "state kB", "changelog keys", "memory MB"):
        table.add_column(heading, justify="right")
    for number, day in enumerate(days, 1):
        table.add_row(
            str(number), f"{day.entries:,}", f"{day.state_kb:,}", f"{day.changelog_keys:,}",
            str(day.memory_mb),
        )  # fmt: skip
    Console().print(table)
    second, last = days[1], days[-1]
    grown = [
        name
        for name in ("entries", "state_kb", "changelog_keys", "memory_mb")
        if getattr(last, name) > GROWTH_MAX * max(1, getattr(second, name))
    ]
    print(f"GROWN: {', '.join(grown)}" if grown else "flat from the second day to the last")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
