"""Timers: when they are due on either clock, what they may change, that a rewind replays them."""

import random
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamfn as sf
from streamfn.engine.timers import next_due
from streamfn.errors import LogError, StageError
from tests.crash_world import World
from tests.faulty_log import Crash, Script

INTERVALS = st.sampled_from([0, 3, 50, 10_000])


def timed(
    clock: Any = "stream", *, interval_ms: int = 100, on_error: Any = "fail", broken: Any = ()
) -> sf.App:
    """Make an app that adds values up, and whose timer reports and clears the sum.

    ``broken`` holds numbers of firings that raise after they have changed the state.
    """
    app = sf.App("app", on_error=on_error)
    source = app.topic("in", key=str, value=int)
    out = app.topic("out", key=str, value=str)

    @app.function(source, to=out)
    def add(value: int, seen: sf.Map[str, int]) -> str:
        seen["sum"] = seen.get("sum", 0) + value
        return f"+{value}"

    @add.every(timedelta(milliseconds=interval_ms), clock=clock)
    def report(
        seen: sf.Store[tuple[str, str], int], context: sf.Context[str]
    ) -> Iterator[sf.Outgoing[str, str]]:
        number = seen.get(("timer", "fired"), 0) + 1
        seen["timer", "fired"] = number
        total = sum(value for key, value in seen.items() if key[1] == "sum")
        yield out.record(key="t", value=f"{number} {total} @{context.timestamp_ms}")
        context.emit(out.record(key="t", value="emitted", timestamp_ms=7))
        for key in [key for key in seen.keys() if key[1] == "sum"]:  # noqa: SIM118  # it is no dict
            del seen[key]
        if number in broken:
            broken.discard(number)
            message = f"firing {number}"
            raise ValueError(message)

    return app


def send(world: World, *times_ms: int) -> None:
    """Write a record with the value 1 at each time."""
    world.write("in", *((b"k", b"1", at_ms) for at_ms in times_ms))


def outputs(world: World) -> list[str]:
    """Return the outputs, without those that a context emits."""
    texts = [(value or b"").decode() for value in world.values("out")]
    return [text for text in texts if text != "emitted"]


def model(times_ms: Sequence[int], interval_ms: int = 100) -> list[str]:
    """Work out in plain Python what the app sends for records at these times."""
    sent: list[str] = []
    stream_ms, total, number, due_ms = -1, 0, 0, 0
    for at_ms in times_ms:
        total += 1
        sent.append("+1")
        stream_ms = max(stream_ms, at_ms)
        if stream_ms >= due_ms:
            number += 1
            sent.append(f"{number} {total} @{stream_ms}")
            total = 0
            due_ms = (stream_ms // interval_ms + 1) * interval_ms
    return sent


@given(st.integers(-1, 10_000), st.integers(1, 500))
def test_a_timer_is_due_at_aligned_multiples(after_ms: int, interval_ms: int) -> None:
    """The first at 0, each other at the first multiple behind stream time."""
    due = next_due(after_ms, interval_ms)
    assert due % interval_ms == 0
    assert after_ms < due
    assert due - interval_ms <= max(after_ms, -interval_ms)


@given(st.lists(st.integers(0, 600), max_size=30), INTERVALS, st.booleans())
def test_stream_timers_fire_after_the_record_that_moved_time(
    times_ms: list[int], commit_interval_ms: int, generated: bool
) -> None:
    """First at the first record, once for missed ones, never for late records, on any interval."""
    world = World(timed(), commit_interval_ms=commit_interval_ms, generated=generated)
    world.settle()
    for at in range(0, len(times_ms), 7):
        send(world, *times_ms[at : at + 7])
        world.settle()
    world.clock.advance_ms(10_000)
    world.settle()
    assert outputs(world) == model(times_ms)
    assert world.in_tasks("add-seen") == world.folded("app-add-seen-changelog")


@pytest.mark.parametrize("seed", range(60))
def test_a_rewind_replays_the_same_firings(seed: int) -> None:
    """Also over workers: when a timer is due follows from the committed stream time."""
    choose = random.Random(seed)
    times_ms = [choose.randint(0, 600) for _ in range(choose.randint(1, 20))]
    kinds = ("unknown", "applied", "before", "fenced", "fenced -", "crash", "crashed", "-")
    faults = [choose.choice(kinds) for _ in range(6)]
    world = World(timed(), transaction_records_max=3)
    world.settle()
    world.faults = Script(commit=" ".join(faults))
    send(world, *times_ms)
    for _ in range(len(faults) + 1):
        try:
            world.settle()
        except (Crash, LogError):
            world.crash()
    world.settle()
    assert outputs(world) == model(times_ms)


def test_firings_have_the_time_that_moved_them() -> None:
    """Answers by ``topic.record`` get it, unless they say another."""
    world = World(timed())
    world.settle()
    send(world, 30, 40, 250)
    world.settle()
    sent = [((value or b"").decode(), at_ms) for _, _, value, at_ms, _ in world.records("out")]
    assert sent == [
        ("+1", 30), ("emitted", 7), ("1 1 @30", 30), ("+1", 40), ("+1", 250), ("emitted", 7),
        ("2 2 @250", 250),
    ]  # fmt: skip


def test_wall_timers_fire_after_an_interval() -> None:
    """First one interval after the start, then each interval, once for missed ones."""
    world = World(timed("wall"))
    world.settle()
    send(world, 5_000)
    world.settle()
    assert outputs(world) == ["+1"]
    for wait_ms, fired in ((99, 0), (1, 1), (99, 1), (1, 2), (350, 3), (49, 3), (1, 4)):
        world.clock.advance_ms(wait_ms)
        world.settle()
        assert len(outputs(world)) == 1 + fired
    assert outputs(world)[1:] == ["1 1 @100", "2 0 @200", "3 0 @550", "4 0 @600"]


@pytest.mark.parametrize("call", ["flush", "send_offsets"])
def test_a_wall_timer_that_is_rewound_fires_again(call: str) -> None:
    """At once, not an interval later; when it is due next is as if nothing had happened."""
    world = World(timed("wall"))
    world.settle()
    world.faults = Script(**{call: "before"})
    world.clock.advance_ms(130)
    assert world.settle().metrics.rewinds == 1
    assert outputs(world) == []
    world.settle()
    assert outputs(world) == ["1 0 @130"]
    for _ in range(2):
        world.clock.advance_ms(70)
        world.settle()
    assert outputs(world) == ["1 0 @130", "2 0 @200"]
    assert world.in_tasks("add-seen") == world.folded("app-add-seen-changelog")


def test_a_wall_timer_is_not_fired_again_for_a_later_rewind() -> None:
    """What it wrote is committed: only the record comes again."""
    world = World(timed("wall"))
    world.settle()
    world.clock.advance_ms(100)
    world.settle()
    assert outputs(world) == ["1 0 @100"]
    world.faults = Script(send_offsets="before")
    send(world, 1)
    assert world.settle().metrics.rewinds == 1
    world.settle()
    assert outputs(world) == ["1 0 @100", "+1"]


def test_wall_timers_of_a_parked_task_wait() -> None:
    """A record that is tried again later has its state to itself."""
    app = sf.App("app", retries=1, retry_backoff=timedelta(seconds=1))
    source = app.topic("in", key=str, value=int)
    out = app.topic("out", key=str, value=str)
    tries = list[int]()

    @app.function(source, to=out)
    def add(value: int, seen: sf.Value[int]) -> str:
        tries.append(value)
        if len(tries) == 1:
            raise ValueError(value)
        return "done"

    @add.every(timedelta(milliseconds=100), clock="wall")
    def report(seen: sf.Store[str, int]) -> sf.Outgoing[str, str]:
        return out.record(key="t", value="tick")

    world = World(app)
    world.settle()
    send(world, 1)
    world.settle()
    world.clock.advance_ms(500)
    world.settle()
    assert outputs(world) == []
    world.clock.advance_ms(500)
    world.settle()
    assert outputs(world) == ["done", "tick"]


@pytest.mark.parametrize("clock", ["stream", "wall"])
@pytest.mark.parametrize("on_error", ["skip", "dead_letter"])
def test_a_firing_that_raises_is_undone(clock: str, on_error: str) -> None:
    """Its state changes and answers are gone; the record that moved time is not."""
    world = World(timed(clock, on_error=on_error, broken={1}))
    world.settle()
    for at_ms in (0, 100, 200):
        send(world, at_ms)
        world.settle()
        world.clock.advance_ms(100)
        world.settle()
    expected = {
        "stream": ["+1", "+1", "1 2 @100", "+1", "2 1 @200"],
        "wall": ["+1", "+1", "1 2 @200", "+1", "2 1 @300"],
    }
    assert outputs(world) == expected[clock]
    assert world.in_tasks("add-seen") == world.folded("app-add-seen-changelog")
    assert world.values("out").count(b"emitted") == 2


def test_a_firing_that_fails_is_made_again() -> None:
    """Under ``fail`` the record that moved time and the firing come again once it is mended."""
    broken = {2}
    world = World(timed(broken=broken), commit_interval_ms=10_000)
    world.settle()
    send(world, 0, 50, 100, 150)
    with pytest.raises(StageError) as raised:
        world.settle()
    assert (raised.value.stage, raised.value.topic) == ("add", "timer add-report")
    assert isinstance(raised.value.__cause__, ValueError)
    assert world.worker is not None
    world.worker.close(commit=False)
    world.run_again()
    world.clock.advance_ms(10_000)
    world.settle()
    assert outputs(world) == model([0, 50, 100, 150])


@pytest.mark.parametrize("clock", ["stream", "wall"])
def test_an_exit_from_a_firing_leaves_nothing_of_it(clock: str) -> None:
    """However the worker is closed afterwards."""
    leave = [True]
    app = sf.App("app")
    source = app.topic("in", key=str, value=int)
    out = app.topic("out", key=str, value=str)

    @app.function(source, to=out)
    def add(value: int, seen: sf.Map[str, int]) -> str:
        return f"+{value}"

    @add.every(timedelta(milliseconds=100), clock=clock)  # type: ignore[arg-type]  # one of the two
    def report(
        seen: sf.Store[tuple[str, str], int], context: sf.Context[str]
    ) -> sf.Outgoing[str, str]:
        seen["timer", "fired"] = 1
        context.emit(out.record(key="t", value="half"))
        if leave[0]:
            raise KeyboardInterrupt
        return out.record(key="t", value="whole")

    world = World(app, commit_interval_ms=10_000)
    world.settle()
    world.clock.advance_ms(100)
    send(world, 1)
    with pytest.raises(KeyboardInterrupt):
        world.settle()
    world.close()
    assert "half" not in outputs(world)
    assert world.on_disk("add-seen") == world.folded("app-add-seen-changelog") == {}


def test_each_timer_fires_in_order_of_declaration() -> None:
    """Two that are due at once see each other's changes."""
    app = sf.App("app")
    source = app.topic("in", key=str, value=int)
    out = app.topic("out", key=str, value=str)

    @app.function(source, to=out)
    def add(value: int, seen: sf.Value[int]) -> str:
        return "+"

    def say(seen: sf.Store[str, int], name: str) -> sf.Outgoing[str, str]:
        seen["n"] = seen.get("n", 0) + 1
        return out.record(key="t", value=f"{name}{seen['n']}")

    @add.every(timedelta(milliseconds=100))
    def slow(seen: sf.Store[str, int]) -> sf.Outgoing[str, str]:
        return say(seen, "slow")

    @add.every(timedelta(milliseconds=50))
    def fast(seen: sf.Store[str, int]) -> sf.Outgoing[str, str]:
        return say(seen, "fast")

    world = World(app)
    world.settle()
    send(world, 0, 60, 110)
    world.settle()
    assert outputs(world) == ["+", "slow1", "fast2", "+", "fast3", "+", "slow4", "fast5"]


def test_stream_timers_wait_for_the_merge() -> None:
    """Stream time is the task's: a table's record moves it as well."""
    app = sf.App("app")
    table = app.table(app.topic("table", key=str, value=int))
    source = app.topic("in", key=str, value=int)
    out = app.topic("out", key=str, value=str)

    @app.function(source, to=out)
    def add(value: int, seen: sf.Value[int], price: sf.Lookup[str, int] = table) -> str:
        return f"+{value}"

    @add.every(timedelta(milliseconds=100))
    def tick(seen: sf.Store[str, int], context: sf.Context[str]) -> sf.Outgoing[str, str]:
        return out.record(key="t", value=f"@{context.timestamp_ms}")

    world = World(app)
    world.settle()
    world.write("table", (b"k", b"1", 10), (b"k", b"2", 130))
    send(world, 0, 120, 140)
    world.settle()
    assert outputs(world) == ["+1", "@0", "+1", "@120", "+1"]
