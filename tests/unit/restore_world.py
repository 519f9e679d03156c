"""Worlds with a store, level or behind its changelog, for the tests of restores."""

from typing import Any

import streamfn as sf
from tests.crash_world import World

CHANGELOG = "app-count-total-changelog"
TASK = "in_0"


def counting(*, more: bool = False, partitions: int = 1) -> sf.App:
    """Make an app that adds values up under each key, and keeps more in a second store."""
    app = sf.App("app")
    source = app.topic("in", key=str, value=int, partitions=partitions)
    out = app.topic("out", key=str, value=int)

    @app.function(source, to=out)
    def count(value: int, total: sf.Value[int]) -> int:
        total.value += value
        return value

    if more:

        @app.function(source, name="more", to=out)
        def more_of_it(value: int, seen: sf.Map[int, int]) -> int:
            seen[value] = value
            return value

    return app


def written(world: World, values: range, *, keys: int = 10) -> World:
    """Have values counted."""
    world.write("in", *((f"k{v % keys}".encode(), str(v).encode(), v) for v in values))
    world.settle()
    return world


def level(**settings: Any) -> World:
    """Return a world with a store of ten keys that was closed in order."""
    world = World(counting(), **settings)
    world.settle()
    written(world, range(20))
    world.close()
    return world


def behind() -> World:
    """Return a world whose worker crashed with changes that are only in the changelog."""
    world = level()
    world.settle()
    written(world, range(20, 25))
    world.crash()
    return world


def restored(world: World) -> int:
    """Start, and return how many changelog records were read; state must equal the changelog."""
    worker = world.settle()
    assert world.in_tasks("count-total") == world.folded(CHANGELOG)
    for task in worker.tasks.values():
        task.write_store()
    assert world.on_disk("count-total") == world.folded(CHANGELOG)
    return worker.metrics.restored_records


def meta(world: World) -> dict[bytes, bytes]:
    """Return the meta entries on the first task's disk, to be changed."""
    return world.homes.disks[TASK]["__meta"].entries


def all_records(world: World) -> int:
    """Return how many records the changelog has."""
    return len(world.values(CHANGELOG))
