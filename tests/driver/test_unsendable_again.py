"""What cannot be sent, and something else as well: a rewind, a move, a timer, a feed beside it."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

import streamfn as sf
from streamfn.errors import StopError
from tests.crash_world import World
from tests.driver.policy_world import LETTERS, position, row, texts

POLICIES = ["skip", "dead_letter"]
HUGE = "too large for the log"
LOUD = "what no log takes of a timer"


class Line(msgspec.Struct, frozen=True):
    """A row of a file."""

    number: int


def remembering(on_error: Any) -> sf.App:
    """Make an app that sends each value on and keeps the last."""
    app = sf.App("app", on_error=on_error)
    source = app.topic("in", key=str, value=str)
    out = app.topic("out", key=str, value=str)

    @app.function(source, name="remember", to=out)
    def remember(value: str, last: sf.Value[str]) -> str:
        last.value = value
        return value

    return app


def ticking(on_error: Any, said: str | None = None) -> sf.App:
    """Make the app with a timer that is due at each record, and may say something."""
    app = sf.App("app", on_error=on_error)
    source = app.topic("in", key=str, value=str)
    out = app.topic("out", key=str, value=str)

    @app.function(source, to=out)
    def remember(value: str, last: sf.Value[str]) -> str:
        last.value = value
        return value

    @remember.every(timedelta(milliseconds=10))
    def tick(last: sf.Store[str, str]) -> sf.Outgoing[str, str] | None:
        last["ticks"] = last.get("ticks", "") + "|"
        return None if said is None else out.record(key="t", value=said)

    return app


def refusing(app: sf.App, *refused: str) -> World:
    """Return a world whose worker runs, and whose log does not take these values in ``out``."""
    world = World(app)
    world.settle()
    world.log.refuses = lambda topic, value: topic == "out" and (value or b"").decode() in refused
    return world


def condemns(world: World) -> bool:
    """Tell whether a record is found that the log will not take, and not committed yet."""
    assert world.worker is not None
    return any(task.condemned for task in world.worker.tasks.values())


def check_only_the_bad_one_is_gone(world: World, on_error: str) -> None:
    """Hold the outputs, the position and the state; and what is known of it is forgotten."""
    world.settle()
    assert texts(world) == ["a", "b"]
    assert position(world) == 3
    assert not condemns(world)
    assert world.in_tasks("remember-last") == world.folded("app-remember-last-changelog")
    assert on_error == "skip" or texts(world, LETTERS) == [HUGE]


@pytest.mark.parametrize("on_error", POLICIES)
@pytest.mark.parametrize("call", ["flush", "send_offsets"])
def test_a_condemned_record_may_be_rewound_for_another_reason(on_error: str, call: str) -> None:
    """The transaction without what it wrote times out: it is not run again, nor blamed again."""
    world = refusing(remembering(on_error), HUGE)
    faults: list[str] = []

    def once(called: str) -> str:
        if called != call or faults or not condemns(world):
            return ""
        faults.append(called)
        return "before"

    world.faults = once
    world.write("in", row("a"), row(HUGE), row("b"))
    world.settle()
    assert faults == [call]
    check_only_the_bad_one_is_gone(world, on_error)


@pytest.mark.parametrize("on_error", POLICIES)
@pytest.mark.parametrize("lost", [False, True])
def test_a_condemned_record_may_go_and_come_back(on_error: str, lost: bool) -> None:
    """The task that comes back knows nothing of it, and finds it again."""
    world = refusing(remembering(on_error), HUGE)
    world.write("in", row("a"), row(HUGE), row("b"))
    worker = world.worker
    assert worker is not None
    for _ in range(50):
        if not condemns(world):
            worker.step()
    assert condemns(world)
    (worker.lost if lost else worker.revoked)([0])
    worker.assigned([0])
    check_only_the_bad_one_is_gone(world, on_error)


@pytest.mark.parametrize("on_error", POLICIES)
def test_a_bad_record_may_move_a_timer(on_error: str) -> None:
    """The timer that fires behind it has written nothing bad: the record gets its policy."""
    world = refusing(ticking(on_error), HUGE)
    world.write("in", row("a", at_ms=5), row(HUGE, at_ms=50), row("b", at_ms=100))
    world.settle()
    check_only_the_bad_one_is_gone(world, on_error)


@pytest.mark.parametrize("on_error", POLICIES)
def test_a_stream_timer_that_cannot_be_sent_is_blamed(on_error: str) -> None:
    """It is refused without what the record wrote too: the worker stops, the record stays."""
    world = refusing(ticking(on_error, LOUD), LOUD)
    world.write("in", row("a", at_ms=5))
    with pytest.raises(StopError, match="what timer 'remember-tick' wrote cannot be sent"):
        world.settle()
    world.log.refuses = lambda topic, value: False
    world.run_again()
    assert texts(world) == ["a", LOUD]
    assert on_error == "skip" or texts(world, LETTERS) == []


# rows of a feed
BAD_ROW, ROWS, ROUNDS = 30, 50, 60


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[World]:
    """Make a world with a file, one row of which the log refuses, and another input beside it."""
    path = tmp_path / "rows.csv"
    path.write_text("number\n" + "".join(f"{number}\n" for number in range(ROWS)))
    app = sf.App("app", on_error="skip")
    lines = app.topic("in", key=str, value=Line, partitions=1)
    app.feed(lines, path, key=lambda line: "k")
    app.stream(lines).map_values(lambda line: str(line.number), value=str).to(
        app.topic("numbers", key=str, value=str)
    )
    other = app.topic("other", key=str, value=str, partitions=1)
    app.stream(other).map_values(lambda value: value, value=str).to(
        app.topic("out", key=str, value=str)
    )
    world = World(app, commit_interval_ms=100)
    world.start()
    bad = f'"number":{BAD_ROW}}}'.encode()
    world.log.refuses = lambda topic, value: topic == "in" and bad in (value or b"")
    yield world
    world.crash()


def busy(world: World) -> None:
    """Go round while records of the other input come all the time, also with the first rows."""
    worker = world.worker
    assert worker is not None
    for number in range(ROUNDS):
        for each in range(3):
            world.write("other", row(f"{number}.{each}"))
        world.clock.advance_ms(50)
        worker.step()


def test_a_refused_row_is_found_while_records_come(beside: World) -> None:
    """No record is to blame, so the rows go alone: all but the bad one are loaded, soon."""
    busy(beside)
    assert beside.worker is not None
    assert len(texts(beside, "in")) == ROWS - 1
    assert beside.worker.metrics.skipped == 1
    assert beside.worker.metrics.rewinds < 20


def test_records_go_on_behind_a_refused_row(beside: World) -> None:
    """They wait only while it is sought, also if the feed comes to its end in the search."""
    busy(beside)
    beside.clock.advance_ms(100)
    beside.settle()
    assert texts(beside) == [f"{number}.{each}" for number in range(ROUNDS) for each in range(3)]
    assert texts(beside, "numbers") == [str(each) for each in range(ROWS) if each != BAD_ROW]
