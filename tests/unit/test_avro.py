"""Tests of Avro by type, by schema file and by dict: values come back, mistakes are told."""

import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict
from uuid import UUID

import msgspec
import pytest

import streamfn as sf
from streamfn.serde import bound
from streamfn.serde.avro_schema import schema_from
from tests.unit.avro_world import (
    HOME,
    NOON,
    SCHEMA,
    Carrier,
    Crew,
    Flight,
    Leg,
    definition,
    flight,
)


def test_all_types_come_back() -> None:
    """One of each, nested, with itself inside."""
    serde = sf.avro(Flight)
    value = flight(next=flight(), delay=2.5)
    assert serde.decode(serde.encode(value)) == value
    assert serde.name == "avro[Flight]"
    assert serde.type is Flight


def test_the_mapping() -> None:
    """What the page on serdes promises, as the schema that others read."""
    fields = {each["name"]: each for each in definition(Flight)["fields"]}
    kinds = {name: each["type"] for name, each in fields.items()}
    assert kinds["carrier"] == {"type": "enum", "name": "Carrier", "symbols": ["UA", "AA"]}
    assert kinds["travelClass"] == "long"
    assert kinds["legs"]["items"]["fields"] == [
        {"name": "airport", "type": "string"},
        {"name": "minutes", "type": "long", "default": 0},
    ]
    assert kinds["seats"]["values"]["name"] == "Seat"
    assert kinds["at"] == {"type": "long", "logicalType": "timestamp-micros"}
    assert kinds["local"] == {"type": "long", "logicalType": "local-timestamp-micros"}
    assert kinds["day"] == {"type": "int", "logicalType": "date"}
    assert kinds["clock"] == {"type": "long", "logicalType": "time-micros"}
    assert kinds["length"] == kinds["kind"] == "string"
    assert kinds["price"] == {
        "type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2,
    }  # fmt: skip
    assert kinds["flightId"] == {"type": "string", "logicalType": "uuid"}
    assert fields["delay"] == {"name": "delay", "type": ["null", "double"], "default": None}
    assert fields["next"] == {"name": "next", "type": ["null", "Flight"], "default": None}
    assert fields["number"] == {"name": "number", "type": ["long", "null"], "default": 7}
    crew = {each["name"]: each.get("default") for each in kinds["crew"]["fields"]}
    micros = 1357041600123456
    assert crew == {
        "names": [], "home": str(HOME), "since": micros, "badge": "\xff\x00", "pay": "\x04\xe2",
        "lead": {"airport": "EWR", "minutes": 3},
    }  # fmt: skip
    assert definition(Leg, namespace="air")["name"] == "air.Leg"


def test_defaults_are_read_as_values() -> None:
    """A reader whose fields are new gets dates, bytes and lists of its own, not their JSON."""
    names = {"name": "names", "type": {"type": "array", "items": "string"}}
    old = {"type": "record", "name": "Crew", "fields": [names]}
    registry = sf.SchemaRegistry("mock://defaults")
    write = bound(sf.avro(old, registry=registry), "crew", key=False)
    reads: list[sf.Serde[Any]] = [
        sf.avro(Crew, registry=registry),
        sf.avro(definition(Crew), registry=registry),
    ]
    raw = write.encode({"names": ["x"]})
    decodes: list[Any] = [bound(each, "crew", key=False).decode for each in reads]
    typed, plain = decodes
    assert typed(raw) == Crew(["x"])
    assert plain(raw) == {
        "names": ["x"], "home": HOME, "since": NOON, "badge": b"\xff\x00",
        "pay": Decimal("12.50"), "lead": {"airport": "EWR", "minutes": 3},
    }  # fmt: skip
    plain(raw)["lead"]["minutes"] = 99
    assert plain(raw)["lead"]["minutes"] == 3


def test_defaults_that_are_left_out() -> None:
    """What msgspec leaves out is written all the same."""

    class Sparse(msgspec.Struct, omit_defaults=True):
        number: int = 1
        raw: bytes = b"\xff"
        legs: list[Leg] = []
        crew: Crew = msgspec.field(default_factory=Crew)

    serde = sf.avro(Sparse)
    for value in (Sparse(), Sparse(2, b"", [Leg("x")])):
        assert serde.decode(serde.encode(value)) == value


def test_a_union_of_classes_is_told_by_its_tags() -> None:
    """Two classes of the same fields come back as what they were."""

    class Created(msgspec.Struct, tag=True):
        number: int

    class Deleted(msgspec.Struct, tag=True):
        number: int

    class Event(msgspec.Struct):
        what: Created | Deleted | None
        at: int

    whole, inside = sf.avro(Created | Deleted), sf.avro(Event)
    for value in (Created(1), Deleted(1)):
        assert whole.decode(whole.encode(value)) == value
        assert inside.decode(inside.encode(Event(value, 2))) == Event(value, 2)
    assert inside.decode(inside.encode(Event(None, 2))) == Event(None, 2)


def test_numbers_of_a_union_stay_what_they_are() -> None:
    """A whole number does not become a float, whatever the default is."""

    class Measured(msgspec.Struct):
        value: int | float | str | bool | None = 2.5

    serde = sf.avro(Measured)
    for value in (1, 1.0, "1", True, None, 2.5):
        found = serde.decode(serde.encode(Measured(value))).value
        assert found == value
        assert type(found) is type(value)


def test_roots_that_are_no_records() -> None:
    """Texts, numbers, lists and maps, as Confluent's primitive keys are."""
    assert sf.avro(str).encode("UA") == b"\x04UA"
    assert sf.avro(int).encode(-1) == b"\x01"
    assert sf.avro(str | None).decode(b"\x04UA") == "UA"
    for type_, value in (
        (list[int], [1, 2]),
        (dict[str, Leg], {"a": Leg("EWR")}),
        (datetime, NOON),
        (Carrier, Carrier.UNITED),
        (UUID, HOME),
    ):
        serde = sf.avro(type_)
        assert serde.decode(serde.encode(value)) == value


def test_equal_keys_have_equal_bytes() -> None:
    """Sets and maps have no order of their own."""
    serde = sf.avro(dict[str, frozenset[str]])
    one = {"a": frozenset("xyz"), "b": frozenset("pqr")}
    assert serde.encode(one) == serde.encode(dict(reversed(one.items())))


def test_schema_file(tmp_path: Path) -> None:
    """Values are dicts, or of a type; both write the same bytes."""
    path = tmp_path / "leg.avsc"
    path.write_text(json.dumps(SCHEMA))
    plain, typed = sf.avro(str(path)), sf.avro(path, type=Leg)
    raw = plain.encode({"airport": "EWR", "minutes": 3})
    assert typed.encode(Leg("EWR", 3)) == raw == sf.avro(SCHEMA).encode(plain.decode(raw))
    assert typed.decode(raw) == Leg("EWR", 3)
    assert plain.decode(raw) == {"airport": "EWR", "minutes": 3}
    assert plain.decode(plain.encode({"airport": "EWR"})) == {"airport": "EWR", "minutes": 5}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is no JSON; got Expecting"),
        ('{"type": "recor"}', "unknown type 'recor'"),
        ('{"type": "record", "name": "A", "fields": [{"name": "b", "type": "B"}]}', "type 'B'"),
        ('["string", "string"]', "string type already in Union"),
        (
            '{"type": "record", "name": "A", "fields": '
            '[{"name": "b", "type": "long", "default": "x"}]}',
            "Default value <x> must match",
        ),
        ("5", "is no schema"),
        ("{}", "is no schema"),
    ],
)
def test_wrong_schema_files(tmp_path: Path, text: str, why: str) -> None:
    """The file and the reason are told when the program is built."""
    path = tmp_path / "wrong.avsc"
    path.write_text(text)
    with pytest.raises(sf.SerdeError, match=r"Avro schema '.*wrong.avsc' is no") as caught:
        sf.avro(path)
    assert why in str(caught.value)


def test_no_schema_file(tmp_path: Path) -> None:
    """A file that is not there, and a text that is no path."""
    with pytest.raises(sf.SerdeError, match="cannot be read; got No such file or directory; name"):
        sf.avro(tmp_path / "none.avsc")
    with pytest.raises(sf.SerdeError, match=r"is no file; got the text of a schema; pass json.lo"):
        sf.avro('{"type": "string"}')
    with pytest.raises(sf.SerdeError, match="an Avro schema is a dict or a file"):
        schema_from(5)
    with pytest.raises(sf.SerdeError, match="got two types"):
        sf.avro(Leg, type=Leg)  # type: ignore[call-overload]  # the mistake under test


class Typo(msgspec.Struct):
    """Does not fit."""

    airport: str
    minuts: int


class Other(msgspec.Struct):
    """Does not fit either."""

    airport: bytes
    minutes: int


class Nested(msgspec.Struct):
    """Its list does not fit."""

    legs: list[Other]


class Less(msgspec.Struct):
    """Lacks what has no default."""

    minutes: int


class Nullable(msgspec.Struct):
    """Knows a null that the schema does not."""

    airport: str | None
    minutes: int


class Tagged(msgspec.Struct, tag=True):
    """A member of a union, by a field that says which."""

    airport: str
    minutes: int = 5


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    """Takes nothing but its own."""

    airport: str


@pytest.mark.parametrize(
    ("schema", "type_", "why"),
    [
        (SCHEMA, Typo, "at minuts: the schema has no such field"),
        (SCHEMA, Other, "at airport: the schema has string, the type bytes"),
        (SCHEMA, Less, "at airport: the type has no such field, and it has no default"),
        (SCHEMA, Nullable, "at airport: the schema has string, the type None"),
        (SCHEMA, str, "the schema has record Leg, the type str"),
        (
            {
                "type": "record",
                "name": "Nested",
                "fields": [{"name": "legs", "type": {"type": "array", "items": SCHEMA}}],
            },
            Nested,
            "at legs[].airport: the schema has string, the type bytes",
        ),
        ({"type": "enum", "name": "E", "symbols": ["UA"]}, Carrier, "E (UA), the type Carrier"),
        ({"type": "long", "logicalType": "timestamp-millis"}, int, "timestamp-millis with a zone)"),
        (SCHEMA, Tagged, "at type: the schema has no such field, for the tag of Tagged"),
        (SCHEMA, Strict, "at minutes: the type has no such field, and forbids unknown ones"),
        (
            {"type": "fixed", "name": "Id", "size": 16, "logicalType": "uuid"},
            UUID,
            "the schema has fixed Id, the type uuid",
        ),
    ],
)
def test_type_and_schema_must_fit(schema: dict[str, Any], type_: Any, why: str) -> None:
    """They are held against each other before any record comes."""
    with pytest.raises(sf.SerdeError, match="do not fit") as caught:
        sf.avro(schema, type=type_)
    assert why in str(caught.value)


def test_what_avro_makes_of_a_type_fits_it() -> None:
    """The two ways to a schema agree."""
    serde = sf.avro(definition(Flight), type=Flight)
    assert serde.decode(sf.avro(Flight).encode(flight())) == flight()


class MaybeMissing(TypedDict):
    """A field that may be missing."""

    row: NotRequired[int]


class Prices(msgspec.Struct):
    """A Decimal somewhere inside."""

    of: dict[str, list[Decimal]]


@pytest.mark.parametrize(
    ("type_", "why"),
    [
        (Decimal, "at its root: a Decimal needs precision and scale, got none; say Annotated["),
        (Prices, "at field 'of[…][]': a Decimal needs"),
        (dict[int, str], "keys of a map are text in Avro; use dict[str, ...]"),
        (tuple[int, str], "Avro has nothing for tuple; use a NamedTuple, or tuple[T, ...]"),
        (Any, "Avro has nothing for any; say the type"),
        (MaybeMissing, "at field 'row': a field that may be missing"),
        (date | datetime | str | UUID, "cannot be"),
        (Literal["a", 1], "values of several types"),
    ],
)
def test_types_that_avro_does_not_have(type_: Any, why: str) -> None:
    """The field and a cure are told."""
    with pytest.raises(sf.SerdeError, match="cannot be") as caught:
        sf.avro(type_)
    assert why in str(caught.value)


def test_a_tag_must_be_a_name() -> None:
    """A branch of a union is found by it."""
    with pytest.raises(sf.SerdeError, match="tag 1 of"):
        sf.avro(msgspec.defstruct("Tagged", [("number", int)], tag=1))
