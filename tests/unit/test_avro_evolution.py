"""Tests of schemas that change: what the next version may do, and what its readers then see."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamfn as sf
from streamfn.serde import bound
from streamfn.serde.avro_codec import PLAIN, decoder, encoder
from streamfn.serde.avro_compatibility import conflict, unreadable
from streamfn.serde.avro_schema import AvroSchema, schema_from

TEXTS = st.text(max_size=4)
LEAVES: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "string": TEXTS,
    "boolean": st.booleans(),
}
DEFAULTS: dict[str, Any] = {
    "int": 1, "long": 2, "float": 1.5, "double": 2.5, "string": "?", "boolean": True,
}  # fmt: skip
WIDER = {"int": ("long", "float", "double"), "long": ("float", "double"), "float": ("double",)}


@st.composite
def schemas(draw: st.DrawFn) -> tuple[dict[str, Any], st.SearchStrategy[Any]]:
    """A record, nested once, and the strategy of its values."""
    fields: list[dict[str, Any]] = []
    values: dict[str, st.SearchStrategy[Any]] = {}
    for at, kind in enumerate(draw(st.lists(st.sampled_from(sorted(LEAVES)), min_size=1))):
        name, made = f"f{at}", LEAVES[kind]
        form = draw(st.integers(0, 4))
        if form == 1:
            fields.append({"name": name, "type": ["null", kind], "default": None})
            made = st.none() | made
        elif form == 2:
            fields.append({"name": name, "type": {"type": "array", "items": kind}})
            made = st.lists(made, max_size=3)
        elif form == 3:
            inner = {"type": "record", "name": f"N{at}", "fields": [{"name": "x", "type": kind}]}
            fields.append({"name": name, "type": inner})
            made = st.fixed_dictionaries({"x": made})
        else:
            fields.append({"name": name, "type": kind})
        values[name] = made
    record = {"type": "record", "name": "R", "fields": fields}
    return record, st.fixed_dictionaries(values)


def changed(schema: dict[str, Any], change: str, at: int) -> dict[str, Any]:
    """The schema with one change to a field."""
    new = copy.deepcopy(schema)
    at %= len(new["fields"])
    field = new["fields"][at]
    if change == "remove":
        del new["fields"][at]
        new["fields"] = new["fields"] or [{"name": "z", "type": "long", "default": 0}]
    elif change == "add with default":
        new["fields"].insert(at, {"name": "added", "type": "string", "default": "new"})
    elif change == "add without default":
        new["fields"].insert(at, {"name": "added", "type": "string"})
    elif change == "rename":
        field["name"] = "renamed"
        field.pop("default", None)
    elif change == "allow null" and isinstance(field["type"], str):
        field["type"] = ["null", field["type"]]
    elif change == "widen" and isinstance(field["type"], str):
        wider = WIDER.get(field["type"], (field["type"],))
        field["type"] = wider[at % len(wider)]
    return new


def reads(reader: AvroSchema, writer: AvroSchema, value: Any) -> Any:
    """What a reader sees of what a writer wrote."""
    raw = encoder(writer, PLAIN, "writer")(value)
    return decoder(reader, PLAIN, "reader", writer=writer)(raw)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_is_called_readable_is_read(data: st.DataObject) -> None:
    """Fields that stayed keep their values, new ones have their defaults."""
    record, values = data.draw(schemas())
    changes = ("remove", "add with default", "allow null", "widen")
    new = record
    for change in data.draw(st.lists(st.sampled_from(changes), max_size=3, unique=True)):
        new = changed(new, change, data.draw(st.integers(0, 9)))
    reader, writer = schema_from(new), schema_from(record)
    assert unreadable(reader, writer) is None
    value = data.draw(values)
    found = reads(reader, writer, value)
    assert set(found) == {field["name"] for field in new["fields"]}
    for field in new["fields"]:
        name = field["name"]
        if name not in value:
            assert found[name] == field["default"]
        elif isinstance(value[name], int | float):  # a long may be read as a float
            assert found[name] == pytest.approx(value[name], rel=1e-6)
        else:
            assert found[name] == value[name]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_is_renamed_or_added_bare_is_refused(data: st.DataObject) -> None:
    """A version that cannot read the older one is refused with the name of the field."""
    record, _ = data.draw(schemas())
    change = data.draw(st.sampled_from(["rename", "add without default"]))
    new = schema_from(changed(record, change, data.draw(st.integers(0, 9))))
    why = conflict("BACKWARD", new, schema_from(record), "version 1")
    name = "renamed" if change == "rename" else "added"
    assert why is not None
    assert why.startswith(f"it does not read values of version 1: field '{name}' (")
    assert conflict("NONE", new, schema_from(record), "version 1") is None


def record(*fields: dict[str, Any], name: str = "R") -> dict[str, Any]:
    """A record."""
    return {"type": "record", "name": name, "fields": list(fields)}


def of(kind: Any, name: str = "x") -> dict[str, Any]:
    """A field."""
    return {"name": name, "type": kind}


RED = {"type": "enum", "name": "Color", "symbols": ["RED"]}
BLUE = {"type": "enum", "name": "Color", "symbols": ["RED", "BLUE"]}


@pytest.mark.parametrize(
    ("reader", "writer", "why"),
    [
        (record(of("int")), record(of("long")), "field 'x': long cannot be read as int"),
        (record(of(RED)), record(of(BLUE)), "field 'x': enum Color has no symbol BLUE"),
        (record(of(BLUE)), record(of(RED)), None),
        (
            record(of({"type": "array", "items": record(of("string", "y"), name="I")})),
            record(of({"type": "array", "items": record(of("long", "y"), name="I")})),
            "field 'x[].y': long cannot be read as string",
        ),
        (
            record(of({"type": "map", "values": "string"})),
            record(of({"type": "map", "values": "boolean"})),
            "field 'x[…]': boolean cannot be read as string",
        ),
        (record(of("string")), record(of(["null", "string"])), "field 'x': null cannot be read as"),
        (
            record(of(["null", record(of("int", "y"), name="I")])),
            record(of(["null", record(of("string", "y"), name="I")])),
            "field 'x.y': string cannot be read as int",
        ),
        (
            record(of({"type": "fixed", "name": "F", "size": 4})),
            record(of({"type": "fixed", "name": "F", "size": 3})),
            "field 'x': fixed F had 3 bytes, not 4",
        ),
        (record(of("int"), name="S"), record(of("int")), "record S was named R"),
        ({"type": "string"}, {"type": "long"}, "long cannot be read as string"),
        (
            {**record(of("int"), name="S"), "aliases": ["R"]},
            record(of("int")),
            None,
        ),
        (
            record({**of("int", "new"), "aliases": ["x"]}),
            record(of("int")),
            None,
        ),
        (
            {**record(of("int"), name="air.S"), "aliases": ["R"]},
            record(of("int"), name="air.R"),
            None,
        ),
        (
            {**record(of("int"), name="air.S"), "aliases": ["sea.R"]},
            record(of("int"), name="air.R"),
            "record S was named R",
        ),
    ],
)
def test_reasons(reader: Any, writer: Any, why: str | None) -> None:
    """The field is named as far inside as it lies."""
    found = unreadable(schema_from(reader), schema_from(writer))
    assert (found or "")[: len(why or "")] == (why or "")
    assert (found is None) is (why is None)


def test_aliases_are_followed() -> None:
    """A field or a record that says what it was called is read by its old name."""
    old = schema_from(record(of("int")))
    new = schema_from(
        {**record({**of("long", "new"), "aliases": ["x"]}, name="S"), "aliases": ["R"]}
    )
    assert reads(new, old, {"x": 5}) == {"new": 5}


def test_roots_that_are_no_records() -> None:
    """A union may take the place of a record, and the other way about."""
    one = schema_from(record(of("int")))
    union: Any = AvroSchema("R | string", "", [record(of("int")), "string"])
    assert reads(union, one, {"x": 5}) == {"x": 5}
    assert reads(one, union, {"x": 5}) == {"x": 5}


def test_what_decides_on_bytes() -> None:
    """Docs and defaults do not; names, order and meaning do."""
    plain = record(of("long"))
    documented = {**plain, "doc": "d", "fields": [{**of("long"), "doc": "d", "default": 1}]}
    instant = record(of({"type": "long", "logicalType": "timestamp-millis"}))
    forms = [schema_from(each).form for each in (plain, documented, instant)]
    assert forms[0] == forms[1] != forms[2]
    assert schema_from(plain).same != schema_from(documented).same
    assert sf.avro(plain).form == forms[0]


def subject_of_theirs(topic: str, is_key: bool, name: str) -> str:
    """One that nothing is compared with."""
    return f"{name}-theirs"


INNER = record(of("string", "carrier"), name="Inner")
WIDER_INNER = record(of("string", "carrier"), of("string", "gate"), name="Inner")


@pytest.mark.parametrize(
    ("own", "theirs", "value", "other", "why"),
    [
        (RED, BLUE, {"x": "RED"}, {"x": "BLUE"}, "field 'x': enum Color has no symbol BLUE"),
        ("long", ["null", "int"], {"x": 3}, {"x": None}, "field 'x': null cannot be read as long"),
        (
            {"type": "array", "items": WIDER_INNER},
            {"type": "array", "items": INNER},
            {"x": []},
            {"x": [{"carrier": "UA"}]},
            r"field 'x\[\].gate' \(string\) is not in it and has no default",
        ),
    ],
)
def test_a_producer_that_is_ahead(own: Any, theirs: Any, value: Any, other: Any, why: str) -> None:
    """Only values that use what the program does not have are refused, by id and field."""
    registry = sf.SchemaRegistry("mock://ahead")
    writer = sf.avro(record(of(theirs)), registry=registry, subject=subject_of_theirs)
    written, read = (
        bound(serde, "topic", key=False)
        for serde in (writer, sf.avro(record(of(own)), registry=registry))
    )
    for _ in range(2):
        assert read.decode(written.encode(value)) == value
        with pytest.raises(sf.SerdeError, match=rf"its schema id 1 \(R\) does not fit: {why}"):
            read.decode(written.encode(other))
