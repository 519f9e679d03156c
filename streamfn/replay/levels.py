"""Which sub-topologies come after which, by the topics that they write and read.

Invariant: whoever reads a topic that the program itself feeds is in a later level than whoever
writes it.
"""

from streamfn.graph.plan import Plan, Subtopology
from streamfn.graph.roots import written_topics
from streamfn.graph.topology import Sink


def levels_of(plan: Plan, fed: frozenset[str]) -> list[set[str]]:
    """Return the topics read, level by level; nothing if a sub-topology feeds itself.

    ``fed`` are topics that come from elsewhere, whoever writes them.
    """
    waiting = {sub.name: sub for sub in plan.subtopologies}
    levels: list[set[str]] = []
    while waiting:
        coming = set[str]().union(*(_written(sub, plan) for sub in waiting.values())) - fed
        ready = [sub for sub in waiting.values() if not coming & sub.source_partitions.keys()]
        if not ready:
            return []
        levels.append({topic for sub in ready for topic in sub.source_partitions})
        for sub in ready:
            del waiting[sub.name]
    return levels


def _written(sub: Subtopology, plan: Plan) -> set[str]:
    """What a sub-topology may write: where records choose freely, any topic of the user's."""
    free = any(isinstance(n, Sink) and n.choose and not n.topics for n in sub.nodes.values())
    return written_topics(sub) | (set(plan.user_topics) if free else set())
