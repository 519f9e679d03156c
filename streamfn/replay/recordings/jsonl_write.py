"""Writes .jsonl recordings.

Sections come from ``file_writer`` and go to a ``PartialFile``, which compresses them. Invariant:
each section is followed by the checksum of all bytes before it.
"""

from collections.abc import Sequence
from itertools import starmap

from streamfn.replay.recording import Entry, Header
from streamfn.replay.recordings.file_header import End, encode_header
from streamfn.replay.recordings.file_writer import Written
from streamfn.replay.recordings.jsonl import (
    ENCODER,
    CheckLine,
    EndLine,
    EntryLine,
    RecordLine,
    said_headers,
    text_of,
    texts_of,
)
from streamfn.replay.recordings.partial_file import PartialFile


class JsonlEncoder:
    """Encodes sections as lines."""

    def __init__(self, file: PartialFile) -> None:
        self._file = file

    def begin(self, header: Header) -> None:
        """Write the header."""
        self._write(encode_header(header) + b"\n")

    def entries(self, entries: Sequence[Entry]) -> None:
        """Write entries of stores."""
        self._write(
            ENCODER.encode_lines(
                [
                    EntryLine(each.store, each.partition, text_of(each.key), text_of(each.value))
                    for each in entries
                ]
            )
        )

    def records(self, records: Sequence[Written]) -> None:
        """Write records."""
        topics, partitions, offsets, timestamps, keys, values, headers = zip(*records, strict=True)
        said = [said_headers(each) if each else () for each in headers]
        columns = (topics, partitions, offsets, timestamps, texts_of(keys), texts_of(values), said)
        lines = list(starmap(RecordLine, zip(*columns, strict=True)))
        self._write(ENCODER.encode_lines(lines))

    def end(self, end: End) -> None:
        """Write the end where a reader finds it without decompressing the rest."""
        self._file.new_frame()
        self._write(ENCODER.encode(EndLine(end)) + b"\n")

    def _write(self, lines: bytes) -> None:
        """Write a section and its checksum."""
        self._file.write(lines)
        self._file.write(ENCODER.encode(CheckLine(f"{self._file.crc32:08x}")) + b"\n")
