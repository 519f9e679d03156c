"""Checks of a whole program: what only its shape shows, once everything is declared.

Invariant: a check only reports; it changes nothing, so that a program can be built again. What it
reads is the topology with the repartitions that the plan will add.
"""

from collections.abc import Mapping

from streamfn.graph.naming import TOPIC_LENGTH_MAX, changelog_topic, repartition_topic
from streamfn.graph.operators import TableStep
from streamfn.graph.places import Mistakes
from streamfn.graph.plan import with_repartitions
from streamfn.graph.topology import (
    UNKNOWN,
    AnyNode,
    Function,
    Repartition,
    Step,
    TopicSpec,
    Topology,
)


def kind_of(node: AnyNode) -> str:
    """Name a node's kind for people."""
    return node.kind if isinstance(node, Step | TableStep) else node.what


def check_whole(
    topology: Topology, where: str, topics: Mapping[str, TopicSpec], mistakes: Mistakes
) -> None:
    """Check everything that needs the whole program; ``where`` is the place of its app."""
    if not (topology.nodes or topology.feeds or mistakes):  # else it may be empty because of them
        mistakes.add(
            where,
            f"app {topology.application!r} does nothing",
            "no stage",
            "declare a function: @app.function(topic)",
        )
    nodes = with_repartitions(topology)
    _check_internal_topic(
        f"{topology.application}-tasks",
        where,
        "the one that shares out the tasks",
        topics,
        mistakes,
    )
    for node in nodes.values():
        if isinstance(node, Repartition):
            _check_repartition(nodes, node, mistakes)
            name = repartition_topic(topology.application, node.name)
            _check_internal_topic(name, node.where, _made_for(node.where), topics, mistakes)
    for store in topology.stores.values():
        name = changelog_topic(topology.application, store.name)
        _check_internal_topic(name, store.where, _made_for(store.where), topics, mistakes)
    _check_own_repartitions(topology, nodes, mistakes)


def _check_own_repartitions(
    topology: Topology, nodes: Mapping[str, AnyNode], mistakes: Mistakes
) -> None:
    """No repartition may have the name of another's topic or of one that the plan adds."""
    topics: dict[str, AnyNode] = {}
    for node in nodes.values():
        if isinstance(node, Repartition):
            name = repartition_topic(topology.application, node.name)
            other = topics.setdefault(name, node)
            if other is not node:
                mistakes.add(
                    node.where,
                    f"repartition {node.name!r} would use the topic of another one",
                    f"topic {name!r} of {other.name!r} at {other.where}",
                    "say name= with a name of its own",
                )
    for node in topology.nodes.values():
        if isinstance(node, Repartition) and nodes[node.name] is not node:
            added = nodes[node.name]
            mistakes.add(
                node.where,
                f"repartition {node.name!r} has the name of the one behind {added.parents[0]!r}",
                "keyed state both behind it and behind the change of key",
                "say name= at repartition, or hang all keyed stages behind it",
            )


def _check_repartition(nodes: Mapping[str, AnyNode], node: Repartition, mistakes: Mistakes) -> None:
    """A repartition topic needs to know its types: report the step that lost one."""
    for what in ("key", "value"):
        if getattr(node, what) is not UNKNOWN:
            continue
        lost = _where_lost(nodes, node, what)
        own = isinstance(lost, Function)
        mistakes.add(
            lost.where,
            f"the {what} type behind {kind_of(lost)} {lost.name!r} is unknown and needed "
            f"{_needed_by(nodes, node)}",
            "a function without a return annotation",
            "annotate what it answers"
            if own
            else f"say {what}= there, or use a named function with a return annotation",
        )


def _where_lost(nodes: Mapping[str, AnyNode], node: AnyNode, what: str) -> AnyNode:
    for parent in node.parents:
        if getattr(nodes[parent], what) is UNKNOWN:
            return _where_lost(nodes, nodes[parent], what)
    return node


def _needed_by(nodes: Mapping[str, AnyNode], node: AnyNode) -> str:
    """Say who needs the records of a key in one task."""
    for child in nodes.values():
        if node.name in child.parents:
            if isinstance(child, Function) and child.keyed:
                return f"for the repartition topic of function {child.name!r} ({child.where})"
            if deeper := _needed_by(nodes, child):
                return deeper
    return "for a repartition topic" if isinstance(node, Repartition) else ""


def _made_for(where: str) -> str:
    return f"the one made for {where}"


def _check_internal_topic(
    name: str, where: str, what: str, topics: Mapping[str, TopicSpec], mistakes: Mistakes
) -> None:
    if len(name) > TOPIC_LENGTH_MAX:
        mistakes.add(
            where,
            "an internal topic has too long a name",
            f"{len(name)} characters: {name!r}",
            f"choose shorter names: Kafka takes {TOPIC_LENGTH_MAX} characters",
        )
    if name in topics:
        mistakes.add(
            topics[name].where,
            f"topic {name!r} has the name of an internal topic of this app",
            what,
            "give the topic another name",
        )
