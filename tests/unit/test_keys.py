"""Key encodings against Python's own ordering and equality."""

import enum
import struct
import zoneinfo
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypeVar
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfn.errors import SerdeError
from streamfn.state.keys import component, key_codec, prefix_end

X = TypeVar("X")


class Place(NamedTuple):
    """A named tuple of two components."""

    name: str
    number: int | None


class Flight(msgspec.Struct, frozen=True, order=True):
    """A frozen struct."""

    carrier: str
    number: int


class Pair(msgspec.Struct, Generic[X], frozen=True, order=True):
    """A generic frozen struct."""

    first: X
    second: X


@dataclass(frozen=True, order=True)
class Seat:
    """A frozen dataclass with a field after a default."""

    row: int
    place: Place
    window: bool = False


class Level(enum.IntEnum):
    """Whole numbers, not declared in order."""

    HIGH = 9
    LOW = -3


class Colour(enum.StrEnum):
    """Texts, not declared in order."""

    RED = "red"
    BLUE = "blue"


class Access(enum.IntFlag):
    """Flags: values that no member has alone."""

    READ = 1
    WRITE = 2


class Day(enum.Enum):
    """Members that Python does not order: their values do."""

    SECOND = date(2013, 1, 2)
    FIRST = date(2013, 1, 1)


UserId = NewType("UserId", str)

INTS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text("\x00\x01a\xffÿ€😀", max_size=4)
BLOBS = st.binary(max_size=6) | st.lists(st.sampled_from([0, 1, 2, 254, 255])).map(bytes)
FLOATS = st.floats(allow_nan=False)
ZONES = st.sampled_from(
    [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(days=-1, hours=1))]
)
MOMENTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1))  # noqa: DTZ001 - a naive one is meant
AWARE = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=ZONES)  # noqa: DTZ001 - bounds
PLACES = st.builds(Place, TEXTS, st.none() | INTS)


def none_first(value: Any) -> tuple[bool, Any]:
    """Order None before all others."""
    return value is not None, value


CASES: dict[str, tuple[Any, st.SearchStrategy[Any], Callable[[Any], Any]]] = {
    "int": (int, INTS | st.integers(-300, 300), lambda value: value),
    "bool": (bool, st.booleans(), lambda value: value),
    "float": (float, FLOATS | st.integers(-(2**53), 2**53), lambda value: value),
    "str": (str, TEXTS, lambda value: value),
    "bytes": (bytes, BLOBS, lambda value: value),
    "date": (date, st.dates(), lambda value: value),
    "naive datetime": (datetime, MOMENTS, lambda value: value),
    "aware datetime": (datetime, AWARE, lambda value: value),
    "timedelta": (timedelta, st.timedeltas(), lambda value: value),
    "uuid": (UUID, st.uuids(), lambda value: value),
    "int enum": (Level, st.sampled_from(Level), lambda value: value),
    "str enum": (Colour, st.sampled_from(Colour), lambda value: value),
    "flags": (Access, st.integers(0, 3).map(Access), lambda value: value),
    "enum": (Day, st.sampled_from(Day), lambda value: value.value),
    "literal": (Literal["b", "a", "aa"], st.sampled_from(["b", "a", "aa"]), lambda value: value),
    "optional literal": (Literal[2, None, 1], st.sampled_from([1, 2, None]), none_first),
    "optional": (str | None, st.none() | TEXTS, none_first),
    "typing optional": (Optional[int], st.none() | INTS, none_first),  # noqa: UP045 - is the case
    "pair": (tuple[str, int], st.tuples(TEXTS, INTS), lambda value: value),
    "pair of bytes": (tuple[bytes, bytes], st.tuples(BLOBS, BLOBS), lambda value: value),
    "empty": (tuple[()], st.just(()), lambda value: value),
    "many": (tuple[int, ...], st.lists(st.integers(-2, 2)).map(tuple), lambda value: value),
    "many texts": (tuple[str, ...], st.lists(TEXTS, max_size=3).map(tuple), lambda value: value),
    "named tuple": (Place, PLACES, lambda value: (value.name, none_first(value.number))),
    "struct": (Flight, st.builds(Flight, TEXTS, INTS), lambda value: value),
    "generic struct": (Pair[int], st.builds(Pair[int], INTS, INTS), lambda value: value),
    "dataclass": (
        Seat,
        st.builds(Seat, st.integers(0, 1), st.builds(Place, TEXTS, INTS), st.booleans()),
        lambda value: value,
    ),
    "new type": (UserId, TEXTS, lambda value: value),
    "annotated": (
        Annotated[tuple[UserId, Level], ["unhashable"]],
        st.tuples(TEXTS, st.sampled_from(Level)),
        lambda value: value,
    ),
    "nested": (
        tuple[tuple[str, ...], tuple[bytes, tuple[float, bool]], tuple[int, ...]],
        st.tuples(
            st.lists(st.text("\x00\x01a", max_size=2), max_size=2).map(tuple),
            st.tuples(
                st.binary(max_size=2), st.tuples(st.sampled_from([-1.5, 0.0]), st.booleans())
            ),
            st.lists(st.integers(-1, 1), max_size=2).map(tuple),
        ),
        lambda value: value,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_order_is_pythons_and_all_come_back(case: str) -> None:
    """Bytes sort and are equal as their values are, and decoding gives the value back."""
    type_, values, order = CASES[case]
    codec = key_codec(type_)
    part = codec.component

    @settings(max_examples=80, deadline=None)
    @given(values, values)
    def check(first: Any, second: Any) -> None:
        low, high = order(first), order(second)
        for encode in (codec.encode, part.encode):
            one, two = encode(first), encode(second)
            assert (one < two, one == two) == (low < high, low == high)
        assert codec.decode(codec.encode(first)) == first
        joined = b"\x07" + part.encode(first) + part.encode(second)
        value, after = part.decode(joined, 1)
        assert value == first
        assert part.decode(joined, after) == (second, len(joined))

    check()


@pytest.mark.parametrize("case", CASES)
def test_a_component_starts_only_keys_that_begin_with_it(case: str) -> None:
    """No value's component is the start of another's: a prefix scan finds one key's entries."""
    type_, values, order = CASES[case]
    encode = component(type_).encode

    @settings(max_examples=40, deadline=None)
    @given(values, values)
    def check(first: Any, second: Any) -> None:
        if order(first) != order(second):
            assert not encode(second).startswith(encode(first))

    check()


@given(st.lists(st.tuples(TEXTS, st.integers(-9, 9)), max_size=12), TEXTS)
@settings(max_examples=100, deadline=None)
def test_a_prefix_scan_finds_what_a_filter_finds(pairs: list[tuple[str, int]], first: str) -> None:
    """Keys between a component and its ``prefix_end`` are those with that first field, in order."""
    codec = key_codec(tuple[str, int])
    rows = sorted(codec.encode(pair) for pair in {*pairs, (first, 0)})
    start = component(str).encode(first)
    end = prefix_end(start)
    assert end is not None
    found = [codec.decode(row) for row in rows if start <= row < end]
    assert found == sorted({pair for pair in [*pairs, (first, 0)] if pair[0] == first})


@given(BLOBS, BLOBS)
def test_prefix_end_is_the_least_above(prefix: bytes, other: bytes) -> None:
    """Any bytes lie below the end of a prefix exactly if they start with it or lie below it."""
    end = prefix_end(prefix)
    below = end is None or other < end
    assert below == (other.startswith(prefix) or other < prefix)


def test_text_and_bytes_are_the_topics_bytes() -> None:
    """A single str or bytes key is raw: its encoding is Python's own function."""
    assert key_codec(str).raw
    assert key_codec(UserId).raw
    assert key_codec(bytes).raw
    assert key_codec(str).encode is str.encode
    assert key_codec(bytes).encode(b"\x00\xff") == b"\x00\xff"
    assert not key_codec(int).raw
    assert not key_codec(str | None).raw
    assert not key_codec(Colour).raw


def test_zero_has_one_encoding() -> None:
    """-0.0 equals 0.0 in Python and so has its bytes."""
    codec = key_codec(float)
    assert codec.encode(-0.0) == codec.encode(0.0)
    assert struct.pack(">d", codec.decode(codec.encode(-0.0))) == bytes(8)


def test_an_aware_datetime_comes_back_as_the_same_moment_in_utc() -> None:
    """The zone is not kept, the moment is; the hour that a zone has twice stays two moments."""
    codec = key_codec(datetime)
    zone = zoneinfo.ZoneInfo("Europe/Berlin")
    early = datetime(2013, 10, 27, 2, 30, tzinfo=zone)
    late = early.replace(fold=1)
    assert codec.decode(codec.encode(early)) == datetime(2013, 10, 27, 0, 30, tzinfo=UTC)
    assert codec.encode(early) < codec.encode(late)


def test_naive_datetimes_come_before_aware_ones() -> None:
    """Python refuses to compare the two kinds; the encoding keeps them apart."""
    codec = key_codec(datetime)
    naive = datetime(2013, 1, 1, 12)  # noqa: DTZ001 - a naive one is meant
    assert codec.decode(codec.encode(naive)) == naive
    assert codec.encode(naive) < codec.encode(datetime(1, 1, 1, tzinfo=UTC))


MISFITS: list[tuple[Any, Any]] = [
    (int, 2**63),
    (int, -(2**63) - 1),
    (int, 1.0),
    (int, "1"),
    (bool, 1),
    (float, float("nan")),
    (float, 2**53 + 1),
    (float, 10**400),
    (float, "1"),
    (date, datetime(2013, 1, 1, tzinfo=UTC)),
    (datetime, date(2013, 1, 1)),
    (datetime, datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))),
    (timedelta, 5),
    (UUID, "x"),
    (Level, 9),
    (Colour, "red"),
    (Literal["a"], "b"),
    (tuple[str, int], ("a",)),
    (tuple[str, str], "ab"),
    (tuple[str, int], ("a", 1, 2)),
    (tuple[str, ...], ("a", 1)),
    (tuple[str, ...], ["a"]),
    (tuple[str, int], ("\ud800", 1)),
    (tuple[bytes, int], (bytearray(b"a"), 1)),
    (Place, ("a", 1)),
    (Flight, Flight),
    (str | None, 5),
]


@pytest.mark.parametrize(("type_", "key"), MISFITS, ids=str)
def test_a_key_that_does_not_fit_is_named(type_: Any, key: Any) -> None:
    """The error names key and type and fits on one line."""
    with pytest.raises(SerdeError, match="cannot be encoded as") as caught:
        key_codec(type_).encode(key)
    assert "\n" not in str(caught.value)


def test_an_int_out_of_range_says_the_range() -> None:
    """The text names the key and the range."""
    with pytest.raises(SerdeError, match=r"key 9223372036854775808 .* outside -2\*\*63"):
        key_codec(int).encode(2**63)


@pytest.mark.parametrize(
    ("type_", "raw"),
    [
        (int, b"1234567"),
        (int, b"123456789"),
        (bool, b""),
        (bool, b"\x02"),
        (float, b""),
        (str, b"\xff"),
        (tuple[str, int], b"a"),
        (tuple[str], b"\xff\x00\x01"),
        (tuple[int, ...], b""),
        (date, b"\xff" * 4),
        (datetime, b"\x07" + bytes(8)),
        (timedelta, b"\xff" * 12),
        (UUID, bytes(15)),
        (Colour, b"green\x00\x01"),
        (Literal["a"], b"b\x00\x01"),
        (str | None, b"\x05"),
    ],
    ids=str,
)
def test_bytes_that_are_no_key_are_refused(type_: Any, raw: bytes) -> None:
    """Too short, too long or meaningless bytes never decode to something."""
    with pytest.raises(SerdeError, match="reset the store"):
        key_codec(type_).decode(raw)


class Open(msgspec.Struct):
    """A struct that can change."""

    name: str


@dataclass
class Loose:
    """A dataclass that can change."""

    name: str


@dataclass(frozen=True)
class Partly:
    """A dataclass whose equality ignores a field."""

    name: str
    note: str = field(default="", compare=False)


@dataclass(frozen=True)
class Endless:
    """A dataclass that contains itself."""

    inner: "Endless | None"


class Mixed(enum.Enum):
    """An enum of two types."""

    A = 1
    B = "b"


@pytest.mark.parametrize(
    ("type_", "reason"),
    [
        (list[int], "list"),
        (dict, "dict"),
        (tuple, "tuple"),
        (set[int], "set"),
        (object, "object"),
        (Any, "Any"),
        (X, "X"),
        (None, "None"),
        (int | str, "union"),
        (int | str | None, "union"),
        (Literal["a", 1], "'int', 'str'"),
        (Mixed, "'int', 'str'"),
        (Open, "not frozen"),
        (Loose, "not frozen"),
        (Partly, "'note'"),
        (Endless, "contains itself"),
        (namedtuple("Bare", "a b"), "Bare"),  # pyright: ignore[reportUntypedNamedTuple] - is the case
        (tuple[int, *tuple[str, ...]], "tuple"),
        (tuple[str, list[int]], "list"),
    ],
    ids=str,
)
def test_a_type_without_an_order_is_refused(type_: Any, reason: str) -> None:
    """The error says why, and what is supported."""
    with pytest.raises(SerdeError, match="cannot be a key of a store") as caught:
        key_codec(type_)
    assert reason in str(caught.value)
    assert "frozen msgspec.Struct" in str(caught.value)


def test_a_subclass_is_no_key_of_its_parents_type() -> None:
    """It would come back as its parent, so it is refused."""

    class Shuttle(Flight, frozen=True):
        """A flight with more."""

    with pytest.raises(SerdeError, match="Shuttle"):
        key_codec(Flight).encode(Shuttle("AA", 1))
