"""A task's ``StateStore`` over any ``streamfn.database.Database``: what memory and RocksDB share.

Changes come from ``state.levels`` after a commit, bulk loads from a restore, and both go into one
space per store (``store:<name>``) beside the space ``__meta``.

Invariant: one write is one batch of the database, so that data and the offsets it stands for are
never apart. Spaces of stores that the program no longer has stay as they are.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import itemgetter

from streamfn.database import Database
from streamfn.errors import InternalError, StateError
from streamfn.state.store import Changes

META = "__meta"
LOAD_CHUNK_BYTES = 32 << 20
ENTRY_BYTES = 150
"""About what Python needs to hold an entry besides its bytes."""

_STORE_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")


def space_names(stores: Iterable[str]) -> dict[str, str]:
    """Return the database's space of each store.

    Raises:
        StateError: a name that cannot be a store's.
    """
    names = list(stores)
    for name in names:
        if not _STORE_NAME.fullmatch(name):
            message = (
                f"store {name!r} has no usable name; got {len(name)} characters; "
                "use 1 to 200 of A-Z a-z 0-9 . _ -"
            )
            raise StateError(message)
    return {name: f"store:{name}" for name in names}


class DatabaseStore:
    """A ``StateStore`` in a database that has the spaces of its stores and ``META``."""

    def __init__(self, database: Database, spaces: Mapping[str, str]) -> None:
        self._database = database
        self._spaces = dict(spaces)

    def _space(self, store: str) -> str:
        try:
            return self._spaces[store]
        except KeyError:
            message = f"store {store!r} is not of this task; got {sorted(self._spaces)}; report it"
            raise InternalError(message) from None

    def get(self, store: str, key: bytes) -> bytes | None:
        """Return the value of a key, or None."""
        return self._database.get(self._space(store), key)

    def reader(self, store: str) -> Callable[[bytes], bytes | None]:
        """``get`` of one store."""
        return self._database.reader(self._space(store))

    def scan(
        self, store: str, start: bytes, end: bytes | None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield entries with ``start <= key < end`` as they are now."""
        return self._database.scan(self._space(store), start, end, reverse=reverse)

    def write(
        self,
        changes: Changes,
        meta: Mapping[str, bytes | None],
        delete_ranges: Iterable[tuple[str, bytes, bytes]] = (),
    ) -> None:
        """Apply everything or nothing: deleted ranges first, then changes, and the meta entries."""
        rows: dict[str, Mapping[bytes, bytes | None]] = {
            self._space(store): changed for store, changed in changes.items() if changed
        }
        if meta:
            rows[META] = {key.encode(): value for key, value in meta.items()}
        ranges = [(self._space(store), start, end) for store, start, end in delete_ranges]
        if rows or ranges:
            self._database.write(rows, ranges)

    def meta(self) -> dict[str, bytes]:
        """Return all meta entries."""
        return {key.decode(): value for key, value in self._database.scan(META, b"", None)}

    def load(self, store: str, entries: Iterable[tuple[bytes, bytes | None]]) -> int:
        """Bulk-load a store that is being restored; the last entry of a key wins, None deletes."""
        space = self._space(store)
        count = size = 0
        chunk: dict[bytes, bytes | None] = {}
        for key, value in entries:
            chunk[key] = value
            count += 1
            size += len(key) + len(value or b"") + ENTRY_BYTES
            if size >= LOAD_CHUNK_BYTES:
                self._load_chunk(space, chunk)
                chunk, size = {}, 0
        self._load_chunk(space, chunk)
        return count

    def _load_chunk(self, space: str, chunk: dict[bytes, bytes | None]) -> None:
        get = self._database.get
        gone = [
            key for key, value in chunk.items() if value is None and get(space, key) is not None
        ]
        if gone:  # most meet nothing, and a tombstone in the write buffer makes an ingest flush it
            self._database.write({space: dict.fromkeys(gone)})
        kept = [(key, value) for key, value in chunk.items() if value is not None]
        kept.sort(key=itemgetter(0))
        self._database.load(space, kept)

    def size_bytes(self) -> int:
        """Return about how much disk or memory all stores take."""
        return self._database.size_bytes()

    def close(self) -> None:
        """Free what is open; a second call does nothing."""
        self._database.close()
