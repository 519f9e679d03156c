"""Windows of a fixed size against a model; emission, expiry and idle close on top."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamfn.graph.topology import WindowSpec
from streamfn.windowed import FOREVER_MS, Windowed
from tests.unit.windows_model import Fixed
from tests.unit.windows_world import (
    Program,
    Row,
    answers,
    driving,
    grown,
    joined,
    replied,
    rows,
    sent,
)

TUMBLING = WindowSpec("tumbling", 10, 10, grace_ms=5)
SIZES = st.sampled_from(
    [TUMBLING, WindowSpec("tumbling", 7, 7), WindowSpec("hopping", 12, 5, grace_ms=3),
     WindowSpec("hopping", 10, 10), WindowSpec("hopping", 9, 1, grace_ms=20)]
)  # fmt: skip


def expected(model: Fixed, sent_rows: list[Row]) -> list[Any]:
    """What the model answers to all records."""
    return [answer for row in sent_rows for answer in model.send(row)]


@settings(max_examples=60, deadline=None)
@given(SIZES, rows(), st.sampled_from(["update", "close"]), st.sampled_from([0, 1000]))
def test_answers_are_those_of_a_memory_without_limits(
    window: WindowSpec, sent_rows: list[Row], emit: str, interval_ms: int
) -> None:
    """Each record's changes, or final results, come in Kafka Streams' order."""
    model = Fixed(window, emit=emit, start="", fns=[joined])
    program = Program(window, initial=str, emit=emit)
    assert replied(program, sent_rows, interval_ms=interval_ms) == expected(model, sent_rows)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 20), rows(scale=20_000), st.sampled_from(["update", "close"]))
@example(2, [Row("k", "a", 50_000), Row("k", "b", 160_000), Row("k", "c", 55_000)], "update")
def test_forgetting_changes_no_answer(grace: int, sent_rows: list[Row], emit: Any) -> None:
    """What is deleted while records come out of order is not missed."""
    window = WindowSpec("hopping", 100_000, 10_000, grace_ms=grace * 10_000)
    model = Fixed(window, emit=emit, start="", fns=[joined])
    program = Program(window, initial=str, emit=emit)
    assert replied(program, sent_rows) == expected(model, sent_rows)


@settings(max_examples=25, deadline=None)
@given(SIZES, rows(), st.sets(st.integers(0, 24)), st.sampled_from(["update", "close"]))
def test_restarts_change_no_answer(
    window: WindowSpec, sent_rows: list[Row], restarts: set[int], emit: str
) -> None:
    """Neither do aggregates that change in place."""
    once = replied(Program(window, initial=str, emit=emit), sent_rows)
    again = Program(window, fns=(grown,), initial=list, value=list[str], emit=emit)
    found = replied(again, sent_rows, interval_ms=1000, restarts=sorted(restarts))
    assert [(key, text.replace(",", ""), at) for key, text, at in found] == once


@settings(max_examples=30, deadline=None)
@given(rows(2, leap_ms=100_000))
def test_inputs_of_a_cogroup_have_their_own_stream_time(sent_rows: list[Row]) -> None:
    """A record is late by those of its own input."""

    def other(aggregate: str, value: str | None) -> str:
        return f"{aggregate}<{value}>"

    fns = (joined, other)
    model = Fixed(TUMBLING, emit="update", start="", fns=fns)
    found = replied(Program(TUMBLING, fns=fns, initial=str), sent_rows)
    assert found == expected(model, sent_rows)


def test_a_reduction_starts_with_its_first_value() -> None:
    """A null value reaches the function only when there is something to reduce."""
    sent_rows = [Row("k", None, 1), Row("k", "a", 2), Row("k", None, 3)]
    found = replied(Program(TUMBLING), sent_rows)
    assert found == [("k@0/10", "|", 1), ("k@0/10", "a|", 2), ("k@0/10", "a-|a", 3)]


def test_counts_need_no_function() -> None:
    """A count's first old value is 0, as that of Kafka Streams."""
    program = Program(TUMBLING, initial=int, value=int, counts=True)
    found = replied(program, [Row("k", "a", 1), Row("k", None, 4)])
    assert found == [("k@0/10", "1|0", 1), ("k@0/10", "2|1", 4)]


def test_an_unlimited_window_takes_all_from_its_start() -> None:
    """However late they are; those before it are in no window."""
    window = WindowSpec("unlimited", FOREVER_MS, start_ms=5)
    sent_rows = [Row("k", "a", 4), Row("k", "b", 5), Row("k", "c", 10**12), Row("k", "d", 6)]
    found = replied(Program(window, initial=str), sent_rows)
    key = f"k@5/{FOREVER_MS}"
    assert found == [(key, "b|", 5), (key, "bc|b", 10**12), (key, "bcd|bc", 10**12)]


def test_old_windows_are_deleted_a_few_at_a_time() -> None:
    """What is kept does not grow with the input, and a leap does not delete all at once."""
    program = Program(TUMBLING, initial=str)
    with driving(program) as driver:
        for number in range(300):
            sent(driver, program, Row("k", "a", number * 10))
        assert len(driver.state("agg")) == 300
        sent(driver, program, Row("k", "a", 1_000_000))
        assert len(driver.state("agg")) == 201
        for number in range(3):
            sent(driver, program, Row("k", "a", 1_000_010 + 10 * number))
        assert len(driver.state("agg")) == 4


def test_retention_keeps_windows_longer() -> None:
    """They can be looked up after they have closed."""
    window = WindowSpec("tumbling", 10, 10, retention_ms=1_000_000)
    program = Program(window, initial=str)
    with driving(program) as driver:
        for at in (0, 500_000, 1_000_000, 1_500_000):
            sent(driver, program, Row("k", "a", at))
        kept = [key.start_ms for key in driver.state("agg")]
        assert kept == [500_000, 1_000_000, 1_500_000]


IDLE = WindowSpec("tumbling", 10, 10, grace_ms=5, idle_close_ms=1000)


@pytest.mark.parametrize("kind", ["tumbling", "hopping"])
def test_idle_windows_close_by_the_wall_clock(kind: Any) -> None:
    """Their results are emitted once, and records for them are late from then on."""
    program = Program(
        WindowSpec(kind, 10, 10, grace_ms=5, idle_close_ms=1000), initial=str, emit="close"
    )
    with driving(program) as driver:
        assert sent(driver, program, Row("k", "a", 3)) == []
        driver.advance(timedelta(milliseconds=999))
        assert answers(driver, program.out) == []
        driver.advance(timedelta(milliseconds=1))
        assert answers(driver, program.out) == [("k@0/10", "a|", 3)]
        driver.advance(timedelta(hours=1))
        assert sent(driver, program, Row("k", "b", 4)) == []
        assert sent(driver, program, Row("k", "c", 12)) == []
        driver.restart()
        driver.advance(timedelta(milliseconds=1000))
        assert answers(driver, program.out) == [("k@10/20", "c|", 12)]


def test_idle_windows_that_hand_on_updates_close_without_a_word() -> None:
    """Nothing is handed on, but a later record is late."""
    program = Program(IDLE, initial=str, late=True)
    with driving(program) as driver:
        assert sent(driver, program, Row("k", "a", 3)) == [("k@0/10", "a|", 3)]
        driver.advance(timedelta(seconds=1))
        assert sent(driver, program, Row("k", "b", 3)) == []
        assert answers(driver, program.late) == [("k", "b", 3)]


def test_state_has_windowed_keys() -> None:
    """The entries of the store by key and window."""
    program = Program(TUMBLING, initial=str)
    with driving(program) as driver:
        sent(driver, program, Row("k", "a", 13))
        assert driver.state("agg") == {Windowed("k", 10, 20): "a"}


@settings(max_examples=30, deadline=None)
@given(SIZES, rows(drops=False))
def test_late_records_are_those_in_no_window(window: WindowSpec, sent_rows: list[Row]) -> None:
    """A record goes either into a window or to the late ones."""
    program = Program(window, initial=str, late=True)
    with driving(program) as driver:
        for row in sent_rows:
            aggregated = sent(driver, program, row)
            late = [] if aggregated or row.key is None else [(row.key, row.value, row.at)]
            assert answers(driver, program.late) == late
