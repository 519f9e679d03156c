"""Tests of schema files that name what other files define."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

import streamfn as sf


def put(folder: Path, name: str, schema: Any) -> Path:
    """Write a schema file."""
    path = folder / f"{name}.avsc"
    path.write_text(json.dumps(schema))
    return path


def record(name: str, namespace: str | None = None, **fields: Any) -> dict[str, Any]:
    """A record."""
    listed = [{"name": each, "type": type_} for each, type_ in fields.items()]
    own = {} if namespace is None else {"namespace": namespace}
    return {"type": "record", "name": name, **own, "fields": listed}


class Airport(msgspec.Struct):
    """A place."""

    code: str


class Leg(msgspec.Struct):
    """From one to another."""

    start: Airport
    end: Airport
    via: dict[str, list[Airport]]
    next: "Leg | None" = None


def test_names_of_other_files(tmp_path: Path) -> None:
    """A name is looked for beside the file, by its full name or its last part, wherever it is."""
    put(tmp_path, "Airport", record("Airport", "air", code="geo.Code"))
    put(tmp_path, "geo.Code", {"type": "fixed", "name": "geo.Code", "size": 3})
    fields: dict[str, Any] = {
        "start": "Airport",
        "end": {"type": "air.Airport"},
        "via": {"type": "map", "values": {"type": "array", "items": ["null", "Airport"]}},
        "next": ["null", "Leg"],
    }
    path = put(tmp_path, "leg", record("Leg", "air", **fields))
    serde = sf.avro(path)
    newark, jfk = {"code": b"EWR"}, {"code": b"JFK"}
    leg = {"start": newark, "end": jfk, "via": {"x": [None, jfk]}, "next": None}
    assert serde.decode(serde.encode(leg)) == leg
    assert serde.encode({**leg, "next": leg})


def test_files_that_name_each_other(tmp_path: Path) -> None:
    """A schema that is being read is there already."""
    put(tmp_path, "B", record("B", a=["null", "A"], c="C"))
    put(tmp_path, "C", {"type": "enum", "name": "C", "symbols": ["X", "Y"]})
    serde = sf.avro(put(tmp_path, "A", record("A", b=["null", "B"], c=["null", "C"])))
    value = {"b": {"a": {"b": None, "c": "Y"}, "c": "X"}, "c": None}
    assert serde.decode(serde.encode(value)) == value


def test_a_type_and_a_registry_see_one_schema(tmp_path: Path) -> None:
    """What is registered is whole: nobody else has the files."""
    put(tmp_path, "Airport", record("Airport", code="string"))
    via = {"type": "map", "values": {"type": "array", "items": "Airport"}}
    next_ = ["null", "Leg"]
    path = put(tmp_path, "Leg", record("Leg", start="Airport", end="Airport", via=via, next=next_))
    registry = sf.SchemaRegistry("mock://files")
    whole = sf.avro(path, type=Leg, registry=registry)
    assert whole.for_topic is not None
    serde = whole.for_topic("legs", False)
    leg = Leg(Airport("EWR"), Airport("JFK"), {"x": [Airport("ORD")]})
    raw = serde.encode(leg)
    assert serde.decode(raw) == leg
    told = str(registry.client.get_schema(int.from_bytes(raw[1:5])).schema_str)
    assert json.loads(told)["fields"][0]["type"] == record("Airport", code="string")
    assert json.loads(told)["fields"][1]["type"] == "Airport"


def test_files_that_do_not_help(tmp_path: Path) -> None:
    """No file, one of another name or namespace, and one that is broken: each is told."""
    path = put(tmp_path, "Leg", record("Leg", "air", start="Airport"))
    with pytest.raises(
        sf.SerdeError, match=r"unknown type 'air.Airport'; .*the file that does bes"
    ):
        sf.avro(path)
    for other in (record("Airport", code="string"), record("Port", "air", code="string"), ["int"]):
        put(tmp_path, "Airport", other)
        with pytest.raises(
            sf.SerdeError, match=r"Airport.avsc' does not define 'air.Airport'; got"
        ):
            sf.avro(path)
    (tmp_path / "air.Airport.avsc").write_text("{")
    with pytest.raises(sf.SerdeError, match=r"air.Airport.avsc' is no JSON; got Expecting"):
        sf.avro(path)
