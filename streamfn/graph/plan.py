"""From a topology to what runs: sub-topologies, their tasks, and the internal topics they need.

A repartition cuts the graph: its upstream half ends in a sink, its downstream half starts at an
internal source, and what is connected in between (by edges or by a shared store) is one
sub-topology. Invariants: a sub-topology is named after its first source in the alphabet and a
changelog after its store, never after a position in the program; all inputs of a sub-topology with
state have the same number of partitions, so that partition *i* of each is task *i*.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from streamfn.errors import Mistake, StageError, TopologyError
from streamfn.graph.behind import null_keys_are_seen, null_keys_matter
from streamfn.graph.copartition import not_copartitioned
from streamfn.graph.naming import changelog_topic, repartition_topic
from streamfn.graph.topology import (
    UNKNOWN,
    AnyNode,
    Function,
    Repartition,
    Sink,
    Source,
    StoreSpec,
    TopicSpec,
    Topology,
)
from streamfn.serde import as_key_serde, as_serde

FOREVER = {
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "message.timestamp.after.max.ms": str(2**63 - 1),
}
"""Keeps all. Records bear their input's time: any that the user's topics take is taken."""


@dataclass(frozen=True, slots=True)
class Subtopology:
    """A connected part of the program.

    Task ``<name>_<i>`` is it over partition *i* of all its sources.
    """

    name: str
    nodes: Mapping[str, AnyNode]
    partitions: int
    source_partitions: Mapping[str, int]

    @property
    def sources(self) -> list[Source]:
        """The nodes at which records enter."""
        return [node for node in self.nodes.values() if isinstance(node, Source)]

    @property
    def stores(self) -> dict[str, StoreSpec]:
        """The stores by name."""
        found: dict[str, StoreSpec] = {}
        for node in self.nodes.values():
            found.update({store.name: store for store in node.stores})
        return found

    def children(self, name: str) -> list[AnyNode]:
        """The nodes fed by a node, in order of declaration."""
        return [node for node in self.nodes.values() if name in node.parents]


@dataclass(frozen=True, slots=True)
class InternalTopic:
    """A topic that the application owns; it is created and verified when the worker starts."""

    name: str
    partitions: int
    config: Mapping[str, str]
    purpose: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker runs. ``tokens`` is the width of the widest sub-topology."""

    topology: Topology
    subtopologies: tuple[Subtopology, ...]
    internal_topics: tuple[InternalTopic, ...]
    user_topics: Mapping[str, TopicSpec]
    partitions: Mapping[str, int]
    provenance: str = ""
    """The code's version, if outputs are to say what they were made of; else ""."""
    replayed: bool = False
    """Outputs get the ranks of their inputs; the wall clock is the records' time."""
    noted: Callable[[StageError], None] | None = None
    """Takes what fails under ``on_error`` fail; None: it stops the worker."""

    @property
    def application(self) -> str:
        """The application's name."""
        return self.topology.application

    @property
    def tokens(self) -> int:
        """As many as the widest sub-topology has partitions."""
        return max((sub.partitions for sub in self.subtopologies), default=1)

    @property
    def known_topics(self) -> Mapping[str, TopicSpec]:
        """The user's topics by name: those it declares, and those it reads or writes."""
        return {**self.topology.topics, **self.user_topics}

    @property
    def own_topics(self) -> frozenset[str]:
        """The names of all topics that are the application's, and no record's to choose."""
        return frozenset(
            {*(topic.name for topic in self.internal_topics), f"{self.application}-tasks"}
        )

    @property
    def dead_letter_topic(self) -> str:
        """Where records go that fail under ``dead_letter``."""
        return f"{self.application}-dead-letters"

    def changelog(self, store: str) -> str:
        """The changelog topic of a store."""
        return changelog_topic(self.application, store)

    def position_topic(self, feed: str) -> str:
        """Where a feed's positions are kept."""
        return f"{self.application}-{feed}-position"


def plan(topology: Topology, existing: Mapping[str, int] | None = None) -> Plan:
    """Work out what a topology needs; ``existing`` holds the partition counts the log already has.

    Raises:
        TopologyError: topics that must be co-partitioned are not, a declared count differs from
            the log's, a repartition of unknown types; all together.
    """
    mistakes: list[Mistake] = []
    existing = existing or {}
    nodes, repartitions = _cut(topology, mistakes)
    groups = _components(nodes)
    users = user_topics(topology)
    counts = _user_counts(users, existing, mistakes)
    counts |= {name: existing[name] for name in repartitions if name in existing}
    subs = tuple(_sized(groups, repartitions, counts, mistakes))
    if mistakes:
        raise TopologyError(mistakes)
    return Plan(topology, subs, tuple(_internal(topology, subs, repartitions)), users, counts)


def with_repartitions(topology: Topology) -> dict[str, AnyNode]:
    """The nodes with a ``Repartition`` behind each change of key that keyed nodes follow."""
    nodes = dict(topology.nodes)
    for step in [n for n in topology.nodes.values() if n.changes_key]:
        keyed = [child for child in _children(nodes, step.name) if _needs_key(nodes, child)]
        if not keyed:
            continue
        name = f"{step.name}-repartition"
        nodes[name] = Repartition(
            name=name, parents=(step.name,), key=step.key, value=step.value, where=step.where
        )
        for child in keyed:
            parents = tuple(name if p == step.name else p for p in child.parents)
            nodes[child.name] = replace(child, parents=parents)
    return nodes


def _children(nodes: Mapping[str, AnyNode], name: str) -> list[AnyNode]:
    return [node for node in nodes.values() if name in node.parents]


def _needs_key(nodes: Mapping[str, AnyNode], node: AnyNode) -> bool:
    """True if the node, or one behind it before the next repartition, needs its keys together."""
    if node.keyed:
        return True
    if isinstance(node, Repartition) or node.changes_key:
        return False
    return any(_needs_key(nodes, child) for child in _children(nodes, node.name))


def _cut(
    topology: Topology, mistakes: list[Mistake]
) -> tuple[dict[str, AnyNode], dict[str, Repartition]]:
    """Replace each repartition by a sink and an internal source; also return them by topic."""
    cut: dict[str, AnyNode] = {}
    repartitions: dict[str, Repartition] = {}
    renamed: dict[str, str] = {}
    whole = replace(topology, nodes=with_repartitions(topology))
    for node in whole.nodes.values():
        parents = tuple(renamed.get(parent, parent) for parent in node.parents)
        if not isinstance(node, Repartition):
            cut[node.name] = replace(node, parents=parents)
            continue
        name = repartition_topic(topology.application, node.name.removesuffix("-repartition"))
        topic = _repartition_spec(name, node, mistakes)
        if topic is None:
            renamed[node.name] = parents[0]
            continue
        repartitions[name] = node
        renamed[node.name] = name
        cut[node.name] = Sink(
            name=node.name, parents=parents, key=node.key, value=node.value, topics=(topic,),
            drops_null_keys=not null_keys_matter(whole, node)
            and (node.name in topology.nodes or not null_keys_are_seen(whole, node)),
        )  # fmt: skip
        cut[name] = Source(
            name=name, key=node.key, value=node.value, where=node.where, topic=topic, internal=True
        )
    behind: dict[str, AnyNode] = {
        name: replace(n, parents=tuple(renamed.get(p, p) for p in n.parents))
        for name, n in cut.items()
    }
    named = {
        topic: replace(node, name=_short_name(node, topology), parents=behind[node.name].parents)
        for topic, node in repartitions.items()
    }
    return behind, named


def _short_name(node: Repartition, topology: Topology) -> str:
    """What a sub-topology behind a repartition is called; a topic's own name stays the topic's."""
    short = node.name.removesuffix("-repartition")
    return node.name if isinstance(topology.nodes.get(short), Source) else short


def _repartition_spec(name: str, node: Repartition, mistakes: list[Mistake]) -> TopicSpec | None:
    for what, kind in (("key", node.key), ("value", node.value)):
        if kind is UNKNOWN:
            mistakes.append(
                Mistake(
                    node.where,
                    f"the {what} type of {node.name!r} must be known to send it through a topic",
                    "no type",
                    f"say it there: {what}=...",
                )
            )
            return None
    key, value = as_key_serde(node.key), as_serde(node.value)
    return TopicSpec(name, key, value, node.partitions, where=node.where)


def _components(nodes: Mapping[str, AnyNode]) -> list[dict[str, AnyNode]]:
    """Group nodes that are connected by edges or by a store."""
    leader = {name: name for name in nodes}

    def find(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    owner: dict[str, str] = {}
    for node in nodes.values():
        ties = [*node.parents]
        for store in node.stores:
            ties.append(owner.setdefault(store.name, node.name))
        for tie in ties:
            leader[find(tie)] = find(node.name)
    groups: dict[str, dict[str, AnyNode]] = {}
    for name, node in nodes.items():
        groups.setdefault(find(name), {})[name] = node
    return [
        group for group in groups.values() if any(isinstance(n, Source) for n in group.values())
    ]


def _user_counts(
    topics: Mapping[str, TopicSpec], existing: Mapping[str, int], mistakes: list[Mistake]
) -> dict[str, int]:
    counts: dict[str, int] = {}
    for topic in topics.values():
        found = existing.get(topic.name)
        if found and topic.partitions and found != topic.partitions:
            mistakes.append(
                Mistake(
                    topic.where,
                    f"topic {topic.name!r} is declared with {topic.partitions} partitions",
                    f"a topic with {found}",
                    f"declare partitions={found}, or leave it out to take the topic as it is",
                )
            )
        counts[topic.name] = found or topic.partitions or 1
    return counts


def _sized(
    groups: Iterable[dict[str, AnyNode]],
    repartitions: Mapping[str, Repartition],
    counts: dict[str, int],
    mistakes: list[Mistake],
) -> Iterable[Subtopology]:
    """Size each group once the groups that feed it are sized; ``counts`` grows on the way."""
    waiting = list(groups)
    widths: dict[str, int] = {}
    while waiting:
        group = _next_to_size(waiting, repartitions, widths)
        waiting = [other for other in waiting if other is not group]
        sub = _size(group, repartitions, counts, widths, mistakes)
        widths.update(dict.fromkeys(sub.nodes, sub.partitions))
        yield sub


def topics_of(topology: Topology) -> set[str]:
    """Topics whose partition counts ``plan`` wants to know: the user's, and those in between."""
    return {*user_topics(topology), *_cut(topology, [])[1]}


def _next_to_size(
    waiting: list[dict[str, AnyNode]],
    repartitions: Mapping[str, Repartition],
    widths: Mapping[str, int],
) -> dict[str, AnyNode]:
    """The first group whose feeders are sized; in a ring of groups, one that tells its width."""

    def has_own_width(group: Mapping[str, AnyNode]) -> bool:
        return any(isinstance(n, Source) and not n.internal for n in group.values())

    feeders = [(group, _feeders(group, repartitions)) for group in waiting]
    ready = [group for group, names in feeders if all(name in widths for name in names)]
    own = [group for group in waiting if has_own_width(group)]
    fed = [group for group, names in feeders if any(name in widths for name in names)]
    return [*ready, *own, *fed][0]


def _feeders(group: Mapping[str, AnyNode], repartitions: Mapping[str, Repartition]) -> list[str]:
    """The nodes of other groups that write to a group's repartition topics."""
    internal = [n.name for n in group.values() if isinstance(n, Source) and n.internal]
    feeders = [repartitions[name].parents[0] for name in internal]
    return [name for name in feeders if name not in group]


def _size(
    group: Mapping[str, AnyNode],
    repartitions: Mapping[str, Repartition],
    counts: dict[str, int],
    widths: Mapping[str, int],
    mistakes: list[Mistake],
) -> Subtopology:
    sources = [node for node in group.values() if isinstance(node, Source)]
    fixed = [counts[n.name] for n in sources if not n.internal]
    fixed += [n.topic.partitions for n in sources if n.internal and n.topic.partitions]
    fixed += [counts[n.name] for n in sources if n.internal and n.name in counts]
    feeding = [widths[name] for name in _feeders(group, repartitions) if name in widths]
    needed = max(fixed or feeding)
    for node in sources:
        if node.internal:  # one that is there keeps its count, even if what feeds it has grown
            counts[node.name] = node.topic.partitions or counts.get(node.name) or needed
    mistakes += not_copartitioned(group, counts)
    mine = {node.name: counts[node.name] for node in sources}
    names = [repartitions[n.name].name if n.internal else n.name for n in sources]
    return Subtopology(min(names), dict(group), max(mine.values()), mine)


def user_topics(topology: Topology) -> dict[str, TopicSpec]:
    """The user's own topics that a topology reads or writes, by name."""
    found: dict[str, TopicSpec] = {}
    for node in topology.nodes.values():
        if isinstance(node, Source):
            found.setdefault(node.topic.name, node.topic)
        elif isinstance(node, Sink):
            found.update({t.name: t for t in node.topics if t.name not in found})
        elif isinstance(node, Function):
            found.update({t.name: t for t in node.sinks if t.name not in found})
    for feed in topology.feeds:
        found.setdefault(feed.topic.name, feed.topic)
    for table in topology.global_tables.values():
        found.setdefault(table.topic.name, table.topic)
    return found


def _internal(
    topology: Topology, subs: Iterable[Subtopology], repartitions: Mapping[str, Repartition]
) -> Iterable[InternalTopic]:
    compact = {"cleanup.policy": "compact", "retention.ms": "-1"}
    for sub in subs:
        for node in sub.sources:
            if node.internal:
                width = sub.source_partitions[node.name]
                yield InternalTopic(node.name, width, FOREVER, "repartition")
        for store in sub.stores:
            name = changelog_topic(topology.application, store)
            yield InternalTopic(name, sub.partitions, compact, "changelog")
    for feed in topology.feeds:
        name = f"{topology.application}-{feed.name}-position"
        yield InternalTopic(name, 1, compact, "position")
    policies = [
        topology.policy,
        *(n.policy for n in topology.nodes.values() if isinstance(n, Function)),
    ]
    if any(policy.on_error == "dead_letter" for policy in policies):
        yield InternalTopic(f"{topology.application}-dead-letters", 1, FOREVER, "dead letters")
