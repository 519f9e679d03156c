"""Faust's records and codecs: on one topic each reads what the other wrote, byte for byte."""

import warnings
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Dict, List, Optional, Set  # noqa: UP035  # as Faust programs have it

import faust
import msgspec
import pytest
from faust.exceptions import SecurityWarning
from faust.models.fields import StringField
from faust.serializers import codecs
from faust.serializers.registry import Registry
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
)
from streamfn.serde.faust_records import faust_codec

REGISTRY: Any = Registry(key_serializer="raw", value_serializer="json")
"""What a Faust application reads and writes values with."""


class Line(faust.Record):
    """A record inside another."""

    sku: str
    count: int = 1


class Order(faust.Record, isodates=True, decimals=True, namespace="shop.Order"):
    """A record with what Faust programs use."""

    customer: str
    lines: List[Line] = []  # noqa: RUF012, UP006
    price: float = 0.0
    exact: Decimal = Decimal(0)
    at: Optional[datetime] = None  # noqa: UP045
    more: Dict[str, int] = {}  # noqa: RUF012, UP006
    tags: Set[str] = set()  # noqa: RUF012, UP006
    note: Optional[str] = None  # noqa: UP045


class Plain(faust.Record, include_metadata=False, serializer="json", coerce=True):
    """A record that does not name itself, and takes text for numbers."""

    size: int
    note: str = ""


class Packed(faust.Record, serializer="json|binary"):
    """A record in base64."""

    size: int


class Renamed(faust.Record):
    """A record whose field has another name in the bytes."""

    size: str = StringField(input_name="Size")


class Holder(msgspec.Struct):
    """A struct with records inside."""

    orders: list[Order] = []


def written_by_faust(value: Any, serializer: str | None = None) -> bytes:
    """Return the bytes that a Faust application writes."""
    return bytes(REGISTRY.dumps_value(type(value), value, serializer=serializer))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
numbers = st.integers(-(2**53), 2**53)
orders = st.builds(
    Order,
    customer=texts,
    lines=st.lists(st.builds(Line, sku=texts, count=numbers), max_size=3),
    price=st.floats(allow_nan=False, allow_infinity=False),
    exact=st.decimals(-(10**9), 10**9),
    at=st.none() | st.datetimes(timezones=st.just(UTC)),
    more=st.dictionaries(texts, numbers, max_size=3),
    note=st.none() | texts,
)


@given(orders)
def test_the_bytes_are_fausts(order: Order) -> None:
    """A topic holds what Faust writes, and each reads what the other wrote."""
    serde = topic_serde(Order)
    raw = serde.encode(order)
    assert raw == written_by_faust(order)
    assert serde.decode(written_by_faust(order)) == REGISTRY.loads_value(Order, raw)
    order.tags = []  # type: ignore[assignment]  # Faust reads a set of text as a list
    assert serde.decode(raw) == order


@given(orders)
def test_state_and_other_types_carry_records(order: Order) -> None:
    """A record comes back from a store, and from inside other types."""
    for serde in (state_serde(Order), key_serde(Order)):
        order.tags = []  # type: ignore[assignment]  # Faust reads a set of text as a list
        assert serde.decode(serde.encode(order)) == order
    holder = Holder([order, order])
    for inside in (topic_serde(Holder), state_serde(Holder)):
        assert inside.decode(inside.encode(holder)) == holder


def test_the_blessed_key() -> None:
    """A record names its class as Faust has it; one without metadata does not."""
    raw = topic_serde(Order).encode(Order(customer="ann"))
    assert msgspec.json.decode(raw)["__faust"] == {"ns": "shop.Order"}
    assert topic_serde(Plain).encode(Plain(size=1)) == written_by_faust(Plain(size=1))
    assert b"__faust" not in topic_serde(Plain).encode(Plain(size=1))
    assert topic_serde(Line).decode(raw.replace(b'"customer"', b'"sku"')).sku == "ann"


def test_options_are_fausts() -> None:
    """``coerce``, ``serializer`` and field names act as in Faust."""
    assert topic_serde(Plain).decode(b'{"size":"5"}') == Plain(size=5)
    serde = topic_serde(Packed)
    assert serde.name == "faust json|binary[Packed]"
    assert serde.encode(Packed(size=1)) == written_by_faust(Packed(size=1))
    assert serde.decode(written_by_faust(Packed(size=1))) == Packed(size=1)
    raw = topic_serde(Renamed).encode(Renamed(size="big"))
    assert msgspec.json.decode(raw)["Size"] == "big"
    assert topic_serde(Renamed).decode(raw) == Renamed(size="big")


def test_sets_are_written_in_order() -> None:
    """Faust writes a set as it lies, which differs between processes; here it is sorted."""
    one = topic_serde(Order).encode(Order(customer="a", tags=set("hgfedcba")))
    assert msgspec.json.decode(one)["tags"] == list("abcdefgh")
    packed = state_serde(Order).encode(Order(customer="a", tags=set("hgfedcba")))
    assert msgspec.msgpack.decode(packed)["tags"] == list("abcdefgh")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'{"count":1}', "field 'sku' is missing"),
        (b"[1]", "it is no object with fields"),
        (b"{", "does not decode as faust json.Line."),
    ],
)
def test_what_does_not_decode_is_named(raw: bytes, said: str) -> None:
    """Errors name the field, where one is wrong."""
    with pytest.raises(SerdeError, match=said):
        topic_serde(Line).decode(raw)


def test_a_field_that_does_not_coerce_is_named() -> None:
    """Faust's own error does not say which field it is about."""
    with pytest.raises(SerdeError, match=r"field 'size': ValueError: invalid literal"):
        topic_serde(Plain).decode(b'{"size":"many"}')
    with pytest.raises(SerdeError, match=r"field 'customer' is missing.*at `\$.orders\[0\]`"):
        topic_serde(Holder).decode(b'{"orders":[{}]}')


def test_wrong_values_are_refused() -> None:
    """Only records of the class are written, and no NaN as null."""
    with pytest.raises(SerdeError, match="give a Line"):
        topic_serde(Line).encode({"sku": "a"})  # type: ignore[arg-type]  # that is the test
    with pytest.raises(SerdeError, match="got nan at price"):
        topic_serde(Order).encode(Order(customer="a", price=float("nan")))
    with pytest.raises(SerdeError, match=r"does not encode as faust json.Line."):
        topic_serde(Line).encode(Line(sku=object()))


def test_pickle_is_refused() -> None:
    """A record or codec that would run what the bytes name is refused by the build."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)

        class Pickled(faust.Record, serializer="pickle"):
            size: int

    for refuse in (topic_serde, state_serde):
        with pytest.raises(SerdeError, match="codec 'pickle' cannot be used; it is pickle"):
            refuse(Pickled)
    for name in ("pickle", "pickle_restricted", "json|pickle"):
        with pytest.raises(SerdeError, match="it is pickle"):
            faust_codec(name)


def test_records_that_would_not_come_back_are_refused() -> None:
    """An abstract one, and a field written by another name than it is read by."""

    class Base(faust.Record, abstract=True):
        size: int

    class TwoNames(faust.Record):
        size: str = StringField(input_name="a", output_name="b")

    for record, said in ((Base, "is abstract"), (TwoNames, "written as 'b'; it is read as 'a'")):
        with pytest.raises(SerdeError, match=said):
            topic_serde(record)


def test_codecs() -> None:
    """A codec gives a serde, with a type as Faust's ``value_type`` or without."""
    plain_json = faust_codec("json")
    assert plain_json.encode({"a": [1]}) == codecs.dumps("json", {"a": [1]})
    assert plain_json.decode(b'{"a":[1]}') == {"a": [1]}
    assert faust_codec("raw", bytes).decode(b"\xff") == b"\xff"
    assert faust_codec("raw", str).decode("é".encode()) == "é"
    assert faust_codec("json", int).decode(b"5") == 5
    assert faust_codec("raw", float).decode(b"5.5") == 5.5
    assert faust_codec("json", Decimal).decode(b'"5.5"') == Decimal("5.5")
    packed = faust_codec("json|binary", Line)
    line = Line(sku="a")
    assert packed.encode(line) == written_by_faust(line, "json|binary")
    assert packed.decode(packed.encode(line)) == line


def test_codecs_of_the_users_own() -> None:
    """What is registered with Faust is found by its name."""

    class Reversed(codecs.Codec):
        def _dumps(self, s: Any) -> bytes:
            return bytes(reversed(s))

        def _loads(self, s: bytes) -> bytes:
            return bytes(reversed(s))

    codecs.register("reversed", Reversed())
    serde = faust_codec("json|reversed", Line)
    assert serde.encode(Line(sku="a")).startswith(b"}")
    assert serde.decode(serde.encode(Line(sku="a"))) == Line(sku="a")


def test_codecs_that_do_not_fit_are_refused() -> None:
    """An unknown name, a type that no codec has, a record with another serializer."""
    with pytest.raises(SerdeError, match=r"Faust has no codec 'jsno'; got 'jsno.binary'"):
        faust_codec("jsno|binary")
    with pytest.raises(SerdeError, match="cannot carry list"):
        faust_codec("json", list)
    with pytest.raises(SerdeError, match="names its own serializer 'json'"):
        faust_codec("yaml", Plain)


def test_starts_and_change() -> None:
    """A record can be changed; one whose fields have defaults starts as itself."""

    class Total(faust.Record):
        count: int = 0

    assert not is_immutable(Total)
    assert start_of(Total)() == Total()
    with pytest.raises(SerdeError, match="no default: 'sku'"):
        start_of(Line)


class LineV2(faust.Record):
    """A line with a field more."""

    sku: str
    count: int = 1
    note: str = ""


class LineV3(faust.Record):
    """A line with a field less."""

    sku: str


def test_compatibility() -> None:
    """Stored records are compared field by field."""
    assert incompatibility(fingerprint(Line), fingerprint(LineV2)) is None
    reason = incompatibility(fingerprint(Line), fingerprint(LineV3))
    assert reason is not None
    assert "field 'count' of LineV3" in reason
    assert fingerprint(Order) == fingerprint(Order)


def test_shown_as_plain_data() -> None:
    """The command line shows a record as JSON."""
    assert plain(Line(sku="a"))["sku"] == "a"


class Total(faust.Record):
    """What is kept, and goes out."""

    count: int = 0
    spent: float = 0.0


def test_end_to_end() -> None:
    """A program on records: topic, repartition, state, topic, in Faust's bytes."""
    app = sf.App("totals")
    source = app.topic("orders", key=str, value=Order)
    out: Any = app.topic("totals", key=str, value=Total)

    @app.function(app.stream(source).key_by(lambda order: order.customer), to=out)
    def add(order: Order, total: sf.Value[Total]) -> Any:
        kept: Any = total.value
        kept.count += 1
        kept.spent += order.price
        return kept

    with sf.testing.TestDriver(app) as driver:
        for price in (1.5, 2.5):
            driver.send_raw("orders", written_by_faust(Order(customer="ann", price=price)))
        driver.restart()
        driver.send(source, Order(customer="ann", price=4.0))
        assert [record.value for record in driver.read(out)] == [
            Total(count=1, spent=1.5),
            Total(count=2, spent=4.0),
            Total(count=3, spent=8.0),
        ]
        assert driver.state(add, "total") == {"ann": Total(count=3, spent=8.0)}
