"""Serdes of what operators keep and send: entries with a time, changes, windowed keys.

Invariant: a null is written as such and comes back as None. Entries go to stores and their
changelogs, changes to the repartition topics of regrouped tables, windowed keys to topics.
"""

from collections.abc import Callable
from datetime import timedelta
from struct import Struct
from typing import Any, TypeVar, cast, get_args, get_origin

from streamfn.errors import SerdeError
from streamfn.serde.base import Serde, bound
from streamfn.serde.state import state_serde
from streamfn.windowed import (
    Windowed,
    start_decoder,
    start_encoder,
    windowed_decoder,
    windowed_encoder,
)

K = TypeVar("K")

_TIME = Struct(">q")
_pack_time, _unpack_time = _TIME.pack, _TIME.unpack_from


def timed_serde(type_: object) -> Serde[Any]:
    """Entries ``(value, time in ms)``: eight bytes of time, then the value's, nothing for None.

    It is how Kafka Streams keeps a timestamped value (``ValueAndTimestampSerializer``).
    """
    value = state_serde(type_)
    encode_value, decode_value = value.encode, value.decode

    def encode(entry: tuple[Any, int]) -> bytes:
        if entry[0] is None:
            return _pack_time(entry[1])
        return _pack_time(entry[1]) + encode_value(entry[0])

    def decode(raw: bytes) -> tuple[Any, int]:
        if len(raw) == 8:
            return None, _unpack_time(raw)[0]
        return decode_value(raw[8:]), _unpack_time(raw)[0]

    return Serde(f"timed[{value.name}]", Any, encode, decode)


OLD, NEW, BOTH = 0, 1, 2


def change_serde(value: Serde[Any]) -> Serde[Any]:
    """Changes ``(new, old, latest)`` of a table that goes through a topic.

    The last byte says what there is: the old value, the new one, or both with the length of the new
    one in front (KIP-904, ``ChangedSerializer``).
    """
    encode_value, decode_value = value.encode, value.decode

    def encode(change: tuple[Any, Any, bool]) -> bytes:
        new, old, _ = change
        if old is None:
            return (b"" if new is None else encode_value(new)) + b"\x01"
        if new is None:
            return encode_value(old) + b"\x00"
        raw = encode_value(new)
        return _varint(len(raw)) + raw + encode_value(old) + b"\x02"

    def decode(raw: bytes) -> tuple[Any, Any, bool]:
        flag = raw[-1]
        if flag == NEW:
            return decode_value(raw[:-1]), None, True
        if flag == OLD:
            return None, decode_value(raw[:-1]), True
        length, at = _read_varint(raw)
        return decode_value(raw[at : at + length]), decode_value(raw[at + length : -1]), True

    return Serde(f"change[{value.name}]", Any, encode, decode)


def _varint(number: int) -> bytes:
    """Kafka's unsigned varint (``ByteUtils.writeUnsignedVarint``)."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _read_varint(raw: bytes) -> tuple[int, int]:
    number = shift = 0
    for at, byte in enumerate(raw):
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at + 1
        shift += 7
    message = f"a change has no length; got {raw[:20]!r}; the topic holds records of others"
    raise SerdeError(message)


def windowed_key_type(type_: object) -> object | None:
    """The key's own type, if a type is ``Windowed[K]``; else None."""
    if get_origin(type_) is Windowed:
        (inner,) = get_args(type_)
        return cast("object", inner)
    if type_ is Windowed:
        message = (
            "type Windowed says no key type; got a bare Windowed; say Windowed[str], or of what "
            "type the keys are"
        )
        raise SerdeError(message)
    return None


def windowed_serde(type_: object, inner: Serde[Any]) -> Serde[Any]:
    """Keys ``Windowed[K]`` as Kafka Streams' ``SessionWindowedSerde``: key, end, start."""
    return Serde(
        f"windowed[{inner.name}]",
        type_,
        windowed_encoder(inner.encode),
        windowed_decoder(inner.decode),
        hashed=_without_span(inner, 16),
    )


def time_windowed(inner: Serde[K], size: timedelta) -> Serde[Windowed[K]]:
    """Keys of windows of one size as Java's ``TimeWindowedSerde``: key and start.

    Args:
        inner: the serde of the key itself.
        size: the windows' size, which is not written.
    """
    if size < timedelta(milliseconds=1):
        message = f"time_windowed has no positive size; got {size!r}; say the windows' size"
        raise SerdeError(message)

    def bind(topic: str, key: bool) -> Serde[Windowed[K]]:
        return time_windowed(bound(inner, topic, key=key), size)

    return Serde(
        f"time_windowed[{inner.name}]",
        Windowed[inner.type],  # type: ignore[name-defined]  # a type made of a value
        start_encoder(inner.encode),
        start_decoder(inner.decode, size // timedelta(milliseconds=1)),
        hashed=_without_span(inner, 8),
        form=inner.form,
        for_topic=None if inner.for_topic is None else bind,
    )


def _without_span(inner: Serde[Any], length: int) -> Callable[[bytes], bytes]:
    """What of a windowed key chooses its partition: the key (``WindowedStreamPartitioner``)."""
    further = inner.hashed

    def hashed(raw: bytes) -> bytes:
        return raw[:-length] if further is None else further(raw[:-length])

    return hashed
