"""What a program's topics are to it, and which of them, and which parts, a replay reads.

A plan gives each topic its role; a ``Selection`` and a ``Span`` choose; what comes out is the
``Header`` that ``LogInputs`` reads by. Invariant: a topic that a stage reads is an input, also if
the program writes it too; lookup tables are taken whole, whatever the span.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from streamfn.connectors.log import Log
from streamfn.errors import ConfigError, LogError
from streamfn.graph.plan import Plan
from streamfn.graph.topology import TopicSpec
from streamfn.record import TopicPartition
from streamfn.replay.boundary import Boundary
from streamfn.replay.ranges import Bound, Ranges, Span, check_bounds, resolve
from streamfn.replay.recording import CUT_BY_TIME, Header, Range, RecordedTopic, Role
from streamfn.replay.sample import Keep, by_time
from streamfn.results import partitions_of

WRITTEN: Final = ("output", "dead_letters", "repartition")
"""What a program writes: roles whose records stand in the order in which tasks wrote them."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which topics; none named: those of the program."""

    topics: tuple[str, ...] = ()
    outputs: bool = True
    """Also what the program writes."""
    repartitions: bool | None = None
    """Also repartition topics; None: if all is read, and they still hold all."""


@dataclass(frozen=True, slots=True)
class Selected:
    """Topics with their roles and ranges, and what there is to say of the choice."""

    roles: dict[str, Role]
    ranges: Ranges
    notes: list[str] = field(default_factory=list[str])
    keep: dict[str, Keep] = field(default_factory=dict[str, Keep])
    """What thins out topics that do not stand in order of time."""

    @property
    def by_time(self) -> bool:
        """True if the span was bounded by times."""
        return bool(self.keep)


def roles_of(plan: Plan) -> dict[str, Role]:
    """Return what each topic of a program is to it, those that are read first."""
    sources = [source for sub in plan.subtopologies for source in sub.sources]
    internal = {topic.name: topic.purpose for topic in plan.internal_topics}
    found: dict[str, Role] = {}
    tables = [table.topic.name for table in plan.topology.global_tables.values()]
    found.update(dict.fromkeys(tables, "global_table"))
    for source in sources:
        if not source.internal:
            found.setdefault(source.topic.name, "input")
    found.update(
        dict.fromkeys((n for n in internal if internal[n] == "repartition"), "repartition")
    )
    for name in plan.known_topics:
        found.setdefault(name, "output")
    if plan.dead_letter_topic in internal:
        found[plan.dead_letter_topic] = "dead_letters"
    return found


def specs_of(plan: Plan) -> dict[str, TopicSpec]:
    """Return the topics of a program whose types it knows, repartition topics among them."""
    sources = [source.topic for sub in plan.subtopologies for source in sub.sources]
    return {**{topic.name: topic for topic in sources}, **plan.known_topics}


def select(
    log: Log,
    plan: Plan | None,
    selection: Selection,
    span: Span,
    now_ms: int,
    boundary: Boundary | None = None,
) -> Selected:
    """Choose topics and resolve their ranges.

    Raises:
        ConfigError: a topic does not exist or is none of the program's.
        LogError: a part of what was asked for is gone.
    """
    if boundary is not None:
        selection = replace(selection, repartitions=True)
    roles = _chosen(log, plan, selection)
    if boundary is not None:
        return _from_boundary(log, roles, span, now_ms, boundary)
    if selection.repartitions is None and not span.is_open:
        for name in [name for name, role in roles.items() if role == "repartition"]:
            del roles[name]
    selected = Selected(roles, {})
    whole = {name for name, role in roles.items() if role == "global_table"}
    for name, role in list(roles.items()):
        if role in WRITTEN and span.has_times:
            selected.ranges[name] = _by_time(log, name, span, now_ms, selected)
        elif role != "repartition" or selection.repartitions or not _trimmed(log, name, selected):
            selected.ranges.update(resolve(log, [name], span, now_ms, whole=whole))
        else:
            del roles[name]
    check_bounds(span, selected.ranges)
    return selected


def _by_time(log: Log, name: str, span: Span, now_ms: int, selected: Selected) -> dict[int, Range]:
    """Take what a program wrote by its times: it stands in the order in which tasks wrote it.

    So the topic is read to its end, and what is of another time left out.
    """
    if log.topics([name])[name].config.get("message.timestamp.type") == "LogAppendTime":
        selected.notes.append(f"{name} bears the times of writing; all of it is taken")
        return resolve(log, [name], replace(span, start=Bound(), end=Bound()), now_ms)[name]
    selected.keep[name] = by_time(span.start.time_ms, span.end.time_ms)
    return resolve(log, [name], replace(span, end=Bound()), now_ms)[name]


def _trimmed(log: Log, name: str, selected: Selected) -> bool:
    """Tell whether a repartition topic has lost its first records, and say so."""
    sources = partitions_of(log, name)
    begins = log.begin_offsets(sources)
    gone = next((source for source in sources if begins[source]), None)
    if gone is None:
        return False
    selected.notes.append(
        f"{name} is left out, as records 0 to {begins[gone]} of {gone} are trimmed; a replay makes "
        "it anew from the inputs"
    )
    return True


def _chosen(log: Log, plan: Plan | None, selection: Selection) -> dict[str, Role]:
    """The topics with their roles; of a program, those that exist, and all that it reads."""
    if plan is None:
        roles: dict[str, Role] = dict.fromkeys(selection.topics, "other")
        return roles
    known = roles_of(plan)
    for name in selection.topics:
        if name not in known:
            message = (
                f"topic {name!r} is not used by application {plan.application!r}; it has "
                f"{', '.join(known)}; name one of them, or leave --app out"
            )
            raise ConfigError(message)
    if selection.topics:
        return {name: known[name] for name in selection.topics}
    there = log.topic_names()
    unwanted = {"output", "dead_letters"} if not selection.outputs else set[str]()
    unwanted |= {"repartition"} if selection.repartitions is False else set()
    return {
        name: role
        for name, role in known.items()
        if role not in unwanted and (name in there or role == "input")
    }


def _from_boundary(
    log: Log, roles: Mapping[str, Role], span: Span, now_ms: int, boundary: Boundary
) -> Selected:
    """Have each task's input begin where its copied state stands, and outputs where they ended."""
    whole = {name for name, role in roles.items() if role == "global_table"}
    later = Span(end=span.end, partitions=span.partitions)
    ranges = resolve(log, roles, later, now_ms, whole=whole)
    starts = {**boundary.outputs, **boundary.starts}
    for name, parts in ranges.items():
        for number, part in parts.items():
            at = starts.get(TopicPartition(name, number))
            if at is None or roles[name] == "global_table":
                continue
            if at.start < part.start:
                message = (
                    f"records {at.start} to {part.start} of {TopicPartition(name, number)} are "
                    "gone since the state was copied; record again, and have the application "
                    "trim later: -o repartition_trim_interval_ms=3600000"
                )
                raise LogError(message)
            parts[number] = Range(at.start, max(at.start, part.end), at.stream_time_ms)
    return Selected(dict(roles), ranges)


def header_of(
    log: Log,
    selected: Selected,
    *,
    application: str,
    source: str,
    now_ms: int,
    plan: Plan | None = None,
    boundary: Boundary | None = None,
    sample: str = "",
) -> Header:
    """Describe what is going to be read."""
    infos = log.topics(selected.ranges)
    specs = {} if plan is None else specs_of(plan)
    topics: list[RecordedTopic] = []
    for name, ranges in selected.ranges.items():
        spec = specs.get(name)
        serdes = ("", "") if spec is None else (spec.key.name, spec.value.name)
        width, role = infos[name].partitions, selected.roles[name]
        topics.append(RecordedTopic(name, width, role, dict(ranges), *serdes))
    stores = () if boundary is None else boundary.stores
    return Header(
        application, now_ms, source, tuple(topics), stores, sample,
        note=CUT_BY_TIME if selected.by_time else "",
    )  # fmt: skip


def source_of(log: Log, broker: str) -> str:
    """Say which log it is."""
    return log.cluster_id if broker else f"embedded {log.cluster_id}"


def outputs_of(plan: Plan) -> Iterable[str]:
    """Return the topics that a program only writes."""
    return (name for name, role in roles_of(plan).items() if role in ("output", "dead_letters"))
