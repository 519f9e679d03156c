"""State folders that are deleted, copied, or older than the log: the changelog is the truth."""

import shutil
from pathlib import Path

from tests.broker.world import World, counts_of, world_of
from tests.kafka_settings import Address

FENCED = "another producer has our id"
PATIENT = ("producer.transaction.timeout.ms=60000", "producer.message.timeout.ms=60000")
"""So that nobody is fenced for being slow."""


def answer_more(world: World, count: int) -> None:
    """Write records and wait until all that there are have been answered and committed."""
    feeder = world.feeder(seed=count, keys=50)
    feeder.write(count)
    world.finish()


def test_deleted_folders(broker: Address, name: str, tmp_path: Path) -> None:
    """Without the tasks' folders, or any folder at all, it goes on where it stopped."""
    with world_of(broker, name, tmp_path) as world:
        for lost in ("nothing", f"state/{name}/tasks", "state"):
            shutil.rmtree(tmp_path / lost, ignore_errors=True)
            world.start("one")
            world.start("two")
            answer_more(world, 300)
        world.check_counting()


def test_older_backup(broker: Address, name: str, tmp_path: Path) -> None:
    """A folder put back from an older backup is brought up to date before it is used."""
    state, backup = tmp_path / "state", tmp_path / "backup"
    with world_of(broker, name, tmp_path) as world:
        for _ in range(2):
            world.start()
            answer_more(world, 300)
            if not backup.exists():
                shutil.copytree(state, backup, symlinks=True)
        shutil.rmtree(state)
        shutil.move(backup, state)
        world.start()
        answer_more(world, 300)
        world.check_counting()


def test_copied_folder_in_use_at_the_same_time(broker: Address, name: str, tmp_path: Path) -> None:
    """A machine made from a copy of another works beside it: they are not taken for one."""
    state, copy = tmp_path / "state", tmp_path / "copy"
    with world_of(broker, name, tmp_path, config=PATIENT) as world:
        world.start()
        answer_more(world, 300)
        shutil.copytree(state, copy, symlinks=True)
        one, two = world.start("one"), world.start("two", folder="copy")
        with world.feeder(seed=2):
            world.wait_running(4, one, two)
            world.wait_more(300)
        assert FENCED not in one.warnings + two.warnings, "they do not fence each other"
        world.check_counting()


def test_restart_restores_only_the_tail(broker: Address, name: str, tmp_path: Path) -> None:
    """After a clean stop nothing is restored; after a kill, what was not yet on the disk."""
    with world_of(broker, name, tmp_path, config=("store_interval_ms=200",)) as world:
        world.start()
        answer_more(world, 2_000)
        again = world.start("again")
        world.wait_running(4, again)
        assert again.told["restored"] == 0
        feeder = world.feeder(seed=5, keys=50)
        feeder.write(100)
        world.wait_answers(2_100)
        again.kill()
        third = world.start("third")
        world.wait_running(4, third)
        assert third.told["restored"] <= 150, "a tail, and not the whole changelog"
        world.check_counting()


def test_lost_folder_is_restored_in_full(broker: Address, name: str, tmp_path: Path) -> None:
    """What the changelog holds is what a new machine starts with, while others go on."""
    with world_of(broker, name, tmp_path) as world:
        world.start()
        answer_more(world, 1_000)
        keys = len(counts_of(world.seen("in")))
        new = world.start("new", folder="new-machine")
        world.wait_running(4, new)
        assert new.told["restored"] >= keys
        world.check_counting()
