"""How keys and values are written for people and programs, with their types or without.

Invariant: what is shown can be told from what was not understood: bytes that are neither JSON,
MessagePack nor text are written as ``0x…``.
"""

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, cast

import msgspec

from streamfn.errors import SerdeError
from streamfn.graph.topology import UNKNOWN
from streamfn.record import Record
from streamfn.serde.hooks import decode_hook, encode_hook
from streamfn.serde.names import type_name


def plain(value: object) -> Any:
    """Make a decoded value into what JSON can hold."""
    if isinstance(value, bytes):
        return text_or_hex(value)
    try:
        return msgspec.to_builtins(
            value, builtin_types=(bytes,), str_keys=True, enc_hook=encode_hook
        )
    except (TypeError, ValueError, msgspec.MsgspecError, SerdeError):
        return repr(value)  # of a serde of the user's own, which no other may understand


def compact(value: object) -> str:
    """Write a plain value on one line; a text on its own goes without quotes."""
    return value if isinstance(value, str) else to_json(value)


def to_json(value: object) -> str:
    """Write a plain value as JSON on one line."""
    return json.dumps(value, ensure_ascii=False, default=_of_bytes)


def _of_bytes(value: object) -> str:
    return text_or_hex(value) if isinstance(value, bytes) else repr(value)


def text_or_hex(raw: bytes) -> str:
    """Show bytes as text if they are, else as hexadecimal."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return f"0x{raw.hex()}"
    return text if text.isprintable() or "\n" in text or "\t" in text else f"0x{raw.hex()}"


def guess_topic_value(raw: bytes) -> Any:
    """Read a topic's value without its type: JSON, else text, else bytes."""
    try:
        return msgspec.json.decode(raw)
    except msgspec.MsgspecError:
        return text_or_hex(raw)


def guess_state_value(raw: bytes) -> Any:
    """Read a store's value without its type: MessagePack, else as a topic's.

    A table's value has its time before it, of which the first two bytes are zero until 10889.
    """
    found = _of_msgpack(raw)
    if found is UNKNOWN and raw.startswith(b"\0\0"):
        found = _of_msgpack(raw[8:])
    return guess_topic_value(raw) if found is UNKNOWN else found


def _of_msgpack(raw: bytes) -> Any:
    try:
        return plain(msgspec.msgpack.decode(raw))
    except msgspec.MsgspecError:
        return UNKNOWN


def time_text(timestamp_ms: int) -> str:
    """Write a timestamp as UTC; one that no calendar has, as its number."""
    try:
        time = datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return str(timestamp_ms)
    return f"{time:%Y-%m-%d %H:%M:%S}.{timestamp_ms % 1000:03d}Z"


def record_json(record: Record[Any, Any], *, headers: bool) -> str:
    """Write a record as a line of JSON."""
    facts: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": plain(record.key),
        "value": plain(record.value),
    }
    if headers:
        facts["headers"] = [[name, text_or_hex(value)] for name, value in record.headers]
    return to_json(facts)


def record_text(record: Record[Any, Any], *, headers: bool) -> str:
    """Write a record as a line for people, headers on lines of their own."""
    key = "-" if record.key is None else compact(plain(record.key))
    value = "(tombstone)" if record.value is None else compact(plain(record.value))
    place = f"{record.partition}:{record.offset}".ljust(10)
    lines = [f"{place} {time_text(record.timestamp_ms)}  {key}  {value}"]
    if headers:
        lines += [f"{'':10} {name}: {text_or_hex(raw)}" for name, raw in record.headers]
    return "\n".join(lines)


def key_candidates(text: str, key_type: object) -> list[Any]:
    """What a key typed on a command line may mean: plain text, or JSON; bytes also as shown.

    Raises:
        SerdeError: it can be no key of this type.
    """
    found: list[Any] = [*bytes_as_shown(text)] if key_type in (bytes, bytes | None) else []
    readings: list[object] = [text]
    with suppress(msgspec.MsgspecError):
        readings.append(msgspec.json.decode(text))
    why = ""
    for reading in readings:
        try:
            wanted = cast("type[Any]", key_type)
            found.append(msgspec.convert(reading, wanted, strict=False, dec_hook=decode_hook))
        except msgspec.MsgspecError as error:
            why = str(error)
    if not found:
        message = (
            f"key {text!r} is no {type_name(key_type)}; got {why}; "
            "write it as plain text or as JSON"
        )
        raise SerdeError(message)
    return found


def bytes_as_shown(text: str) -> list[bytes]:
    """Take back what ``text_or_hex`` says; JSON would have it in base64."""
    found = [text.encode()]
    if text.startswith("0x"):
        with suppress(ValueError):
            found.append(bytes.fromhex(text[2:]))
    return found
