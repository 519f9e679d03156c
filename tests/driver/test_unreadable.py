"""What user code makes that could not be read back is its record's failure, not a damaged log."""

# pyright: reportPrivateUsage=false
# A driver's parts are exchanged for those of another version of the program.

from datetime import timedelta
from typing import Any, cast

import pytest

import streamfn as sf
from streamfn.engine.compile import CompiledTimer
from streamfn.engine.timers import Timers
from streamfn.errors import RefusedError, StateTypeError, StopError
from streamfn.graph.topology import Timer
from streamfn.record import Columns
from streamfn.testing import TestDriver


def answering(record: dict[str, Any], on_error: Any = "skip") -> tuple[sf.App, Any, Any]:
    """An app whose function answers with a record made of these arguments for the value "bad"."""
    app = sf.App("app", on_error=on_error)
    source = app.topic("in", key=str, value=str)
    out = app.topic("out", key=str, value=str)

    @app.function(source, to=(out,))
    def fn(value: str, context: sf.Context[str]) -> sf.Outgoing[str, str]:
        made: dict[str, Any] = {"key": context.key, "value": value}
        return out.record(**{**made, **(record if value == "bad" else {})})

    return app, source, out


@pytest.mark.parametrize("generated", [True, False])
@pytest.mark.parametrize(
    "record",
    [
        {"timestamp_ms": 1.5},
        {"timestamp_ms": True},
        {"timestamp_ms": -1},
        {"timestamp_ms": 10**30},
        {"headers": (("a", "text"),)},
        {"headers": [("a", None)]},
        {"headers": {"a": b"b"}},
        {"key": 5},
        {"value": 5},
    ],
)
def test_a_record_that_could_not_be_read_is_a_bad_record(
    record: dict[str, Any], generated: bool
) -> None:
    """The policy applies, and the records around it stand in the log and can be read."""
    app, source, out = answering(record)
    with TestDriver(app, generated=generated) as driver:
        for value in ("a", "bad", "b"):
            driver.send(source, value, key="k")
        assert [each.value for each in driver.read(out)] == ["a", "b"]


@pytest.mark.parametrize("generated", [True, False])
def test_a_wrong_answer_does_not_reach_a_typed_topic(generated: bool) -> None:
    """A consumer would fail at it; the function that made it fails instead."""
    app = sf.App("app", on_error="dead_letter")
    source = app.topic("in", key=str, value=str)
    out = app.topic("out", key=str, value=int)

    @app.function(source, to=out)
    def fn(value: str) -> int:
        return int(value) if value.isdigit() else value  # type: ignore[return-value]  # wrong on purpose

    with TestDriver(app, generated=generated) as driver:
        for value in ("1", "text", "2"):
            driver.send(source, value, key="k")
        assert [each.value for each in driver.read(out)] == [1, 2]
        (letter,) = driver.dead_letters()
        assert b"topic 'out' takes json[int]" in dict(letter.headers)["streamfn.message"]


def test_the_log_itself_refuses_what_it_could_not_read_back() -> None:
    """A second wall: whoever writes a chunk that does not decode loses all records in it."""
    app, source, _ = answering({})
    with TestDriver(app) as driver:
        log = driver._log
        for timestamp in (1.5, 1 << 63):
            log.begin()
            log.emit("in", 0, Columns([b"k"], [b"v"], [cast("int", timestamp)], {}))
            with pytest.raises(RefusedError, match="milliseconds since the epoch"):
                log.flush()
            log.open_producer()
        driver.send(source, "a", key="k")


def counting(key: Any) -> tuple[sf.App, Any]:
    """An app that counts by the length or the text of its values."""
    app = sf.App("app")
    source = app.topic("in", key=str, value=str)

    @app.function(app.stream(source).key_by(key, key=key, name="by"))
    def count(value: str, seen: sf.Value[int]) -> None:
        seen.value += 1

    return app, source


def test_keys_of_another_type_are_found_in_a_changelog() -> None:
    """Also if the store is gone, which knew of what type they were."""
    app, source = counting(str)
    driver = TestDriver(app)
    driver.send(source, "12")
    driver.close()
    again, _ = counting(int)
    driver._topology = again.topology()
    driver._homes = type(driver._homes)()
    with pytest.raises(StateTypeError, match="store 'count-seen' holds keys that are no int"):
        driver._start()


def test_what_a_timer_cannot_send_is_the_timer_s_fault() -> None:
    """The record that moved time is innocent; the worker names the timer and can be closed."""
    app = sf.App("app", on_error="skip")
    source = app.topic("in", key=str, value=str)
    out = app.topic("out", key=str, value=str)

    @app.function(source, to=out)
    def fn(value: str, seen: sf.Value[int]) -> None:
        seen.value += 1

    @fn.every(timedelta(seconds=1))
    def huge(context: sf.Context[str]) -> sf.Outgoing[str, str] | None:
        size = 2_000_000 if context.timestamp_ms >= 2_000 else 1
        return out.record(key="k", value="x" * size)

    with TestDriver(app) as driver:
        driver.send(source, "a", key="k", timestamp_ms=0)
        with pytest.raises(StopError, match="timer 'fn-huge' wrote cannot be sent"):
            driver.send(source, "b", key="k", timestamp_ms=3_000)


def test_a_clock_that_is_set_back_does_not_silence_a_timer() -> None:
    """It fires one interval after the clock was corrected."""
    fired: list[int] = []
    timer = Timer("tick", print, 1_000, "wall", (), False, "here")
    timers = Timers(
        [CompiledTimer("fn", timer, fired.append, ())], lambda _, now_ms: fired.append(now_ms)
    )
    for now_ms in (100_000, 101_000, 10_000, 11_000):
        timers.fire_wall(now_ms)
    assert fired == [101_000, 11_000]
