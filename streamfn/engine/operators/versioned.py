"""Versioned tables: what a row was at each time of the last ``history_ms``, and what it is now.

A record of a table becomes a version of its row here and goes on as a change, which is not the
latest one if the record was out of order; whoever joins or looks up as of a time reads versions.
Invariant: answers follow from the versions and the stream time alone, never from how much of what
has ended was freed already (``RocksDBVersionedStore``).

    02 key            (value, start)   the latest version; no value: the row was deleted
    01 01 key end     (value, start)   a version that was valid from start until end
    01 01 key end     (None, end)      a mark: the row was deleted at end
    01 00 due hash key   (None, end)   versions of the key end before due
    00 t              greatest time so far
    00 f, 00 h, 00 v  up to where is freed: due, hash (or all of it), end of a version

A deletion needs no version of its own: nothing is valid between its mark, or the end of the version
it ended, and the next start. ``due`` goes in steps, so that a key has one a step and not one a
version; nothing that is kept depends on how long the history is, which may change between runs.
"""

from collections.abc import Callable
from itertools import islice
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

from streamfn.engine.keys import KeyForm, to_store
from streamfn.engine.operators.table_steps import Row, step_row
from streamfn.engine.operators.timed import Timed
from streamfn.engine.scope import Run
from streamfn.errors import InternalError
from streamfn.graph.operators import TableStep
from streamfn.graph.stores import ENTRY, INDEX, TIME
from streamfn.graph.topology import StoreSpec, TableStore
from streamfn.state.keys import component

if TYPE_CHECKING:
    from streamfn.engine.closures import Compiler

STEPS = 4
"""In how many steps a history's length is freed: it keeps a quarter more at most."""

FREED_MAX = 50
"""How many ended versions a record frees at most."""

_ALL = 1 << 32
"""A place among the hashes: behind them all."""

_DUE = INDEX + b"\x00"
_HASH = Struct(">I")
_VERSION = INDEX + b"\x01"
_LAST = b"\xff" * 8

_part = component(bytes)


class _Version(NamedTuple):
    """A version that has ended; ``start_ms`` is ``end_ms`` for a mark."""

    key: bytes
    value: Any
    start_ms: int
    end_ms: int


class Versions:
    """The rows of a versioned table, by their encoded keys."""

    def __init__(self, store: Timed, spec: StoreSpec) -> None:
        self._store = store
        self._history_ms = spec.history_ms or 0
        self._step_ms = max(self._history_ms // STEPS, 1)
        self._time, self._due = store.register(b"t"), store.register(b"f", 0)
        self._hash, self._end = store.register(b"h", 0), store.register(b"v", -1)

    # reading
    def latest(self, key: bytes) -> Row:
        """Return the row as it is now, or None."""
        found = self._store.get(ENTRY + key)
        return None if found is None or found[0] is None else found

    def as_of(self, key: bytes, time_ms: int) -> Row:
        """Return the row as it was at a time; before the history only what still is can be told."""
        latest = self._store.get(ENTRY + key)
        if latest is None:
            return None
        if latest[1] <= time_ms:
            return None if latest[0] is None else latest
        if time_ms < self._time.get() - self._history_ms:
            return None
        found = self._ends_after(_VERSION + _part.encode(key), time_ms)
        return None if found is None or found.start_ms > time_ms else (found.value, found.start_ms)

    def _ends_after(self, part: bytes, time_ms: int) -> _Version | None:
        """The first version, or mark, that ends after a time."""
        found = next(self._store.scan(part + TIME.pack(time_ms + 1), part + _LAST), None)
        if found is None:
            return None
        raw, (value, start_ms) = found
        return _Version(raw, value, start_ms, TIME.unpack_from(raw, len(raw) - 8)[0])

    # writing
    def put(self, key: bytes, value: Any, time_ms: int) -> tuple[Any, Any, bool] | None:
        """Add a version; return the change, or None if it is older than the history."""
        now = self._time.advance(time_ms)
        if time_ms < now - self._history_ms:
            return None
        self._free(now)
        at = ENTRY + key
        latest = self._store.get(at)
        old = None if latest is None else latest[0]
        if latest is not None and time_ms < latest[1]:
            return self._insert(key, value, time_ms, latest[1]), old, False
        if latest is not None and old is not None:
            if time_ms > latest[1]:
                self._keep(key, old, latest[1], time_ms)
            elif value is None:
                self._take_back(key)
                return None, old, True
        if value is None:
            self._mark(key, time_ms)
        return self._store.put(at, value, time_ms), old, True

    def _take_back(self, key: bytes) -> None:
        """A row is deleted at the very time of its latest version: that is as if it had not been.

        What was before has ended where it had; a record of a time in between is a new latest one.
        """
        part = _VERSION + _part.encode(key)
        last = next(self._store.scan(part, part + _LAST, reverse=True), None)
        if last is None:
            self._store.delete(ENTRY + key)
        else:
            self._store.put(ENTRY + key, None, TIME.unpack_from(last[0], len(last[0]) - 8)[0])

    def _insert(self, key: bytes, value: Any, time_ms: int, last_ms: int) -> Any:
        """Put a version between others; return its value as kept."""
        found = self._ends_after(_VERSION + _part.encode(key), time_ms)
        if found is None or found.start_ms > time_ms:  # nothing was valid then
            if value is not None:
                end_ms = last_ms if found is None else found.start_ms
                return self._keep(key, value, time_ms, end_ms)
            if found is None:
                self._mark(key, last_ms)
            return self._mark(key, time_ms)
        if found.start_ms < time_ms:
            self._keep(key, found.value, found.start_ms, time_ms)
        if value is None:
            self._mark(key, time_ms)
            time_ms = found.end_ms
        return self._store.put(found.key, value, time_ms)

    def _keep(self, key: bytes, value: Any, start_ms: int, end_ms: int) -> Any:
        """Keep a version that has ended, or a mark, and note when it is due."""
        part, step_ms = _part.encode(key), self._step_ms
        due_ms = max(end_ms // step_ms + 1, self._due.get() // step_ms + 1) * step_ms
        due = _DUE + TIME.pack(due_ms) + _HASH.pack(crc32(part)) + part
        if self._store.get(due) is None:
            self._store.put(due, None, end_ms)
        return self._store.put(_VERSION + part + TIME.pack(end_ms), value, start_ms)

    def _mark(self, key: bytes, time_ms: int) -> None:
        """Remember that the row was deleted, unless a version that ends then tells it."""
        if self._store.get(_VERSION + _part.encode(key) + TIME.pack(time_ms)) is None:
            self._keep(key, None, time_ms, time_ms)

    # freeing
    def _free(self, now: int) -> None:
        """Delete versions that ended before the history, and deleted rows with the last of them.

        Nothing asks for them any more: older records are dropped, older look-ups find only what
        still is.
        """
        boundary = (now - self._history_ms) // self._step_ms * self._step_ms
        due_ms, place = self._due.get(), self._hash.get()
        if boundary < due_ms or (boundary == due_ms and place == _ALL):
            return
        start = TIME.pack(due_ms + 1) if place == _ALL else TIME.pack(due_ms) + _HASH.pack(place)
        store, left = self._store, FREED_MAX
        found = islice(store.scan(_DUE + start, _DUE + TIME.pack(boundary + 1)), FREED_MAX)
        due = [raw for raw, _ in found]
        for raw in due:  # where it stops, the next record goes on
            (due_ms,), (place,) = TIME.unpack_from(raw, 2), _HASH.unpack_from(raw, 10)
            left -= self._free_before(raw[14:], raw[2:10], left)
            if left <= 0:
                break
            store.delete(raw)
        if left > 0 and len(due) < FREED_MAX:
            due_ms, place = boundary, _ALL
        self._due.set(due_ms)
        self._hash.set(place)

    def _free_before(self, part: bytes, due: bytes, most: int) -> int:
        """Delete versions of a key that end before a time, and a row deleted before it."""
        store, prefix = self._store, _VERSION + part
        found = store.scan(prefix + TIME.pack(self._end.get() + 1), prefix + due)
        ended = [raw for raw, _ in islice(found, most)]
        for raw in ended:
            store.delete(raw)
        if len(ended) == most:  # the next record goes on behind it
            self._end.set(TIME.unpack_from(ended[-1], len(ended[-1]) - 8)[0])
            return most
        if self._end.get() >= 0:
            self._end.set(-1)
        at = ENTRY + _part.decode(part, 0)[0]
        latest = store.get(at)
        if latest is not None and latest[0] is None and TIME.pack(latest[1]) < due:
            store.delete(at)
        return len(ended)


def compile_versioned(compiler: "Compiler", node: TableStore, form: KeyForm) -> Run:
    """Keep the versions of each row; a record older than the history is dropped."""
    versions = Versions(compiler.timed(node.store), node.store)
    put, store_key = versions.put, to_store(form, node.store.key)
    drop, then, name = compiler.scope.metrics.drop, compiler.children(node, form), node.name

    def run(key: Any, value: Any, timestamp: int) -> None:
        if key is None:
            drop("null key", name)
            return
        change = put(store_key(key), value, timestamp)
        if change is None:
            drop("expired record", name)
        else:
            then(key, change, timestamp)

    return run


def as_of_getter(compiler: "Compiler", name: str, form: KeyForm) -> Callable[[Any, int], Row]:
    """Return what gives a versioned table's row as of a time, for a key in ``form``."""
    node = compiler.scope.subtopology.nodes[name]
    if isinstance(node, TableStep):
        row, parent = step_row(node, form), as_of_getter(compiler, node.parents[0], form)
        return lambda key, time_ms: row(key, parent(key, time_ms))
    if not isinstance(node, TableStore) or node.store.kind != "versioned":
        message = f"table {name!r} is not versioned, and yet it is asked as of a time"
        raise InternalError(message)
    as_of = Versions(compiler.timed(node.store), node.store).as_of
    store_key = to_store(form, node.store.key)
    return lambda key, time_ms: as_of(store_key(key), time_ms)
