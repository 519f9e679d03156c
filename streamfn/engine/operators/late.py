"""Late records: those of a stream that its windows would not take any more.

A record comes in beside the windowed aggregate, which drops it if it is late, and goes on from here
if, and only if, none of its windows takes it. Invariant: it decides by a stream time of its own, as
the aggregate does; for sessions it remembers which there are, as a late record may still join one.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from streamfn.engine.keys import KeyForm, to_object
from streamfn.engine.operators.closing import Closing, Row, idle_close
from streamfn.engine.operators.sessions import Spans
from streamfn.engine.operators.sliding import own_time
from streamfn.engine.operators.windows import last_start
from streamfn.engine.scope import Run
from streamfn.graph.operators import LateRecords
from streamfn.graph.stores import ENTRY, window_end
from streamfn.graph.topology import WindowSpec
from streamfn.state.keys import key_codec

if TYPE_CHECKING:
    from streamfn.engine.closures import Compiler


def compile_late(compiler: "Compiler", node: LateRecords, form: KeyForm, parent: str) -> Run:
    """Hand on what is late for all of its windows."""
    if node.window.kind == "session":
        return _late_for_sessions(compiler, node, form)
    window, store = node.window, compiler.timed(node.store)
    closing = Closing(store, window, 1, ENTRY, drop=_nothing)
    stream_time, last_end = closing.times[0], _last_end(window)
    then = compiler.children(node, form)
    sliding, grace = window.kind == "sliding", window.grace_ms

    def run(key: Any, value: Any, timestamp: int) -> None:
        if key is None or (sliding and value is None):
            return
        if stream_time.advance(timestamp) - grace > last_end(timestamp):
            then(key, value, timestamp)

    last = own_time if sliding else last_start(window)
    return idle_close(compiler, closing, node.name, window)(run, last)


def _last_end(window: WindowSpec) -> Callable[[int], int]:
    """Return what gives the last time that is in a window with a record of this time."""
    if window.kind == "sliding":
        return lambda timestamp: timestamp + window.size_ms
    last = last_start(window)
    return lambda timestamp: window_end(window, last(timestamp)) - 1


def _late_for_sessions(compiler: "Compiler", node: LateRecords, form: KeyForm) -> Run:
    spans = Spans(compiler.timed(node.store), node.window, 1, None)
    closing, late_after_ms = spans.closing, spans.late_after_ms
    stream_time, key_of = closing.times[0], to_object(form)
    prefix_of = key_codec(node.store.key).component.encode
    then = compiler.children(node, form)

    def run(key: Any, value: Any, timestamp: int) -> None:
        if key is None:
            return
        now = stream_time.advance(timestamp)
        prefix = ENTRY + prefix_of(key_of(key))
        near = spans.near(prefix, timestamp)
        end = max(timestamp, near[-1].end) if near else timestamp
        if end < now - late_after_ms:
            then(key, value, timestamp)
            return
        start = min(timestamp, near[0].start) if near else timestamp
        for session in near:
            if session.start != start:
                spans.remove(prefix, session.start)
        known = near[0] if near and near[0].start == start else None
        spans.put(prefix, start, end, None, known)
        if not near:
            closing.expire(now)

    return idle_close(compiler, closing, node.name, node.window)(run, own_time)


def _nothing(rows: list[Row]) -> None:
    """There are no windows here to forget."""
