"""Session windows against a model; emission, expiry and idle close on top."""

from datetime import timedelta
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamfn.graph.topology import WindowSpec
from streamfn.windowed import Windowed
from tests.unit.windows_model import Sessions, merged
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

GAP = WindowSpec("session", 5, grace_ms=3)
SIZES = st.sampled_from([GAP, WindowSpec("session", 3), WindowSpec("session", 8, grace_ms=50)])
EMITS = st.sampled_from(["update", "close"])


@settings(max_examples=60, deadline=None)
@given(SIZES, rows(), EMITS, st.sampled_from([0, 1000]))
def test_answers_are_those_of_a_memory_without_limits(
    window: WindowSpec, sent_rows: list[Row], emit: Any, interval_ms: int
) -> None:
    """Tombstones of what was merged, then the new session; or final results by their ends."""
    model = Sessions(window, emit=emit, start="", fns=[joined])
    program = Program(window, initial=str, merge=merged, emit=emit)
    expected = [answer for row in sent_rows for answer in model.send(row)]
    assert replied(program, sent_rows, interval_ms=interval_ms) == expected


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 20), rows(scale=20_000), EMITS)
@example(2, [Row("k", "a", 20_001), Row("k", "b", 240_001), Row("k", "c", 120_001)], "update")
def test_forgetting_changes_no_answer(grace: int, sent_rows: list[Row], emit: Any) -> None:
    """What is deleted is missed by no record that could begin a session of its own."""
    window = WindowSpec("session", 100_000, grace_ms=grace * 10_000)
    newest, timely = -1, list[Row]()
    for row in sent_rows:
        newest = max(newest, row.at if row.key else -1)
        if row.at >= newest - window.size_ms - window.grace_ms:
            timely.append(row)
    model = Sessions(window, emit=emit, start="", fns=[joined])
    program = Program(window, initial=str, merge=merged, emit=emit)
    expected = [answer for row in timely for answer in model.send(row)]
    assert replied(program, timely) == expected


@settings(max_examples=25, deadline=None)
@given(SIZES, rows(), st.sets(st.integers(0, 24)), EMITS)
def test_restarts_and_aggregates_that_change_in_place_change_no_answer(
    window: WindowSpec, sent_rows: list[Row], restarts: set[int], emit: Any
) -> None:
    """An aggregate is never changed for the session it was merged into."""

    def extended(one: list[str], other: list[str]) -> list[str]:
        one.extend(other)
        return one

    def glued(one: str, other: str) -> str:
        return one + other

    once = replied(Program(window, initial=str, merge=glued, emit=emit), sent_rows)
    lists = Program(window, fns=(grown,), initial=list, merge=extended, value=list[str], emit=emit)
    found = replied(lists, sent_rows, interval_ms=1000, restarts=sorted(restarts))
    assert [(key, text.replace(",", ""), at) for key, text, at in found] == once


@settings(max_examples=30, deadline=None)
@given(rows(2, leap_ms=100_000))
def test_inputs_of_a_cogroup_have_their_own_stream_time(sent_rows: list[Row]) -> None:
    """A record is late by those of its own input."""

    def other(aggregate: str, value: str | None) -> str:
        return f"{aggregate}<{value}>"

    fns = (joined, other)
    model = Sessions(GAP, emit="update", start="", fns=fns)
    found = replied(Program(GAP, fns=fns, initial=str, merge=merged), sent_rows)
    assert found == [answer for row in sent_rows for answer in model.send(row)]


def test_a_reduction_has_no_start() -> None:
    """Two sessions become one by the function itself."""
    program = Program(WindowSpec("session", 5, grace_ms=100), merge=joined)
    found = replied(program, [Row("k", "a", 0), Row("k", "b", 8), Row("k", "c", 4)])
    assert found == [
        ("k@0/0", "a|", 0),
        ("k@8/8", "b|", 8),
        ("k@0/0", "|a", 0),
        ("k@8/8", "|b", 8),
        ("k@0/8", "abc|", 8),
    ]


def test_a_count_merges_by_adding() -> None:
    """Whatever the functions are."""
    program = Program(WindowSpec("session", 5, grace_ms=100), initial=int, value=int, counts=True)
    replies = replied(program, [Row("k", "a", 0), Row("k", "b", 8), Row("k", None, 4)])
    assert replies[-1] == ("k@0/8", "3|", 8)


def test_old_sessions_are_deleted_by_their_ends() -> None:
    """One that goes on is kept, however long ago it began."""
    program = Program(WindowSpec("session", 50_000), initial=str, merge=merged)
    with driving(program) as driver:
        sent(driver, program, Row("l", "a", 0))
        for number in range(8):
            sent(driver, program, Row("k", "a", number * 50_000))
        sent(driver, program, Row("m", "a", 400_000))
        assert list(driver.state("agg")) == [
            Windowed("k", 0, 350_000), Windowed("m", 400_000, 400_000)
        ]  # fmt: skip


def test_idle_sessions_close_by_the_wall_clock() -> None:
    """One that goes on afterwards begins anew."""
    window = WindowSpec("session", 5, idle_close_ms=1000)
    program = Program(window, initial=str, merge=merged, emit="close")
    with driving(program) as driver:
        assert sent(driver, program, Row("k", "a", 20)) == []
        assert sent(driver, program, Row("k", "b", 25)) == []
        driver.advance(timedelta(seconds=1))
        assert answers(driver, program.out) == [("k@20/25", "(a)b|", 25)]
        driver.advance(timedelta(seconds=1))
        assert answers(driver, program.out) == []
        assert sent(driver, program, Row("k", "c", 24)) == []
        assert sent(driver, program, Row("l", "d", 27)) == []
        driver.advance(timedelta(seconds=1))
        assert answers(driver, program.out) == [("l@27/27", "d|", 27)]


@settings(max_examples=30, deadline=None)
@given(SIZES, rows(drops=False))
def test_late_records_are_those_in_no_session(window: WindowSpec, sent_rows: list[Row]) -> None:
    """A late record that still joins a session is none of them."""
    program = Program(window, initial=str, merge=merged, late=True)
    with driving(program) as driver:
        for row in sent_rows:
            aggregated = sent(driver, program, row)
            late = [] if aggregated or row.key is None else [(row.key, row.value, row.at)]
            assert answers(driver, program.late) == late
