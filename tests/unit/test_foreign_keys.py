"""Foreign-key joins: the messages that go to and fro, and their answers against a plain model."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfn.errors import SerdeError
from streamfn.serde import INT64
from streamfn.serde.foreign_keys import (
    GONE,
    Gone,
    Instruction,
    answer_serde,
    subscription_serde,
    value_hash,
)
from tests.unit.foreign_world import Model, Program, Row

ROWS = st.lists(
    st.builds(
        Row,
        st.just("left"),
        st.sampled_from(["k1", "k2", "k3"]),
        st.none() | st.sampled_from(["a1", "a2", "b1", " none"]),
        st.integers(0, 50),
    )
    | st.builds(
        Row,
        st.just("right"),
        st.sampled_from(["a", "b"]),
        st.none() | st.sampled_from(["x", "y"]),
        st.integers(0, 50),
    ),
    max_size=25,
)
HASHES = st.none() | st.binary(min_size=16, max_size=16)


class Moment(msgspec.Struct, frozen=True):
    """A value that is written otherwise than it was made."""

    at: datetime


# --- what is sent


@given(st.text(), st.sampled_from(Instruction), HASHES)
def test_subscription_comes_back(left: str, instruction: Instruction, digest: bytes | None) -> None:
    """A subscription is read as it was written."""
    serde = subscription_serde(str)
    assert serde.decode(serde.encode((left, instruction, digest))) == (left, instruction, digest)


@given(HASHES, st.none() | st.just(GONE) | st.integers(-5, 5))
def test_answer_comes_back(digest: bytes | None, value: int | Gone | None) -> None:
    """An answer is read as it was written."""
    serde = answer_serde(int)
    assert serde.decode(serde.encode((digest, value))) == (digest, value)


def test_messages_are_small() -> None:
    """A subscription is 17 bytes and the key, an answer 17 and the value."""
    assert len(subscription_serde(str).encode(("key", Instruction.ASK, b"h" * 16))) == 17 + 3
    assert len(answer_serde(INT64).encode((b"h" * 16, 1))) == 17 + 8


@pytest.mark.parametrize("serde", [subscription_serde(str), answer_serde(str)])
@pytest.mark.parametrize("raw", [b"", b"\xff", b"text"])
def test_records_of_others_are_refused(serde: Any, raw: bytes) -> None:
    """What is neither is said to be a record of others."""
    with pytest.raises(SerdeError, match="the topic holds records of others"):
        serde.decode(raw)


def test_hash_is_of_the_value_as_it_is_read_back() -> None:
    """A time in another zone is the same value when it comes out of a store."""
    hash_of = value_hash(Moment)
    noon = datetime(2013, 1, 1, 12, tzinfo=UTC)
    elsewhere = noon.astimezone(timezone(timedelta(hours=-5)))
    assert hash_of(Moment(noon)) == hash_of(Moment(elsewhere))
    assert hash_of(Moment(noon)) != hash_of(Moment(noon + timedelta(seconds=1)))


# --- what is answered


@pytest.mark.parametrize("kind", ["inner", "left"])
@settings(max_examples=60, deadline=None)
@given(rows=ROWS, restarts=st.sets(st.integers(0, 24), max_size=3))
def test_each_step_is_answered_as_by_kafka_streams(
    kind: str, rows: list[Row], restarts: set[int]
) -> None:
    """Step by step, whatever the partitions, and though the worker is killed in between."""
    program, model = Program(kind, left=2, right=3), Model(kind)
    with program.driver() as driver:
        for number, row in enumerate(rows):
            if number in restarts:
                driver.restart()
            program.send(driver, row)
            assert sorted(program.read(driver)) == sorted(model.send(row))


@pytest.mark.parametrize("kind", ["inner", "left"])
@settings(max_examples=40, deadline=None)
@given(rows=ROWS, restarts=st.sets(st.integers(0, 24), max_size=3))
def test_result_is_the_join_of_both_tables(kind: str, rows: list[Row], restarts: set[int]) -> None:
    """Answers that cross each other on the way leave the right rows in the end."""
    program, model = Program(kind, left=2, right=3), Model(kind)
    with program.driver(commit_interval_ms=20) as driver:
        for number, row in enumerate(rows):
            if number in restarts:
                driver.restart()
            if number % 5 == 4:
                driver.advance(timedelta(milliseconds=20))
            program.send(driver, row)
            model.send(row)
        for _ in range(8):  # each topic on the way is a commit, and none is early
            driver.advance(timedelta(milliseconds=20))
        answers = {key: value for key, value, _ in program.read(driver)}
        assert {key: value for key, value in answers.items() if value} == model.rows()
        assert driver.state("result") == model.rows()


def test_a_right_row_that_goes_while_its_left_row_changes_leaves_no_result() -> None:
    """The answer that it went is to the old left row, and the new one finds nothing: KS is stuck.

    Neither does a left row leave one that is deleted and comes again meanwhile.
    """
    program = Program("inner", left=2, right=3)
    with program.driver(commit_interval_ms=20) as driver:

        def commit() -> None:
            for _ in range(8):
                driver.advance(timedelta(milliseconds=20))

        for changes in (["a2"], [None, "a2"]):
            program.send(driver, Row("right", "a", "x", 0))
            program.send(driver, Row("left", "k", "a1", 0))
            commit()
            assert driver.state("result") == {"k": "a1+x"}
            program.send(driver, Row("right", "a", None, 1))
            for value in changes:
                program.send(driver, Row("left", "k", value, 1))
            commit()
            assert driver.state("result") == {}
            assert program.read(driver)[-1] == ("k", None, 1)


def test_right_change_answers_in_order_of_the_left_keys() -> None:
    """Ascending key bytes."""
    program = Program("inner")
    with program.driver() as driver:
        for key in ("b", "c", "a", "aa"):
            program.send(driver, Row("left", key, "x", 0))
        program.send(driver, Row("right", "x", "1", 5))
        assert [key for key, _, _ in program.read(driver)] == ["a", "aa", "b", "c"]


@pytest.mark.parametrize("kind", ["inner", "left"])
def test_out_of_order_updates_of_versioned_tables_are_dropped(kind: str) -> None:
    """Neither side sends what is not the newest."""
    program = Program(kind, history_ms=100)
    with program.driver() as driver:
        for row in (Row("right", "a", "x", 10), Row("left", "k", "a1", 10)):
            program.send(driver, row)
        assert program.read(driver) == [("k", "a1+x", 10)]
        for row in (Row("left", "k", "a0", 5), Row("right", "a", "w", 5)):
            program.send(driver, row)
        assert program.read(driver) == []
        program.send(driver, Row("right", "a", "y", 11))
        assert program.read(driver) == [("k", "a1+y", 11)]


def test_subscriptions_go_with_their_rows() -> None:
    """A deleted row, and one that names another, is no longer kept."""
    program = Program("left")
    with program.driver() as driver:
        for value in ("a", "b", " "):
            program.send(driver, Row("left", "k", value, 0))
        program.send(driver, Row("left", "l", "a", 0))
        program.send(driver, Row("left", "l", None, 0))
        inside: Any = driver
        levels = inside._worker.tasks[
            "result-subscriptions_0"
        ].scope.levels  # whether it is freed shows nowhere else
        assert list(levels["result-subscriptions"].scan(b"", None)) == []
