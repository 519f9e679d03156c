"""Tests of what Avro writes and reads: any value comes back, what does not fit is told."""

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from itertools import count
from typing import Annotated, Any
from uuid import UUID

import fastavro
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamfn as sf
from tests.unit.avro_world import (
    NOON,
    SCHEMA,
    Carrier,
    Crew,
    Flight,
    Leg,
    Money,
    definition,
    flight,
)

WRONG: Any = 1.5
"""Of a type that no field has where it stands."""


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"legs": [Leg("a"), Leg("b", WRONG)]}, "at legs[1].minutes: expected long, got float 1.5"),
        ({"legs": [Leg(WRONG)]}, "at legs[0].airport: expected string, got float 1.5"),
        ({"number": 1 << 63}, "at number: expected one of long, null, got int 9223372036854775808"),
        ({"at": NOON.replace(tzinfo=None)}, "timestamp-micros with a zone), got datetime"),
        ({"local": NOON}, "at local: expected long (local-timestamp-micros without a zone)"),
        ({"clock": time(1, tzinfo=UTC)}, "at clock: expected long (time-micros without a zone)"),
        ({"day": NOON}, "at day: expected int (date), got datetime"),
        ({"price": Decimal("1.234")}, "at price: expected decimal(9, 2), got Decimal"),
        ({"price": Decimal("NaN")}, "at price: expected decimal(9, 2), got Decimal"),
        ({"seats": {"me": {"row": "3", "letter": "A"}}}, "at seats['me'].row: expected long, got"),
        ({"delay": "late"}, "at delay: expected one of null, double, got str 'late'"),
        ({"next": flight(delay=True)}, "at next.delay: expected one of null, double, got bool"),
        ({"crew": Crew(badge=WRONG)}, "at crew.badge: expected bytes, got float 1.5"),
    ],
)
def test_values_that_do_not_fit(changes: dict[str, Any], place: str) -> None:
    """Nothing is cut or shifted without a word: the field is told."""
    with pytest.raises(
        sf.SerdeError, match=r"value does not encode as avro\[Flight\]; at"
    ) as found:
        sf.avro(Flight).encode(flight(**changes))
    assert place in str(found.value)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"airport": "EWR", "minuts": 3}, "at minuts: expected a field of record Leg"),
        ({}, "at airport: expected string, got no such field"),
        ({"airport": None}, "at airport: expected string, got null"),
        (5, "; expected record Leg, got int 5"),
        ({"airport": "\ud800"}, "at airport: expected string"),
        ({"airport": "x", "minutes": True}, "at minutes: expected long, got bool True"),
    ],
)
def test_dicts_that_do_not_fit(value: Any, place: str) -> None:
    """A wrong name is told, too, also where a default stands in for the right one."""
    with pytest.raises(sf.SerdeError, match="does not encode") as found:
        sf.avro(SCHEMA).encode(value)
    assert place in str(found.value)


def test_bytes_that_do_not_fit() -> None:
    """The field at which they end or make no sense is told; what is left over, too."""
    serde = sf.avro(list[Leg])
    raw = serde.encode([Leg("EWR", 1), Leg("IAH", 2)])
    for broken, place in (
        (raw[:-4], "at [1].airport: expected string, got the end of the bytes (3 bytes wanted, 1"),
        (b"", "expected array of record Leg, got the end of the bytes"),
        (raw + b"!", "expected the end, got 1 more bytes after 12"),
        (b"\x02\x04\xff\xff\x02\x00", "at [0].airport: expected string, got bytes that are no te"),
        (b"\xff" * 30, "got a number of more than ten bytes"),
    ):
        with pytest.raises(sf.SerdeError, match=r"do not decode as avro\[array\[Leg\]\]") as found:
            serde.decode(broken)
        assert place in str(found.value)


def test_a_value_that_the_type_refuses() -> None:
    """The schema takes it, a constraint of the type does not: the field is told."""

    class Small(msgspec.Struct):
        numbers: list[Annotated[int, msgspec.Meta(le=9)]]

    class Wide(msgspec.Struct):
        numbers: list[int]

    wide = sf.avro({**definition(Wide), "name": "Small"}, type=Wide)
    with pytest.raises(
        sf.SerdeError, match=r"no value of avro\[Small\]; at numbers\[1\]: Expected"
    ):
        sf.avro(Small).decode(wide.encode(Wide([1, 10])))


ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])
TEXTS = st.text(max_size=5)
LONGS = st.integers(-(2**63), 2**63 - 1)
INSTANTS = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=ZONES)  # noqa: DTZ001  # bounds
LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (bool, st.booleans()),
    (int, LONGS),
    (float, st.floats(allow_nan=False)),
    (str, TEXTS),
    (bytes, st.binary(max_size=5)),
    (datetime, INSTANTS),
    (date, st.dates()),
    (time, st.times()),
    (UUID, st.uuids()),
    (Money, st.integers(-(10**9) + 1, 10**9 - 1).map(lambda cents: Decimal(cents).scaleb(-2))),
    (Carrier, st.sampled_from(Carrier)),
    (Leg, st.builds(Leg, TEXTS, LONGS)),
    (timedelta, st.timedeltas(timedelta(days=-999), timedelta(days=999))),
]
LIST: Any = list
DICT: Any = dict
TUPLE: Any = tuple
NUMBERS = count()
"""Two classes of one schema may not have one name."""


@st.composite
def typed(draw: st.DrawFn, depth: int = 2) -> tuple[Any, st.SearchStrategy[Any]]:
    """A type and the strategy of its values."""
    kind = draw(st.integers(0, 6 if depth else 1))
    if kind <= 1:
        leaf: tuple[Any, st.SearchStrategy[Any]] = draw(st.sampled_from(LEAVES))
        return leaf
    if kind == 5:
        fields = draw(st.lists(typed(depth - 1), min_size=1, max_size=4))
        made = msgspec.defstruct(
            f"R{next(NUMBERS)}", [(f"f{at}", each[0]) for at, each in enumerate(fields)]
        )
        return made, st.builds(made, *(each[1] for each in fields))
    given, values = draw(typed(depth - 1))
    inner: Any = given
    if kind == 2:
        return LIST[inner], st.lists(values, max_size=3)
    if kind == 3:
        return DICT[str, inner], st.dictionaries(TEXTS, values, max_size=3)
    if kind == 4:
        return inner | None, st.none() | values
    return TUPLE[inner, ...], st.lists(values, max_size=3).map(tuple)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_value_of_any_type_comes_back(data: st.DataObject) -> None:
    """Written by ours and read by plain fastavro with the same schema, it is the same, too."""
    type_, values = data.draw(typed())
    value = data.draw(values.filter(lambda each: each is not None))
    serde = sf.avro(type_)
    raw = serde.encode(value)
    assert serde.decode(raw) == value
    whole = {
        "type": "record",
        "name": "Whole",
        "fields": [{"name": "v", "type": definition(type_)}],
    }
    assert sf.avro(whole).encode(sf.avro(whole).decode(raw)) == raw


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_decode_or_are_told(raw: bytes) -> None:
    """No other error leaves a serde, and what decodes, fastavro decodes the same."""
    serde = sf.avro(SCHEMA)
    try:
        found = serde.decode(raw)
    except sf.SerdeError as error:
        assert "do not decode as avro[Leg]; " in str(error)  # noqa: PT017  # not always
    else:
        assert fastavro.validate(found, SCHEMA)
