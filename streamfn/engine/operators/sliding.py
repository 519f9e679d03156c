"""Sliding windows: an aggregate for each set of records of a key that a window can hold.

A record at *t* belongs to all windows that hold *t*, and makes up to three: the one that ends with
it, the one that begins right behind it, and the one right behind the record before it. Windows are
stored by key, with an index by start. Invariant: which windows change and from which others new
ones are copied is worked out first (``touched``), as ``KStreamSlidingWindowAggregate`` does with
its backward scan, and then carried out.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from streamfn.engine.keys import OBJECT, KeyForm, to_object
from streamfn.engine.operators.closing import Closing, Row, idle_close, marker
from streamfn.engine.operators.fold import fold_of
from streamfn.engine.scope import Run
from streamfn.graph.operators import Aggregate
from streamfn.graph.stores import ENTRY, INDEX, TIME
from streamfn.state.keys import key_codec
from streamfn.windowed import Windowed

if TYPE_CHECKING:
    from streamfn.engine.closures import Compiler


class Known(NamedTuple):
    """A window that is stored: its start and the greatest time of its records."""

    start: int
    greatest: int


class Touch(NamedTuple):
    """A window that a record changes or makes.

    ``base`` is the window whose aggregate it starts from: itself, another, or None for nothing yet.
    ``adds``: the record is in it.
    """

    start: int
    base: int | None
    adds: bool = True


def touched(known: Sequence[Known], timestamp: int, size: int) -> list[Touch]:
    """Work out what a record does.

    Args:
        known: the key's windows that start from ``timestamp - 2 * size`` to ``timestamp + 1``, in
            order.
        timestamp: the record's.
        size: how long the windows are; their ends belong to them.
    """
    if timestamp < size:
        return _early(known, timestamp)
    found: list[Touch] = []
    right: Known | None = None
    left = previous = None
    has_left = has_right = False
    seen: set[int] = set()
    for window in reversed(known):
        seen.add(window.start)
        if window.start == timestamp + 1:
            has_right = True
        elif window.start + size >= timestamp:
            found.append(Touch(window.start, window.start))
            if window.start + size > timestamp:
                right = right or window
            elif window.greatest < timestamp:
                has_left, previous = True, window.greatest
            else:  # a record of this very time has made all that there is to make
                return found
        else:
            left, previous = window.start, window.greatest
            break
    if previous is not None and previous + 1 not in seen and previous + 1 + size >= timestamp:
        found.append(Touch(previous + 1, None))
    if not has_left:
        reaches = previous is not None and timestamp - size <= previous
        found.append(Touch(timestamp - size, left if reaches else None))
    if not has_right and right is not None and right.greatest > timestamp:
        found.append(Touch(timestamp + 1, right.start, adds=False))
    return found


def _early(known: Sequence[Known], timestamp: int) -> list[Touch]:
    """Records before ``size`` have one window from 0 on, as none starts before that."""
    found: list[Touch] = []
    combined = right = previous = None
    starts = {window.start for window in known}
    for window in known:
        if window.start == 0:
            combined = window
            previous = window.greatest if window.greatest < timestamp else None
        elif window.start <= timestamp:
            right = window
            found.append(Touch(window.start, window.start))
    right = right or combined
    if timestamp + 1 not in starts and right is not None and right.greatest > timestamp:
        found.append(Touch(timestamp + 1, right.start, adds=False))
    if previous is not None and previous + 1 not in starts:
        found.append(Touch(previous + 1, None))
    found.append(Touch(0, None if combined is None else 0))
    return found


class SlidingAggregate:
    """The aggregate of one task, as all edges into it share it."""

    def __init__(self, compiler: "Compiler", node: Aggregate) -> None:
        assert node.window is not None
        self._node, self._size, self._grace = node, node.window.size_ms, node.window.grace_ms
        self._store, self._codec = compiler.timed(node.store), key_codec(node.store.key)
        self._mark = marker(self._store)
        emit = self._emit if node.emit == "close" else None
        self._closing = Closing(
            self._store, node.window, len(node.parents), INDEX, drop=self._forget, emit=emit
        )
        self._watched = idle_close(compiler, self._closing, node.name, node.window)
        self._drop = compiler.scope.metrics.drop
        self._then = compiler.children(node, OBJECT)

    def run(self, form: KeyForm, part: int) -> Run:
        """Compile what runs for a record of one parent."""
        closing, drop, name = self._closing, self._drop, self._node.name
        size, grace, change = self._size, self._grace, self._change(part)
        stream_time, key_of = closing.times[part], to_object(form)
        prefix_of, scan, pack = self._codec.component.encode, self._store.scan, TIME.pack

        def run(key: Any, value: Any, timestamp: int) -> None:
            if key is None or value is None:
                drop("null key" if key is None else "null value", name)
                return
            before = now = stream_time.get()
            if timestamp > now:
                stream_time.set(timestamp)
                now = timestamp
            closed, floor = now - grace, closing.floor()
            if timestamp + size < closed or timestamp < floor:
                drop("late record", name)
                return
            plain = key_of(key)
            prefix = ENTRY + prefix_of(plain)
            first = max(0, timestamp - 2 * size)
            rows = scan(prefix + pack(first), prefix + pack(timestamp + 2))
            known = {int.from_bytes(raw[-8:], "big"): entry for raw, entry in rows}
            fresh = False
            windows = [Known(start, entry[1]) for start, entry in known.items()]
            for touch in touched(windows, timestamp, size):
                if touch.adds and (touch.start + size < closed or touch.start < floor):
                    drop("late record", name)
                else:
                    change(touch, prefix, plain, value, timestamp, known)
                    fresh = fresh or touch.start not in known
            if now > before:
                closing.close(now)
            if fresh:
                closing.expire(now)

        return self._watched(run, own_time)

    def _change(self, part: int) -> Callable[..., None]:
        """Return what carries out a touch; ``known`` is what was stored before the record."""
        store, then, update, size = self._store, self._then, not self._closing.emits, self._size
        fold = fold_of(self._node, part)
        begin, add, mutable = fold.start, fold.add, fold.mutable

        def change(
            touch: Touch, prefix: bytes, plain: Any, value: Any, timestamp: int, known: Any
        ) -> None:
            start, base, adds = touch
            at, at_ms = prefix + TIME.pack(start), timestamp
            if not adds:
                old, (new, at_ms) = None, known[base]
            elif base is None:
                old = begin()
                new = add(begin() if mutable else old, value)
            else:
                old = known[base][0]
                own = store.get(prefix + TIME.pack(base)) if mutable else known[base]
                new = add(own[0], value)  # type: ignore[index]  # it is stored
                if base == start:
                    at_ms = max(timestamp, known[base][1])
            new = self._put(at, new, at_ms, plain, fresh=start not in known)
            if update:
                then(Windowed(plain, start, start + size), (new, old, True), at_ms)

        return change

    def _put(self, at: bytes, new: Any, at_ms: int, plain: Any, *, fresh: bool) -> Any:
        """Store a window and its index entry; None deletes both."""
        start = at[-8:]
        index = INDEX + start + self._codec.encode(plain)
        if new is None:
            self._store.delete(at)
            self._store.delete(index)
            return None
        if fresh:
            self._mark(index)
            self._closing.opened(int.from_bytes(start, "big"))
        return self._store.put(at, new, at_ms)

    def _entry(self, index: bytes) -> tuple[Any, bytes]:
        """The key of a window and where it is stored, from its index entry."""
        key = self._codec.decode(index[9:])
        return key, ENTRY + self._codec.component.encode(key) + index[1:9]

    def _emit(self, rows: list[Row]) -> None:
        """Hand on final results: by start, then by key."""
        for index, _ in rows:
            key, at = self._entry(index)
            found = self._store.get(at)
            if found is not None:
                (start,) = TIME.unpack_from(index, 1)
                self._then(
                    Windowed(key, start, start + self._size), (found[0], None, True), found[1]
                )

    def _forget(self, rows: list[Row]) -> None:
        for index, _ in rows:
            self._store.delete(self._entry(index)[1])
            self._store.delete(index)


def own_time(timestamp: int) -> int:
    """The last time of a record's windows, where windows have the times of records."""
    return timestamp
