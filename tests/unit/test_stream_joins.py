"""Joins of two streams, against a model that forgets nothing, and what only a state can show."""

# pyright: reportPrivateUsage=false

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any, TypeAlias

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import streamfn as sf
from streamfn.engine.operators.join_sides import LEFT, Side
from streamfn.engine.operators.timed import Timed
from streamfn.graph.operators import StreamJoin
from streamfn.graph.stores import entry_serde
from streamfn.state.levels import Levels
from streamfn.state.memory import MemoryStore
from streamfn.testing import TestDriver
from tests.unit.join_model import Model

Event: TypeAlias = "tuple[str, str | None, str | None, int] | None"
"""Side, key, value and time of a record; None: the worker is killed and started again."""


def ms(number: int) -> timedelta:
    """So many milliseconds."""
    return timedelta(milliseconds=number)


def both(left: str | None, right: str | None) -> str:
    """Show who was met."""
    return f"{'null' if left is None else left}+{'null' if right is None else right}"


class Joined:
    """An app that joins two topics, and its driver."""

    def __init__(self, kind: str, within: sf.JoinWindow, **options: Any) -> None:
        self.app = sf.App("app", on_error="skip")
        self.sides = {side: self.app.topic(side, key=str, value=str) for side in ("left", "right")}
        self.out = self.app.topic("out", key=str, value=str)
        left, right = (self.app.stream(topic) for topic in self.sides.values())
        join: Any = {"inner": left.join, "left": left.left_join, "outer": left.outer_join}[kind]
        join(right, both, within, value=str, name="pairs").to(self.out)
        self.driver = TestDriver(self.app, **options)

    def send(
        self, side: str, key: str | None, value: str | None, at_ms: int
    ) -> list[tuple[str | None, str | None, int]]:
        """Process a record; return what it made."""
        self.driver.send(self.sides[side], value, key=key, timestamp_ms=at_ms)
        return self.read()

    def read(self) -> list[tuple[str | None, str | None, int]]:
        """What was made since the last time."""
        return [(r.key, r.value, r.timestamp_ms) for r in self.driver.read(self.out)]

    def entries(self, side: str) -> int:
        """How many records and marks a side's store holds, without registers."""
        return sum(
            not key.startswith(b"\x00")
            for task in self.driver._worker.tasks.values()
            for key, _ in task.scope.levels[f"pairs-{side}"].scan(b"", None)
        )


keys = st.sampled_from(["a", "b", "b\x00", None])
times = st.one_of(st.integers(0, 40), st.integers(0, 400_000))
records = st.tuples(
    st.sampled_from(["left", "right"]), keys, st.sampled_from(["x", "y", None]), times
)
events: st.SearchStrategy[list[Event]] = st.lists(
    st.one_of(records, records, records, records, st.none()), max_size=25
)
spans = st.tuples(st.integers(-5, 20), st.integers(-5, 20)).filter(lambda span: sum(span) >= 0)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["inner", "left", "outer"]),
    span=spans,
    grace_ms=st.integers(0, 10),
    events=events,
)
@example("left", (5, 0), 1, [("left", "a", "1", 1), ("left", "b", "2", 2), ("left", "a", "3", 9)])
@example("outer", (0, 9), 0, [("right", "a", "1", 1), None, ("left", "a", "3", 9)])
def test_it_answers_as_one_that_forgets_nothing(
    kind: str, span: tuple[int, int], grace_ms: int, events: list[Event]
) -> None:
    """Every record gives the results of the model, in order, through restarts."""
    before_ms, after_ms = span
    model = Model(kind, before_ms, after_ms, grace_ms)
    joined = Joined(kind, sf.JoinWindow(ms(before_ms), ms(after_ms), grace=ms(grace_ms)))
    with joined.driver:
        for number, event in enumerate(events):
            if event is None:
                joined.driver.restart()
                continue
            side, key, value, at_ms = event
            value = value and f"{value}{number}"
            assert joined.send(side, key, value, at_ms) == model.process(side, key, value, at_ms)


@settings(max_examples=25, deadline=None)
@given(kind=st.sampled_from(["inner", "left", "outer"]), events=events)
def test_when_it_commits_changes_nothing(kind: str, events: list[Event]) -> None:
    """A worker that commits seldom, and is killed in between, gives the same results.

    Times rise, so that what is read again comes in the order in which it was sent.
    """
    found: list[list[Any]] = []
    for interval_ms in (0, 1_000):
        joined = Joined(kind, sf.JoinWindow(ms(10)), commit_interval_ms=interval_ms)
        with joined.driver:
            now_ms = 0
            for event in events:
                if event is None:
                    joined.driver.restart()
                else:
                    side, key, value, later_ms = event
                    now_ms += later_ms % 1_000 % 12 + 1
                    joined.driver.send(joined.sides[side], value, key=key, timestamp_ms=now_ms)
            joined.driver.advance(timedelta(seconds=2))
            found.append(joined.read())
    assert found[0] == found[1]


def test_what_nobody_can_meet_is_deleted_a_piece_at_a_time() -> None:
    """A leap in time deletes at most a hundred entries a record, until all are gone."""
    joined = Joined("inner", sf.JoinWindow(ms(10)))
    with joined.driver:
        for number in range(150):
            joined.send("left", f"key{number % 50}", "x", number)
        before = joined.entries("left")
        assert before == 200  # records, and a mark for each key
        left = [before]
        for number in range(4):
            joined.send("left", "leap", "x", 1_000_000 + number)
            left.append(joined.entries("left"))
        assert [one - two for one, two in pairwise(left)] == [98, 99, -1, -1]


def test_a_hot_key_is_deleted_a_piece_at_a_time_through_restarts() -> None:
    """One key with many records in a segment is cleaned from where the last record stopped."""
    joined = Joined("left", sf.JoinWindow(ms(10)))
    with joined.driver:
        for number in range(250):
            joined.send("left", "hot", "x", number)
        for number in range(3):
            joined.driver.restart()
            joined.send("left", "leap", "x", 1_000_000 + number)
        assert joined.entries("left") == 3 + 1 + 3  # records, their mark, those that wait


def test_longer_windows_after_a_restart_are_cleaned_as_well() -> None:
    """What is stored, or waits, behind the place where the clean-up was is not forgotten by it."""
    node = Joined("left", sf.JoinWindow(ms(10))).app.topology().nodes["pairs"]
    assert isinstance(node, StreamJoin)
    serde = entry_serde(node.left)
    levels = Levels(
        "s", MemoryStore(["s"]), serde.encode, serde.decode, mutable=False, undo=[], exact=None
    )
    short = Side(Timed(levels, node.left), node, LEFT)
    longer = Side(
        Timed(levels, node.left), replace(node, before_ms=200_000, after_ms=200_000), LEFT
    )
    short.remember(b"a", "x", 1, waits=True)
    short.remember(b"a", "x", 500_000, waits=False)
    assert [value for _, (value, _) in short.take_waiting(499_000)] == ["x"]
    longer.remember(b"a", "y", 150_000, waits=True)
    assert [value for _, (value, _) in longer.take_waiting(200_000)] == ["y"]
    longer.remember(b"a", "z", 1_000_000, waits=False)
    assert [value for _, (value, _) in longer.near(b"a", 0, 2_000_000)] == ["z"]
    kept = [key for key, _ in levels.scan(b"\x01", None)]
    assert len(kept) == 2  # the last one and its mark


def test_a_result_that_fails_leaves_no_trace() -> None:
    """A record whose function raises is undone: it is not met by later ones."""
    app = sf.App("app", on_error="skip")
    left, right = (app.topic(name, key=int, value=str) for name in ("left", "right"))
    out = app.topic("out", key=int, value=str)

    def picky(left: str, right: str) -> str:
        if "bad" in left:
            message = "no bad ones"
            raise ValueError(message)
        return left + right

    app.stream(left).join(app.stream(right), picky, ms(10)).to(out)
    with TestDriver(app) as driver:
        driver.send(right, "r", key=-1, timestamp_ms=1)
        driver.send(left, "bad", key=-1, timestamp_ms=2)
        driver.send(right, "s", key=-1, timestamp_ms=3)
        driver.send(left, "good", key=-1, timestamp_ms=4)
        assert [(r.key, r.value) for r in driver.read(out)] == [(-1, "goodr"), (-1, "goods")]


class Basket(msgspec.Struct):
    """A value that can change in place."""

    things: list[str]


def test_a_function_may_change_what_it_is_given() -> None:
    """What is remembered is what came, whatever the function does to it."""
    app = sf.App("app")
    left, right = (app.topic(name, key=str, value=Basket) for name in ("left", "right"))
    out = app.topic("out", key=str, value=str)

    def emptied(key: str, left: Basket, right: Basket) -> str:
        text = f"{key}: {left.things} {right.things}"
        left.things.clear()
        right.things.clear()
        return text

    app.stream(left).join(app.stream(right), emptied, ms(10)).to(out)
    with TestDriver(app) as driver:
        driver.send(left, Basket(["a"]), key="k", timestamp_ms=1)
        driver.send(right, Basket(["b"]), key="k", timestamp_ms=2)
        driver.send(left, Basket(["c"]), key="k", timestamp_ms=3)
        assert [r.value for r in driver.read(out)] == ["k: ['a'] ['b']", "k: ['c'] ['b']"]


def test_a_stream_is_joined_with_itself() -> None:
    """A record comes as the left one and as the right one, and meets itself."""
    app = sf.App("app")
    source, out = (app.topic(name, key=str, value=str) for name in ("in", "out"))
    stream = app.stream(source)
    stream.join(stream, both, sf.JoinWindow(ms(5), ms(0)), value=str).to(out)
    with TestDriver(app) as driver:
        for value, at_ms in (("1", 10), ("2", 12), ("3", 20)):
            driver.send(source, value, key="a", timestamp_ms=at_ms)
        assert [r.value for r in driver.read(out)] == ["1+1", "2+1", "2+2", "3+3"]


@pytest.mark.parametrize("kind", ["inner", "left", "outer"])
def test_what_is_dropped_is_counted(kind: str) -> None:
    """Null values always, null keys where they make no result, and what is too old to be met."""
    joined = Joined(kind, sf.JoinWindow(ms(1)))
    with joined.driver:
        joined.send("right", "a", None, 1)
        joined.send("right", None, "x", 1)
        joined.send("right", "a", "x", 100)
        joined.send("right", "a", "x", 1)
        dropped = joined.driver._worker.metrics.dropped
    assert dropped["null value at pairs"] == 1
    assert dropped["null key at pairs"] == (kind != "outer")
    assert dropped["expired record at pairs"] == 1
