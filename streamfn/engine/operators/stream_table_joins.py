"""Joins of a stream with a table: a record looks up what the table holds.

A record goes on with the row of its key, at its own time; the table's changes go no further.
Invariant: only a record, or the time that it brings, makes a result; what a record that waits will
meet is settled by its own time, as the table it then looks up remembers what was there
(``KStreamKTableJoinProcessor``).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from streamfn.engine.keys import OBJECT, KeyForm, same, to_object, to_store
from streamfn.engine.operators.getters import compiler_getter
from streamfn.engine.operators.stream_joins import call_of
from streamfn.engine.operators.timed import Timed
from streamfn.engine.operators.versioned import as_of_getter
from streamfn.engine.scope import Run
from streamfn.graph.operators import GlobalJoin, Join, StreamTableJoin
from streamfn.graph.stores import ENTRY, ENTRY_END, TIME
from streamfn.graph.versions import is_versioned
from streamfn.state.keys import key_codec
from streamfn.windowed import FOREVER_MS

if TYPE_CHECKING:
    from streamfn.engine.closures import Compiler

LookUp: TypeAlias = Callable[[Any, int], Any]
"""``look_up(key, time in ms)`` gives a value or None."""

_time, _time_at = TIME.pack, TIME.unpack_from


def compile_stream_table_join(
    compiler: "Compiler", node: StreamTableJoin, form: KeyForm, parent: str
) -> Run:
    """Join the records of the stream; the table's edge only makes the table one of its tasks'."""
    if parent != node.parents[0]:
        return _table_side()
    if node.buffer is not None:
        return _waiting(compiler, node, form)
    join = _join(
        node, to_object(form), _look_up(compiler, node, form), compiler.children(node, form)
    )
    drop, name, inner = compiler.scope.metrics.drop, node.name, node.kind == "inner"

    def run(key: Any, value: Any, timestamp: int) -> None:
        if value is None or (key is None and inner):
            drop("null key" if key is None else "null value", name)
        else:
            join(key, value, timestamp)

    return run


def _table_side() -> Run:
    def run(key: Any, value: Any, timestamp: int) -> None:
        """A change of the table joins nothing."""

    return run


def _look_up(compiler: "Compiler", node: StreamTableJoin, form: KeyForm) -> LookUp:
    table = node.parents[1]
    if is_versioned(compiler.scope.subtopology.nodes, table):
        as_of = as_of_getter(compiler, table, form)

        def row_then(key: Any, timestamp: int) -> Any:
            found = as_of(key, timestamp)
            return None if found is None else found[0]

        return row_then
    get = compiler_getter(compiler, table, form)

    def row(key: Any, timestamp: int) -> Any:
        found = get(key)
        return None if found is None else found[0]

    return row


def _join(node: Join, key_of: Callable[[Any], Any], look_up: LookUp, then: Run) -> Run:
    """Return what joins a record, which has a value, with what is there at its time."""
    call, fn, inner, takes_key = call_of(node), node.fn, node.kind == "inner", node.takes_key

    def run(key: Any, value: Any, timestamp: int) -> None:
        found = None if key is None else look_up(key, timestamp)
        if found is not None or not inner:
            made = call(key_of(key), value, found) if takes_key else fn(value, found)
            then(key, made, timestamp)

    return run


# --- with grace


class Buffer:
    """Records that wait until stream time is ``grace_ms`` past them.

    The store holds ``02 time sequence key → (value, time)``, so in order of time and of arrival.
    Its stream time is that of the records that were let in.
    """

    __slots__ = ("_grace_ms", "_lowest", "_sequence", "_store", "_stream_time")

    def __init__(self, store: Timed, grace_ms: int) -> None:
        self._store, self._grace_ms = store, grace_ms
        self._stream_time = store.register(b"t")
        self._sequence = store.register(b"s", 0)
        self._lowest = store.register(b"m", FOREVER_MS)

    def put(self, key: bytes, value: Any, timestamp: int) -> bool:
        """Let a record wait; False if it is too late for that."""
        if timestamp < self._stream_time.get() - self._grace_ms:
            return False
        self._stream_time.advance(timestamp)
        number = self._sequence.get()
        self._sequence.set(number + 1)
        self._store.put(ENTRY + _time(timestamp) + _time(number) + key, value, timestamp)
        if timestamp < self._lowest.get():
            self._lowest.set(timestamp)
        return True

    def take(self) -> list[tuple[bytes, Any, int]]:
        """Take out (key, value, time) of those that have waited long enough."""
        reached_ms = self._stream_time.get() - self._grace_ms
        if self._lowest.get() > reached_ms:
            return []
        taken: list[tuple[bytes, Any, int]] = []
        start = ENTRY + _time(self._lowest.get())  # what was taken is slow to scan over
        lowest_ms = FOREVER_MS
        found: list[bytes] = []
        for entry, (value, timestamp) in self._store.scan(start, ENTRY_END):
            if timestamp > reached_ms:
                lowest_ms = timestamp
                break
            found.append(entry)
            taken.append((entry[17:], value, timestamp))
        for entry in found:
            self._store.delete(entry)
        self._lowest.set(lowest_ms)
        return taken


def _waiting(compiler: "Compiler", node: StreamTableJoin, form: KeyForm) -> Run:
    """Join what has waited long enough; what comes too late to wait, or has no key, at once."""
    assert node.buffer is not None
    assert node.grace_ms is not None
    buffer = Buffer(compiler.timed(node.buffer), node.grace_ms)
    store_key, key_of = to_store(form, node.buffer.key), to_object(form)
    compiler.source = None
    look_up, then = _look_up(compiler, node, OBJECT), compiler.children(node, OBJECT)
    join = _join(node, same, look_up, then)
    late_join = compiler.apart(node, join)
    decode = key_codec(node.buffer.key).decode
    drop, name, inner = compiler.scope.metrics.drop, node.name, node.kind == "inner"

    def run(key: Any, value: Any, timestamp: int) -> None:
        if value is None or (key is None and inner):
            drop("null key" if key is None else "null value", name)
        elif key is None or not buffer.put(store_key(key), value, timestamp):
            join(key_of(key), value, timestamp)
        else:
            for raw, waited, then_ms in buffer.take():
                (join if then_ms == timestamp else late_join)(decode(raw), waited, then_ms)

    return run


# --- with a global table


def compile_global_join(compiler: "Compiler", node: GlobalJoin, form: KeyForm, parent: str) -> Run:
    """Look up a global table by a key that is made of each record.

    It holds what its topic held when it was last looked at: the look-up is not in step with the
    time of the records, and a replay may find another row.
    """
    get = compiler.scope.global_tables[node.table.name].get
    key_of, on, on_takes_key = to_object(form), node.on, node.on_takes_key
    call, then = call_of(node), compiler.children(node, form)
    drop, name, inner = compiler.scope.metrics.drop, node.name, node.kind == "inner"

    def run(key: Any, value: Any, timestamp: int) -> None:
        if value is None:
            drop("null value", name)
            return
        wanted = on(key_of(key), value) if on_takes_key else on(value)
        if wanted is None and inner:
            drop("null key", name)
            return
        found = None if wanted is None else get(wanted)
        if found is not None or not inner:
            then(key, call(key_of(key), value, found), timestamp)

    return run
