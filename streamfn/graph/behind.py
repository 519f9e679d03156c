"""What lies behind a node: which topics its records may reach, and who asks for what on the way.

Invariant: these walk edges only; a topic ends the walk where another sub-topology begins.
"""

from typing import Protocol

from streamfn.graph.operators import ForeignKeyLookup, GlobalJoin, StreamJoin, StreamTableJoin
from streamfn.graph.topology import Function, Node, Repartition, Sink


class Graph(Protocol):
    """A topology or a part of one."""

    def children(self, name: str) -> list[Node]:
        """The nodes fed by a node."""
        ...


def topics_behind(graph: Graph, node: Node) -> set[str]:
    """The topics that records of a node may end up in, without going through another."""
    found: set[str] = set()
    seen = {node.name}
    waiting = [node]
    while waiting:
        at = waiting.pop()
        if isinstance(at, Sink):
            found.update(topic.name for topic in at.topics)
        elif isinstance(at, Function):
            found.update(topic.name for topic in at.sinks)
        following = [child for child in graph.children(at.name) if child.name not in seen]
        seen.update(child.name for child in following)
        waiting += following
    return found


def null_keys_matter(graph: Graph, node: Node) -> bool:
    """Tell whether a join that answers for records without a key is anywhere behind (KIP-962).

    A left foreign-key join answers for rows that name nobody: of its own subscriptions only.
    """
    children = graph.children(node.name)
    if any(isinstance(child, ForeignKeyLookup) and child.kind != "inner" for child in children):
        return True
    waiting, seen = list(children), set[str]()
    while waiting:
        at = waiting.pop()
        if isinstance(at, StreamJoin | StreamTableJoin | GlobalJoin) and at.kind != "inner":
            return True
        if at.name not in seen:
            seen.add(at.name)
            waiting += graph.children(at.name)
    return False


def null_keys_are_seen(graph: Graph, node: Node) -> bool:
    """Tell whether anybody sees a record without a key before what needs its key drops it.

    That is a sink, a function without state, or a step that may give it a key.
    """
    waiting = graph.children(node.name)
    while waiting:
        at = waiting.pop()
        if at.keyed or isinstance(at, Repartition):
            continue
        if at.changes_key or isinstance(at, Sink | Function):
            return True
        waiting += graph.children(at.name)
    return False
