"""Reading partitions apart from membership: changelogs, topics that are shown or recorded.

One consumer without a group serves all reads, which may take turns: what comes for another one
waits with it, and a partition of which much waits is paused. Invariant: a read yields each
committed record of its range once, in order, and ends only at a position or an end of partition at
or past its end.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from streamfn.connectors.kafka_batches import is_end, records, runs
from streamfn.connectors.kafka_errors import HOPELESS, RIGHTS, Connection, kafka_error
from streamfn.connectors.kafka_input import OUT_OF_RANGE
from streamfn.errors import LogError
from streamfn.record import Batch, TopicPartition

READ_RECORDS: Final = 1_000
WAIT_S: Final = 0.02
WAITING_MAX: Final = 20_000
"""Records that wait for a read whose turn it is not, before its partition is paused."""
WAITING_BYTES: Final = 256 << 20
"""The same in bytes, for all partitions that are read side by side."""

Begins = Callable[[Iterable[TopicPartition]], dict[TopicPartition, int]]


@dataclass(slots=True)
class Reading:
    """One read under way."""

    source: TopicPartition
    waiting: deque[Batch] = field(default_factory=lambda: deque[Batch]())
    records: int = 0
    bytes: int = 0
    position: int = 0
    end: int = -1
    paused: bool = False


class Reader:
    """Reads over one consumer, made when first needed."""

    def __init__(
        self, make: Callable[[], Consumer], connection: Connection, begins: Begins | None = None
    ) -> None:
        self._make, self._connection, self._begins = make, connection, begins
        self._consumer: Consumer | None = None
        self._readings: dict[TopicPartition, Reading] = {}
        self._bytes_max = WAITING_BYTES

    @property
    def closed(self) -> bool:
        """True while it has no consumer."""
        return self._consumer is None

    def reads(self, source: TopicPartition) -> bool:
        """Tell whether the partition is being read: it has one position only."""
        return source in self._readings

    def read(self, source: TopicPartition, start: int, end: int) -> Iterator[Batch]:
        """Yield committed records up to ``end``; an empty batch when nothing came for now."""
        if start < end:
            (reading,) = self._open({source: start})
            yield from self._read(reading, end)

    def read_many(
        self, ranges: Mapping[TopicPartition, tuple[int, int]]
    ) -> dict[TopicPartition, Iterator[Batch]]:
        """Read ranges side by side; the consumer ends with the last of them."""
        ends = {source: end for source, (start, end) in ranges.items() if start < end}
        found: dict[TopicPartition, Iterator[Batch]] = {source: iter(()) for source in ranges}
        if ends:
            self._bytes_max = WAITING_BYTES // len(ends)
            for reading in self._open({source: ranges[source][0] for source in ends}):
                found[reading.source] = self._read_last(reading, ends[reading.source])
        return found

    def _read_last(self, reading: Reading, end: int) -> Iterator[Batch]:
        try:
            yield from self._read(reading, end)
        finally:
            if not self._readings:
                self.close()

    def _read(self, reading: Reading, end: int) -> Iterator[Batch]:
        try:
            while reading.position < end:
                if not reading.waiting and reading.end < end:
                    self._fill(WAIT_S)
                if reading.waiting:
                    batch = cut(self._next(reading), end)
                    reading.position = batch.next_offset
                    if len(batch):
                        yield batch
                elif reading.end >= end:
                    return
                else:
                    yield Batch(reading.source, [], [], [], (), reading.position)
        finally:
            self._close(reading)

    def _open(self, starts: Mapping[TopicPartition, int]) -> list[Reading]:
        if self._consumer is None:
            self._consumer = self._make()
        opened = [Reading(source, position=start) for source, start in starts.items()]
        self._readings.update({reading.source: reading for reading in opened})
        where = [KafkaPartition(at.topic, at.partition, start) for at, start in starts.items()]
        self._consumer.incremental_assign(where)
        self._consumer.resume(where)
        return opened

    def _close(self, reading: Reading) -> None:
        if self._readings.pop(reading.source, None) is not None and self._consumer is not None:
            where = KafkaPartition(reading.source.topic, reading.source.partition)
            self._consumer.incremental_unassign([where])

    def _next(self, reading: Reading) -> Batch:
        batch = reading.waiting.popleft()
        reading.records -= len(batch)
        reading.bytes -= _size(batch)
        if reading.paused and not reading.waiting:
            self._pause(reading, paused=False)
        return batch

    def _pause(self, reading: Reading, *, paused: bool) -> None:
        assert self._consumer is not None
        where = [KafkaPartition(reading.source.topic, reading.source.partition)]
        (self._consumer.pause if paused else self._consumer.resume)(where)
        reading.paused = paused

    def _fill(self, timeout_s: float) -> None:
        assert self._consumer is not None
        try:
            messages: list[Any] = self._consumer.consume(READ_RECORDS, timeout_s)
        except KafkaException as exception:
            wrong = "nothing can be read"
            raise self._connection.error(kafka_error(exception), wrong) from exception
        if not messages:
            self._connection.check()
            return
        for source, run in runs(messages):
            reading = self._readings.get(source)
            batch, others = records(source, run)
            if reading is not None:
                self._take(reading, batch, others)

    def _take(self, reading: Reading, batch: Batch | None, others: list[Any]) -> None:
        if batch is not None:
            self._connection.answered()
            reading.waiting.append(batch)
            reading.records += len(batch)
            reading.bytes += _size(batch)
            much = reading.records > WAITING_MAX or reading.bytes > self._bytes_max
            if much and not reading.paused:
                self._pause(reading, paused=True)
        for message in others:
            error: KafkaError = message.error()
            if is_end(error):
                self._connection.answered()
                reading.end = max(reading.end, message.offset())
            elif error.code() in OUT_OF_RANGE and self._begins is not None:
                raise gone(reading.source, reading.position, self._begins)
            elif error.code() in RIGHTS or error.code() in HOPELESS or error.fatal():
                raise self._connection.error(error, f"{reading.source} cannot be read")

    def close(self) -> None:
        """Let the consumer go."""
        self._readings.clear()
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None


def gone(source: TopicPartition, position: int, begins: Begins) -> LogError:
    """Return the error for records that were deleted before they could be read."""
    begin = begins([source])[source]
    message = (
        f"records from offset {position} of {source} are gone; it begins at {begin} now; read it "
        "from there, and keep records longer: retention.ms"
    )
    return LogError(message)


def _size(batch: Batch) -> int:
    return sum(map(len, filter(None, batch.values)))


def cut(batch: Batch, end: int) -> Batch:
    """Return the batch without records at or past ``end``."""
    if batch.next_offset <= end:
        return batch
    rows = bisect_left(batch.offsets, end)
    return Batch(
        batch.source, batch.keys[:rows], batch.values[:rows], batch.timestamps[:rows],
        batch.offsets[:rows], end, batch.headers[:rows] if batch.headers else None,
    )  # fmt: skip
