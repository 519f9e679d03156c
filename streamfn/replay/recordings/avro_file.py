"""Reads .avro recordings.

Blocks come from ``avro_blocks`` and go to ``file_inputs`` as parts. Invariant: of a sealed file no
block is decoded before the checksum behind it is found right.
"""

import io
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import fastavro
import msgspec

from streamfn.errors import RecordingError
from streamfn.record import Headers
from streamfn.replay.recording import Entry
from streamfn.replay.recordings.avro_blocks import MAGIC, SYNC_BYTES, Block, Container
from streamfn.replay.recordings.avro_write import METADATA, SCHEMA
from streamfn.replay.recordings.file_header import (
    AGAIN,
    DECODE_ERRORS,
    End,
    Numbers,
    failing,
    read_header,
)
from streamfn.replay.recordings.file_inputs import FEW, Closing, Entries, Part
from streamfn.replay.recordings.order import Rows


class AvroFile:
    """A container; its header is read and checked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes_done = 0
        self._fail = failing(str(path))
        with self._opened() as container:
            said = container.metadata.get(METADATA)
            if said is None:
                cure = f"a recording has the header {METADATA!r} there: docs/recordings.md"
                raise self._fail(
                    where="its metadata", wrong="is not that of a recording", cure=cure
                )
            self.header = read_header(said, "its header", self._fail)
            self._schema = container.metadata.get("avro.schema", b"")
            # Resolving one schema to another takes time: only where they differ.
            self._resolve = None if _is_ours(self._schema) else SCHEMA
            if self.header.sealed:  # before anybody relies on it
                with closing(self._checked(container)) as blocks:
                    next(blocks)

    @contextmanager
    def _opened(self) -> Generator[Container]:
        """Open the file; put into words what reading it may raise."""
        try:
            with self.path.open("rb") as file:
                yield Container(file, self.path.stat().st_size, self._fail)
        except OSError as error:
            wrong = "cannot be read to its end"
            raise self._fail(wrong=wrong, got=error.strerror or str(error), cure=AGAIN) from error

    def parts(self, topics: object = None) -> Generator[Part]:
        """Read what stands behind the header, whatever is wanted of it: a pass of its own."""
        with self._opened() as container:
            yield from self._sealed(container) if self.header.sealed else self._free(container)
            self.bytes_done = container.done

    def total(self) -> int | None:
        """Say nothing: blocks can be found only one after the other."""
        return None

    def _decode(self, blocks: Sequence[Block]) -> list[dict[str, Any]]:
        """Decode rows, with fastavro, as a small container of their own."""
        metadata = {"avro.schema": self._schema, "avro.codec": b"null"}
        sync = bytes(SYNC_BYTES)
        whole = [MAGIC, _encoded(_METADATA_SCHEMA, metadata), sync]
        for block in blocks:
            whole += [_encoded("long", block.rows), _encoded("bytes", block.data), sync]
        try:
            rows = fastavro.reader(io.BytesIO(b"".join(whole)), reader_schema=self._resolve)
            return [cast(dict[str, Any], row) for row in rows]
        except Exception as error:  # bytes that no checksum covers may make it raise anything
            wrong = "does not decode with the schema of recordings"
            got = f"{type(error).__name__}: {str(error)[:200]}"
            raise self._fail(
                where=blocks[0].where, wrong=wrong, got=got, cure="see docs/recordings.md"
            ) from error

    # Sealed files

    def _checked(self, container: Container) -> Generator[Block | None]:
        """Yield what stands between checksums: the head, which is no block, then blocks."""
        block: Block | None = None
        number = -1
        for number, following in enumerate(container.blocks()):
            if number % 2:
                block = following
                continue
            self._compare(following, block)
            self.bytes_done = container.done
            yield block
            block = None
        if block is not None or number < 0:
            raise self._cut(block)

    def _compare(self, check: Block, block: Block | None) -> None:
        """Compare a checksum with what stands before it."""
        rows = self._decode([check])
        said = rows[0]["value"] if len(rows) == 1 and rows[0]["kind"] == "check" else None
        if said != b"%08x" % check.crc32:
            where = block.where if block is not None else "its header"
            wrong = f"is damaged: its checksum is not that of {check.where}"
            raise self._fail(where=where, wrong=wrong, cure=AGAIN)

    def _cut(self, block: Block | None) -> RecordingError:
        where = "" if block is None else f"after {block.where}"
        return self._fail(where=where, wrong="is cut short: its end is missing", cure=AGAIN)

    def _sealed(self, container: Container) -> Iterator[Part]:
        blocks, last = self._checked(container), None
        next(blocks, None)
        for block in blocks:
            last = block
            if block is None:
                continue
            rows = self._decode([block])
            kind = rows[0]["kind"] if rows else ""
            where = partial(_row, block, 0)
            if kind == "end":
                yield Closing(self._end(rows[0]["value"], block), block.where)
                self._expect_nothing(blocks, block)
                return
            if kind in ("record", "entry") and {row["kind"] for row in rows} == {kind}:
                yield _part(rows, where)
            else:
                wrong = "mixes kinds of rows, or has none"
                raise self._fail(
                    where=block.where, wrong=wrong, cure="write each kind in blocks of its own"
                )
        raise self._cut(last)

    def _expect_nothing(self, blocks: Iterator[Block | None], block: Block) -> None:
        try:
            more = next(blocks, block) is not block
        except RecordingError:
            more = True
        if more:
            cure = "cut off what follows, or take an undamaged copy"
            raise self._fail(
                where=f"after {block.where}", wrong="goes on behind its end", cure=cure
            )

    def _end(self, said: bytes | None, block: Block) -> End:
        try:
            return msgspec.json.decode(said or b"", type=End)
        except DECODE_ERRORS as error:
            cure = "mend the program that wrote it: docs/recordings.md"
            raise self._fail(
                where=block.where, wrong="is no end", got=str(error), cure=cure
            ) from error

    # Files of other programs

    def _free(self, container: Container) -> Iterator[Part]:
        """Put small blocks together; rows of one kind make a part."""
        numbers = Numbers(self.header)
        waiting: list[Block] = []
        for block in container.blocks():
            waiting.append(block)
            if sum(each.rows for each in waiting) >= FEW:
                yield from self._free_parts(waiting, numbers)
                waiting = []
                self.bytes_done = container.done
        if waiting:
            yield from self._free_parts(waiting, numbers)

    def _free_parts(self, blocks: list[Block], numbers: Numbers) -> Iterator[Part]:
        rows = self._decode(blocks)
        start = 0
        for index, row in enumerate(rows):
            self._check(row, _row(blocks[0], index))
            if row["kind"] == "record":
                said = row["offset"] if row["offset"] >= 0 else None
                row["offset"] = numbers.offset((row["topic"], row["partition"]), said)
            if row["kind"] != rows[start]["kind"]:
                yield _part(rows[start:index], partial(_row, blocks[0], start))
                start = index
        if rows:
            yield _part(rows[start:], partial(_row, blocks[0], start))

    def _check(self, row: dict[str, Any], where: str) -> None:
        """Check what the schema does not say."""
        wrong = ""
        if row["kind"] not in ("record", "entry"):
            wrong = f"is of kind {row['kind']!r}, but the header does not say that it is sealed"
        elif not row["topic"] or row["partition"] < 0:
            wrong = "names no topic, or a partition below 0"
        elif row["kind"] == "record" and row["timestamp_ms"] < -1:
            wrong = "has a timestamp_ms below -1"
        elif row["kind"] == "entry" and None in (row["key"], row["value"]):
            wrong = "is an entry without key or value"
        if wrong:
            raise self._fail(where=where, wrong=wrong, cure="see docs/recordings.md")


_METADATA_SCHEMA: Final = fastavro.parse_schema({"type": "map", "values": "bytes"})


def _is_ours(schema: bytes) -> bool:
    """Tell whether rows are written with the very schema that we write."""
    ours = {name: value for name, value in SCHEMA.items() if not name.startswith("__")}
    try:
        return bool(msgspec.json.decode(schema) == ours)
    except DECODE_ERRORS:
        return False


def _encoded(schema: Any, value: Any) -> bytes:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema, value)  # pyright: ignore[reportUnknownMemberType]  # half typed
    return buffer.getvalue()


def _row(block: Block, start: int, index: int = 0) -> str:
    return f"row {start + index + 1} from the start of block {block.number}"


def _entries(rows: list[dict[str, Any]]) -> list[Entry]:
    return [Entry(row["topic"], row["partition"], row["key"], row["value"]) for row in rows]


def _headers(column: Iterable[list[dict[str, Any]]]) -> list[Headers]:
    return [tuple((each["name"], each["value"]) for each in headers) for headers in column]


def _part(rows: list[dict[str, Any]], where: Callable[[int], str]) -> Part:
    """Make a part of rows of one kind."""
    if rows[0]["kind"] == "entry":
        return Entries(len(rows), partial(_entries, rows), where)
    return Rows(
        [(row["topic"], row["partition"]) for row in rows],
        [row["offset"] for row in rows],
        [row["timestamp_ms"] for row in rows],
        [row["key"] for row in rows],
        [row["value"] for row in rows],
        [row["headers"] for row in rows],
        where=where,
        to_headers=_headers,
    )
