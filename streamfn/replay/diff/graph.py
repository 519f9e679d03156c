"""A program as a comparison needs it: its stages, what feeds them, what they write and keep.

Facts come from a ``Plan``, in a child process, and go as plain data to whoever compares. Invariant:
a stage's parents go through repartitions and through topics that the program writes and reads, so
that what is upstream of a stage is all that can have reached it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from streamfn.errors import SerdeError
from streamfn.graph.operators import ToStream
from streamfn.graph.plan import Plan, Subtopology
from streamfn.graph.topology import AnyNode, Branch, Function, Merge, Sink, Source, Split, TopicSpec
from streamfn.replay.diff.fields import read_json, read_text
from streamfn.replay.taps import PREFIX as TAP
from streamfn.replay.taps import SHOWN
from streamfn.serde import Serde
from streamfn.serde.hooks import encode_hook
from streamfn.serde.ready import BYTES, STRING

Reading: TypeAlias = Literal["json", "text", "own"]
"""How bytes are shown: ``own`` are those of a serde that only the program has."""


class Stage(msgspec.Struct, frozen=True):
    """A stage; ``writes`` are topics, ``remembers`` is true if what it does depends on the past."""

    name: str
    parents: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    reads: str = ""
    stores: tuple[str, ...] = ()
    remembers: bool = False
    passes: bool = False
    """It only hands on what it gets: a source, a sink, a branch, a merge."""
    by_wall_clock: bool = False
    """It has timers of the wall clock, which a replay fires by the records' time."""


class Written(msgspec.Struct, frozen=True):
    """A topic that is written: how it is read, and how its rows can be compared with a real run."""

    key: Reading = "json"
    value: Reading = "json"
    ordered: bool = False
    """One task writes each partition, in the order of one input."""
    mixed: bool = False
    """Several tasks write rows of one key, in an order that nobody knows."""
    inputs: tuple[str, ...] = ()
    """The topics whose order decides that of its rows."""
    internal: bool = False


class Graph(msgspec.Struct, frozen=True):
    """A whole program; stages stand behind their parents."""

    application: str
    stages: tuple[Stage, ...]
    topics: dict[str, Written]
    dead_letters: str
    stores: tuple[str, ...] = ()

    @property
    def seen(self) -> tuple[str, ...]:
        """The stages that have a tap."""
        taps = [topic for topic in self.topics if topic.startswith(TAP)]
        makers = {name for topic in taps for name in self.writers(topic)}
        return tuple(stage.name for stage in self.stages if stage.name in makers)

    @property
    def timed(self) -> tuple[str, ...]:
        """The taps of sources that read times from values: they tell the order of a replay."""
        return tuple(f"{TAP}{s.name}" for s in self.stages if s.reads and s.name in self.seen)

    def writers(self, topic: str) -> tuple[str, ...]:
        """The stages that made what is in a topic, as far as the program says."""
        found = tuple(stage.name for stage in self.stages if topic in stage.writes)
        return found or ((topic.removeprefix(TAP),) if topic.startswith(TAP) else ())

    def owner(self, store: str) -> str:
        """The stage that keeps a store; others may look into it."""
        return owner_of(store, self.stages)


def owner_of(store: str, stages: Iterable[Stage]) -> str:
    """The stage that a store is named after, else the first that has it."""
    having = [stage.name for stage in stages if store in stage.stores]
    named = (name for name in having if store == name or store.startswith(f"{name}-"))
    return next(named, having[0] if having else store)


def graph_of(plan: Plan) -> Graph:
    """Collect the facts of a plan."""
    nodes = {name: (node, sub) for sub in plan.subtopologies for name, node in sub.nodes.items()}
    makers = {name: _maker(node, nodes) for name, (node, _) in nodes.items()}
    writers: defaultdict[str, list[str]] = defaultdict(list)
    for name, (node, _) in nodes.items():
        for topic in _written(node):
            writers[topic.name].append(makers[name])
    stages = [
        _stage(node, makers, writers) for name, (node, _) in nodes.items() if makers[name] == name
    ]
    stages = [_with_owners(stage, stages) for stage in stages]
    internal = {topic.name for topic in plan.internal_topics}
    topics = {
        spec.name: _topic(spec, sub, node, plan, internal)
        for node, sub in nodes.values()
        for spec in _written(node)
    }
    return Graph(
        plan.application,
        _sorted([_with_writes(stage, writers) for stage in stages]),
        topics,
        plan.dead_letter_topic,
        tuple(plan.topology.stores),
    )


def _written(node: AnyNode) -> tuple[TopicSpec, ...]:
    if isinstance(node, Sink):
        return node.topics
    return node.sinks if isinstance(node, Function) else ()


def _maker(node: AnyNode, nodes: Mapping[str, tuple[AnyNode, Subtopology]]) -> str:
    """Who made what a node hands on: of a plain sink, or a table made a stream, its parent."""
    while len(node.parents) == 1 and (
        isinstance(node, ToStream) or (isinstance(node, Sink) and node.choose is None)
    ):
        node = nodes[node.parents[0]][0]
    return node.name


def _stage(node: AnyNode, makers: Mapping[str, str], writers: Mapping[str, list[str]]) -> Stage:
    parents = [makers[parent] for parent in node.parents]
    reads = ""
    if isinstance(node, Source):
        reads = node.topic.name
        parents += writers.get(reads, [])
    return Stage(
        node.name,
        tuple(dict.fromkeys(parents)),
        reads=reads,
        stores=tuple(store.name for store in node.stores),
        remembers=bool(node.stores) or (isinstance(node, Function) and bool(node.timers)),
        passes=isinstance(node, Source | Sink | Split | Branch | Merge),
        by_wall_clock=isinstance(node, Function) and any(t.clock == "wall" for t in node.timers),
    )


def _with_owners(stage: Stage, stages: list[Stage]) -> Stage:
    """Whoever looks into another's store is behind it."""
    owners = [owner_of(store, stages) for store in stage.stores]
    others = [name for name in owners if name != stage.name]
    return msgspec.structs.replace(stage, parents=_union(stage.parents, others))


def _with_writes(stage: Stage, writers: Mapping[str, list[str]]) -> Stage:
    writes = tuple(topic for topic, names in writers.items() if stage.name in names)
    return msgspec.structs.replace(stage, writes=writes)


def _sorted(stages: list[Stage]) -> tuple[Stage, ...]:
    """Put parents first; in a ring, whoever was declared first."""
    found: dict[str, Stage] = {}
    waiting = {stage.name: stage for stage in stages}
    while waiting:
        ready = [s for s in waiting.values() if not any(p in waiting for p in s.parents)]
        for stage in ready or [next(iter(waiting.values()))]:
            found[stage.name] = waiting.pop(stage.name)
    return tuple(found.values())


def _topic(
    spec: TopicSpec, sub: Subtopology, node: AnyNode, plan: Plan, internal: set[str]
) -> Written:
    inputs = tuple(sorted(source.topic.name for source in sub.sources))
    writers = sum(
        spec.name == other.name
        for s in plan.subtopologies
        for n in s.nodes.values()
        for other in _written(n)
    )
    width = plan.partitions.get(spec.name, 1)
    changes = _changes_key(sub, node)
    keeps = width == sub.partitions and not changes
    ordered = writers == 1 and len(inputs) == 1 and (sub.partitions == 1 or keeps)
    mixed = writers > 1 or (changes and sub.partitions > 1)
    return Written(
        reading_of(spec.key), reading_of(spec.value), ordered, mixed, inputs,
        spec.name in internal,
    )  # fmt: skip


def _changes_key(sub: Subtopology, node: AnyNode) -> bool:
    """Tell whether a row's key may be another than that of the record that was read."""
    waiting, seen = [node.name], set[str]()
    while waiting:
        at = sub.nodes.get(waiting.pop())
        if at is None or at.name in seen:
            continue
        if at.changes_key or (isinstance(at, Function) and at.outgoing):
            return True
        seen.add(at.name)
        waiting += at.parents
    return False


def merged(expected: Graph, actual: Graph) -> Graph:
    """Put two versions together: each stage with the parents of both."""
    stages = {stage.name: stage for stage in expected.stages}
    for stage in actual.stages:
        before = stages.get(stage.name, stage)
        stages[stage.name] = msgspec.structs.replace(
            stage,
            parents=_union(before.parents, stage.parents),
            writes=_union(before.writes, stage.writes),
            stores=_union(before.stores, stage.stores),
            remembers=before.remembers or stage.remembers,
            passes=before.passes and stage.passes,
        )
    return Graph(
        actual.application,
        _sorted(list(stages.values())),
        {**expected.topics, **actual.topics},
        actual.dead_letters,
        _union(expected.stores, actual.stores),
    )


def _union(one: Iterable[str], other: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*one, *other]))


# bytes as people see them
def reading_of(serde: Serde[Any]) -> Reading:
    """Tell how the bytes of a serde can be read without it."""
    if serde is SHOWN or serde.name.startswith("json["):
        return "json"
    return "text" if serde is STRING or serde is BYTES else "own"


def readers() -> dict[Reading, Callable[[bytes], Any]]:
    """How each kind of bytes is read."""
    return {"json": read_json, "text": read_text, "own": read_json}


def translations(plan: Plan) -> dict[str, tuple[Serde[Any] | None, Serde[Any] | None]]:
    """The serdes of topics, of key and value, whose bytes nobody else can read."""
    specs = [spec for s in plan.subtopologies for n in s.nodes.values() for spec in _written(n)]
    found = {
        spec.name: (
            spec.key if reading_of(spec.key) == "own" else None,
            spec.value if reading_of(spec.value) == "own" else None,
        )
        for spec in specs
    }
    return {name: serdes for name, serdes in found.items() if any(serdes)}


def translated(column: list[bytes | None], serde: Serde[Any] | None) -> list[bytes | None]:
    """Write bytes of a program's own serde as JSON; what does not decode stays as it is."""
    if serde is None:
        return column
    return [raw if raw is None else _as_json(raw, serde) for raw in column]


def _as_json(raw: bytes, serde: Serde[Any]) -> bytes:
    try:
        value = serde.decode(raw)
    except Exception:  # a serde may be a user's own and raise what it likes; bytes can be compared
        return raw
    return as_json(value)


def as_json(value: object) -> bytes:
    """Write any value as JSON that is the same for the same value."""
    try:
        return msgspec.json.encode(value, enc_hook=encode_hook, order="deterministic")
    except (TypeError, ValueError, msgspec.MsgspecError, SerdeError):
        return msgspec.json.encode(repr(value))
