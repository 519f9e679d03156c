"""What a replay has made as lines of JSON: outputs, then failures, then the final state.

Effects come chunk by chunk and are written in the order of the input records that they go back to.
Invariant: two replays that agree write the same bytes, wherever their chunks ended, so that ``cmp``
tells. The file gets its name when it is whole.
"""

from base64 import b64encode
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from streamfn.replay.effects import Effects, Raised, Root
from streamfn.replay.recordings.jsonl import (
    ENCODER,
    EntryLine,
    Text,
    said_headers,
    text_of,
    texts_of,
)
from streamfn.replay.recordings.partial_file import PartialFile
from streamfn.replay.replay import Replayed

BATCH: Final = 4_000
"""How many lines of failures and entries are written at once."""
Place: TypeAlias = tuple[str, int, int]
"""Topic, partition and offset of an input record."""


class RowLine(msgspec.Struct, gc=False):
    """A row of a topic."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: Text | None
    value: Text | None
    stage: str
    place: Place = msgspec.field(name="from")
    headers: tuple[tuple[str, Text], ...] | msgspec.UnsetType = msgspec.UNSET


class OutputFile:
    """Writes effects as they come."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write

    def effects(self, found: list[Effects]) -> None:
        """Write the rows of a chunk, in order of their inputs, then topic, partition and offset."""
        ranks: list[int] = []
        roots: dict[int, Root] = {}
        for each in found:
            ranks += each.ranks
            roots.update(zip(each.ranks, each.roots, strict=True))
        places = {rank: _place(root) for rank, root in roots.items()}
        lines = list(chain.from_iterable(_row_lines(each, places) for each in found))
        order = sorted(range(len(lines)), key=ranks.__getitem__)
        if lines:
            self._write(ENCODER.encode_lines([lines[row] for row in order]))

    def finish(self, done: Replayed) -> None:
        """Write what has failed and what the stores hold."""
        self._lines(map(_failure, done.raised))
        for store in sorted(done.plan.topology.stores):
            entries = done.entries(store)
            self._lines(
                EntryLine(store, partition, text_of(key), text_of(value))
                for key, value, partition in entries
            )

    def _lines(self, lines: Iterable[object]) -> None:
        left = iter(lines)
        while batch := list(islice(left, BATCH)):
            self._write(ENCODER.encode_lines(batch))


@contextmanager
def output_file(path: Path, *, overwrite: bool = False) -> Generator[OutputFile]:
    """Open a file, ``.gz`` and ``.zst`` compressed; nothing is left of it if anything fails.

    Raises:
        ConfigError: it is there already, or cannot be written.
    """
    file = PartialFile(path, overwrite=overwrite, what="output file")
    try:
        yield OutputFile(file.write)
        file.finish()
    except BaseException:
        file.abandon()
        raise


def shown(data: bytes | None) -> Any:
    """Bytes as JSON has them: text, or base64 where they are none; null stays null."""
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(data).decode()}


def _row_lines(effects: Effects, places: dict[int, Place]) -> list[RowLine]:
    """Make lines of whole columns; ``places`` has each input record by its rank."""
    first, rows = effects.first_offset, len(effects)
    lines = list(
        map(
            RowLine, repeat(effects.topic), repeat(effects.partition), range(first, first + rows),
            effects.timestamps, texts_of(effects.keys), texts_of(effects.values), effects.stages,
            map(places.__getitem__, effects.ranks),
        )
    )  # fmt: skip
    for row, headers in effects.headers.items():
        if headers:
            lines[row].headers = said_headers(headers)
    return lines


def _failure(raised: Raised) -> dict[str, Any]:
    return {
        "raised": raised.error,
        "message": raised.message,
        "stage": raised.stage,
        "record": _place((raised.source, raised.offset)),
        "key": shown(raised.key),
        "from": _place(raised.root),
    }


def _place(root: Root) -> Place:
    (topic, partition), offset = root
    return topic, partition, offset
