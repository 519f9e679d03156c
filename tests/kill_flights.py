"""Kill the flights again and again: ``python -m tests.kill_flights --kills 30`` on the whole year.

A killed process gets no word: it is SIGKILL, at a moment that is chosen at random from the whole
run, so that each start has its share of the work. Some kills also lose the state folder.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

from tests.flights_reference import data, figures, rows_of
from tests.flights_support import CSVS, ROOT, check_everything, load_app, places, run

OUTPUTS_EACH = 8
"""So many records go through the log for a flight: read, repartitioned, answered."""


def kill_at(moments: Iterator[int], package: Path | None, state_dir: Path, random: Random) -> int:
    """Start the job once for each moment, and kill it when the log holds so many records."""
    command = [sys.executable, "-m", "tests.flights_worker", str(package or ""), str(state_dir)]
    pipe, kills = subprocess.PIPE, 0
    for moment in moments:
        with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
            assert process.stdout is not None
            far_enough = next((line for line in process.stdout if int(line) >= moment), None)
            assert far_enough, f"the job ended before {moment} records"
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=random.uniform(0, 0.05))
            process.kill()
        kills += process.returncode == -signal.SIGKILL
    return kills


def moments_of(kills: int, flights: Path, random: Random) -> list[int]:
    """Choose moments from the whole run, in order."""
    whole = sum(1 for _ in rows_of(flights)) * OUTPUTS_EACH
    return sorted(random.sample(range(whole * 95 // 100), kills))


def losing_state(
    moments: list[int], state_dir: Path, random: Random, share: float
) -> Iterator[int]:
    """Hand on the moments; before some of the starts but the first the stores are gone."""
    for number, moment in enumerate(moments):
        if number and random.random() < share:
            shutil.rmtree(state_dir / "flights" / "tasks")
        yield moment


def check_kills(
    kills: int, package: Path | None, state_dir: Path, seed: int, losing: float = 0.0
) -> None:
    """Kill so often, then let it end and compare everything."""
    random = Random(seed)
    files = places(package) if package else tuple(data(name) for name in CSVS)
    moments = losing_state(moments_of(kills, files[0], random), state_dir, random, losing)
    assert kill_at(moments, package, state_dir, random) == kills
    app = load_app(package)
    run(app, state_dir)
    check_everything(app, state_dir, figures(*files))


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.kill_flights")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--losing", type=float, default=0.3, help="share of kills that lose state")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        check_kills(arguments.kills, None, Path(folder), arguments.seed, arguments.losing)
    print(f"{arguments.kills} kills, seed {arguments.seed}: every figure is right")


if __name__ == "__main__":
    main()
