"""Aggregates of a grouped stream without windows: count, reduce, aggregate, cogroup.

A record comes in, the aggregate of its key is replaced, and the change goes on. Invariant: the
result's time is the greatest of the records in it (``KStreamAggregate``, ``KStreamReduce``).
"""

from typing import TYPE_CHECKING, Any

from streamfn.engine.keys import KeyForm, to_store
from streamfn.engine.operators.windows import compile_windows
from streamfn.engine.scope import Run
from streamfn.engine.steps import fan_out
from streamfn.graph.operators import Aggregate

if TYPE_CHECKING:
    from streamfn.engine.closures import Compiler


def compile_aggregate(compiler: "Compiler", node: Aggregate, form: KeyForm, parent: str) -> Run:
    """Aggregate per key; a cogroup has a function for each of its parents."""
    if node.window is not None:
        return compile_windows(compiler, node, form, parent)
    parts = [part for part, name in enumerate(node.parents) if name == parent]
    return fan_out([_part(compiler, node, form, part) for part in parts])


def _part(compiler: "Compiler", node: Aggregate, form: KeyForm, part: int) -> Run:
    store, store_key = compiler.timed(node.store), to_store(form, node.store.key)
    drop, then, name = compiler.scope.metrics.drop, compiler.children(node, form), node.name
    get, put, delete = store.get, store.put, store.delete
    initial, fn = node.initial, node.fns[part]

    def run(key: Any, value: Any, timestamp: int) -> None:
        if key is None or value is None:
            drop("null key" if key is None else "null value", name)
            return
        at = store_key(key)
        found = get(at)
        if found is not None:
            old, at_ms = found
            new = fn(get(at)[0], value)  # type: ignore[index]  # an own object: it may be changed
            if at_ms > timestamp:
                timestamp = at_ms
        elif initial is None:
            old, new = None, value
        else:  # the old value of a new key is the start (``KStreamAggregate``)
            old, new = initial(), fn(initial(), value)
        if new is None:
            delete(at)
        else:
            new = put(at, new, timestamp)
        then(key, (new, old, True), timestamp)

    return run
