"""The rows of a table as they are now, for whoever joins with it or looks them up.

A key comes in, and ``(value, time)`` or None goes back; tables without a store are worked out from
their parents' rows. Invariant: asking changes nothing (``KTableValueGetter``).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from streamfn.engine.keys import KeyForm, to_object, to_store
from streamfn.engine.operators.suppress import value_before
from streamfn.engine.operators.table_steps import UNKNOWN_MS, Row, step_row
from streamfn.engine.operators.timed import row_of
from streamfn.engine.operators.versioned import Versions
from streamfn.errors import InternalError
from streamfn.graph.operators import Aggregate, Suppress, TableAggregate, TableJoin, TableStep
from streamfn.graph.topology import StoreSpec, TableStore

if TYPE_CHECKING:
    from streamfn.engine.closures import Compiler

Getter: TypeAlias = Callable[[Any], Row]


def compiler_getter(compiler: "Compiler", name: str, form: KeyForm) -> Getter:
    """Return what gives a table's row for a key in ``form``."""
    node = compiler.scope.subtopology.nodes[name]
    match node:
        case TableStore() | TableAggregate() | Aggregate():
            return _kept(compiler, node.store, form)
        case TableStep(store=None):
            return _step(compiler, node, form)
        case TableJoin(store=None):
            return _join(compiler, node, form)
        case TableStep(store=StoreSpec() as spec) | TableJoin(store=StoreSpec() as spec):
            return _kept(compiler, spec, form)
        case Suppress():
            return _held_back(compiler, node, form)
        case _:
            message = f"node {name!r} of kind {type(node).__name__} has no rows to look up"
            raise InternalError(message)


def _kept(compiler: "Compiler", spec: StoreSpec, form: KeyForm) -> Getter:
    store = compiler.timed(spec)
    if spec.window is not None:
        row, key_of = row_of(store, spec), to_object(form)
        return lambda key: row(key_of(key))
    store_key = to_store(form, spec.key)
    get = Versions(store, spec).latest if spec.kind == "versioned" else store.get
    return lambda key: get(store_key(key))


def _step(compiler: "Compiler", node: TableStep, form: KeyForm) -> Getter:
    row, parent = step_row(node, form), compiler_getter(compiler, node.parents[0], form)
    return lambda key: row(key, parent(key))


def _held_back(compiler: "Compiler", node: Suppress, form: KeyForm) -> Getter:
    """The row as those behind know it: what was there before the changes that wait."""
    before, parent = value_before(compiler, node), compiler_getter(compiler, node.parents[0], form)
    key_of = to_object(form)

    def row(key: Any) -> Row:
        found = before(key_of(key))
        if found is None:
            return parent(key)
        return None if found[0] is None else (found[0], UNKNOWN_MS)

    return row


def _join(compiler: "Compiler", node: TableJoin, form: KeyForm) -> Getter:
    """The row that a join without a store would have now."""
    left, right = (compiler_getter(compiler, name, form) for name in node.parents)
    fn, takes_key, key_of, kind = node.fn, node.takes_key, to_object(form), node.kind

    def row(key: Any) -> Row:
        ours = left(key)
        if ours is None and kind != "outer":
            return None
        theirs = right(key)
        if theirs is None and (ours is None or kind == "inner"):
            return None
        values = (None if ours is None else ours[0], None if theirs is None else theirs[0])
        value = fn(key_of(key), *values) if takes_key else fn(*values)
        if value is None:
            return None
        return value, max(each[1] for each in (ours, theirs) if each is not None)

    return row
