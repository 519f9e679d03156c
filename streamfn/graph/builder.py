"""Where a program is collected as it is written: nodes, topics, stores, and mistakes.

The ``dsl`` and ``app`` add to it line by line; ``build`` checks what only the whole shows and
freezes a ``Topology``. Invariants: a mistake never stops the collecting, so that all are told
together; a name is given once.
"""

from collections.abc import Callable

from streamfn.graph.checks import check_whole, kind_of
from streamfn.graph.naming import is_valid, shortened, told_apart, touched
from streamfn.graph.places import Mistakes
from streamfn.graph.topology import (
    AnyNode,
    Feed,
    GlobalTableSpec,
    Policy,
    Source,
    StoreSpec,
    TableStore,
    TopicSpec,
    Topology,
)
from streamfn.serde import type_name


class Builder:
    """Collects one program's nodes and mistakes."""

    def __init__(self, application: str, where: str) -> None:
        self.application = application
        self._where = where
        self.topics: dict[str, TopicSpec] = {}
        self.nodes: dict[str, AnyNode] = {}
        self.feeds: dict[str, Feed] = {}
        self.global_tables: dict[str, GlobalTableSpec] = {}
        self._stores: dict[str, StoreSpec] = {}
        self._mistakes = Mistakes()

    def mistake(self, where: str, wrong: str, got: str, cure: str) -> None:
        """Remember one mistake and go on."""
        self._mistakes.add(where, wrong, got, cure)

    def reporter(self, where: str) -> Callable[[str, str, str], None]:
        """A function that remembers mistakes of one place."""

        def report(wrong: str, got: str, cure: str) -> None:
            self.mistake(where, wrong, got, cure)

        return report

    def check_name(self, name: object, what: str, where: str) -> bool:
        """Report a name that no topic or folder could have."""
        if is_valid(name):
            return True
        self.mistake(
            where,
            f"the name of {what} is not usable",
            repr(name),
            "use 1 to 200 of the characters A-Z a-z 0-9 . _ -",
        )
        return False

    def claim(
        self, derived: str, name: str | None, what: str, where: str, *, salt: str | None = None
    ) -> str:
        """Return a free name for a node: ``name`` if said, else the derived one.

        With a ``salt`` (of a stage that owns no state and no topic) a derived name that is taken
        is told apart by it; without, that is a mistake which asks for ``name=``.
        """
        wanted = shortened(derived) if name is None else name
        usable = name is None or self.check_name(name, what, where)
        if usable and wanted not in self.nodes:
            return wanted
        if usable and (salt is None or name is not None):
            taken = self.nodes[wanted]
            same = kind_of(taken) == what and not isinstance(taken, TableStore)
            again = "use that stream a second time, or " if same else ""
            self.mistake(
                where,
                f"{what} has the name of another stage",
                f"{wanted!r}, the name of the {kind_of(taken)} at {taken.where}",
                f"{again}say name= with a name of its own",
            )
        apart = salt or where
        while (free := told_apart(shortened(derived), apart)) in self.nodes:
            apart += "+"  # the same step of the same stream again: they are interchangeable
        return free

    def claim_store(self, store: StoreSpec) -> StoreSpec:
        """Report a store whose name another one has."""
        other = self._stores.setdefault(store.name, store)
        if other is not store:
            self.mistake(
                store.where,
                f"two stores would be named {store.name!r}",
                f"another one at {other.where}",
                "say name= with a name of its own",
            )
        return store

    def add(self, node: AnyNode) -> None:
        """Add a node behind its parents, or put a new version in its place."""
        self.nodes[node.name] = node

    def declare(self, topic: TopicSpec) -> TopicSpec:
        """Remember a topic; report one that is declared otherwise already."""
        found = self.topics.setdefault(topic.name, topic)
        if found is topic or _same_topic(found, topic):
            return found
        self.mistake(
            topic.where,
            f"topic {topic.name!r} is declared twice, and differently",
            f"{_declared(topic)}; at {found.where}: {_declared(found)}",
            "declare it once and use that topic",
        )
        return topic

    def source(self, topic: TopicSpec, key: object, value: object, where: str) -> str:
        """Return the name of the topic's one source node."""
        found = self.nodes.get(topic.name)
        if isinstance(found, Source):
            return found.name
        what = f"topic {topic.name!r}"
        name = topic.name if found is None else self.claim(topic.name, None, what, where)
        self.add(Source(name=name, key=key, value=value, where=where, topic=topic))
        return name

    def build(self, policy: Policy) -> Topology:
        """Freeze the program.

        Raises:
            TopologyError: with all mistakes, in the order of the source.
        """
        topology = Topology(
            self.application,
            dict(self.nodes),
            tuple(self.feeds.values()),
            policy,
            dict(self.global_tables),
            dict(self.topics),
        )
        mistakes = self._mistakes.copy()
        check_whole(topology, self._where, self.topics, mistakes)
        mistakes.tell()
        return topology


def _same_topic(one: TopicSpec, other: TopicSpec) -> bool:
    return _declared(one) == _declared(other) and one.timestamp == other.timestamp


def _declared(topic: TopicSpec) -> str:
    timestamp = "" if topic.timestamp is None else f", timestamp={touched(topic.timestamp)}"
    return (
        f"key={type_name(topic.key.type)}, value={type_name(topic.value.type)}, "
        f"partitions={topic.partitions}{timestamp}"
    )
