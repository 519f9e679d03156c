"""The Source port: what feeds an application from outside, and can go on where it stopped.

Invariant: **a position stands for exactly the rows that were delivered before it**; it is
committed in the transaction that holds these rows, so that a killed load goes on without loss or
doubles. Rows come from the outside world and go, as columns, to one topic.
"""

from dataclasses import dataclass
from typing import Protocol

from streamfn.record import Columns


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that is no record: where it began, its bytes, why it was refused."""

    line: int
    raw: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Portion:
    """Rows in order, those refused among them, and the position after both.

    ``at_end`` says that there is nothing more to read: for good, or for now if the source is
    followed.
    """

    columns: Columns
    rejected: tuple[Rejected, ...]
    position: bytes
    at_end: bool


class Source(Protocol):
    """A reader of rows for one topic."""

    @property
    def name(self) -> str:
        """What the position is committed under; unique in an application."""
        ...

    def open(self, position: bytes | None) -> None:
        """Start at a committed position, or at the beginning.

        Raises:
            ConfigError: there is nothing to read, or not what the position belongs to.
        """
        ...

    def read(self, limit: int) -> Portion:
        """Return up to ``limit`` rows, refused ones counted; less than that is not the end.

        Raises:
            ConfigError: the rest cannot be read; all rows before it were delivered.
        """
        ...

    def progress(self) -> tuple[int, int]:
        """Bytes done, and bytes in total as far as known."""
        ...

    def close(self) -> None:
        """Let go of what is open; ``open`` may be called again."""
        ...
