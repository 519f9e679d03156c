"""What must be true of the log before the first record.

Topics exist as planned, nothing is left unread in one that the topology has forgotten.

Internal topics are created and verified, the user's own are created on request. Invariant: nothing
is created for a start that is refused for what it may not create.
"""

import logging
from collections.abc import Mapping

from streamfn.config import Config
from streamfn.connectors.log import Log, TopicInfo
from streamfn.engine.topic_check import TopicProblem, internal_topics, problems
from streamfn.errors import ConfigError
from streamfn.graph.plan import Plan, topics_of
from streamfn.graph.rights import token_topic
from streamfn.graph.topology import Topology
from streamfn.record import TopicPartition

log_ = logging.getLogger("streamfn")


def existing_partitions(topology: Topology, log: Log) -> dict[str, int]:
    """Partition counts of the topics that a plan is made from, as far as the log has them."""
    found = log.topics(topics_of(topology))
    return {name: topic.partitions for name, topic in found.items()}


def ensure_topics(plan: Plan, log: Log, config: Config, *, create_user_topics: bool) -> None:
    """Create what is missing, verify what is there.

    Raises:
        ConfigError: an internal topic with another partition count or policy, a missing user topic.
    """
    internal = [t for t in internal_topics(plan, config) if t.purpose != "tokens"]
    existing = log.topics({*plan.user_topics, *(topic.name for topic in internal)})
    _check_creatable(plan, existing, config)
    _check_settings(plan, log, config)
    missing = [name for name in plan.user_topics if name not in existing]
    if missing and not create_user_topics:
        message = (
            f"topics {', '.join(missing)} do not exist; create them with 'streamfn topics create', "
            "or run with --create-topics"
        )
        raise ConfigError(message)
    for topic in internal:
        if topic.name not in existing:
            log.create_topic(topic.name, topic.partitions, topic.config)
    for problem in _check_settings(plan, log, config):
        log_.warning("%s", problem)
    for name in missing:
        log.create_topic(name, plan.partitions[name], plan.user_topics[name].config)
    _check_orphans(plan, log)


def _check_settings(plan: Plan, log: Log, config: Config) -> list[TopicProblem]:
    """Refuse internal topics that would lose or misplace records; return what may be wrong.

    What is missing is made next, and the token topic is made and grown by who joins.
    """
    tokens = token_topic(plan.application)
    found = [p for p in problems(plan, log, config) if p.kind != "missing" and p.topic != tokens]
    errors = [str(problem) for problem in found if problem.severity == "error"]
    if errors:
        raise ConfigError("\n".join(errors))
    return [problem for problem in found if problem.severity == "warning"]


def _check_creatable(plan: Plan, existing: Mapping[str, TopicInfo], config: Config) -> None:
    """Refuse to start half: whoever may not create topics is told of all that are missing."""
    missing = [topic.name for topic in plan.internal_topics if topic.name not in existing]
    if missing and config.internal_topics == "verify":
        message = (
            f"internal topics {', '.join(missing)} do not exist; option internal_topics is "
            "'verify'; have them made by one who may: streamfn topics create"
        )
        raise ConfigError(message)


def _check_orphans(plan: Plan, log: Log) -> None:
    """A renamed repartition topic with unread records would lose them without a sound."""
    names = log.topic_names()
    known = {topic.name for topic in plan.internal_topics}
    others = [f"{name.removesuffix('-tasks')}-" for name in names if name.endswith("-tasks")]
    prefix, suffix = f"{plan.application}-", "-repartition"
    longer = tuple(other for other in others if other.startswith(prefix) and other != prefix)
    orphans = sorted(
        name
        for name in names - known
        if name.startswith(prefix) and name.endswith(suffix) and not name.startswith(longer)
    )
    for name, info in log.topics(orphans).items() if orphans else ():
        sources = [TopicPartition(name, partition) for partition in range(info.partitions)]
        unread = sum(_unread(log, source) for source in sources)
        if unread > 0:
            message = (
                f"internal topic {name!r} holds {unread} unread records; the topology does not "
                "know it; run the version that does until it is drained, or drop them: "
                f"streamfn reset --topic {name}"
            )
            raise ConfigError(message)


def _unread(log: Log, source: TopicPartition) -> int:
    """Count records behind the committed position; ends count marks of transactions as well."""
    committed = log.committed([source]).get(source)
    start = committed.offset if committed else log.begin_offsets([source])[source]
    end = log.end_offsets([source])[source]
    return sum(len(batch) for batch in log.read(source, start, end))
