"""What a member reads: its source partitions, their positions and ends, polled as batches.

Messages come from the member's consumer and go on as batches to ``KafkaLog.poll``. Invariant: a
record that was taken from the consumer is given exactly once, or its partition was sought or given
up: what an error interrupts is held for the next poll.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from streamfn.clock import Clock
from streamfn.connectors.kafka_batches import is_end, records, runs
from streamfn.connectors.kafka_errors import HOPELESS, RIGHTS, WARN_EVERY_S, Connection, kafka_error
from streamfn.connectors.kafka_settings import LOGGER
from streamfn.errors import AbortedError, InternalError, LogError
from streamfn.record import Batch, TopicPartition

POLL_RECORDS: Final = 1_000
OUT_OF_RANGE: Final = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}


class Input:
    """The partitions that one consumer reads for the engine."""

    def __init__(
        self,
        consumer: Consumer,
        connection: Connection,
        clock: Clock,
    ) -> None:
        self._consumer, self._connection, self._clock = consumer, connection, clock
        self._positions: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._held: list[Batch] = []
        self._known: set[str] = set()
        self.has_strays = False
        """An error came that is about no partition of ours: about the token topic, perhaps."""
        self._trouble: Exception | None = None
        self._warned_s = float("-inf")

    def poll(self, timeout_s: float, check: Callable[[], None]) -> list[Batch]:
        """Take what is there, waiting for the first message; ``check`` may raise."""
        try:
            first = self._consumer.poll(0 if self._held else timeout_s)
            if first is not None:
                self._take([first, *self._consumer.consume(POLL_RECORDS - 1, 0)])
        except KafkaException as exception:
            wrong = "the consumer cannot go on"
            raise self._connection.error(kafka_error(exception), wrong) from exception
        check()
        trouble, self._trouble = self._trouble, None
        if trouble is not None:
            raise trouble
        if not self._held:
            return []
        given = [batch for batch in self._held if batch.source not in self._paused]
        self._held = [batch for batch in self._held if batch.source in self._paused]
        return given

    def _take(self, messages: list[Any]) -> None:
        for source, run in runs(messages):
            batch, others = records(source, run)
            if source not in self._positions:
                self._note_stray(others)
                continue
            if batch is not None:
                self._held.append(batch)
                self._positions[source] = batch.next_offset
                self._ends.pop(source, None)
                self._connection.answered()
            for message in others:
                self._note(source, message)

    def _note(self, source: TopicPartition, message: Any) -> None:
        error = message.error()
        if is_end(error):
            self._connection.answered()
            if message.offset() >= self._positions[source]:
                self._ends[source] = self._positions[source] = message.offset()
        elif error.code() in OUT_OF_RANGE:
            self._trouble = self._trouble or self._gap(source)
        elif error.code() in RIGHTS or error.code() in HOPELESS or error.fatal():
            wrong = f"{source} cannot be read"
            self._trouble = self._trouble or self._connection.error(error, wrong)
        else:
            self._warn(f"{source} gives nothing; {self._connection.text(error)}; still trying")

    def _note_stray(self, others: Iterable[Any]) -> None:
        """Errors that are about no partition of ours; ends of tokens and given-up ones are none."""
        for message in others:
            error = message.error()
            if is_end(error):
                continue
            self.has_strays = True
            if error.fatal() or error.code() in RIGHTS:
                wrong = "the consumer cannot go on"
                self._trouble = self._trouble or self._connection.error(error, wrong)
            else:
                self._warn(f"consumer has an error; {self._connection.text(error)}; still trying")

    def _warn(self, text: str) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._warned_s >= WARN_EVERY_S:
            self._warned_s = now_s
            LOGGER.warning("%s", text)

    def _gap(self, source: TopicPartition) -> LogError:
        """Retention was faster than we: whoever starts from what is committed finds the gap."""
        message = f"position {self._positions[source]} of {source} is no longer in the log"
        return AbortedError(message)

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read more partitions, each from its position."""
        new = [_kafka(source, offset) for source, offset in positions.items()]
        if not new:
            return
        self.unassign(source for source in positions if source in self._positions)
        self._get_to_know({source.topic for source in positions})
        self._call(self._consumer.incremental_assign, new)
        self._positions.update(positions)
        self._call(self._consumer.resume, new)  # a pause of long ago outlives a rebalance

    def _get_to_know(self, topics: set[str]) -> None:
        """Ask for the leaders of topics: librdkafka would do so only within a second."""
        for topic in sorted(topics - self._known):
            try:
                self._consumer.list_topics(topic, timeout=1.0)
            except KafkaException as exception:
                self._warn(f"{topic} is not known yet; {kafka_error(exception).str()}")
            else:
                self._known.add(topic)

    def unassign(self, sources: Iterable[TopicPartition]) -> None:
        """Read partitions no more."""
        gone = [source for source in sources if source in self._positions]
        if gone:
            self._call(self._consumer.incremental_unassign, [_kafka(source) for source in gone])
        for source in gone:
            del self._positions[source]
            self._forget(source)
            self._paused.discard(source)

    def pause(self, sources: Iterable[TopicPartition]) -> None:
        """Give no records of these."""
        known = [s for s in sources if s in self._positions and s not in self._paused]
        if known:
            self._call(self._consumer.pause, [_kafka(source) for source in known])
            self._paused.update(known)

    def resume(self, sources: Iterable[TopicPartition]) -> None:
        """Give records of these again."""
        known = [source for source in sources if source in self._paused]
        if known:
            self._call(self._consumer.resume, [_kafka(source) for source in known])
            self._paused.difference_update(known)
            for source in known:
                self._ends.pop(source, None)

    def seek(self, source: TopicPartition, offset: int) -> None:
        """Read on from an offset."""
        if source not in self._positions:
            message = f"{source} is not assigned; got a seek to {offset}; assign it first"
            raise InternalError(message)
        try:
            self._consumer.seek(_kafka(source, offset))
        except KafkaException as exception:  # not fetching yet: assign it anew
            error = kafka_error(exception)
            if error.code() not in (KafkaError._STATE, KafkaError._TIMED_OUT):
                raise self._connection.error(error, f"{source} cannot be sought") from exception
            self._call(self._consumer.incremental_unassign, [_kafka(source)])
            self._call(self._consumer.incremental_assign, [_kafka(source, offset)])
            again = self._consumer.pause if source in self._paused else self._consumer.resume
            self._call(again, [_kafka(source)])
        self._forget(source)
        self._positions[source] = offset

    def _forget(self, source: TopicPartition) -> None:
        self._ends.pop(source, None)
        self._held = [batch for batch in self._held if batch.source != source]

    def caught_up(self, source: TopicPartition, at_least: int) -> bool:
        """Tell whether the end was reached since the last record, assign, resume or seek."""
        return self._ends.get(source, -1) >= at_least

    def lag(self, source: TopicPartition) -> int:
        """Count offsets up to the end that the last answers told."""
        if source in self._ends or source not in self._positions:
            return 0
        try:
            marks = self._consumer.get_watermark_offsets(_kafka(source), cached=True)
        except KafkaException:
            return 0  # nothing was fetched yet
        return max(0, marks[1] - self._positions[source])

    def _call(self, call: Callable[[list[KafkaPartition]], None], where: list[Any]) -> None:
        try:
            call(where)
        except KafkaException as exception:
            wrong = f"assignment of {where[0].topic}[{where[0].partition}] cannot change"
            raise self._connection.error(kafka_error(exception), wrong) from exception


def _kafka(source: TopicPartition, offset: int = -1001) -> KafkaPartition:
    return KafkaPartition(source.topic, source.partition, offset)
