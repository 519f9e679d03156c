"""Writes .avro recordings: one flat schema, the header in the metadata.

Sections come from ``file_writer`` and become blocks. Invariant: each block is followed by one that
holds the checksum of all bytes before it.
"""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import fastavro
import fastavro.write
import msgspec

from streamfn.replay.recording import Entry, Header
from streamfn.replay.recordings.file_header import End, encode_header
from streamfn.replay.recordings.file_writer import Written
from streamfn.replay.recordings.partial_file import PartialFile

METADATA: Final = "streamfn.recording"
"""Where the header stands; the same JSON as the first line of a .jsonl."""
LEVEL: Final = 3
"""Quick rather than small, for either codec."""
BLOCK_BYTES: Final = 2**62
"""fastavro is told where blocks end, and ends none by itself."""

_SCHEMA_TEXT: Final[dict[str, Any]] = {
    "type": "record",
    "name": "Row",
    "namespace": "streamfn.recording",
    "fields": [
        {
            "name": "kind",
            "type": {
                "type": "enum",
                "name": "Kind",
                "symbols": ["record", "entry", "check", "end"],
                "default": "record",
            },
            "default": "record",
        },
        {"name": "topic", "type": "string", "default": ""},
        {"name": "partition", "type": "int", "default": 0},
        {"name": "offset", "type": "long", "default": -1},
        {"name": "timestamp_ms", "type": "long", "default": -1},
        {"name": "key", "type": ["null", "bytes"], "default": None},
        {"name": "value", "type": ["null", "bytes"], "default": None},
        {
            "name": "headers",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Header",
                    "fields": [
                        {"name": "name", "type": "string"},
                        {"name": "value", "type": "bytes"},
                    ],
                },
            },
            "default": [],
        },
    ],
}
SCHEMA: Final = cast(dict[str, Any], fastavro.parse_schema(_SCHEMA_TEXT))


def best_codec() -> str:
    """Zstandard where fastavro could read it back, deflate elsewhere."""
    package = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    try:
        return "zstandard" if importlib.util.find_spec(package) else "deflate"
    except ModuleNotFoundError:  # of the parent package
        return "deflate"


class AvroEncoder:
    """Encodes sections as blocks."""

    def __init__(self, file: PartialFile, codec: str = "") -> None:
        self._file = file
        self._codec = codec or best_codec()

    def begin(self, header: Header) -> None:
        """Write the header."""
        writer = fastavro.write.Writer(
            self._file,  # type: ignore[arg-type]  # it has what is used of a file
            SCHEMA,
            codec=self._codec,
            compression_level=LEVEL,
            sync_interval=BLOCK_BYTES,
            metadata={METADATA: encode_header(header).decode()},
        )
        self._flush = writer.flush
        self._write = cast(Callable[[dict[str, Any]], None], writer.write)  # pyright: ignore[reportUnknownMemberType]  # half typed
        self._check()

    def entries(self, entries: Sequence[Entry]) -> None:
        """Write entries of stores."""
        for store, partition, key, value in entries:
            self._write(
                {
                    "kind": "entry",
                    "topic": store,
                    "partition": partition,
                    "key": key,
                    "value": value,
                }
            )
        self._block()

    def records(self, records: Sequence[Written]) -> None:
        """Write records."""
        write = self._write
        for topic, partition, offset, timestamp_ms, key, value, headers in records:
            write(
                {
                    "kind": "record",
                    "topic": topic,
                    "partition": partition,
                    "offset": offset,
                    "timestamp_ms": timestamp_ms,
                    "key": key,
                    "value": value,
                    "headers": [{"name": name, "value": data} for name, data in headers],
                }
            )
        self._block()

    def end(self, end: End) -> None:
        """Write the end."""
        self._write({"kind": "end", "value": msgspec.json.encode(end)})
        self._block()

    def _block(self) -> None:
        """End a block, and have its checksum follow."""
        self._flush()
        self._check()

    def _check(self) -> None:
        self._write({"kind": "check", "value": b"%08x" % self._file.crc32})
        self._flush()
