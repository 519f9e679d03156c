"""Suppression: what waits, what goes on and in which order, whatever happens in between."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfn.errors import StageError
from streamfn.windowed import Windowed
from tests.unit.suppress_world import Change, Model, Program, Row, row


def changed(key: str, new: str | None, old: str | None, span: tuple[int, int], at: int) -> Row:
    """A row of the input."""
    return Row(key, Change(new, old, *span), at)


VALUES = st.none() | st.sampled_from(["x", "y", "z"])
SPANS = st.sampled_from([(0, 10), (5, 15), (10, 20), (0, 3)])
ROWS = st.lists(
    st.builds(
        changed,
        st.sampled_from(["a", "b", "aa"]),
        VALUES,
        VALUES,
        SPANS,
        st.integers(0, 60),
    ),
    max_size=25,
)
RESTARTS = st.sets(st.integers(0, 24), max_size=4)


def replied(program: Program, rows: list[Row], restarts: set[int], interval_ms: int) -> list[Any]:
    """All answers, with restarts before some rows, on some commit interval."""
    with program.driver(commit_interval_ms=interval_ms) as driver:
        for number, each in enumerate(rows):
            if number in restarts:
                driver.restart()
            program.put(driver, each)
            if number % 4 == 3:
                driver.advance(timedelta(milliseconds=interval_ms))
        driver.advance(timedelta(seconds=1))
        return program.read(driver)


@settings(max_examples=60, deadline=None)
@given(
    ROWS, RESTARTS, st.sampled_from([0, 1, 10, 30]), st.none() | st.integers(1, 3), st.booleans()
)
def test_limit_is_kafka_streams_buffer(
    rows: list[Row], restarts: set[int], limit_ms: int, records_max: int | None, slow: bool
) -> None:
    """By time and by number: the model's answers, though the worker is killed in between."""
    model = Model(limit_ms, records_max=records_max)
    wanted = [answer for each in rows for answer in model.send(each.key, each.change, each.at)]
    program = Program(limit_ms=limit_ms, records_max=records_max)
    assert replied(program, rows, restarts, 20 if slow else 0) == wanted


@settings(max_examples=60, deadline=None)
@given(ROWS, RESTARTS, st.sampled_from([0, 7]), st.booleans(), st.booleans())
def test_close_is_kafka_streams_buffer(
    rows: list[Row], restarts: set[int], after_ms: int, inclusive: bool, records: bool
) -> None:
    """Windows that close: in order of their end; one whose end belongs to it a moment later."""
    program = Program(
        windowed=True, records=records, close_after_ms=after_ms, inclusive_end=inclusive
    )
    model = Model(after_ms + inclusive, final=True)
    wanted = [
        (key, new, None if records else old, at)
        for each in rows
        for key, new, old, at in model.send(program.key(each), each.change, each.at)
    ]
    assert replied(program, rows, restarts, 20) == wanted


def test_windows_that_end_together_go_on_by_start_and_key() -> None:
    """As emission on close has them: of Kafka Streams' two orders the one that loses nothing."""
    program = Program(windowed=True, records=True)
    with program.driver() as driver:
        for key, window in (("b", (0, 10)), ("a", (5, 10)), ("aa", (1, 10)), ("a", (2, 10))):
            assert program.send(driver, row(key, "v", 1, window)) == []
        found = program.send(driver, row("z", "v", 10, (10, 20)))
        assert [(key.key, key.start_ms) for key, *_ in found] == [
            ("b", 0), ("aa", 1), ("a", 2), ("a", 5),
        ]  # fmt: skip


def test_deletion_of_a_window_says_nothing() -> None:
    """A window that came to nothing has no final result; a row that was deleted is a tombstone."""
    windows, rows = Program(windowed=True, records=True), Program(limit_ms=0, records=True)
    with windows.driver() as driver:
        windows.send(driver, row("a", "v", 1, (0, 10)))
        windows.send(driver, row("a", None, 2, (0, 10)))
        assert windows.send(driver, row("b", "v", 10, (10, 20))) == []
    with rows.driver() as driver:
        assert rows.send(driver, row("a", None, 1)) == [("a", None, None, 1)]


def test_one_record_too_many_fails() -> None:
    """The error says how many there may be and what to do."""
    program = Program(limit_ms=100, records_max=2, when_full="fail")
    with program.driver() as driver:
        for key in ("a", "b", "a"):
            program.send(driver, row(key, "v", 1))
        with pytest.raises(StageError, match="holds back 2 records at most") as caught:
            program.send(driver, row("c", "v", 1))
    assert caught.value.stage == "held"


def test_no_change_for_a_time_closes_windows() -> None:
    """On the wall clock: the final result of all, and no second one."""
    program = Program(windowed=True, records=True, idle_close_ms=1_000)
    with program.driver() as driver:
        program.send(driver, row("a", "v", 1, (0, 10)))
        driver.advance(timedelta(milliseconds=999))
        program.send(driver, row("b", "w", 2, (5, 15)))
        driver.advance(timedelta(milliseconds=999))
        assert program.read(driver) == []
        driver.advance(timedelta(milliseconds=1))
        a, b = Windowed("a", 0, 10), Windowed("b", 5, 15)
        assert program.read(driver) == [(a, "v", None, 1), (b, "w", None, 2)]
        assert program.send(driver, row("a", "late", 3, (0, 10))) == []
        assert program.send(driver, row("c", "w", 40, (15, 25))) == [
            (Windowed("c", 15, 25), "w", None, 40)
        ]


def test_what_was_closed_stays_closed_over_a_restart() -> None:
    """The wall clock's verdict is state."""
    program = Program(windowed=True, records=True, idle_close_ms=1_000)
    with program.driver() as driver:
        program.send(driver, row("a", "v", 1, (0, 10)))
        driver.advance(timedelta(seconds=1))
        assert len(program.read(driver)) == 1
        driver.restart()
        program.send(driver, row("a", "late", 3, (0, 10)))
        driver.advance(timedelta(seconds=10))
        assert program.read(driver) == []


def test_nothing_stays_behind() -> None:
    """What went on is gone from the store; only its registers remain."""
    program = Program(limit_ms=5, records_max=3)
    with program.driver() as driver:
        for number in range(20):
            program.send(driver, row("ab"[number % 2], "v", number))
        program.send(driver, row("z", "v", 100))
        program.send(driver, row("z", "v", 200))
        inside: Any = driver
        levels = inside._worker.tasks["in_0"].scope.levels["held"]
        assert list(levels.scan(b"\x01", None)) == []
