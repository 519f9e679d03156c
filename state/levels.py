"""A store in three levels: what a task reads and writes between its functions and its database.

    cache    key → decoded value, uncommitted ones included; ``MISSING`` when known to be absent
    dirty    the same for keys changed since the last commit, in order of their first change
    pending  the same: committed to the changelog, not yet in the StateStore

A read goes cache → pending → StateStore. A write goes to cache and dirty; ``changelog`` encodes the
dirty keys once each; ``committed`` moves them to pending; the task writes pending to the StateStore
with the offsets it stands for. Invariant: dropping all dirty keys from the cache gives exactly the
committed state, which is what ``rewind`` does.

Values of a mutable type are kept as bytes in the cache and decoded for each reader, so that a
change in place can neither be lost nor leak out of a record that was undone.
"""

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, Final, Literal, Protocol, TypeAlias

from streamfn.errors import SerdeError, StateTypeError
from streamfn.state.ordered import OrderedKeys
from streamfn.state.store import StateStore


class _Missing(Enum):
    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing.MISSING
"""Stands for the absence of a value, as None may be one."""

Missing: TypeAlias = Literal[_Missing.MISSING]


class Undoable(Protocol):
    """What a record may change: a store's levels, or columns that it was the first to need."""

    def restore(self, key: bytes, old: Any) -> None:
        """Undo one change."""
        ...


Undo: TypeAlias = "list[tuple[Undoable, bytes, Any]]"
"""Journal of a record: (store, key, what the cache held before), undone from the end."""


_SCANNED_AT_ONCE: Final = 64
"""Keys above the database that a scan takes at once: few scans go far."""

SCALARS: Final = (int, float, str, bytes, bool)
"""Classes whose values hold nothing that could be of a wrong type."""


class Levels:
    """One store of one task. Keys are encoded; values are decoded by ``decode`` when first read."""

    __slots__ = (
        "_complete", "_fresh", "_indexed", "_ordered", "_read", "_trusted", "cache", "decode",
        "dirty", "encode", "exact", "mutable", "name", "pending", "store", "undo", "version",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        store: StateStore,
        encode: Callable[[Any], bytes],
        decode: Callable[[bytes], Any],
        *,
        mutable: bool,
        undo: Undo,
        indexed: bool = True,
        exact: type | None = None,
        trusted: bool = False,
    ) -> None:
        """Open the levels over a store.

        Args:
            name: the store's name.
            store: the task's database.
            encode: value to bytes.
            decode: bytes to value.
            mutable: values may change in place, so the cache holds their bytes.
            undo: the record's journal.
            indexed: False if somebody writes cache and dirty directly, so that each scan sorts
            anew.
            exact: the store's type if it is a class; a value of another class is made to fit.
            trusted: whoever writes has seen to it that all can be read back.
        """
        self.name, self.undo = name, undo
        self.version = 0
        """Another number when something was taken back: what was worked out from it is void."""
        self.attach(store)
        self._indexed = indexed
        self.exact = exact
        self._trusted = trusted or exact in SCALARS
        self.encode, self.decode, self.mutable = encode, decode, mutable
        self.cache: dict[bytes, Any] = {}
        self.dirty: dict[bytes, Any] = {}
        self.pending: dict[bytes, Any] = {}
        self._ordered: OrderedKeys | None = None
        self._fresh: set[bytes] = set()
        """Dirty keys of which nothing was ever committed."""

    def attach(self, store: StateStore) -> None:
        """Read from this store from now on: the first one, or one that replaces a wiped one."""
        self.version += 1
        self.store = store
        self._read = store.reader(self.name)
        self._complete: bool | None = None

    # reading
    def load(self, key: bytes) -> Any:
        """Fetch a key that the cache does not hold; return what the cache holds from now on.

        A store that was empty at the first look, and whose cache has dropped nothing since, has no
        other keys: a fifth of the time of a job that meets each key a few times.
        """
        if self._complete is None:
            first = next(self.store.scan(self.name, b"", None), None)
            self._complete = first is None and not self.cache
        found: Any = MISSING
        if key in self.pending:
            found = self.pending[key]
        elif not self._complete:
            raw = self._read(key)
            if raw is not None:
                found = raw if self.mutable else self.decoded(raw)
        self.cache[key] = found
        return found

    def get(self, key: bytes) -> Any:
        """Return the decoded value or ``MISSING``; of a mutable type a fresh object each time."""
        try:
            found = self.cache[key]
        except KeyError:
            found = self.load(key)
        return self.decoded(found) if self.mutable and found is not MISSING else found

    def scan(
        self, start: bytes, end: bytes | None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, Any]]:
        """Yield (key, decoded value) in key order: the database with all levels above it merged in.

        What is written during the scan may or may not be seen.
        """
        get, cache = self.get, self.cache
        above = self._keys_above(start, end, reverse)
        held = next(above, None)
        for key, raw in self.store.scan(self.name, start, end, reverse=reverse):
            while held is not None and (held > key if reverse else held < key):
                value = get(held)
                if value is not MISSING:
                    yield held, value
                held = next(above, None)
            if held == key or key in cache:
                value = get(key)
                if value is not MISSING:
                    yield key, value
            else:
                yield key, self.decoded(raw)
            while held is not None and (held >= key if reverse else held <= key):
                held = next(above, None)  # this one, and what was written behind our back
        while held is not None:
            value = get(held)
            if value is not MISSING:
                yield held, value
            held = next(above, None)

    def _keys_above(self, start: bytes, end: bytes | None, reverse: bool) -> Iterator[bytes]:
        """Yield keys of dirty and pending in a range, in order, a few at a time.

        They may become more while somebody scans.
        """
        while True:
            if self._ordered is None or not self._indexed:
                self._ordered = OrderedKeys({*self.dirty, *self.pending})
            found = self._ordered.some(start, end, _SCANNED_AT_ONCE, reverse=reverse)
            yield from found
            if len(found) < _SCANNED_AT_ONCE:
                return
            if reverse:
                end = found[-1]
            else:
                start = found[-1] + b"\x00"

    def decoded(self, raw: bytes) -> Any:
        """Decode a value; one that its type cannot read is the store's fault, not the record's.

        Unless it was not committed yet: then it never will be, as whoever wrote it made a mistake.
        """
        try:
            return self.decode(raw)
        except Exception as error:
            if raw in self.dirty.values():
                raise self._unfit(error) from error
            message = (
                f"store {self.name!r} holds a value that its type cannot read; {error}; "
                f"restore the old type, or drop the state: streamfn reset --store {self.name}"
            )
            raise StateTypeError(message) from error

    # writing
    def put(self, key: bytes, value: Any) -> None:
        """Set a key to a decoded value; the journal remembers what was there."""
        if self.mutable:
            self.put_cached(key, self.encode(value))
        else:
            self.put_cached(key, value if value.__class__ is self.exact else self.fit(value))

    def fit(self, value: Any) -> Any:
        """Return a value as it would be read back: an int in a store of floats is a float at once.

        Raises:
            SerdeError: it does not fit the store's type.
        """
        if value is MISSING:
            return value
        try:
            return self.decode(self.encode(value))
        except Exception as error:
            raise self._unfit(error) from error

    def delete(self, key: bytes) -> None:
        """Remove a key."""
        self.put_cached(key, MISSING)

    def put_cached(self, key: bytes, entry: Any) -> None:
        """Set a key to what the cache is to hold (bytes if mutable, ``MISSING`` for a deletion)."""
        cache = self.cache
        old = cache[key] if key in cache else self.load(key)
        self.undo.append((self, key, old))
        if old is MISSING and key not in self.dirty:
            self._fresh.add(key)
        cache[key] = entry
        if self._ordered is not None and key not in self.dirty and key not in self.pending:
            self._ordered.add(key)
        self.dirty[key] = entry

    def insert(self, key: bytes, entry: Any) -> None:
        """Set a key that there never was: nobody needs to look for it in the database."""
        self.undo.append((self, key, MISSING))
        self._fresh.add(key)
        self.cache[key] = self.dirty[key] = entry
        if self._ordered is not None:
            self._ordered.add(key)

    def begin(self, key: bytes, entry: Any) -> None:
        """Set a key that is not dirty; the caller has read it, and undoes nothing."""
        cache = self.cache
        if cache[key] is MISSING:
            self._fresh.add(key)
        cache[key] = self.dirty[key] = entry
        if self._ordered is not None and key not in self.pending:
            self._ordered.add(key)

    def restore(self, key: bytes, old: Any) -> None:
        """Undo one write; the key stays dirty: one changelog record too many does no harm."""
        self.version += 1
        self.cache[key] = self.dirty[key] = old

    # commit
    def changelog(self) -> tuple[list[bytes | None], list[bytes | None]]:
        """Return the dirty keys and their encoded values (None: deleted), once each.

        A key that came and went since the last commit is not among them: nobody knows of it.

        Raises:
            SerdeError: a value does not fit the store's type: it could not be read back.
        """
        self._forget_fresh()
        values = self._encoded(self.dirty)
        if not self._trusted:
            self._check_readable(values)
        return [*self.dirty], values

    def _forget_fresh(self) -> None:
        for key in self._fresh:
            if self.dirty.get(key) is MISSING:
                del self.dirty[key], self.cache[key]
                if self._ordered is not None and key not in self.pending:
                    self._ordered.discard(key)
        self._fresh.clear()

    def _check_readable(self, values: list[bytes | None]) -> None:
        """Refuse to write what could not be read back.

        A wrong type is found here, not after a restart.
        """
        decode = self.decode
        try:
            for raw in values:
                if raw is not None:
                    decode(raw)
        except Exception as error:
            raise self._unfit(error) from error

    def _unfit(self, error: Exception) -> SerdeError:
        return SerdeError(f"store {self.name!r} got a value that does not fit its type; {error}")

    def _encoded(self, entries: Mapping[bytes, Any]) -> list[bytes | None]:
        encode, found = self.encode, entries.values()
        if self.mutable:
            return [None if entry is MISSING else entry for entry in found]
        try:
            return [None if entry is MISSING else encode(entry) for entry in found]
        except Exception as error:
            raise self._unfit(error) from error

    def committed(self) -> None:
        """The changelog records are committed: dirty becomes pending."""
        self.pending.update(self.dirty)
        self.dirty.clear()

    def to_write(self) -> dict[bytes, bytes | None]:
        """Return what is pending as bytes, for the database."""
        return dict(zip(self.pending, self._encoded(self.pending), strict=True))

    def written(self) -> None:
        """Pending is in the database, and what was deleted is not: no need to remember that."""
        cache, dirty = self.cache, self.dirty
        for key, entry in self.pending.items():
            if entry is MISSING and key not in dirty and cache.get(key) is MISSING:
                del cache[key]
        self.pending.clear()
        self._ordered = None

    def rewind(self) -> None:
        """Forget everything since the last commit."""
        self.version += 1
        self._complete = False
        for key in self.dirty:
            del self.cache[key]
        self.dirty.clear()
        self._fresh.clear()
        self._ordered = None

    def shrink(self, entries_max: int) -> None:
        """Evict the oldest entries when there are too many.

        Only between commits, when none is dirty.
        """
        surplus = len(self.cache) - entries_max
        if surplus > 0 and not self.dirty:
            self._complete = False
            for key in [key for _, key in zip(range(surplus + entries_max // 10), self.cache)]:  # noqa: B905  # shorter one ends it
                del self.cache[key]
