"""Reads the lines of recordings without checksums: written by hand, or by other programs.

Lines come from ``jsonl_read`` and go on as parts. Invariant: what may be left out is filled in the
same way in each pass; every error names the line.
"""

from collections.abc import Callable, Iterator

import msgspec

from streamfn.replay.recording import Entry
from streamfn.replay.recordings.file_header import DECODE_ERRORS, FileHeader, Numbers, excerpt
from streamfn.replay.recordings.file_inputs import FEW, Entries, Part
from streamfn.replay.recordings.jsonl import FREE, FreeLine, bytes_of_json, headers_of
from streamfn.replay.recordings.order import Fail, Rows

SEE = "see docs/recordings.md"


def free_parts(
    lines: Iterator[tuple[int, bytes]], header: FileHeader, fail: Fail
) -> Iterator[Part]:
    """Decode numbered lines; put entries and records together as parts."""
    parts = _Parts(fail, Numbers(header))
    waiting: list[tuple[int, FreeLine]] = []
    for number, text in lines:
        line = parts.line(number, text)
        if line is None:
            continue
        other = bool(waiting) and bool(waiting[0][1].store) != bool(line.store)
        if other or len(waiting) == FEW:
            yield parts.part(waiting)
            waiting = []
        waiting.append((number, line))
    if waiting:
        yield parts.part(waiting)


class _Parts:
    """Decodes and checks the lines of one pass."""

    def __init__(self, fail: Fail, numbers: Numbers) -> None:
        self._fail, self._numbers = fail, numbers

    def line(self, number: int, text: bytes) -> FreeLine | None:
        """Decode and check a line; None if it is empty."""
        if text.isspace():
            return None
        try:
            line = FREE.decode(text)
        except DECODE_ERRORS as error:
            raise self._fail(
                where=f"line {number}",
                wrong="is no line of a recording",
                got=f"{excerpt(text.rstrip())} ({error})",
                cure=SEE,
            ) from error
        self._check(line, number)
        return line

    def _check(self, line: FreeLine, number: int) -> None:
        """Check what must be given."""
        wrong, cure = "", "add it"
        if bool(line.topic) == bool(line.store):
            wrong, cure = "is neither a record nor an entry", "name a topic, or a store"
        elif not bytes(line.value):
            wrong, cure = "has no value", "add it; the value of a tombstone is null"
        elif line.topic and line.timestamp_ms is None:
            wrong = "has no timestamp_ms"
        elif line.store and (line.offset is not None or line.timestamp_ms is not None):
            wrong, cure = "is an entry with an offset or a timestamp", "leave them out"
        elif line.store and b"null" in (bytes(line.key), bytes(line.value)):
            wrong, cure = "is an entry without key or value", "leave the line out"
        if wrong:
            raise self._fail(where=f"line {number}", wrong=wrong, cure=cure)

    def part(self, lines: list[tuple[int, FreeLine]]) -> Part:
        """Put lines of one kind together."""
        if lines[0][1].store:
            return Entries(len(lines), lambda: self._entries(lines), _where(lines))
        places = [(line.topic, line.partition) for _, line in lines]
        offset = self._numbers.offset
        return Rows(
            places,
            [offset(place, line.offset) for place, (_, line) in zip(places, lines, strict=True)],
            [line.timestamp_ms or 0 for _, line in lines],
            self._column(lines, lambda line: line.key),
            self._column(lines, lambda line: line.value),
            [line.headers for _, line in lines],
            where=_where(lines),
            to_headers=headers_of,
        )

    def _entries(self, lines: list[tuple[int, FreeLine]]) -> list[Entry]:
        keys = self._column(lines, lambda line: line.key)
        values = self._column(lines, lambda line: line.value)
        return [
            Entry(line.store, line.partition, key or b"", value or b"")
            for (_, line), key, value in zip(lines, keys, values, strict=True)
        ]

    def _column(
        self,
        lines: list[tuple[int, FreeLine]],
        take: Callable[[FreeLine], msgspec.Raw],
    ) -> list[bytes | None]:
        found: list[bytes | None] = []
        for number, line in lines:
            try:
                found.append(bytes_of_json(take(line)))
            except DECODE_ERRORS as error:
                wrong, where = "has a key or value that cannot be", f"line {number}"
                raise self._fail(where=where, wrong=wrong, got=str(error), cure=SEE) from error
        return found


def _where(lines: list[tuple[int, FreeLine]]) -> Callable[[int], str]:
    return lambda index: f"line {lines[index][0]}"
