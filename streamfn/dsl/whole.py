"""What only the whole program decides: how long windows are remembered that others read.

Invariant: a topology comes in and another one goes out; the program itself is not changed, so that
it can be added to and built again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from streamfn.dsl.windows import remembered_ms
from streamfn.graph.operators import (
    Aggregate,
    ForeignKeyJoin,
    ForeignKeyLookup,
    StreamTableJoin,
    Suppress,
    TableJoin,
    TableStep,
)
from streamfn.graph.topology import (
    AnyNode,
    Function,
    Parameter,
    StoreSpec,
    Timer,
    Topology,
)

LONGER_MS: Final = timedelta(days=1) // timedelta(milliseconds=1)
"""How much longer windows are remembered that others read: they may lag behind by so much."""
LAGGING: Final = 16
"""Or by so many times what the windows are remembered anyway, if that is more."""


def completed(topology: Topology) -> Topology:
    """The topology with all that follows from the whole of it."""
    nodes = dict(topology.nodes)
    for aggregate in _read_by_others(nodes):
        nodes[aggregate.name] = _remembering(aggregate)
    stores = {store.name: store for node in nodes.values() for store in _own(node)}
    for node in nodes.values():
        if isinstance(node, Function):
            nodes[node.name] = _rebound(node, stores)
    return replace(topology, nodes=nodes)


def _own(node: AnyNode) -> tuple[StoreSpec, ...]:
    return () if isinstance(node, Function) else node.stores


def _read_by_others(nodes: Mapping[str, AnyNode]) -> Iterator[Aggregate]:
    """Windowed aggregates that are read by joins, or written by several streams."""
    for node in list(nodes.values()):
        if isinstance(node, TableJoin):
            for parent in node.parents:
                yield from _aggregates(nodes, parent)
        elif isinstance(node, StreamTableJoin | ForeignKeyLookup | ForeignKeyJoin):
            yield from _aggregates(nodes, node.parents[1])
        elif isinstance(node, Aggregate) and len(node.parents) > 1:
            yield from _aggregates(nodes, node.name)


def _aggregates(nodes: Mapping[str, AnyNode], name: str) -> Iterator[Aggregate]:
    """The windowed aggregates from which a table's rows are read."""
    node = nodes[name]
    if isinstance(node, Aggregate) and node.window is not None:
        yield node
    reads_on = isinstance(node, TableStep | TableJoin) and not node.stores
    if reads_on or isinstance(node, Suppress):
        for parent in node.parents:
            yield from _aggregates(nodes, parent)


def _remembering(node: Aggregate) -> Aggregate:
    """The same aggregate, whose windows are remembered longer unless it says how long."""
    window = node.window
    if window is None or window.retention_ms is not None or window.kind == "unlimited":
        return node
    own_ms = remembered_ms(window)
    longer = replace(window, retention_ms=own_ms + max(LONGER_MS, LAGGING * own_ms))
    return replace(node, window=longer, store=replace(node.store, window=longer))


def _rebound(node: Function, stores: Mapping[str, StoreSpec]) -> Function:
    """The same function, its tables as they have become."""
    parameters = tuple(_fresh(each, stores) for each in node.parameters)
    if parameters == node.parameters:
        return node
    timers = tuple(_timer(timer, stores) for timer in node.timers)
    return replace(node, parameters=parameters, timers=timers)


def _timer(timer: Timer, stores: Mapping[str, StoreSpec]) -> Timer:
    return replace(timer, parameters=tuple(_fresh(each, stores) for each in timer.parameters))


def _fresh(parameter: Parameter, stores: Mapping[str, StoreSpec]) -> Parameter:
    store = parameter.store
    if store is None or store.name not in stores:
        return parameter
    return replace(parameter, store=stores[store.name])
