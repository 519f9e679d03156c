"""Joins of two streams: each pair of records of a key whose times are near.

A record hands on what has waited long enough, then meets what is remembered of the other side and
goes on with each of them, at the later one's time; it is remembered on its own side. Invariant: all
that a record needs to know is read before anything is handed on (``KStreamKStreamJoin``).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from streamfn.engine.keys import OBJECT, KeyForm, to_object, to_store
from streamfn.engine.operators.join_sides import LEFT, RIGHT, Alone, Side, Unmatched
from streamfn.engine.scope import Run
from streamfn.engine.steps import fan_out
from streamfn.graph.operators import Join, StreamJoin
from streamfn.state.keys import key_codec

if TYPE_CHECKING:
    from streamfn.engine.closures import Compiler


def compile_stream_join(compiler: "Compiler", node: StreamJoin, form: KeyForm, parent: str) -> Run:
    """Join; a stream that is joined with itself comes as the left one, then as the right one."""
    positions = [position for position, name in enumerate(node.parents) if name == parent]
    return fan_out([_side(compiler, node, form, position) for position in positions])


def call_of(node: Join, position: int = LEFT) -> Callable[[Any, Any, Any], Any]:
    """Return ``call(key, mine, the other's)`` of a join's function for a record of a side."""
    fn = node.fn
    if node.takes_key:
        if position == LEFT:
            return fn
        return lambda key, mine, other: fn(key, other, mine)
    if position == LEFT:
        return lambda key, mine, other: fn(mine, other)
    return lambda key, mine, other: fn(other, mine)


def to_component(form: KeyForm, key_type: object) -> Callable[[Any], bytes]:
    """Return what turns a key of a form (never None) into a part of a longer store key."""
    store_key = to_store(form, key_type)
    if not key_codec(key_type).raw:
        return store_key  # such a key ends itself
    part = key_codec(bytes).component.encode
    return lambda key: part(store_key(key))


def _onward(compiler: "Compiler", node: StreamJoin) -> Run:
    compiler.source = None
    return compiler.children(node, OBJECT)


def _sides(compiler: "Compiler", node: StreamJoin) -> tuple[Side, Side, Unmatched | None]:
    left = Side(compiler.timed(node.left), node, LEFT)
    right = Side(compiler.timed(node.right), node, RIGHT)
    if node.kind == "inner":
        return left, right, None
    return left, right, Unmatched(compiler.timed(node.unmatched), (left, right), node.grace_ms)


def _side(compiler: "Compiler", node: StreamJoin, form: KeyForm, position: int) -> Run:
    left, right, unmatched, then = compiler.once(
        node, lambda: (*_sides(compiler, node), _onward(compiler, node))
    )
    mine, other = (left, right) if position == LEFT else (right, left)
    store_key, key_of = to_component(form, node.left.key), to_object(form)
    call, drop, name = call_of(node, position), compiler.scope.metrics.drop, node.name
    before_ms, after_ms, alone_too = mine.before_ms, mine.after_ms, mine.waits
    hand_on_alone = _alone(compiler, node, then)

    def run(key: Any, value: Any, timestamp: int) -> None:
        now_ms = -1 if unmatched is None else unmatched.advance(timestamp)
        if key is None or value is None:
            if alone_too and value is not None:
                then(None, call(None, value, None), timestamp)
            else:
                drop("null key" if key is None else "null value", name)
            return
        if unmatched is not None and timestamp == now_ms:
            hand_on_alone(unmatched.take(mine, now_ms))
        at, high_ms = store_key(key), max(0, timestamp + after_ms)
        found = other.near(at, max(0, timestamp - before_ms), high_ms)
        alone = alone_too and not found
        waits = alone and high_ms >= now_ms
        if not mine.remember(at, value, timestamp, waits=waits):
            drop("expired record", name)
        if unmatched is not None and waits:
            unmatched.waits(timestamp)
        elif alone:
            then(key_of(key), call(key_of(key), value, None), timestamp)
        elif found:
            key = key_of(key)
            for entry, (met, met_ms) in found:
                if other.waits:
                    other.met(at, entry)
                then(key, call(key, value, met), met_ms if met_ms > timestamp else timestamp)

    return run


def _alone(compiler: "Compiler", node: StreamJoin, then: Run) -> Callable[[list[Alone]], None]:
    """Return what hands on records that met nobody, each apart from the one that came."""
    decode = key_codec(node.left.key).component.decode
    calls = call_of(node, LEFT), call_of(node, RIGHT)

    def meet_nobody(key: Any, record: Any, timestamp: int) -> None:
        then(key, calls[record.position](key, record.value, None), timestamp)

    hand_on_one = compiler.apart(node, meet_nobody)

    def hand_on(records: list[Alone]) -> None:
        for record in records:
            hand_on_one(decode(record.key, 0)[0], record, record.timestamp)

    return hand_on
