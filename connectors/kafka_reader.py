"""Reading partitions apart from membership: changelogs that are restored, topics that are shown.

One consumer without a group serves all reads, which may take turns: what comes for another one
waits with it. Invariant: a read yields each committed record of its range once, in order, and ends
only at a position or an end of partition at or past its end.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from streamfn.connectors.kafka_batches import is_end, records, runs
from streamfn.connectors.kafka_errors import HOPELESS, RIGHTS, Connection, kafka_error
from streamfn.record import Batch, TopicPartition

READ_RECORDS: Final = 1_000
WAIT_S: Final = 0.02
WAITING_MAX: Final = 20_000
"""Records that wait for a read whose turn it is not, before its partition is paused."""


@dataclass(slots=True)
class Reading:
    """One read under way."""

    source: TopicPartition
    waiting: deque[Batch] = field(default_factory=lambda: deque[Batch]())
    records: int = 0
    end: int = -1
    paused: bool = False


class Reader:
    """Reads over one consumer, made when first needed."""

    def __init__(self, make: Callable[[], Consumer], connection: Connection) -> None:
        self._make, self._connection = make, connection
        self._consumer: Consumer | None = None
        self._readings: dict[TopicPartition, Reading] = {}

    def reads(self, source: TopicPartition) -> bool:
        """Tell whether the partition is being read: it has one position only."""
        return source in self._readings

    def read(self, source: TopicPartition, start: int, end: int) -> Iterator[Batch]:
        """Yield committed records up to ``end``; an empty batch when nothing came for now."""
        if start >= end:
            return
        reading = self._open(source, start)
        position = start
        try:
            while position < end:
                if not reading.waiting and reading.end < end:
                    self._fill(WAIT_S)
                if reading.waiting:
                    batch = cut(self._next(reading), end)
                    position = batch.next_offset
                    if len(batch):
                        yield batch
                elif reading.end >= end:
                    return
                else:
                    yield Batch(source, [], [], [], (), position)
        finally:
            self._close(reading)

    def _open(self, source: TopicPartition, start: int) -> Reading:
        if self._consumer is None:
            self._consumer = self._make()
        reading = self._readings[source] = Reading(source)
        where = [KafkaPartition(source.topic, source.partition, start)]
        self._consumer.incremental_assign(where)
        self._consumer.resume(where)
        return reading

    def _close(self, reading: Reading) -> None:
        if self._readings.pop(reading.source, None) is not None and self._consumer is not None:
            where = KafkaPartition(reading.source.topic, reading.source.partition)
            self._consumer.incremental_unassign([where])

    def _next(self, reading: Reading) -> Batch:
        batch = reading.waiting.popleft()
        reading.records -= len(batch)
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
            if reading.records > WAITING_MAX and not reading.paused:
                self._pause(reading, paused=True)
        for message in others:
            error: KafkaError = message.error()
            if is_end(error):
                self._connection.answered()
                reading.end = max(reading.end, message.offset())
            elif error.code() in RIGHTS or error.code() in HOPELESS or error.fatal():
                raise self._connection.error(error, f"{reading.source} cannot be read")

    def close(self) -> None:
        """Let the consumer go."""
        self._readings.clear()
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None


def cut(batch: Batch, end: int) -> Batch:
    """Return the batch without records at or past ``end``."""
    if batch.next_offset <= end:
        return batch
    rows = bisect_left(batch.offsets, end)
    return Batch(
        batch.source, batch.keys[:rows], batch.values[:rows], batch.timestamps[:rows],
        batch.offsets[:rows], end, batch.headers[:rows] if batch.headers else None,
    )  # fmt: skip
