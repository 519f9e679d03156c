"""What a plan is, told to people and tools: facts as plain data, and a text made of them.

A ``Plan`` comes from ``graph.plan`` and goes, as a ``Description``, to ``streamfn describe``.
Invariant: names in a description are the names in the log, in the state folder and in errors; its
fields are only ever added to, as tools read them (``--json``):

    application, on_error, retries, retry_backoff_ms
    subtopologies   name, tasks, stages, stores
        stages      name, kind, parents, key, value, where, topics (read or written), stores,
                    timers, on_error, retries
        timers      name, interval_ms, clock, where
        stores      name, kind, key, value, changelog, where
    topics          name, purpose, partitions, key, value, config, where
    feeds           name, topic, where
    global_tables   name, topic, key, value, where
    version         of the code: twelve digits that change when its answers may
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from streamfn.graph.checks import kind_of
from streamfn.graph.plan import Plan, Subtopology
from streamfn.graph.topology import AnyNode, Function, Sink, Source, Timer
from streamfn.graph.version import code_version
from streamfn.serde import type_name

LEFT_COLUMNS_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class TimerFacts:
    """A timer of a function."""

    name: str
    interval_ms: int
    clock: str
    where: str


@dataclass(frozen=True, slots=True)
class StageFacts:
    """A node; ``topics`` are those that a source reads, or that a sink or function writes."""

    name: str
    kind: str
    parents: tuple[str, ...]
    key: str
    value: str
    where: str
    topics: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()
    timers: tuple[TimerFacts, ...] = ()
    on_error: str | None = None
    retries: int | None = None


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """A store and its changelog topic."""

    name: str
    kind: str
    key: str
    value: str
    changelog: str
    where: str


@dataclass(frozen=True, slots=True)
class SubtopologyFacts:
    """A connected part of the program."""

    name: str
    tasks: tuple[str, ...]
    stages: tuple[StageFacts, ...]
    stores: tuple[StoreFacts, ...]


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic; ``purpose``: source, sink, both or feed, or what the engine needs it for."""

    name: str
    purpose: str
    partitions: int
    key: str
    value: str
    config: Mapping[str, str]
    where: str


@dataclass(frozen=True, slots=True)
class FeedFacts:
    """A source outside the log."""

    name: str
    topic: str
    where: str


@dataclass(frozen=True, slots=True)
class GlobalTableFacts:
    """A table that every worker has as a whole; it needs no changelog."""

    name: str
    topic: str
    key: str
    value: str
    where: str


@dataclass(frozen=True, slots=True)
class Description:
    """A whole plan."""

    application: str
    on_error: str
    retries: int
    retry_backoff_ms: int
    subtopologies: tuple[SubtopologyFacts, ...]
    topics: tuple[TopicFacts, ...]
    feeds: tuple[FeedFacts, ...]
    global_tables: tuple[GlobalTableFacts, ...] = ()
    version: str = ""


def describe(plan: Plan) -> Description:
    """Collect the facts of a plan."""
    policy = plan.topology.policy
    return Description(
        plan.application,
        policy.on_error or "fail",
        policy.retries or 0,
        policy.retry_backoff_ms or 0,
        tuple(_subtopology(plan, sub) for sub in plan.subtopologies),
        tuple(_topics(plan)),
        tuple(FeedFacts(f.name, f.topic.name, f.where) for f in plan.topology.feeds),
        tuple(
            GlobalTableFacts(
                name, t.topic.name, type_name(t.store.key), type_name(t.store.value), t.where
            )
            for name, t in plan.topology.global_tables.items()
        ),
        code_version(plan.topology),
    )


def _subtopology(plan: Plan, sub: Subtopology) -> SubtopologyFacts:
    stores = tuple(
        StoreFacts(
            s.name, s.kind, type_name(s.key), type_name(s.value), plan.changelog(s.name), s.where
        )
        for s in sub.stores.values()
    )
    tasks = tuple(f"{sub.name}_{index}" for index in range(sub.partitions))
    return SubtopologyFacts(
        sub.name, tasks, tuple(_stage(node) for node in sub.nodes.values()), stores
    )


def _stage(node: AnyNode) -> StageFacts:
    function = node if isinstance(node, Function) else None
    return StageFacts(
        node.name,
        kind_of(node),
        node.parents,
        type_name(node.key),
        type_name(node.value),
        node.where,
        tuple(_topics_of(node)),
        tuple(store.name for store in node.stores),
        tuple(_timer(timer) for timer in function.timers) if function else (),
        function.policy.on_error if function else None,
        function.policy.retries if function else None,
    )


def _timer(timer: Timer) -> TimerFacts:
    return TimerFacts(timer.name, timer.interval_ms, timer.clock, timer.where)


def _topics_of(node: AnyNode) -> Iterator[str]:
    """The topics that a node reads or writes."""
    if isinstance(node, Source):
        yield node.topic.name
    elif isinstance(node, Sink):
        yield from (topic.name for topic in node.topics)
    elif isinstance(node, Function):
        yield from (topic.name for topic in node.sinks)


def topic_purposes(plan: Plan) -> dict[str, str]:
    """Say what each topic is for: the user's own first, then the internal ones."""
    nodes = plan.topology.nodes.values()
    read = {name for n in nodes if isinstance(n, Source) for name in _topics_of(n)}
    written = {name for n in nodes if not isinstance(n, Source) for name in _topics_of(n)}
    found = dict.fromkeys(plan.user_topics, "feed")
    tables = plan.topology.global_tables.values()
    found.update(dict.fromkeys((table.topic.name for table in tables), "global table"))
    found.update(dict.fromkeys(read, "source"))
    found.update(dict.fromkeys(written, "sink"))
    found.update(dict.fromkeys(read & written, "source and sink"))
    found.update({topic.name: topic.purpose for topic in plan.internal_topics})
    return found


def _topics(plan: Plan) -> Iterator[TopicFacts]:
    purposes = topic_purposes(plan)
    for name, spec in plan.user_topics.items():
        if name not in {topic.name for topic in plan.internal_topics}:
            types = type_name(spec.key.type), type_name(spec.value.type)
            yield TopicFacts(
                name, purposes[name], plan.partitions[name], *types, spec.config, spec.where
            )
    for topic in plan.internal_topics:
        key, value = _internal_types(plan, topic.name)
        yield TopicFacts(topic.name, topic.purpose, topic.partitions, key, value, topic.config, "")


def _internal_types(plan: Plan, name: str) -> tuple[str, str]:
    """The types of a repartition topic or changelog; of others, bytes."""
    for sub in plan.subtopologies:
        for source in sub.sources:
            if source.topic.name == name:
                return type_name(source.topic.key.type), type_name(source.topic.value.type)
        for store in sub.stores.values():
            if plan.changelog(store.name) == name:
                return type_name(store.key), type_name(store.value)
    return "bytes", "bytes"


# text
def to_text(facts: Description) -> str:
    """Write a description for people: a tree a sub-topology, then stores and topics."""
    lines = [_title(facts), f"code version {facts.version}"]
    for feed in facts.feeds:
        lines.append(f"feed {feed.name} → topic {feed.topic}  {feed.where}")
    for table in facts.global_tables:
        types = f"{table.key} → {table.value}"
        lines.append(f"global table {table.name} of topic {table.topic}: {types}  {table.where}")
    for sub in facts.subtopologies:
        lines += ["", _heading(sub)]
        lines += aligned([(name, what, where) for name, what, where in _tree(sub)], "  ")
    stores = [
        (s.name, f"{s.kind}: {s.key} → {s.value}", s.changelog, s.where)
        for sub in facts.subtopologies
        for s in sub.stores
    ]
    lines += ["", "stores", *aligned(stores, "  ")] if stores else []
    topics = [
        (
            t.name,
            f"{t.key} → {t.value}",
            f"{counted(t.partitions, 'partition')}",
            t.purpose,
            t.where,
        )
        for t in facts.topics
    ]
    lines += ["", "topics", *aligned(topics, "  ")] if topics else []
    return "\n".join(lines)


def counted(number: int, noun: str) -> str:
    """Write a number with its noun.

    >>> counted(1, "task"), counted(1234, "task")
    ('1 task', '1,234 tasks')
    """
    many = f"{noun[:-1]}ies" if noun[-1] == "y" and noun[-2] not in "aeiou" else f"{noun}s"
    return f"{number:,} {noun if number == 1 else many}"


def aligned(rows: Sequence[tuple[str, ...]], indent: str = "") -> list[str]:
    """Pad the cells of rows so that columns stand below each other; long cells push on."""
    widths = [
        max(min(len(cell), LEFT_COLUMNS_MAX) for cell in column)
        for column in zip(*rows, strict=True)
    ]
    return [
        (indent + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]


def _title(facts: Description) -> str:
    tasks = sum(len(sub.tasks) for sub in facts.subtopologies)
    tries = f" after {counted(facts.retries, 'try')}" if facts.retries else ""
    parts = counted(len(facts.subtopologies), "sub-topology")
    return (
        f"application {facts.application}: {parts}, {counted(tasks, 'task')}; "
        f"a record that fails: {facts.on_error}{tries}"
    )


def _heading(sub: SubtopologyFacts) -> str:
    names = " … ".join(dict.fromkeys((sub.tasks[0], sub.tasks[-1])))
    return f"sub-topology {sub.name}: {counted(len(sub.tasks), 'task')} ({names})"


def _tree(sub: SubtopologyFacts) -> Iterator[tuple[str, str, str]]:
    """Yield (indented name, what it is, where) of all stages, depth first, each once."""
    shown: set[str] = set()

    def walk(stage: StageFacts, lead: str, under: str) -> Iterator[tuple[str, str, str]]:
        if stage.name in shown:
            yield f"{lead}{stage.name}", "(above)", ""
            return
        shown.add(stage.name)
        yield f"{lead}{stage.name}", _what(stage), stage.where
        details = list(_details(stage))
        children = [child for child in sub.stages if stage.name in child.parents]
        for index, (name, what, where) in enumerate(details):
            last = index == len(details) - 1 and not children
            yield f"{under}{'└╴ ' if last else '├╴ '}{name}", what, where
        for index, child in enumerate(children):
            last = index == len(children) - 1
            yield from walk(
                child, f"{under}{'└─ ' if last else '├─ '}", f"{under}{'   ' if last else '│  '}"
            )

    for stage in sub.stages:
        if not stage.parents:
            yield from walk(stage, "", "")


def _what(stage: StageFacts) -> str:
    """Say what a stage is and what it hands on."""
    kind = stage.kind
    if kind == "sink":
        return f"to topic {', '.join(stage.topics) or 'chosen for each record'}"
    if kind == "source" and stage.topics != (stage.name,):
        kind = f"source of topic {', '.join(stage.topics)}"
    says = f", on_error={stage.on_error}" if stage.on_error else ""
    says += f", retries={stage.retries}" if stage.retries else ""
    return f"{kind}: {stage.key} → {stage.value}{says}"


def _details(stage: StageFacts) -> Iterator[tuple[str, str, str]]:
    """Yield what hangs on a function: stores, timers, topics."""
    for store in stage.stores:
        if store != stage.name:
            yield store, "store", ""
    for timer in stage.timers:
        yield timer.name, f"every {timer.interval_ms / 1000:g} s of {timer.clock} time", timer.where
    for topic in stage.topics if stage.kind == "function" else ():
        yield topic, "to topic", ""
