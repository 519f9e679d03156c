"""How each key type is laid out in bytes: ``layout_of(type)`` gives its ``pack`` and ``unpack``.

Values come from and go to ``state.keys``, which puts Python's own errors (``MISFITS``) into words.

Invariant: a layout is ordered and ends itself: no value's bytes are the start of another's.

    int               8 bytes, -2**63 … 2**63 - 1, sign flipped         bool     1 byte
    float             8 bytes, no NaN, -0.0 is 0.0                      UUID     16 bytes
    str, bytes        each 00 as 00 FF, then the end 00 01              date     4 bytes
    datetime          00 naive, then 8 bytes of microseconds of the wall
                      01 aware, then 8 bytes of microseconds of UTC; it decodes as UTC
    timedelta         4 + 4 + 4 bytes: days, seconds, microseconds
    T | None          00, or 01 and T: None comes first
    tuple[A, B]       A B; so are NamedTuple, frozen dataclass, msgspec.Struct, pydantic model
    tuple[A, ...]     01 A for each item, then 00: a shorter tuple comes first
    Enum, Literal     as their values, which must be of one type and give the order
"""

import dataclasses
import enum
import struct
import types
import typing
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple, NoReturn
from uuid import UUID

import msgspec

from streamfn.serde.adapters import adapter_of

SUPPORTED = (
    "int, bool, float, str, bytes, date, datetime, timedelta, UUID, Enum, Literal, T | None, "
    "tuple, NamedTuple, a frozen msgspec.Struct, dataclass or pydantic model of these"
)

MISFITS = (TypeError, ValueError, ArithmeticError, AttributeError, LookupError, struct.error)
"""What a value or bytes that do not fit a layout raise."""


class Unordered(Exception):
    """A type without an ordered layout; the text says what was got."""


class Layout(NamedTuple):
    """Bytes of a value, and the value at a place in a buffer with the place after it."""

    pack: Callable[[Any], bytes]
    unpack: Callable[[bytes, int], tuple[Any, int]]


def unwrapped(type_: Any) -> Any:
    """Return what a NewType, Annotated or type alias stands for."""
    while True:
        if typing.get_origin(type_) is typing.Annotated:
            type_ = typing.get_args(type_)[0]
        elif isinstance(type_, typing.NewType):
            type_ = type_.__supertype__
        elif (
            type(type_).__name__ == "TypeAliasType"
        ):  # of typing from 3.12 on, or typing_extensions
            type_ = type_.__value__
        else:
            return type_


def layout_of(type_: Any) -> Layout:
    """Return the layout of a type.

    Raises:
        Unordered: it has none.
    """
    type_ = unwrapped(type_)
    origin, arguments = typing.get_origin(type_), typing.get_args(type_)
    if origin in (typing.Union, types.UnionType):
        return _union(arguments)
    if origin is typing.Literal:
        return _literal(arguments)
    if origin is tuple and not getattr(type_, "__unpacked__", False):
        return _many(arguments[0]) if arguments[1:] == (...,) else _tuple(arguments)
    if type_ in _PLAIN:
        return _PLAIN[type_]
    cls: Any = origin or type_
    return _class(type_, cls) if isinstance(cls, type) else _refuse(repr(type_))


def _refuse(got: str) -> NoReturn:
    raise Unordered(got)


# --- types of a fixed length

_SIGN = 1 << 63
_ALL = (1 << 64) - 1
_EIGHT = struct.Struct(">Q")
_pack_eight, _unpack_eight = _EIGHT.pack, _EIGHT.unpack_from
_DOUBLE = struct.Struct(">d")
_FOUR = struct.Struct(">I")
_MOMENT = struct.Struct(">BQ")
_SPAN = struct.Struct(">III")
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH = _EPOCH_UTC.replace(tzinfo=None)
_EPOCHS: dict[int, datetime] = {0: _EPOCH, 1: _EPOCH_UTC}
_MICROSECOND = timedelta(microseconds=1)


def _pack_int(value: int) -> bytes:
    try:
        return _pack_eight(value + _SIGN)
    except struct.error as error:
        message = "no int, or one outside -2**63 … 2**63 - 1"
        raise OverflowError(message) from error


def _unpack_int(buffer: bytes, at: int) -> tuple[int, int]:
    return _unpack_eight(buffer, at)[0] - _SIGN, at + 8


def _pack_bool(value: bool) -> bytes:
    _check(value, bool)
    return b"\x01" if value else b"\x00"


def _unpack_bool(buffer: bytes, at: int) -> tuple[bool, int]:
    return (False, True)[buffer[at]], at + 1


def _pack_float(value: float) -> bytes:
    number = float(value) if isinstance(value, int) else value
    if number != value:
        message = "an int that no float equals" if number == number else "NaN, which has no order"
        raise ValueError(message)
    bits = _EIGHT.unpack(_DOUBLE.pack(number + 0.0))[0]  # the sum makes 0.0 of -0.0
    return _EIGHT.pack(bits ^ _ALL if bits & _SIGN else bits | _SIGN)


def _unpack_float(buffer: bytes, at: int) -> tuple[float, int]:
    bits = _EIGHT.unpack_from(buffer, at)[0]
    raw = _EIGHT.pack(bits ^ _SIGN if bits & _SIGN else bits ^ _ALL)
    return _DOUBLE.unpack(raw)[0], at + 8


def _pack_date(value: date) -> bytes:
    _check(value, date)
    return _FOUR.pack(value.toordinal())


def _unpack_date(buffer: bytes, at: int) -> tuple[date, int]:
    return date.fromordinal(_FOUR.unpack_from(buffer, at)[0]), at + 4


def _pack_datetime(value: datetime) -> bytes:
    if value.utcoffset() is None:
        return _MOMENT.pack(0, (value.replace(tzinfo=None) - _EPOCH) // _MICROSECOND + _SIGN)
    return _MOMENT.pack(1, (value.astimezone(UTC) - _EPOCH_UTC) // _MICROSECOND + _SIGN)


def _unpack_datetime(buffer: bytes, at: int) -> tuple[datetime, int]:
    aware, microseconds = _MOMENT.unpack_from(buffer, at)
    epoch = _EPOCHS[aware]
    return epoch + timedelta(microseconds=microseconds - _SIGN), at + 9


def _pack_timedelta(value: timedelta) -> bytes:
    return _SPAN.pack(value.days + (1 << 31), value.seconds, value.microseconds)


def _unpack_timedelta(buffer: bytes, at: int) -> tuple[timedelta, int]:
    days, seconds, microseconds = _SPAN.unpack_from(buffer, at)
    return timedelta(days - (1 << 31), seconds, microseconds), at + 12


def _pack_uuid(value: UUID) -> bytes:
    return value.bytes


def _unpack_uuid(buffer: bytes, at: int) -> tuple[UUID, int]:
    return UUID(bytes=buffer[at : at + 16]), at + 16


# --- text and bytes: 00 01 can only be an end, since a 00 inside is followed by FF

_END = b"\x00\x01"


def _pack_bytes(value: bytes) -> bytes:
    return bytes.__bytes__(value).replace(b"\x00", b"\x00\xff") + _END


def _unpack_bytes(buffer: bytes, at: int) -> tuple[bytes, int]:
    end = buffer.index(_END, at)
    return buffer[at:end].replace(b"\x00\xff", b"\x00"), end + 2


def _pack_str(value: str) -> bytes:
    return str.encode(value).replace(b"\x00", b"\x00\xff") + _END


def _unpack_str(buffer: bytes, at: int) -> tuple[str, int]:
    raw, after = _unpack_bytes(buffer, at)
    return raw.decode(), after


_PLAIN: dict[Any, Layout] = {
    int: Layout(_pack_int, _unpack_int),
    bool: Layout(_pack_bool, _unpack_bool),
    float: Layout(_pack_float, _unpack_float),
    str: Layout(_pack_str, _unpack_str),
    bytes: Layout(_pack_bytes, _unpack_bytes),
    date: Layout(_pack_date, _unpack_date),
    datetime: Layout(_pack_datetime, _unpack_datetime),
    timedelta: Layout(_pack_timedelta, _unpack_timedelta),
    UUID: Layout(_pack_uuid, _unpack_uuid),
}


# --- types made of others


def _check(value: object, cls: type[Any]) -> None:
    if type(value) is not cls:
        message = f"a {type(value).__qualname__}"
        raise TypeError(message)


def _check_tuple(value: object) -> None:
    if not isinstance(value, tuple):
        _check(value, tuple)


def _class(type_: Any, cls: Any) -> Layout:
    if issubclass(cls, enum.Enum):
        values: list[Any] = [member.value for member in cls]
        return _converted(_one_type(values), cls, lambda member: member.value, cls)
    return _fields(cls, _types_of_fields(type_, cls))


def _types_of_fields(type_: Any, cls: Any) -> dict[str, Any]:
    if issubclass(cls, msgspec.Struct):
        if not (cls.__struct_config__.frozen and cls.__struct_config__.eq):
            _refuse(f"{cls.__qualname__}, a Struct that is not frozen or not compared")
        return {field.name: field.type for field in msgspec.structs.fields(type_)}
    adapter = adapter_of(cls)
    if adapter is not None:
        if adapter.key_fields is None:
            _refuse(f"{cls.__qualname__}, which is not frozen, or has aliases")
        return dict(adapter.key_fields)
    hints = typing.get_type_hints(cls, include_extras=True)
    names: tuple[str, ...] = getattr(cls, "_fields", ())
    if tuple in cls.__mro__ and names and set(names) <= set(hints):
        return {name: hints[name] for name in names}
    if dataclasses.is_dataclass(cls):
        _check_dataclass(cls)
        return {field.name: hints[field.name] for field in dataclasses.fields(cls)}
    return _refuse(f"{cls.__qualname__}, which has no order")


def _check_dataclass(cls: Any) -> None:
    if not (cls.__dataclass_params__.frozen and cls.__dataclass_params__.eq):
        _refuse(f"{cls.__qualname__}, a dataclass that is not frozen or not compared")
    for field in dataclasses.fields(cls):
        if not (field.init and field.compare):
            _refuse(f"{cls.__qualname__}, whose field {field.name!r} is not given or not compared")


def _fields(cls: type[Any], types_: dict[str, Any]) -> Layout:
    names = tuple(types_)
    return _converted(
        _tuple(list(types_.values())),
        cls,
        lambda value: tuple([getattr(value, name) for name in names]),
        lambda values: cls(**dict(zip(names, values, strict=True))),
    )


def _converted(
    inner: Layout, cls: type[Any], take: Callable[[Any], Any], make: Callable[[Any], Any]
) -> Layout:
    """Lay a class out as another value, taken out of its instances and made into one again.

    A subclass is a misfit: it would come back as its parent.
    """

    def pack(value: Any) -> bytes:
        _check(value, cls)
        return inner.pack(take(value))

    def unpack(buffer: bytes, at: int) -> tuple[Any, int]:
        value, after = inner.unpack(buffer, at)
        return make(value), after

    return Layout(pack, unpack)


def _one_type(values: Sequence[Any]) -> Layout:
    found: set[type[Any]] = {type(value) for value in values}
    if len(found) != 1:
        _refuse(f"values of the types {sorted(kind.__qualname__ for kind in found)}")
    return layout_of(found.pop())


def _literal(values: tuple[Any, ...]) -> Layout:
    some = [value for value in values if value is not None]
    inner = _one_type(some)

    def checked(value: Any) -> Any:
        if value not in some:
            message = f"none of {some}"
            raise ValueError(message)
        return value

    def unpack(buffer: bytes, at: int) -> tuple[Any, int]:
        value, after = inner.unpack(buffer, at)
        return checked(value), after

    def pack(value: Any) -> bytes:
        return inner.pack(checked(value))

    layout = Layout(pack, unpack)
    return layout if len(some) == len(values) else _optional(layout)


def _union(arguments: tuple[Any, ...]) -> Layout:
    some = [argument for argument in arguments if argument is not types.NoneType]
    if len(some) != 1:
        _refuse("a union, which has no order")
    return _optional(layout_of(some[0]))


def _optional(inner: Layout) -> Layout:
    def pack(value: Any) -> bytes:
        return b"\x00" if value is None else b"\x01" + inner.pack(value)

    def unpack(buffer: bytes, at: int) -> tuple[Any, int]:
        return inner.unpack(buffer, at + 1) if _unpack_bool(buffer, at)[0] else (None, at + 1)

    return Layout(pack, unpack)


def _tuple(types_: Sequence[Any]) -> Layout:
    inner = [layout_of(type_) for type_ in types_]
    if len(inner) == 2:
        return _pair(*inner)
    packs = [layout.pack for layout in inner]
    unpacks = [layout.unpack for layout in inner]

    def pack(value: Any) -> bytes:
        _check_tuple(value)
        return b"".join([each(item) for each, item in zip(packs, value, strict=True)])

    def unpack(buffer: bytes, at: int) -> tuple[Any, int]:
        values: list[Any] = []
        for each in unpacks:
            value, at = each(buffer, at)
            values.append(value)
        return tuple(values), at

    return Layout(pack, unpack)


def _pair(first: Layout, second: Layout) -> Layout:
    """Lay out the most frequent tuple, for speed: no loop."""
    (pack_one, unpack_one), (pack_two, unpack_two) = first, second

    def pack(value: Any) -> bytes:
        _check_tuple(value)
        one, two = value
        return pack_one(one) + pack_two(two)

    def unpack(buffer: bytes, at: int) -> tuple[Any, int]:
        one, at = unpack_one(buffer, at)
        two, at = unpack_two(buffer, at)
        return (one, two), at

    return Layout(pack, unpack)


def _many(type_: Any) -> Layout:
    inner = layout_of(type_)

    def pack(value: Any) -> bytes:
        _check_tuple(value)
        return b"".join([b"\x01" + inner.pack(item) for item in value]) + b"\x00"

    def unpack(buffer: bytes, at: int) -> tuple[Any, int]:
        values: list[Any] = []
        while _unpack_bool(buffer, at)[0]:
            value, at = inner.unpack(buffer, at + 1)
            values.append(value)
        return tuple(values), at + 1

    return Layout(pack, unpack)
