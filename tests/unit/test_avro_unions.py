"""Tests of unions in Avro schemas: a value goes to the first branch that fits it, or to none."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from io import BytesIO
from typing import Any
from uuid import UUID

import fastavro
import pytest

import streamfn as sf

DATE = {"type": "int", "logicalType": "date"}
INSTANT = {"type": "long", "logicalType": "timestamp-millis"}
LOCAL = {"type": "long", "logicalType": "local-timestamp-micros"}
CLOCK = {"type": "int", "logicalType": "time-millis"}
IDENTITY = {"type": "string", "logicalType": "uuid"}
PRICE = {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}
NOON = datetime(2013, 1, 1, 12)  # noqa: DTZ001  # of no zone on purpose
ZONED = NOON.replace(tzinfo=UTC)
HOME = UUID("12345678-1234-5678-1234-567812345678")


def record(name: str, **fields: Any) -> dict[str, Any]:
    """A record."""
    listed = [{"name": each, "type": type_} for each, type_ in fields.items()]
    return {"type": "record", "name": name, "fields": listed}


ORDER = record("Order", price="double", count="int")
REFUND = record("Refund", reason="string", price=["null", "double"])
NOTE = record("Note", text="string", read="boolean", at=INSTANT, next=["null", "Note"])


@pytest.mark.parametrize(
    ("branches", "value", "branch"),
    [
        (["null", ORDER, REFUND], {"reason": "late", "price": None}, 2),
        (["null", ORDER, REFUND], {"price": 1.5, "count": 2}, 1),
        ([ORDER, REFUND, NOTE], {"text": "x", "read": True, "at": ZONED, "next": None}, 2),
        ([NOTE, ORDER], {"price": 2.0, "count": 1}, 1),
        ([record("One", q="int"), record("Other", q="string")], {"q": "x"}, 1),
        ([record("One", q=DATE), record("Other", q=INSTANT)], {"q": ZONED}, 1),
        (["null", DATE, INSTANT], ZONED, 2),
        (["null", INSTANT, DATE], date(2013, 1, 1), 2),
        ([DATE, LOCAL], NOON, 1),
        ([CLOCK, INSTANT], ZONED, 1),
        ([INSTANT, CLOCK], time(1, 2, 3), 1),
        (["null", IDENTITY, "int"], HOME, 1),
        (["null", IDENTITY, "int"], 5, 2),
        ([PRICE, "double"], 1.5, 1),
        ([PRICE, "string"], "x", 1),
        (["boolean", "int"], 1, 1),
        (["float", "double", "int"], 1e300, 1),
        (["int", "long"], 1 << 40, 1),
    ],
)
def test_the_branch_that_fits_is_written(branches: Any, value: Any, branch: int) -> None:
    """Also where an earlier one has a field, a time or a number that the value does not fit."""
    out = BytesIO(bytes([branch * 2]))
    out.seek(1)
    plain: Any = fastavro  # its types leave out what a schema is
    plain.schemaless_writer(out, fastavro.parse_schema(branches[branch]), value)
    serde = sf.avro(record("Event", what=branches))
    assert serde.encode({"what": value}) == out.getvalue()
    found = serde.decode(out.getvalue())["what"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("branches", "value", "place"),
    [
        (["null", IDENTITY], "no uuid", "at what: expected one of null, string (uuid), got str"),
        (IDENTITY, "no uuid", "at what: expected string (uuid), got str 'no uuid'"),
        (["null", "float"], 1e39, "at what: expected one of null, float, got float 1e+39"),
        ("float", 1e39, "at what: expected float, got float 1e+39"),
        ("double", (1 << 53) + 1, "at what: expected double, got int 9007199254740993"),
        (["null", "double"], (1 << 53) + 1, "at what: expected one of null, double, got int"),
        ("double", 10**400, "at what: expected double, got int 1000"),
        (PRICE, Decimal("1.555"), "at what: expected decimal(4, 2), got Decimal"),
        (["null", PRICE], Decimal("NaN"), "at what: expected one of null, decimal(4, 2), got De"),
        ([ORDER, REFUND], {"reason": 5, "price": None}, "at what: expected one of record Order"),
        (["null", DATE], NOON, "at what: expected one of null, int (date), got datetime"),
    ],
)
def test_what_fits_no_branch_is_told(branches: Any, value: Any, place: str) -> None:
    """Nothing is written that nobody can read, or that is another value when it is read."""
    with pytest.raises(sf.SerdeError, match=r"does not encode as avro\[Event\]") as found:
        sf.avro(record("Event", what=branches)).encode({"what": value})
    assert place in str(found.value)


@pytest.mark.parametrize("number", [float("inf"), 3.4028234663852886e38, 0.0, -1.5, 7])
def test_floats_of_32_bits(number: float) -> None:
    """They keep what they can hold, up to the greatest of them."""
    serde = sf.avro({"type": "float"})
    assert serde.decode(serde.encode(number)) == number
    assert serde.decode(serde.encode(-number)) == -number


def test_a_value_can_say_which_record_it_is() -> None:
    """Where two have its fields; else it is the one that has most of them."""
    one, other = record("air.One", q="int"), record("air.Other", q="int", r=["null", "int"])
    serde = sf.avro(record("Event", what=[one, other, record("air.Third", q="int")]))
    assert serde.encode({"what": {"q": 1}}) == b"\0\2"
    assert serde.encode({"what": {"q": 1, "r": 2}}) == b"\2\2\2\4"
    assert serde.encode({"what": ("air.Third", {"q": 1})}) == b"\4\2"


def test_a_union_is_a_schema_too() -> None:
    """As a list, which is how JSON has it."""
    serde = sf.avro([ORDER, record("Reason", text="string")])
    assert serde.decode(serde.encode({"text": "late"})) == {"text": "late"}
    assert serde.name == "avro[Order | Reason]"


def test_dicts_can_be_said() -> None:
    """For type checkers; what is inside stays what the schema makes of it."""
    serde = sf.avro(record("Event", at=INSTANT, what=["null", REFUND]), type=dict[str, Any])
    value = {"at": ZONED, "what": {"reason": "late", "price": None}}
    assert serde.decode(serde.encode(value)) == value
    with pytest.raises(sf.SerdeError, match="do not fit; the schema has record Order, the type di"):
        sf.avro(ORDER, type=dict[str, int])
