"""What a sorted database can do, and ``Memory``, the one for tests; ``streamfn.rocks`` is real.

A ``Database`` holds named spaces of sorted keys, bytes to bytes. Task state and the embedded log
are built on it: batches come in by ``write``, restores by ``load``; ``get`` and ``scan`` read.

Invariant: **nothing is missing silently.** A scan shows the entries as they were when it was made
and either reaches its end or raises; a write is applied as a whole or not at all.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from inspect import GEN_CLOSED, getgeneratorstate
from itertools import pairwise
from typing import NamedTuple, Protocol, TypeAlias
from weakref import WeakSet

from streamfn.errors import InternalError, StateError

Entry: TypeAlias = tuple[bytes, bytes]
Changes: TypeAlias = Mapping[str, Mapping[bytes, bytes | None]]
"""Space → key → value, or None for a deletion."""
Range: TypeAlias = tuple[str, bytes, bytes]
"""Space, first key, key after the last."""


class Database(Protocol):
    """Named spaces of sorted keys, written atomically. A space that does not exist is our bug."""

    def get(self, space: str, key: bytes) -> bytes | None:
        """Return the value of a key, or None."""
        ...

    def reader(self, space: str) -> Callable[[bytes], bytes | None]:
        """``get`` of one space, for those that read it often."""
        ...

    def scan(
        self, space: str, start: bytes, end: bytes | None, *, reverse: bool = False
    ) -> Iterator[Entry]:
        """Yield entries with ``start <= key < end`` as they are now; None has no end.

        Raises:
            StateCorruptedError: not all could be read; never a silent early end.
        """
        ...

    def last(self, space: str, start: bytes, at_most: bytes) -> Entry | None:
        """Return the entry with the greatest key in ``start <= key <= at_most``."""
        ...

    def write(
        self, changes: Changes, delete_ranges: Iterable[Range] = (), *, sync: bool = False
    ) -> None:
        """Apply everything or nothing: first the deleted ranges, then the changes."""
        ...

    def load(self, space: str, entries: Iterable[Entry]) -> int:
        """Add many entries over what is there, sorted by key, each once; return their number."""
        ...

    def spaces(self) -> list[str]:
        """Return the names of all spaces, sorted."""
        ...

    def create_space(self, name: str) -> None:
        """Create an empty space; one that is there already stays as it is."""
        ...

    def drop_space(self, name: str) -> None:
        """Remove a space with all its entries."""
        ...

    def size_bytes(self) -> int:
        """About how much disk or memory all of it takes."""
        ...

    def close(self) -> None:
        """Free files and locks; live scans end with an error. A second call does nothing."""
        ...


def no_space_error(space: str) -> InternalError:
    """Make the error for a space that was never created."""
    return InternalError(f"space {space!r} does not exist; got a call for it; create it first")


def closed_error(path: str) -> StateError:
    """Make the error for a call after ``close``."""
    return StateError(f"database {path!r} is closed; got a call; open it again")


class ClosedScan(Exception):
    """Thrown into a live scan by ``close``."""


Scan: TypeAlias = Generator[Entry, None, None]


def close_scans(scans: WeakSet[Scan]) -> None:
    """Make each live scan let go of what it holds: a live RocksDB iterator keeps the LOCK."""
    for scan in list(scans):
        if getgeneratorstate(scan) != GEN_CLOSED:
            scan.throw(ClosedScan)
    scans.clear()


class Space(NamedTuple):
    """Sorted keys, and their values."""

    keys: list[bytes]
    entries: dict[bytes, bytes]


class Memory:
    """A ``Database`` in memory, for tests; ``disk`` outlives ``close`` and can be opened again."""

    def __init__(self, spaces: Iterable[str] = (), disk: dict[str, Space] | None = None) -> None:
        self.disk: dict[str, Space] = {} if disk is None else disk
        self._scans: WeakSet[Scan] = WeakSet()
        self._path = "memory"
        self._closed = False
        for space in spaces:
            self.create_space(space)

    def _space(self, name: str) -> Space:
        if self._closed:
            raise closed_error(self._path)
        if name not in self.disk:
            raise no_space_error(name)
        return self.disk[name]

    def get(self, space: str, key: bytes) -> bytes | None:
        """Return the value of a key, or None."""
        return self._space(space).entries.get(key)

    def reader(self, space: str) -> Callable[[bytes], bytes | None]:
        """``get`` of one space."""
        return lambda key: self.get(space, key)

    def scan(
        self, space: str, start: bytes, end: bytes | None, *, reverse: bool = False
    ) -> Iterator[Entry]:
        """Yield entries with ``start <= key < end`` as they are now."""
        keys, entries = self._space(space)
        low = bisect_left(keys, start)
        high = len(keys) if end is None else bisect_left(keys, end)
        rows = range(low, high)
        scan = self._walk(keys, entries, rows[::-1] if reverse else rows)
        next(scan)
        self._scans.add(scan)
        return scan

    def _walk(self, keys: list[bytes], entries: dict[bytes, bytes], rows: range) -> Scan:
        try:
            yield b"", b""  # to the maker, so that ``close`` finds a started scan
            for row in rows:
                yield keys[row], entries[keys[row]]
            return
        except ClosedScan:
            yield b"", b""  # to ``close``
        raise closed_error(self._path)

    def last(self, space: str, start: bytes, at_most: bytes) -> Entry | None:
        """Return the entry with the greatest key in ``start <= key <= at_most``."""
        keys, entries = self._space(space)
        row = bisect_right(keys, at_most) - 1
        if row < 0 or keys[row] < start:
            return None
        return keys[row], entries[keys[row]]

    def write(
        self, changes: Changes, delete_ranges: Iterable[Range] = (), *, sync: bool = False
    ) -> None:
        """Apply everything or nothing: first the deleted ranges, then the changes."""
        ranges = list(delete_ranges)
        for name in {*changes, *(space for space, _, _ in ranges)}:
            self._space(name)
        self._spare_scans()
        for space, start, end in ranges:
            _delete_range(self.disk[space], start, end)
        for space, changed in changes.items():
            _apply(self.disk[space], changed)

    def _spare_scans(self) -> None:
        """Leave the live scans what they see, and go on with copies."""
        if self._scans:
            for name, (keys, entries) in self.disk.items():
                self.disk[name] = Space(list(keys), dict(entries))
            self._scans.clear()

    def load(self, space: str, entries: Iterable[Entry]) -> int:
        """Add many sorted entries; all or nothing."""
        loaded = list(entries)
        if any(first[0] >= second[0] for first, second in pairwise(loaded)):
            message = "database 'memory' cannot load; got keys that do not ascend; sort them"
            raise StateError(message)
        self.write({space: dict(loaded)})
        return len(loaded)

    def spaces(self) -> list[str]:
        """Return the names of all spaces, sorted."""
        return sorted(self.disk)

    def create_space(self, name: str) -> None:
        """Create an empty space; one that is there already stays as it is."""
        if self._closed:
            raise closed_error(self._path)
        self.disk.setdefault(name, Space([], {}))

    def drop_space(self, name: str) -> None:
        """Remove a space with all its entries."""
        self._space(name)
        del self.disk[name]

    def size_bytes(self) -> int:
        """Return the length of all keys and values."""
        return sum(
            len(key) + len(value)
            for space in self.disk.values()
            for key, value in space.entries.items()
        )

    def close(self) -> None:
        """End live scans with an error and refuse further calls."""
        self._closed = True
        close_scans(self._scans)


def _delete_range(space: Space, start: bytes, end: bytes) -> None:
    low, high = bisect_left(space.keys, start), bisect_left(space.keys, end)
    for key in space.keys[low:high]:
        del space.entries[key]
    del space.keys[low:high]


def _apply(space: Space, changed: Mapping[bytes, bytes | None]) -> None:
    keys, entries = space
    added: list[bytes] = []
    for key, value in changed.items():
        if value is not None:
            if key not in entries:
                added.append(key)
            entries[key] = value
        elif entries.pop(key, None) is not None:
            del keys[bisect_left(keys, key)]
    if len(added) * 64 > len(keys):
        keys.extend(added)
        keys.sort()
    else:
        for key in added:
            insort(keys, key)
