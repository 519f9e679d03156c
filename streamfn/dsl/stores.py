"""The stores of operators: their types, which must be known and storable.

Invariant: a ``StoreSpec`` comes out whatever was wrong with its types, and what was wrong is
reported, so that the rest of the program is checked too.
"""

from streamfn.dsl.endpoints import Point
from streamfn.errors import SerdeError
from streamfn.function.annotations import plain_type
from streamfn.graph.naming import is_valid
from streamfn.graph.topology import UNKNOWN, Repartition, StoreKind, StoreSpec, WindowSpec
from streamfn.serde import state_serde
from streamfn.state.keys import key_codec


def store_of(
    point: Point,
    name: str,
    kind: StoreKind,
    what: str,
    where: str,
    *,
    window: WindowSpec | None = None,
    history_ms: int | None = None,
) -> StoreSpec:
    """Claim a store for keys and values of a point; ``what`` is who needs it."""
    key, value = plain_type(point.key), plain_type(point.value)
    spec = StoreSpec(name, kind, key, value, where, window, history_ms)
    report, told = point.builder.reporter(where), _told_anyway(point)
    if key is UNKNOWN and not told:
        report(
            f"{what} needs to know the type of the key",
            "a stream whose key type nobody says",
            "say key= at the step that changes the key",
        )
    if value is UNKNOWN and not told:
        report(
            f"{what} needs to know the type of its values",
            "no type",
            "say value= where they are made, or use a named function with a return annotation",
        )
    if UNKNOWN not in (key, value):
        try:
            key_codec(key)
            state_serde(value)
        except SerdeError as error:
            report(f"{what} cannot be stored", str(error), "use types that serdes can carry")
    return point.builder.claim_store(spec)


def _told_anyway(point: Point) -> bool:
    """Tell whether the repartition in front of a store will miss a type too, and report it."""
    nodes = point.builder.nodes
    node = nodes.get(point.node)
    if node is None or UNKNOWN not in (node.key, node.value):
        return False
    waiting = [node]
    while waiting:
        at = waiting.pop()
        if at.changes_key or isinstance(at, Repartition):
            return True
        if not at.keyed:
            waiting += [nodes[parent] for parent in at.parents]
    return False


def asked_store(
    point: Point, store: str | None, name: str | None, what: str, where: str
) -> StoreSpec | None:
    """The store that a stage was asked to keep; ``name`` is the stage's, as far as said."""
    if store is None:
        return None
    usable = is_valid(store) if store == name else point.builder.check_name(store, "a store", where)
    return store_of(point, store, "table", what, where) if usable else None
