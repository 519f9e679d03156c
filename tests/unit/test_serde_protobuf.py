"""Protobuf messages as keys, values and state; the classes are made here, without protoc."""

from typing import Any

import msgspec
import pytest
from google.protobuf import (  # type: ignore[import-untyped]  # it ships no types
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)
from hypothesis import given
from hypothesis import strategies as st

import streamfn as sf
from streamfn.cli.values import plain
from streamfn.errors import SerdeError
from streamfn.serde import (
    fingerprint,
    incompatibility,
    is_immutable,
    key_serde,
    start_of,
    state_serde,
    topic_serde,
    type_name,
)
from streamfn.serde.protobuf_messages import protobuf

Kind: Any = descriptor_pb2.FieldDescriptorProto


def message(name: str, *fields: dict[str, Any], syntax: str = "proto3", maps: bool = False) -> Any:
    """Make a message class of its fields; the first is number 1."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{name}{len(fields)}{syntax}.proto", package="test", syntax=syntax
    )
    made = file.message_type.add(name=name)
    for number, field in enumerate(fields, 1):
        made.field.add(**{"number": number, "label": Kind.LABEL_OPTIONAL} | field)
    leg = made.nested_type.add(name="Leg")
    leg.field.add(name="to", number=1, type=Kind.TYPE_STRING, label=Kind.LABEL_OPTIONAL)
    if maps:
        entry = made.nested_type.add(name="SeatsEntry")
        entry.options.map_entry = True
        for number, (part, kind) in enumerate(
            (("key", Kind.TYPE_STRING), ("value", Kind.TYPE_INT32)), 1
        ):
            entry.field.add(name=part, number=number, type=kind, label=Kind.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"test.{name}"))


FIELDS: list[dict[str, Any]] = [
    {"name": "carrier", "type": Kind.TYPE_STRING},
    {"name": "delay", "type": Kind.TYPE_INT64},
    {"name": "price", "type": Kind.TYPE_DOUBLE},
    {"name": "raw", "type": Kind.TYPE_BYTES},
    {
        "name": "legs", "type": Kind.TYPE_MESSAGE, "type_name": ".test.Flight.Leg",
        "label": Kind.LABEL_REPEATED,
    },
    {
        "name": "seats", "type": Kind.TYPE_MESSAGE, "type_name": ".test.Flight.SeatsEntry",
        "label": Kind.LABEL_REPEATED,
    },
]  # fmt: skip
Flight: Any = message("Flight", *FIELDS, maps=True)
Total: Any = message(
    "Total",
    {"name": "flights", "type": Kind.TYPE_INT32},
    {"name": "delay", "type": Kind.TYPE_INT64},
)
Needy: Any = message(
    "Needy",
    {"name": "id", "type": Kind.TYPE_INT32, "label": Kind.LABEL_REQUIRED},
    syntax="proto2",
)


Holder: Any = msgspec.defstruct(
    "Holder", [("flights", list[Flight], []), ("first", Flight | None, None)]
)
"""A struct with messages inside."""


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
flights = st.builds(
    Flight,
    carrier=texts,
    delay=st.integers(-(2**63), 2**63 - 1),
    price=st.floats(allow_nan=False),
    raw=st.binary(max_size=5),
    legs=st.lists(st.builds(Flight.Leg, to=texts), max_size=3),
    seats=st.dictionaries(texts, st.integers(-9, 9), max_size=3),
)


@given(flights)
def test_what_is_written_comes_back(flight: Any) -> None:
    """Topics and keys hold the wire bytes, state and other types carry them."""
    wire = flight.SerializeToString(deterministic=True)
    for serde in (topic_serde(Flight), key_serde(Flight), protobuf(Flight)):
        assert serde.encode(flight) == wire
        assert serde.decode(wire) == flight
    holder = Holder([flight, flight], flight)
    for value, inside in (
        (flight, state_serde(Flight)),
        (holder, state_serde(Holder)),
        (holder, topic_serde(Holder)),
    ):
        assert inside.decode(inside.encode(value)) == value


def test_equal_messages_have_equal_bytes() -> None:
    """A map's entries are written in order, on the wire and in JSON."""
    one, other = Flight(seats={"a": 1, "b": 2}), Flight(seats={"b": 2, "a": 1})
    for serde in (topic_serde(Flight), state_serde(Flight)):
        assert serde.encode(one) == serde.encode(other)
    inside = topic_serde(list[Flight])
    assert inside.encode([one]) == inside.encode([other]) == b'[{"seats":{"a":1,"b":2}}]'


def test_names() -> None:
    """Errors and ``describe`` name the class."""
    assert type_name(Flight) == "Flight"
    assert topic_serde(Flight).name == "protobuf[Flight]"
    assert topic_serde(Flight | None).name == "protobuf[Flight]"
    assert plain(Flight(carrier="UA", delay=5)) == {"carrier": "UA", "delay": "5"}


def test_what_does_not_decode_is_named() -> None:
    """Broken bytes and missing required fields say of which class."""
    with pytest.raises(SerdeError, match=r"decode as protobuf.Flight.; .*read the topic with the"):
        topic_serde(Flight).decode(b"\xff\xff")
    with pytest.raises(SerdeError, match=r"Confluent's wire format, with schema id 261 of a regis"):
        topic_serde(Flight).decode(b"\0\0\0\1\5\0" + Flight(carrier="UA").SerializeToString())
    with pytest.raises(
        SerdeError, match=r"Confluent's wire format, with schema id 7 of a registry"
    ):
        topic_serde(Flight).decode(b"\0\0\0\0\7\0")
    with pytest.raises(SerdeError, match="required fields are missing: 'id'"):
        topic_serde(Needy).decode(b"")
    with pytest.raises(SerdeError, match="missing required fields: id"):
        topic_serde(Needy).encode(Needy())
    with pytest.raises(SerdeError, match=r"speed.*at `\$\[0\]`"):
        topic_serde(list[Flight]).decode(b'[{"speed": 1}]')


def test_messages_of_another_class_are_refused() -> None:
    """Their bytes would be read as if they were right."""
    for refuse in (topic_serde(Flight), key_serde(Flight), state_serde(Flight)):
        for wrong in (Total(), object(), b""):
            with pytest.raises(SerdeError, match=r"encode as protobuf.Flight.; .*another class"):
                refuse.encode(wrong)
    with pytest.raises(SerdeError, match="wants a message class"):
        protobuf(dict)


def test_starts_and_change() -> None:
    """Messages can be changed, and start empty; one with required fields has no start."""
    assert not is_immutable(Flight)
    one, other = start_of(Total)(), start_of(Total)()
    assert one == other == Total()
    assert one is not other
    with pytest.raises(SerdeError, match="missing required fields: id"):
        start_of(Needy)


def test_compatibility() -> None:
    """On the wire a field is its number: a renamed one stays, a removed or retyped one does not."""
    more = message("Flight", *FIELDS, {"name": "note", "type": Kind.TYPE_STRING}, maps=True)
    renamed = message("Flight", {**FIELDS[0], "name": "airline"}, *FIELDS[1:], maps=True)
    retyped = message("Flight", {**FIELDS[0], "type": Kind.TYPE_INT32}, *FIELDS[1:], maps=True)
    fewer = message("Flight", *FIELDS[:5], maps=True)
    for new, said in (
        (more, ""),
        (renamed, ""),
        (retyped, "field 'carrier' of Flight changed from str to int32"),
        (fewer, "field 'seats' of Flight (dict[str, int32]) was removed"),
    ):
        reason = incompatibility(fingerprint(Flight), fingerprint(new))
        assert (reason or "").startswith(said) if said else reason is None


def test_end_to_end() -> None:
    """A program on messages: keys, repartition, state changed in place, an empty message too."""
    app = sf.App("totals")
    source = app.topic("flights", key=Flight, value=Flight)
    out = app.topic("totals", key=str, value=Total)

    def add(flight: Any, total: Any) -> Any:
        total.value.flights += 1
        total.value.delay += flight.delay
        return total.value

    add.__annotations__["total"] = sf.Value[Total]
    by_carrier = app.stream(source).key_by(lambda flight: flight.carrier, key=str)
    stage: Any = app.function(by_carrier, to=out)(add)
    with sf.testing.TestDriver(app) as driver:
        for delay in (5, 7):
            driver.send(source, Flight(carrier="UA", delay=delay), key=Flight(carrier="UA"))
        driver.send(source, Flight(), key=Flight())
        driver.restart()
        driver.send(source, Flight(carrier="UA", delay=1))
        assert [record.value for record in driver.read(out)] == [
            Total(flights=1, delay=5),
            Total(flights=2, delay=12),
            Total(flights=1),
            Total(flights=3, delay=13),
        ]
        found = driver.state(stage, "total")
        assert found == {"": Total(flights=1), "UA": Total(flights=3, delay=13)}
