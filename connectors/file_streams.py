"""Files as streams of bytes, plain or compressed.

Invariant: a stream that ends has been read to its true end; a truncated one raises. Bytes come
from the disk and go to ``file_lines``; every error names the file and is a ``ConfigError``.
"""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

from streamfn.errors import ConfigError

BUFFER_BYTES = 256 * 1024

READ_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""What reading a damaged file may raise; gzip's and bz2's own errors are OSError."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes are: a file, or a member of an archive."""

    path: Path
    member: str = ""

    @classmethod
    def parse(cls, path: str | Path) -> "Place":
        """Split ``archive.zip!member`` into the two."""
        file, mark, member = str(path).partition(".zip!")
        return cls(Path(file + ".zip"), member) if mark else cls(Path(file))

    def __str__(self) -> str:
        return f"{self.path}!{self.member}" if self.member else str(self.path)

    @property
    def is_compressed(self) -> bool:
        """Whether the bytes on disk are other ones than those inside."""
        return self.path.suffix.lower() in COMPRESSED

    def error(self, wrong: str, got: str, cure: str) -> ConfigError:
        """An error about the file, in the form of all errors."""
        return ConfigError(f"file {str(self)!r} {wrong}{f'; got {got}' if got else ''}; {cure}")

    def refuse(self, wrong: str, got: str, cure: str) -> NoReturn:
        """Raise an error about the file."""
        raise self.error(wrong, got, cure)

    def unreadable(self, error: Exception) -> ConfigError:
        """The error about a file that does not open."""
        for kind, wrong, cure in _UNREADABLE:
            if isinstance(error, kind):
                return self.error(wrong, "", cure)
        return self.error("cannot be read", text_of(error), "check that it is complete")


_UNREADABLE: tuple[tuple[type[Exception], str, str], ...] = (
    (FileNotFoundError, "does not exist", "check the path"),
    (IsADirectoryError, "is a folder", "name one file in it"),
    (PermissionError, "cannot be read: no rights", "change its permissions"),
)


def text_of(error: Exception) -> str:
    """What an error says, or at least its name."""
    return str(error) or type(error).__name__


@dataclass(slots=True)
class Stream:
    """An open file: the bytes inside, and what of it is on disk."""

    inside: "io.BufferedReader[Any]"
    raw: BinaryIO
    name: str
    plain: bool
    size: int

    def skip_to(self, offset: int, start: int) -> bool:
        """Go on to an offset of the bytes inside, from ``start``; False if they end before it."""
        if self.plain:
            self.inside.seek(offset)
            return offset <= self.size
        left = offset - start
        while left > 0:
            passed = len(self.inside.read(min(left, BUFFER_BYTES)))
            if not passed:
                return False
            left -= passed
        return True

    def done_bytes(self, offset: int) -> int:
        """How much of ``size`` stands before an offset of the bytes inside."""
        whole = self.plain or isinstance(getattr(self.inside, "raw", None), zipfile.ZipExtFile)
        return offset if whole else self.raw.tell()

    def close(self) -> None:
        """Close the file and what decompresses it."""
        self.inside.close()
        self.raw.close()


def open_stream(place: Place) -> Stream:
    """Open a file by its suffix: .gz, .bz2, .xz, .zst, .zip, everything else as it is."""
    size = place.path.stat().st_size
    suffix = place.path.suffix.lower()
    with ExitStack() as undo:
        raw = io.BufferedReader(io.FileIO(place.path), BUFFER_BYTES)
        undo.callback(raw.close)
        if suffix == ".zip":
            stream = _open_zip(raw, place)
        elif suffix in _DECOMPRESSORS:
            inside = io.BufferedReader(_DECOMPRESSORS[suffix](raw), BUFFER_BYTES)
            stream = Stream(inside, raw, place.path.name, plain=False, size=size)
        else:
            stream = Stream(raw, raw, place.path.name, plain=True, size=size)
        undo.pop_all()
        return stream


def _open_zip(raw: BinaryIO, place: Place) -> Stream:
    """Open the one member of an archive, or the named one."""
    archive = zipfile.ZipFile(raw)
    names = [
        entry.filename
        for entry in archive.infolist()
        if not entry.is_dir() and not entry.filename.startswith("__MACOSX/")
    ]
    chosen = place.member or (names[0] if len(names) == 1 else "")
    if chosen not in names:
        wrong = "is not in its archive" if place.member else "does not have exactly one member"
        place.refuse(wrong, ", ".join(names), f"name one: {place.path.name}!MEMBER")
    try:
        opened = archive.open(chosen)
    except RuntimeError as error:  # encrypted, or packed by an unknown method
        wrong = f"has a member {chosen!r} that cannot be unpacked"
        raise place.error(wrong, str(error), "unpack it by hand") from error
    inside = io.BufferedReader(cast(Any, opened), BUFFER_BYTES)
    size = archive.getinfo(chosen).file_size
    return Stream(inside, raw, chosen, plain=False, size=size)


class _ZstdFile(io.RawIOBase):
    """A .zst file's bytes; the library's own reader takes a truncated file for a finished one."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._new = _zstd_decompressor()
        self._frame: Any = None
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer with some bytes; 0 means the end."""
        while not self._ready:
            chunk = self._raw.read(16 * 1024)
            if not chunk:
                return self._end()
            self._ready = self._decompress(chunk)
        given = self._ready[: len(buffer)]
        self._ready = self._ready[len(given) :]
        buffer[: len(given)] = given
        return len(given)

    def _decompress(self, chunk: bytes) -> bytes:
        """Decompress a chunk, which may end frames and begin others."""
        pieces: list[bytes] = []
        while chunk:
            self._frame = self._frame or self._new()
            try:
                pieces.append(self._frame.decompress(chunk))
            except Exception as error:  # ZstdError of a package that is imported only when needed
                message = f"not valid zstd: {error}"
                raise OSError(message) from error
            chunk = b""
            if self._frame.eof:
                chunk, self._frame = self._frame.unused_data, None
        return b"".join(pieces)

    def _end(self) -> int:
        """The end of the file is the end only between frames."""
        if self._frame is None:
            return 0
        message = "Compressed file ended before the end-of-stream marker was reached"
        raise EOFError(message)


def _zstd_decompressor() -> Callable[[], Any]:
    """What makes a decompressor of one frame."""
    try:
        import zstandard
    except ImportError as error:
        message = "reading .zst needs the package zstandard; it is not installed; pip install it"
        raise ConfigError(message) from error
    return zstandard.ZstdDecompressor().decompressobj


_DECOMPRESSORS: dict[str, Callable[[BinaryIO], Any]] = {
    ".gz": lambda raw: gzip.GzipFile(fileobj=raw),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": _ZstdFile,
}
COMPRESSED = (*_DECOMPRESSORS, ".zip")
