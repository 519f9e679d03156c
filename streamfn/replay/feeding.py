"""What a replay starts from: which topics are fed, the state it begins with, global tables.

It comes from the inputs' header and goes to the workers through the log of the replay. Invariant: a
task with recorded state begins at the position, the stream time and the entries of one and the same
commit.
"""

from collections.abc import Iterator
from typing import Final

from streamfn.connectors.log import Committed, TopicInfo
from streamfn.engine.marks import Mark, written
from streamfn.errors import ConfigError
from streamfn.graph.plan import Plan
from streamfn.graph.roots import written_topics
from streamfn.record import Batch, TopicPartition
from streamfn.replay.recording import Inputs, Range

EMPTY: Final = Range(0, 0)
START_TOKEN: Final = "recorded"
"""The token of the commit that a recording with state starts at."""


class Feeding:
    """Answers what the recording, and not the program, knows."""

    def __init__(
        self, plan: Plan, inputs: Inputs, *, end_to_end: bool = False, repartitions: bool = False
    ) -> None:
        self._plan, self._inputs = plan, inputs
        self._topics = {topic.name: topic for topic in inputs.header.topics}
        self.fed = fed_topics(plan, inputs, end_to_end=end_to_end, repartitions=repartitions)
        """The topics whose records come from the recording."""
        self._configs = {topic.name: topic.config for topic in plan.internal_topics}
        self._changelogs = {plan.changelog(store.name): store for store in inputs.header.stores}
        self._global = _global_topics(plan)
        self._state = self._entries()

    def _entries(self) -> dict[TopicPartition, list[tuple[bytes, bytes]]]:
        """The recorded state, by the partition of the changelog that it stands for."""
        known = {store for sub in self._plan.subtopologies for store in sub.stores}
        found: dict[TopicPartition, list[tuple[bytes, bytes]]] = {}
        for entry in self._inputs.state():
            if entry.store in known:
                source = TopicPartition(self._plan.changelog(entry.store), entry.partition)
                found.setdefault(source, []).append((entry.key, entry.value))
        return found

    def state_of(self, changelog: TopicPartition) -> list[tuple[bytes, bytes]]:
        """The recorded state that a partition of a changelog stands for."""
        return self._state.get(changelog, [])

    @property
    def total(self) -> int | None:
        """How many records there are to come, at most; None if the recording does not say."""
        ranges = [range_ for name in self.fed for range_ in self._topics[name].ranges.values()]
        return sum(each.end - each.start for each in ranges) if ranges else self._inputs.total

    def positions(self) -> dict[TopicPartition, Committed]:
        """Where tasks begin: what is recorded with state begins at a commit."""
        if not self._inputs.header.stores:
            return {}
        found: dict[TopicPartition, Committed] = {}
        for sub in self._plan.subtopologies:
            for topic, width in sub.source_partitions.items():
                for partition in range(width):
                    source = TopicPartition(topic, partition)
                    at = self.range_of(source)
                    mark = written(Mark(START_TOKEN, at.stream_time_ms))
                    found[source] = Committed(at.start, mark)
        return found

    def range_of(self, source: TopicPartition) -> Range:
        """The recorded range of a partition; of a changelog, the recorded state."""
        if source.topic in self._changelogs:
            return Range(0, len(self._state.get(source, ())))
        topic = self._topics.get(source.topic)
        wanted = source.topic in self.fed or source.topic in self._global
        return topic.ranges.get(source.partition, EMPTY) if topic and wanted else EMPTY

    def read(self, source: TopicPartition, start: int, end: int) -> Iterator[Batch]:
        """Read what is not fed in turns: recorded state, and topics of global tables."""
        if source.topic in self._changelogs:
            entries = self._state.get(source, [])[start:end]
            if entries:
                keys, values = [key for key, _ in entries], [value for _, value in entries]
                rows = len(entries)
                yield Batch(source, [*keys], [*values], [0] * rows, range(start, end), end)
            return
        for chunk in self._inputs.chunks({source.topic}) if source.topic in self._global else ():
            yield from (b for b in chunk if b.source == source and b.offsets[0] >= start)

    def info(self, name: str, partitions: int) -> TopicInfo:
        """A topic as the program wants it: nothing of a replay is lost to a retention."""
        config = self._configs.get(name, {"retention.ms": "-1"})
        return TopicInfo(name, partitions, f"replay of {name}", config)


def fed_topics(
    plan: Plan, inputs: Inputs, *, end_to_end: bool, repartitions: bool
) -> frozenset[str]:
    """Return which topics of the program come from the recording.

    Repartition topics do where that is asked for; in a recording with state they must, as each task
    begins at a commit of its own.

    Raises:
        ConfigError: the program reads a topic that is neither recorded nor made by itself.
    """
    reads = {topic for sub in plan.subtopologies for topic in sub.source_partitions}
    written = written_by(plan)
    recorded = {topic.name for topic in inputs.header.topics}
    missing = sorted({*(reads - written), *_global_topics(plan)} - recorded)
    if missing:
        message = (
            f"topic {missing[0]!r}, which the program reads, is not in {inputs.place}; it has "
            f"{', '.join(sorted(recorded)) or 'no topics'}; record it too, or replay the program "
            "that was recorded"
        )
        raise ConfigError(message)
    fed = reads & recorded
    if not (repartitions or inputs.header.stores):
        fed -= plan.own_topics
    return frozenset(fed - written if end_to_end else fed)


def _global_topics(plan: Plan) -> set[str]:
    return {table.topic.name for table in plan.topology.global_tables.values()}


def written_by(plan: Plan) -> set[str]:
    """Return all topics that the program names as its sinks."""
    return set[str]().union(*(written_topics(sub) for sub in plan.subtopologies))
