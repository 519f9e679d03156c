"""What the log or a store will not take: narrowed down to its record, which gets its policy."""

from datetime import timedelta

import pytest

import streamfn as sf
from streamfn.connectors.log import TopicInfo
from streamfn.errors import StageError, StateTypeError, StopError
from tests.crash_world import World
from tests.driver.policy_world import LETTERS, position, row, texts


def sized(on_error: str, own: str | None = None) -> sf.App:
    """Make an app that writes as many letters as it is told, to its output or to its state."""
    app = sf.App("app", on_error=on_error)  # type: ignore[arg-type]  # one of the three
    source = app.topic("in", key=str, value=str)
    out = app.topic("out", key=str, value=str)

    @app.function(source, to=out, on_error=own)  # type: ignore[arg-type]  # one of the three
    def grow(value: str, last: sf.Value[str]) -> str:
        count = int(value) if value.isdigit() else 0
        if value == "wrong":
            last.value = 5  # type: ignore[assignment]  # on purpose
            return "was wrong"
        last.value = value
        return "x" * count

    return app


HUGE = "2000000"


@pytest.mark.parametrize("on_error", ["skip", "dead_letter"])
@pytest.mark.parametrize("bad", [HUGE, "wrong"])
@pytest.mark.parametrize("at", [0, 3, 7])
def test_what_cannot_be_sent_is_narrowed_down_to_its_record(
    on_error: str, bad: str, at: int
) -> None:
    """Too large for its topic, or a state value of another type: that record, and no other."""
    world = World(sized(on_error), commit_interval_ms=10_000)
    world.settle()
    values = [str(number + 1) for number in range(8)]
    values[at] = bad
    world.write("in", *(row(value, value) for value in values))
    world.clock.advance_ms(10_000)
    world.settle()
    assert texts(world) == ["x" * int(value) for value in values if value != bad]
    worker = world.settle()
    assert worker.metrics.skipped + worker.metrics.dead_letters >= 1
    if on_error == "dead_letter":
        ((_, key, value, _, headers),) = world.records(LETTERS)
        assert (key, value) == (bad.encode(), bad.encode())
        assert dict(headers)["streamfn.offset"] == str(at).encode()
    assert world.in_tasks("grow-last") == world.folded("app-grow-last-changelog")
    world.write("in", row("9"))
    world.clock.advance_ms(10_000)
    world.settle()
    assert texts(world)[-1] == "x" * 9


@pytest.mark.parametrize("bad", [HUGE, "wrong"])
def test_what_cannot_be_sent_fails_as_its_record(bad: str) -> None:
    """Under ``fail`` all before it is committed and the error names it."""
    world = World(sized("fail"), commit_interval_ms=10_000)
    world.settle()
    world.write("in", row("1"), row("2"), row(bad, "b"), row("3"))
    world.clock.advance_ms(10_000)
    with pytest.raises(StageError) as raised:
        world.settle()
    assert raised.value.offset == 2
    assert texts(world) == ["x", "xx"]
    assert position(world) == 2


@pytest.mark.parametrize("bad", [HUGE, "wrong"])
def test_what_cannot_be_sent_gets_the_policy_of_its_function(bad: str) -> None:
    """The function's own word counts more than the app's."""
    world = World(sized("fail", "skip"))
    world.settle()
    world.write("in", row("1"), row(bad, "b"), row("3"))
    world.settle()
    assert texts(world) == ["x", "xxx"]


def test_a_wrong_state_value_fails_on_any_commit_interval() -> None:
    """Also if another record of the same transaction writes its key again."""
    world = World(sized("skip"), commit_interval_ms=10_000)
    world.settle()
    world.write("in", row("1"), row("wrong"), row("3"))
    world.clock.advance_ms(10_000)
    world.settle()
    assert texts(world) == ["x", "xxx"]


def test_a_refusal_among_partitions_condemns_the_right_record() -> None:
    """Several tasks share a transaction; the one whose record is alone in it is to blame."""
    app = sized("dead_letter")
    world = World(app, commit_interval_ms=10_000)
    world.inner.delete_topic("in")
    world.inner.create_topic("in", 3, {})
    world.settle()
    for partition in range(3):
        world.write("in", row("1"), row("2"), row("3"), partition=partition)
    world.write("in", row(HUGE), row("4"), partition=1)
    world.clock.advance_ms(10_000)
    world.settle()
    assert sorted(map(len, texts(world))) == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4]
    ((_, _, value, _, headers),) = world.records(LETTERS)
    assert value == HUGE.encode()
    assert dict(headers)["streamfn.partition"] == b"1"


def test_a_dead_letter_that_cannot_be_sent_stops() -> None:
    """There is nowhere left to put the record: an error that says so."""
    world = World(sized("dead_letter"))
    world.settle()
    world.log.refuses = lambda topic, value: (
        topic in ("out", LETTERS) and b"1" not in (value or b"")
    )
    world.write("in", row("5"))
    with pytest.raises(StageError, match="takes no such row") as raised:
        world.settle()
    assert raised.value.offset == 0


def test_a_timer_that_cannot_be_sent_does_not_condemn_a_record() -> None:
    """The record that shares its transaction is innocent."""
    app = sf.App("app", on_error="dead_letter")
    source = app.topic("in", key=str, value=str)
    out = app.topic("out", key=str, value=str)

    @app.function(source, to=out)
    def echo(value: str, last: sf.Value[str]) -> str:
        last.value = value
        return value

    @echo.every(timedelta(seconds=1), clock="wall")
    def shout(last: sf.Store[str, str]) -> sf.Outgoing[str, str]:
        return out.record(key="t", value="too large")

    world = World(app, commit_interval_ms=0)
    world.settle()
    world.log.refuses = lambda topic, value: value == b"too large"
    world.clock.advance_ms(1_000)
    world.write("in", row("innocent"))
    try:
        world.settle()
    except StopError:
        world.log.refuses = lambda topic, value: False
        world.run_again()
    assert "innocent" in texts(world)
    assert [value for value in world.values(LETTERS)] == []


@pytest.mark.parametrize("generated", [True, False])
@pytest.mark.parametrize("on_error", ["skip", "dead_letter"])
def test_a_store_that_cannot_be_read_is_never_the_records_fault(
    on_error: str, generated: bool
) -> None:
    """A StateError stops the worker under every policy; nothing is dropped or buried."""
    world = World(sized(on_error), generated=generated)
    world.settle()
    world.write("in", row("1"))
    world.settle()
    world.close()
    space = next(disk["store:grow-last"] for disk in world.homes.disks.values())
    for key in space.entries:
        space.entries[key] = b"\xff"
    world.start()
    world.write("in", row("2"))
    with pytest.raises(StateTypeError, match="grow-last"):
        world.settle()
    assert position(world) == 1
    assert world.values(LETTERS) == [] if on_error == "dead_letter" else True


def test_topics_have_limits() -> None:
    """What the tests above rely on: a topic refuses two megabytes by default."""
    world = World(sized("fail"))
    world.settle()
    info: TopicInfo = world.inner.topics()["out"]
    assert int(info.config.get("max.message.bytes", 1_048_588)) < int(HUGE)
