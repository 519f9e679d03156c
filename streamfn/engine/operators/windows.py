"""Windows of a fixed size (tumbling, hopping) and the unlimited one: an aggregate a key and window.

A record comes in, the aggregate of each window that holds its time is replaced, and the change goes
on under a ``Windowed`` key, at once or when the window is closed. Invariants: lateness is decided
for each window (``KStreamWindowAggregate``); the rows are in order of the windows' starts, so that
what closes and what expires lies together.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from streamfn.engine.keys import OBJECT, KeyForm, to_object, to_store
from streamfn.engine.operators.closing import DELETES_MAX, Closing, Row, dropping, idle_close
from streamfn.engine.operators.fold import fold_of
from streamfn.engine.operators.sessions import SessionAggregate
from streamfn.engine.operators.sliding import SlidingAggregate
from streamfn.engine.scope import Run
from streamfn.engine.steps import fan_out
from streamfn.graph.operators import Aggregate
from streamfn.graph.stores import ENTRY, TIME, window_end, window_key
from streamfn.graph.topology import WindowSpec
from streamfn.state.keys import key_codec
from streamfn.windowed import Windowed

if TYPE_CHECKING:
    from streamfn.engine.closures import Compiler


def compile_windows(compiler: "Compiler", node: Aggregate, form: KeyForm, parent: str) -> Run:
    """Aggregate per key and window; a cogroup has a function for each of its parents."""
    assert node.window is not None
    make = _KINDS.get(node.window.kind, FixedAggregate)
    shared = compiler.once(node, lambda: make(compiler, node))
    parts = [part for part, name in enumerate(node.parents) if name == parent]
    return fan_out([shared.run(form, part) for part in parts])


_KINDS: Final[dict[str, Callable[..., Any]]] = {
    "sliding": SlidingAggregate,
    "session": SessionAggregate,
}


def last_start(window: WindowSpec) -> Callable[[int], int]:
    """Return what gives the start of the last window that holds a time."""
    if window.kind == "unlimited":
        return lambda timestamp: window.start_ms
    advance = window.advance_ms or window.size_ms
    return lambda timestamp: timestamp - timestamp % advance


def starts_of(window: WindowSpec) -> Callable[[int], Sequence[int]]:
    """Return what gives the starts of the windows that hold a time, in order."""
    if window.kind == "unlimited":
        only = (window.start_ms,)
        return lambda timestamp: only if timestamp >= window.start_ms else ()
    size, advance = window.size_ms, window.advance_ms or window.size_ms

    def starts(timestamp: int) -> range:
        first = max(0, timestamp - size + advance) // advance * advance
        return range(first, timestamp + 1, advance)

    return starts


class FixedAggregate:
    """The aggregate of one task, as all edges into it share it."""

    def __init__(self, compiler: "Compiler", node: Aggregate) -> None:
        assert node.window is not None
        self._node, self._window, self._store = node, node.window, compiler.timed(node.store)
        self._update = node.emit == "update"
        emit = None if self._update else self._emit
        self._closing = Closing(
            self._store,
            node.window,
            len(node.parents),
            ENTRY,
            drop=dropping(self._store),
            emit=emit,
        )
        self._watched = idle_close(compiler, self._closing, node.name, node.window)
        self._decode = key_codec(node.store.key).decode
        self._drop = compiler.scope.metrics.drop
        self._then = compiler.children(node, OBJECT)
        self._final = compiler.apart(node, self._then)

    def run(self, form: KeyForm, part: int) -> Run:
        """Compile what runs for a record of one parent."""
        plain = self._update and len(self._node.parents) == 1 and self._window.kind == "tumbling"
        run = self._tumbling(form) if plain else self._fixed(form, part)
        return self._watched(run, last_start(self._window))

    def _tumbling(self, form: KeyForm) -> Run:
        """One window a record, one parent, each change handed on: the common case."""
        node, store, then, drop = self._node, self._store, self._then, self._drop
        name, size, grace = node.name, self._window.size_ms, self._window.grace_ms
        fold, stream_time, expire = fold_of(node, 0), self._closing.times[0], self._closing.expire
        begin, add, mutable = fold.start, fold.add, fold.mutable
        get, put, delete, pack = store.get, store.put, store.delete, TIME.pack
        store_key, key_of = to_store(form, node.store.key), to_object(form)

        def run(key: Any, value: Any, timestamp: int) -> None:
            if key is None:
                drop("null key", name)
                return
            now = stream_time.get()
            if timestamp > now:
                stream_time.set(timestamp)
                now = timestamp
            start = timestamp - timestamp % size
            if start + size <= now - grace:
                drop("late record", name)
                return
            at = ENTRY + pack(start) + store_key(key)
            found = get(at)
            if found is None:  # the old value of a new window is the start
                old = begin()
                new = add(begin() if mutable else old, value)
                expire(now)
            else:
                old, at_ms = found
                new = add(get(at)[0] if mutable else old, value)  # type: ignore[index]  # an own object
                if at_ms > timestamp:
                    timestamp = at_ms
            if new is None:
                delete(at)
            else:
                new = put(at, new, timestamp)
            then(Windowed(key_of(key), start, start + size), (new, old, True), timestamp)

        return run

    def _fixed(self, form: KeyForm, part: int) -> Run:
        """Any windows, any number of parents, handed on at once or when closed."""
        node, window, closing, drop = self._node, self._window, self._closing, self._drop
        stream_time, starts = closing.times[part], starts_of(window)
        name, size, grace = node.name, window_end(window, 0), window.grace_ms
        store_key, key_of, aggregate = (
            to_store(form, node.store.key), to_object(form), self._aggregate(part),
        )  # fmt: skip

        def run(key: Any, value: Any, timestamp: int) -> None:
            if key is None:
                drop("null key", name)
                return
            before = now = stream_time.get()
            if timestamp > now:
                stream_time.set(timestamp)
                now = timestamp
            closed, floor, fresh = now - grace, closing.floor(), 0
            plain, tail = key_of(key), store_key(key)
            for start in starts(timestamp):
                if start + size <= closed or start < floor:
                    drop("late record", name)
                elif aggregate(start, tail, plain, value, timestamp):
                    fresh += 1
            if now > before:
                closing.close(now)
            for _ in range(0, fresh, DELETES_MAX // 2):  # faster than windows are made
                closing.expire(now)

        return run

    def _aggregate(self, part: int) -> Callable[[int, bytes, Any, Any, int], bool]:
        """Return what adds a value to one window; it tells whether the window is new."""
        store, then, update, window = self._store, self._then, self._update, self._window
        fold, opened = fold_of(self._node, part), self._closing.opened
        begin, add, mutable = fold.start, fold.add, fold.mutable
        get, put, delete = store.get, store.put, store.delete

        def aggregate(start: int, tail: bytes, plain: Any, value: Any, timestamp: int) -> bool:
            at = window_key(start, tail)
            found = get(at)
            if found is None:
                old = begin()
                new = add(begin() if mutable else old, value)
                opened(start)
            else:
                old, at_ms = found
                new = add(get(at)[0] if mutable else old, value)  # type: ignore[index]  # an own object
                if at_ms > timestamp:
                    timestamp = at_ms
            if new is None:
                delete(at)
            else:
                new = put(at, new, timestamp)
            if update:
                key = Windowed(plain, start, window_end(window, start))
                then(key, (new, old, True), timestamp)
            return found is None

        return aggregate

    def _emit(self, rows: list[Row]) -> None:
        """Hand on final results: by start, then by key."""
        for raw, (value, timestamp) in rows:
            (start,) = TIME.unpack_from(raw, 1)
            key = Windowed(self._decode(raw[9:]), start, window_end(self._window, start))
            self._final(key, (value, None, True), timestamp)
