"""Keys as bytes whose order is the keys' natural order, so that range scans mean what they say.

A key comes from a stage (or a record) as a typed value, goes to ``state.levels`` as bytes, and
comes back out of a scan. Each type has two encodings: the **single** key, and the **component**,
which ends itself, so that components can follow each other (``current key | map key``) and a
component's bytes start exactly the keys that begin with it. The bytes of each
type stand in ``state.layouts``.

Invariant: ``a < b`` in Python if and only if ``encode(a) < encode(b)``; ``decode(encode(a)) == a``.
"""

import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from streamfn.errors import SerdeError
from streamfn.state.layouts import MISFITS, SUPPORTED, Layout, Unordered, layout_of, unwrapped

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ComponentCodec(Generic[T]):
    """A type's encoding as a part of a longer key; it ends itself."""

    type: Any
    encode: Callable[[T], bytes]
    decode: Callable[[bytes, int], tuple[T, int]]
    """``decode(buffer, at)`` gives the value and where the next component begins."""


@dataclass(frozen=True, slots=True)
class KeyCodec(Generic[T]):
    """A type's encoding as a whole key.

    ``raw`` says that the bytes are also those of the topic's serde (str as UTF-8, bytes), so that a
    record's key bytes can be used as they are. A raw ``encode`` is Python's own function and raises
    Python's own TypeError or UnicodeError; all others raise SerdeError, which names the key.
    """

    type: Any
    raw: bool
    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]
    component: ComponentCodec[T]


def key_codec(type_: Any) -> KeyCodec[Any]:
    """Return the encoding of a key type.

    >>> key_codec(tuple[str, int]).decode(key_codec(tuple[str, int]).encode(("AA", -1)))
    ('AA', -1)
    >>> key_codec(str).encode("AA")
    b'AA'

    Raises:
        SerdeError: the type has no ordered encoding.
    """
    layout, plain = _layout(type_), unwrapped(type_)
    part = ComponentCodec(type_, _pack(layout, type_), _unpack(layout, type_))
    if plain is str:
        return KeyCodec(type_, True, str.encode, _decode_text, part)
    if plain is bytes:
        return KeyCodec(type_, True, bytes.__bytes__, bytes.__bytes__, part)
    return KeyCodec(type_, False, part.encode, _whole(layout, type_), part)


def component(type_: Any) -> ComponentCodec[Any]:
    """Return the encoding of a type as a part of a longer key.

    Raises:
        SerdeError: the type has no ordered encoding.
    """
    layout = _layout(type_)
    return ComponentCodec(type_, _pack(layout, type_), _unpack(layout, type_))


def _layout(type_: Any) -> Layout:
    try:
        return layout_of(type_)
    except (Unordered, RecursionError, NameError) as error:
        got = "a type that contains itself" if isinstance(error, RecursionError) else str(error)
        message = f"type {_name(type_)} cannot be a key of a store; got {got}; use {SUPPORTED}"
        raise SerdeError(message) from error


def prefix_end(prefix: bytes) -> bytes | None:
    r"""Return the smallest bytes above all that start with ``prefix``; None if nothing is above.

    >>> prefix_end(b"ab"), prefix_end(b"a\xff"), prefix_end(b"\xff")
    (b'ac', b'b', None)
    """
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else None


def _name(type_: Any) -> str:
    return type_.__qualname__ if type(type_) is type else str(type_)


def _pack(layout: Layout, type_: Any) -> Callable[[Any], bytes]:
    pack = layout.pack

    def encode(key: Any) -> bytes:
        try:
            return pack(key)
        except MISFITS as error:
            message = (
                f"key {reprlib.repr(key)} cannot be encoded as {_name(type_)}; got {error}; "
                "give the stage keys of the type it declares, or declare another"
            )
            raise SerdeError(message) from error

    return encode


def _unpack(layout: Layout, type_: Any) -> Callable[[bytes, int], tuple[Any, int]]:
    unpack = layout.unpack

    def decode(buffer: bytes, at: int) -> tuple[Any, int]:
        try:
            return unpack(buffer, at)
        except MISFITS as error:
            raise _undecodable(buffer, type_, str(error)) from error

    return decode


def _whole(layout: Layout, type_: Any) -> Callable[[bytes], Any]:
    unpack = layout.unpack

    def decode(buffer: bytes) -> Any:
        try:
            value, after = unpack(buffer, 0)
        except MISFITS as error:
            raise _undecodable(buffer, type_, str(error)) from error
        if after != len(buffer):
            raise _undecodable(buffer, type_, f"more bytes after the first {after}")
        return value

    return decode


def _decode_text(buffer: bytes) -> str:
    try:
        return buffer.decode()
    except UnicodeError as error:
        raise _undecodable(buffer, str, str(error)) from error


def _undecodable(buffer: bytes, type_: Any, got: str) -> SerdeError:
    message = (
        f"key {buffer[:40].hex()} ({len(buffer)} bytes, in hexadecimal) is no {_name(type_)}; "
        f"got {got}; use the type that the store was written with, or reset the store"
    )
    return SerdeError(message)
