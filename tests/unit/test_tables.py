"""Tables, their steps and their groups against plain models of Kafka Streams' rules."""

# mypy: disable-error-code="untyped-decorator"
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import streamfn as sf
from streamfn.testing import TestDriver
from tests.unit.tables_world import WAYS, Row, Sent, Tables, Way, rows

few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

STEPS: dict[str, tuple[str, Any]] = {
    "even": ("filter", lambda value: value % 2 == 0),
    "high": ("filter_not", lambda key, value: value < 3 and key != "b"),
    "tenfold": ("map_values", lambda value: value * 10),
    "none": ("map_values", lambda value: None if value == 4 else value),
    "missing": ("transform_values", lambda value: -1 if value is None else value + 1),
}
CHAINS = st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.booleans()), max_size=3)


def stepped(table: Any, chain: list[tuple[str, bool]]) -> Any:
    """A table with steps behind it; some of them have a store."""
    for place, (step, kept) in enumerate(chain):
        kind, fn = STEPS[step]
        more = {"value": int} if kind.endswith("values") else {}
        store = f"{step}-{place}-kept" if kept else None
        table = getattr(table, kind)(fn, store=store, name=f"{step}-{place}", **more)
    return table


def applied(step: str, key: str, value: int | None) -> int | None:
    """What a step makes of a value."""
    kind, fn = STEPS[step]
    if kind == "transform_values":
        return fn(value)  # type: ignore[no-any-return]  # the steps are of ints
    if value is None:
        return None
    answer = fn(key, value) if step == "high" else fn(value)
    if kind == "map_values":
        return answer  # type: ignore[no-any-return]  # the steps are of ints
    return value if bool(answer) is (kind == "filter") else None


class Source:
    """The last value of each key."""

    def __init__(self) -> None:
        self.values: dict[str, int | None] = {}

    def change(self, key: str, value: int | None) -> tuple[int | None, int | None]:
        """Set a value; return the new one and the old one."""
        old, self.values[key] = self.values.get(key), value
        return value, old


def steps_by_hand(given: list[Row], chain: list[tuple[str, bool]]) -> list[Sent]:
    """What a chain of steps writes."""
    source = Source()
    kept: dict[tuple[int, str], int | None] = {}
    sent: list[Sent] = []
    for _, key, value, time_ms in given:
        new, old = source.change(key, value)
        for place, (step, has_store) in enumerate(chain):
            old = kept.get((place, key)) if has_store else applied(step, key, old)
            new = applied(step, key, new)
            if has_store:
                kept[place, key] = new
            if new is None and old is None and STEPS[step][0].startswith("filter"):
                break
        else:
            sent.append((key, new, time_ms))
    return sent


@few
@given(given=rows("t"), chain=CHAINS, way=WAYS)
def test_steps(given: list[Row], chain: list[tuple[str, bool]], way: Way) -> None:
    """Steps with and without stores write what the model writes."""
    made = Tables(lambda tables: stepped(tables["t"], chain), ["t"])
    assert made.run(given, way) == steps_by_hand(given, chain)


def test_a_function_is_not_called_for_old_values_that_nobody_wants() -> None:
    """Behind to_stream and stores of their own, only new values count."""
    seen: list[int] = []

    def noted(value: int) -> int:
        seen.append(value)
        return value

    made = Tables(
        lambda tables: tables["t"].map_values(noted, value=int).map_values(
            lambda value: value, value=int, store="kept"
        ),
        ["t"],
    )  # fmt: skip
    made.run([("t", "a", 1, 0), ("t", "a", 2, 1), ("t", "a", None, 2)])
    assert seen == [1, 2]


def text_add(text: str, value: int) -> str:
    """What was added and taken out, in order."""
    return f"{text}+{value}"


def text_subtract(text: str, value: int) -> str:
    """What was added and taken out, in order."""
    return f"{text}-{value}"


def list_add(items: list[int], value: int) -> list[int]:
    """The aggregate is changed in place."""
    items.append(value)
    return items


def list_subtract(items: list[int], value: int) -> list[int]:
    """The aggregate is changed in place."""
    items.remove(value)
    return items


@dataclass(frozen=True)
class How:
    """How groups are aggregated; ``initial`` None: from the first value on."""

    initial: Callable[[], Any] | None
    add: Callable[[Any, Any], Any]
    subtract: Callable[[Any, Any], Any]
    value: Any = int


HOW = {
    "count": How(lambda: 0, lambda n, value: n + 1, lambda n, value: n - 1),
    "reduce": How(None, lambda a, b: a + b, lambda a, b: None if a == b else a - b),
    "sum": How(lambda: 0, lambda a, b: a + b, lambda a, b: a - b),
    "gone": How(lambda: 1, lambda a, b: a + b, lambda a, b: None if b == 2 else a - b),
    "text": How(str, text_add, text_subtract, str),
    "list": How(list, list_add, list_subtract, list[int]),
}


def group(key: str, value: int) -> str | None:
    """Some values are in no group; a group's rows have several keys."""
    return None if value < 0 else "odd" if value % 2 else f"even {key}"


def grouped(table: Any, name: str) -> Any:
    """A table's groups, aggregated."""
    groups, how = table.group_by(group, key=str, name="groups"), HOW[name]
    if name == "count":
        return groups.count(name="counts")
    if how.initial is None:
        return groups.reduce(how.add, how.subtract, name="sums")
    return groups.aggregate(how.initial, how.add, how.subtract, value=how.value, name="aggregates")


class Groups:
    """The aggregates of groups, and what is sent when a row changes."""

    def __init__(self, how: How) -> None:
        self.how, self.source = how, Source()
        self.totals: dict[str, tuple[Any, int]] = {}

    def take(self, row: Row) -> list[Sent]:
        """Take a record; return what is sent."""
        _, key, value, time_ms = row
        new, old = self.source.change(key, value)
        into = None if new is None else group(key, new)
        out_of = None if old is None else group(key, old)
        if into == out_of:
            return [] if into is None else [self.change(into, new, old, time_ms)]
        sent: list[Sent] = []
        if out_of is not None:
            sent.append(self.change(out_of, None, old, time_ms))
        if into is not None:
            sent.append(self.change(into, new, None, time_ms))
        return sent

    def change(self, name: str, new: Any, old: Any, time_ms: int) -> Sent:
        """Subtract and add."""
        how, (total, at_ms) = self.how, self.totals.pop(name, (None, 0))
        if total is not None and old is not None:
            total = how.subtract(deepcopy(total), old)
        if new is not None and total is None and how.initial is None:
            total = new
        elif new is not None:
            total = how.add(how.initial() if total is None and how.initial else total, new)
        at_ms = max(at_ms, time_ms)
        if total is not None:
            self.totals[name] = (total, at_ms)
        return name, deepcopy(total), at_ms


@pytest.mark.parametrize("how", HOW)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(given=rows("t"), restart_each=st.sampled_from([0, 1, 4]))
def test_groups(how: str, given: list[Row], restart_each: int) -> None:
    """Groups of a table are subtracted from and added to as the model does it."""
    made = Tables(lambda tables: grouped(tables["t"], how), ["t"], value=HOW[how].value)
    model = Groups(HOW[how])
    wanted = [sent for row in given for sent in model.take(row)]
    assert made.run(given, Way(restart_each=restart_each)) == wanted


@few
@given(given=rows("t"), way=WAYS)
def test_groups_however_committed(given: list[Row], way: Way) -> None:
    """The last counts are those of the last values."""
    made = Tables(lambda tables: grouped(tables["t"], "count"), ["t"])
    last: dict[str, int] = {}
    for key, count, _ in made.run(given, way):
        last[key] = count
    source = Source()
    for _, key, value, _ in given:
        source.change(key, value)
    names = [group(k, v) for k, v in source.values.items() if v is not None]
    assert {name: count for name, count in last.items() if count} == {
        name: names.count(name) for name in names if name is not None
    }


def test_a_change_within_a_group_is_one_change() -> None:
    """A row that stays in its group is subtracted and added at once (KIP-904)."""
    made = Tables(lambda tables: grouped(tables["t"], "text"), ["t"], value=str)
    sent = made.run([("t", "a", 1, 5), ("t", "a", 3, 4), ("t", "a", 2, 6)])
    assert sent == [
        ("odd", "+1", 5),
        ("odd", "+1-1+3", 5),
        ("odd", "+1-1+3-3", 6),
        ("even a", "+2", 6),
    ]


def test_an_aggregate_that_changes_in_place_has_an_old_value() -> None:
    """What is behind subtracts what was there before, not what it has become."""

    def make(tables: dict[str, Any]) -> Any:
        lists = grouped(tables["t"], "list")
        return lists.group_by(lambda items: str(len(items)), key=str, name="by").count(name="sizes")

    made = Tables(make, ["t"])
    sent = made.run([("t", "a", 1, 0), ("t", "b", 3, 0)])
    assert [row[:2] for row in sent] == [("1", 1), ("1", 0), ("2", 1)]


def test_a_group_without_a_type_is_a_text() -> None:
    """Another answer is a failing record that says what to do."""
    app = sf.App("groups")
    topic = app.topic("t", key=str, value=int)

    def unsaid(value: Any) -> Any:
        return value

    app.table(topic).group_by(unsaid).count(name="counts")
    with pytest.raises(sf.StageError, match="say its type: key=int"), TestDriver(app) as driver:
        driver.send(topic, 1, key="a")


def test_versioned_rows_out_of_order_are_in_no_group() -> None:
    """A versioned table's groups hold what its rows are now; its changes tell all."""
    made = Tables(lambda tables: tables["t"], ["t"], versioned_ms=10)
    given: list[Row] = [("t", "a", 1, 5), ("t", "a", 3, 4), ("t", "b", 5, 20), ("t", "a", 7, 9)]
    assert made.run(given) == [("a", 1, 5), ("a", 3, 4), ("b", 5, 20)]
    counted = Tables(lambda tables: grouped(tables["t"], "sum"), ["t"], versioned_ms=10)
    assert counted.run(given) == [("odd", 1, 5), ("odd", 6, 20)]


@few
@given(given=rows("t"), way=WAYS)
def test_a_filter_behind_a_versioned_table_tells_all(given: list[Row], way: Way) -> None:
    """Each record that is not too old is sent, deleted if it does not pass."""
    made = Tables(
        lambda tables: tables["t"].filter(lambda value: value % 2 == 0), ["t"], versioned_ms=20
    )
    now = -1
    wanted: list[Sent] = []
    for _, key, value, time_ms in given:
        now = max(now, time_ms)
        if time_ms >= now - 20:
            passed = value if value is not None and value % 2 == 0 else None
            wanted.append((key, passed, time_ms))
    assert made.run(given, way) == wanted


Before: TypeAlias = "Callable[[Any, Any], Any]"
"""Given a table of a stream and another table, the table that is filtered."""


def looked_up(table: Any, other: Any) -> Any:
    """A stream has looked up what is made of the table."""
    plus = table.map_values(lambda value: value + 1, value=int)
    other.to_stream().join(plus, lambda left, right: left, value=int)
    return table


FILTERS: dict[str, tuple[dict[str, Any], Before]] = {
    "as it is": ({}, lambda table, other: table),
    "of steps": ({}, lambda table, other: table.map_values(lambda value: value, value=int)),
    "kept by name": ({"store": "rows"}, lambda table, other: table),
    "rows with a store": ({}, lambda table, other: table.filter(bool, store="passed")),
    "looked up": ({}, looked_up),
    "joined": ({}, lambda table, other: table.left_join(other, lambda left, _: left, value=int)),
}
"""Ways to a table of a stream: what to_table gets, and what comes before the filter."""

BEHIND: dict[str, Callable[[Any, Any], Any]] = {
    "nothing": lambda even, other: None,
    "groups": lambda even, other: even.group_by(str, key=str).count(),
    "outer join": lambda even, other: other.outer_join(even, lambda _, right: right, value=int),
    "left join": lambda even, other: other.left_join(even, lambda left, _: left, value=int),
}
"""What comes behind the filter."""

VALUES = [1, 3, 2, 1]


def filtered(way: str, behind: str) -> list[int | None]:
    """What is said of the even rows of a stream's table."""
    app = sf.App("filters")
    topic, out = app.topic("t", key=str, value=int), app.topic("out", key=str, value=int)
    other = app.table(app.topic("other", key=str, value=int))
    more, before = FILTERS[way]
    table = before(app.stream(topic).to_table(**more), other)
    even = table.filter(lambda value: value % 2 == 0, name="even")
    BEHIND[behind](even, other)
    even.to_stream().to(out)
    with TestDriver(app) as driver:
        for value in VALUES:
            driver.send(topic, value, key="a")
        return [each.value for each in driver.read(out)]


@pytest.mark.parametrize(
    ("way", "behind"), [("as it is", "nothing"), ("of steps", "nothing"), ("as it is", "left join")]
)
def test_a_filter_that_does_not_know_what_was_there_tells_all(way: str, behind: str) -> None:
    """Of a stream's table that nobody asks for what was there before, as Kafka Streams."""
    assert filtered(way, behind) == [None, None, 2, None]


@pytest.mark.parametrize(
    ("way", "behind"),
    [
        *((way, "nothing") for way in ("kept by name", "rows with a store", "looked up", "joined")),
        *(("of steps", behind) for behind in ("groups", "outer join")),
    ],
)
def test_a_filter_that_knows_what_was_there_tells_changes_only(way: str, behind: str) -> None:
    """A row that passes neither before nor after is not worth a word."""
    assert filtered(way, behind) == [2, None]
