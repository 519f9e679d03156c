"""``Timed``: a store of values with a time each, as operators use it.

Entries ``(value, time in ms)`` come from operators under the keys of ``graph.stores`` and go to the
store's levels. Invariant: everything an operator remembers is written through here, journalled, so
that a record that fails, a rewind and a restore treat it like any other state; a register (stream
time, what was emitted, a sequence) is an entry without a value.
"""

from collections.abc import Callable, Iterator
from typing import Any

from streamfn.graph.stores import REGISTER, encode_key
from streamfn.graph.topology import StoreSpec
from streamfn.state.levels import MISSING, Levels


class Timed:
    """A store's entries by their encoded keys.

    A value that may change in place is decoded anew for each reader.
    """

    __slots__ = ("_decode", "_exact", "_fit", "_mutable", "levels")

    def __init__(self, levels: Levels, spec: StoreSpec) -> None:
        self.levels = levels
        self._mutable, self._decode, self._fit = levels.mutable, levels.decoded, levels.fit
        self._exact = spec.value if isinstance(spec.value, type) else None

    def get(self, key: bytes) -> tuple[Any, int] | None:
        """Return (value, time), or None."""
        levels = self.levels
        try:
            found = levels.cache[key]
        except KeyError:
            found = levels.load(key)
        if found is MISSING:
            return None
        return self._decode(found) if self._mutable else found  # type: ignore[no-any-return]  # decoded entries are pairs

    def put(self, key: bytes, value: Any, time_ms: int) -> Any:
        """Set an entry; return the value as it will be read back."""
        levels = self.levels
        if self._mutable:
            raw = levels.encode((value, time_ms))
            levels.put_cached(key, raw)
            return value
        if value.__class__ is not self._exact:
            value = self._fit((value, time_ms))[0]
        levels.put_cached(key, (value, time_ms))
        return value

    def add(self, key: bytes, value: Any, time_ms: int) -> None:
        """Set an entry whose key there never was."""
        entry: Any = (value, time_ms)
        if self._mutable:
            entry = self.levels.encode(entry)
        elif value.__class__ is not self._exact:
            entry = self._fit(entry)
        self.levels.insert(key, entry)

    def delete(self, key: bytes) -> None:
        """Remove an entry; one that is not there is left alone."""
        if self.get(key) is not None:
            self.levels.put_cached(key, MISSING)

    def drop(self, key: bytes) -> None:
        """Remove an entry that is there."""
        self.levels.put_cached(key, MISSING)

    def scan(
        self, start: bytes, end: bytes | None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, tuple[Any, int]]]:
        """Yield (key, (value, time)) with ``start <= key < end``, in order of the keys.

        Take a list of it before changing entries of the range.
        """
        return self.levels.scan(start, end, reverse=reverse)

    def register(self, name: bytes, start: int = -1) -> "Register":
        """Return the register of a name; ``start`` is what it holds until it is set."""
        return Register(self.levels, REGISTER + name, start)


class Register:
    """A number that is state: undone, committed and restored like every entry."""

    __slots__ = ("_cache", "_key", "_levels", "_start")

    def __init__(self, levels: Levels, key: bytes, start: int) -> None:
        self._levels, self._key, self._start = levels, key, start
        self._cache = levels.cache

    def get(self) -> int:
        """Return the number."""
        try:
            found = self._cache[self._key]
        except KeyError:
            found = self._levels.load(self._key)
        if found is MISSING:
            return self._start
        entry = self._levels.decoded(found) if self._levels.mutable else found
        return entry[1]  # type: ignore[no-any-return]  # decoded entries are pairs

    def set(self, number: int) -> None:
        """Set the number."""
        levels, entry = self._levels, (None, number)
        levels.put_cached(self._key, levels.encode(entry) if levels.mutable else entry)

    def advance(self, number: int) -> int:
        """Set the number if it is greater; return the greatest so far."""
        now = self.get()
        if number > now:
            self.set(number)
            return number
        return now


def row_of(store: Timed, spec: StoreSpec) -> Callable[[Any], tuple[Any, int] | None]:
    """Return what gives the entry of a key as people say it.

    A session is there only with its very end, which is not in the entry's key.
    """
    get, encode = store.get, encode_key(spec)
    if spec.kind != "session":
        return lambda key: get(encode(key))

    def session(key: Any) -> tuple[Any, int] | None:
        found = get(encode(key))
        return found if found is not None and found[1] == key.end_ms else None

    return session
