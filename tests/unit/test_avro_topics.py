"""Tests of Avro on topics, through the whole engine: keys, values, state, tables, joins."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import pytest

import streamfn as sf
from streamfn.graph.describe import describe, to_text
from streamfn.graph.plan import plan
from streamfn.record import Record
from streamfn.results import decoded
from streamfn.serde import bound
from streamfn.testing import TestDriver


class Flight(msgspec.Struct):
    """What comes."""

    carrier: str
    origin: str
    delay: float | None = None


class Airport(msgspec.Struct, frozen=True):
    """A key that is a record."""

    code: str


class Delay(msgspec.Struct, frozen=True):
    """What goes."""

    flights: int = 0
    minutes: float = 0.0


class World:
    """An app from Avro to Avro with everything that may go wrong in between."""

    def __init__(self, registry: sf.SchemaRegistry | None, partitions: int = 1) -> None:
        self.app = app = sf.App("air")
        airport = sf.avro(Airport, registry=registry)
        self.flights = app.topic(
            "flights",
            key=sf.avro(str, registry=registry),
            value=sf.avro(Flight, registry=registry),
            partitions=partitions,
        )
        self.delays = app.topic(
            "delays", key=airport, value=sf.avro(Delay, registry=registry), partitions=partitions
        )
        by_airport = app.stream(self.flights).key_by(
            lambda flight: Airport(flight.origin), key=airport
        )

        @app.function(by_airport, to=self.delays)
        def total(flight: Flight, total: sf.Value[Delay]) -> Delay:
            """Adds a flight."""
            seen = total.value
            total.value = Delay(seen.flights + 1, seen.minutes + (flight.delay or 0))
            return total.value

        self.total = total


def seen(records: list[Record[Any, Any]]) -> list[tuple[Any, Any]]:
    """Keys and values."""
    return [(record.key, record.value) for record in records]


@pytest.mark.parametrize("with_registry", [True, False])
@pytest.mark.parametrize("generated", [True, False])
def test_from_avro_to_avro(with_registry: bool, generated: bool) -> None:
    """Topic, change of key, state, topic: types all the way, also after a restart."""
    registry = sf.SchemaRegistry("mock://air") if with_registry else None
    world = World(registry, partitions=3)
    with TestDriver(world.app, generated=generated) as driver:
        driver.send(world.flights, Flight("UA", "EWR", 2.5), key="1")
        driver.send(world.flights, Flight("AA", "JFK"), key="2")
        driver.restart()
        driver.send(world.flights, Flight("UA", "EWR", 3.0), key="1")
        assert sorted(seen(driver.read(world.delays)), key=str) == [
            (Airport("EWR"), Delay(1, 2.5)),
            (Airport("EWR"), Delay(2, 5.5)),
            (Airport("JFK"), Delay(1, 0.0)),
        ]
        assert driver.state(world.total, "total") == {
            Airport("EWR"): Delay(2, 5.5),
            Airport("JFK"): Delay(1, 0.0),
        }


def test_internal_topics_are_not_registered() -> None:
    """A repartition topic is the application's own: plain Avro, no subject."""
    registry = sf.SchemaRegistry("mock://air")
    world = World(registry)
    with TestDriver(world.app) as driver:
        driver.send(world.flights, Flight("UA", "EWR", 2.5), key="1")
        client = registry.client  # what the registry has, as another program sees it
        assert sorted(client.get_subjects()) == [
            "delays-key",
            "delays-value",
            "flights-key",
            "flights-value",
        ]
    planned = plan(world.app.topology())
    (inner,) = [node for sub in planned.subtopologies for node in sub.sources if node.internal]
    assert inner.topic.key.encode(Airport("EWR")) == b"\x06EWR"
    assert inner.topic.value.encode(Flight("UA", "EWR"))[:1] != b"\0"


def test_a_dict_schema_and_a_named_topic(tmp_path: Path) -> None:
    """Values are dicts; a topic named by text only is a topic of others too, and registered."""
    registry = sf.SchemaRegistry("mock://air")
    path = tmp_path / "flight.avsc"
    fields = [{"name": "carrier", "type": "string"}, {"name": "delay", "type": ["null", "double"]}]
    path.write_text(json.dumps({"type": "record", "name": "Flight", "fields": fields}))
    serde = sf.avro(path, registry=registry)
    app = sf.App("dicts")
    flights = app.topic("flights", key=str, value=serde)
    app.stream(flights).filter(lambda flight: flight["delay"] is not None).to("late")
    app.stream(flights).to(lambda flight: f"of-{flight['carrier']}", name="chosen")
    known = app.topic("late", key=str, value=serde)
    chosen = app.topic("of-UA", key=str, value=serde)
    with TestDriver(app) as driver:
        driver.send(flights, {"carrier": "UA", "delay": 2.0}, key="1")
        driver.send(flights, {"carrier": "UA", "delay": None}, key="2")
        assert seen(driver.read(known)) == [("1", {"carrier": "UA", "delay": 2.0})]
        assert len(driver.read(chosen)) == 2
    assert sorted(registry.client.get_subjects()) == [
        "flights-value",
        "late-value",
        "of-UA-value",
    ]


def test_a_table_and_joins() -> None:
    """A table of an Avro topic, joined by its key; a tombstone is none of Avro's business."""
    registry = sf.SchemaRegistry("mock://air")
    app = sf.App("joins")
    key = sf.avro(Airport, registry=registry)
    names = app.topic("names", key=key, value=sf.avro(str, registry=registry), partitions=2)
    visits = app.topic("visits", key=key, value=sf.avro(int, registry=registry), partitions=2)
    out = app.topic("out", key=key, value=sf.avro(str, registry=registry), partitions=2)
    table = app.table(names)
    app.stream(visits).left_join(table, lambda count, name: f"{count} {name}").to(out)
    counts = app.stream(visits).group_by_key().count(name="counts")
    with TestDriver(app) as driver:
        driver.send(names, "Newark", key=Airport("EWR"))
        driver.send(visits, 5, key=Airport("EWR"))
        driver.send(names, None, key=Airport("EWR"))
        driver.send(visits, 6, key=Airport("EWR"))
        assert [record.value for record in driver.read(out)] == ["5 Newark", "6 None"]
        assert driver.state(counts) == {Airport("EWR"): 2}
        assert driver.state(table) == {}


def test_a_look_up_finds_its_partition() -> None:
    """Which partition a key is in is told by the bytes that the topic has, with the id."""
    registry = sf.SchemaRegistry("mock://air")
    app = sf.App("lookups")
    key = sf.avro(Airport, registry=registry)
    names = app.topic("names", key=key, value=str, partitions=4)
    visits = app.topic("visits", key=key, value=int, partitions=4)
    out = app.topic("out", key=key, value=str, partitions=4)
    table = app.table(names)

    @app.function(app.stream(visits), to=out)
    def named(count: int, ctx: sf.Context[Airport], names: sf.Lookup[Airport, str] = table) -> str:
        """Names what it can."""
        return f"{names.get(ctx.key)} {count}"

    with TestDriver(app) as driver:
        for code in ("EWR", "JFK", "LGA", "SFO", "LAX"):
            driver.send(names, code.lower(), key=Airport(code))
            driver.send(visits, 1, key=Airport(code))
        found = {record.key.code: record.value for record in driver.read(out) if record.key}
    assert found == {code: f"{code.lower()} 1" for code in ("EWR", "JFK", "LGA", "SFO", "LAX")}


def test_keys_with_an_id_do_not_meet_keys_without() -> None:
    """A repartition topic has no ids, so its keys are in other partitions: told at the build."""
    registry = sf.SchemaRegistry("mock://air")
    world = World(registry, partitions=2)
    names = world.app.topic(
        "names", key=sf.avro(Airport, registry=registry), value=str, partitions=2
    )
    airport = sf.avro(Airport, registry=registry)
    by_airport = world.app.stream(world.flights).key_by(
        lambda flight: Airport(flight.origin), key=airport, name="again"
    )
    by_airport.join(world.app.table(names), lambda flight, name: name, value=str).to("named")
    with pytest.raises(
        sf.TopologyError, match=r"their keys are written differently.*avro.*put .re"
    ):
        plan(world.app.topology())


@pytest.mark.parametrize("value", [sf.avro(Flight), sf.msgpack(Flight), Flight])
def test_foreign_keys(value: Any) -> None:
    """What a left value hashes to does not depend on how its topic writes it."""
    app = sf.App("foreign")
    airport = sf.avro(Airport)
    flights = app.topic("flights", key=str, value=value, partitions=2)
    names = app.topic("names", key=airport, value=sf.avro(str), partitions=2)
    out = app.topic("out", key=str, value=str, partitions=2)
    joined = app.table(flights).join(
        app.table(names),
        lambda flight, name: f"{flight.carrier} {name}",
        on=lambda flight: Airport(flight.origin),
        value=str,
    )
    joined.to_stream().to(out)
    with TestDriver(app) as driver:
        for code in ("EWR", "JFK", "LGA"):
            driver.send(names, code.lower(), key=Airport(code))
            driver.send(flights, Flight("UA", code), key=code)
        assert sorted(record.value or "" for record in driver.read(out)) == [
            "UA ewr",
            "UA jfk",
            "UA lga",
        ]


def test_keys_without_an_id_meet() -> None:
    """The cure of the test before: both through repartition topics."""
    registry = sf.SchemaRegistry("mock://air")
    app = sf.App("cured")
    airport = sf.avro(Airport, registry=registry)
    flights = app.topic("flights", key=str, value=sf.avro(Flight, registry=registry), partitions=3)
    names = app.topic("names", key=airport, value=str, partitions=3)
    out = app.topic("out", key=airport, value=str, partitions=3)
    table = app.stream(names).repartition().to_table(name="table")
    keyed = app.stream(flights).key_by(lambda flight: Airport(flight.origin), key=airport)
    keyed.join(table, lambda flight, name: f"{flight.carrier} {name}").to(out)
    with TestDriver(app) as driver:
        for code in ("EWR", "JFK", "LGA"):
            driver.send(names, code.lower(), key=Airport(code))
            driver.send(flights, Flight("UA", code), key=code)
        assert sorted(record.value or "" for record in driver.read(out)) == [
            "UA ewr",
            "UA jfk",
            "UA lga",
        ]


def test_raw_keys_are_written_anew_for_another_schema() -> None:
    """Keys travel as bytes only between topics of one schema and one subject."""
    schemas = [
        {"type": "record", "name": "Key", "fields": fields}
        for fields in (
            [{"name": "code", "type": "string"}],
            [{"name": "code", "type": "string"}, {"name": "n", "type": "long", "default": 7}],
        )
    ]
    app = sf.App("keys")
    one = app.topic("one", key=sf.avro(schemas[0]), value=int)
    two = app.topic("two", key=sf.avro(schemas[1]), value=int)
    app.stream(one).to(two)
    with TestDriver(app) as driver:
        driver.send(one, 1, key={"code": "a"})
        assert seen(driver.read(two)) == [({"code": "a", "n": 7}, 1)]


def test_a_bad_record_says_where() -> None:
    """The engine names the record, the serde the field and the id."""
    registry = sf.SchemaRegistry("mock://air")
    world = World(registry)
    with TestDriver(world.app) as driver:
        driver.send(world.flights, Flight("UA", "EWR"), key="1")
        with pytest.raises(
            sf.StageError,
            match=r"flights\[0\] at offset 1; .*SerdeError: .*avro\[Flight\] by schema id 2; at or",
        ):
            driver.send_raw("flights", b"\0\0\0\0\2\4UA\6EW", key=b"\0\0\0\0\1\2")


class Row(TypedDict):
    """Values that the engine looks at twice before it writes them."""

    code: str


def test_an_outage_skips_no_record() -> None:
    """With skip a bad record is dropped, but not one that no registry could be asked about."""
    registry = sf.SchemaRegistry("http://127.0.0.1:9", {"max.retries": 0})
    app = sf.App("outage", on_error="skip")
    flights = app.topic("flights", key=str, value=sf.avro(Flight, registry=registry))
    codes = app.topic("codes", key=str, value=str)
    rows = app.topic("rows", key=str, value=sf.avro(Row, registry=registry))
    names = app.global_table(app.topic("names", key=str, value=sf.avro(str, registry=registry)))
    app.stream(flights).to("copies")
    app.stream(codes).map_values(lambda code: Row(code=code), value=Row).to(rows)
    asks = app.topic("asks", key=str, value=str)
    app.stream(asks).join(names, lambda ask, name: name, on=lambda ask: ask, value=str).to("named")
    for topic, raw, what in (
        ("flights", b"\0\0\0\0\1\4UA", "failed to tell schema 1"),
        ("codes", b"EWR", "failed to look into subject 'rows-value'"),
        ("asks", b"EWR", "failed to tell schema 2"),
    ):
        driver = TestDriver(app)
        driver.send_raw("flights", b"no id")
        driver.send_raw("names", b"\0\0\0\0\2\4UA", key=b"EWR")
        with pytest.raises(sf.RegistryError, match=what):
            driver.send_raw(topic, raw, key=b"EWR")
        driver.close(commit=False)


def test_an_outage_is_no_bad_record_for_who_looks() -> None:
    """Who reads a topic is told that nobody answers, and not to read it with another type."""
    registry = sf.SchemaRegistry("http://127.0.0.1:9", {"max.retries": 0})
    serde = bound(sf.avro(Flight, registry=registry), "flights", key=False)
    raw: Any = Record(b"k", b"\0\0\0\0\1\4UA", 0, "flights", 0, 0, ())
    with pytest.raises(sf.RegistryError, match=r"^schema registry .*tell schema 1") as outage:
        decoded(raw, bytes.decode, serde.decode)
    assert outage.value.exit_code == 7


def test_describe_names_the_schema() -> None:
    """``describe`` shows the record that a topic has."""
    world = World(sf.SchemaRegistry("mock://air"))
    lines = to_text(describe(plan(world.app.topology()))).splitlines()
    assert any("delays" in line and "Airport" in line and "Delay" in line for line in lines)


def test_windowed_keys() -> None:
    """The key inside a windowed one bears its id too."""
    registry = sf.SchemaRegistry("mock://air")
    app = sf.App("windows")
    key = sf.avro(Airport, registry=registry)
    visits = app.topic("visits", key=key, value=int)
    size = timedelta(hours=1)
    hourly = app.topic("hourly", key=sf.time_windowed(key, size), value=int)
    app.stream(visits).group_by_key().window(sf.Tumbling(size)).count().to_stream().to(hourly)
    with TestDriver(app) as driver:
        driver.send(visits, 5, key=Airport("EWR"), timestamp_ms=3_600_000)
        assert driver.read(hourly)[0].key == sf.Windowed(Airport("EWR"), 3_600_000, 7_200_000)
    assert sorted(registry.client.get_subjects()) == ["hourly-key", "visits-key"]
