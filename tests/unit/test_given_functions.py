"""Functions that are not called by position alone: partial ones, and keyword-only parameters."""

# mypy: disable-error-code="untyped-decorator"
# Wrong programs are written against Any: else the type checkers would refuse them first.

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

import streamfn as sf
from streamfn.testing import TestDriver
from tests.unit.wrong_programs import Program, mistakes_of

START = sf.Value(10)


def scaled(factor: int, number: int, total: sf.Value[int], *, context: sf.Context[str]) -> int:
    """A function whose first argument a program binds."""
    total.value += number * factor
    return total.value + context.timestamp_ms


def named(number: int, factor: int, total: sf.Value[int]) -> int:
    """A function whose second argument a program binds by name."""
    return scaled(factor, number, total, context=sf.Context(key=""))


def several(number: int, *, total: sf.Value[int], times: int = 2) -> Iterator[int]:
    """A generator with a parameter that can only be given by name."""
    total.value += number
    yield from [total.value] * times


def answers(fn: Any, *, generated: bool) -> list[int | None]:
    """What a function answers to 1, then 2."""
    app = sf.App("app")
    numbers = app.topic("numbers", key=str, value=int)
    out = app.topic("out", key=str, value=int)
    app.function(numbers, to=out)(fn)
    with TestDriver(app, generated=generated) as driver:
        for number in (1, 2):
            driver.send(numbers, number, key="a", timestamp_ms=100)
        return [record.value for record in driver.read(out)]


@pytest.mark.parametrize("generated", [True, False])
@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (partial(scaled, 3), [103, 109]),
        (partial(named, factor=3), [3, 9]),
        (partial(partial(scaled, 3), total=START), [113, 119]),
        (partial(several, times=1), [1, 3]),
    ],
    ids=["position", "name", "start", "generator"],
)
def test_partial(fn: Any, expected: list[int], generated: bool) -> None:
    """What a program binds is bound; the rest is given as to any function."""
    assert answers(fn, generated=generated) == expected


@pytest.mark.parametrize("generated", [True, False])
def test_keyword_only(generated: bool) -> None:
    """A keyword-only parameter is given by its name."""

    def fn(
        number: int, first: sf.Value[int], *, seen: sf.Map[int, int], last: sf.Value[int]
    ) -> int:
        first.value, seen[number], last.value = number, number, last.value + 1
        return first.value * 100 + len(seen) * 10 + last.value

    assert answers(fn, generated=generated) == [111, 222]


def test_keyword_only_timer() -> None:
    """A timer's parameters may be keyword-only too."""
    app = sf.App("app")
    numbers = app.topic("numbers", key=str, value=int)
    out = app.topic("out", key=str, value=int)

    @app.function(numbers, to=(out,))
    def fn(number: int, total: sf.Store[str, int], context: sf.Context) -> None:
        total["a"] = number

    @fn.every(timedelta(seconds=1))
    def tell(*, context: sf.Context, total: sf.Store[str, int]) -> Any:
        return out.record(key="a", value=total["a"] + context.timestamp_ms)

    with TestDriver(app) as driver:
        driver.send(numbers, 7, key="a", timestamp_ms=1000)
        assert [record.value for record in driver.read(out)] == [1007]


def test_a_partial_has_the_name_of_its_function() -> None:
    """Two of them need names of their own."""
    program = Program()
    assert program.app.function(program.numbers)(partial(scaled, 3)).name == "scaled"
    program.app.function(program.numbers)(partial(scaled, 4))
    (mistake,) = mistakes_of(program.app)
    assert "say name=" in mistake.cure


def test_value_by_keyword_only() -> None:
    """A record's value is given by position."""
    program = Program()

    def fn(*, number: int) -> None:
        """A function."""

    program.app.function(program.numbers)(fn)
    (mistake,) = mistakes_of(program.app)
    assert "the record's value is given by position" in mistake.wrong
    assert "a keyword-only parameter" in mistake.got
    assert "before the *" in mistake.cure


def test_async_partial() -> None:
    """What is refused of a function is refused of a partial one."""
    program = Program()

    async def fn(factor: int, number: int) -> None:
        """A function."""

    program.app.function(program.numbers, name="p")(partial(fn, 3))
    (mistake,) = mistakes_of(program.app)
    assert "is async" in mistake.wrong
