"""Starts of new keys share nothing: no key, no record and no class sees a change in place."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import msgspec
import pytest

import streamfn as sf
from streamfn.serde import start_of, state_serde
from tests.unit.one_task import OneTask


class Names(NamedTuple):
    """A named tuple whose default is one list for all of them."""

    names: list[str] = []  # noqa: RUF012  # the fault this is about


@dataclass(eq=False)
class Inner:
    """A dataclass that Python and msgspec take for a default, though it can change."""

    names: list[str] = field(default_factory=list[str])


@dataclass
class Outer:
    """A dataclass with one inner object for all of them."""

    inner: Inner = Inner()  # noqa: RUF009  # the fault this is about


class Sparse(msgspec.Struct, omit_defaults=True):
    """A struct that leaves its default out of its bytes."""

    pair: Names = Names()


SHARED = ["a"]


@dataclass
class Made:
    """A dataclass whose factory gives the same list again, and another id each time."""

    names: list[str] = field(default_factory=lambda: SHARED)
    id: UUID = field(default_factory=uuid4)


OWN: list[tuple[Any, Callable[[Any], list[str]]]] = [
    (list[str], lambda value: value),
    (Names, lambda value: value.names),
    (Outer, lambda value: value.inner.names),
    (Sparse, lambda value: value.pair.names),
    (Made, lambda value: value.names),
]


@pytest.mark.parametrize(("type_", "names_of"), OWN)
def test_starts_share_nothing(type_: Any, names_of: Callable[[Any], list[str]]) -> None:
    """A start changed in place leaves the next one as it was, and the class too."""
    make = start_of(type_)
    before = list(names_of(make()))
    names_of(make()).append("changed")
    assert names_of(make()) == before
    assert names_of(type_()) == before


def test_a_start_does_not_follow_a_changed_default() -> None:
    """What a program does to the default of its class later is not in a start."""
    make = start_of(Names)
    Names().names.append("changed")
    try:
        assert make() == Names([])
    finally:
        Names().names.clear()


def test_factories_of_a_mutable_type_run_for_each_key() -> None:
    """A start that is made by code is another one for each key."""
    make: Any = start_of(Made)
    assert make().id != make().id


DECODED: list[tuple[Any, bytes, Callable[[Any], list[str]]]] = [
    (Names, b"\x90", lambda value: value.names),
    (Sparse, b"\x80", lambda value: value.pair.names),
    (tuple[Names, int], b"\x92\x90\x01", lambda value: value[0].names),
]


@pytest.mark.parametrize(("type_", "raw", "names_of"), DECODED)
def test_decoded_values_share_no_default(
    type_: Any, raw: bytes, names_of: Callable[[Any], list[str]]
) -> None:
    """A field that older bytes do not have gets its default, but not the class's own object."""
    decode = state_serde(type_).decode
    before = list(names_of(decode(raw)))
    names_of(decode(raw)).append("changed")
    assert names_of(decode(raw)) == before


START: Any = sf.Value({"names": SHARED})


@pytest.mark.parametrize("generated", [True, False])
def test_an_undone_record_leaves_the_start_alone(generated: bool) -> None:
    """A record that changed its start and then failed leaves nothing to the next key."""
    app = sf.App("app", on_error="skip")
    numbers = app.topic("numbers", key=str, value=int)

    @app.function(numbers, to=app.topic("sizes", key=str, value=int))
    def size(
        number: int, total: sf.Value[Names], bound: sf.Value[dict[str, list[str]]] = START
    ) -> int:
        total.value.names.append("seen")
        bound.value["names"].append("seen")
        if number < 0:
            message = "undone"
            raise ValueError(message)
        return len(total.value.names) + len(bound.value["names"])

    task = OneTask(app, generated=generated)
    task.send("numbers", [("a", -1, 0), ("b", 1, 0), ("c", 1, 0), ("b", 1, 0)])
    assert task.values("sizes") == [3, 3, 5]
    assert SHARED == ["a"]


def test_a_constant_is_encoded_when_the_program_is_built() -> None:
    """A start that its store could not hold is a mistake of the build."""
    app = sf.App("app")
    start: Any = sf.Value({"names": ["a", object()]})

    @app.function(app.topic("numbers", key=str, value=int))
    def stage(number: int, last: sf.Value[dict[str, list[str]]] = start) -> None:
        """A stage."""

    with pytest.raises(sf.TopologyError, match=r"'last' of 'stage' .*object.*START = sf.Value"):
        app.topology()
