"""The least rights that a topology needs on a Kafka with an authorizer, worked out from its plan.

``streamfn acls`` writes them as commands. Invariant: a right is here only if a run fails or checks
less without it, and with all of them it needs none on the cluster: inputs are read, outputs are
written (and their retention is looked at), and only what the application owns is created, trimmed
or read back.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from streamfn.graph.plan import InternalTopic, Plan
from streamfn.graph.topology import Function, Sink, Source

OPERATIONS: Final = ("Read", "Write", "Create", "Delete", "Describe", "DescribeConfigs")
"""All that are ever asked for, in the order in which they are written."""

INTERNAL: Final = {
    "changelog": ("Read", "Write", "Describe", "DescribeConfigs"),
    "repartition": ("Read", "Write", "Delete", "Describe", "DescribeConfigs"),
    "position": ("Read", "Write", "Describe", "DescribeConfigs"),
    "dead letters": ("Write", "Describe", "DescribeConfigs"),
    "tokens": ("Describe",),
}
"""What an internal topic is used for; Delete trims records that were processed."""


@dataclass(frozen=True, slots=True)
class Right:
    """Operations on one resource; ``kind`` is topic, group or transactional-id."""

    kind: str
    name: str
    operations: tuple[str, ...]
    purpose: str
    prefixed: bool = False


def token_topic(application: str) -> str:
    """Name the topic whose partitions stand for the tasks of an application on Kafka."""
    return f"{application}-tasks"


def token_topic_of(plan: Plan) -> InternalTopic:
    """The token topic as an internal one: empty, at least one partition for each token."""
    return InternalTopic(token_topic(plan.application), plan.tokens, {}, "tokens")


def rights_of(
    plan: Plan,
    *,
    exactly_once: bool = True,
    create_internal: bool = True,
    create_user_topics: bool = False,
    prefixed: bool = False,
) -> list[Right]:
    """Work out the rights that a run of a plan needs.

    Args:
        plan: what runs.
        exactly_once: with transactions, which have a right of their own.
        create_internal: internal topics that are missing are created by the run.
        create_user_topics: the user's own as well, as with --create-topics.
        prefixed: one right for all internal topics, instead of one each.
    """
    users = [
        Right("topic", name, _ordered([*operations, *(["Create"] if create_user_topics else [])]),
              purpose)
        for name, operations, purpose in _user_topics(plan)
    ]  # fmt: skip
    internal = list(_internal_topics(plan, create=create_internal))
    if prefixed:
        every = [operation for right in internal for operation in right.operations]
        name = f"{plan.application}-"
        internal = [Right("topic", name, _ordered(every), "internal topics", prefixed=True)]
    group = Right("group", plan.application, ("Read", "Describe"), "group")
    # the names of transactions hold the state folder's own id: they are not known before it runs
    transactions = Right(
        "transactional-id", f"{plan.application}-", ("Write", "Describe"), "transactions", True
    )
    return [*users, *internal, group, *([transactions] if exactly_once else [])]


def _user_topics(plan: Plan) -> Iterator[tuple[str, list[str], str]]:
    """Yield name, operations and purpose of the user's own topics."""
    nodes = plan.topology.nodes.values()
    read = {node.topic.name for node in nodes if isinstance(node, Source)}
    read |= {table.topic.name for table in plan.topology.global_tables.values()}
    written = {topic.name for node in nodes if isinstance(node, Sink) for topic in node.topics}
    written |= {topic.name for node in nodes if isinstance(node, Function) for topic in node.sinks}
    written |= {feed.topic.name for feed in plan.topology.feeds}
    for name in plan.user_topics:
        found = ["Describe"]
        found += ["Read"] if name in read else []
        found += ["Write", "DescribeConfigs"] if name in written else []
        purpose = " and ".join(
            word for word, names in (("input", read), ("output", written)) if name in names
        )
        yield name, found, purpose


def _internal_topics(plan: Plan, *, create: bool) -> Iterator[Right]:
    for topic in (token_topic_of(plan), *plan.internal_topics):
        operations = [*INTERNAL[topic.purpose], *(["Create"] if create else [])]
        yield Right("topic", topic.name, _ordered(operations), topic.purpose)


def _ordered(operations: Iterable[str]) -> tuple[str, ...]:
    wanted = set(operations)
    return tuple(operation for operation in OPERATIONS if operation in wanted)
