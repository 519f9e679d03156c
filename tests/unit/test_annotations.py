"""Types are compared so that only an evident mismatch is one."""

from typing import Annotated, Any, Literal, NewType, Protocol, TypedDict, TypeVar

import msgspec
import pytest

import streamfn as sf
from streamfn.function.annotations import allows_none, fits, members, mentions, union, without_none
from streamfn.graph.topology import UNKNOWN

T = TypeVar("T")
Airport = NewType("Airport", str)


class Total(msgspec.Struct, frozen=True):
    """A type."""

    count: int = 0


class Reading(msgspec.Struct):
    """Another type."""

    temperature: float


class Shape(Protocol):
    """Something that only a type checker can compare."""

    area: float


class Row(TypedDict):
    """A dict with known keys."""

    count: int


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (int, int),
        (int, float),
        (bool, int),
        (int, object),
        (int, Any),
        (UNKNOWN, int),
        (int, int | str),
        (int | None, int),
        (int | str, str | int | None),
        (list[int], list[float]),
        (list[int], list),
        (Airport, str),
        (str, Airport),
        (Annotated[int, "a"], int),
        (sf.INT64, int),
        (Total, Shape),
        (Total, T),
        (dict[str, int], Row),
        (Literal[1, 2], int),
        (tuple[int, ...], tuple[int, int]),
    ],
    ids=lambda given: given.name if isinstance(given, sf.Serde) else str(given),
)
def test_fits(given: object, wanted: object) -> None:
    """What fits, or may."""
    assert fits(given, wanted)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (str, int),
        (float, int),
        (int | str, int),
        (Total, Reading),
        (list[int], list[str]),
        (list[int], dict[int, int]),
        (sf.STRING, int),
        (tuple[str, str], str),
    ],
    ids=lambda given: given.name if isinstance(given, sf.Serde) else str(given),
)
def test_does_not_fit(given: object, wanted: object) -> None:
    """What evidently does not."""
    assert not fits(given, wanted)


def test_none_in_unions() -> None:
    """None is found in a union and taken out of it."""
    assert allows_none(int | None)
    assert allows_none(Any)
    assert not allows_none(int)
    assert without_none(int | str | None) == int | str
    assert without_none(int | None) is int
    assert without_none(None) is None


def test_members_and_union() -> None:
    """A union is its members, also inside of other types, and can be put together again."""
    assert members(Annotated[int | str | None, "a"]) == [int, str, type(None)]
    assert union([int, str]) == int | str
    assert union([]) is UNKNOWN


def test_mentions() -> None:
    """A type is found anywhere inside another one."""
    assert mentions(list[sf.Outgoing[str, int] | None], sf.Outgoing)
    assert not mentions(list[int | None], sf.Outgoing)


def test_annotations_as_text_in_an_app() -> None:
    """A decorator finds the local names of the place where it stands."""

    class Local(msgspec.Struct, frozen=True):
        """A type that only this test knows."""

        count: int = 0

    app = sf.App("app")

    @app.function(app.topic("numbers", key=str, value=int))
    def counted(number: int, total: "sf.Value[Local]") -> "Local":
        return total.value

    (store,) = app.topology().stores.values()
    assert (store.name, store.value) == ("counted-total", Local)
    assert counted(1, sf.Value(Local(3))) == Local(3)
