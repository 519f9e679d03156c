"""Writes recordings, whatever their format: puts chunks into one order and cuts them into sections.

Chunks come from ``record`` and go to a format's encoder. Invariant: what is written is in replay
order, which is checked as the reader will check it, and a section fits into memory.
"""

from collections.abc import Generator, Iterator, Sequence
from itertools import repeat
from typing import Final, Protocol, TypeAlias

from streamfn.errors import InternalError
from streamfn.record import Batch, Headers
from streamfn.replay.recording import Chunk, Entry, Header
from streamfn.replay.recordings.file_header import End, end_of, failing, file_header, known_ranges
from streamfn.replay.recordings.file_inputs import FEW
from streamfn.replay.recordings.order import ReplayOrder, Rows
from streamfn.replay.recordings.partial_file import PartialFile

SECTION_BYTES: Final = 4 * 1024 * 1024
"""About how large a section becomes; a record that is larger stands alone."""


Written: TypeAlias = tuple[str, int, int, int, bytes | None, bytes | None, Headers]
"""A record on its way into a file: the fields of a line, in their order."""


class Encoder(Protocol):
    """A format; each call writes a section with its checksum."""

    def begin(self, header: Header) -> None:
        """Write the header."""
        ...

    def entries(self, entries: Sequence[Entry]) -> None:
        """Write entries of stores."""
        ...

    def records(self, records: Sequence[Written]) -> None:
        """Write records."""
        ...

    def end(self, end: End) -> None:
        """Write the end."""
        ...


class FileWriter:
    """Writes one recording file."""

    def __init__(self, file: PartialFile, encoder: Encoder, header: Header) -> None:
        self._file, self._encoder = file, encoder
        self._order = ReplayOrder(failing(str(file.path)), known_ranges(file_header(header)) or {})
        self._entries: list[Entry] = []
        self._entry_bytes = 0
        self._entry_count = 0
        self._records: list[Written] = []
        self._record_bytes = 0
        encoder.begin(header)

    def entry(self, entry: Entry) -> None:
        """Write an entry of the state; all come before the first chunk."""
        if self._order.records or self._records:
            message = "an entry of the state is written behind records"
            raise InternalError(message)
        self._entries.append(entry)
        self._entry_count += 1
        self._entry_bytes += len(entry.key) + len(entry.value)
        if len(self._entries) >= FEW or self._entry_bytes >= SECTION_BYTES:
            self._write_entries()

    def _write_entries(self) -> None:
        if self._entries:
            self._encoder.entries(self._entries)
            self._entries, self._entry_bytes = [], 0

    def chunk(self, chunk: Chunk) -> None:
        """Write records, in the order of their ranks."""
        self._write_entries()
        found = [record for batch in chunk for record in _written(batch)]
        ranks = _ranks(chunk)
        order = sorted(range(len(ranks)), key=ranks.__getitem__)
        found = found if not ranks else [found[index] for index in order]
        self._check(found)
        self._records += found
        self._record_bytes += sum(map(_size, chunk))
        for section in self._full_sections():
            self._encoder.records(section)

    def _check(self, found: list[Written]) -> None:
        """Check as the reader will, while what went wrong can still be told."""
        self._order.check(
            Rows(
                [each[:2] for each in found],
                [each[2] for each in found],
                [each[3] for each in found],
                (),
                (),
                (),
                where=lambda index: f"while it is written, record {self._order.records + index}",
            )
        )

    def _full_sections(self) -> Generator[list[Written]]:
        """Cut off what makes full sections: by number, and by size if records are large."""
        records, size = self._records, self._record_bytes
        few = max(1, min(FEW, SECTION_BYTES * len(records) // max(size, 1)))
        whole = len(records) // few * few
        if whole:
            self._records = records[whole:]
            self._record_bytes = sum(len(each[5] or b"") for each in self._records)
        for start in range(0, whole, few):
            yield records[start : start + few]

    def finish(self) -> None:
        """Write the end, and give the file its name."""
        self._write_entries()
        if self._records:
            self._encoder.records(self._records)
        self._encoder.end(end_of(self._order, self._entry_count))
        self._file.finish()

    def abandon(self) -> None:
        """Remove what is half written; nothing happens to a file that is finished."""
        self._file.abandon()


def _written(batch: Batch) -> Iterator[Written]:
    topic, partition = batch.source
    return zip(
        repeat(topic),
        repeat(partition),
        batch.offsets,
        batch.timestamps,
        batch.keys,
        batch.values,
        batch.headers if batch.headers is not None else repeat(()),
        strict=False,
    )


def _ranks(chunk: Chunk) -> list[int]:
    """The ranks of all records of a chunk; none for a single batch as it is."""
    if len(chunk) == 1 and chunk[0].ranks is None:
        return []
    found: list[int] = []
    for batch in chunk:
        if batch.ranks is None:
            message = f"a batch of {batch.source} has no ranks"
            raise InternalError(message)
        found += batch.ranks
    return found


def _size(batch: Batch) -> int:
    return sum(map(len, filter(None, batch.keys))) + sum(map(len, filter(None, batch.values)))
