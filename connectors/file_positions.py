"""Positions in files: which file, how far, and whether the file is still the one.

Invariant: a position is taken up only in a file with the same name whose bytes in front of it begin
as they did; a plain one may be mended or grow behind it. Positions come from ``files`` and from the
transaction in which they were committed.
"""

import hashlib
import io
from dataclasses import dataclass
from typing import Literal

import msgspec

from streamfn.connectors.file_streams import Place

HEAD_BYTES = 64 * 1024
CURE = "put the old file back, or give the source another name to load it from the beginning"


@dataclass(frozen=True, slots=True)
class Identity:
    """Which file this is: its name, its size, the hash of its first bytes.

    Of a plain file only bytes in front of the position count: what follows may still be mended.
    """

    file: str
    size: int
    head_bytes: int
    head_sha256: str


@dataclass(frozen=True, slots=True)
class Position:
    """What is committed; offset and line count what is inside a compressed file."""

    identity: Identity
    offset: int
    line: int
    version: Literal[1] = 1


def identify(place: Place, head_bytes: int = HEAD_BYTES) -> Identity:
    """Look at a file's name, size and first bytes."""
    with place.path.open("rb") as raw:
        head = raw.read(head_bytes)
        size = raw.seek(0, io.SEEK_END)
    file = f"{place.path.name}!{place.member}" if place.member else place.path.name
    return Identity(file, size, len(head), hashlib.sha256(head).hexdigest())


def check(place: Place, position: bytes) -> Position:
    """Decode a position and make sure that it belongs to this file.

    Raises:
        ConfigError: it belongs to another file, or the file has lost or changed something.
    """
    try:
        then = msgspec.json.decode(position, type=Position)
    except msgspec.MsgspecError as error:
        wrong = "has a position of another kind"
        raise place.error(wrong, str(error), CURE) from error
    try:
        _compare(place, then)
    except OSError as error:
        raise place.unreadable(error) from error
    return then


def _compare(place: Place, then: Position) -> None:
    """Refuse a file that is not the one of a position."""
    old, now = then.identity, identify(place, then.identity.head_bytes)
    sizes = f"{now.size} bytes, {old.size} then"
    if now.file != old.file:
        place.refuse(f"is not the file of its position, {old.file!r}", repr(now.file), CURE)
    if now.size < (old.size if place.is_compressed else then.offset):
        place.refuse("has shrunk since its position was committed", sizes, CURE)
    if now.head_sha256 != old.head_sha256:
        place.refuse("is not the file of its position: it begins differently", sizes, CURE)
    if place.is_compressed and now.size != old.size:
        place.refuse("has changed since its position was committed", sizes, CURE)
    if not place.is_compressed and _cuts_a_line(place, then.offset):
        place.refuse("has grown, and its last line was read half written", sizes, CURE)


def _cuts_a_line(place: Place, offset: int) -> bool:
    """True if there is no newline at an offset of a plain file, neither before nor behind it."""
    if offset == 0:
        return False
    with place.path.open("rb") as raw:
        raw.seek(offset - 1)
        around = raw.read(2)
    return len(around) == 2 and around[:1] != b"\n" and around[1:] not in (b"\n", b"\r")
