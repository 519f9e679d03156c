"""The program as a replay runs it: without feeds, without second tries, as wide as its recording.

A topology comes in, the one to be planned goes out. Invariant: what a stage does to a record is not
changed by any of it.
"""

from dataclasses import replace

from streamfn.graph.topology import (
    AnyNode,
    Function,
    Policy,
    Sink,
    Source,
    TopicSpec,
    Topology,
)
from streamfn.replay.recording import Header


def as_replayed(topology: Topology, header: Header) -> Topology:
    """Return the program for a replay of what the header describes."""
    nodes = {name: _tried_once(node) for name, node in topology.nodes.items()}
    if not header.made_at_ms:  # by hand: who writes a few lines does not mind the partitions
        names = {topic.name for topic in header.topics}
        nodes = {name: _of_any_width(node, names) for name, node in nodes.items()}
    policy = Policy(topology.policy.on_error, 0, 0)
    return replace(topology, nodes=nodes, feeds=(), policy=policy)


def _tried_once(node: AnyNode) -> AnyNode:
    """A pure function fails again."""
    if not isinstance(node, Function):
        return node
    return replace(node, policy=replace(node.policy, retries=0))


def _of_any_width(node: AnyNode, names: set[str]) -> AnyNode:
    """Have the topics of these names be as wide as the recording has them."""

    def free(topic: TopicSpec) -> TopicSpec:
        return replace(topic, partitions=None) if topic.name in names else topic

    if isinstance(node, Source):
        return replace(node, topic=free(node.topic))
    if isinstance(node, Sink):
        return replace(node, topics=tuple(map(free, node.topics)))
    if isinstance(node, Function):
        return replace(node, sinks=tuple(map(free, node.sinks)))
    return node
