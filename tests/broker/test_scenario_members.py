"""Members that freeze, join and leave: a zombie cannot commit, and work goes on in each storm."""

import random
import signal
from pathlib import Path

import pytest

from tests.broker.workers import Worker
from tests.broker.world import world_of
from tests.kafka_settings import Address


@pytest.mark.parametrize("folder", ["another-machine", "state"])
def test_frozen_past_its_session(broker: Address, name: str, tmp_path: Path, folder: str) -> None:
    """A worker frozen in the middle of a record wakes up, cannot commit it, and joins anew.

    The other one takes its tasks over, on its own disk or beside the folders that it still holds.
    """
    trap = tmp_path / "trap"
    with world_of(broker, name, tmp_path, trap=str(trap)) as world:
        workers = world.start("one"), world.start("two", folder=folder)
        with world.feeder() as feeder:
            world.wait_running(4, *workers)
            trap.write_text("freeze")
            feeder.say("k0", "trap")
            world.wait(lambda: any(w.frozen for w in workers), "a worker is frozen")
            zombie, other = sorted(workers, key=lambda worker: not worker.frozen)
            world.wait(lambda: len(other.running) == 4, "the other takes over")
            world.wait_more(200)
            zombie.send(signal.SIGCONT)
            world.wait_running(4, *workers)
            world.wait_more(200)
        check_rejected(zombie)
        world.check_counting()


def check_rejected(zombie: Worker) -> None:
    """It has tried to commit, was refused, and said so."""
    assert "not committed" in zombie.warnings, zombie.tail()
    assert zombie.code is None, zombie.tail()


def test_storm_of_rebalances(broker: Address, name: str, tmp_path: Path) -> None:
    """Twenty times a worker joins or leaves, soon after the last one; work goes on."""
    choose = random.Random(name)
    with world_of(broker, name, tmp_path, partitions=6) as world:
        steady = world.start("steady")
        guests = [world.start(f"guest{n}") for n in range(3)]
        with world.feeder():
            world.wait_running(6, steady, *guests)
            for _ in range(20):
                guest = choose.choice(guests)
                guest.come_or_go()
                world.wait_more(choose.choice((1, 20, 100)))
            for guest in guests:
                if guest.door.exists():
                    guest.come_or_go()
            world.wait_running(6, steady, *guests)
        world.check_counting()
