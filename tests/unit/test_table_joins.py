"""Joins of tables against plain models of Kafka Streams' rules."""

# mypy: disable-error-code="untyped-decorator"
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.one_task import OneTask
from tests.unit.tables_world import WAYS, Row, Sent, Tables, Way, rows

KINDS = ["inner", "left", "outer"]
few = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def joined(kind: str, left: Any, right: Any, **more: Any) -> Any:
    """A join of two tables of ints whose rows tell both values."""
    method = {"inner": "join", "left": "left_join", "outer": "outer_join"}[kind]
    return getattr(left, method)(right, told, value=str, **more)


def told(left: Any, right: Any) -> str:
    """Both values."""
    return f"{left}|{right}"


def pair(kind: str, left: Any, right: Any) -> str | None:
    """The joined row of two values; None: there is none."""
    missing = (left is None, right is None)
    if missing == (True, True) or (kind == "inner" and any(missing)):
        return None
    return None if kind == "left" and missing[0] else told(left, right)


class TwoSides:
    """Both tables' rows, and what is sent when one changes."""

    def __init__(self, kind: str, history_ms: int | None) -> None:
        self.kind, self.history_ms = kind, history_ms
        self.rows: dict[str, dict[str, tuple[Any, int]]] = {"left": {}, "right": {}}
        self.now = {"left": -1, "right": -1}

    def take(self, row: Row) -> list[Sent]:
        """Take a record; return what is sent."""
        side, key, value, time_ms = row
        mine = self.rows[side]
        if self.history_ms is not None:
            self.now[side] = max(self.now[side], time_ms)
            too_old = time_ms < self.now[side] - self.history_ms
            if too_old or (key in mine and time_ms < mine[key][1]):
                return []
        old = mine.get(key, (None, 0))[0]
        mine[key] = (value, time_ms)
        other = "right" if side == "left" else "left"
        theirs, at_ms = self.rows[other].get(key, (None, -1))
        if theirs is None:
            needed = {"inner": True, "left": side == "right", "outer": False}[self.kind]
            if needed or (value is None and old is None):
                return []
            at_ms = -1
        both = (value, theirs) if side == "left" else (theirs, value)
        return [(key, pair(self.kind, *both), max(time_ms, at_ms))]


@pytest.mark.parametrize("history_ms", [None, 15])
@pytest.mark.parametrize("kind", KINDS)
@few
@given(given=rows("left", "right", most=40), way=WAYS, kept=st.booleans())
def test_joins(kind: str, history_ms: int | None, given: list[Row], way: Way, kept: bool) -> None:
    """Inner, left and outer joins, stored or not, of versioned tables or others."""
    store = "kept" if kept else None
    made = Tables(
        lambda tables: joined(kind, tables["left"], tables["right"], store=store, name="both"),
        ["left", "right"], value=str, versioned_ms=history_ms,
    )  # fmt: skip
    if way.commit_interval_ms:  # records of several topics come again in the order of their times
        way = Way(way.commit_interval_ms, 0, way.generated)
    model = TwoSides(kind, history_ms)
    assert made.run(given, way) == [sent for row in given for sent in model.take(row)]


@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize("first", KINDS)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(given=rows("a", "b", "c", most=30), kept=st.booleans(), restart_each=st.sampled_from([0, 5]))
def test_joins_of_joins(
    first: str, second: str, given: list[Row], kept: bool, restart_each: int
) -> None:
    """Steps and joins without a store are worked out anew: the last rows are right."""

    def make(tables: dict[str, Any]) -> Any:
        lower = tables["a"].map_values(lambda value: value + 1, value=int)
        higher = tables["b"].filter(lambda value: value > 0)
        both = joined(first, lower, higher, store="both-kept" if kept else None, name="both")
        return joined(second, both, tables["c"], store="all-kept", name="all")

    last: dict[str, dict[str, int]] = {"a": {}, "b": {}, "c": {}}
    for topic, key, value, _ in given:
        last[topic].pop(key, None)
        if value is not None:
            last[topic][key] = value
    wanted: dict[str, str] = {}
    for key in {*last["a"], *last["b"], *last["c"]}:
        lower = last["a"][key] + 1 if key in last["a"] else None
        higher = last["b"].get(key)
        both = pair(first, lower, higher if higher is not None and higher > 0 else None)
        row = pair(second, both, last["c"].get(key))
        if row is not None:
            wanted[key] = row
    made = Tables(make, ["a", "b", "c"], value=str)
    sent, (state,) = made.run_with_state(given, ["all-kept"], Way(restart_each=restart_each))
    assert state == wanted
    shown = {key: value for key, value, _ in sent}
    assert {key: value for key, value in shown.items() if value is not None} == wanted


@few
@given(given=rows("left", "right", most=40), kind=st.sampled_from(KINDS), kept=st.booleans())
def test_groups_of_a_join(given: list[Row], kind: str, kept: bool) -> None:
    """Old values are those that were joined before: counts of groups come out right."""

    def make(tables: dict[str, Any]) -> Any:
        both = joined(kind, tables["left"], tables["right"], store="kept" if kept else None)
        return both.group_by(lambda value: value, key=str, name="groups").count(name="counts")

    rows_of: dict[str, dict[str, int | None]] = {"left": {}, "right": {}}
    for side, key, value, _ in given:
        rows_of[side][key] = value
    keys = {*rows_of["left"], *rows_of["right"]}
    values = [pair(kind, rows_of["left"].get(k), rows_of["right"].get(k)) for k in keys]
    made = Tables(make, ["left", "right"])
    last = {key: count for key, count, _ in made.run(given)}
    assert {key: count for key, count in last.items() if count} == {
        value: values.count(value) for value in values if value is not None
    }


def test_a_table_joined_with_itself() -> None:
    """It meets itself from either side, the left one first."""
    made = Tables(
        lambda tables: joined("inner", tables["t"], tables["t"], name="own"), ["t"], value=str
    )
    assert made.run([("t", "a", 1, 5), ("t", "a", 2, 4), ("t", "a", None, 6)]) == [
        ("a", "1|1", 5),
        ("a", "1|1", 5),
        ("a", "2|2", 4),
        ("a", "2|2", 4),
    ]


def test_a_table_joined_with_what_is_made_of_it() -> None:
    """Both sides change at once: the last row is right."""

    def make(tables: dict[str, Any]) -> Any:
        tenfold = tables["t"].map_values(lambda value: value * 10, value=int)
        return joined("outer", tables["t"], tenfold, store="kept", name="own")

    made = Tables(make, ["t"], value=str)
    sent, (state,) = made.run_with_state([("t", "a", 1, 5), ("t", "a", 2, 4)], ["kept"])
    assert (sent[-1], state) == (("a", "2|20", 4), {"a": "2|20"})


@pytest.mark.parametrize("has", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_row_of_a_join_that_keeps_nothing(kind: str, has: tuple[bool, bool]) -> None:
    """It is worked out from both sides, and its time is the greater one of theirs."""

    def make(tables: dict[str, Any]) -> Any:
        both = joined(kind, tables["a"], tables["b"].filter(lambda value: value > 0), name="both")
        return joined("left", tables["c"], both, name="all")

    values = [5 if has[0] else None, 7 if has[1] else -7]
    given: list[Row] = [("a", "k", values[0], 8), ("b", "k", values[1], 9), ("c", "k", 1, 3)]
    row = pair(kind, values[0], values[1] if has[1] else None)
    sent = Tables(make, ["a", "b", "c"], value=str).run(given)
    at_ms = max([3, *(8 + side for side in (0, 1) if row is not None and has[side])])
    assert sent == [("k", f"1|{row}", at_ms)]


def test_a_function_may_ask_for_the_key() -> None:
    """The key comes first, then left and right, whichever side changed."""

    def make(tables: dict[str, Any]) -> Any:
        return tables["left"].outer_join(
            tables["right"], lambda key, left, right: f"{key} {left} {right}", value=str
        )

    made = Tables(make, ["left", "right"], value=str)
    sent = made.run([("left", "a", 1, 0), ("right", "a", 2, 0), ("left", "a", 3, 0)])
    assert [value for _, value, _ in sent] == ["a 1 None", "a 1 2", "a 3 2"]


def test_out_of_order_changes_are_counted() -> None:
    """A versioned table's change out of order joins with nothing, and is not dropped unseen."""

    def make(tables: dict[str, Any]) -> Any:
        same = tables["left"].map_values(lambda value: value, value=int)
        return joined("outer", same, tables["right"], name="both")

    made = Tables(
        make,
        ["left", "right"], value=str, versioned_ms=10,
    )  # fmt: skip
    task = OneTask(made.app)
    task.send("left", [("a", 1, 50), ("a", 2, 45), ("a", 3, 5), (None, 4, 51)])
    assert task.values("out") == ["1|None"]
    assert task.metrics.dropped == {
        "late record at both": 1, "expired record at left-table": 1, "null key at left-table": 1,
    }  # fmt: skip
