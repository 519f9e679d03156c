"""Sliding windows: an aggregate for each set of records of a key that a window can hold.

A record at *t* belongs to all windows that hold *t*, and makes up to three: the one that ends with
it, the one that begins right behind it, and the one right behind the record before it. Windows are
stored by key, with an index by start (``Slides``). Invariant: which windows change and from which
others new ones are copied is worked out first (``touched``), as ``KStreamSlidingWindowAggregate``
does with its backward scan, and then carried out.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from streamfn.engine.keys import OBJECT, KeyForm, to_object
from streamfn.engine.operators.closing import Closing, Row, idle_close, marker
from streamfn.engine.operators.fold import fold_of
from streamfn.engine.operators.timed import Timed
from streamfn.engine.scope import Run
from streamfn.graph.operators import Aggregate
from streamfn.graph.stores import ENTRY, INDEX, TIME
from streamfn.graph.topology import WindowSpec
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


class Slides:
    """The sliding windows in a store, and when they close."""

    def __init__(
        self,
        store: Timed,
        key_type: object,
        window: WindowSpec,
        inputs: int,
        emit: Callable[[Any, int, tuple[Any, int]], None] | None,
    ) -> None:
        """Open them; ``emit(key, start, entry)`` hands on a final result."""
        self.size, self.grace, self.store = window.size_ms, window.grace_ms, store
        self._codec, self._mark, self._emit = key_codec(key_type), marker(store), emit
        self.closing = Closing(
            store, window, inputs, INDEX, drop=self._forget,
            emit=None if emit is None else self._close,
        )  # fmt: skip
        self.prefix_of = self._codec.component.encode

    def near(self, prefix: bytes, timestamp: int) -> dict[int, tuple[Any, int]]:
        """A key's windows that a record can change or that others are made from, by start."""
        first = max(0, timestamp - 2 * self.size)
        rows = self.store.scan(prefix + TIME.pack(first), prefix + TIME.pack(timestamp + 2))
        return {int.from_bytes(raw[-8:], "big"): entry for raw, entry in rows}

    def put(self, at: bytes, plain: Any, value: Any, at_ms: int, *, fresh: bool) -> Any:
        """Write a window, and its index entry if it is new."""
        if fresh:
            start = at[-8:]
            self._mark(INDEX + start + self._codec.encode(plain))
            self.closing.opened(int.from_bytes(start, "big"))
        return self.store.put(at, value, at_ms)

    def remove(self, at: bytes, plain: Any) -> None:
        """Delete a window and its index entry."""
        self.store.delete(at)
        self.store.delete(INDEX + at[-8:] + self._codec.encode(plain))

    def _entry(self, index: bytes) -> tuple[Any, bytes]:
        """The key of a window and where it is stored, from its index entry."""
        key = self._codec.decode(index[9:])
        return key, ENTRY + self.prefix_of(key) + index[1:9]

    def _close(self, rows: list[Row]) -> None:
        """Hand on final results: by start, then by key."""
        assert self._emit is not None
        for index, _ in rows:
            key, at = self._entry(index)
            found = self.store.get(at)
            if found is not None:
                self._emit(key, int.from_bytes(at[-8:], "big"), found)

    def _forget(self, rows: list[Row]) -> None:
        for index, _ in rows:
            self.store.delete(self._entry(index)[1])
            self.store.delete(index)


class SlidingAggregate:
    """The aggregate of one task, as all edges into it share it."""

    def __init__(self, compiler: "Compiler", node: Aggregate) -> None:
        assert node.window is not None
        self._node = node
        emit = self._emit if node.emit == "close" else None
        self._slides = Slides(
            compiler.timed(node.store), node.store.key, node.window, len(node.parents), emit
        )
        self._watched = idle_close(compiler, self._slides.closing, node.name, node.window)
        self._drop = compiler.scope.metrics.drop
        self._then = compiler.children(node, OBJECT)
        self._final = compiler.apart(node, self._then)

    def run(self, form: KeyForm, part: int) -> Run:
        """Compile what runs for a record of one parent."""
        slides, closing, name = self._slides, self._slides.closing, self._node.name
        size, grace, change, drop = slides.size, slides.grace, self._change(part), self._drop
        stream_time, key_of = closing.times[part], to_object(form)
        prefix_of, near = slides.prefix_of, slides.near

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
            known, fresh = near(prefix, timestamp), False
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
        slides, store, then = self._slides, self._slides.store, self._then
        update, size, fold = not slides.closing.emits, slides.size, fold_of(self._node, part)
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
            if new is None:
                slides.remove(at, plain)
            else:
                new = slides.put(at, plain, new, at_ms, fresh=start not in known)
            if update:
                then(Windowed(plain, start, start + size), (new, old, True), at_ms)

        return change

    def _emit(self, key: Any, start: int, entry: tuple[Any, int]) -> None:
        value, at_ms = entry
        self._final(Windowed(key, start, start + self._slides.size), (value, None, True), at_ms)


def own_time(timestamp: int) -> int:
    """The last time of a record's windows, where windows have the times of records."""
    return timestamp
