"""Tables: a topic kept as its last value a key, and a table as a stream of its changes.

A record becomes a change ``(new, old, latest)`` here, and a change a record. Invariant: what the
store held before is the change's old value, so that whoever aggregates it can take it back.
"""

from typing import TYPE_CHECKING, Any

from streamfn.engine.keys import KeyForm, to_store
from streamfn.engine.operators.versioned import compile_versioned
from streamfn.engine.scope import Run
from streamfn.graph.operators import ToStream
from streamfn.graph.topology import TableStore

if TYPE_CHECKING:
    from streamfn.engine.closures import Compiler


def compile_table(compiler: "Compiler", node: TableStore, form: KeyForm, parent: str) -> Run:
    """Keep the last value of each key; a later record wins whatever its time (``KTableSource``)."""
    if node.store.kind == "versioned":
        return compile_versioned(compiler, node, form)
    store, store_key = compiler.timed(node.store), to_store(form, node.store.key)
    drop, then, name = compiler.scope.metrics.drop, compiler.children(node, form), node.name
    get, put, delete = store.get, store.put, store.delete

    def run(key: Any, value: Any, timestamp: int) -> None:
        if key is None:
            drop("null key", name)
            return
        at = store_key(key)
        found = get(at)
        if value is None:
            delete(at)
        else:
            value = put(at, value, timestamp)
        then(key, (value, None if found is None else found[0], True), timestamp)

    return run


def compile_to_stream(compiler: "Compiler", node: ToStream, form: KeyForm, parent: str) -> Run:
    """Hand on the new value of each change."""
    then = compiler.children(node, form)

    def run(key: Any, change: Any, timestamp: int) -> None:
        then(key, change[0], timestamp)

    return run
