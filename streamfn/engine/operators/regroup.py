"""Groups of a table's rows: ``Regroup`` gives rows the keys of their groups, then they are counted.

A change of a row comes in and leaves as one change of its group, or of two if it moved, through a
repartition topic to ``TableAggregate``, which hands on the changes of the groups. Invariant: what a
row added to a group is subtracted when the row changes, the old value before the new one is added
(``KTableRepartitionMap``, ``KTableAggregate``, ``KTableReduce``).
"""

from typing import TYPE_CHECKING, Any

from streamfn.engine.keys import OBJECT, KeyForm, to_object, to_store, to_topic
from streamfn.engine.scope import Run
from streamfn.engine.steps import check_key, keyed_call, value_call
from streamfn.graph.operators import Regroup, TableAggregate
from streamfn.serde import as_key_serde

if TYPE_CHECKING:
    from streamfn.engine.closures import Compiler


def compile_regroup(compiler: "Compiler", node: Regroup, form: KeyForm, parent: str) -> Run:
    """Send a row to its group; a row without a value or a group's key is in none.

    A change out of order changes no row as it is now, and so no group.
    """
    call = keyed_call(node.fn, to_object(form)) if node.takes_key else value_call(node.fn)
    then, encoded = compiler.children(node, OBJECT), to_topic(OBJECT, as_key_serde(node.key))
    check, name = node.check_str, node.name

    def group(key: Any, value: Any) -> Any:
        if value is None:
            return None
        found = call(key, value)
        if check and found is not None:
            check_key(found, name)
        return found

    def run(key: Any, change: Any, timestamp: int) -> None:
        new, old, latest = change
        if not latest:
            return
        to, before = group(key, new), group(key, old)
        if to is not None and before is not None and encoded(to) == encoded(before):
            then(to, (new, old, True), timestamp)
            return
        if before is not None:
            then(before, (None, old, True), timestamp)
        if to is not None:
            then(to, (new, None, True), timestamp)

    return run


def compile_table_aggregate(
    compiler: "Compiler", node: TableAggregate, form: KeyForm, parent: str
) -> Run:
    """Aggregate the rows of each group."""
    store, store_key = compiler.timed(node.store), to_store(form, node.store.key)
    drop, then, name = compiler.scope.metrics.drop, compiler.children(node, form), node.name
    get, put, delete = store.get, store.put, store.delete
    initial, add, subtract = node.initial, node.add, node.subtract

    def run(key: Any, change: Any, timestamp: int) -> None:
        if key is None:
            drop("null key", name)
            return
        at = store_key(key)
        found, aggregate, old = get(at), None, None
        if found is not None:
            old, at_ms = found
            aggregate = get(at)[0]  # type: ignore[index]  # an own object: it may be changed
            timestamp = max(timestamp, at_ms)
            if change[1] is not None:
                aggregate = subtract(aggregate, change[1])
        if change[0] is not None:
            if aggregate is not None:
                aggregate = add(aggregate, change[0])
            else:
                aggregate = change[0] if initial is None else add(initial(), change[0])
        if aggregate is None:
            delete(at)
        else:
            aggregate = put(at, aggregate, timestamp)
        then(key, (aggregate, old, True), timestamp)

    return run
