"""Taps: what each stage hands on, as a topic of the replay's own, so that a difference has a place.

A tap is a sink beside a stage; the program itself runs as it is. Invariant: a tap never fails: what
has no JSON is shown as Python shows it.
"""

from dataclasses import replace
from typing import Any, Final

import msgspec

from streamfn.errors import SerdeError
from streamfn.graph.operators import (
    GlobalJoin,
    LateRecords,
    StreamJoin,
    StreamTableJoin,
    ToStream,
)
from streamfn.graph.topology import (
    AnyNode,
    Branch,
    Function,
    Sink,
    Source,
    Step,
    TopicSpec,
    Topology,
)
from streamfn.serde import Serde
from streamfn.serde.hooks import encode_hook

PREFIX: Final = "stage:"
"""Begins the name of a tap's topic; no topic of Kafka can have it."""
_STAGES: Final = (
    Branch, Function, GlobalJoin, LateRecords, Step, StreamJoin, StreamTableJoin, ToStream,
)  # fmt: skip
"""What hands on keys and values; tables are seen by their stores."""


def _plain(value: object) -> object:
    """What the topics' own JSON has for a value, so that its fields are seen; else its text."""
    try:
        return encode_hook(value)
    except SerdeError:
        return repr(value)


def _shown(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value, enc_hook=_plain, order="deterministic")
    except Exception:  # a value's own repr may raise anything
        return msgspec.json.encode(_text(value))


def _text(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # as above
        return f"<{type(value).__name__} without repr: {type(error).__name__}>"


SHOWN: Final[Serde[Any]] = Serde("shown", object, _shown, msgspec.json.decode)


def tapped(topology: Topology) -> Topology:
    """Return the program with a tap on each stage of streams; repartitions are seen anyway."""
    nodes: dict[str, AnyNode] = {}
    for name, node in topology.nodes.items():
        nodes[name] = node
        if isinstance(node, _STAGES) or _gives_times(node):
            topic = TopicSpec(f"{PREFIX}{name}", SHOWN, SHOWN, partitions=None, where=node.where)
            nodes[topic.name] = Sink(
                name=topic.name, parents=(name,), key=node.key, value=node.value,
                where=node.where, topics=(topic,),
            )  # fmt: skip
    return replace(topology, nodes=nodes)


def _gives_times(node: AnyNode) -> bool:
    """Tell a source that reads event times from values: it hands on no copy of its topic."""
    return isinstance(node, Source) and node.topic.timestamp is not None
