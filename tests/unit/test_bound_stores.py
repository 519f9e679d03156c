"""Maps and stores as a function and its timers get them, against stand-alone ones."""

# mypy: disable-error-code="untyped-decorator"
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamfn as sf
from streamfn.testing import TestDriver
from tests.unit.one_task import OneTask

both = pytest.mark.parametrize("generated", [True, False])

RANGES = st.none() | st.integers(-3, 3)
Step = tuple[str, int, int | None, bool, str]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "delete", "scan", "commit", "sweep", "fail"]),
        st.integers(-3, 3), RANGES, st.booleans(), st.sampled_from(["a", "a\x00", "b"]),
    ),
    max_size=20,
)  # fmt: skip


class Maps(msgspec.Struct):
    """A step to do: a command to the function."""

    do: str
    at: int
    end: int | None
    reverse: bool


def work(step: Maps, entries: Any) -> list[tuple[int, int]]:
    """Do one step on anything like a map."""
    match step.do:
        case "put":
            entries[step.at] = len(entries)
        case "delete":
            entries.pop(step.at, None)
        case "sweep":
            for key in entries.keys(start=step.at, end=step.end, reverse=step.reverse):
                del entries[key]
        case "fail":
            entries.update({1: 1, 2: 2})
            entries.pop(3)
        case _:
            pass
    return list(entries.items(start=step.at, end=step.end, reverse=step.reverse))


@settings(max_examples=60)
@given(steps=STEPS, generated=st.booleans())
def test_maps_are_like_maps(steps: list[Step], generated: bool) -> None:
    """The map under the key, and the whole store, do what stand-alone ones do."""
    app: Any = sf.App("maps", on_error="skip")
    source = app.topic("steps", key=str, value=Maps)
    out = app.topic("out", key=str, value=list[list[tuple[int, int]]])

    @app.function(source, to=out)
    def fn(
        step: Maps, each: sf.Map[int, int], every: sf.Store[int, int]
    ) -> list[list[tuple[int, int]]]:
        return [work(step, each), work(step, every)]

    models: dict[str, dict[int, int]] = {"a": {}, "a\x00": {}, "b": {}}
    whole: dict[int, int] = {}
    task = OneTask(app, generated=generated)
    expected: list[Any] = []
    for do, at, end, reverse, key in steps:
        step = Maps(do, at, end, reverse)
        if do == "commit":
            task.commit(written=reverse, forgotten=at > 0)
        one, two = sf.Map(models[key]), sf.Store(whole)
        task.send("steps", [(key, step, 0)])
        try:
            expected.append([work(step, one), work(step, two)])
        except KeyError:
            continue
        models[key], whole = dict(one.items()), dict(two.items())
    assert task.values("out") == expected
    assert task.state("fn-every") == whole
    flat = {(key, at): n for key, model in models.items() for at, n in model.items()}
    assert task.state("fn-each") == flat
    assert list(task.state("fn-each")) == sorted(flat)


@both
def test_a_failure_undoes_its_own_record_only(generated: bool) -> None:
    """What a record without an answer has written stays, though the next one fails."""
    app: Any = sf.App("maps", on_error="skip")
    numbers = app.topic("numbers", key=str, value=int)

    @app.function(numbers, to=app.topic("out", key=str, value=int))
    def fn(number: int, each: sf.Map[int, int]) -> int | None:
        each[number] = number
        return None if number == 1 else 1 // (number - 2)

    task = OneTask(app, generated=generated)
    task.send("numbers", [("k", number, 0) for number in (1, 2, 3, 2)])
    assert task.state("fn-each") == {("k", 1): 1, ("k", 3): 3}


@both
def test_a_store_shared_with_a_table(generated: bool) -> None:
    """The table's topic and the function write to the same store, in the order of the records."""
    app: Any = sf.App("shared")
    numbers = app.topic("numbers", key=str, value=int)
    rows = app.topic("rows", key=str, value=int)
    out = app.topic("out", key=str, value=int)
    table = app.table(rows)

    @app.function(numbers, to=out)
    def fn(number: int, held: sf.Store[str, int] = table) -> int:
        held["n"] = held.get("n", 0) + number
        return sum(held.values())

    with TestDriver(app, generated=generated) as driver:
        driver.send(rows, 5, key="n")
        driver.send(numbers, 1, key="k")
        driver.send(rows, 2, key="m")
        driver.send(numbers, 1, key="k")
        driver.send(rows, None, key="n")
        driver.send(rows, 1, key=None)
        driver.restart()
        driver.send(numbers, 1, key="k")
        assert [record.value for record in driver.read(out)] == [6, 9, 3]
        assert driver.state(table) == {"m": 2, "n": 1}


@both
def test_a_timer_sees_values_and_maps_as_stores(generated: bool) -> None:
    """Uncommitted changes too; what it changes is seen by the next record."""
    app: Any = sf.App("timers")
    numbers = app.topic("numbers", key=str, value=int)
    out = app.topic("out", key=str, value=list[Any])

    @app.function(numbers, to=(out,))
    def fn(
        number: int, total: sf.Value[int], last: sf.Value[list[int]], each: sf.Map[int, int]
    ) -> None:
        total.value += number
        last.value = [*last.value, number]
        each[number] = number

    @fn.every(timedelta(milliseconds=10))
    def sweep(
        total: sf.Store[str, int],
        last: sf.Store[str, list[int]],
        each: sf.Store[tuple[str, int], int],
        here: sf.Context[str],
    ) -> Iterator[Any]:
        held = [dict(total.items()), dict(last.items()), list(each.items())]
        yield out.record(key=here.topic, value=[here.timestamp_ms, here.offset, *held])
        for key in total.keys():  # noqa: SIM118  # no dict
            del total[key]
        for key, listed in last.items():
            listed.append(-1)
            last[key] = listed
        each.clear()

    task = OneTask(app, generated=generated)
    task.send("numbers", [("a", 1, 3), ("b", 2, 4), ("a", 3, 9), ("a", 4, 35), ("b", 5, 36)])
    assert [(key, at) for key, _, at, _ in task.output("out")] == [("", 3), ("", 35)]
    first, second = task.values("out")
    assert first == [3, -1, {"a": 1}, {"a": [1]}, [[["a", 1], 1]]]
    held = [[["a", 3], 3], [["a", 4], 4], [["b", 2], 2]]
    assert second == [35, -1, {"a": 7, "b": 2}, {"a": [1, -1, 3, 4], "b": [2]}, held]
    assert task.state("fn-total") == {"b": 5}
    assert task.state("fn-last") == {"a": [1, -1, 3, 4, -1], "b": [2, -1, 5]}


@both
def test_a_failing_timer_changes_nothing(generated: bool) -> None:
    """Its changes and answers are undone, and it is counted."""
    app: Any = sf.App("timers", on_error="skip")
    numbers = app.topic("numbers", key=str, value=int)
    out = app.topic("out", key=str, value=int)

    @app.function(numbers, to=(out,))
    def fn(number: int, total: sf.Value[int], here: sf.Context[str]) -> None:
        total.value += number

    @fn.every(timedelta(milliseconds=10))
    def sweep(total: sf.Store[str, int], here: sf.Context[str]) -> None:
        here.emit(out.record(key="n", value=1))
        total.clear()
        if here.timestamp_ms < 20:
            raise ValueError

    task = OneTask(app, generated=generated)
    task.send("numbers", [("a", 1, 3), ("a", 1, 12), ("a", 1, 25), ("a", 5, 26)])
    assert task.values("out") == [1]
    assert task.state("fn-total") == {"a": 5}
    assert task.metrics.dropped == {"failed timer at fn": 2}
