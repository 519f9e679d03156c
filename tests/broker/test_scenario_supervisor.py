"""``streamfn run --workers`` on a real broker: what dies is started anew, ends are agreed on."""

import os
import signal
from pathlib import Path

from tests.broker.truth import check_regrouped
from tests.broker.workers import Process
from tests.broker.world import World, world_of
from tests.kafka_settings import Address


def children_of(process: Process) -> list[int]:
    """The process ids of the workers of a supervisor."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in listed if b"worker" in command_of(int(pid))]


def command_of(pid: int) -> bytes:
    """The command line of a process; of one that is gone, none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def test_killed_workers_are_started_again(broker: Address, name: str, tmp_path: Path) -> None:
    """Workers of a supervisor that are killed or asked to leave come back; nothing is seen."""
    with world_of(broker, name, tmp_path) as world:
        supervisor = world.supervise("supervisor", 2)
        with world.feeder():
            world.wait_more(50)
            for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
                before = wait_two(world, supervisor)
                os.kill(before[0], number)
                world.wait(
                    lambda: before[0] not in children_of(supervisor),  # noqa: B023
                    "the worker is gone",
                )
                world.wait_more(100)
        world.check_counting()


def wait_two(world: World, supervisor: Process) -> list[int]:
    """Wait until both workers are there; return their process ids."""
    found: list[int] = []

    def there() -> bool:
        found[:] = children_of(supervisor)
        return len(found) == 2

    world.wait(there, "two workers")
    return found


def test_until_end_over_two_stages(broker: Address, name: str, tmp_path: Path) -> None:
    """All input is through all stages when the workers agree that it is."""
    with world_of(broker, name, tmp_path, "regrouping") as world:
        world.feeder(words=("red", "green", "blue"), keys=30).write(2_000)
        supervisor = world.supervise("supervisor", 2, arguments=("--until-end",))
        assert supervisor.ended() == 0, supervisor.tail()
        check_regrouped(world.seen("in"), world.seen(), world.changelog("count-seen"))
