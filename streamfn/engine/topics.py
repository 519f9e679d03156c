"""What must be true of the log before the first record.

Topics exist as planned, positions are known, nothing is left.

Internal topics are created and verified, the user's own are created on request. Invariant: start
positions are resolved once for each (application, source topic) and committed; afterwards a missing
or impossible position is an error, never a new start.
"""

import logging
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from streamfn.config import Config
from streamfn.connectors.log import Committed, Log, TopicInfo
from streamfn.errors import ConfigError, StopError
from streamfn.graph.plan import Plan
from streamfn.record import TopicPartition

log_ = logging.getLogger("streamfn")


def ensure_topics(plan: Plan, log: Log, config: Config, *, create_user_topics: bool) -> None:
    """Create what is missing, verify what is there.

    Raises:
        ConfigError: an internal topic with another partition count or policy, a missing user topic.
    """
    existing = log.topics()
    for topic in plan.internal_topics:
        settings = dict(topic.config)
        if settings.get("cleanup.policy") == "compact":
            settings["delete.retention.ms"] = str(config.delete_retention_ms)
        if topic.name in existing:
            _verify(existing[topic.name], topic.partitions, settings)
        else:
            log.create_topic(topic.name, topic.partitions, settings)
    missing = [name for name in plan.user_topics if name not in existing]
    if missing and not create_user_topics:
        message = (
            f"topics {', '.join(missing)} do not exist; create them with 'streamfn topics create', "
            "or run with --create-topics"
        )
        raise ConfigError(message)
    for name in missing:
        log.create_topic(name, plan.partitions[name], plan.user_topics[name].config)
    _check_orphans(plan, log, existing)


def _verify(found: TopicInfo, partitions: int, settings: Mapping[str, str]) -> None:
    if found.partitions != partitions:
        message = (
            f"internal topic {found.name!r} has {found.partitions} partitions; the topology needs "
            f"{partitions}; restore the old partition count, or drop it: streamfn reset"
        )
        raise ConfigError(message)
    for name in ("cleanup.policy", "retention.ms"):
        if name in settings and found.config.get(name) != settings[name]:
            message = (
                f"internal topic {found.name!r} would lose state; {name} is "
                f"{found.config.get(name)!r}; set it to {settings[name]!r}"
            )
            raise ConfigError(message)


def _check_orphans(plan: Plan, log: Log, existing: Iterable[str]) -> None:
    """A renamed repartition topic with unread records would lose them without a sound."""
    known = {topic.name for topic in plan.internal_topics}
    prefix, suffix = f"{plan.application}-", "-repartition"
    for name in existing:
        if name in known or not (name.startswith(prefix) and name.endswith(suffix)):
            continue
        partitions = log.topics()[name].partitions
        sources = [TopicPartition(name, partition) for partition in range(partitions)]
        committed, ends = log.committed(sources), log.end_offsets(sources)
        begins = log.begin_offsets(sources)
        unread = sum(
            ends[s] - (committed[s].offset if s in committed else begins[s]) for s in sources
        )
        if unread > 0:
            message = (
                f"internal topic {name!r} holds {unread} unread records; the topology does not "
                "know it; run the version that does until it is drained, or drop them: "
                f"streamfn reset --topic {name}"
            )
            raise ConfigError(message)


def start_positions(
    plan: Plan,
    sources: Iterable[TopicPartition],
    log: Log,
    config: Config,
    known: Iterable[str],
    resolved: Mapping[TopicPartition, Committed] = MappingProxyType({}),
) -> dict[TopicPartition, Committed]:
    """Return each source's committed position, or where it begins if it has never had one.

    Args:
        resolved: start positions that were resolved before and are not committed yet.
        plan: tells internal topics, which start at their beginning, from the user's.
        sources: the partitions of one task.
        log: asked for what is committed and what it still holds.
        config: ``start`` and ``on_gap``.
        known: topics that the task's store has read before: a missing position there is an error.

    Raises:
        StopError: a position is missing beside state, or points below what the log still has.
    """
    sources = list(sources)
    committed = {s: resolved[s] for s in sources if s in resolved} | log.committed(sources)
    begins, ends = log.begin_offsets(sources), log.end_offsets(sources)
    known = set(known)
    internal = {topic.name for topic in plan.internal_topics}
    for source in sources:
        if source not in committed:
            if source.topic in known:
                message = (
                    f"position of {source} is missing; the application's state has read it before; "
                    "restore the committed offsets, or start over: streamfn reset"
                )
                raise StopError(message)
            latest = config.start == "latest" and source.topic not in internal
            committed[source] = Committed((ends if latest else begins)[source], "")
        elif committed[source].offset < begins[source]:
            committed[source] = _gap(source, committed[source], begins[source], config)
    return committed


def _gap(source: TopicPartition, at: Committed, begin: int, config: Config) -> Committed:
    if config.on_gap == "skip":
        log_.warning("records %d to %d of %s are gone; skipped", at.offset, begin, source)
        return Committed(begin, at.metadata)
    message = (
        f"records {at.offset} to {begin} of {source} are gone; the log begins at {begin}; "
        "go on behind the gap with --on-gap skip, or start over: streamfn reset"
    )
    raise StopError(message)
