"""Where an application stands, and where what it writes ended just before and just after.

The ends of topics and the positions of tasks cannot be asked for at once while it runs. So ends are
asked for on both sides of the positions, and go with them into the ranges of a recording. Invariant
(of one that runs ``exactly_once``): a row in front of ``before`` was made by a record in front of
the positions, a row from ``after`` on by one behind them; only those in between may be either.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from streamfn.clock import Clock
from streamfn.connectors.log import Committed, Log
from streamfn.graph.plan import Plan, Subtopology
from streamfn.record import TopicPartition
from streamfn.replay.feeding import written_by
from streamfn.replay.sample import by_time
from streamfn.results import partitions_of

QUIET_TRIES: Final = 20
QUIET_WAIT_S: Final = 0.03
"""A worker commits in bursts, ten a second or so: a few looks find a moment in between."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Positions, and the ends of what is written around them."""

    positions: Mapping[TopicPartition, Committed] = field(
        default_factory=dict[TopicPartition, Committed]
    )
    before: Mapping[TopicPartition, int] = field(default_factory=dict[TopicPartition, int])
    """The stable ends, asked before the positions."""
    after: Mapping[TopicPartition, int] = field(default_factory=dict[TopicPartition, int])
    """The ends with all that is open, asked after them."""

    @property
    def doubtful(self) -> int:
        """How many offsets lie in between."""
        return sum(end - self.before[source] for source, end in self.after.items())


def asked(
    log: Log, sources: Collection[TopicPartition], written: Collection[TopicPartition]
) -> Standing:
    """Ask once."""
    before = log.stable_ends(written)
    positions = log.committed(sources)
    return Standing(positions, before, log.end_offsets(written))


def standing_of(log: Log, plan: Plan, clock: Clock) -> Standing:
    """Ask until a moment is found in which nothing is being written, or take the best."""
    sources, written = list(sources_of_all(plan)), partitions_written(log, plan)
    best = asked(log, sources, written)
    for _ in range(QUIET_TRIES - 1):
        if not best.doubtful:
            break
        clock.sleep(QUIET_WAIT_S)
        best = min(best, asked(log, sources, written), key=lambda each: each.doubtful)
    return best


def unread(log: Log, standing: Standing, topics: Iterable[str], end_ms: int | None) -> int:
    """Count the records of some topics, and before a time, that were written and not processed."""
    wanted = by_time(None, end_ms)
    return sum(
        len(wanted(batch))
        for name in topics
        for source in partitions_of(log, name)
        if source in standing.positions and source in standing.after
        for batch in log.read(source, standing.positions[source].offset, standing.after[source])
    )


def topics_written(plan: Plan) -> set[str]:
    """Return all topics that the program may write to."""
    reads = {topic for sub in plan.subtopologies for topic in sub.source_partitions}
    only_written = plan.known_topics.keys() - reads
    return {*written_by(plan), *only_written, plan.dead_letter_topic}


def partitions_written(log: Log, plan: Plan) -> list[TopicPartition]:
    """Return the partitions of those topics that are there."""
    infos = log.topics(sorted(topics_written(plan))).values()
    return [
        TopicPartition(info.name, number) for info in infos for number in range(info.partitions)
    ]


def sources_of(sub: Subtopology, partition: int) -> list[TopicPartition]:
    """Return the inputs of a task."""
    widths = sub.source_partitions.items()
    return [TopicPartition(topic, partition) for topic, width in widths if partition < width]


def sources_of_all(plan: Plan) -> Iterable[TopicPartition]:
    """Return the inputs of all tasks."""
    return (
        source
        for sub in plan.subtopologies
        for number in range(sub.partitions)
        for source in sources_of(sub, number)
    )
