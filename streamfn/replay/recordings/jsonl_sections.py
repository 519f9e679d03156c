"""The sections of a sealed .jsonl: lines up to a checksum of all bytes before it.

Bytes come from ``jsonl_read`` and go back to it. Invariant: what ``take`` gives has the right
checksum, and so has everything before it.
"""

import zlib
from collections.abc import Callable
from typing import Final

import msgspec

from streamfn.errors import RecordingError
from streamfn.replay.recordings.file_header import AGAIN, DECODE_ERRORS, excerpt
from streamfn.replay.recordings.jsonl import CHECK_MARK, CheckLine
from streamfn.replay.recordings.order import Fail

CUT: Final = "is cut short: its end is missing"


class Sections:
    """Cuts bytes into sections; ``line`` is the number of the first line not yet passed."""

    def __init__(self, read: Callable[[], bytes], fail: Fail, begun: bytes = b"") -> None:
        self._read, self._fail = read, fail
        self._data = begun
        self._crc32 = 0
        self.line = 1

    def take(self) -> bytes | None:
        """Take the lines of the next section; None at the end of the file.

        The caller says with ``passed`` how many they were: counting them here takes time.
        """
        mark, end = self._find()
        if end < 0:
            return None
        body, check = self._data[: mark + 1], self._data[mark + 1 : end + 1]
        self._data = self._data[end + 1 :]
        self._crc32 = zlib.crc32(body, self._crc32)
        self._compare(body, check)
        self._crc32 = zlib.crc32(check, self._crc32)
        return body

    def passed(self, lines: int) -> None:
        """Count the lines that were taken, and their checksum."""
        self.line += lines + 1

    def cut(self) -> RecordingError:
        """Make the error of a file without an end."""
        where = f"after line {self.line - 1}" if self.line > 1 else ""
        return self._fail(where=where, wrong=CUT, cure=AGAIN)

    def _find(self) -> tuple[int, int]:
        """Find the next checksum, reading on until it is there: where it begins and ends."""
        at = 0
        while True:
            mark = self._data.find(CHECK_MARK, at)
            end = self._data.find(b"\n", mark + 1) if mark >= 0 else -1
            if end >= 0:
                return mark, end
            at = max(0, mark if mark >= 0 else len(self._data) - len(CHECK_MARK))
            more = self._read()
            if not more and self._data:
                raise self.cut()
            if not more:
                return -1, -1
            self._data += more

    def _compare(self, body: bytes, check: bytes) -> None:
        said = self._decoded(body, check)
        if said != f"{self._crc32:08x}":
            raise self._fail(
                where=f"lines {self.line} to {self._last(body)}",
                wrong=f"are damaged: their checksum is not {said[:8]!a}",
                got=f"{self._crc32:08x}",
                cure=AGAIN,
            )

    def _last(self, body: bytes) -> int:
        """Tell the number of the line that holds the checksum of a section."""
        return self.line + body.count(b"\n")

    def _decoded(self, body: bytes, check: bytes) -> str:
        try:
            return msgspec.json.decode(check, type=CheckLine).check
        except DECODE_ERRORS as error:
            raise self._fail(
                where=f"line {self._last(body)}",
                wrong="is damaged: it begins as a checksum and is none",
                got=excerpt(check),
                cure=AGAIN,
            ) from error
