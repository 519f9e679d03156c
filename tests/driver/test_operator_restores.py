"""Operators whose worker is gone, with its folders or without: others go on as if nothing were.

Invariant: a changelog is enough; and a window that was closed, be it by the wall clock, is final
once, whoever closed it.
"""

import random
from typing import Any, Final

import pytest

from streamfn.errors import LogError
from tests.crash_world import World
from tests.faulty_log import Crash, Script, no_faults
from tests.operator_families import FAMILIES, GRACES, IDLE_FAMILIES, family_of
from tests.operator_programs import IDLE_MS
from tests.operator_records import Sent, records_late, with_tombstones
from tests.operator_world import answers, opened, outcome, stores, write

HUGE_MS: Final = 1_000_000


def chosen(name: str, seed: int, count: int = 48) -> list[list[Sent]]:
    """Choose records, in parts of twelve."""
    choose = random.Random(f"{name} {seed}")
    sent = with_tombstones(choose, records_late(choose, family_of(name).inputs, count))
    return [sent[at : at + 12] for at in range(0, count, 12)]


def lose_folders(world: World) -> None:
    """The worker is gone, and its machine with all that it kept."""
    world.crash()
    world.homes.disks.clear()
    world.homes.marks.clear()


@pytest.mark.parametrize("grace_s", GRACES)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_changelog_is_all_it_takes(name: str, grace_s: int) -> None:
    """Whoever restores it answers as he would have who wrote it."""
    found: list[Any] = []
    for lost in (False, True):
        world = opened(name, grace_s, restore_slice_records=5)
        for part in chosen(name, grace_s):
            write(world, part)
            world.settle()
            if lost:
                lose_folders(world)
        world.settle()
        found.append(outcome(name, world))
    assert found[0] == found[1]


ONE_INPUT: Final = [name for name, family in FAMILIES.items() if len(family.inputs) == 1]


@pytest.mark.parametrize("name", ONE_INPUT)
def test_what_was_not_committed_is_done_again(name: str) -> None:
    """By a worker that finds the folder as it was, or as the changelog tells it."""
    choose, found = random.Random(name), list[Any]()
    for killed in (False, True):
        world = opened(name, 7, commit_interval_ms=100 if killed else 0)
        for part in chosen(name, 1):
            for each in (part[:5], part[5:]):
                write(world, each)
                world.settle()
                if killed and choose.random() < 0.6:
                    choose.choice((world.crash, lambda: lose_folders(world)))()  # noqa: B023
                else:
                    world.clock.advance_ms(choose.choice((0, 100)))
        for _ in range(3):
            world.clock.advance_ms(100)
            world.settle()
        found.append(outcome(name, world))
    assert found[0] == found[1]


# closed by the wall clock
FATES: Final = ("", "crash", "crashed", "unknown", "applied", "fenced", "lost", "lost crashed")


def idle(world: World, fate: str) -> None:
    """Nothing comes for long enough, whatever happens to the commit of what is closed then."""
    lost, _, fault = fate.rpartition(" ")
    if "lost" in (lost, fault):
        lose_folders(world)
    world.faults = Script(commit="" if fault == "lost" else fault)
    for _ in range(4):
        try:
            world.settle()
            world.clock.advance_ms(IDLE_MS)
            world.settle()
        except (Crash, LogError):
            world.crash()
    world.faults = no_faults
    world.settle()


@pytest.mark.parametrize("grace_s", GRACES)
@pytest.mark.parametrize("name", IDLE_FAMILIES)
def test_windows_that_the_wall_clock_closed_are_final_once(name: str, grace_s: int) -> None:
    """Nobody closes them again, and no late record comes into them, whoever works now."""
    choose = random.Random(f"{name} {grace_s}")
    parts = chosen(name, grace_s, 60)
    expected = closed_by_clock(name, grace_s, parts, [""] * len(parts))
    for _ in range(3):
        fates = [choose.choice(FATES) for _ in parts]
        assert closed_by_clock(name, grace_s, parts, fates) == expected, fates
    keys = [key for partition in expected[0] for key, value, _ in partition if value is not None]
    assert len(keys) == len(set(keys))
    assert keys


def closed_by_clock(name: str, grace_s: int, parts: list[list[Sent]], fates: list[str]) -> Any:
    """Write part after part, with nothing for long enough after each."""
    world = opened(name, grace_s)
    for part, fate in zip(parts, fates, strict=True):
        write(world, part)
        world.settle()
        idle(world, fate)
    return answers(world), stores(world)


@pytest.mark.parametrize("seed", range(20))
def test_each_record_is_in_one_final_count_or_late(seed: int) -> None:
    """Whenever the wall clock closes windows, and whenever the worker is killed."""
    choose = random.Random(seed)
    world = opened("idle_counts", choose.choice(GRACES))
    records = records_late(choose, ("left",), 40)
    for record in records:
        write(world, [record])
        world.faults = Script(commit=choose.choice(("-", "-", "-", "crash", "crashed", "unknown")))
        try:
            world.settle()
            world.clock.advance_ms(choose.choice((0, 0, IDLE_MS // 3, IDLE_MS)))
            world.settle()
        except (Crash, LogError):
            choose.choice((world.crash, lambda: lose_folders(world)))()
    idle(world, "")
    counts = [int(value or b"0") for partition in answers(world) for _, value, _ in partition]
    late = world.values("late")
    assert sum(counts) + len(late) == len(records)
