"""Recorded inputs in memory, and what a replay of them gave, for tests of replays.

Records come from a test, in any order of partitions; the order of a replay is worked out here in
the plainest way: one by one, the lowest head goes next. Invariant: nothing here shares code with
what it is compared with.
"""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from streamfn.app import App
from streamfn.config import Config
from streamfn.connectors.partitioner import Partitioner
from streamfn.record import Batch, Headers, TopicPartition
from streamfn.replay.effects import Collected, Raised
from streamfn.replay.recording import Chunk, Entry, Header, Range, RecordedStore, RecordedTopic
from streamfn.replay.replay import replay

Answer: TypeAlias = tuple[bytes | None, bytes | None, int, Headers]
"""Key, value, time and headers, as the topic has them."""


class Placed(NamedTuple):
    """A record where it stands."""

    source: TopicPartition
    offset: int
    key: bytes | None
    value: bytes | None
    at_ms: int
    headers: Headers = ()


@dataclass
class MemoryInputs:
    """A recording that was never a file; ``rows_max`` is how many records a chunk has."""

    records: list[Placed]
    widths: Mapping[str, int]
    rows_max: int = 7
    entries: list[Entry] = field(default_factory=list[Entry])
    stores: tuple[RecordedStore, ...] = ()
    starts: Mapping[TopicPartition, Range] = field(default_factory=dict[TopicPartition, Range])
    sample: str = ""
    place: str = "memory"

    @property
    def header(self) -> Header:
        """What is in it."""
        topics = tuple(self._topic(name, width) for name, width in self.widths.items())
        return Header("recorded", 0, "memory", topics, self.stores, self.sample)

    def _topic(self, name: str, width: int) -> RecordedTopic:
        ranges: dict[int, Range] = {}
        for partition in range(width):
            source = TopicPartition(name, partition)
            ends = [each.offset + 1 for each in self.records if each.source == source]
            start = self.starts.get(source, Range(0, 0))
            end = max(ends, default=start.start)
            ranges[partition] = Range(start.start, end, start.stream_time_ms)
        return RecordedTopic(name, width, "input", ranges)

    @property
    def total(self) -> int:
        """How many records there are."""
        return len(self.records)

    def state(self) -> Iterator[Entry]:
        """Yield the entries."""
        return iter(self.entries)

    def chunks(self, topics: Container[str] | None = None) -> Iterator[Chunk]:
        """Yield the records of some topics in the order of a replay."""
        wanted = [r for r in self.records if topics is None or r.source.topic in topics]
        ordered = list(enumerate(in_replay_order(wanted)))
        for start in range(0, len(ordered), self.rows_max):
            parts: dict[TopicPartition, list[tuple[int, Placed]]] = {}
            for rank, record in ordered[start : start + self.rows_max]:
                parts.setdefault(record.source, []).append((rank, record))
            yield [_batch(source, rows) for source, rows in parts.items()]

    def close(self) -> None:
        """Nothing was opened."""


def _batch(source: TopicPartition, rows: list[tuple[int, Placed]]) -> Batch:
    records = [record for _, record in rows]
    headers = [record.headers for record in records]
    return Batch(
        source, [r.key for r in records], [r.value for r in records], [r.at_ms for r in records],
        [r.offset for r in records], records[-1].offset + 1, headers if any(headers) else None,
        [rank for rank, _ in rows],
    )  # fmt: skip


def in_replay_order(records: Iterable[Placed]) -> list[Placed]:
    """Merge partitions: of all heads the one with the lowest (time, topic, partition) goes next."""
    queues: dict[TopicPartition, list[Placed]] = defaultdict(list)
    for record in sorted(records, key=lambda each: each.offset):
        queues[record.source].append(record)
    found: list[Placed] = []
    while any(queues.values()):
        heads = [queue[0] for queue in queues.values() if queue]
        first = min(heads, key=lambda each: (each.at_ms, each.source))
        found.append(queues[first.source].pop(0))
    return found


def placed(sent: Iterable[tuple[str, bytes | None, bytes | None, int]], width: int) -> list[Placed]:
    """Put records (topic, key, value, time) where their keys belong, one behind the other."""
    partition_of, ends = Partitioner().partition_of, defaultdict[TopicPartition, int](int)
    found: list[Placed] = []
    for number, (topic, key, value, at_ms) in enumerate(sent):
        partition = number % width if key is None else partition_of(key, width)
        source = TopicPartition(topic, partition)
        found.append(Placed(source, ends[source], key, value, at_ms))
        ends[source] += 1
    return found


@dataclass(slots=True)
class Outcome:
    """All that a replay has left, as bytes."""

    rows: dict[TopicPartition, list[Answer]]
    entries: dict[str, list[tuple[bytes, bytes, int]]]
    folded: dict[TopicPartition, dict[bytes, bytes]]
    raised: list[Raised]
    roots: dict[TopicPartition, list[tuple[TopicPartition, int]]]
    stages: dict[TopicPartition, list[str]]
    notices: tuple[str, ...]
    records: int


def replayed(
    app: App, inputs: Any, *, commit_interval_ms: int = 100, workers: int = 1, **manner: Any
) -> Outcome:
    """Replay an app in memory and keep everything."""
    sink = Collected()
    config = Config(commit_interval_ms=commit_interval_ms)
    with replay(
        app.topology(), inputs, sink, config=config, workers=workers,
        in_memory=True, fold_changelogs=True, **manner,
    ) as done:  # fmt: skip
        entries = {name: list(done.entries(name)) for name in done.plan.topology.stores}
        folded = {source: dict(held) for source, held in done.exchange.folded.items() if held}
        for name, rows in entries.items():
            for key, value, partition in rows:
                source = TopicPartition(done.plan.changelog(name), partition)
                assert folded[source].pop(key) == value, (name, key)
        assert not any(folded.values()), "a changelog holds what its store does not"
        outcome = Outcome(
            defaultdict(list), entries, done.exchange.folded, list(done.raised),
            defaultdict(list), defaultdict(list), done.notices, done.records,
        )  # fmt: skip
    for each in sink.found:
        source = TopicPartition(each.topic, each.partition)
        assert each.first_offset == len(outcome.rows[source])
        for row in range(len(each)):
            headers = each.headers.get(row, ())
            answer = (each.keys[row], each.values[row], each.timestamps[row], headers)
            outcome.rows[source].append(answer)
        outcome.roots[source] += each.roots
        outcome.stages[source] += each.stages
    return outcome
