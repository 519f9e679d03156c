"""Joins of two tables, key by key: inner, left, outer.

A change of one side meets the other side's row as it is now (``getters``) and goes on as a change
of the joined row. Invariant: a joined row's time is the greater one of its sides; without a store
of its own a join keeps nothing (``KTableKTableInnerJoin``, ``…LeftJoin``, ``…RightJoin``,
``…OuterJoin``, ``KTableKTableJoinMerger``).
"""

from typing import TYPE_CHECKING, Any

from streamfn.engine.keys import OBJECT, KeyForm, to_object, to_store
from streamfn.engine.operators.getters import compiler_getter
from streamfn.engine.operators.join_sides import LEFT, RIGHT
from streamfn.engine.operators.stream_joins import call_of
from streamfn.engine.operators.table_steps import old_wanted
from streamfn.engine.scope import Run
from streamfn.engine.steps import fan_out, named
from streamfn.graph.operators import TableJoin
from streamfn.graph.topology import StoreSpec

if TYPE_CHECKING:
    from streamfn.engine.closures import Compiler

NEEDED = {"inner": (True, True), "left": (True, False), "outer": (False, False)}
"""By kind: whether a joined row needs a left value, and a right one."""


def compile_table_join(compiler: "Compiler", node: TableJoin, form: KeyForm, parent: str) -> Run:
    """Join the changes of one parent; of both sides in turn if both are the same table."""
    then = compiler.once(node, lambda: _behind(compiler, node))
    sides = [side for side in (LEFT, RIGHT) if node.parents[side] == parent]
    return fan_out([named(_side(compiler, node, form, side, then), node.name) for side in sides])


def _behind(compiler: "Compiler", node: TableJoin) -> Run:
    """What follows the join, with its store if it has one; keys arrive there as objects."""
    source, compiler.source = compiler.source, None
    then = compiler.children(node, OBJECT)
    compiler.source = source
    return then if node.store is None else _kept(compiler, node.store, then)


def _kept(compiler: "Compiler", spec: StoreSpec, then: Run) -> Run:
    store, store_key = compiler.timed(spec), to_store(OBJECT, spec.key)
    put, delete = store.put, store.delete

    def run(key: Any, change: Any, timestamp: int) -> None:
        new, old, _ = change
        if new is None:
            delete(store_key(key))
        else:
            new = put(store_key(key), new, timestamp)
        then(key, (new, old, True), timestamp)

    return run


def _side(compiler: "Compiler", node: TableJoin, form: KeyForm, side: int, then: Run) -> Run:
    """What runs for a change of one side. One out of order joins with nothing."""
    other = compiler_getter(compiler, node.parents[1 - side], form)
    mine_needed, theirs_needed = NEEDED[node.kind][side], NEEDED[node.kind][1 - side]
    call, key_of = call_of(node, side), to_object(form)
    drop, name, wanted = compiler.scope.metrics.drop, node.name, old_wanted(compiler, node)

    def joined(key: Any, mine: Any, theirs: Any) -> Any:
        if mine is None and (mine_needed or theirs is None):
            return None
        return call(key, mine, theirs)

    def run(key: Any, change: Any, timestamp: int) -> None:
        if key is None or not change[2]:
            drop("null key" if key is None else "late record", name)
            return
        new, old, _ = change
        row = other(key)
        theirs = None if row is None else row[0]
        if row is None or theirs is None:
            if theirs_needed or (new is None and old is None):
                return
        elif row[1] > timestamp:
            timestamp = row[1]
        key = key_of(key)
        result = joined(key, new, theirs)
        then(key, (result, joined(key, old, theirs) if wanted else None, True), timestamp)

    return run
