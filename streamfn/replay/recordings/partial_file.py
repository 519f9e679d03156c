"""A file that bears its name only when it is whole.

Bytes come from a format's writer, are compressed and go to ``<name>.partial``; ``finish`` gives it
its name. Invariant: a crash at any moment leaves nothing new under the final name, and whatever
else ends the writer, Ctrl-C in the midst of any call too, leaves no partial file either.
"""

import contextlib
import fcntl
import os
import weakref
import zlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO, Final, Protocol

import zstandard

from streamfn.errors import ConfigError

GZIP_LEVEL: Final = 3
GZIP: Final = 31
"""zlib's number for a gzip with the largest window."""


class Compressor(Protocol):
    """What makes one frame of compressed bytes."""

    def compress(self, data: bytes, /) -> bytes:
        """Take bytes; return what is ready."""
        ...

    def flush(self) -> bytes:
        """Return the rest of the frame."""
        ...


def _gzip() -> Compressor:
    return zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP)


def _zstd() -> Compressor:
    return zstandard.ZstdCompressor(write_checksum=True).compressobj()


COMPRESSORS: Final[dict[str, Callable[[], Compressor]]] = {".gz": _gzip, ".zst": _zstd}


class PartialFile:
    """A file that is being written; ``crc32`` is of the bytes before compression."""

    def __init__(self, path: Path, *, overwrite: bool, what: str = "recording") -> None:
        self.path, self.what = path, what
        self.partial = path.with_name(path.name + ".partial")
        self.overwrite = overwrite
        self.crc32 = 0
        self._new = COMPRESSORS.get(path.suffix.lower())
        self._frame = self._new() if self._new is not None else None
        self._check_target()
        opened: list[IO[bytes]] = []
        # Registered before there is a file: Ctrl-C may come between any two calls, and then nobody
        # has the object that ``abandon`` is a method of.
        self._abandon = weakref.finalize(self, _remove, self.partial, opened)
        with self._explained():
            opened.append(self.partial.open("ab"))
            self._file = opened[0]
            self._own()

    def _own(self) -> None:
        """Take the file for this process: two writers would mix their bytes."""
        if not _locked(self._file, self.partial):
            message = (
                f"{self.what} {str(self.path)!r} is being written by another process; got a locked "
                f"{self.partial.name!r}; wait for it, or choose another name"
            )
            raise ConfigError(message)
        self._file.truncate(0)

    def _check_target(self) -> None:
        if self.path.is_dir():
            message = f"{self.what} {str(self.path)!r} is a folder; name a file in it"
            raise ConfigError(message)
        if self.path.exists() and not self.overwrite:
            message = (
                f"{self.what} {str(self.path)!r} exists; choose another name, delete it, or add "
                "--overwrite"
            )
            raise ConfigError(message)

    @contextlib.contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            message = (
                f"{self.what} {str(self.path)!r} cannot be written; got {error.strerror or error}; "
                "check folder, rights and space"
            )
            raise ConfigError(message) from error

    def write(self, data: bytes) -> int:
        """Append bytes."""
        self.crc32 = zlib.crc32(data, self.crc32)
        with self._explained():
            self._file.write(data if self._frame is None else self._frame.compress(data))
        return len(data)

    def new_frame(self) -> None:
        """Let what follows be decompressed without what stands before it."""
        if self._frame is not None and self._new is not None:
            with self._explained():
                self._file.write(self._frame.flush())
            self._frame = self._new()

    def flush(self) -> None:
        """Be a file to those who flush; nothing reads it before it is finished."""

    def seekable(self) -> bool:
        """Say that it is only written forwards."""
        return False

    def finish(self) -> None:
        """Make sure that all is on disk, then give the file its name."""
        self._check_target()
        with self._explained():
            if self._frame is not None:
                self._file.write(self._frame.flush())
            self._file.flush()
            os.fsync(self._file.fileno())
            self.partial.replace(self.path)
            self._abandon.detach()
            self._file.close()
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def abandon(self) -> None:
        """Remove what was written; after ``finish`` there is nothing to remove."""
        self._abandon()


def _locked(file: IO[bytes], path: Path) -> bool:
    """Take the lock of an open file; False if another has it, or the path is another's by now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Finished and renamed between opening and locking, the next step would harm what is whole.
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def _remove(partial: Path, opened: list[IO[bytes]]) -> None:
    """Remove a partial file that nobody writes; one that has its final name is not there."""
    for file in opened:
        with contextlib.suppress(OSError):  # what it could not write is not wanted any more
            file.close()
    with contextlib.suppress(FileNotFoundError), partial.open("rb") as file:
        if _locked(file, partial):
            partial.unlink()
