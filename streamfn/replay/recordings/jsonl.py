"""The lines of a .jsonl recording.

``jsonl_read`` decodes them, ``jsonl_write`` encodes them; docs/recordings.md describes them for
other programs. Invariant: bytes come back as they were, whether they are text or not.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, TypeAlias, TypeVar, cast

import msgspec

from streamfn.record import Headers
from streamfn.replay.recordings.file_header import End, Offset, Partition, Timestamp

T = TypeVar("T")


class Base64(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """Bytes that are no UTF-8."""

    base64: bytes


Text: TypeAlias = str | Base64
"""Bytes as JSON says them."""


class RecordLine(msgspec.Struct, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """A record."""

    topic: str
    partition: Partition
    offset: Offset
    timestamp_ms: Timestamp
    key: Text | None
    value: Text | None
    headers: tuple[tuple[str, Text], ...] = ()


class EntryLine(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """An entry of a store."""

    store: str
    partition: Partition
    key: Text
    value: Text


class FreeLine(msgspec.Struct, forbid_unknown_fields=True):
    """A record or an entry in a file without checksums, where much may be left out."""

    topic: str = ""
    store: str = ""
    partition: Partition = 0
    offset: Offset | None = None
    timestamp_ms: Timestamp | None = None
    key: msgspec.Raw = msgspec.Raw(b"null")
    value: msgspec.Raw = msgspec.Raw()
    """Empty if nothing is said."""
    headers: tuple[tuple[str, Text], ...] = ()


class CheckLine(msgspec.Struct, forbid_unknown_fields=True):
    """The checksum of all bytes before its line."""

    check: str


class EndLine(msgspec.Struct, forbid_unknown_fields=True):
    """What stands before the last checksum."""

    end: End


CHECK_MARK: Final = b'\n{"check"'
"""How a line with a checksum begins, with the end of the line before it."""
ENTRY_MARK: Final = b'{"store"'
END_MARK: Final = b'{"end"'

ENCODER: Final = msgspec.json.Encoder()
RECORDS: Final = msgspec.json.Decoder(RecordLine)
ENTRIES: Final = msgspec.json.Decoder(EntryLine)
FREE: Final = msgspec.json.Decoder(FreeLine)
TEXT: Final = msgspec.json.Decoder(Text | None)


def text_of(data: bytes) -> Text:
    """Say bytes in JSON."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return Base64(data)


def texts_of(column: Iterable[bytes | None]) -> list[Text | None]:
    """Say a column of bytes in JSON."""
    column = list(column)
    try:
        return [None if data is None else data.decode() for data in column]
    except UnicodeDecodeError:
        return [None if data is None else text_of(data) for data in column]


def bytes_of(text: Text) -> bytes:
    """Take back what ``text_of`` said."""
    return text.encode() if isinstance(text, str) else text.base64


def columns_of(column: Iterable[Text | None]) -> list[bytes | None]:
    """Take back a column."""
    column = list(column)
    with suppress(TypeError):  # all of it text, as nearly always
        return list(map(str.encode, cast(list[str], column)))
    return [
        text.encode() if isinstance(text, str) else None if text is None else text.base64
        for text in column
    ]


def said_headers(headers: Headers) -> tuple[tuple[str, Text], ...]:
    """Say a record's headers in JSON."""
    return tuple((name, text_of(data)) for name, data in headers)


def headers_of(column: Iterable[tuple[tuple[str, Text], ...]]) -> list[Headers]:
    """Take back the headers of records."""
    return [tuple((name, bytes_of(text)) for name, text in headers) for headers in column]


def bytes_of_json(raw: msgspec.Raw) -> bytes | None:
    """Bytes as people write them: text, base64, or any other JSON, which stands for itself."""
    data = bytes(raw)
    if data[:1] in b'"n':
        text = TEXT.decode(data)
        return None if text is None else bytes_of(text)
    if data[:1] == b"{":
        try:
            return msgspec.json.decode(data, type=Base64).base64
        except msgspec.ValidationError:
            pass  # an object of the user's
    return msgspec.json.format(data, indent=-1)


def first_wrong(lines: list[bytes], decode: Callable[[bytes], T]) -> tuple[int, Exception] | None:
    """Find the line that does not decode."""
    for index, line in enumerate(lines):
        try:
            decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            return index, error
    return None
