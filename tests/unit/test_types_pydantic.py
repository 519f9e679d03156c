"""Questions about pydantic models as types: change, starts, compatibility of what is stored."""

from ipaddress import IPv4Address
from typing import Any, Literal

import msgspec
import pytest
from pydantic import BaseModel, Field, RootModel

from streamfn.errors import SerdeError
from streamfn.serde import (
    fingerprint,
    incompatibility,
    is_immutable,
    start_of,
    state_serde,
    topic_serde,
)
from tests.unit.pydantic_world import Line, Node, Point


def test_only_frozen_models_of_immutable_fields_are_immutable() -> None:
    """One decoded object may stand for its bytes only then."""

    class Holder(BaseModel, frozen=True):
        point: Point
        parts: "tuple[Holder, ...]" = ()

    class Listing(BaseModel, frozen=True):
        names: list[str] = []

    assert is_immutable(Point)
    assert is_immutable(tuple[Point, ...])
    assert is_immutable(Holder)
    assert not is_immutable(Listing)
    assert not is_immutable(Line)
    assert not is_immutable(list[Point])


def test_starts() -> None:
    """A model whose fields have defaults starts as itself, anew each time; others say why not."""
    start = start_of(Node)
    one: Any = start()
    other: Any = start()
    assert one == other == Node()
    assert one.children is not other.children
    assert start_of(Line | None)() is None
    with pytest.raises(SerdeError, match=r"type Line has no value .* no default: 'sku'"):
        start_of(Line)


class LineV2(BaseModel):
    """A line with one more field that has a default, and a looser limit."""

    sku: str
    count: int = Field(default=1, ge=-5)
    note: str = ""


class LineV3(BaseModel):
    """A line whose new field has none."""

    sku: str
    count: int = 1
    note: str


class LineV4(BaseModel):
    """A line with a tighter limit."""

    sku: str
    count: int = Field(default=1, ge=1)


class LineV5(BaseModel):
    """A line without a field."""

    sku: str


class LineStruct(msgspec.Struct):
    """What a line would be without pydantic."""

    sku: str
    count: int = 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (Line, LineV2, None),
        (Line, LineV3, "new field 'note' of LineV3 has no default"),
        (Line, LineV4, "field 'count' of LineV4 was tightened: ge=1"),
        (Line, LineV5, "field 'count' of LineV5"),
        (Line, LineStruct, None),
        (LineStruct, LineV2, "field 'count' of LineV2 was tightened: ge=-5"),
        (LineV5, LineStruct, None),
        (Line, Line | None, None),
        (list[Line], list[LineV2], None),
        (list[int], RootModel[list[int]], None),
    ],
)
def test_compatibility(old: Any, new: Any, said: str | None) -> None:
    """Stored models are compared field by field, as msgspec's are."""
    found = incompatibility(fingerprint(old), fingerprint(new))
    assert (found is None) if said is None else (found is not None and said in found)


def test_fingerprints() -> None:
    """A model that contains itself ends; what only pydantic knows counts by its schema."""
    assert fingerprint(Node) == fingerprint(Node)

    class Cat(BaseModel):
        kind: Literal["cat"]
        ip: IPv4Address

    class Dog(BaseModel):
        kind: Literal["dog"]

    class Owner(BaseModel):
        pet: Cat | Dog = Field(discriminator="kind")
        pets: list[Cat | Dog] = []

    class Owner2(BaseModel):
        pet: Cat = Field()
        pets: list[Cat | Dog] = []

    assert incompatibility(fingerprint(Owner2), fingerprint(Owner)) is None
    reason = incompatibility(fingerprint(Owner), fingerprint(Owner2))
    assert reason is not None
    assert "no longer has the value 'dog'" in reason
    value = Owner(pet=Dog(kind="dog"), pets=[Cat(kind="cat", ip=IPv4Address(1))])
    for serde in (topic_serde(Owner), state_serde(Owner)):
        assert serde.decode(serde.encode(value)) == value
