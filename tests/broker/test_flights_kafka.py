"""The flights on a real Kafka, by two workers of which one is killed: the same figures as embedded.

The records are of 2013, seven years behind every retention: the topology says that they are kept.
"""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.broker.workers import Process
from tests.flights_reference import data, figures
from tests.flights_support import CSVS, ROOT, check_everything, load_app
from tests.kafka_broker import OwnBroker

PATIENCE_S = 900.0
TOPOLOGY = ROOT / "topologies" / "flights.py"


def children_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def processed(run: Process) -> int:
    """How many records the supervisor has last spoken of."""
    counts = [line.split()[1] for line in run.said.splitlines() if line.startswith("flights: ")]
    return int(counts[-1].replace(",", "")) if counts else 0


@pytest.mark.slow
def test_two_workers_one_killed_find_every_figure(own_broker: OwnBroker, tmp_path: Path) -> None:
    """Every total, every output in order per key, every dead letter, every store."""
    broker, state_dir = own_broker().bootstrap, tmp_path / "state"
    options = ["--broker", broker, "--workers", "2", "--create-topics", "--until-end"]
    options += ["--state-dir", str(state_dir)]
    run = Process(
        "flights",
        [sys.executable, "-m", "streamfn", "run", str(TOPOLOGY), *options],
        tmp_path,
    )
    try:
        while run.code is None and processed(run) < 300_000:
            time.sleep(0.1)
        assert run.code is None, run.tail()
        os.kill(children_of(run.pid)[0], signal.SIGKILL)
        assert run.ended(PATIENCE_S) == 0, run.tail()
    finally:
        run.stop()
    assert "SIGKILL" in run.said
    flights, weather, airlines = (data(name) for name in CSVS)
    check_everything(load_app(), state_dir, figures(flights, weather, airlines), broker)
