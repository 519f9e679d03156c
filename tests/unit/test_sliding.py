"""Sliding windows against a model of Kafka Streams' other scan, and against their definition."""

from datetime import timedelta
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamfn.engine.operators.sliding import Known, Touch, touched
from streamfn.graph.topology import WindowSpec
from streamfn.windowed import Windowed
from tests.unit.windows_model import Sliding
from tests.unit.windows_world import Program, Row, answers, driving, grown, joined, rows, sent

SIZES = st.sampled_from(
    [WindowSpec("sliding", size, grace_ms=grace) for size, grace in ((10, 0), (10, 8), (3, 50))]
)


@settings(max_examples=60, deadline=None)
@given(SIZES, rows(drops=False), st.sampled_from(["update", "close"]), st.sampled_from([0, 1000]))
def test_answers_are_those_of_a_memory_without_limits(
    window: WindowSpec, sent_rows: list[Row], emit: Any, interval_ms: int
) -> None:
    """Each record changes and makes the same windows, whatever the direction of the scan."""
    model = Sliding(window, emit=emit, start="", fns=[joined])
    program = Program(window, initial=str, emit=emit)
    found: list[Any] = []
    expected: list[Any] = []
    order: Any = list if emit == "close" else sorted  # the order of updates is not promised
    with driving(program, interval_ms=interval_ms) as driver:
        for row in sent_rows:
            found += order(sent(driver, program, row))
            expected += order(model.send(row))
        driver.advance(timedelta(hours=1))
        found += answers(driver, program.out)
    if interval_ms:  # what a record did is seen later, together with others
        found, expected = sorted(found), sorted(expected)
    assert found == expected


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 20), rows(drops=False, scale=20_000))
@example(2, [Row("k", "a", 320_002), Row("k", "b", 440_002), Row("k", "c", 420_002)])
def test_forgetting_changes_no_answer(grace: int, sent_rows: list[Row]) -> None:
    """What is deleted while records come out of order is not missed."""
    window = WindowSpec("sliding", 100_000, grace_ms=grace * 10_000)
    model = Sliding(window, emit="update", start="", fns=[joined])
    program = Program(window, initial=str)
    with driving(program) as driver:
        for row in sent_rows:
            assert sorted(sent(driver, program, row)) == sorted(model.send(row))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.sampled_from("abc")), max_size=15))
def test_windows_are_the_sets_of_records_they_can_hold(records: list[tuple[int, str]]) -> None:
    """One that ends with each record, and one behind each that is not empty; none before 0."""
    size, program = 10, Program(WindowSpec("sliding", 10, grace_ms=1000), initial=str)
    with driving(program) as driver:
        for at, value in records:
            sent(driver, program, Row("k", value, at))
        starts = {max(0, at - size) for at, _ in records} | {at + 1 for at, _ in records}
        held = {
            start: "".join(value for at, value in records if start <= at <= start + size)
            for start in sorted(starts)
        }
        expected = {Windowed("k", at, at + size): text for at, text in held.items() if text}
        assert driver.state("agg") == expected


@settings(max_examples=20, deadline=None)
@given(SIZES, rows(), st.integers(0, 24), st.sampled_from(["update", "close"]))
def test_restarts_and_aggregates_that_change_in_place_change_no_answer(
    window: WindowSpec, sent_rows: list[Row], restart: int, emit: Any
) -> None:
    """An aggregate that windows share is never changed for one of them."""
    plain = Program(window, initial=str, emit=emit)
    lists = Program(window, fns=(grown,), initial=list, value=list[str], emit=emit)
    with driving(plain) as one, driving(lists, interval_ms=1000) as other:
        expected = [answer for row in sent_rows for answer in sent(one, plain, row)]
        found: list[Any] = []
        for number, row in enumerate(sent_rows):
            if number == restart:
                other.restart()
            found += sent(other, lists, row)
        other.advance(timedelta(hours=1))
        found += answers(other, lists.out)
        assert [(key, text.replace(",", ""), at) for key, text, at in found] == expected


def test_a_record_in_between_makes_three_windows() -> None:
    """It changes one, copies one, and begins one behind the record before it."""
    known = [Known(0, 10), Known(5, 15), Known(11, 15)]
    assert touched(known, 13, 10) == [
        Touch(11, 11), Touch(5, 5), Touch(3, 0), Touch(14, 11, adds=False)
    ]  # fmt: skip


def test_nulls_are_dropped() -> None:
    """Of keys and of values; they do not move stream time."""
    program = Program(WindowSpec("sliding", 10), initial=str)
    with driving(program) as driver:
        assert sent(driver, program, Row("k", None, 900)) == []
        assert sent(driver, program, Row(None, "a", 900)) == []
        assert sent(driver, program, Row("k", "a", 20)) == [("k@10/20", "a|", 20)]


def test_old_windows_are_deleted() -> None:
    """The windows and their index entries, when no record can reach them."""
    program = Program(WindowSpec("sliding", 10), initial=str)
    with driving(program) as driver:
        for at in (100, 104, 1_000_000, 2_000_000):
            sent(driver, program, Row("k", "a", at))
        assert [key.start_ms for key in driver.state("agg")] == [1_999_990]


def test_idle_windows_close_by_the_wall_clock() -> None:
    """A record behind the last one could still have come until then."""
    window = WindowSpec("sliding", 10, grace_ms=5, idle_close_ms=1000)
    program = Program(window, initial=str, emit="close")
    with driving(program) as driver:
        assert sent(driver, program, Row("k", "a", 20)) == []
        assert sent(driver, program, Row("k", "b", 25)) == []
        driver.advance(timedelta(seconds=1))
        assert answers(driver, program.out) == [
            ("k@10/20", "a|", 20), ("k@15/25", "ab|", 25), ("k@21/31", "b|", 25)
        ]  # fmt: skip
        assert sent(driver, program, Row("k", "c", 25)) == []


@settings(max_examples=25, deadline=None)
@given(SIZES, rows(drops=False))
def test_late_records_are_those_in_no_window(window: WindowSpec, sent_rows: list[Row]) -> None:
    """A record goes either into a window or to the late ones."""
    program = Program(window, initial=str, late=True)
    with driving(program) as driver:
        for row in sent_rows:
            aggregated = sent(driver, program, row)
            dropped = aggregated or row.key is None or row.value is None
            late = [] if dropped else [(row.key, row.value, row.at)]
            assert answers(driver, program.late) == late
