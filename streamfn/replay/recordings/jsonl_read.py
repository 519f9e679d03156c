"""Reads .jsonl recordings, plain or compressed.

Bytes come from ``connectors.file_streams`` and go to ``file_inputs`` as parts. Invariant: of a
sealed file nothing is decoded before its checksum is found right; every error names the line, or
the byte of what cannot be unpacked.
"""

import zlib
from collections.abc import Callable, Container, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import zstandard

from streamfn.connectors.file_streams import (
    READ_ERRORS,
    Place,
    Stream,
    open_stream,
)
from streamfn.connectors.file_streams import (
    text_of as text_of_error,
)
from streamfn.errors import RecordingError
from streamfn.replay.recording import Entry
from streamfn.replay.recordings.file_header import (
    AGAIN,
    DECODE_ERRORS,
    End,
    FileHeader,
    failing,
    read_header,
)
from streamfn.replay.recordings.file_inputs import FEW, Closing, Entries, Part
from streamfn.replay.recordings.jsonl import (
    END_MARK,
    ENTRIES,
    ENTRY_MARK,
    RECORDS,
    EndLine,
    EntryLine,
    RecordLine,
    bytes_of,
    columns_of,
    first_wrong,
    headers_of,
)
from streamfn.replay.recordings.jsonl_free import free_parts
from streamfn.replay.recordings.jsonl_sections import CUT, Sections
from streamfn.replay.recordings.order import Rows

READ_BYTES: Final = 1024 * 1024
HEADER_BYTES_MAX: Final = 64 * 1024 * 1024
TAIL_BYTES: Final = 64 * 1024


class JsonlFile:
    """A file of lines; its header is read and checked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes_done = 0
        self._fail = failing(str(path))
        with self._opened() as stream:
            self.header = self._read_header(stream)

    def parts(self, topics: Container[str] | None = None) -> Generator[Part]:
        """Read what stands behind the header, of some topics if it is sealed: a pass of its own."""
        with self._opened() as stream:
            if self.header.sealed:
                yield from self._sealed(stream, topics)
            else:
                stream.inside.readline()
                yield from free_parts(self._free_lines(stream), self.header, self._fail)

    @contextmanager
    def _opened(self) -> Generator[Stream]:
        """Open the file; put into words what reading it may raise."""
        stream: Stream | None = None
        try:
            stream = open_stream(Place(self.path))
            yield stream
        except READ_ERRORS as error:
            cut = isinstance(error, EOFError)
            wrong = CUT if cut else "is damaged, or is not what its name says"
            where, got = _place(stream), text_of_error(error)
            raise self._fail(where=where, wrong=wrong, got=got, cure=AGAIN) from error
        finally:
            if stream is not None:
                stream.close()

    def _read_header(self, stream: Stream) -> FileHeader:
        line = stream.inside.readline(HEADER_BYTES_MAX)
        if not line:
            cure = 'a recording begins with {"streamfn_recording": 1}: docs/recordings.md'
            raise self._fail(wrong="is empty", cure=cure)
        header = read_header(line, "line 1", self._fail)
        if header.sealed:  # before anybody relies on it
            self._sections(stream, line).take()
        return header

    # Sealed files

    def _sections(self, stream: Stream, begun: bytes = b"") -> Sections:
        return Sections(partial(self._read, stream), self._fail, begun)

    def _read(self, stream: Stream) -> bytes:
        data = stream.inside.read(READ_BYTES)
        self.bytes_done = stream.raw.tell()
        return data

    def _sealed(self, stream: Stream, topics: Container[str] | None) -> Iterator[Part]:
        sections = self._sections(stream)
        sections.take()  # the header: known, and part of all checksums to come
        sections.passed(1)
        while (body := sections.take()) is not None:
            line, where = sections.line, partial(_line, sections.line)
            if body.startswith(END_MARK):
                yield Closing(self._end(body, line), where(0))
                sections.passed(1)
                self._expect_nothing(sections)
                return
            if body.startswith(ENTRY_MARK):
                sections.passed(body.count(b"\n"))
                yield Entries(sections.line - line - 1, partial(self._entries, body, line), where)
            else:
                lines: list[RecordLine] = self._decode(body, line, RECORDS)
                sections.passed(len(lines))
                yield _rows(lines, line, topics)
        raise sections.cut()

    def _expect_nothing(self, sections: Sections) -> None:
        try:
            more = sections.take() is not None
        except RecordingError:
            more = True
        if more:
            raise self._fail(
                where=f"after line {sections.line - 1}",
                wrong="goes on behind its end",
                cure="cut off what follows, or take an undamaged copy",
            )

    def _decode(self, body: bytes, line: int, decoder: "msgspec.json.Decoder[Any]") -> list[Any]:
        """Decode lines of one kind."""
        try:
            return decoder.decode_lines(body)
        except DECODE_ERRORS as error:
            index, reason = first_wrong(body.splitlines(), decoder.decode) or (0, error)
            wrong = "is no line of a recording, though its checksum is right"
            cure = "mend the program that wrote it: docs/recordings.md"
            raise self._fail(
                where=_line(line, index), wrong=wrong, got=str(reason), cure=cure
            ) from error

    def _entries(self, body: bytes, line: int) -> list[Entry]:
        lines: list[EntryLine] = self._decode(body, line, ENTRIES)
        return [
            Entry(each.store, each.partition, bytes_of(each.key), bytes_of(each.value))
            for each in lines
        ]

    def _end(self, body: bytes, line: int) -> End:
        lines: list[EndLine] = self._decode(body, line, msgspec.json.Decoder(EndLine))
        return lines[0].end

    # Files written by hand or by other programs

    def _free_lines(self, stream: Stream) -> Iterator[tuple[int, bytes]]:
        for number, line in enumerate(stream.inside, 2):
            if number % FEW == 0:
                self.bytes_done = stream.raw.tell()
            yield number, line
        self.bytes_done = stream.size

    # The end, for a progress bar

    def total(self) -> int | None:
        """Look for the end in the last bytes; it is compressed apart from the rest."""
        if not self.header.sealed:
            return None
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - TAIL_BYTES))
            tail = _DECOMPRESS_TAIL.get(self.path.suffix.lower(), bytes)(file.read())
        at = tail.rfind(b"\n" + END_MARK) + 1 if not tail.startswith(END_MARK) else 0
        try:
            line, _, _ = tail[at:].partition(b"\n")
            return msgspec.json.decode(line, type=EndLine).end.records
        except DECODE_ERRORS:
            return None  # a pass over the file says what is wrong


def _place(stream: Stream | None) -> str:
    """Say up to where a file was read: what cannot be unpacked has no lines."""
    if stream is None or stream.plain:
        return ""
    return f"before byte {stream.raw.tell():,} of {stream.size:,}"


def _line(first: int, index: int) -> str:
    return f"line {first + index}"


def _rows(lines: list[RecordLine], first: int, topics: Container[str] | None) -> Rows:
    """Make columns of the lines of some topics; the others are only counted."""
    numbers: Sequence[int] = range(len(lines))
    kept = lines
    if topics is not None:
        numbers = [number for number, line in enumerate(lines) if line.topic in topics]
        kept = [lines[number] for number in numbers]
    return Rows(
        [(line.topic, line.partition) for line in kept],
        [line.offset for line in kept],
        [line.timestamp_ms for line in kept],
        [line.key for line in kept],
        [line.value for line in kept],
        [line.headers for line in kept],
        where=lambda index: _line(first, numbers[index]),
        to_bytes=columns_of,
        to_headers=headers_of,
        numbers=numbers,
        left_out=len(lines) - len(kept),
    )


def _tail_of_gzip(tail: bytes) -> bytes:
    try:
        return zlib.decompress(tail[max(0, tail.rfind(b"\x1f\x8b\x08")) :], 31)
    except zlib.error:
        return b""


def _tail_of_zstd(tail: bytes) -> bytes:
    frame = tail[max(0, tail.rfind(zstandard.FRAME_HEADER)) :]
    try:
        return zstandard.ZstdDecompressor().decompress(frame, max_output_size=1024 * 1024)
    except zstandard.ZstdError:
        return b""


_DECOMPRESS_TAIL: Final[dict[str, Callable[[bytes], bytes]]] = {
    ".gz": _tail_of_gzip,
    ".zst": _tail_of_zstd,
}
