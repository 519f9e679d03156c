"""Session windows: an aggregate for each run of records of a key without a gap in time.

A record joins the sessions within the gap of it: they become one, which begins and ends with their
first and last records. Sessions are stored by key and start; ``Spans`` finds and writes them.
Invariants: sessions of a key are further apart than the gap; each has an index entry at a time that
is not after its end (extending a session leaves it as it is), and an entry whose time has come is
moved to the end of its session. The answers are those of ``KStreamSessionWindowAggregate``.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from streamfn.engine.keys import OBJECT, KeyForm, to_object
from streamfn.engine.operators.closing import Closing, Row, idle_close, marker
from streamfn.engine.operators.fold import Fold, fold_of
from streamfn.engine.operators.recent import Recent
from streamfn.engine.operators.sliding import own_time
from streamfn.engine.operators.timed import Timed
from streamfn.engine.scope import Run
from streamfn.graph.operators import Aggregate
from streamfn.graph.stores import ENTRY, INDEX, TIME
from streamfn.graph.topology import WindowSpec
from streamfn.state.keys import key_codec
from streamfn.windowed import FOREVER_MS, Windowed

if TYPE_CHECKING:
    from streamfn.engine.closures import Compiler


class Span(NamedTuple):
    """A stored session."""

    start: int
    end: int
    value: Any


class Closed(NamedTuple):
    """A session that takes no record any more; in the order in which they are emitted."""

    end: int
    start: int
    key: bytes
    value: Any


class Spans:
    """The sessions in a store, and when they close."""

    def __init__(
        self,
        store: Timed,
        window: WindowSpec,
        inputs: int,
        emit: Callable[[list[Closed]], None] | None,
    ) -> None:
        """Open them; ``emit`` hands on the results of closed ones, in order."""
        self.store, self._gap, self._mark = store, window.size_ms, marker(store)
        self._emit = emit
        self.closing = Closing(
            store, window, inputs, INDEX, drop=self._forget,
            emit=None if emit is None else self._close,
        )  # fmt: skip
        self.late_after_ms = self.closing.close_after_ms - 1
        self._recent = Recent(store, self._load)
        self._mutable = store.levels.mutable
        """Then each value is decoded for whoever looks, so none is kept at hand."""

    def near(self, prefix: bytes, timestamp: int) -> list[Span]:
        """A key's sessions within the gap of a time, in order."""
        latest, earliest = timestamp + self._gap, timestamp - self._gap
        found: list[Span] = []
        known = (
            self._scanned(prefix, latest) if self._mutable else reversed(self._recent.of(prefix))
        )
        for span in known:
            if span.end < earliest:
                break
            if span.start <= latest:
                found.append(span)
        found.reverse()
        return found

    def _load(self, prefix: bytes) -> list[Span]:
        return list(self._scanned(prefix, FOREVER_MS - 1))[::-1]

    def _scanned(self, prefix: bytes, latest: int) -> Iterator[Span]:
        """A key's sessions that begin up to a time, the last one first."""
        rows = self.store.scan(prefix, prefix + TIME.pack(latest + 1), reverse=True)
        for raw, (value, end) in rows:
            yield Span(int.from_bytes(raw[-8:], "big"), end, value)

    def put(self, prefix: bytes, start: int, end: int, value: Any, known: Span | None) -> Any:
        """Write a session; ``known`` is the one that begins with it, if it is stored already."""
        tail = prefix[1:] + TIME.pack(start)
        if known is None or known.end + self.late_after_ms < self.closing.now():
            self._index(tail, end)  # that of a session that was closed may be behind us
        value = self.store.put(ENTRY + tail, value, end)
        if self._mutable:
            return value
        spans = self._recent.of(prefix)
        at = bisect_left(spans, (start,))
        stored = at < len(spans) and spans[at].start == start
        spans[at : at + stored] = [Span(start, end, value)]
        return value

    def remove(self, prefix: bytes, start: int) -> None:
        """Delete a session; its index entry goes when its time comes."""
        self.store.delete(prefix + TIME.pack(start))
        if self._mutable:
            return
        spans = self._recent.of(prefix)
        at = bisect_left(spans, (start,))
        if at < len(spans) and spans[at].start == start:
            del spans[at]

    def _index(self, tail: bytes, end: int) -> None:
        self._mark(INDEX + TIME.pack(end) + tail)
        self.closing.opened(end)

    def _due(self, rows: list[Row], before_ms: int) -> dict[bytes, Closed]:
        """The sessions of index entries that end before a time; entries in the wrong place move."""
        found: dict[bytes, Closed] = {}
        for index, _ in rows:
            (time_ms,), tail = TIME.unpack_from(index, 1), index[9:]
            entry = self.store.get(ENTRY + tail)
            if entry is None or entry[1] != time_ms:
                self.store.delete(index)
                if entry is None or entry[1] < time_ms:
                    continue
                self._index(tail, entry[1])
            if entry[1] < before_ms:
                start = int.from_bytes(tail[-8:], "big")
                found[tail] = Closed(entry[1], start, tail[:-8], entry[0])
        return found

    def _close(self, rows: list[Row]) -> None:
        assert self._emit is not None
        closed = self._due(rows, self.closing.now() - self.late_after_ms)
        self._emit(sorted(closed.values(), key=lambda session: session[:3]))

    def _forget(self, rows: list[Row]) -> None:
        last = int.from_bytes(rows[-1][0][1:9], "big") if rows else -1
        for tail, session in self._due(rows, last + 1).items():
            self.store.delete(ENTRY + tail)
            self._recent.forget(ENTRY + session.key)
            self.store.delete(INDEX + TIME.pack(session.end) + tail)


class SessionAggregate:
    """The aggregate of one task, as all edges into it share it."""

    def __init__(self, compiler: "Compiler", node: Aggregate) -> None:
        assert node.window is not None
        self._node, self._codec = node, key_codec(node.store.key)
        emit = self._emit if node.emit == "close" else None
        self._spans = Spans(compiler.timed(node.store), node.window, len(node.parents), emit)
        self._watched = idle_close(compiler, self._spans.closing, node.name, node.window)
        self._drop = compiler.scope.metrics.drop
        self._then = compiler.children(node, OBJECT)
        self._final = compiler.apart(node, self._then)

    def run(self, form: KeyForm, part: int) -> Run:
        """Compile what runs for a record of one parent."""
        spans, drop, name = self._spans, self._drop, self._node.name
        closing, late_after_ms = spans.closing, spans.late_after_ms
        stream_time, key_of = closing.times[part], to_object(form)
        prefix_of, merged_into = self._codec.component.encode, self._merge(part)

        def run(key: Any, value: Any, timestamp: int) -> None:
            if key is None:
                drop("null key", name)
                return
            before = now = stream_time.get()
            if timestamp > now:
                stream_time.set(timestamp)
                now = timestamp
            plain = key_of(key)
            prefix = ENTRY + prefix_of(plain)
            near = spans.near(prefix, timestamp)
            end = max(timestamp, near[-1].end) if near else timestamp
            if end < max(now - late_after_ms, closing.floor()):
                drop("late record", name)
            else:
                start = min(timestamp, near[0].start) if near else timestamp
                merged_into(Span(start, end, value), near, prefix, plain, timestamp)
            if now > before:
                closing.close(now)
            if not near:
                closing.expire(now)

        return self._watched(run, own_time)

    def _merge(self, part: int) -> Callable[..., None]:
        """Return what makes one session of a record and the sessions near it."""
        spans, then, update = self._spans, self._then, not self._spans.closing.emits
        fold = fold_of(self._node, part)

        def merge(whole: Span, near: list[Span], prefix: bytes, plain: Any, timestamp: int) -> None:
            start, end, value = whole
            aggregate = _merged(fold, spans, near, prefix)
            moved = start != timestamp or end != timestamp
            for session in near if moved else ():
                if update or session.start != start:
                    spans.remove(prefix, session.start)
                if update:
                    key = Windowed(plain, session.start, session.end)
                    then(key, (None, session.value, True), session.end)
            new = fold.add(aggregate, value)
            known = near[0] if near and near[0].start == start else None
            if new is None:
                spans.remove(prefix, start)
            else:
                new = spans.put(prefix, start, end, new, known)
            if update:
                then(Windowed(plain, start, end), (new, None, True), end)

        return merge

    def _emit(self, sessions: list[Closed]) -> None:
        """Hand on final results: by end, then start, then key."""
        decode = self._codec.component.decode
        for end, start, raw, value in sessions:
            key, _ = decode(raw, 0)
            self._final(Windowed(key, start, end), (value, None, True), end)


def _merged(fold: Fold, spans: Spans, near: list[Span], prefix: bytes) -> Any:
    """The aggregate of some sessions, from the start on; of objects of its own."""
    aggregate = fold.start()
    for session in near:
        value = session.value
        if fold.mutable:
            entry = spans.store.get(prefix + TIME.pack(session.start))
            value = None if entry is None else entry[0]
        aggregate = fold.merge(aggregate, value)
    return aggregate
