"""What a program's topics are to it, and which of them, and which parts, a replay reads.

A plan gives each topic its role; a ``Selection`` and a ``Span`` choose; what comes out is the
``Header`` that ``LogInputs`` reads by. Invariant: a topic that a stage reads is an input, also if
the program writes it too; lookup tables are taken whole, whatever the span.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from msgspec.structs import replace as changed

from streamfn.clock import SystemClock
from streamfn.connectors.log import Log
from streamfn.errors import ConfigError, LogError
from streamfn.graph.plan import Plan
from streamfn.graph.roots import repartition_topics
from streamfn.graph.topology import TopicSpec
from streamfn.record import TopicPartition
from streamfn.replay.boundary import Boundary
from streamfn.replay.ranges import Bound, Ranges, Span, check_bounds, resolve
from streamfn.replay.recording import (
    CUT_BY_OFFSET,
    CUT_BY_TIME,
    Header,
    Range,
    RecordedTopic,
    Role,
)
from streamfn.replay.sample import Keep, by_time
from streamfn.replay.standing import Standing, standing_of, unread
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
    note: str = ""
    """How the span was cut, for the header."""
    in_flight: int = 0
    """See the header."""


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
    to_the_end = span.end.is_open or (boundary is None and span.end.time_ms is not None)
    ends = Ends.asked(log, plan, roles) if to_the_end and span.partitions is None else Ends()
    if boundary is not None:
        return ends.told(_from_boundary(log, roles, span, now_ms, boundary), log, span)
    selected = _in_span(log, roles, selection, span, now_ms)
    for name in [name for name, role in roles.items() if role == "input" and selected.keep]:
        selected.ranges[name] = _with_late(log, name, selected.ranges[name], span)
    return ends.told(selected, log, span)


def _in_span(
    log: Log, roles: dict[str, Role], selection: Selection, span: Span, now_ms: int
) -> Selected:
    """Resolve the ranges of a span; repartition topics that have lost a part of it are left out."""
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
    from_ms, to_ms = span.start.time_ms, span.end.time_ms
    selected.keep[name] = by_time(from_ms, to_ms)
    ranges = resolve(log, [name], replace(span, end=Bound()), now_ms)[name]
    times = {"from_ms": -1 if from_ms is None else from_ms, "to_ms": -1 if to_ms is None else to_ms}
    return {number: changed(part, **times) for number, part in ranges.items()}


def _with_late(log: Log, name: str, ranges: dict[int, Range], span: Span) -> dict[int, Range]:
    """Look through what is behind a time for records of before: outputs of theirs are recorded."""
    from_ms, to_ms = span.start.time_ms, span.end.time_ms
    if to_ms is None:
        return ranges
    wanted, found = by_time(from_ms, to_ms), dict[int, Range]()
    ends = log.end_offsets([TopicPartition(name, number) for number in ranges])
    for number, part in ranges.items():
        source = TopicPartition(name, number)
        late = map(wanted, log.read(source, part.end, ends[source]))
        first_ms = min((min(batch.timestamps) for batch in late if len(batch)), default=to_ms)
        found[number] = changed(part, late_ms=first_ms)
    return found


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
    outputs = {source: Range(end, -1) for source, end in boundary.standing.before.items()}
    starts = {**outputs, **boundary.starts}
    for name, parts in ranges.items():
        for number, part in parts.items():
            source = TopicPartition(name, number)
            at = starts.get(source)
            if at is None or roles[name] == "global_table":
                continue
            if at.start < part.start:
                message = (
                    f"records {at.start} to {part.start} of {source} are gone since the state was "
                    "copied; record again, and have the application trim later: "
                    "-o repartition_trim_interval_ms=3600000"
                )
                raise LogError(message)
            found = Range(at.start, max(at.start, part.end), at.stream_time_ms)
            if source in boundary.standing.before:
                own_from, sure_from = (
                    max(at.start, ends[source])
                    for ends in (boundary.standing.before, boundary.standing.after)
                )
                found = changed(found, own_from=own_from, sure_from=sure_from)
            parts[number] = found
    return Selected(dict(roles), ranges)


@dataclass(frozen=True, slots=True)
class Ends:
    """What is known of the end of a recording: asked before its topics' ends are."""

    standing: Standing = field(default_factory=Standing)
    between: frozenset[str] = frozenset()
    """The repartition topics that are there."""
    note: str = ""

    @staticmethod
    def asked(log: Log, plan: Plan | None, roles: Mapping[str, Role]) -> "Ends":
        """Ask where the program stands, if what it writes is recorded."""
        if plan is None or not any(role in WRITTEN for role in roles.values()):
            return Ends()
        between = repartition_topics(plan.subtopologies) & log.topic_names()
        try:
            return Ends(standing_of(log, plan, SystemClock()), between)
        except LogError as error:
            if error.retriable:
                raise
            note = f"where {plan.application} stands cannot be asked ({error}); a comparison with "
            return Ends(note=f"{note}its real run may show rows at the end as missing or extra")

    def told(self, selected: Selected, log: Log, span: Span) -> Selected:
        """Say in the ranges what is known of their ends."""
        standing = self.standing
        for name, parts in selected.ranges.items():
            for number, part in parts.items():
                source, known = TopicPartition(name, number), dict[str, int]()
                if source in standing.before and span.end.is_open:
                    known["sure_to"] = max(part.start, standing.before[source])
                if source in standing.positions:
                    known["done"] = standing.positions[source].offset
                parts[number] = changed(part, **known)
        left_out = self.between - selected.ranges.keys()
        return replace(
            selected,
            notes=[*selected.notes, *([self.note] if self.note else [])],
            note=CUT_BY_TIME if selected.keep else CUT_BY_OFFSET if _cut(span) else "",
            in_flight=unread(log, standing, left_out, span.end.time_ms),
        )


def _cut(span: Span) -> bool:
    """True if offsets or partitions are chosen: nobody can tell which row is of which input."""
    bounds = span.start, span.end
    return span.partitions is not None or any(b.offset is not None or b.of for b in bounds)


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
        note=selected.note, in_flight=selected.in_flight,
    )  # fmt: skip


def source_of(log: Log, broker: str) -> str:
    """Say which log it is."""
    return log.cluster_id if broker else f"embedded {log.cluster_id}"
