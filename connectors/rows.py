"""``row_encoder``: how a row of a file becomes key, value and timestamp of a record.

Invariant: a row either becomes a value of its type, whole, or raises with the field that is wrong.
Rows come from a ``Source`` as dicts by column name (CSV: text or None); bytes go to its columns.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec

from streamfn.clock import Clock, SystemClock
from streamfn.errors import SerdeError
from streamfn.record import TIME_END_MS
from streamfn.serde import STRING, Serde, as_key_serde, as_serde
from streamfn.serde.hooks import decode_hook

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def row_encoder(
    value_type: Any,
    *,
    key: str | Callable[[Any], Any] | None,
    timestamp: str | Callable[[Any], int | datetime] | None = None,
    value_serde: Serde[Any] | None = None,
    key_serde: object = str,
    clock: Clock | None = None,
) -> Callable[[dict[str, Any]], tuple[bytes | None, bytes | None, int]]:
    """Return what turns a row into key, value and ``timestamp_ms``.

    Args:
        value_type: made of the row by field name; text becomes numbers, booleans, times.
        key: a column, or a function of the value; None is a null key.
        timestamp: a column (ISO 8601, or digits: milliseconds since the epoch), or a function of
            the value; without it the time of reading. A time without a zone is UTC.
        value_serde: how the value is written, if not by its type.
        key_serde: the key's type or serde.
        clock: what tells the time of reading.
    """
    convert, encode_value = msgspec.convert, (value_serde or as_serde(value_type)).encode
    key_of = _key_of(key, as_key_serde(key_serde))
    timestamp_of = _timestamp_of(timestamp, clock or SystemClock())

    def encode(row: dict[str, Any]) -> tuple[bytes | None, bytes | None, int]:
        value = convert(row, value_type, strict=False, dec_hook=decode_hook)
        return key_of(row, value), encode_value(value), timestamp_of(row, value)

    return encode


def milliseconds(time: object) -> int:
    """Return milliseconds since the epoch for a datetime, an int, or a text of either.

    >>> milliseconds("2013-01-01T10:00:00Z")
    1357034400000
    """
    if isinstance(time, str):
        digits = time[1:] if time.startswith("-") else time
        time = int(time) if digits.isdecimal() else datetime.fromisoformat(time)
    if isinstance(time, datetime):
        aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
        time = (aware - _EPOCH) // _MILLISECOND
    if type(time) is int and 0 <= time < TIME_END_MS:
        return time
    message = (
        "a timestamp must be a datetime from 1970 on, or milliseconds as int, until 9999; "
        f"got {time!r}"
    )
    raise SerdeError(message)


def _column(row: dict[str, Any], name: str) -> Any:
    """The value of a column, which must be there."""
    try:
        return row[name]
    except KeyError:
        got = f"got {', '.join(row)}; name one of them" if row else "the row has no columns at all"
        message = f"there is no column {name!r}; {got}"
        raise SerdeError(message) from None


def _key_of(
    key: str | Callable[[Any], Any] | None, serde: Serde[Any]
) -> Callable[[dict[str, Any], Any], bytes | None]:
    """How to find the key of a row and its value."""
    encode, key_type = serde.encode, cast("type[Any]", serde.type)

    def of_column(row: dict[str, Any], value: Any) -> bytes | None:
        found = _column(row, cast(str, key))
        if found is None:
            return None
        if serde is not STRING or type(found) is not str:
            found = msgspec.convert(found, key_type, strict=False, dec_hook=decode_hook)
        return encode(found)

    def of_value(row: dict[str, Any], value: Any) -> bytes | None:
        found = cast("Callable[[Any], Any]", key)(value)
        return None if found is None else encode(found)

    if key is None:
        return lambda row, value: None
    return of_column if isinstance(key, str) else of_value


def _timestamp_of(
    timestamp: str | Callable[[Any], int | datetime] | None, clock: Clock
) -> Callable[[dict[str, Any], Any], int]:
    """How to find the timestamp of a row and its value."""
    if timestamp is None:
        return lambda row, value: clock.now_ms()
    if isinstance(timestamp, str):
        return lambda row, value: milliseconds(_column(row, timestamp))
    return lambda row, value: milliseconds(timestamp(value))
