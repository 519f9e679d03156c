"""Serdes for topics, chosen by type: text and bytes as they are, everything else as JSON.

A pydantic model, a Faust record or a protobuf message that is the whole value has its own bytes.

Invariant: a number never turns into ``null`` on its way: JSON has no NaN and no infinity, msgspec
writes ``null`` for them, and so such a value is refused. Functions give values, which go as bytes
to topics that people and other programs read; bytes from there come back as values.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast, overload

import msgspec
from msgspec import inspect

from streamfn.errors import SerdeError
from streamfn.serde.base import Serde
from streamfn.serde.hooks import decode_hook, encode_hook, pack_hook
from streamfn.serde.names import type_name
from streamfn.serde.operators import windowed_key_type, windowed_serde
from streamfn.serde.ready import BYTES, STRING
from streamfn.serde.shapes import (
    Order,
    adapter_of_whole,
    has_text_keys,
    holds,
    not_none,
    order_of,
    shape_of,
    unaliased,
    walk,
)
from streamfn.serde.state import ENCODERS, telling

T = TypeVar("T")

_ENCODERS: dict[Order, msgspec.json.Encoder] = {
    order: msgspec.json.Encoder(enc_hook=encode_hook, order=order)
    for order in cast("tuple[Order, ...]", (None, "deterministic"))
}


@overload
def topic_serde(type_: type[T]) -> Serde[T]: ...
@overload
def topic_serde(type_: object) -> Serde[Any]: ...
def topic_serde(type_: object) -> Serde[Any]:
    """The serde of a topic's values: ``str`` is UTF-8, ``bytes`` as is, the rest JSON.

    ``str | None`` is ``str``: null is a tombstone and needs no bytes. Sets are written sorted;
    where a type has sets beside dicts whose keys are not ``str``, msgspec cannot sort, and their
    order is the process's own.

    Raises:
        SerdeError: no serde can carry the type.
    """
    shape = shape_of(type_)
    return (
        _raw_serde(type_, shape)
        or _adapted_serde(type_, shape, as_key=False)
        or _json_serde(type_, shape, order_of(shape))
    )


@overload
def key_serde(type_: type[T]) -> Serde[T]: ...
@overload
def key_serde(type_: object) -> Serde[Any]: ...
def key_serde(type_: object) -> Serde[Any]:
    """The serde of a topic's keys: like ``topic_serde``, and equal keys always give equal bytes.

    Raises:
        SerdeError: no serde can carry the type, or it has dicts that cannot be written in order.
    """
    inner_key = windowed_key_type(type_)
    if inner_key is not None:
        return windowed_serde(type_, key_serde(inner_key))
    shape = shape_of(type_)
    if any(
        isinstance(inner, inspect.DictType) and not has_text_keys(inner) for inner in walk(shape)
    ):
        message = (
            f"type {type_name(type_)} cannot be a key; it has a dict whose keys are not str, for "
            "which there is no one order of bytes; use a tuple of pairs"
        )
        raise SerdeError(message)
    return (
        _raw_serde(type_, shape)
        or _adapted_serde(type_, shape, as_key=True)
        or _json_serde(type_, shape, "deterministic")
    )


@overload
def as_serde(type_or_serde: Serde[T]) -> Serde[T]: ...
@overload
def as_serde(type_or_serde: type[T]) -> Serde[T]: ...
@overload
def as_serde(type_or_serde: object) -> Serde[Any]: ...
def as_serde(type_or_serde: object) -> Serde[Any]:
    """A serde as it is, or the ``topic_serde`` of a type."""
    if isinstance(type_or_serde, Serde):
        return cast(Serde[Any], type_or_serde)  # type: ignore[redundant-cast]  # not for pyright
    return topic_serde(type_or_serde)


@overload
def as_key_serde(type_or_serde: Serde[T]) -> Serde[T]: ...
@overload
def as_key_serde(type_or_serde: type[T]) -> Serde[T]: ...
@overload
def as_key_serde(type_or_serde: object) -> Serde[Any]: ...
def as_key_serde(type_or_serde: object) -> Serde[Any]:
    """A serde as it is, or the ``key_serde`` of a type."""
    if isinstance(type_or_serde, Serde):
        return cast(Serde[Any], type_or_serde)  # type: ignore[redundant-cast]  # not for pyright
    return key_serde(type_or_serde)


def _raw_serde(type_: object, shape: inspect.Type) -> Serde[Any] | None:
    """The serde of plain text or bytes, optional or not; None for all other types."""
    plain = not_none(shape)
    if len(plain) != 1 or not isinstance(plain[0], inspect.StrType | inspect.BytesType):
        return None
    serde: Serde[Any] = STRING if isinstance(plain[0], inspect.StrType) else BYTES
    if plain[0] in (inspect.StrType(), inspect.BytesType()):
        return serde
    limited, decode = cast("type[Any]", unaliased(type_)), serde.decode
    return Serde(
        serde.name, type_, serde.encode, lambda data: msgspec.convert(decode(data), limited)
    )


def _adapted_serde(type_: object, shape: inspect.Type, *, as_key: bool) -> Serde[Any] | None:
    """The serde of a class of another library, optional or not: its own bytes."""
    adapter = adapter_of_whole(shape)
    if adapter is None:
        return None
    encode = adapter.encode_key if as_key else adapter.encode
    if adapter.hides_nan:
        encode = _finite(encode, adapter.name)
    return Serde(adapter.name, type_, encode, adapter.decode)


def _json_serde(type_: object, shape: inspect.Type, order: Order) -> Serde[Any]:
    """JSON by msgspec: its own bound methods wherever no float can be."""
    name = f"json[{type_name(type_)}]"
    for inner in walk(shape):
        if isinstance(inner, inspect.DictType) and not _is_json_key(inner.key_type):
            message = (
                f"type {type_name(type_)} cannot be JSON; it has a dict whose keys would not come "
                "back as they are; use keys of one type, text or number, or serde.msgpack(...)"
            )
            raise SerdeError(message)
    encode = _ENCODERS[order].encode
    decoder = msgspec.json.Decoder(cast("type[Any]", unaliased(type_)), dec_hook=decode_hook)
    if shape == inspect.FloatType():
        encode = _finite_float(encode, name)
    elif holds(shape, inspect.FloatType, inspect.AnyType, inspect.CustomType):
        encode = _finite(encode, name)
    return Serde(name, type_, encode, telling(name, shape, decoder.decode))


def _is_json_key(shape: inspect.Type) -> bool:
    """False for dict keys that JSON, where all keys are text, cannot hold or tell apart."""
    members = shape.types if isinstance(shape, inspect.UnionType) else (shape,)
    if any(isinstance(member, inspect.StrType) for member in members):
        return len(members) == 1
    return not any(isinstance(member, _NO_JSON_KEYS) for member in members)


_NO_JSON_KEYS = (
    inspect.NoneType,
    inspect.BoolType,
    inspect.TupleType,
    inspect.VarTupleType,
    inspect.FrozenSetType,
    inspect.CustomType,
    inspect.StructType,
    inspect.DataclassType,
    inspect.NamedTupleType,
)


def _finite_float(encode: Callable[[object], bytes], name: str) -> Callable[[Any], bytes]:
    """The same for a plain number: only of a finite one the difference with itself is 0."""

    def encode_finite(value: Any) -> bytes:
        if value.__class__ is float and value - value != 0.0:
            _refuse_infinite(value, name)
        return encode(value)

    return encode_finite


def _finite(encode: Callable[[object], bytes], name: str) -> Callable[[object], bytes]:
    """Refuse a NaN or an infinity, of which JSON makes ``null``.

    The usual value has no ``null`` at all, and ``partition`` is the fastest search for it (75 ns;
    ``in`` takes 270). Where there is one, MessagePack tells: it writes such floats as they are.
    """

    def encode_finite(value: object) -> bytes:
        text = encode(value)
        if text.partition(b"null")[1] and _may_be_infinite(value):
            _refuse_infinite(value, name)
        return text

    return encode_finite


def _may_be_infinite(value: object) -> bool:
    """False if certainly all floats in the value are finite.

    In MessagePack a float64 is 0xcb and eight bytes; infinite ones begin with 0x7f or 0xff, but
    so do very large ones, and other bytes may look like it.
    """
    try:
        packed = ENCODERS[None].encode(value)
    except OverflowError:  # an integer of more than 64 bits: fine in JSON, not in MessagePack
        return True
    return bool(packed.partition(b"\xcb\x7f")[1] or packed.partition(b"\xcb\xff")[1])


def _refuse_infinite(value: object, name: str) -> None:
    """Raise if a float in the value is not finite."""
    plain = msgspec.to_builtins(value, enc_hook=pack_hook)
    for path, number in _floats(plain, ""):
        if not math.isfinite(number):
            message = (
                f"a value does not encode as {name}; got {number}{path and f' at {path}'}; "
                "JSON would make it null; use None where the type allows it, or serde.msgpack(...)"
            )
            raise SerdeError(message)


def _floats(value: object, path: str) -> Iterator[tuple[str, float]]:
    """Yield all floats in plain data and where they are; keys of dicts are text in JSON."""
    if isinstance(value, float):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in cast("dict[object, object]", value).items():
            yield from _floats(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(cast("list[object]", value)):
            yield from _floats(inner, f"{path}[{index}]")
