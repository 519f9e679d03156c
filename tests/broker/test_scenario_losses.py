"""What others delete: records not read yet, positions, changelogs. Nothing of it goes unnoticed."""

from pathlib import Path

from tests.broker.truth import by_key, check_counts, counted
from tests.broker.world import World, world_of
from tests.kafka_settings import Address


def answer_some(world: World) -> None:
    """Let a worker answer some records and stop."""
    world.start("first")
    world.feeder(keys=5).write(100)
    world.finish()


def check_stops(world: World, *words: str) -> None:
    """A new worker stops on purpose, with one line that says all this."""
    worker = world.start("stopping")
    worker.may_fail = True
    assert worker.ended() == 8, worker.tail()
    last = worker.warnings.splitlines()[-1]
    assert not [word for word in words if word not in last], last


def test_records_deleted_before_they_were_read(broker: Address, name: str, tmp_path: Path) -> None:
    """A gap is named, and passed over only if that is asked for."""
    with world_of(broker, name, tmp_path, partitions=1) as world:
        answer_some(world)
        world.feeder(keys=5, seed=2).write(50)
        before = counted(world.seen("in")[:100])
        world.client.delete_records(f"{name}-in", 0, 120)
        check_stops(world, f"{name}-in[0]", "records 100 to 120", "--on-gap skip")
        world.start("skipping", config=[*world.job.config, "on_gap=skip"])
        world.wait_answers(130)
        world.stop()
        found = by_key(world.seen())
        assert {key: found[key][: len(values)] for key, values in before.items()} == before
        assert sum(map(len, found.values())) == 130


def test_positions_deleted(broker: Address, name: str, tmp_path: Path) -> None:
    """State without positions is no new start: it would count everything twice."""
    with world_of(broker, name, tmp_path) as world:
        answer_some(world)
        world.client.delete_group(name)
        check_stops(world, "position", f"{name}-in[", "streamfn reset")
        assert len(world.seen()) == 100


def test_changelog_deleted(broker: Address, name: str, tmp_path: Path) -> None:
    """Positions without a changelog are no new start either: the counts would begin anew."""
    with world_of(broker, name, tmp_path) as world:
        answer_some(world)
        changelog = f"{name}-count-total-changelog"
        world.client.delete(changelog)
        worker = world.start("second")
        worker.may_fail = True
        world.feeder(keys=5, seed=2).write(50)
        world.wait(lambda: worker.code is not None or len(world.seen()) >= 150, "an end, or all")
        if worker.code is None:  # what is on the disk may be all there is
            world.stop()
            check_counts(world.seen("in"), world.seen())
        else:
            assert worker.code in (4, 6, 8), worker.tail()
            assert changelog in worker.warnings.splitlines()[-1]
