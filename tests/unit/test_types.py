"""Questions about types: what can change, starts, names, and whether new types read old bytes."""

import itertools
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
)
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import TypeAliasType

from streamfn.errors import SerdeError
from streamfn.serde import state_serde
from streamfn.serde.types import (
    describe_type,
    fingerprint,
    incompatibility,
    is_immutable,
    start_of,
    type_name,
)

T = TypeVar("T")


class Total(msgspec.Struct, frozen=True):
    """A frozen struct whose start needs its bytes to be what it will be."""

    flights: int = 0
    minutes: float = 0


class OpenTotal(msgspec.Struct):
    """A struct that can change."""

    flights: int = 0
    names: list[str] = []


class Tree(msgspec.Struct, frozen=True):
    """A type that contains itself."""

    size: int = 0
    parts: "tuple[Tree, ...]" = ()


class Box(msgspec.Struct, Generic[T], frozen=True):
    """A generic struct."""

    inside: T


@dataclass(frozen=True)
class Fresh:
    """A frozen dataclass, each of which is another one."""

    id: UUID = field(default_factory=uuid4)


class Point(NamedTuple):
    """A named tuple with a default."""

    x: int
    y: int = 0


class WiderPoint(NamedTuple):
    """A point that can be read from the bytes of the one above."""

    x: float
    y: int = 0
    z: str = ""


class TurnedPoint(NamedTuple):
    """A point whose bytes mean something else."""

    y: int
    x: int = 0


class Options(TypedDict):
    """A dict with a key that must be there and one that need not."""

    name: str
    size: NotRequired[int]


class Color(Enum):
    """Two colors."""

    RED = "red"
    BLUE = "blue"


Carrier = NewType("Carrier", str)
Names = TypeAliasType("Names", list[str])


@pytest.mark.parametrize(
    "type_",
    [
        *(int, float, str, bytes, bool, None, date, timedelta, Decimal, UUID, Color),
        *(Literal["a", 1], tuple[int, str], tuple[str, ...], frozenset[int], int | None),
        *(Optional[Total], Total, Tree, Box[int], Box[Tree], Point, Carrier, Fresh),  # noqa: UP045
        Annotated[int, msgspec.Meta(ge=0)],
    ],
)
def test_what_cannot_change(type_: Any) -> None:
    """Immutable types, and containers of only such, may be shared."""
    assert is_immutable(type_)


@pytest.mark.parametrize(
    "type_",
    [
        *(Any, object, list[int], dict[str, int], set[int], OpenTotal, tuple[list[int], ...]),
        *(Options, Box[list[int]], Box, Counter[str], bytearray, int | list[int], Names, type),
        *("Total", datetime, time),
    ],
)
def test_what_can_change(type_: Any) -> None:
    """Anything that holds something changeable, or comes back from bytes as another, may not."""
    assert not is_immutable(type_)


STARTS: list[tuple[Any, Any]] = [
    (int, 0),
    (float, 0.0),
    (str, ""),
    (bool, False),
    (dict[str, int], {}),
    (list[int], []),
    (set[str], set()),
    (tuple[int, ...], ()),
    (Decimal, Decimal(0)),
    (timedelta, timedelta(0)),
    (Carrier, ""),
    (Names, []),
    (Total, Total()),
    (OpenTotal, OpenTotal()),
    (Tree, Tree()),
    (Counter[str], Counter()),
    (defaultdict[str, list[int]], defaultdict(list)),
    (int | None, None),
    (Options | None, None),
    (Any, None),
    (Literal["a", None], None),
]


@pytest.mark.parametrize(("type_", "start"), STARTS)
def test_a_new_key_starts_with(type_: Any, start: object) -> None:
    """None if the type allows it, else ``T()``; what can change is made anew for each key."""
    make = start_of(type_)
    assert make() == start
    assert type(make()) is type(start)
    assert is_immutable(type_) or make() is None or make() is not make()


def test_a_start_is_what_its_bytes_give() -> None:
    """A float whose default is written ``0`` starts as ``0.0``, as it will be after a restart."""
    start = start_of(Total)()
    assert isinstance(start, Total)
    assert start == Total()
    assert type(start.minutes) is float


def test_a_start_made_by_code_is_not_shared() -> None:
    """A default factory runs for each key."""
    make = start_of(Fresh)
    assert make() != make()


@pytest.mark.parametrize(
    ("type_", "reason"),
    [
        (Point, "no default: 'x'"),
        (Options, "no default: 'name'"),
        (Box[int], "no default: 'inside'"),
        (tuple[int, str], "fixed length"),
        (int | str, "which member of the union"),
        (Color, "which member of the enum"),
        (Literal["a"], "which of the literals"),
        (datetime, "without arguments"),
        (Annotated[int, msgspec.Meta(ge=1)], ">= 1"),
    ],
)
def test_types_without_a_start_say_why(type_: Any, reason: str) -> None:
    """The error names the fields or the reason, and says what to do."""
    with pytest.raises(SerdeError, match=f"{reason}.*give the fields defaults"):
        start_of(type_)


@pytest.mark.parametrize(
    ("type_", "name"),
    [
        (Total, "Total"),
        (dict[str, int], "dict[str, int]"),
        (Optional[int], "int | None"),  # noqa: UP045
        (list[Total | None], "list[Total | None]"),
        (Box[int], "Box[int]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (tuple[()], "tuple[()]"),
        (Literal["a", 1], "Literal['a', 1]"),
        (Annotated[int, "x"], "int"),
        (Carrier, "Carrier"),
        (Names, "Names"),
        (Any, "Any"),
        (None, "None"),
        ("Flight", "Flight"),
        (T, "T"),
        (state_serde(int), "msgpack[int]"),
        (Callable[[int], str], "Callable[[int], str]"),
    ],
)
def test_names_are_as_in_code(type_: Any, name: str) -> None:
    """Any object has a name, the one that a program would write."""
    assert type_name(type_) == name


def test_a_description_is_plain_data() -> None:
    """A type that contains itself is described once and by name."""
    described = describe_type(dict[str, Tree])
    assert json.loads(json.dumps(described)) == described
    assert described["root"]["value"] == {"kind": "object", "name": "Tree"}
    assert [field["name"] for field in described["objects"]["Tree"]["fields"]] == ["size", "parts"]
    assert fingerprint(Carrier) == fingerprint(str)
    assert fingerprint(int | str) == fingerprint(str | int)


Field = tuple[str, Any] | tuple[str, Any, Any]


def struct(*fields: Field, **options: Any) -> Any:
    """A struct type by the name of Old or New."""
    return msgspec.defstruct("Total", list(fields), kw_only=True, **options)


A, B = struct(("a", int), tag="a"), struct(("b", int), tag="b")
OLD = struct(("flights", int), ("minutes", float, 0.0))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (int, float),
        (int, int | None),
        (A, A | B),
        (list[int], list[float]),
        (Literal["a"], Literal["b", "a"]),
        (Literal["a"], str),
        (dict[str, list[int]], Any),
        (OLD, struct(("flights", int), ("minutes", float, 0.0), ("new", str, ""))),
        (OLD, struct(("new", str, ""), ("minutes", float, 5.0), ("flights", float))),
        (OLD, struct(("flights", int | None, None), ("minutes", float | str, 0.0))),
        (OLD, struct(("count", int), ("minutes", float, 0.0), rename={"count": "flights"})),
        (Tree, struct(("size", float, 0.0), ("parts", tuple[Tree, ...], ()))),
        (Point, WiderPoint | None),
        (Annotated[int, msgspec.Meta(ge=5)], Annotated[int, msgspec.Meta(ge=1)]),
    ],
)
def test_what_a_new_type_can_still_read(old: Any, new: Any) -> None:
    """Added defaults and wider types are fine."""
    assert incompatibility(fingerprint(old), fingerprint(new)) is None


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (float, int, "the type changed from float to int"),
        (int | None, int, "the type changed from None | int to int"),
        (A | B, A, "the type"),
        (dict[str, int], dict[str, str], "the value of the type changed from int to str"),
        (tuple[int], tuple[int, int], "changed from tuple"),
        (Color, Literal["red"], "changed from Color"),
        (Literal["a", "b"], Literal["a"], "no longer has the value 'b'"),
        (Any, int, "changed from Any to int"),
        (set[int], Any, "changed from set"),
        (int, Annotated[int, msgspec.Meta(ge=1)], "tightened: ge=1"),
        (OLD, struct(("flights", int)), r"field 'minutes' of Total \(float\) was removed"),
        (OLD, struct(("count", int), ("minutes", float, 0.0)), "field 'flights' of Total"),
        (OLD, struct(("flights", str), ("minutes", float, 0.0)), "'flights' of Total changed from"),
        (OLD, struct(("flights", int), ("minutes", float), ("x", int, 0)), "lost its default"),
        (OLD, struct(("flights", int), ("x", int), ("minutes", float, 0.0)), "new field 'x'"),
        (OLD, struct(("flights", int), ("minutes", float, 0.0), array_like=True), "laid out"),
        (OLD, struct(("flights", int), ("minutes", float, 0.0), tag="t"), "tagged"),
        (OLD | None, struct(("flights", str), ("minutes", float, 0.0)) | None, "'flights'"),
        (
            struct(("n", int, 0), omit_defaults=True),
            struct(("n", int, 1), omit_defaults=True),
            "default of field 'n' of Total changed from 0 to 1",
        ),
        (Point, TurnedPoint, "no longer begin with x, y"),
    ],
)
def test_what_a_new_type_would_lose(old: Any, new: Any, text: str) -> None:
    """What is gone, changed or newly required is named."""
    reason = incompatibility(fingerprint(old), fingerprint(new))
    assert reason is not None
    assert re.search(text, reason)


SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**53), 2**53),
    float: st.floats(allow_nan=False),
    str: st.text("aé", max_size=3),
    bool: st.booleans(),
    int | None: st.none() | st.integers(-(2**53), 2**53),
    str | None: st.none() | st.text("aé", max_size=3),
    list[int]: st.lists(st.integers(-(2**53), 2**53), max_size=2),
}
DEFAULTS: dict[Any, Any] = {int: 0, float: 0.0, str: "", bool: False, list[int]: []}
names = itertools.count()


@st.composite
def structs(draw: st.DrawFn) -> tuple[Any, dict[str, Any]]:
    """A struct of a few fields from a small choice of names and types, so that two often meet."""
    fields: list[Any] = []
    types: dict[str, Any] = {}
    for name in draw(st.lists(st.sampled_from("abc"), unique=True)):
        types[name] = draw(st.sampled_from(list(SCALARS)))
        default = draw(st.booleans())
        fields.append(
            (name, types[name], DEFAULTS.get(types[name])) if default else (name, types[name])
        )
    fields.sort(key=len)
    array = draw(st.booleans())
    return msgspec.defstruct(f"S{next(names)}", fields, array_like=array), types


@given(structs(), structs(), st.data())
def test_what_is_called_compatible_reads_whole(
    old: tuple[Any, dict[str, Any]], new: tuple[Any, dict[str, Any]], data: st.DataObject
) -> None:
    """If nothing is said against it, every old value reads as the new type, with all its fields."""
    (old_type, types), (new_type, _) = old, new
    if incompatibility(fingerprint(old_type), fingerprint(new_type)) is not None:
        return
    value = old_type(**{name: data.draw(SCALARS[kind]) for name, kind in types.items()})
    read = state_serde(new_type).decode(state_serde(old_type).encode(value))
    assert all(getattr(read, name) == getattr(value, name) for name in types)


@given(structs(), structs(), structs())
def test_compatibility_is_transitive(
    first: tuple[Any, Any], second: tuple[Any, Any], third: tuple[Any, Any]
) -> None:
    """A store that was carried over twice holds values of three types."""
    one, two, three = (fingerprint(each[0]) for each in (first, second, third))
    if incompatibility(one, two) is None and incompatibility(two, three) is None:
        assert incompatibility(one, three) is None
