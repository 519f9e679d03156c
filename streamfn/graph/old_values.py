"""Which filters of tables know what a row was before a change, as Kafka Streams' do.

A filter that knows says nothing of a row that passed neither before nor after; one that does not
says that it is deleted. It knows where the rows of its table are kept, or are asked for behind it.
Invariant: nodes are looked at in the order in which they were declared, as there
(``KTableImpl.enableSendingOldValues``, ``KTableFilter``).
"""

from collections.abc import Mapping

from streamfn.graph.operators import (
    ForeignKeyLookup,
    ForeignKeySend,
    Regroup,
    StreamTableJoin,
    Suppress,
    TableJoin,
    TableStep,
)
from streamfn.graph.topology import Node, TableStore


def knowing_steps(nodes: Mapping[str, Node]) -> set[str]:
    """The steps, among the nodes of a sub-topology, that know what was there before."""
    walk = _Walk(nodes)
    for node in nodes.values():
        walk.declare(node)
    return walk.knowing


class _Walk:
    """What is known when so many nodes have been declared."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self._nodes = nodes
        self._kept = {n.name for n in nodes.values() if isinstance(n, TableStore) and n.kept}
        self.knowing: set[str] = set()

    def declare(self, node: Node) -> None:
        """A node asks its parents for old values, or for their rows."""
        match node:
            case TableStep(kind="filter" | "filter_not"):
                if self._knows(node.parents[0], force=False):
                    self.knowing.add(node.name)
            case Regroup():
                self._knows(node.parents[0], force=True)
            case TableJoin():
                sides = {"inner": 0, "left": 1, "outer": 2}[node.kind]
                for name in node.parents[:sides]:
                    self._knows(name, force=True)
                for name in node.parents:
                    self._keep(name)
            case ForeignKeySend():
                self._knows(node.parents[0], force=True)
            case ForeignKeyLookup():
                self._knows(node.parents[1], force=True)
            case StreamTableJoin():
                self._keep(node.parents[1])
            case _:
                """It asks for nothing."""

    def _knows(self, name: str, *, force: bool) -> bool:
        """Tell whether a table has old values; ``force`` has it keep what it needs for them."""
        node = self._nodes[name]
        match node:
            case TableStore():
                if force:
                    self._kept.add(name)
                return name in self._kept
            case TableStep():
                if node.store is None and not self._knows(node.parents[0], force=force):
                    return False
                self.knowing.add(name)
            case TableJoin():
                for parent in node.parents:
                    self._knows(parent, force=True)
            case Suppress():
                return self._knows(node.parents[0], force=force)
            case _:
                """Aggregates keep theirs."""
        return True

    def _keep(self, name: str) -> None:
        """Somebody looks up rows: the tables that they come from keep them."""
        node = self._nodes[name]
        if isinstance(node, TableStore):
            self._kept.add(name)
        elif isinstance(node, Suppress) or (
            isinstance(node, TableStep | TableJoin) and node.store is None
        ):
            for parent in node.parents:
                self._keep(parent)
