"""``python -m benchmarks.replay``: what a replay costs beside the live run of the same records.

    live     the flights by two workers on a real Kafka, exactly once, from the first input record
    topics   ``streamfn replay`` straight from the topics
    file     the same from a recording of all that the program read and wrote
    inputs   the same from a recording of its inputs
    written  as ``file``, with all outputs written to a file as lines of JSON

Each is the command as a user gives it, with all its processes, from start to end; they take turns.
The topics are loaded first and not measured. Invariant: figures are shown only if
replays from the topics and from both recordings write the same bytes.
"""

import argparse
import filecmp
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from tests.flights_support import ROOT, make_package
from tests.kafka_broker import Broker

PROGRAM = ROOT / "topologies" / "flights.py"
LIVE, TOPICS, FILE, INPUTS, WRITTEN = "live", "topics", "file", "inputs", "written"
MONTHS, ROUNDS, WORKERS = 12, 3, 2
MILLION = 1_000_000
WIDTH = 110


class Cost(NamedTuple):
    """What a command has taken, with all its processes."""

    cpu_s: float
    wall_s: float


@dataclass
class Bench:
    """One broker with the topics of the flights, and what was measured on it."""

    broker: str
    folder: Path
    package: Path
    workers: int
    records: int = 0
    costs: dict[str, list[Cost]] = field(default_factory=dict[str, list[Cost]])
    _live: int = 0

    def load(self) -> None:
        """Load the input topics, and record them."""
        self._streamfn(
            "run", PROGRAM, *self._at, "--workers", 2, "--create-topics", "--until-end",
            "--state-dir", self.folder / "loading",
        )  # fmt: skip
        for name, more in ((FILE, ()), (INPUTS, ("--inputs-only",))):
            self._streamfn("record", "--app", PROGRAM, *self._at, "-o", self._file(name), *more)

    def round(self) -> None:
        """Measure each once."""
        for name in (LIVE, TOPICS, FILE, INPUTS, WRITTEN):
            before, began_s = cpu_of_children_s(), time.perf_counter()
            self._measured(name)
            cost = Cost(cpu_of_children_s() - before, time.perf_counter() - began_s)
            self.costs.setdefault(name, []).append(cost)

    def _measured(self, name: str) -> None:
        if name == LIVE:
            self._run()
        elif name == WRITTEN:
            self._replay(FILE, self._out(FILE))
        else:
            self._replay(name)

    def check(self) -> None:
        """Compare what the replays write.

        Raises:
            SystemExit: they differ.
        """
        for name in (TOPICS, INPUTS):
            self._replay(name, self._out(name))
            if not filecmp.cmp(self._out(name), self._out(FILE), shallow=False):
                message = f"replays differ; got other outputs from {name}; compare the files"
                raise SystemExit(message)

    def _run(self) -> None:
        """Run the program under a name of its own: it begins anew on the same inputs."""
        self._live += 1
        text = re.sub(r"(?m)^app\.feed\(.*\n", "", PROGRAM.read_text())
        program = self.folder / f"live_{self._live}.py"
        program.write_text(text.replace('sf.App("flights"', f'sf.App("flights-{self._live}"'))
        self._streamfn(
            "run", program, *self._at, "--workers", self.workers, "--until-end",
            "--state-dir", self.folder / "state",
        )  # fmt: skip

    def _replay(self, name: str, out: Path | None = None) -> None:
        source = self._at if name == TOPICS else (self._file(name),)
        more = ("--out", out, "--overwrite") if out else ()
        said = self._streamfn("replay", PROGRAM, *source, *more)
        found = re.search(r"replayed ([\d,]+) records", said)
        assert found is not None, said
        self.records = int(found[1].replace(",", ""))

    def _out(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl.zst"

    @property
    def _at(self) -> tuple[str, str]:
        return "--broker", self.broker

    def _streamfn(self, *words: object) -> str:
        """Run a verb to its end; return what it prints."""
        path = f"{self.package}{os.pathsep}{ROOT}"
        done = subprocess.run(
            [sys.executable, "-m", "streamfn", *map(str, words)],
            cwd=self.folder, env={**os.environ, "PYTHONPATH": path, "NO_COLOR": "1"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
        return done.stdout


def cpu_of_children_s() -> float:
    """The processor time of all processes that have ended, theirs included."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def median_s(costs: list[Cost]) -> float:
    """The processor time in the middle."""
    return statistics.median(cost.cpu_s for cost in costs)


def table_of(bench: Bench) -> Table:
    """Show medians, ranges, and how many times less than the live run each takes."""
    table = Table(
        title=f"{bench.records:,} flights and reports, median of {len(bench.costs[LIVE])} rounds"
    )
    columns = (
        "",
        "CPU s a million records",
        "range",
        "records a CPU second",
        "wall s",
        "live / it",
    )
    for heading in columns:
        table.add_column(heading, justify="left" if not heading else "right")
    live_s = median_s(bench.costs[LIVE])
    for name, costs in bench.costs.items():
        each = sorted(cost.cpu_s * MILLION / bench.records for cost in costs)
        middle_s = median_s(costs)
        table.add_row(
            name, f"{statistics.median(each):,.0f}", f"{each[0]:,.0f} to {each[-1]:,.0f}",
            f"{bench.records / middle_s:,.0f}",
            f"{statistics.median(cost.wall_s for cost in costs):.1f}",
            f"{live_s / middle_s:.2f}",
        )  # fmt: skip
    return table


def main() -> int:
    """Measure and judge: 1 if a replay, but for writing lines, takes more than the live run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--months", type=int, default=MONTHS, help="so many months of the flights")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--workers", type=int, default=WORKERS, help="of the live run")
    options = parser.parse_args()
    months = {str(number) for number in range(1, options.months + 1)}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamfn-bench-")))
        broker = stack.enter_context(Broker()).bootstrap
        bench = Bench(broker, folder, make_package(folder / "data", months), options.workers)
        bench.load()
        for number in range(options.rounds):
            bench.round()
            figures = ", ".join(
                f"{name} {costs[-1].cpu_s:.1f}" for name, costs in bench.costs.items()
            )
            print(f"round {number + 1}: CPU seconds: {figures}", flush=True)
        bench.check()
    Console(width=WIDTH).print(table_of(bench))
    medians = {name: median_s(costs) for name, costs in bench.costs.items()}
    slower = [name for name in (TOPICS, FILE, INPUTS) if medians[name] > medians[LIVE]]
    print(f"SLOWER than the live run: {', '.join(slower)}" if slower else "no replay costs more")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
