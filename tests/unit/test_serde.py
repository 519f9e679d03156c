"""Serdes: what goes in comes out, equal keys are equal bytes, and nothing is lost silently."""

import math
import struct
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.errors import SerdeError
from streamfn.serde import (
    BYTES,
    FLOAT64,
    INT32,
    INT64,
    JSON,
    STRING,
    Serde,
    as_key_serde,
    as_serde,
    key_serde,
    msgpack,
    state_serde,
    topic_serde,
)


class Flight(msgspec.Struct):
    """A value with an optional float, where a lost NaN would not be seen."""

    carrier: str
    delay: float | None


class Pair(NamedTuple):
    """A value that is an array in its bytes."""

    left: int
    right: str = "x"


class Color(Enum):
    """An enum of numbers."""

    RED = 1


text = st.text(st.sampled_from('aAz0é"\\\0\n\u2028😀'), max_size=8)
finite = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(2**63), 2**63 - 1)
VALUES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, integers),
    (str, text),
    (bytes, st.binary()),
    (bool, st.booleans()),
    (float, finite),
    (Flight, st.builds(Flight, text, st.none() | finite)),
    (Pair, st.builds(Pair, integers, text)),
    (list[int | None], st.lists(st.none() | integers)),
    (dict[str, float], st.dictionaries(text, finite)),
    (dict[int, str], st.dictionaries(integers, text)),
    (set[str], st.sets(text)),
    (dict[int, set[str]], st.dictionaries(integers, st.sets(text))),
    (tuple[int, str], st.tuples(integers, text)),
    (date, st.dates()),
    (datetime, st.datetimes(timezones=st.just(UTC))),
    (timedelta, st.timedeltas(timedelta(days=-999), timedelta(days=999))),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (UUID, st.uuids()),
    (Color, st.just(Color.RED)),
    (Counter[str], st.builds(Counter, text)),
    (deque[int], st.builds(deque, st.lists(integers))),
    (OrderedDict[str, int], st.builds(OrderedDict, st.dictionaries(text, integers))),
    (Any, st.recursive(st.none() | st.booleans() | integers | finite | text, st.lists)),
]


@given(st.data())
def test_every_value_comes_back(data: st.DataObject) -> None:
    """JSON and MessagePack return an equal value of the same class, for all types."""
    type_, values = data.draw(st.sampled_from(VALUES))
    value = data.draw(values)
    for serde in (topic_serde(type_), state_serde(type_)):
        back = serde.decode(serde.encode(value))
        assert back == value
        assert type(back) is type(value)


@given(st.dictionaries(text, integers), st.randoms())
def test_equal_keys_are_equal_bytes(entries: dict[str, int], chance: Any) -> None:
    """The order in which a key was put together does not show in its bytes."""
    shuffled = list(entries.items())
    chance.shuffle(shuffled)
    serde = key_serde(dict[str, int])
    assert serde.encode(entries) == serde.encode(dict(shuffled))


WITH_FLOATS: list[tuple[Any, Callable[[float], Any]]] = [
    (float, lambda number: number),
    (Flight, lambda number: Flight("null", number)),
    (Any, lambda number: {"a": [None, {"b": number}], "big": 2**70}),
    (list[float | None], lambda number: [None, number]),
    (defaultdict[str, float], lambda number: defaultdict(float, a=number)),
]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -math.nan])
@pytest.mark.parametrize(("type_", "wrap"), WITH_FLOATS)
def test_json_refuses_what_it_would_lose(type_: Any, wrap: Any, value: float) -> None:
    """A NaN or an infinity is an error with its place; it never becomes null."""
    with pytest.raises(SerdeError, match=f"got {value}.*None where the type allows it"):
        topic_serde(type_).encode(wrap(value))


@given(st.none() | st.floats(), text, st.binary())
def test_json_refuses_exactly_the_infinite(number: float | None, word: str, data: bytes) -> None:
    """Nulls, texts and bytes that look like an infinite float do not matter; such a float does."""
    value = [number, word, data, None, 52095, -16]
    serde: Serde[Any] = topic_serde(Any)
    if number is not None and not math.isfinite(number):
        with pytest.raises(SerdeError):
            serde.encode(value)
    else:
        assert serde.decode(serde.encode(value))[0] == number


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_state_keeps_the_infinite(value: float) -> None:
    """A store holds any float."""
    serde = state_serde(Flight)
    assert str(serde.decode(serde.encode(Flight("UA", value))).delay) == str(value)


def test_without_floats_the_encoder_is_msgspecs_own() -> None:
    """The hot path has no Python function of ours where none is needed."""
    for serde in (topic_serde(int), topic_serde(list[str]), state_serde(Flight)):
        assert type(serde.encode).__name__ == "builtin_function_or_method"
        assert type(serde.decode).__name__ == "builtin_function_or_method"


def test_sets_do_not_depend_on_the_hash_seed() -> None:
    """Two processes write the same set as the same bytes."""
    program = (
        "from streamfn.serde import state_serde, topic_serde\n"
        "value = {str(number) for number in range(50)}\n"
        "print(state_serde(set[str]).encode(value), topic_serde(set[str]).encode(value))"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(filter(None, [".", *sys.path]))},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1] != b""


def test_state_keeps_the_order_of_a_dict() -> None:
    """A dict comes back in the order that the program gave it."""
    serde = state_serde(dict[str, int])
    assert list(serde.decode(serde.encode({"b": 1, "a": 2}))) == ["b", "a"]


def test_text_and_bytes_are_themselves() -> None:
    """Text is UTF-8 and bytes are as they are, optional or not; null needs no bytes."""
    assert topic_serde(str) is topic_serde(str | None) is STRING
    assert topic_serde(bytes) is BYTES
    assert STRING.encode("ö") == "ö".encode()
    with pytest.raises(TypeError):
        BYTES.encode(5)  # type: ignore[arg-type]  # the mistake under test


@pytest.mark.parametrize(
    ("serde", "value", "data"),
    [
        (INT32, -2, b"\xff\xff\xff\xfe"),
        (INT64, 1, b"\0\0\0\0\0\0\0\1"),
        (FLOAT64, 1.5, b"\x3f\xf8\0\0\0\0\0\0"),
    ],
)
def test_numbers_as_kafka_streams_writes_them(serde: Serde[Any], value: Any, data: bytes) -> None:
    """The ready serdes write Java's bytes, and refuse other lengths and too large numbers."""
    assert serde.encode(value) == data
    assert serde.decode(data) == value
    for mistake in (lambda: serde.decode(data + b"\0"), lambda: serde.encode(10**400)):
        with pytest.raises((struct.error, OverflowError)):
            mistake()


def test_a_serde_stands_where_a_type_may() -> None:
    """``as_serde`` takes both; the untyped JSON serde is one to pass."""
    assert as_serde(INT64) is INT64
    assert as_key_serde(INT64) is INT64
    assert as_serde(Flight).name == "json[Flight]"
    assert as_key_serde(str) is STRING
    assert msgpack(Flight).name == "msgpack[Flight]"
    assert JSON.decode(b'{"a":[1,null]}') == {"a": [1, None]}


class Plain:
    """A class that no serde knows."""


@pytest.mark.parametrize(
    ("make", "type_", "text"),
    [
        (topic_serde, Plain, "type Plain cannot be a key or value"),
        (state_serde, list[Plain], r"type Plain of list\[Plain\]"),
        (topic_serde, int | datetime | str, "more than one str-like"),
        (topic_serde, "Flight", "only a name"),
        (topic_serde, dict[tuple[int, int], int], "cannot be JSON"),
        (topic_serde, dict[int | str, int], "cannot be JSON"),
        (key_serde, dict[int, int], "cannot be a key"),
        (state_serde, defaultdict[str, int | str], "no value for a missing key"),
        (state_serde, list[msgspec.Raw], "kept in a store; it has a msgspec.Raw"),
    ],
)
def test_types_that_cannot_be_carried_are_refused_at_once(make: Any, type_: Any, text: str) -> None:
    """A mistake in a type is found when the serde is made, and the error names the type."""
    with pytest.raises(SerdeError, match=text):
        make(type_)


def test_what_is_no_value_does_not_encode() -> None:
    """An object of a foreign class is an error, not a text about it."""
    with pytest.raises(SerdeError, match="type Plain does not encode"):
        JSON.encode(Plain())


def test_limits_hold_for_plain_text_too() -> None:
    """A constraint on a ``str`` is checked when it is decoded."""
    serde = topic_serde(Annotated[str, msgspec.Meta(min_length=2)])
    assert serde.encode("ab") == b"ab"
    assert serde.decode(b"ab") == "ab"
    with pytest.raises(msgspec.ValidationError):
        serde.decode(b"a")


def test_nested_containers_come_back_as_themselves() -> None:
    """A defaultdict in a defaultdict still makes its missing values."""
    serde = state_serde(defaultdict[str, defaultdict[str, int]])
    counts = serde.decode(serde.encode(defaultdict(lambda: defaultdict(int))))
    counts["a"]["b"] += 1
    assert serde.decode(serde.encode(counts)) == {"a": {"b": 1}}
