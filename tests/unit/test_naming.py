"""Names derive from what the user wrote and never from a position; topics and folders take them."""

# The lambdas that are named here take anything.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

import functools
import operator
from collections.abc import Callable
from types import FunctionType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamfn as sf
from streamfn.graph.naming import (
    changelog_topic,
    fingerprint,
    is_valid,
    repartition_topic,
    shortened,
    told_apart,
    touched,
)

OFFSET = 3


def named(flight: Any) -> object:
    """A function with a name."""
    return flight


def enclosing(cut: int) -> Callable[[Any], Any]:
    """A lambda that has a name from around it."""
    return lambda flight: flight.delay > cut


TOUCHED: tuple[tuple[Callable[..., Any], str], ...] = (
    (lambda flight: flight.carrier, "carrier"),
    (lambda flight: flight["carrier"], "carrier"),
    (lambda flight: (flight.carrier, flight.origin), "carrier-origin"),
    (lambda flight: flight.leg.origin, "leg-origin"),
    (lambda flight: flight.delay < 15, "delay-15"),
    (lambda flight: f"{flight.origin}/{flight.dest}", "origin-dest"),
    (lambda flight: int(flight.day) + OFFSET, "int-day-OFFSET"),
    (lambda flight: [leg.origin for leg in flight.legs] + [flight.dest], "legs-origin-dest"),
    (lambda flight: any(leg.late for leg in flight.legs), "any-legs-late"),
    (lambda flight: sorted(flight.legs, key=lambda leg: leg.day), "sorted-legs-day"),
    (lambda flight: flight, "value"),
    (lambda key, flight: True, "value"),
    (lambda flight: flight.get("a b", None), "get-a_b"),
    (named, "named"),
    (enclosing(3), "delay-cut"),
    (str.lower, "lower"),
    (len, "len"),
    (functools.partial(named, 1), "named"),
    (operator.attrgetter("carrier"), "carrier"),
    (operator.itemgetter("carrier", 0), "carrier-0"),
)


@pytest.mark.parametrize(("fn", "name"), TOUCHED, ids=[name for _, name in TOUCHED])
def test_touched(fn: Callable[..., Any], name: str) -> None:
    """A named function is its name, a lambda what it touches."""
    assert touched(fn) == name
    assert is_valid(name)


def test_slices_of_later_pythons() -> None:
    """From 3.14 on a slice of constants is a constant itself; the name is that of before."""
    plain = (lambda text: text[2:5]).__code__
    made = (lambda text: text["part"]).__code__
    constants = tuple(slice(2, 5, None) if each == "part" else each for each in made.co_consts)
    later = FunctionType(made.replace(co_consts=constants), {}, "<lambda>")
    assert touched(later) == touched(FunctionType(plain, {}, "<lambda>")) == "2-5"


def test_layout_of_the_source_does_not_matter() -> None:
    """The same lambda on other lines, with another name for its parameter, has the same name."""
    lambdas: list[Callable[[Any], Any]] = [
        lambda flight: flight.carrier,
        lambda f: f.carrier,
        lambda f: not f.carrier,
    ]
    assert [touched(fn) for fn in lambdas] == ["carrier"] * 3
    one, other, third = map(fingerprint, lambdas)
    assert one == other != third


@pytest.mark.parametrize("name", ["flights", "a.b_c-9", "A", "x" * 200])
def test_valid(name: str) -> None:
    """Names that Kafka and a folder take."""
    assert is_valid(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "a/b", "ä", "a\n", "x" * 201, 3, None])
def test_invalid(name: object) -> None:
    """Names that one of them does not take."""
    assert not is_valid(name)


@given(st.text(min_size=1, max_size=300), st.text(max_size=300))
def test_shortened(name: str, other: str) -> None:
    """A derived name stays short, is the same each time, and keeps names apart."""
    assert len(shortened(name)) <= 120
    assert shortened(name) == shortened(name)
    assert (shortened(name) == shortened(other)) == (name == other)


def test_told_apart() -> None:
    """The hash comes from the salt alone."""
    assert told_apart("a", "x") == told_apart("a", "x") != told_apart("a", "y")


def test_internal_topics() -> None:
    """Internal topics are named as Kafka Streams names them."""
    assert changelog_topic("app", "totals") == "app-totals-changelog"
    assert repartition_topic("app", "by-carrier") == "app-by-carrier-repartition"
    assert repartition_topic("app", "by-carrier-repartition") == "app-by-carrier-repartition"


class Program:
    """A topic of texts, and the names that come of it."""

    def __init__(self) -> None:
        self.app = sf.App("app")
        self.texts = self.app.topic("texts", key=str, value=str)
        self.stream = self.app.stream(self.texts)

    def names(self) -> list[str]:
        """The names of the nodes, in order."""
        return list(self.app.topology().nodes)


def test_adding_a_stage_renames_nobody() -> None:
    """A stage put in between changes the name of no other one."""

    def build(between: bool) -> set[str]:
        program = Program()
        stream = program.stream.filter(lambda text: True) if between else program.stream
        keyed = stream.key_by(lambda text: text.lower())
        keyed.map_values(lambda text: text, value=str).repartition()
        return set(program.names())

    assert build(False) < build(True)
    assert "texts-by-lower" in build(False)


def test_key_changes_follow_each_other() -> None:
    """Behind a change of key, names derive from that."""
    program = Program()
    program.stream.key_by(lambda text: text.lower()).key_by(lambda text: text.upper())
    assert program.names() == ["texts", "texts-by-lower", "texts-by-lower-by-upper"]


def test_stateless_twins_are_told_apart() -> None:
    """Stateless steps that derive one name get a hash, the same in each build."""

    def build() -> list[str]:
        program = Program()
        program.stream.map_values(lambda text: text + "a")
        program.stream.map_values(lambda text: "a" + text)
        program.stream.peek(named)
        program.stream.peek(named)
        return program.names()

    names = build()
    assert names == build()
    assert len(set(names)) == 5
    assert names[1] == "texts-map_values-a"
    assert names[3] == "texts-peek-named"


def test_said_names() -> None:
    """Each operator takes a name."""
    program = Program()
    program.stream.filter(bool, name="a").map_values(len, name="b", value=int).peek(named, name="c")
    program.stream.key_by(lambda text: text, name="d").repartition(name="e").to("t", name="f")
    program.stream.split(lambda text: True, name="g")
    program.stream.merge(program.stream.filter(bool, name="i"), name="h")
    expected = ["texts", "a", "b", "c", "d", "e", "f", "g", "g-if-value", "g-rest", "i", "h"]
    assert program.names() == expected
