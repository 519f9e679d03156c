"""Where inputs start: resolved once, never again; gaps and missing positions are errors."""

from contextlib import suppress

import pytest

import streamfn as sf
from streamfn.clock import CountingRandom
from streamfn.connectors.log import Committed
from streamfn.errors import LogError, StopError
from streamfn.record import TopicPartition
from tests.crash_world import World
from tests.faulty_log import Crash, Script
from tests.unit.worker_world import (
    IN,
    REPARTITION,
    echoing,
    numbers,
    opened,
    outputs,
    repartitioned,
    rows,
)


@pytest.mark.parametrize(("start", "expected"), [("earliest", ["old", "new"]), ("latest", ["new"])])
def test_the_start_is_resolved_once(start: str, expected: list[str]) -> None:
    """And committed before the first record, so that a restart goes on there."""
    world = World(echoing(), start=start)
    world.write("in", *rows("old"))
    world.settle()
    assert IN in world.inner.committed([IN])
    world.crash()
    world.write("in", *rows("new"))
    world.settle()
    assert outputs(world) == expected


def test_the_latest_start_is_not_resolved_again_in_a_rewind() -> None:
    """What came after the application's start would be skipped."""
    world = World(echoing(), start="latest")
    world.write("in", *rows("old"))
    worker = world.start()
    arrived = [False]

    def faults(call: str) -> str:
        if call != "flush" or arrived[0]:
            return ""
        arrived[0] = True
        return "before"

    world.faults = faults
    rewind = worker.assignment.rewind

    def write_and_rewind() -> list[TopicPartition]:
        world.inner.open_producer()
        world.write("in", *rows("new"))
        world.inner.open_producer()
        return rewind()

    worker.assignment.rewind = write_and_rewind  # type: ignore[method-assign]  # a record comes then
    world.settle()
    assert arrived[0]
    assert outputs(world) == ["new"]


def test_the_latest_start_holds_for_all_partitions_or_none() -> None:
    """A crash between the first commits must not make one partition start later than another."""
    world = World(echoing(partitions=3), start="latest")
    world.faults = Script(commit="- crash")
    with suppress(Crash):
        world.settle()
    world.faults = Script()
    sources = [TopicPartition("in", each) for each in range(3)]
    some = world.inner.committed(sources)
    world.crash()
    if some:
        for partition in range(3):
            world.write("in", *rows(f"p{partition}"), partition=partition)
        world.settle()
        assert sorted(outputs(world)) == ["p0", "p1", "p2"]


@pytest.mark.parametrize("fault", ["flush", "send_offsets"])
def test_the_latest_start_is_forgotten_with_its_token(fault: str) -> None:
    """Lost and back in one poll, after a failed commit: whoever had it meanwhile has gone on."""
    world = World(echoing(stateful=True), start="latest")
    world.write("in", *rows("a", "b"))
    world.faults = Script(**{fault: "before"})
    worker = world.start()
    worker.step()
    assert world.inner.committed([IN]) == {}
    world.write("in", *rows("c", "d", "e"))
    world.inner.begin()
    world.inner.send_offsets({IN: Committed(5, '{"token":"another:7"}')})
    world.inner.commit()
    worker.lost([0])
    worker.assigned([0])
    worker.step()
    assert world.inner.committed([IN])[IN].offset == 5
    world.write("in", *rows("f"))
    world.settle()
    assert outputs(world) == ["f"]


def test_a_repartition_topic_starts_at_its_beginning() -> None:
    """Whatever the user's policy is: its records are ours."""
    world = World(repartitioned(), start="latest")
    world.start()
    world.write(REPARTITION, (b"a", b"apple", 1))
    world.settle()
    assert outputs(world) == ["1"]


def test_a_gap_stops_the_worker() -> None:
    """Records that are gone are named, and the cure."""
    world = opened(stateful_echo())
    world.write("in", *rows(*numbers(3)))
    world.settle()
    world.close()
    world.write("in", *rows(*numbers(5, 3)))
    world.inner.delete_records(IN, 6)
    with pytest.raises(StopError, match=r"records 3 to 6 of in\[0\].*--on-gap skip"):
        world.settle()


def stateful_echo() -> sf.App:
    """Make the app with state."""
    return echoing(stateful=True)


def test_a_gap_is_skipped_if_told_so() -> None:
    """It goes on behind it."""
    world = opened(on_gap="skip")
    world.write("in", *rows(*numbers(3)))
    world.settle()
    world.close()
    world.write("in", *rows(*numbers(5, 3)))
    world.inner.delete_records(IN, 6)
    world.settle()
    assert outputs(world) == numbers(3) + numbers(2, 6)


def test_a_gap_behind_our_back_stops_too() -> None:
    """Records are gone while the worker reads: an error, not silence."""
    world = opened()
    world.write("in", *rows(*numbers(5)))
    world.inner.delete_records(IN, 3)
    with pytest.raises((StopError, LogError), match=r"in\[0\]"):
        world.settle()


@pytest.mark.parametrize("gone", [False, True])
def test_a_missing_position_beside_state_stops(gone: bool) -> None:
    """To begin anew would count everything twice; also if the folder is gone."""
    world = opened(stateful_echo())
    world.write("in", *rows("a", "b"))
    world.settle()
    world.close()
    forget_positions(world)
    if gone:
        world.homes.disks.clear()
    with pytest.raises(StopError, match="position of in"):
        world.settle()


def forget_positions(world: World) -> None:
    """Expire the group's committed positions."""
    space = world.log_disk["catalogue"]
    for key in [key for key in space.keys if b"in" in key and b'"token"' in space.entries[key]]:
        space.keys.remove(key)
        del space.entries[key]
    world.open_log()
    assert world.inner.committed([IN]) == {}


def test_a_new_input_beside_state_starts_by_policy() -> None:
    """A topic that the state has never read has no position to miss; with or without the folder."""
    for gone in (False, True):
        world = opened(stateful_echo())
        world.write("in", *rows("a", "b"))
        world.settle()
        world.close()
        world.topology = second_input().topology()
        world.inner.create_topic("second", 1, {})
        if gone:
            world.homes.disks.clear()
        world.write("second", *rows("c"))
        world.settle()
        assert outputs(world) == ["a", "b", "c"]
        assert world.in_tasks("count-total") == world.folded("app-count-total-changelog")


def second_input() -> sf.App:
    """Make the app with state and another input."""
    app = sf.App("app")
    source = app.topic("in", key=str, value=str)
    second = app.topic("second", key=str, value=str)
    out = app.topic("out", key=str, value=str)

    @app.function(app.stream(source).merge(app.stream(second)), to=out)
    def count(value: str, total: sf.Value[int]) -> str:
        total.value += 1
        return value

    return app


def test_state_of_another_log_does_not_ask_for_its_positions() -> None:
    """Run embedded first, then on a Kafka over the same folder: that is a first start."""
    first = World(echoing(stateful=True))
    first.write("in", *rows("a", "b"))
    first.settle()
    first.close()
    second = World(echoing(stateful=True), random=CountingRandom(1_000))
    second.homes.disks = first.homes.disks
    second.write("in", *rows("c"))
    second.settle()
    assert outputs(second) == ["c"]
