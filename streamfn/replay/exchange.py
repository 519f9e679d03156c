"""The topics of a replay: what goes into the program, and what it has made of it.

A chunk of recorded records comes in; level by level the sub-topologies get theirs, those behind a
repartition with what those in front of it have just made; at the end of the chunk all outputs go
out as effects. Invariant: a task gets its records in the order of their ranks, whatever a commit
took with it and however many workers there are: as if each input record had been through the whole
program before the next one came.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from operator import itemgetter
from typing import Final, TypeAlias

from streamfn.connectors.log import Committed
from streamfn.connectors.partitioner import Partitioner
from streamfn.errors import StageError
from streamfn.graph.plan import Plan
from streamfn.record import Batch, Columns, TopicPartition
from streamfn.replay.effects import Effects, EffectSink, Root
from streamfn.replay.levels import levels_of
from streamfn.replay.recording import Chunk

Maker: TypeAlias = tuple[int, str, int]
"""In which turn and by which task a row was made, and as which of its rows if that is told."""
Failure: TypeAlias = tuple[int, int, str, StageError]
"""The rank of the record that it goes back to, the turn, the task; what has failed."""
NOWHERE: Final[Root] = (TopicPartition("", -1), -1)


class Exchange:
    """Passes records on, within one replay; all its workers share it."""

    def __init__(
        self, plan: Plan, widths: Mapping[str, int], fed: frozenset[str], sink: EffectSink
    ) -> None:
        self.widths = dict(widths)
        """Partition counts of all topics."""
        self.arrived: dict[TopicPartition, list[Batch]] = {}
        """What each partition holds in this turn."""
        self.committed: dict[TopicPartition, Committed] = {}
        self.ends: dict[TopicPartition, int] = {}
        """Where the topics that the program writes end, in the replay's own offsets."""
        self.folded: dict[TopicPartition, dict[bytes, bytes]] = {}
        """What the changelogs hold, each key once."""
        self._sink = sink
        self._levels = levels_of(plan, fed)
        reads = {topic for sub in plan.subtopologies for topic in sub.source_partitions}
        self._own = reads - fed
        self._changelogs = {t.name for t in plan.internal_topics if t.purpose == "changelog"}
        self._made: dict[str, list[tuple[int, int | None, Columns]]] = {}
        """By topic: in which turn, to which partition, what."""
        self.turn = 0
        """How far the chunk at hand is on its way through the program."""
        self._failures: list[Failure] = []
        self._found: list[Effects] = []
        self._partitioner = Partitioner()
        self._roots: dict[int, Root] = {}

    def root(self, rank: int) -> Root:
        """Return the input record of this chunk that has a rank."""
        return self._roots.get(rank, NOWHERE)

    def fail(self, failures: list[Failure]) -> None:
        """Take what has failed in a transaction that is committed."""
        self._failures += failures

    def failures(self) -> list[StageError]:
        """Return what has failed of this chunk, in order of rank."""
        found, self._failures = sorted(self._failures, key=itemgetter(0, 1, 2)), []
        return [error for *_, error in found]

    # what goes in
    def turns(self, chunk: Chunk) -> Iterator[None]:
        """Let a chunk through: at each turn, the workers are to process what has arrived."""
        self._remember(chunk)
        if self._levels:
            yield from self._down(chunk)
        else:
            for one in one_by_one(chunk):
                yield from self._around([one])
        self.arrived = {}
        for topic in sorted(self._made):
            self._found += self._drained(topic)
        self._found.sort(key=lambda each: (each.topic, each.partition))
        found, self._found = self._found, []
        self._sink.effects(found)

    def _down(self, chunk: Chunk) -> Iterator[None]:
        """Level by level: all that a level reads is there when its turn comes."""
        for turn, level in enumerate(self._levels):
            self.turn = turn
            self._arrive(batch for batch in chunk if batch.source.topic in level)
            self._deliver(level & self._own)
            if self.arrived:
                yield

    def _around(self, chunk: Chunk) -> Iterator[None]:
        """Where a sub-topology feeds itself: round after round, until nothing is sent any more."""
        self._arrive(chunk)
        self.turn = 0
        while self.arrived:
            yield
            self.turn += 1
            self.arrived = {}
            self._deliver(self._own)

    def _arrive(self, batches: Iterable[Batch]) -> None:
        self.arrived = {}
        for batch in batches:
            self.arrived.setdefault(batch.source, []).append(batch)

    def _remember(self, chunk: Chunk) -> None:
        """Keep where the records of a chunk stand, by rank."""
        self._roots.clear()
        for batch in chunk:
            assert batch.ranks is not None, "inputs of a replay have ranks"
            places = zip(repeat(batch.source), batch.offsets, strict=False)
            self._roots.update(zip(batch.ranks, places, strict=True))

    def _deliver(self, topics: set[str]) -> None:
        """Have what was sent to topics of the program's own arrive; it is an effect as well."""
        for topic in topics & self._made.keys():
            found = self._drained(topic)
            self._found += found
            for each in found:
                source = TopicPartition(topic, each.partition)
                self.arrived.setdefault(source, []).append(_batch(source, each))

    # what comes out
    def take(self, topic: str, partition: int | None, columns: Columns) -> None:
        """Take rows that a worker has committed; without a partition each goes by its key."""
        if topic not in self._changelogs:
            self._made.setdefault(topic, []).append((self.turn, partition, columns))
            return
        source = TopicPartition(topic, partition or 0)
        self.ends[source] = self.ends.get(source, 0) + len(columns)
        held = self.folded.get(source)
        if held is not None:
            for key, value in zip(columns.keys, columns.values, strict=True):
                assert key is not None, "a changelog has keys"
                held.pop(key, None)
                if value is not None:
                    held[key] = value

    def _drained(self, topic: str) -> list[Effects]:
        """What was sent to a topic since the last time, by partition, in order of rank."""
        width, parts = self.widths.get(topic, 1), dict[int, Effects]()
        makers = dict[int, list[Maker]]()
        for turn, given, columns in self._made.pop(topic, []):
            for partition, rows in self._placed(given, columns, width):
                into = parts.get(partition)
                if into is None:
                    into = parts[partition] = Effects(topic, partition)
                _append(into, columns, rows)
                makers.setdefault(partition, []).extend(_makers(turn, columns, rows))
        for partition, effects in parts.items():
            _sort(effects, makers[partition])
            effects.roots = list(map(self._roots.get, effects.ranks, repeat(NOWHERE)))
            source = TopicPartition(topic, partition)
            effects.first_offset = self.ends.get(source, 0)
            self.ends[source] = effects.first_offset + len(effects)
        return [parts[partition] for partition in sorted(parts)]

    def _placed(
        self, given: int | None, columns: Columns, width: int
    ) -> Iterator[tuple[int, list[int] | range]]:
        """Yield which rows go to which partition; one without a key goes by that of its root."""
        if given is not None or width == 1:
            yield given or 0, range(len(columns))
            return
        if None in columns.keys:
            rows: dict[int, list[int]] = {}
            for row, key in enumerate(columns.keys):
                if key is None:
                    partition = self.root(columns.ranks[row])[0].partition % width
                else:
                    partition = self._partitioner.partition_of(key, width)
                rows.setdefault(partition, []).append(row)
            yield from rows.items()
            return
        for partition, found in enumerate(self._partitioner.rows(columns.keys, width)):
            if found:
                yield partition, found


def _append(into: Effects, columns: Columns, rows: list[int] | range) -> None:
    """Add rows of columns to a partition's."""
    first = len(into)
    if isinstance(rows, range):
        into.keys += columns.keys
        into.values += columns.values
        into.timestamps += columns.timestamps
        into.ranks += columns.ranks
        into.stages += columns.stages
    else:
        into.keys += map(columns.keys.__getitem__, rows)
        into.values += map(columns.values.__getitem__, rows)
        into.timestamps += map(columns.timestamps.__getitem__, rows)
        into.ranks += map(columns.ranks.__getitem__, rows)
        into.stages += map(columns.stages.__getitem__, rows)
    if columns.headers:
        for at, row in enumerate(rows, first):
            if row in columns.headers:
                into.headers[at] = columns.headers[row]


def _makers(turn: int, columns: Columns, rows: list[int] | range) -> Iterable[Maker]:
    """Who has made each row; where rows were put apart, also where each of them stood."""
    if not columns.places:
        return repeat((turn, columns.task, 0), len(rows))
    return ((turn, columns.task, columns.places[row]) for row in rows)


def _sort(effects: Effects, makers: list[Maker]) -> None:
    """Order rows by rank; those of one by the turn and task that made them, then as it did."""
    if len(set(makers)) == 1:
        return  # a task's rows are in order
    keys = list(zip(effects.ranks, makers, strict=True))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    effects.keys = [effects.keys[row] for row in order]
    effects.values = [effects.values[row] for row in order]
    effects.timestamps = [effects.timestamps[row] for row in order]
    effects.ranks = [effects.ranks[row] for row in order]
    effects.stages = [effects.stages[row] for row in order]
    if effects.headers:
        held = effects.headers
        effects.headers = {at: held[row] for at, row in enumerate(order) if row in held}


def _batch(source: TopicPartition, effects: Effects) -> Batch:
    """Make what a task reads of what another has written."""
    first, rows = effects.first_offset, len(effects)
    headers = [effects.headers.get(row, ()) for row in range(rows)] if effects.headers else None
    return Batch(
        source, effects.keys[:], effects.values[:], effects.timestamps[:],
        range(first, first + rows), first + rows, headers, effects.ranks,
    )  # fmt: skip


def one_by_one(chunk: Chunk) -> Iterator[Batch]:
    """Yield the records of a chunk as batches of one, in order of rank."""
    places = sorted(
        (rank, number, row)
        for number, batch in enumerate(chunk)
        for row, rank in enumerate(batch.ranks or ())
    )
    for _, number, row in places:
        yield chunk[number].part(row, row + 1)
