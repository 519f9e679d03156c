"""Topics that change under a running application: it stops and says why, or follows."""

import time
from pathlib import Path

import pytest

from tests.broker.truth import by_key, check_same, counted
from tests.broker.workers import PATIENCE_S
from tests.broker.world import world_of
from tests.kafka_broker import OwnBroker
from tests.kafka_settings import Address

CHECK_OFTEN = ("topic_check_interval_ms=500",)


def test_deleted_token_topic(broker: Address, name: str, tmp_path: Path) -> None:
    """Without the token topic tasks are no longer shared out: the worker stops on purpose."""
    with world_of(broker, name, tmp_path, config=CHECK_OFTEN) as world:
        worker = world.start()
        world.feeder().write(50)
        world.wait_answers(50)
        worker.may_fail = True
        world.client.delete(f"{name}-tasks")
        assert worker.ended() == 8, worker.tail()
        last = worker.warnings.splitlines()[-1]
        assert f"token topic '{name}-tasks'" in last
        world.start("again")
        world.feeder(seed=2).write(50)
        world.check_counting()


def test_token_topic_made_anew(broker: Address, name: str, tmp_path: Path) -> None:
    """A topic of the same name is another one: who joined the old one must not go on."""
    with world_of(broker, name, tmp_path, config=CHECK_OFTEN) as world:
        worker = world.start()
        world.wait_running(4, worker)
        worker.may_fail = True
        world.client.delete(f"{name}-tasks")
        world.create("tasks", 4)
        assert worker.ended() == 8, worker.tail()


def test_grown_source_under_keyed_state(broker: Address, name: str, tmp_path: Path) -> None:
    """Keys would be where their state is not: the worker stops and says what to do."""
    with world_of(broker, name, tmp_path, config=CHECK_OFTEN) as world:
        worker = world.start()
        world.feeder().write(50)
        world.wait_answers(50)
        worker.may_fail = True
        world.client.grow(f"{name}-in", 6)
        assert worker.ended() == 8, worker.tail()
        last = worker.warnings.splitlines()[-1]
        assert f"source topic '{name}-in'" in last
        assert "reset" in last
        again = world.start("again")
        again.may_fail = True
        assert again.ended() in (3, 4, 8), again.tail()


def test_grown_source_without_state(broker: Address, name: str, tmp_path: Path) -> None:
    """A stateless program follows: what comes to the new partitions is processed too."""
    with world_of(broker, name, tmp_path, "passing", partitions=2, config=CHECK_OFTEN) as world:
        workers = world.start("one"), world.start("two")
        world.feeder().write(100)
        world.wait_running(2, *workers)
        world.client.grow(f"{name}-in", 5)
        world.wait_running(5, *workers)
        world.feeder(seed=2, keys=40).write(200)
        inputs = world.finish()
        assert {record.partition for record in inputs} == set(range(5))
        found = [record.value for record in world.seen()]
        assert sorted(map(str, found)) == sorted(str(record.value) for record in inputs)


def test_source_that_grows_between_two_runs(broker: Address, name: str, tmp_path: Path) -> None:
    """The tokens grow with it at the next start."""
    with world_of(broker, name, tmp_path, "passing", partitions=2) as world:
        first = world.start("first")
        world.wait_running(2, first)
        first.stop()
        world.client.grow(f"{name}-in", 4)
        second = world.start("second")
        world.wait_running(4, second)
        assert second.code is None


@pytest.mark.slow
def test_idle_partition_outlives_the_retention_of_offsets(
    own_broker: OwnBroker, name: str, tmp_path: Path
) -> None:
    """Positions expire on a broker, also of a live group; those of idle partitions are renewed."""
    kept = {"offsets.retention.minutes": "1", "offsets.retention.check.interval.ms": "1000"}
    broker = own_broker(properties=kept)
    with world_of(broker.address, name, tmp_path, partitions=2) as world:
        world.start()
        idle = world.feeder(keys=1)
        idle.write(7)
        world.wait_answers(7)
        partition = world.seen("in")[0].partition
        world.client.commit("nobody", f"{name}-in", partition, 7)
        busy = next(f"k{n}" for n in range(1, 99) if world.partition_of(f"k{n}", 2) != partition)
        feeder, place = world.feeder(), f"{name}-in[{partition}]"

        def expired() -> bool:
            feeder.say(busy, "n")
            feeder.flush()
            time.sleep(0.5)
            return world.client.committed("nobody", [f"{name}-in"])[place] == -1

        world.wait(expired, "positions of others expire", 2 * PATIENCE_S)
        assert world.client.committed(name, [f"{name}-in"])[place] == 7
        idle.write(3)
        inputs = world.finish()
        assert by_key(world.seen())["k0"][-1].startswith("10 ")
        check_same(by_key(world.seen()), counted(inputs))
