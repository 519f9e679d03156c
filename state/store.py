"""The StateStore port: what a task's database can do. Bytes in, bytes out.

It knows nothing of Kafka.

Invariant: ``write`` is atomic over all stores and the meta entries, so that data and the offsets it
stands for are never apart. Bytes come from ``state.levels`` (encoded keys and values) and from
restores.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol, TypeAlias

Changes: TypeAlias = Mapping[str, Mapping[bytes, bytes | None]]
"""Store name → key → value, or None for a deletion."""


class StateStore(Protocol):
    """One database a task, one key space a store."""

    def get(self, store: str, key: bytes) -> bytes | None:
        """Return the value of a key, or None."""
        ...

    def reader(self, store: str) -> Callable[[bytes], bytes | None]:
        """``get`` of one store, without the look-ups that do not depend on the key."""
        ...

    def scan(
        self, store: str, start: bytes, end: bytes | None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield entries with ``start <= key < end`` in key order (or backwards); None has no end.

        Raises:
            StateCorruptedError: the scan could not read all; never a silent early end.
        """
        ...

    def write(
        self,
        changes: Changes,
        meta: Mapping[str, bytes | None],
        delete_ranges: Iterable[tuple[str, bytes, bytes]] = (),
    ) -> None:
        """Apply everything or nothing: deleted ranges first, then changes, and the meta entries."""
        ...

    def meta(self) -> dict[str, bytes]:
        """All meta entries (identity, changelog offsets, token, stream time)."""
        ...

    def load(self, store: str, entries: Iterable[tuple[bytes, bytes | None]]) -> int:
        """Bulk-load a store that is being restored from nothing; return how many entries were read.

        The last entry of a key wins, None deletes. Not atomic: the caller has marked the database.
        """
        ...

    def size_bytes(self) -> int:
        """About how much disk or memory the data takes."""
        ...

    def close(self) -> None:
        """Release everything that was opened."""
        ...


class TaskHome(Protocol):
    """One task's data, open."""

    @property
    def store(self) -> StateStore:
        """The open store."""
        ...

    @property
    def was_restoring(self) -> bool:
        """True if a bulk load was begun and not ended: the data is in pieces."""
        ...

    def begin_restore(self) -> None:
        """Mark the data as incomplete until ``end_restore``."""
        ...

    def end_restore(self) -> None:
        """The data is complete."""
        ...

    def wipe(self, reason: str) -> None:
        """Go on with an empty store."""
        ...

    def close(self) -> None:
        """Release everything that was opened."""
        ...


class TaskHomes(Protocol):
    """Opens homes."""

    def open(self, task: str, stores: Iterable[str], *, private: bool = False) -> TaskHome:
        """Open a task's home; ``private`` is for one whose own folder a zombie holds.

        Raises:
            StateLockedError: another process has the folder.
        """
        ...


class Slot(Protocol):
    """The worker's place on this machine: it remembers where the worker was if it crashes."""

    def note_position(self, task: str, topic: str, offset: int) -> None:
        """Remember what is about to be processed."""
        ...

    def forget_position(self) -> None:
        """Nothing of the user's runs: a crash now is nobody's."""
        ...

    def forget_crash(self, task: str) -> None:
        """The task has got past where it crashed."""
        ...
