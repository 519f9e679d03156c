"""``python -m benchmarks.run [embedded] [kafka]``: all jobs in interleaved rounds, then medians.

Each run is a process of its own with a fresh folder, so that no run warms another. Processor time
is user and system of the whole process, RocksDB's threads included. Invariant: runs that are
compared stood in the same rounds.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks import kafka
from benchmarks.jobs import Measured, as_json, run
from benchmarks.windowed_jobs import BUILD

COUNTS = ("count", "closures", "hand-written")
PLAN = [(job, keys) for keys in (1_000, 200_000) for job in COUNTS] + [
    ("passthrough", 1_000),
    ("map", 1_000),
    ("aggregate", 1_000),
    *((job, 1_000) for job in BUILD),
]
EMBEDDED_JOBS = tuple(dict.fromkeys(job for job, _ in PLAN))
PARTS = ("embedded", "kafka")
TARGETS = {("count", 1_000): 500_000, ("count", 200_000): 200_000}
"""Records per CPU-second that the project holds itself to."""


def main() -> int:
    """Measure what was asked for, embedded and on Kafka; exit 1 if a target is missed."""
    options = _arguments().parse_args()
    if options.one:
        return _one(options.one[0], int(options.one[1]), options.records)
    jobs = {*options.only.split(",")} if options.only else {*EMBEDDED_JOBS, *kafka.JOBS}
    unknown = jobs - {*EMBEDDED_JOBS, *kafka.JOBS}
    if unknown:
        print(f"no such jobs: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    failed = 0
    if "embedded" in options.parts:
        plan = [(job, keys) for job, keys in PLAN if job in jobs]
        results = _rounds(plan, options.records, options.rounds)
        Console().print(_table(results))
        failed |= _judge(results)
    if "kafka" in options.parts:
        asked = kafka.Options(
            jobs=frozenset(jobs & {*kafka.JOBS}), records=options.records, rounds=options.rounds,
            broker=options.broker, markdown=options.markdown, clean=options.clean,
        )  # fmt: skip
        failed |= kafka.run(asked)
    return failed


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "parts", nargs="*", default=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}; all"
    )
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    known = ", ".join(dict.fromkeys([*EMBEDDED_JOBS, *kafka.JOBS]))
    parser.add_argument("--only", help=f"jobs by name, separated by commas: {known}")
    parser.add_argument("--broker", default="", help="a Kafka at HOST:PORT instead of one of ours")
    parser.add_argument("--clean", action="store_true", help="delete the inputs on Kafka too")
    parser.add_argument("--markdown", action="store_true", help="Kafka's tables as markdown")
    parser.add_argument("--one", nargs=2, metavar=("JOB", "KEYS"), help=argparse.SUPPRESS)
    return parser


def _one(job: str, keys: int, records: int) -> int:
    """Be the process of one run."""
    with tempfile.TemporaryDirectory() as folder:
        measured = run(job, keys, records, Path(folder))
    sys.stdout.buffer.write(as_json(measured) + b"\n")
    return 0


def _rounds(
    plan: list[tuple[str, int]], records: int, rounds: int
) -> dict[tuple[str, int], list[Measured]]:
    results: dict[tuple[str, int], list[Measured]] = {case: [] for case in plan}
    for number in range(1, rounds + 1):
        for job, keys in plan:
            command = [sys.executable, "-m", "benchmarks.run", "--records", str(records)]
            done = subprocess.run(
                [*command, "--one", job, str(keys)],
                stdout=subprocess.PIPE,
                check=True,
                env=os.environ,
            )
            measured = msgspec.json.decode(done.stdout, type=Measured)
            results[job, keys].append(measured)
            print(
                f"round {number}: {job}, {keys:,} keys: {measured.per_cpu_s:,.0f} per CPU-second",
                file=sys.stderr,
            )
    return results


def _table(results: dict[tuple[str, int], list[Measured]]) -> Table:
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    table = Table(
        title="embedded log, exactly once, RocksDB, changelog, commits each 100 ms, verified",
        caption=f"k: 1,000 records; ratio: to hand-written; {os.cpu_count()} cores, load {load}",
    )
    for heading in ("job", "keys", "k/CPU-s", "range", "k/s", "ratio", "MB"):
        table.add_column(heading, justify="left" if heading == "job" else "right", no_wrap=True)
    for (job, keys), runs in results.items():
        rates = sorted(each.per_cpu_s for each in runs)
        wall = statistics.median(each.per_wall_s for each in runs)
        table.add_row(
            job, f"{keys:,}", f"{statistics.median(rates) / 1e3:,.0f}",
            f"{rates[0] / 1e3:,.0f} to {rates[-1] / 1e3:,.0f}", f"{wall / 1e3:,.0f}",
            _ratio(results, job, keys), str(max(each.peak_mb for each in runs)),
        )  # fmt: skip
    return table


def _ratio(results: dict[tuple[str, int], list[Measured]], job: str, keys: int) -> str:
    """Median of the rounds' ratios: both runs of a ratio stood beside each other."""
    floor = results.get(("hand-written", keys))
    if floor is None or job not in COUNTS:
        return ""
    runs = zip(results[job, keys], floor, strict=True)
    return f"{statistics.median(one.per_cpu_s / other.per_cpu_s for one, other in runs):.2f}"


def _judge(results: dict[tuple[str, int], list[Measured]]) -> int:
    missed = 0
    for case, target in TARGETS.items():
        if case in results:
            rate = statistics.median(each.per_cpu_s for each in results[case])
            missed += rate < target
            verdict = "reached" if rate >= target else "MISSED"
            print(f"{case[0]}, {case[1]:,} keys: target {target:,} {verdict} with {rate:,.0f}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
