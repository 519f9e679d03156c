"""pydantic models as keys, values and state: what is written comes back, or the build says why."""

import math
import subprocess
import sys
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    SecretStr,
    computed_field,
    field_serializer,
)

import streamfn as sf
from streamfn.cli.values import plain
from streamfn.connectors.rows import row_encoder
from streamfn.errors import SerdeError
from streamfn.serde import (
    fingerprint,
    key_serde,
    state_serde,
    topic_serde,
    type_name,
)
from streamfn.state.keys import key_codec
from tests.unit.pydantic_world import Basket, Line, Order, Point, Strict, Unknown

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
lines = st.builds(Line, sku=texts, count=st.integers(0, 2**40))
orders = st.builds(
    Order,
    id=st.uuids(),
    customerName=texts,
    lines=st.lists(lines, max_size=3),
    price=st.floats(allow_nan=False, allow_infinity=False),
    exact=st.decimals(allow_nan=False, allow_infinity=False),
    at=st.none() | st.datetimes() | st.datetimes(timezones=st.just(UTC)),
    day=st.none() | st.dates(),
    raw=texts.map(str.encode),
    tags=st.sets(texts),
    pair=st.tuples(st.integers(-9, 9), texts),
    address=st.none() | st.ip_addresses(v=4),
    more=st.dictionaries(st.integers(-9, 9), texts),
)


@given(orders)
def test_what_is_written_comes_back(order: Order) -> None:
    """Topics, keys and state give the model back; also inside other types."""
    for serde in (topic_serde(Order), key_serde(Order), state_serde(Order)):
        assert serde.decode(serde.encode(order)) == order
    many = topic_serde(list[Order])
    assert many.decode(many.encode([order])) == [order]
    named = state_serde(dict[str, list[Order]])
    assert named.decode(named.encode({"a": [order]})) == {"a": [order]}


@given(st.lists(lines, max_size=3), st.none() | lines)
def test_models_inside_structs(inside: list[Line], first: Line | None) -> None:
    """A struct carries models in its fields."""
    basket = Basket(inside, {each.sku: each for each in inside}, first)
    for serde in (topic_serde(Basket), state_serde(Basket)):
        assert serde.decode(serde.encode(basket)) == basket


def test_a_topic_holds_what_pydantic_writes() -> None:
    """The bytes of a topic are the model's own JSON, by alias."""
    order = Order(id=UUID(int=1), customerName="ann", lines=[Line(sku="a")])
    serde = topic_serde(Order)
    assert serde.name == "json[Order]"
    written = order.model_dump_json(by_alias=True)
    assert Order.model_validate_json(serde.encode(order)) == order
    assert msgspec.json.decode(serde.encode(order)) == msgspec.json.decode(written)
    assert topic_serde(Line).encode(Line(sku="a", count=2)) == b'{"sku":"a","count":2}'
    assert topic_serde(Line | None).encode(Line(sku="a")) == topic_serde(Line).encode(Line(sku="a"))


def test_state_keeps_what_json_cannot() -> None:
    """NaN and bytes that are no text survive in a store; in a topic NaN is refused by field."""
    order = Order(id=UUID(int=1), customerName="ann", price=math.nan, raw=b"\xff\x00")
    serde = state_serde(Order)
    again = serde.decode(serde.encode(order))
    assert math.isnan(again.price)
    assert again.raw == b"\xff\x00"
    order.raw = b""
    for refusing in (topic_serde(Order), topic_serde(list[Order])):
        value: Any = order if refusing.type is Order else [order]
        with pytest.raises(SerdeError, match=r"got nan at .*price; JSON would make it null"):
            refusing.encode(value)


def test_bytes_do_not_depend_on_the_hash_seed() -> None:
    """Sets are written in order, in topics and in state, in each process alike."""
    code = (
        "import uuid\n"
        "from tests.unit.test_serde_pydantic import Order, state_serde, topic_serde\n"
        "order = Order(id=uuid.UUID(int=1), customerName='a', tags=set('abcdefgh'))\n"
        "print(topic_serde(Order).encode(order), state_serde(Order).encode(order))\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1


def test_equal_keys_have_equal_bytes() -> None:
    """A dict inside a key is written in order; field order is the model's."""
    one = Order(id=UUID(int=1), customerName="a", more={1: "x", 2: "y"})
    other = Order(id=UUID(int=1), customerName="a", more={2: "y", 1: "x"})
    assert key_serde(Order).encode(one) == key_serde(Order).encode(other)
    assert key_serde(Point).encode(Point(x=1)) == b'{"x":1,"y":0}'


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'{"sku":"a","count":"many"}', r"field 'count': Input should be a valid integer.*'many'"),
        (b'{"count":1}', r"field 'sku': Field required"),
        (b'{"sku":1,"count":-1}', r"field 'sku': .* \(and 1 more\)"),
        (b"{", "Invalid JSON"),
    ],
)
def test_what_does_not_validate_names_its_field(raw: bytes, said: str) -> None:
    """A topic's errors say field, reason, what was got; one line."""
    with pytest.raises(SerdeError, match=f"does not decode as json.Line.; {said}") as caught:
        topic_serde(Line).decode(raw)
    assert "\n" not in str(caught.value)


def test_errors_inside_say_where() -> None:
    """Inside other types the place in the whole is added; also in state."""
    with pytest.raises(SerdeError, match=r"field 'sku': Field required.*at `\$.lines\[0\]`"):
        topic_serde(Basket).decode(b'{"lines":[{}]}')
    with pytest.raises(SerdeError, match=r"field 'sku': Field required"):
        state_serde(Line).decode(msgspec.msgpack.encode({}))
    with pytest.raises(SerdeError, match=r"got b'\\xc1'"):
        state_serde(Line).decode(b"\xc1")


def test_values_of_another_class_are_refused() -> None:
    """What is no such model, or was given a wrong field, does not get into a topic or a store."""
    wrong = Line(sku="a")
    wrong.count = "many"  # type: ignore[assignment]  # pydantic does not look
    with pytest.raises(SerdeError, match=r"field_name='count'"):
        topic_serde(Line).encode(wrong)
    with pytest.raises(SerdeError, match=r"field_name='count'"):
        state_serde(Line).encode(wrong)
    with pytest.raises(SerdeError, match=r"json.Line.; .*Expected `Line`"):
        topic_serde(Line).encode({"sku": "a"})  # type: ignore[arg-type]  # that is the test


def test_a_strict_model_comes_back_from_state() -> None:
    """MessagePack has no tuples or sets; strictness is for what comes from outside."""
    value = Strict(at=datetime(2020, 1, 1, tzinfo=UTC), pair=(1, 2), names=frozenset("ab"))
    for serde in (state_serde(Strict), topic_serde(Strict), topic_serde(list[Strict])):
        given_: Any = [value] if serde.type == list[Strict] else value
        assert serde.decode(serde.encode(given_)) == given_


def test_computed_fields_are_left_out() -> None:
    """They would not be read: a model that forbids more fields reads its own bytes."""

    class Box(BaseModel):
        model_config = ConfigDict(extra="forbid")
        side: int

        @computed_field  # type: ignore[prop-decorator]  # as pydantic documents it
        @property
        def area(self) -> int:
            return self.side**2

    serde = topic_serde(Box)
    assert serde.encode(Box(side=2)) == b'{"side":2}'
    assert serde.decode(b'{"side":2}').area == 4


def test_models_that_would_lose_fields_are_refused() -> None:
    """Two aliases that differ, secrets and required fields that are excluded, each by name."""

    class TwoNames(BaseModel):
        x: int = Field(serialization_alias="a", validation_alias=AliasChoices("b", "c"))

    class Hidden(BaseModel):
        word: SecretStr

    class Excluded(BaseModel):
        x: int = Field(exclude=True)

    class Anything(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        x: Unknown

    class Deep(BaseModel):
        x: int = Field(validation_alias=AliasPath("a", "b"))

    class TwoWays(BaseModel):
        model_config = ConfigDict(ser_json_bytes="base64")
        x: bytes

    for model, said in (
        (TwoNames, "field 'x' is written as 'a'; it is read as 'b', 'c'"),
        (Deep, "field 'x' is written as 'x'; it is read as what stands inside another field"),
        (TwoWays, "writes bytes as 'base64' and reads them as 'utf8'"),
        (Hidden, "field 'word' is secret"),
        (Excluded, "field 'x' is excluded and has no default"),
        (Anything, "Cannot generate a JsonSchema"),
    ):
        for refuse in (topic_serde, state_serde, fingerprint):
            with pytest.raises(SerdeError, match=said):
                refuse(model)


def test_bytes_that_are_no_text() -> None:
    """JSON has none: the model says how they are written, or the cure is told."""

    class Plain(BaseModel):
        x: bytes
        names: set[str] = set()

    class Coded(BaseModel):
        model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
        x: bytes

    for serde in (topic_serde(Plain), key_serde(Plain)):
        assert serde.decode(serde.encode(Plain(x=b"text"))) == Plain(x=b"text")
        with pytest.raises(SerdeError, match=r"encode as json.Plain.; .*ser_json_bytes='base64'"):
            serde.encode(Plain(x=b"\xff"))
    coded = topic_serde(Coded)
    assert coded.decode(coded.encode(Coded(x=b"\xff"))) == Coded(x=b"\xff")
    assert state_serde(Plain).decode(state_serde(Plain).encode(Plain(x=b"\xff"))).x == b"\xff"


def test_unions_of_models() -> None:
    """They go in a model of their own, and the error says so."""

    class Cat(BaseModel):
        kind: Literal["cat"] = "cat"

    class Dog(BaseModel):
        kind: Literal["dog"] = "dog"

    class Pet(RootModel[Annotated[Cat | Dog, Field(discriminator="kind")]]):
        """Either."""

    for make in (topic_serde, key_serde, state_serde):
        serde = make(Pet)
        assert serde.decode(serde.encode(Pet(Dog()))) == Pet(Dog())
        with pytest.raises(SerdeError, match=r"wrap a union of pydantic models in one .Ro"):
            make(Cat | Dog)


def test_a_secret_with_a_serializer_is_carried() -> None:
    """Who writes a secret on purpose says so."""

    class Shown(BaseModel):
        word: SecretStr

        @field_serializer("word")
        def show(self, word: SecretStr) -> str:
            return word.get_secret_value()

    serde = topic_serde(Shown)
    assert serde.decode(serde.encode(Shown(word=SecretStr("x")))) == Shown(word=SecretStr("x"))


def test_shown_as_plain_data() -> None:
    """The command line shows a model as JSON."""
    assert plain(Line(sku="a")) == {"sku": "a", "count": 1}
    assert type_name(Line) == "Line"


class Purchase(BaseModel):
    """What comes in."""

    customer: str
    price: float


class Total(BaseModel):
    """What is kept, and goes out."""

    count: int = 0
    spent: float = 0.0
    prices: list[float] = []


def totals() -> tuple[sf.App, Any, Any, Any]:
    """Make a program that adds purchases up by customer."""
    app = sf.App("totals")
    purchases = app.topic("purchases", key=Point, value=Purchase)
    out = app.topic("totals", key=str, value=Total)

    @app.function(app.stream(purchases).key_by(lambda purchase: purchase.customer), to=out)
    def add(purchase: Purchase, total: sf.Value[Total]) -> Total:
        total.value.count += 1
        total.value.spent += purchase.price
        total.value.prices.append(purchase.price)
        return total.value

    return app, purchases, out, add


def test_end_to_end() -> None:
    """Keys, values, a repartition topic, state changed in place, a changelog: all models."""
    app, purchases, out, add = totals()
    with sf.testing.TestDriver(app) as driver:
        for price in (1.5, 2.5):
            driver.send(purchases, Purchase(customer="ann", price=price), key=Point(x=1))
        driver.restart()
        driver.send(purchases, Purchase(customer="ann", price=4.0), key=Point(x=2))
        found = driver.read(out)
        assert [record.value.count for record in found] == [1, 2, 3]
        assert found[-1].value == Total(count=3, spent=8.0, prices=[1.5, 2.5, 4.0])
        assert driver.state(add, "total") == {"ann": found[-1].value}


def test_frozen_models_are_keys_of_stores() -> None:
    """State under a model's key lies in the order of its fields; one that can change is refused."""
    app = sf.App("points")
    source = app.topic("in", key=Point, value=int)

    def count(value: int, seen: sf.Value[int]) -> None:
        seen.value += value

    add: Any = app.function
    stage: Any = add(source)(count)
    with sf.testing.TestDriver(app) as driver:
        for x, y in ((2, 0), (1, 5), (-1, 9), (1, 5)):
            driver.send(source, 1, key=Point(x=x, y=y))
        found = list(driver.state(stage, "seen").items())
    assert found == [(Point(x=-1, y=9), 1), (Point(x=1, y=5), 2), (Point(x=2), 1)]
    with pytest.raises(SerdeError, match="got Line, which is not frozen"):
        key_codec(Line)


def test_rows_of_files_become_models() -> None:
    """A feed's text columns are read as JSON's, and checked."""
    encode = row_encoder(Line, key="sku", timestamp=None)
    assert encode({"sku": "a", "count": "5"})[:2] == (b"a", b'{"sku":"a","count":5}')
    with pytest.raises(ValueError, match="field 'count'"):
        encode({"sku": "a", "count": "many"})


def test_streamfn_does_not_import_pydantic() -> None:
    """Nor Faust nor Protobuf: a program without them does without them."""
    code = (
        "import sys, streamfn, streamfn.serde, streamfn.testing\n"
        "assert streamfn.serde.state_serde(dict[str, int])\n"
        "assert not {'pydantic', 'faust', 'google.protobuf'} & set(sys.modules)\n"
    )
    paths = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=paths, check=False)
    assert done.returncode == 0
