"""The blocks of an Avro container file, read byte by byte as the specification says.

Bytes come from the disk and go, decompressed, to ``avro_file``. Invariant: a length is believed
only if the file is that long, and a block only if the file's sync marker stands behind it.
"""

import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from io import BufferedReader
from typing import Any, Final

import zstandard

from streamfn.errors import RecordingError
from streamfn.replay.recordings.file_header import AGAIN
from streamfn.replay.recordings.order import Fail

MAGIC: Final = b"Obj\x01"
SYNC_BYTES: Final = 16
LENGTH_BYTES_MAX: Final = 10

CODECS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "null": bytes,
    "deflate": lambda data: zlib.decompress(data, -zlib.MAX_WBITS),
    "zstandard": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


@dataclass(frozen=True, slots=True)
class Block:
    """One block; ``crc32`` is of all bytes of the file before it."""

    number: int
    rows: int
    data: bytes
    crc32: int

    @property
    def where(self) -> str:
        """How errors speak of it."""
        return f"block {self.number}"


class Container:
    """An open container; ``metadata`` has been read."""

    def __init__(self, file: "BufferedReader[Any]", size: int, fail: Fail) -> None:
        self._file, self._size, self._fail = file, size, fail
        self._where = "its head"
        self._crc32 = 0
        self.done = 0
        if self._read(len(MAGIC)) != MAGIC:
            raise fail(wrong="is no Avro container", cure="check that it is the right file")
        self.metadata = self._metadata()
        self._sync = self._read(SYNC_BYTES)
        name = self.metadata.get("avro.codec", b"null").decode(errors="replace")
        if name not in CODECS:
            known = ", ".join(CODECS)
            wrong = f"is compressed with a codec that streamfn does not read: {name!r}"
            raise fail(wrong=wrong, cure=f"write it with one of {known}")
        self._decompress = CODECS[name]

    def blocks(self) -> Generator[Block]:
        """Read block after block, to the end of the file."""
        number = 0
        while self.done < self._size:
            number += 1
            self._where = f"block {number}"
            crc32 = self._crc32
            rows, length = self._number(), self._number()
            if rows < 0:
                raise self._damaged(got=f"{rows} rows")
            data, sync = self._read(length), self._read(SYNC_BYTES)
            if sync != self._sync:
                raise self._damaged(got="another sync marker behind it")
            try:
                plain = self._decompress(data)
            except (zlib.error, zstandard.ZstdError) as error:
                raise self._damaged(got=str(error)) from error
            yield Block(number, rows, plain, crc32)

    def _metadata(self) -> dict[str, bytes]:
        """Read the map in front."""
        found: dict[str, bytes] = {}
        while count := self._number():
            if count < 0:  # then the map's size in bytes follows
                self._number()
            for _ in range(abs(count)):
                name = self._read(self._number()).decode(errors="replace")
                found[name] = self._read(self._number())
        return found

    def _number(self) -> int:
        """Read a number: groups of seven bits, lowest first, sign in the lowest bit."""
        number = 0
        for group in range(LENGTH_BYTES_MAX):
            byte = self._read(1)[0]
            number |= (byte & 0x7F) << (7 * group)
            if byte < 0x80:
                return (number >> 1) ^ -(number & 1)
        raise self._damaged(got="a number without end")

    def _read(self, length: int) -> bytes:
        """Read so many bytes, or say that they are missing."""
        if length < 0:
            raise self._damaged(got=f"a length of {length}")
        left = self._size - self.done
        data = self._file.read(length) if length <= left else b""
        if len(data) != length:
            wrong = "is cut short or damaged"
            raise self._fail(
                where=self._where, wrong=wrong, got=f"{left} bytes instead of {length}", cure=AGAIN
            )
        self.done += length
        self._crc32 = zlib.crc32(data, self._crc32)
        return data

    def _damaged(self, got: str) -> RecordingError:
        return self._fail(where=self._where, wrong="is damaged", got=got, cure=AGAIN)
