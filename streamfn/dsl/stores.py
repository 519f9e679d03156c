"""The stores of operators: their types, which must be known and storable.

Invariant: a ``StoreSpec`` comes out whatever was wrong with its types, and what was wrong is
reported, so that the rest of the program is checked too.
"""

from streamfn.dsl.endpoints import Point
from streamfn.errors import SerdeError
from streamfn.function.annotations import plain_type
from streamfn.graph.topology import UNKNOWN, StoreKind, StoreSpec, WindowSpec
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
    report = point.builder.reporter(where)
    if key is UNKNOWN:
        report(
            f"{what} needs to know the type of the key",
            "a stream whose key type nobody says",
            "say key= at the step that changes the key",
        )
    if value is UNKNOWN:
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
