"""Joins of a stream with a table, now and as it was, against a plain model."""

# pyright: reportPrivateUsage=false

from datetime import timedelta
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamfn as sf
from streamfn.testing import TestDriver

Event: TypeAlias = "tuple[str, str | None, str | None, int] | None"
Result: TypeAlias = "tuple[str | None, str | None, int]"


def both(left: str, right: str | None) -> str:
    """Show who was met."""
    return f"{left}+{right}"


class Joined:
    """An app that joins records with a table, and its driver."""

    def __init__(
        self, kind: str, *, grace_ms: int | None = None, history_ms: int | None = None
    ) -> None:
        app = sf.App("app")
        self.topics = {name: app.topic(name, key=str, value=str) for name in ("records", "rows")}
        self.out = app.topic("out", key=str, value=str)
        history = None if history_ms is None else timedelta(milliseconds=history_ms)
        grace = None if grace_ms is None else timedelta(milliseconds=grace_ms)
        table = app.table(self.topics["rows"], versioned=history)
        stream = app.stream(self.topics["records"])
        join: Any = {"inner": stream.join, "left": stream.left_join}[kind]
        join(table, both, grace=grace, value=str, name="rows-met").to(self.out)
        self.driver = TestDriver(app)

    def send(self, topic: str, key: str | None, value: str | None, at_ms: int) -> list[Result]:
        """Process a record; return what it made."""
        self.driver.send(self.topics[topic], value, key=key, timestamp_ms=at_ms)
        return [(r.key, r.value, r.timestamp_ms) for r in self.driver.read(self.out)]


def joined_with(
    kind: str, key: str | None, value: str, row: str | None, at_ms: int
) -> list[Result]:
    """What a record makes of a row."""
    return [] if row is None and kind == "inner" else [(key, both(value, row), at_ms)]


keys = st.sampled_from(["a", "b", None])
records = st.tuples(
    st.sampled_from(["records", "rows"]), keys, st.sampled_from(["x", None]), st.integers(0, 60)
)
events: st.SearchStrategy[list[Event]] = st.lists(
    st.one_of(records, records, records, st.none()), max_size=25
)


@settings(max_examples=30, deadline=None)
@given(kind=st.sampled_from(["inner", "left"]), events=events)
def test_a_record_meets_the_row_that_is_there(kind: str, events: list[Event]) -> None:
    """The time of the row says nothing, and a change of it makes no result."""
    rows: dict[str, str] = {}
    joined = Joined(kind)
    with joined.driver:
        for number, event in enumerate(events):
            if event is None:
                joined.driver.restart()
                continue
            topic, key, value, at_ms = event
            value = value and f"{value}{number}"
            wanted: list[Result] = []
            if topic == "rows" and key is not None and value is None:
                rows.pop(key, None)
            elif topic == "rows" and key is not None and value is not None:
                rows[key] = value
            elif topic == "records" and value is not None and (key or kind == "left"):
                wanted = joined_with(kind, key, value, rows.get(key or ""), at_ms)
            assert joined.send(topic, key, value, at_ms) == wanted


class Waiting:
    """A plain model of a join with grace: rows with all their versions, records that wait."""

    def __init__(self, kind: str, grace_ms: int) -> None:
        self.kind, self.grace_ms = kind, grace_ms
        self.versions: dict[str, dict[int, str | None]] = {}
        self.records: list[tuple[int, int, str, str]] = []
        self.stream_time_ms = -1

    def row(self, key: str, value: str | None, at_ms: int) -> None:
        """Remember a version."""
        self.versions.setdefault(key, {})[at_ms] = value

    def record(self, key: str | None, value: str, at_ms: int, number: int) -> list[Result]:
        """Join what is due."""
        if key is None:
            return joined_with(self.kind, None, value, None, at_ms) if self.kind == "left" else []
        if at_ms < self.stream_time_ms - self.grace_ms:
            return self._joined(key, value, at_ms)
        self.stream_time_ms = max(self.stream_time_ms, at_ms)
        self.records.append((at_ms, number, key, value))
        limit_ms = self.stream_time_ms - self.grace_ms
        due = sorted(each for each in self.records if each[0] <= limit_ms)
        self.records = [each for each in self.records if each[0] > limit_ms]
        return [each for then_ms, _, k, v in due for each in self._joined(k, v, then_ms)]

    def _joined(self, key: str, value: str, at_ms: int) -> list[Result]:
        versions = self.versions.get(key, {})
        row = next((versions[at] for at in sorted(versions, reverse=True) if at <= at_ms), None)
        return joined_with(self.kind, key, value, row, at_ms)


@settings(max_examples=40, deadline=None)
@given(kind=st.sampled_from(["inner", "left"]), grace_ms=st.integers(0, 20), events=events)
def test_a_record_waits_and_meets_the_row_of_its_time(
    kind: str, grace_ms: int, events: list[Event]
) -> None:
    """With grace a record meets what was there then, also what came later, through restarts."""
    model, joined = Waiting(kind, grace_ms), Joined(kind, grace_ms=grace_ms, history_ms=1_000)
    with joined.driver:
        for number, event in enumerate(events):
            if event is None:
                joined.driver.restart()
                continue
            topic, key, value, at_ms = event
            value = value and f"{value}{number}"
            wanted: list[Result] = []
            if topic == "rows" and key is not None:
                model.row(key, value, at_ms)
            elif topic == "records" and value is not None:
                wanted = model.record(key, value, at_ms, number)
            assert joined.send(topic, key, value, at_ms) == wanted


def test_a_versioned_table_is_asked_as_of_the_record() -> None:
    """Without grace too: a row from later is not met."""
    joined = Joined("left", history_ms=100)
    with joined.driver:
        joined.send("rows", "a", "old", 10)
        joined.send("rows", "a", "new", 20)
        assert joined.send("records", "a", "x", 15) == [("a", "x+old", 15)]
        assert joined.send("records", "a", "y", 20) == [("a", "y+new", 20)]
        assert joined.send("records", "a", "z", 5) == [("a", "z+None", 5)]


@pytest.mark.parametrize("grace_ms", [None, 5])
def test_what_is_dropped_is_counted(grace_ms: int | None) -> None:
    """A record without a value meets nothing; one without a key only in a left join."""
    joined = Joined("inner", grace_ms=grace_ms, history_ms=10)
    with joined.driver:
        joined.send("records", "a", None, 1)
        joined.send("records", None, "x", 1)
        dropped = joined.driver._worker.metrics.dropped
    assert dropped == {"null value at rows-met": 1, "null key at rows-met": 1}


def test_many_that_wait_are_taken_in_turn() -> None:
    """The buffer is emptied to the last one, whatever was committed in between."""
    joined = Joined("left", grace_ms=10, history_ms=10_000)
    made: list[Result] = []
    with joined.driver:
        for at_ms in range(100):
            made += joined.send("records", "a", f"{at_ms}", at_ms)
        made += joined.send("records", "a", "end", 10_000)
        levels = joined.driver._worker.tasks["records_0"].scope.levels["rows-met-buffer"]
        assert len([key for key, _ in levels.scan(b"\x01", None)]) == 1
    assert made == [("a", f"{at_ms}+None", at_ms) for at_ms in range(100)]
