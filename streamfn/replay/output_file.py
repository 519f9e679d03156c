"""What a replay has made as lines of JSON: outputs, then failures, then the final state.

Effects come chunk by chunk and are written in the order of the input records that they go back to.
Invariant: two replays that agree write the same bytes, wherever their chunks ended, so that ``cmp``
tells. The file gets its name when it is whole.
"""

from base64 import b64encode
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from streamfn.record import Headers, TopicPartition
from streamfn.replay.effects import Effects, Raised
from streamfn.replay.recordings.partial_file import PartialFile
from streamfn.replay.replay import Replayed

_ENCODER = msgspec.json.Encoder()


class OutputFile:
    """Writes effects as they come."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write

    def effects(self, found: list[Effects]) -> None:
        """Write the rows of a chunk, in order of their inputs, then topic, partition and offset."""
        places = sorted(
            (rank, number, row)
            for number, each in enumerate(found)
            for row, rank in enumerate(each.ranks)
        )
        lines = [_ENCODER.encode(_row(found[number], row)) for _, number, row in places]
        if lines:
            self._write(b"\n".join([*lines, b""]))

    def finish(self, done: Replayed) -> None:
        """Write what has failed and what the stores hold."""
        for raised in done.raised:
            self._line(_failure(raised))
        for store in sorted(done.plan.topology.stores):
            for key, value, partition in done.entries(store):
                entry = {"key": shown(key), "value": shown(value)}
                self._line({"store": store, "partition": partition, **entry})

    def _line(self, line: dict[str, Any]) -> None:
        self._write(_ENCODER.encode(line) + b"\n")


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


def _row(effects: Effects, row: int) -> dict[str, Any]:
    line: dict[str, Any] = {
        "topic": effects.topic,
        "partition": effects.partition,
        "offset": effects.first_offset + row,
        "timestamp_ms": effects.timestamps[row],
        "key": shown(effects.keys[row]),
        "value": shown(effects.values[row]),
        "stage": effects.stages[row],
        "from": _place(effects.roots[row]),
    }
    headers: Headers = effects.headers.get(row, ())
    if headers:
        line["headers"] = [[name, shown(value)] for name, value in headers]
    return line


def _failure(raised: Raised) -> dict[str, Any]:
    return {
        "raised": raised.error,
        "message": raised.message,
        "stage": raised.stage,
        "record": _place((raised.source, raised.offset)),
        "key": shown(raised.key),
        "from": _place(raised.root),
    }


def _place(root: tuple[TopicPartition, int]) -> list[Any]:
    (topic, partition), offset = root
    return [topic, partition, offset]
