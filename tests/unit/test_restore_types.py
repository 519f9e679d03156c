"""Stores whose types change, and stores that come and go with the program."""
# pyright: reportInvalidTypeForm=false, reportUnknownParameterType=false
# pyright: reportUnknownMemberType=false
# (the stored types are arguments of the programs here, which only the running program can follow)

import copy
from typing import Any

import msgspec
import pytest

import streamfn as sf
from streamfn.errors import StateTypeError
from tests.crash_world import World
from tests.unit.restore_world import counting, level, restored, written


class Narrow(msgspec.Struct, frozen=True):
    """A stored type."""

    number: int = 0


class Wide(msgspec.Struct, frozen=True):
    """One that reads all of ``Narrow``."""

    number: int = 0
    text: str = "new"


class Other(msgspec.Struct, frozen=True):
    """One that does not."""

    number: str = ""


def keeping(kind: Any) -> sf.App:
    """Make an app that keeps a value of a type under each key."""
    app = sf.App("app")
    source = app.topic("in", key=str, value=int)
    out = app.topic("out", key=str, value=int)

    @app.function(source, to=out)
    def count(value: int, total: sf.Value[kind]) -> int:
        total.value = kind(number=kind().number)
        return value

    return app


# types
def test_a_type_that_reads_the_old_one_goes_on() -> None:
    """A field with a default was added; what it reads is then what it may be compared with."""
    world = World(keeping(Narrow))
    world.settle()
    written(world, range(5))
    world.close()
    world.topology = keeping(Wide).topology()
    world.settle()
    written(world, range(5, 8))
    world.close()
    assert len(world.values("out")) == 8
    world.topology = keeping(Narrow).topology()
    with pytest.raises(StateTypeError):
        world.settle()


@pytest.mark.parametrize("state", ["level", "behind"])
def test_a_type_that_cannot_read_the_old_one_is_refused(state: str) -> None:
    """By the store's name and both types, before anything is written."""
    world = World(keeping(Narrow))
    world.settle()
    written(world, range(5))
    for task in world.settle().tasks.values():
        task.write_store()
    written(world, range(5, 7))
    if state == "level":
        world.close()
    else:
        world.crash()
    world.topology = keeping(Other).topology()
    disks, log = copy.deepcopy(world.homes.disks), copy.deepcopy(world.log_disk)
    with pytest.raises(StateTypeError, match="count-total") as raised:
        world.settle()
    assert "now keys str, values Other" in str(raised.value)
    assert "reset --store count-total" in str(raised.value)
    assert world.homes.disks == disks
    assert world.log_disk == log


def test_a_type_is_refused_where_the_folder_is_gone() -> None:
    """Before records of two types are in the changelog."""
    world = World(keeping(Narrow))
    world.settle()
    written(world, range(5))
    world.close()
    world.homes.disks.clear()
    world.topology = keeping(Other).topology()
    with pytest.raises(StateTypeError):
        world.settle()


def keyed(kind: Any) -> sf.App:
    """Make an app with a map whose keys are of a type."""
    app = sf.App("app")
    source = app.topic("in", key=str, value=int)

    @app.function(source)
    def remember(value: int, seen: sf.Map[kind, int]) -> None:
        seen[kind(value)] = value

    return app


def test_a_key_type_that_changed_is_refused() -> None:
    """Keys of the old type would decode to nonsense, or never be found."""
    world = World(keyed(str))
    world.settle()
    written(world, range(5))
    world.close()
    world.topology = keyed(int).topology()
    with pytest.raises(StateTypeError, match="remember-seen"):
        world.settle()


# stores come and go
def test_a_new_store_leaves_the_others_alone() -> None:
    """Only its own changelog, which is empty, is read."""
    world = level()
    world.topology = counting(more=True).topology()
    worker = world.settle()
    assert world.homes.wiped == []
    assert worker.metrics.restored_records == 0
    written(world, range(20, 25))
    assert world.in_tasks("more-seen") == world.folded("app-more-seen-changelog")
    world.close()
    world.topology = counting().topology()
    written(world, range(25, 30))
    world.close()
    world.topology = counting(more=True).topology()
    assert restored(world) == 0
    assert world.homes.wiped == []
    assert world.in_tasks("more-seen") == world.folded("app-more-seen-changelog")
