"""Lines of a stream, counted in bytes, and the rows that CSV and JSON lines make of them.

Invariant: ``Lines.offset`` is the offset behind the last line given, and a parser takes no line
before it needs it, so that after each row it is the position of the next one. Bytes come from
``file_streams``; rows go to ``files`` as dicts, or as the reason why a row is none.
"""

import csv
from collections.abc import Iterator
from typing import Any, TypeAlias

import msgspec

from streamfn.errors import ConfigError

MAX_LINE_BYTES = 16 * 1024 * 1024
MAX_RAW_BYTES = 64 * 1024
NEWLINE = 10

Row: TypeAlias = dict[str, Any] | str
"""A row by column name; or a text: why the lines since the last row are none."""


class Unfinished(Exception):
    """The file ends inside a row that may still be growing."""


class Lines:
    """The lines of a stream from an offset on; ``line`` counts those given, from 1 in the file.

    ``raw`` collects what was given since ``mark``, and ``bad`` says what is wrong with its bytes.
    ``done`` and ``done_line`` are offset and line at the mark: the end of the last whole row.
    """

    def __init__(self, stream: Any, *, growing: bool) -> None:
        self.offset = 0
        self.line = 0
        self.done = 0
        self.done_line = 0
        self.raw: list[bytes] = []
        self.bad = ""
        self._readline = stream.readline
        self._again: list[bytes] = []
        self._cut = False
        self._growing = growing

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        raw = self.next_raw()
        if not raw:
            if self._growing and self.raw:
                raise Unfinished
            raise StopIteration
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            self.bad = self.bad or f"not UTF-8: {error.reason} at byte {error.start} of the line"
            return raw.decode(errors="surrogateescape")

    def next_raw(self) -> bytes:
        """Return the next line, or nothing at the end."""
        raw: bytes = self._again.pop() if self._again else self._readline(MAX_LINE_BYTES)
        if not raw:
            return b""
        if raw[-1] != NEWLINE:
            raw = self._without_newline(raw)
        elif self.offset == 0 and raw.startswith(b"\xef\xbb\xbf"):
            self.offset, raw = 3, raw[3:]
        self.offset += len(raw)
        self.line += 1
        self.raw.append(raw)
        return raw

    def _without_newline(self, raw: bytes) -> bytes:
        """A line that is too long, or the last one: still being written, or complete."""
        if len(raw) < MAX_LINE_BYTES:
            if self._growing:
                raise Unfinished
            if self.offset == 0 and raw.startswith(b"\xef\xbb\xbf"):
                self.offset, raw = 3, raw[3:]
            return raw
        self.bad = f"the line is longer than {MAX_LINE_BYTES} bytes"
        self._cut = True
        rest = raw
        while rest and rest[-1] != NEWLINE:
            rest = self._readline(MAX_LINE_BYTES)
            self.offset += len(rest)
        if self._growing and not rest:
            raise Unfinished
        self.offset += len(raw) - MAX_RAW_BYTES
        return raw[:MAX_RAW_BYTES]

    def start_at(self, offset: int, line: int) -> None:
        """Say where the stream stands now."""
        self.offset = self.done = offset
        self.line = self.done_line = line

    def mark(self) -> None:
        """Forget the lines given so far: a row ends here, and the position is behind it."""
        self.raw.clear()
        self.done = self.offset
        self.done_line = self.line
        if self.bad:
            self.bad, self._cut = "", False

    def give_back(self) -> None:
        """Take back all lines since the mark but the first one, unless one was cut short."""
        if self._cut:
            return
        again = self.raw[1:]
        self.offset -= sum(map(len, again))
        self.line -= len(again)
        self._again.extend(reversed(again))
        del self.raw[1:]


class CsvRows:
    """Rows of CSV: the first one names the columns; ``null`` lists the texts that mean None."""

    def __init__(self, lines: Lines, delimiter: str, null: tuple[str, ...]) -> None:
        self._lines = lines
        self._null = frozenset(null)
        self._delimiter = delimiter
        self._reader = self._new_reader()
        self._columns = self._header()
        lines.mark()

    def _new_reader(self) -> Iterator[list[str]]:
        return csv.reader(self._lines, delimiter=self._delimiter, strict=True)

    def _header(self) -> list[str]:
        """Read the names of the columns."""
        try:
            columns: list[str] = next(self._reader, list[str]())
        except csv.Error as error:
            message = f"line 1, its header is not CSV; {error}; is it compressed or another format?"
            raise ConfigError(message) from error
        if self._lines.bad:
            message = f"line 1, its header is {self._lines.bad}; save it as UTF-8"
            raise ConfigError(message)
        if not columns and not self._lines.line:
            message = "line 1, its header is missing: there is nothing in it; give a file with rows"
            raise ConfigError(message)
        twice = [name for name in columns if columns.count(name) > 1]
        if not columns or twice:
            got = f"{twice[0]!r} twice" if twice else "an empty line"
            message = f"line 1, its header must name each column once; got {got}; add a header row"
            raise ConfigError(message)
        return columns

    def __iter__(self) -> Iterator[Row]:
        """Yield rows; the consumer marks each as done."""
        lines, columns, null = self._lines, self._columns, self._null
        width = len(columns)
        while True:
            try:
                for fields in self._reader:
                    if len(fields) == width and not lines.bad:
                        yield {
                            name: None if text in null else text
                            for name, text in zip(columns, fields, strict=True)
                        }
                    elif fields or lines.bad:
                        yield lines.bad or f"{len(fields)} columns; the header has {width}"
                    else:
                        lines.mark()
                return
            except csv.Error as error:
                # A stray quote swallows what follows: only its own line is refused.
                lines.give_back()
                self._reader = self._new_reader()
                yield f"not CSV: {error}"


class JsonRows:
    """Rows of JSON lines, one object a line; empty lines are none."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def __iter__(self) -> Iterator[Row]:
        """Yield rows; the consumer marks each as done."""
        lines = self._lines
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        while raw := lines.next_raw():
            if raw.isspace():
                lines.mark()
                continue
            try:
                yield lines.bad or decode(raw)
            except UnicodeDecodeError as error:
                yield f"not UTF-8: {error.reason}"
            except msgspec.MsgspecError as error:
                yield f"not a JSON object: {error}"
