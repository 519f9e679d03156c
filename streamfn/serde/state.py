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

from streamfn.serde.base import Serde
from streamfn.serde.hooks import decode_hook, encode_hook
from streamfn.serde.names import type_name
from streamfn.serde.shapes import (
    Order,
    is_immutable,
    order_of,
    shape_of,
    shares_defaults,
    unaliased,
)

T = TypeVar("T")

ENCODERS: dict[Order, msgspec.msgpack.Encoder] = {
    order: msgspec.msgpack.Encoder(enc_hook=encode_hook, order=order)
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
    decoder = msgspec.msgpack.Decoder(cast("type[Any]", unaliased(type_)), dec_hook=decode_hook)
    decode = decoder.decode
    if shares_defaults(shape) and not is_immutable(type_):
        decode = partial(_decoded_apart, decode)
    return Serde(f"msgpack[{type_name(type_)}]", type_, ENCODERS[order_of(shape)].encode, decode)


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
    return msgpack(type_)
