"""Compares the topics of a log with what a plan needs, and says what is wrong and how to mend it.

``ensure_topics`` refuses to start on an error that is found here, ``streamfn topics verify`` shows
all. Invariant: looking changes nothing; an error is what would lose, double or misplace records, a
warning what loses some of them under a condition, a hint what an operator may want otherwise.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Final, Literal

from streamfn.config import Config
from streamfn.connectors.log import Log, TopicInfo
from streamfn.graph.plan import InternalTopic, Plan
from streamfn.graph.rights import token_topic_of
from streamfn.graph.topology import Function, Sink, Source
from streamfn.record import Batch, TopicPartition

log_ = logging.getLogger("streamfn")

Kind = Literal[
    "missing", "rights", "partitions", "policy", "retention", "replicas", "unknown", "unreadable"
]
Severity = Literal["error", "warning", "hint"]

NOTHING_CAME_MAX: Final = 250
"""So many empty reads (of 20 ms each, on a Kafka), and a partition's first record is not known."""
NEEDED: Final = {
    "changelog": ("READ", "WRITE"),
    "repartition": ("READ", "WRITE"),
    "position": ("READ", "WRITE"),
    "dead letters": ("WRITE",),
}
DAY_MS: Final = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class TopicProblem:
    """What is not as it should be with one topic; ``wrong`` names the topic, ``got`` compares."""

    kind: Kind
    topic: str
    wrong: str
    got: str
    cure: str
    severity: Severity = "error"

    def __str__(self) -> str:
        return f"{self.wrong}; {self.got}; {self.cure}"


def problems(plan: Plan, log: Log, config: Config) -> list[TopicProblem]:
    """Return what is missing or wrong with the topics of a plan; internal ones come first.

    A missing internal topic is a problem here, also where a run would create it.
    """
    internal = internal_topics(plan, config)
    found = log.topics([*(topic.name for topic in internal), *plan.user_topics])
    made: list[TopicProblem] = []
    for topic in internal:
        made += _of_internal(topic, found.get(topic.name), plan, config)
    made += [_missing(name, "topic", plan) for name in plan.user_topics if name not in found]
    return made


def internal_topics(plan: Plan, config: Config) -> list[InternalTopic]:
    """The internal topics with all settings that they are created with; on Kafka also the tokens'.

    Tombstones of a changelog stay until no store can be away any longer without a full restore.
    """
    kept = {"delete.retention.ms": str(config.delete_retention_ms)}
    topics = [
        InternalTopic(t.name, t.partitions, {**t.config, **kept}, t.purpose)
        if t.config.get("cleanup.policy") == "compact"
        else t
        for t in plan.internal_topics
    ]
    return [*topics, *([token_topic_of(plan)] if config.broker else [])]


def _missing(name: str, what: str, plan: Plan) -> TopicProblem:
    cure = "create it: streamfn topics create"
    if name in plan.user_topics:
        cure += ", or run with --create-topics"
    return TopicProblem("missing", name, f"{what} {name!r} does not exist", "got none", cure)


def _of_internal(
    topic: InternalTopic, found: TopicInfo | None, plan: Plan, config: Config
) -> list[TopicProblem]:
    if found is None:
        return [_missing(topic.name, "internal topic", plan)]
    made = [*_of_partitions(topic, found), *_of_rights(topic, found)]
    if config.broker and topic.config and not found.config:
        wrong = f"internal topic {topic.name!r} cannot be checked"
        cure = "give the right DescribeConfigs: streamfn acls lists all rights"
        return [
            *made,
            TopicProblem("unreadable", topic.name, wrong, "got no settings", cure, "warning"),
        ]
    return [*made, *_of_settings(topic, found.config)]


def _of_rights(topic: InternalTopic, found: TopicInfo) -> list[TopicProblem]:
    """A right that is missing would look like a mistake of each record that needs it."""
    needed = NEEDED.get(topic.purpose, ())
    missing = [right for right in needed if found.may is not None and right not in found.may]
    if not missing:
        return []
    wrong = f"internal topic {topic.name!r} cannot be used"
    got = f"got no right to {' and '.join(right.capitalize() for right in missing)} it"
    cure = "grant it: streamfn acls prints how"
    return [TopicProblem("rights", topic.name, wrong, got, cure)]


def _of_partitions(topic: InternalTopic, found: TopicInfo) -> list[TopicProblem]:
    """Tokens that are left over stand for nothing; any other width puts keys elsewhere."""
    fits = found.partitions == topic.partitions
    if fits or (topic.purpose == "tokens" and found.partitions > topic.partitions):
        return []
    cure = "restore the old partition count, or drop it: streamfn reset"
    if topic.purpose == "tokens":
        cure = f"add partitions up to {topic.partitions} with kafka-topics.sh --alter"
    wrong = f"internal topic {topic.name!r} has {_counted(found.partitions)}"
    needed = f"the topology needs {topic.partitions}"
    return [TopicProblem("partitions", topic.name, wrong, needed, cure)]


def _of_settings(topic: InternalTopic, found: Mapping[str, str]) -> Iterator[TopicProblem]:
    policy = topic.config.get("cleanup.policy", "delete")
    got = found.get("cleanup.policy", "delete")
    if topic.config and set(got.split(",")) != {policy}:
        loses = "state" if policy == "compact" else "unread records"
        wrong = f"internal topic {topic.name!r} would lose {loses}"
        yield _setting(topic.name, "policy", wrong, "cleanup.policy", got, policy)
        return
    wrong = f"internal topic {topic.name!r} would lose unread records"
    for name in ("retention.ms", "retention.bytes") if topic.config and policy == "delete" else ():
        got = found.get(name, "-1")
        if got != "-1":
            yield _setting(topic.name, "retention", wrong, name, got, "-1")
    needed, kept = topic.config.get("delete.retention.ms"), found.get("delete.retention.ms")
    if needed and kept and int(kept) < int(needed):
        wrong = f"internal topic {topic.name!r} would bring deleted keys back"
        yield _setting(topic.name, "retention", wrong, "delete.retention.ms", kept, needed)


def _setting(topic: str, kind: Kind, wrong: str, name: str, got: str, needed: str) -> TopicProblem:
    cure = f"set it: {alter(topic, name, needed)}"
    return TopicProblem(kind, topic, wrong, f"got {name}={got}", cure)


def alter(topic: str, name: str, value: str) -> str:
    """The command that sets a topic's setting; it asks for an address as well."""
    return (
        f"kafka-configs.sh --alter --entity-type topics --entity-name {topic} "
        f"--add-config {name}={value}"
    )


def retention_warnings(plan: Plan, log: Log, now_ms: int) -> list[TopicProblem]:
    """Warn of outputs that a broker deletes while they are read, as their input is older."""
    return kept_too_short(log, _read(plan), _written(plan), now_ms)


class RetentionWatch:
    """Warns at the first records of each input if an output does not keep records of that age."""

    def __init__(self, plan: Plan, log: Log) -> None:
        self._limits = _limits(log.topics(_written(plan)).values())
        self._seen: set[TopicPartition] = set()

    def look(self, batch: Batch, now_ms: int) -> None:
        """Look at the first record that comes of a source."""
        if not self._limits or batch.source in self._seen:
            return
        self._seen.add(batch.source)
        timestamp_ms = batch.timestamps[0]
        for name, kept_ms in list(self._limits.items()):
            if now_ms - timestamp_ms > kept_ms:
                del self._limits[name]
                log_.warning("%s", _too_short(name, kept_ms, timestamp_ms, batch.source.topic))


def kept_too_short(
    log: Log, read: Iterable[str], written: Iterable[str], now_ms: int
) -> list[TopicProblem]:
    """Warn of topics that are written with the timestamps of others and do not keep them so long.

    A broker goes by the timestamps of records: what is older than the retention of its topic is
    deleted as soon as it is written (design §3.7).
    """
    limits = _limits(log.topics(written).values())
    oldest = oldest_timestamp(log, read) if limits else None
    if oldest is None:
        return []
    timestamp_ms, source = oldest
    return [
        _too_short(name, kept_ms, timestamp_ms, source)
        for name, kept_ms in sorted(limits.items())
        if now_ms - timestamp_ms > kept_ms
    ]


def _too_short(name: str, kept_ms: int, timestamp_ms: int, source: str) -> TopicProblem:
    day = f"{datetime.fromtimestamp(timestamp_ms / 1000, UTC):%Y-%m-%d}"
    return TopicProblem(
        "retention",
        name,
        f"topic {name!r} keeps records for {kept_ms / DAY_MS:.3g} days only",
        f"got records of {day} in {source!r}, which the broker deletes as soon as they get there",
        f"keep them: {alter(name, 'retention.ms', '-1')}",
        "warning",
    )


def _limits(topics: Iterable[TopicInfo]) -> dict[str, int]:
    """How long topics keep records, of those that delete them by their own timestamps."""
    found: dict[str, int] = {}
    for topic in topics:
        kept_ms = int(topic.config.get("retention.ms", "-1"))
        deletes = "delete" in topic.config.get("cleanup.policy", "delete")
        by_append = topic.config.get("message.timestamp.type") == "LogAppendTime"
        if kept_ms >= 0 and deletes and not by_append:
            found[topic.name] = kept_ms
    return found


def oldest_timestamp(log: Log, topics: Iterable[str]) -> tuple[int, str] | None:
    """Return the earliest timestamp among the first records of topics, and its topic."""
    firsts: list[tuple[int, str]] = []
    for info in log.topics(topics).values():
        sources = [TopicPartition(info.name, number) for number in range(info.partitions)]
        begins, ends = log.begin_offsets(sources), log.end_offsets(sources)
        for source in sources:
            first = _first_timestamp(log, source, begins[source], ends[source])
            firsts += [] if first is None else [(first, info.name)]
    return min(firsts, default=None)


def _first_timestamp(log: Log, source: TopicPartition, begin: int, end: int) -> int | None:
    if begin >= end:
        return None
    for batch in islice(log.read(source, begin, end), NOTHING_CAME_MAX):
        if len(batch):
            return batch.timestamps[0]
    return None  # there is none, or it is behind an open transaction


def _read(plan: Plan) -> list[str]:
    nodes = plan.topology.nodes.values()
    return [node.topic.name for node in nodes if isinstance(node, Source)]


def _written(plan: Plan) -> list[str]:
    nodes = plan.topology.nodes.values()
    names = [topic.name for node in nodes if isinstance(node, Sink) for topic in node.topics]
    names += [topic.name for node in nodes if isinstance(node, Function) for topic in node.sinks]
    return [*dict.fromkeys(names)]


def _counted(number: int) -> str:
    return f"{number} partition{'s' if number != 1 else ''}"
