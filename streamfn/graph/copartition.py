"""Whether the inputs that meet at state have equal keys in partitions of the same number.

Task *i* reads partition *i* of each of its inputs, so a key must be in the same one of all that a
join, an aggregate or a look-up brings together: as many partitions, chosen by the same bytes.
Invariant: a mistake stands at the line that brings two inputs together, and names those two.
"""

from collections.abc import Iterable, Mapping

from streamfn.errors import Mistake
from streamfn.graph.topology import Node, Source


def not_copartitioned(group: Mapping[str, Node], counts: Mapping[str, int]) -> list[Mistake]:
    """The mistakes of a sub-topology; ``counts`` are the partitions of its sources."""
    if not any(node.keyed for node in group.values()):
        return []
    found: dict[str, Mistake] = {}
    for node in group.values():
        before = _upstream(group, node)
        if not node.keyed or not found.keys().isdisjoint(before):
            continue  # what is behind a mistake is wrong for the same reason
        narrow, wide = _extremes((group[name] for name in before), counts)
        if counts[narrow.name] != counts[wide.name]:
            found[node.name] = _mistake(node, narrow, wide, counts)
            continue
        one, other = _forms(group[name] for name in before)
        if one.topic.key.form != other.topic.key.form:
            found[node.name] = _mistake_of_form(node, one, other)
    if not found:  # they meet at a store that several stages read
        narrow, wide = _extremes(group.values(), counts)
        if counts[narrow.name] != counts[wide.name]:
            return [_mistake(narrow, narrow, wide, counts)]
    return list(found.values())


def _upstream(group: Mapping[str, Node], node: Node) -> set[str]:
    """The nodes whose records may reach a node, in its sub-topology."""
    waiting, seen = [node], set[str]()
    while waiting:
        at = waiting.pop()
        parents = [group[name] for name in at.parents if name in group and name not in seen]
        seen.update(parent.name for parent in parents)
        waiting += parents
    return seen


def _extremes(nodes: Iterable[Node], counts: Mapping[str, int]) -> tuple[Source, Source]:
    sources = [node for node in nodes if isinstance(node, Source)]
    ordered = sorted(sources, key=lambda source: (counts[source.name], source.name))
    return ordered[0], ordered[-1]


def _forms(nodes: Iterable[Node]) -> tuple[Source, Source]:
    """Two sources whose keys are written differently, if there are such; one of the user's first.

    With the id of a schema in front, for one, which what the application keeps to itself has not.
    """
    sources = [node for node in nodes if isinstance(node, Source)]
    first = min(sources, key=lambda source: (source.internal, source.name))
    form = first.topic.key.form
    return first, next((each for each in sources if each.topic.key.form != form), first)


def _mistake_of_form(at: Node, one: Source, other: Source) -> Mistake:
    return Mistake(
        at.where,
        f"{one.name!r} and {other.name!r} meet at {at.what} {at.name!r} but their keys are written "
        "differently, and so are in other partitions",
        f"{one.topic.key.name} and {other.topic.key.name}",
        f"put .repartition() behind {one.name!r}"
        + (", and .to_table() for a table" if other.internal else f" and {other.name!r}"),
    )


def _mistake(at: Node, narrow: Source, wide: Source, counts: Mapping[str, int]) -> Mistake:
    return Mistake(
        at.where,
        f"{narrow.name!r} and {wide.name!r} meet at {at.what} {at.name!r} but are not "
        "co-partitioned",
        f"{counts[narrow.name]} and {counts[wide.name]} partitions",
        f"put .repartition(partitions={counts[wide.name]}) behind {narrow.name!r}, "
        "or give both topics the same count",
    )
