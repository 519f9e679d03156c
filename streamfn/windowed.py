"""``Windowed``: the key of a window's result, and how it is written.

A windowed aggregate makes them, a stream of its results has them as keys, and a topic carries them.
Invariant: the bytes are those of Kafka Streams' own serdes, so that a Java program reads them, and
they begin with the bytes of the key itself, by which their partition is chosen.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any, Generic, TypeVar

import msgspec

KeyOut = TypeVar("KeyOut", covariant=True)

FOREVER_MS = (1 << 63) - 1
"""The end of a window that has none."""

SPAN = Struct(">qq")
"""End and start, behind the key."""
_START = Struct(">q")


class Windowed(msgspec.Struct, Generic[KeyOut], frozen=True, order=True, gc=False):
    """A key and the window it was aggregated in: from ``start_ms`` on.

    ``end_ms`` belongs to the window of a sliding or session one, and not to that of the others.
    """

    key: KeyOut
    start_ms: int
    end_ms: int

    @property
    def start(self) -> datetime:
        """When the window begins, in UTC."""
        return moment(self.start_ms)

    @property
    def end(self) -> datetime:
        """When the window ends, in UTC; the latest datetime for one that has no end."""
        return moment(self.end_ms)


def moment(time_ms: int) -> datetime:
    """Milliseconds since the epoch as a datetime in UTC, or the latest one there is."""
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def windowed_encoder(key: Callable[[Any], bytes]) -> Callable[[Windowed[Any]], bytes]:
    """Key bytes, end, start: ``SessionKeySchema``, as start and end are both told."""
    pack = SPAN.pack

    def encode(windowed: Windowed[Any]) -> bytes:
        return key(windowed.key) + pack(windowed.end_ms, windowed.start_ms)

    return encode


def windowed_decoder(key: Callable[[bytes], Any]) -> Callable[[bytes], Windowed[Any]]:
    """The inverse of ``windowed_encoder``."""
    unpack = SPAN.unpack

    def decode(raw: bytes) -> Windowed[Any]:
        end_ms, start_ms = unpack(raw[-16:])
        return Windowed(key(raw[:-16]), start_ms, end_ms)

    return decode


def start_encoder(key: Callable[[Any], bytes]) -> Callable[[Windowed[Any]], bytes]:
    """Key bytes, start: Java's ``TimeWindowedSerializer``."""
    pack = _START.pack

    def encode(windowed: Windowed[Any]) -> bytes:
        return key(windowed.key) + pack(windowed.start_ms)

    return encode


def start_decoder(key: Callable[[bytes], Any], size_ms: int) -> Callable[[bytes], Windowed[Any]]:
    """The inverse of ``start_encoder``, for windows of one size."""
    unpack = _START.unpack

    def decode(raw: bytes) -> Windowed[Any]:
        (start_ms,) = unpack(raw[-8:])
        return Windowed(key(raw[:-8]), start_ms, start_ms + size_ms)

    return decode
