"""Tables made of tables row by row: filter, filter_not, map_values, transform_values.

A change comes in and goes on with other values. Invariant: without a store of its own a step keeps
nothing, and its rows are worked out from its parent's whenever somebody asks (``getters``); with
one, the old value is what the store held, and every change is the latest one (``KTableFilter``,
``KTableMapValues``, ``KTableTransformValues``).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from streamfn.engine.keys import KeyForm, to_object, to_store
from streamfn.engine.scope import Run
from streamfn.engine.steps import keyed_call, value_call
from streamfn.graph.old_values import knowing_steps
from streamfn.graph.operators import TableStep, ToStream
from streamfn.graph.topology import Node, StoreSpec
from streamfn.graph.versions import is_versioned

if TYPE_CHECKING:
    from streamfn.engine.closures import Compiler

Row: TypeAlias = "tuple[Any, int] | None"
"""A value and its time."""

UNKNOWN_MS = -1
"""The time of a row that was made of nothing."""

FILTERS = ("filter", "filter_not")


def compile_table_step(compiler: "Compiler", node: TableStep, form: KeyForm, parent: str) -> Run:
    """Change or drop the values of each change."""
    # Behind a versioned table a row that never passed is sent as deleted all the same.
    nodes = compiler.scope.subtopology.nodes
    drops = (
        node.kind in FILTERS
        and node.name in knowing_steps(nodes)
        and not is_versioned(nodes, parent)
    )
    value_of, then = step_value(node, form), compiler.children(node, form)
    if node.store is not None:
        return _kept(compiler, node.store, form, value_of, then, drops)
    wanted = drops or old_wanted(compiler, node)

    def run(key: Any, change: Any, timestamp: int) -> None:
        new = value_of(key, change[0])
        old = value_of(key, change[1]) if wanted else None
        if not drops or new is not None or old is not None:
            then(key, (new, old, change[2]), timestamp)

    return run


def _kept(
    compiler: "Compiler",
    spec: StoreSpec,
    form: KeyForm,
    value_of: Callable[[Any, Any], Any],
    then: Run,
    drops: bool,
) -> Run:
    """A step with a store."""
    store, store_key = compiler.timed(spec), to_store(form, spec.key)
    get, put, delete = store.get, store.put, store.delete

    def run(key: Any, change: Any, timestamp: int) -> None:
        at = store_key(key)
        new, found = value_of(key, change[0]), get(at)
        if new is not None:
            new = put(at, new, timestamp)
        elif found is not None:
            delete(at)
        elif drops:
            return
        then(key, (new, None if found is None else found[0], True), timestamp)

    return run


def step_value(node: TableStep, form: KeyForm) -> Callable[[Any, Any], Any]:
    """Return what works out a step's value from its parent's; None stands for no row."""
    call = keyed_call(node.fn, to_object(form)) if node.takes_key else value_call(node.fn)
    if node.kind == "transform_values":
        return call
    if node.kind == "map_values":
        return lambda key, value: None if value is None else call(key, value)
    wanted = node.kind == "filter"

    def passing(key: Any, value: Any) -> Any:
        return value if value is not None and bool(call(key, value)) is wanted else None

    return passing


def step_row(node: TableStep, form: KeyForm) -> Callable[[Any, Row], Row]:
    """Return what works out a step's row, ``(value, time)`` or None, from its parent's."""
    value_of = step_value(node, form)

    def row(key: Any, found: Row) -> Row:
        value, at_ms = (None, UNKNOWN_MS) if found is None else found
        value = value_of(key, value)
        return None if value is None else (value, at_ms)

    return row


def old_wanted(compiler: "Compiler", node: Node) -> bool:
    """Tell whether anything behind a table makes use of old values.

    Where nothing does, its function need not be called for them.
    """
    for child in compiler.scope.subtopology.children(node.name):
        if isinstance(child, ToStream) or (isinstance(child, TableStep) and child.store):
            continue
        if isinstance(child, TableStep) and child.kind not in FILTERS:
            if old_wanted(compiler, child):
                return True
            continue
        return True
    return False
