"""Serdes for state: MessagePack, which keeps NaN, infinities and bytes as they are.

Invariant: what a store holds never depends on the hash seed of a process, as far as ``order_of``
can know. Values come from functions and go to a store and its changelog. A ``datetime`` with a
zone comes back in UTC.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast, overload

import msgspec
from msgspec import inspect

from streamfn.errors import SerdeError
from streamfn.serde.base import Serde
from streamfn.serde.hooks import pack_hook, unpack_hook
from streamfn.serde.names import type_name
from streamfn.serde.shapes import (
    Order,
    adapter_in,
    adapter_of_whole,
    holds,
    is_immutable,
    order_of,
    shape_of,
    shares_defaults,
    unaliased,
    walk,
)

T = TypeVar("T")

ENCODERS: dict[Order, msgspec.msgpack.Encoder] = {
    order: msgspec.msgpack.Encoder(enc_hook=pack_hook, order=order)
    for order in cast("tuple[Order, ...]", (None, "deterministic"))
}
"""The shared encoders, by how they order sets and dicts."""


@overload
def msgpack(type_: type[T]) -> Serde[T]: ...
@overload
def msgpack(type_: object) -> Serde[Any]: ...
def msgpack(type_: object) -> Serde[Any]:
    """A MessagePack serde of any type, for topics too.

    Raises:
        SerdeError: no serde can carry the type.
    """
    shape = shape_of(type_)
    decoder = msgspec.msgpack.Decoder(cast("type[Any]", unaliased(type_)), dec_hook=unpack_hook)
    decode = telling(f"msgpack[{type_name(type_)}]", shape, decoder.decode)
    if shares_defaults(shape) and not is_immutable(type_):
        decode = partial(_decoded_apart, decode)
    encode = ENCODERS[order_of(shape)].encode
    whole = adapter_of_whole(shape)
    if whole is not None:
        encode = partial(_encoded_by, whole.to_packed, encode)
    return Serde(f"msgpack[{type_name(type_)}]", type_, encode, decode)


def _encoded_by(
    to_packed: Callable[[Any], object], encode: Callable[[object], bytes], value: object
) -> bytes:
    """Encode by the declared class and not by the value's: another's bytes may look like its own.

    What is inside other types goes by its own class, as msgspec does.
    """
    return encode(None if value is None else to_packed(value))


def telling(
    name: str, shape: inspect.Type, decode: Callable[[bytes], Any]
) -> Callable[[bytes], Any]:
    """Let what a model of another library says of a value be a ``SerdeError``.

    Types that msgspec knows keep its own bound method.
    """
    if not any(adapter_in(inner) for inner in walk(shape)):
        return decode
    return partial(_decoded_telling, decode, name)


def _decoded_telling(decode: Callable[[bytes], Any], name: str, raw: bytes) -> Any:
    try:
        return decode(raw)
    except msgspec.MsgspecError as error:
        reason = str(error).removesuffix(" - at `$`")
        reason = reason if isinstance(error.__cause__, ValueError) else f"got {raw!r:.80}; {reason}"
        message = f"a value does not decode as {name}; {reason}"
        raise SerdeError(message) from error


def _decoded_apart(decode: Callable[[bytes], Any], raw: bytes) -> Any:
    """Decode what shares no default with its class; the copy costs only types that need it."""
    return copy.deepcopy(decode(raw))


@overload
def state_serde(type_: type[T]) -> Serde[T]: ...
@overload
def state_serde(type_: object) -> Serde[Any]: ...
def state_serde(type_: object) -> Serde[Any]:
    """The serde of a store's values.

    Raises:
        SerdeError: no serde can carry the type.
    """
    if holds(shape_of(type_), inspect.RawType):
        message = (
            f"type {type_name(type_)} cannot be kept in a store; it has a msgspec.Raw, whose JSON "
            "would stand in MessagePack as it is; say the type of what is in it"
        )
        raise SerdeError(message)
    return msgpack(type_)
