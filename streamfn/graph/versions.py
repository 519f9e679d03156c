"""Which tables are versioned: those kept so, and those worked out from them row by row.

Invariant: only behind these may a change be out of order; a join, an aggregate and a store without
history end it (``InternalStreamsBuilder.isVersionedOrVersionedUpstream``).
"""

from collections.abc import Mapping

from streamfn.graph.operators import TableStep
from streamfn.graph.topology import Node, TableStore


def is_versioned(nodes: Mapping[str, Node], name: str) -> bool:
    """Tell whether a table's rows can be asked for as of a time."""
    node = nodes[name]
    while isinstance(node, TableStep) and node.store is None:
        node = nodes[node.parents[0]]
    return isinstance(node, TableStore) and node.store.kind == "versioned"
