"""Tests of Confluent's wire format, of subjects, and of the registry that is asked."""

import json
import socket
from collections.abc import Generator
from typing import Any

import msgspec
import pytest

import streamfn as sf
from streamfn.clock import ManualClock
from streamfn.serde import bound
from streamfn.serde.avro_registry import SETTINGS
from tests.unit.registry_server import RegistryServer, registry_server


class Flight(msgspec.Struct):
    """A record."""

    carrier: str
    delay: int | None = None


class Wider(msgspec.Struct):
    """The same record with one field more."""

    carrier: str
    delay: int | None = None
    gate: str = "?"


FLIGHT: dict[str, Any] = {
    "type": "record",
    "name": "Flight",
    "fields": [{"name": "carrier", "type": "string"}],
}


def flight(*fields: dict[str, Any]) -> dict[str, Any]:
    """A version of the schema with more fields."""
    return {**FLIGHT, "fields": [*FLIGHT["fields"], *fields]}


@pytest.fixture
def server() -> Generator[RegistryServer]:
    """A registry on this machine."""
    with registry_server() as world:
        yield world


def registry_of(server: RegistryServer, **more: Any) -> sf.SchemaRegistry:
    """A client that does not wait long."""
    return sf.SchemaRegistry(server.url, {"max.retries": 0, "timeout": 5}, **more)


def on_topic(source: Any, registry: sf.SchemaRegistry, **more: Any) -> sf.Serde[Any]:
    """The serde of the values of topic ``flights``."""
    return bound(sf.avro(source, registry=registry, **more), "flights", key=False)


def test_wire_format_is_confluents() -> None:
    """A zero byte, the id in four, and the plain Avro of the value."""
    registry = sf.SchemaRegistry("mock://wire")
    plain, wire = sf.avro(Flight, registry=registry), on_topic(Flight, registry)
    value = Flight("UA", 3)
    assert wire.encode(value) == b"\0\0\0\0\1" + plain.encode(value)
    assert wire.decode(wire.encode(value)) == value
    assert plain.encode(value) == sf.avro(Flight).encode(value)


def test_nothing_is_asked_before_the_first_value(server: RegistryServer) -> None:
    """Neither an app nor a serde needs a network to be made; then each thing is asked once."""
    registry = registry_of(server)
    app = sf.App("lazy")
    app.topic("flights", key=str, value=sf.avro(Flight, registry=registry))
    serde = on_topic(Flight, registry)
    assert server.asked == []
    raw = serde.encode(Flight("UA"))
    asked = len(server.asked)
    for _ in range(3):
        assert serde.decode(serde.encode(Flight("UA"))) == Flight("UA")
    assert raw[:1] == b"\0"
    assert server.asked[asked:] == [f"GET /schemas/ids/{raw[4]}"]


def own_subject(topic: str, key: bool, record: str) -> str:
    """A subject by a function."""
    return f"{topic}/{key}/{record}"


@pytest.mark.parametrize(
    ("subject", "named"),
    [
        ("topic", "flights-key"),
        ("record", "air.Flight"),
        ("topic-record", "flights-air.Flight"),
        (own_subject, "flights%2FTrue%2Fair.Flight"),
    ],
)
def test_subjects(server: RegistryServer, subject: Any, named: str) -> None:
    """Strategies name subjects as Confluent's do; a function names them as it likes."""
    serde = sf.avro({**FLIGHT, "namespace": "air"}, registry=registry_of(server), subject=subject)
    bound(serde, "flights", key=True).encode({"carrier": "UA"})
    assert list(server.subjects) == [named]


def test_subject_needs_a_name() -> None:
    """A strategy by record has none to name a text after, and says so when the app is built."""
    app = sf.App("nameless")
    serde = sf.avro(str, registry=sf.SchemaRegistry("mock://names"), subject="record")
    app.topic("flights", key=serde, value=str)
    with pytest.raises(sf.TopologyError, match="schema string, which has no name; use subject="):
        app.topology()
    with pytest.raises(sf.SerdeError, match="subject= of avro is unknown; got 'Topic'"):
        sf.avro(str, subject="Topic")  # type: ignore[call-overload]  # the mistake under test


def test_values_of_older_and_newer_schemas(server: RegistryServer) -> None:
    """Each value is read by the schema of its id, and handed on as the program's type."""
    registry = registry_of(server)
    old = server.add("flights-value", schema=json.dumps(FLIGHT))
    extra = {"name": "note", "type": "string", "default": ""}
    new = server.add(
        "flights-value",
        schema=json.dumps(flight({"name": "delay", "type": "int"}, extra)),
    )
    serde = on_topic(Flight, registry)
    assert serde.decode(bytes([0, 0, 0, 0, old]) + b"\x04UA") == Flight("UA", None)
    assert serde.decode(bytes([0, 0, 0, 0, new]) + b"\x04UA\x06\x02x") == Flight("UA", 3)


def test_values_of_a_schema_that_does_not_fit(server: RegistryServer) -> None:
    """The id and the field are told."""
    changed = {**FLIGHT, "fields": [{"name": "carrier", "type": "long"}]}
    number = server.add("flights-value", schema=json.dumps(changed))
    serde = on_topic(Flight, registry_of(server))
    for _ in range(2):
        with pytest.raises(
            sf.SerdeError,
            match=rf"value of topic 'flights' cannot .* schema id {number} \(Flight\) does not "
            "fit: field 'carrier': long cannot be read as string",
        ):
            serde.decode(bytes([0, 0, 0, 0, number, 2]))


def test_schema_with_references(server: RegistryServer) -> None:
    """What a schema refers to is fetched, too."""
    leg = {"type": "record", "name": "Leg", "fields": [{"name": "to", "type": "string"}]}
    server.add("leg", schema=json.dumps(leg))
    number = server.add(
        "flights-value",
        schema=json.dumps(flight({"name": "leg", "type": "Leg"})),
        references=[{"name": "Leg", "subject": "leg", "version": 1}],
    )
    whole = sf.avro(flight({"name": "leg", "type": leg}), registry=registry_of(server))
    serde = bound(whole, "flights", key=False)
    raw = bytes([0, 0, 0, 0, number]) + whole.encode({"carrier": "UA", "leg": {"to": "JFK"}})
    assert serde.decode(raw) == {"carrier": "UA", "leg": {"to": "JFK"}}


def test_schema_of_another_kind(server: RegistryServer) -> None:
    """An id of Protobuf is no Avro."""
    server.add("flights-value", schema="{}", schemaType="PROTOBUF")
    with pytest.raises(sf.SerdeError, match=r"schema id 1 of .* is no Avro; got PROTOBUF"):
        on_topic(Flight, registry_of(server)).decode(b"\0\0\0\0\1x")


def test_unknown_id_is_asked_once_in_a_while(server: RegistryServer) -> None:
    """A topic full of them does not ask for each record; after a while it is asked again."""
    clock = ManualClock()
    serde = on_topic(Flight, registry_of(server, clock=clock))
    text = "value of topic 'flights' cannot be read as .* knows no schema id 7; got a value"
    for _ in range(3):
        with pytest.raises(sf.SerdeError, match=text) as caught:
            serde.decode(b"\0\0\0\0\7\4UA")
        assert not isinstance(caught.value, sf.StopError)
    assert server.asked == ["GET /schemas/ids/7"]
    for number in range(1, 8):
        server.add("flights-value", schema=json.dumps(FLIGHT), version=number)
    clock.advance_ms(60_000)
    assert serde.decode(b"\0\0\0\0\7\4UA") == Flight("UA")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", "got 0 bytes"),
        (b"\0\0\0", "got 3 bytes"),
        (b'{"carrier": "UA"}', 'got b\'{"carrier": "UA"}\''),
        (b"\1" + bytes(20), "it begins with byte 1: the id is in a header"),
    ],
)
def test_values_without_an_id(raw: bytes, text: str) -> None:
    """What is not in the wire format is told from what does not decode."""
    serde = on_topic(Flight, sf.SchemaRegistry("mock://heads"))
    with pytest.raises(sf.SerdeError, match="value of topic 'flights' is not in Confluent's") as e:
        serde.decode(raw)
    assert text in str(e.value)


def test_registry_that_does_not_answer() -> None:
    """No record is at fault, so that no policy may skip it; the next one does not wait again."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://user:secret@127.0.0.1:{taken.getsockname()[1]}"
        clock = ManualClock()
        registry = sf.SchemaRegistry(url, {"max.retries": 0}, clock=clock)
        serde = on_topic(Flight, registry)
        for _ in range(2):
            with pytest.raises(sf.RegistryError, match=r"failed to .*; is it up, and") as caught:
                serde.encode(Flight("UA"))
            assert isinstance(caught.value, sf.StopError)
            assert caught.value.retriable
            assert caught.value.exit_code == sf.LogError.exit_code
            assert "secret" not in str(caught.value) + repr(registry)
        with pytest.raises(sf.RegistryError, match="failed to tell schema 1; got ConnectError"):
            serde.decode(b"\0\0\0\0\1x")


def test_registry_that_fails(server: RegistryServer) -> None:
    """What the server says is told; one that comes back is asked again after a while."""
    clock = ManualClock()
    server.broken = (500, "no leader")
    serde = on_topic(Flight, registry_of(server, clock=clock))
    with pytest.raises(sf.RegistryError, match=r"got no leader \(HTTP 500\)"):
        serde.encode(Flight("UA"))
    server.broken = (401, "who are you")
    clock.advance_ms(60_000)
    with pytest.raises(sf.RegistryError, match=r"got who are you \(HTTP 401\)") as caught:
        serde.encode(Flight("UA"))
    assert not caught.value.retriable
    server.broken = None
    clock.advance_ms(60_000)
    assert serde.encode(Flight("UA"))[:1] == b"\0"


def test_a_schema_that_is_there_is_used(server: RegistryServer) -> None:
    """Docs and the order of words make no new version."""
    text = json.dumps({**FLIGHT, "doc": "as somebody else wrote it"})
    number = server.add("flights-value", schema=text)
    for register in (True, False):
        serde = on_topic(FLIGHT, registry_of(server), register=register)
        assert serde.encode({"carrier": "UA"})[4] == number
    assert server.subjects == {"flights-value": [number]}


def test_register_false(server: RegistryServer) -> None:
    """A schema that is not there is refused, with what is there."""
    serde = on_topic(Flight, registry_of(server), register=False)
    with pytest.raises(
        sf.RegistryError, match=r"is not in subject 'flights-value' .* no such subj"
    ):
        serde.encode(Flight("UA"))
    server.add("flights-value", schema=json.dumps({**FLIGHT, "name": "Flights"}))
    serde = on_topic(Flight, registry_of(server), register=False)
    with pytest.raises(
        sf.RegistryError, match=r"got version 1 \(id 1\) as the latest, which differs: record Fl"
    ):
        serde.encode(Flight("UA"))


NEW_FIELD = {"name": "gate", "type": "string"}
WITH_DEFAULT = {**NEW_FIELD, "default": "?"}


@pytest.mark.parametrize(
    ("level", "old", "new", "why"),
    [
        ("BACKWARD", FLIGHT, flight(WITH_DEFAULT), ""),
        ("BACKWARD", FLIGHT, flight(NEW_FIELD), "field 'gate' (string) is not in it and has no d"),
        ("BACKWARD", flight(NEW_FIELD), FLIGHT, ""),
        ("FORWARD", FLIGHT, flight(NEW_FIELD), ""),
        ("FORWARD", flight(NEW_FIELD), FLIGHT, "version 1 (id 1) does not read its values: field"),
        ("FULL", FLIGHT, flight(WITH_DEFAULT), ""),
        ("FULL", FLIGHT, flight(NEW_FIELD), "it does not read values of version 1 (id 1): field"),
        ("NONE", flight(NEW_FIELD), {**FLIGHT, "name": "Other"}, ""),
        ("BACKWARD", FLIGHT, {**FLIGHT, "name": "Other"}, "record Other was named Flight"),
    ],
)
def test_levels(
    server: RegistryServer, level: str, old: dict[str, Any], new: dict[str, Any], why: str
) -> None:
    """A new version is checked by the level of its subject before it is sent to the registry."""
    server.add("flights-value", schema=json.dumps(old))
    server.levels["flights-value"] = level
    serde = on_topic(new, registry_of(server))
    value = {"carrier": "UA", "gate": "4"} if "gate" in str(new) else {"carrier": "UA"}
    if not why:
        assert serde.encode(value)[4] == 2
        return
    with pytest.raises(sf.RegistryError, match=f"whose level is {level}") as caught:
        serde.encode(value)
    assert why in str(caught.value)
    assert server.subjects["flights-value"] == [1]
    assert not any(each.endswith("/versions") for each in server.asked)


@pytest.mark.parametrize("transitive", [False, True])
def test_transitive_levels(server: RegistryServer, transitive: bool) -> None:
    """With a transitive level all versions are looked at, else the latest only."""
    server.global_level = "BACKWARD_TRANSITIVE" if transitive else "BACKWARD"
    server.add("flights-value", schema=json.dumps(FLIGHT))
    server.add("flights-value", schema=json.dumps(flight(WITH_DEFAULT)))
    serde = on_topic(flight(NEW_FIELD), registry_of(server))
    if transitive:
        with pytest.raises(sf.RegistryError, match=r"of version 1 .*: field 'gate'"):
            serde.encode({"carrier": "UA", "gate": "4"})
    else:
        assert serde.encode({"carrier": "UA", "gate": "4"})[4] == 3


def test_the_mock_has_the_level_that_is_said() -> None:
    """In memory no level is set: BACKWARD holds, or what the program says."""
    for level, refused in (("BACKWARD", True), ("NONE", False)):
        registry = sf.SchemaRegistry("mock://levels", compatibility=level)  # type: ignore[arg-type]  # of a tuple
        on_topic(FLIGHT, registry).encode({"carrier": "UA"})
        serde = on_topic(flight(NEW_FIELD), registry)
        if refused:
            with pytest.raises(sf.RegistryError, match="field 'gate'"):
                serde.encode({"carrier": "UA", "gate": "4"})
        else:
            assert serde.encode({"carrier": "UA", "gate": "4"})[4] == 2


def test_two_programs_one_topic() -> None:
    """The newer version reads what the older wrote, and the other way about."""
    registry = sf.SchemaRegistry("mock://versions")
    schema = {
        **flight(
            {"name": "delay", "type": ["null", "long"], "default": None},
            {"name": "gate", "type": "string", "default": "?"},
        )
    }
    older, newer = on_topic(Flight, registry), on_topic(schema, registry, type=Wider)
    raw = older.encode(Flight("UA", 4))
    assert newer.decode(raw) == Wider("UA", 4, "?")
    assert older.decode(newer.encode(Wider("UA", 4, "B2"))) == Flight("UA", 4)


def test_wrong_settings(server: RegistryServer) -> None:
    """They are told as such, not as an outage."""
    registry = sf.SchemaRegistry(server.url, {"tiemout": 3})
    with pytest.raises(sf.ConfigError, match=r"setting of schema registry .* wrong; got Unrec"):
        on_topic(Flight, registry).encode(Flight("UA"))
    with pytest.raises(sf.ConfigError, match="got 'BACKWARDS'; say one of NONE, BACKWARD"):
        sf.SchemaRegistry(server.url, compatibility="BACKWARDS")  # type: ignore[arg-type]  # the mistake under test
    assert "timeout" in SETTINGS


def test_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install is told, as a command."""

    def find_none(name: str) -> None:
        """Nothing is installed."""

    monkeypatch.setattr("streamfn.serde.avro_registry.find_spec", find_none)
    with pytest.raises(sf.ConfigError, match=r"pip install 'streamfn\[registry\]'"):
        sf.SchemaRegistry("mock://none")
