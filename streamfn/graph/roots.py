"""Which repartition topics tell of the record at the source that their records go back to.

Invariant: wherever a function has a ``Context``, what ``now``, ``random`` and ``uuid`` of it are
made from is known, however many repartitions lie in front. Only topics that lead to such a function
bear the header; the others cost nothing.
"""

from collections.abc import Iterable

from streamfn.graph.context_use import may_ask_root
from streamfn.graph.plan import Subtopology
from streamfn.graph.topology import Function, Sink

ROOT_HEADER = "streamfn.root"
PROVENANCE_HEADER = "streamfn.provenance"
OWN_HEADERS = frozenset({ROOT_HEADER, PROVENANCE_HEADER})
"""What the engine writes for itself: no function sees them, no output inherits them."""


def rooted_topics(subtopologies: Iterable[Subtopology]) -> frozenset[str]:
    """Return the repartition topics whose records bear their root."""
    subs = list(subtopologies)
    found: set[str] = set()
    while True:
        more = {
            source.topic.name
            for sub in subs
            if _asks(sub) or found & written_topics(sub)
            for source in sub.sources
            if source.internal
        }
        if more <= found:
            return frozenset(found)
        found |= more


def repartition_topics(subtopologies: Iterable[Subtopology]) -> frozenset[str]:
    """Return all repartition topics."""
    sources = (source for sub in subtopologies for source in sub.sources)
    return frozenset(source.topic.name for source in sources if source.internal)


def written_topics(sub: Subtopology) -> set[str]:
    """Return the topics that a sub-topology names as its sinks."""
    nodes = sub.nodes.values()
    sinks = [node.topics for node in nodes if isinstance(node, Sink)]
    functions = [node.sinks for node in nodes if isinstance(node, Function)]
    return {topic.name for topics in (*sinks, *functions) for topic in topics}


def _asks(sub: Subtopology) -> bool:
    """True if a function or timer may ask its context."""
    functions = [node for node in sub.nodes.values() if isinstance(node, Function)]
    timers = [timer for node in functions for timer in node.timers]
    return any(map(may_ask_root, functions)) or any(map(may_ask_root, timers))
