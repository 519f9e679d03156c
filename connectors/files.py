"""A file as a source: CSV or JSON lines, plain or compressed, read in portions, resumable.

Invariant: the position names the file it belongs to, by name, size and first bytes, so that rows
of another file are never taken for the rest of this one. Rows come from ``file_lines`` as dicts,
``encode`` makes key, value and timestamp of each, and they go on as columns of one topic.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from streamfn.connectors.file_lines import CsvRows, JsonRows, Lines, Row, Unfinished
from streamfn.connectors.file_positions import (
    CURE,
    HEAD_BYTES,
    Identity,
    Position,
    check,
    identify,
)
from streamfn.connectors.file_streams import (
    COMPRESSED,
    READ_ERRORS,
    Place,
    Stream,
    open_stream,
    text_of,
)
from streamfn.connectors.source import Portion, Rejected
from streamfn.errors import ConfigError
from streamfn.record import Columns

Encode: TypeAlias = Callable[[dict[str, Any]], tuple[bytes | None, bytes | None, int]]
"""Turns a row into key, value and ``timestamp_ms``; what it raises is why a row is rejected."""

_FORMATS = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}


class FileSource:
    """Rows of a file. Memory does not grow with the file.

    ``path`` may name a member of an archive: ``flights.zip!flights.csv``. ``format`` is ``auto``,
    ``csv`` or ``jsonl``; ``null`` lists the CSV texts that mean None. With ``follow``, what is
    appended is read too, and a last line counts only when it is ended.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        encode: Encode,
        name: str | None = None,
        format: str = "auto",
        null: tuple[str, ...] = ("", "NA"),
        delimiter: str | None = None,
        follow: bool = False,
    ) -> None:
        self._place = Place.parse(path)
        self.name = name or str(path)
        self._encode = encode
        self._format, self._delimiter, self._null = format, delimiter, null
        self._follow = follow
        if follow and self._place.is_compressed:
            self._place.refuse("cannot be followed: it is compressed", "", "follow a plain file")
        if self._place.member or self._place.path.suffix.lower() != ".zip":
            self._guess(self._place.member or self._place.path.name)
        self._stream: Stream | None = None
        self._failure: ConfigError | None = None
        self._rows: Iterator[Row] | None = None

    def open(self, position: bytes | None) -> None:
        """Start at a committed position, or at the beginning.

        Raises:
            ConfigError: the file is missing, empty, unreadable, or not the position's own.
        """
        self.close()
        self._failure = None
        self._seen_rows = position is not None
        where = None if position is None else check(self._place, position)
        self._start(where.offset if where else 0, where.line if where else 0)

    def read(self, limit: int) -> Portion:
        """Return up to ``limit`` rows, refused ones counted.

        Raises:
            ConfigError: the rest cannot be read; all rows before it were delivered.
        """
        assert self._stream is not None, "read before open"
        if self._failure is not None:
            raise self._failure
        columns, rejected = Columns.empty(), list[Rejected]()
        at_end = True
        try:
            at_end = self._fill(columns, rejected, limit)
        except Unfinished:
            self._rows = None
        except READ_ERRORS as error:
            self._failure = self._damaged(error)
            at_end = False
        return self._portion(columns, tuple(rejected), at_end)

    def progress(self) -> tuple[int, int]:
        """Bytes done and bytes in total, on disk (inside, for a .zip)."""
        if self._stream is None:
            return 0, 0
        return self._stream.done_bytes(self._lines.done), self._stream.size

    def close(self) -> None:
        """Close the file; ``open`` starts again."""
        if self._stream is not None:
            self._stream.close()
            self._stream = self._rows = None

    def _guess(self, name: str) -> tuple[str, str]:
        """Tell format and delimiter by the suffix before that of the compression."""
        suffixes = [suffix.lower() for suffix in Path(name).suffixes]
        suffix = next((each for each in reversed(suffixes) if each not in COMPRESSED), "")
        format = _FORMATS.get(suffix) if self._format == "auto" else self._format
        if format not in ("csv", "jsonl"):
            self._check_readable()
            got = f"suffix {suffix!r}" if format is None else f"format={format!r}"
            self._place.refuse("has no known format", got, "say format='csv' or format='jsonl'")
        return format, self._delimiter or ("\t" if suffix == ".tsv" else ",")

    def _check_readable(self) -> None:
        """Refuse a file that does not open: that comes before what its name says of its format."""
        try:
            self._place.path.open("rb").close()
        except OSError as error:
            raise self._place.unreadable(error) from error

    def _start(self, offset: int, line: int) -> None:
        """Open the file and go to an offset; what failed to open is closed again."""
        try:
            self._go_to(offset, line)
        except ConfigError:
            self.close()
            raise

    def _go_to(self, offset: int, line: int) -> None:
        """Open the file and go to an offset; a CSV header is read again each time."""
        try:
            self._identity = identify(self._place)
            self._stream = stream = open_stream(self._place)
            self._lines = Lines(stream.inside, growing=self._follow)
            self._rows = self._open_rows(stream)
            if offset > self._lines.offset:
                if not stream.skip_to(offset, self._lines.offset):
                    self._place.refuse("has shrunk since its position was committed", "", CURE)
                self._lines.start_at(offset, line)
        except Unfinished:  # followed, and the header is still to come
            self._lines.start_at(0, 0)
        except READ_ERRORS as error:
            raise self._place.unreadable(error) from error

    def _open_rows(self, stream: Stream) -> Iterator[Row]:
        """Read the header, if the format has one, and return the rows after it."""
        if self._identity.size == 0:
            if self._follow:
                raise Unfinished
            self._place.refuse("is empty", "0 bytes", "give a file with rows")
        format, delimiter = self._guess(stream.name)
        if format == "jsonl":
            return iter(JsonRows(self._lines))
        try:
            return iter(CsvRows(self._lines, delimiter, self._null))
        except ConfigError as error:
            message = f"file {str(self._place)!r}, {error}"
            raise ConfigError(message) from error

    def _fill(self, columns: Columns, rejected: list[Rejected], limit: int) -> bool:
        """Add rows until the limit; True at the end."""
        if self._rows is None and not self._grown():
            return True
        assert self._rows is not None
        lines, encode = self._lines, self._encode
        add_key, add_value = columns.keys.append, columns.values.append
        add_timestamp = columns.timestamps.append
        for row in self._rows:
            if type(row) is dict:
                try:
                    key, value, timestamp_ms = encode(row)
                except Exception as error:  # the user's function: what it raises is the reason
                    rejected.append(self._reject(text_of(error)))
                else:
                    add_key(key)
                    add_value(value)
                    add_timestamp(timestamp_ms)
            else:
                rejected.append(self._reject(str(row)))
            lines.mark()
            limit -= 1
            if limit <= 0:
                return False
        if self._follow:
            self._rows = None
        return True

    def _reject(self, reason: str) -> Rejected:
        """Make the row that was just read one that is none."""
        return Rejected(self._lines.done_line + 1, b"".join(self._lines.raw), reason)

    def _grown(self) -> bool:
        """Look whether a followed file has more, and if so go on where its last row ended."""
        assert self._stream is not None
        if not self._follow:
            return False
        done, line = self._lines.done, self._lines.done_line
        try:
            now = self._place.path.stat()
        except OSError as error:
            raise self._place.unreadable(error) from error
        if not os.path.samestat(now, os.fstat(self._stream.raw.fileno())) or now.st_size < done:
            got = f"{now.st_size} bytes, {done} were read"
            self._place.refuse("was replaced or has shrunk while it was followed", got, CURE)
        if now.st_size in (done, self._stream.size):
            return False
        self.close()
        self._start(done, line)
        return self._rows is not None

    def _portion(self, columns: Columns, rejected: tuple[Rejected, ...], at_end: bool) -> Portion:
        """Wrap up what was read; an error waits until the rows before it are delivered."""
        self._seen_rows = self._seen_rows or bool(columns) or bool(rejected)
        if self._failure is not None and not columns and not rejected:
            raise self._failure
        if at_end and not self._seen_rows and not self._follow:
            self._place.refuse("has no rows", "at most a header", "give a file with rows")
        position = Position(
            self._file_up_to(self._lines.done), self._lines.done, self._lines.done_line
        )
        return Portion(columns, rejected, msgspec.json.encode(position), at_end)

    def _file_up_to(self, offset: int) -> Identity:
        """Which file it is, as far as the rows in front of an offset can tell."""
        if self._place.is_compressed or offset >= HEAD_BYTES:
            return self._identity
        return identify(self._place, offset)

    def _damaged(self, error: Exception) -> ConfigError:
        """Make the error about a file that ends too early or is damaged inside."""
        wrong = "is truncated" if isinstance(error, EOFError) else "is damaged"
        after = f"after line {self._lines.done_line}, byte {self._lines.done} of its content"
        cure = "get a complete copy and run again"
        return self._place.error(f"{wrong} {after}", text_of(error), cure)
