"""Tables, their steps and their groups against plain models of Kafka Streams' rules."""

# mypy: disable-error-code="untyped-decorator"
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
    source, kept, sent = Source(), {}, []
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


AGGREGATES: dict[str, tuple[Any, Any, Any]] = {
    "sum": (lambda: 0, lambda total, value: total + value, lambda total, value: total - value),
    "text": (lambda: "", lambda text, value: f"{text}+{value}", lambda text, value: f"{text}-{value}"),
    "gone": (
        lambda: 1,
        lambda total, value: total + value,
        lambda total, value: None if value == 2 else total - value,
    ),
    "list": (
        list,
        lambda items, value: (items.append(value), items)[1],
        lambda items, value: (items.remove(value), items)[1],
    ),
}  # fmt: skip
TYPES: dict[str, Any] = {"sum": int, "text": str, "gone": int, "list": list[int], "reduce": int}


def group(key: str, value: int) -> str | None:
    """Some values are in no group; a group's rows have several keys."""
    return None if value < 0 else "odd" if value % 2 else f"even {key}"


def grouped(table: Any, how: str) -> Any:
    """A table's groups, aggregated."""
    groups = table.group_by(group, key=str, name="groups")
    if how == "count":
        return groups.count(name="counts")
    if how == "reduce":
        return groups.reduce(lambda a, b: a + b, lambda a, b: None if a == b else a - b, name="sums")
    return groups.aggregate(*AGGREGATES[how], value=TYPES[how], name="aggregates")


def groups_by_hand(given: list[Row], how: str) -> list[Sent]:
    """What the aggregate of groups writes."""
    initial, add, subtract = AGGREGATES.get(how, (None, None, None))
    if how == "count":
        initial, add, subtract = lambda: 0, lambda n, _: n + 1, lambda n, _: n - 1
    if how == "reduce":
        add, subtract = lambda a, b: a + b, lambda a, b: None if a == b else a - b
    source, totals, sent = Source(), {}, []
    for _, key, value, time_ms in given:
        new, old = source.change(key, value)
        into = None if new is None else group(key, new)
        out_of = None if old is None else group(key, old)
        changes = [(out_of, None, old), (into, new, None)]
        for name, plus, minus in [(into, new, old)] if into == out_of else changes:
            if name is None:
                continue
            at_ms, total = time_ms, None
            if name in totals:
                total, last_ms = totals[name]
                at_ms = max(time_ms, last_ms)
                total = list(total) if isinstance(total, list) else total
                total = subtract(total, minus) if minus is not None else total
            if plus is not None:
                started = plus if initial is None else None
                if total is None and initial is None:
                    total = started
                else:
                    total = add(initial() if total is None else total, plus)
            totals.pop(name, None)
            if total is not None:
                totals[name] = (total, at_ms)
            sent.append((name, list(total) if isinstance(total, list) else total, at_ms))
    return sent


@pytest.mark.parametrize("how", ["count", "reduce", *AGGREGATES])
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(given=rows("t"), restart_each=st.sampled_from([0, 1, 4]))
def test_groups(how: str, given: list[Row], restart_each: int) -> None:
    """Groups of a table are subtracted from and added to as the model does it."""
    value = TYPES.get(how, int)
    made = Tables(lambda tables: grouped(tables["t"], how), ["t"], value=value)
    wanted = groups_by_hand(given, how)
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
    now, wanted = -1, []
    for _, key, value, time_ms in given:
        now = max(now, time_ms)
        if time_ms >= now - 20:
            passed = value if value is not None and value % 2 == 0 else None
            wanted.append((key, passed, time_ms))
    assert made.run(given, way) == wanted
