"""Numbers and ids that look like chance and follow from a record: the same ones in each replay.

A record's root (where it entered the program, as text) and the stage that asks are hashed; what a
function makes of that goes to state and outputs like any value. Invariant: a record that is
processed again, after a crash or in a replay, gets the same ones; two records, or two calls for one
record, never do.
"""

from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from random import Random as Random
from typing import Final
from uuid import UUID, uuid5

_NAMES: Final = UUID("a3a0a3f8-4f0e-5b5c-9c0b-3a1f6d2c7e11")
"""The namespace of all ids that are made here."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Chance:
    """What one stage gets for the record at hand."""

    __slots__ = ("_ids", "_of", "_random", "_stage")

    def __init__(self, stage: str) -> None:
        self._stage, self._of = stage, ""
        self._random: Random | None = None
        self._ids = 0

    def reset(self) -> None:
        """The record at hand is processed again, or none is at hand."""
        self._of, self._random, self._ids = "", None, 0

    def _at(self, root: str) -> None:
        if root != self._of:
            self.reset()
            self._of = root

    def random(self, root: str) -> Random:
        """The record's own generator: it goes on from call to call for the same record."""
        self._at(root)
        if self._random is None:
            seed = blake2b(f"{root}\n{self._stage}".encode(), digest_size=16).digest()
            self._random = Random(int.from_bytes(seed, "big"))
        return self._random

    def uuid(self, root: str) -> UUID:
        """The record's next id: version 5, named by root, stage and number (RFC 9562, §5.5)."""
        self._at(root)
        self._ids += 1
        return uuid5(_NAMES, f"{root}\n{self._stage}\n{self._ids}")


def root_text(topic: str, partition: int, offset: int, timestamp_ms: int) -> str:
    """Write where a record entered the program, and when it happened.

    >>> root_text("flights", 0, 12, 1000)
    'flights 0 12 1000'
    """
    return f"{topic} {partition} {offset} {timestamp_ms}"


def root_time(root: str) -> datetime:
    """Return when the record happened that a root names.

    >>> root_time("flights 0 12 1000 .0")
    datetime.datetime(1970, 1, 1, 0, 0, 1, tzinfo=datetime.timezone.utc)
    """
    return time_at(int(root.split(" ")[3]))


def time_at(time_ms: int) -> datetime:
    """Return a time in UTC.

    >>> time_at(1000)
    datetime.datetime(1970, 1, 1, 0, 0, 1, tzinfo=datetime.timezone.utc)
    """
    return _EPOCH + timedelta(milliseconds=time_ms)
