"""Late records: those of a stream that its windows would not take any more.

A record comes in beside the windowed aggregate, which drops it if it is late, and goes on from here
if, and only if, none of its windows takes it. Invariant: it decides by a stream time of its own, as
the aggregate does; of sliding windows and sessions it remembers which there are, without a value.
"""

from typing import TYPE_CHECKING, Any

from streamfn.engine.keys import KeyForm, to_object
from streamfn.engine.operators.closing import Closing, Row, idle_close
from streamfn.engine.operators.sessions import Spans
from streamfn.engine.operators.sliding import Known, Slides, own_time, touched
from streamfn.engine.operators.windows import last_start
from streamfn.engine.scope import Run
from streamfn.graph.operators import LateRecords
from streamfn.graph.stores import ENTRY, TIME, window_end
from streamfn.state.keys import key_codec

if TYPE_CHECKING:
    from streamfn.engine.closures import Compiler


def compile_late(compiler: "Compiler", node: LateRecords, form: KeyForm, parent: str) -> Run:
    """Hand on what is late for all of its windows."""
    match node.window.kind:
        case "session":
            return _late_for_sessions(compiler, node, form)
        case "sliding":
            return _late_for_sliding(compiler, node, form)
        case _:
            return _late_for_fixed(compiler, node, form)


def _late_for_fixed(compiler: "Compiler", node: LateRecords, form: KeyForm) -> Run:
    """The last window that holds a record closes last."""
    window, grace = node.window, node.window.grace_ms
    closing = Closing(compiler.timed(node.store), window, 1, ENTRY, drop=_nothing)
    stream_time, last, size = closing.times[0], last_start(window), window_end(window, 0)
    then = compiler.children(node, form)

    def run(key: Any, value: Any, timestamp: int) -> None:
        if key is not None and stream_time.advance(timestamp) - grace >= last(timestamp) + size:
            then(key, value, timestamp)

    return idle_close(compiler, closing, node.name, window)(run, last)


def _late_for_sliding(compiler: "Compiler", node: LateRecords, form: KeyForm) -> Run:
    """A late record may still be in a window that another has made."""
    slides = Slides(compiler.timed(node.store), node.store.key, node.window, 1, None)
    closing, size, grace = slides.closing, slides.size, slides.grace
    stream_time, key_of = closing.times[0], to_object(form)
    then = compiler.children(node, form)

    def run(key: Any, value: Any, timestamp: int) -> None:
        if key is None or value is None:
            return
        now = stream_time.advance(timestamp)
        closed, taken = now - grace, False
        if timestamp + size >= closed:
            plain = key_of(key)
            prefix = ENTRY + slides.prefix_of(plain)
            known = slides.near(prefix, timestamp)
            windows = [Known(start, entry[1]) for start, entry in known.items()]
            for start, base, adds in touched(windows, timestamp, size):
                if adds and start + size < closed:
                    continue
                taken = taken or adds
                at_ms = timestamp if base is None or (adds and base != start) else known[base][1]
                at, fresh = prefix + TIME.pack(start), start not in known
                slides.put(at, plain, None, max(at_ms, timestamp), fresh=fresh)
            closing.expire(now)
        if not taken:
            then(key, value, timestamp)

    return idle_close(compiler, closing, node.name, node.window)(run, own_time)


def _late_for_sessions(compiler: "Compiler", node: LateRecords, form: KeyForm) -> Run:
    """A late record may still join a session."""
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
