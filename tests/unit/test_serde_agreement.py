"""Dataclasses, TypedDicts, named tuples, dicts and Any: topics, keys and state agree on them."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypedDict

import pytest

import streamfn as sf
from streamfn.serde import key_serde, state_serde, topic_serde


@dataclass
class Sale:
    """A dataclass with another inside, and a list."""

    customer: str
    price: float = 0.0
    parts: "list[Sale]" = field(default_factory=list["Sale"])


class Seat(TypedDict):
    """A dict with known keys."""

    row: int
    letter: str


class Point(NamedTuple):
    """A named tuple."""

    x: int
    y: int = 0


CASES: list[tuple[Any, Any]] = [
    (Sale, Sale("ann", 1.5, [Sale("bob")])),
    (Seat, {"row": 1, "letter": "A"}),
    (Point, Point(1, 2)),
    (dict[str, int], {"a": 1}),
    (Any, {"a": [1, None, "x"]}),
]


@pytest.mark.parametrize(("type_", "value"), CASES)
def test_serdes_agree(type_: Any, value: Any) -> None:
    """A value that went through one serde goes through the others alike."""
    for serde in (topic_serde(type_), key_serde(type_), state_serde(type_)):
        again = serde.decode(serde.encode(value))
        assert again == value
        assert type(again) is type(value)


@pytest.mark.parametrize(("type_", "value"), CASES)
def test_they_pass_through_a_program(type_: Any, value: Any) -> None:
    """Topic, repartition topic, state and topic hold the same value."""
    app = sf.App("agreement")
    source = app.topic("in", key=type_, value=type_)
    out = app.topic("out", key=str, value=type_)

    def remember(value: Any, last: Any) -> Any:
        found, last.value = last.value, value
        return found

    remember.__annotations__["last"] = sf.Value[type_ | None]
    by_one = app.stream(source).key_by(lambda value: "one", key=str)
    stage: Any = app.function(by_one, to=out)(remember)
    with sf.testing.TestDriver(app) as driver:
        driver.send(source, value, key=value)
        driver.restart()
        driver.send(source, value, key=value)
        assert [record.value for record in driver.read(out)] == [value]
        assert driver.state(stage, "last") == {"one": value}
