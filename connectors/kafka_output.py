"""What a worker writes: one producer, its transactions, and what its errors mean.

Rows come from ``KafkaLog.emit`` and go to the brokers; positions join them in the transaction.
Invariant: after an error nothing more goes through this producer until ``open`` has replaced it, or
has aborted a transaction that is known to have left nothing behind.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from streamfn.clock import Clock
from streamfn.connectors.kafka_errors import RIGHTS, STALE, Connection, kafka_error
from streamfn.connectors.kafka_positions import kafka_offsets
from streamfn.connectors.kafka_rows import Delivery, produce
from streamfn.connectors.log import Committed
from streamfn.errors import AbortedError, InternalError, LogError, RefusedError
from streamfn.record import TIME_END_MS, Columns, TopicPartition

CALL_TIMEOUT_S: Final = 10.0
"""Below the transaction's time-out, so that an answer comes before the broker gives up."""

LATE_MAX: Final = 3
"""So many time-outs of one producer that is to be opened, and another one is made."""


class Output:
    """The producer of a log."""

    def __init__(
        self,
        transactional: Callable[[], Producer] | None,
        plain: Callable[[Callable[[KafkaError | None, Any], None]], Producer],
        width: Callable[[str], int],
        denied: Callable[[Iterable[str], str], list[str]],
        ends: Callable[[Iterable[TopicPartition]], dict[TopicPartition, int]],
        connection: Connection,
        clock: Clock,
        *,
        prompt_s: float,
    ) -> None:
        """Take what makes producers; without ``transactional`` ones rows go out at least once.

        A call that took less than ``prompt_s`` was not sent a second time by librdkafka.
        """
        self._transactional, self._plain = transactional, plain
        self._width, self._denied, self._ends = width, denied, ends
        self._connection, self._clock, self._prompt_s = connection, clock, prompt_s
        self._producer: Producer | None = None
        self._opening: Producer | None = None
        self._delivery = Delivery()
        self._is_open = self._unflushed = self._can_abort = False
        self._failures = self._late = 0
        self._widths: dict[str, int] = {}
        self._named: set[TopicPartition] = set()

    def open(self) -> None:
        """Make a producer; what an older one left open is aborted by it.

        Where only our membership was refused, and promptly, the transaction is aborted and the
        producer stays: that takes a fifth of the time.

        Raises:
            LogError: if retriable, call again: it goes on where it was.
        """
        if self._aborted():
            return
        self._drop()
        if self._transactional is None:
            self._delivery = Delivery()
            self._producer = self._plain(self._delivery.failed)
            return
        if self._opening is None:
            self._delivery = Delivery()
            self._opening = self._transactional()
        self._begin_epoch(self._opening)
        self._producer, self._opening = self._opening, None
        self._failures = self._connection.failures

    def _aborted(self) -> bool:
        if self._producer is None or not self._can_abort:
            return False
        self._can_abort = False
        started_s = self._clock.monotonic_s()
        try:
            self._producer.abort_transaction(CALL_TIMEOUT_S)
        except KafkaException:
            return False
        self._is_open = self._unflushed = False
        return self._clock.monotonic_s() - started_s < self._prompt_s

    def _begin_epoch(self, producer: Producer) -> None:
        wrong = "producer cannot be opened"
        deadline_s = self._clock.monotonic_s() + CALL_TIMEOUT_S
        while True:
            try:
                producer.init_transactions(1.0)
            except KafkaException as exception:
                error = kafka_error(exception)
                again = error.retriable() and not error.fatal()
                late = self._clock.monotonic_s() > deadline_s
                self._late += late
                if not again or self._late >= LATE_MAX:  # it may never hear of its brokers again
                    self._opening, self._late = None, 0
                self._hear(producer, wrong)
                self._connection.check()
                if not again or late:
                    raise self._connection.error(error, wrong) from exception
            else:
                self._connection.answered()
                self._late = 0
                return

    def _hear(self, producer: Producer, wrong: str, timeout_s: float = 0) -> None:
        """Have reports and errors of connections told; a client that failed for good raises."""
        try:
            producer.poll(timeout_s)
        except KafkaException as exception:
            self._opening = None
            raise self._connection.of_producer(kafka_error(exception), wrong) from exception

    def _drop(self) -> None:
        if self._producer is not None:
            self._producer.purge(blocking=False)
        self._producer = None
        self._is_open = self._unflushed = self._can_abort = False

    def begin(self) -> None:
        """Start a transaction; with a new producer if a broker was lost since this one was made.

        In 2.16.1 ``send_offsets`` was seen never to return, whatever its time-out, when the
        coordinator had been away: before this transaction, or while its rows were flushed.

        Raises:
            LogError: if retriable, the brokers do not answer.
        """
        if self._producer is None or self._is_open:
            message = (
                "a transaction cannot begin; one is open, failed, or there is no producer; "
                "call open_producer first"
            )
            raise InternalError(message)
        self._producer.poll(0)  # has lost connections told
        if self._transactional is not None and self._connection.failures != self._failures:
            self._drop()
            self.open()
        self._delivery.ends.clear()
        self._named.clear()
        if self._transactional is not None:
            self._call(self._producer.begin_transaction, "transaction cannot begin")
        self._is_open, self._unflushed = True, False

    def producer(self, call: str) -> Producer:
        """Return the producer of the open transaction."""
        if self._producer is None or not self._is_open:
            message = f"{call} needs a transaction; got none; call begin first"
            raise InternalError(message)
        return self._producer

    def _call(self, call: Callable[..., Any], wrong: str, *arguments: Any) -> None:
        try:
            call(*arguments)
        except KafkaException as exception:
            raise self._connection.of_producer(kafka_error(exception), wrong) from exception

    # rows
    def emit(self, topic: str, partition: int | None, columns: Columns) -> None:
        """Give rows to the producer, which copies them.

        Raises:
            RefusedError: the topic or the partition does not exist, or a row can never be sent.
        """
        producer = self.producer("emit")
        if not len(columns):
            return
        self._check(topic, partition, columns)
        self._unflushed = True
        last = None
        if partition is not None:
            self._named.add(TopicPartition(topic, partition))
            last = self._delivery.last if self._transactional is not None else None
        row, deadline_s = 0, self._clock.monotonic_s() + CALL_TIMEOUT_S
        while row < len(columns):
            try:
                row = produce(producer, topic, partition, columns, row, last)
            except KafkaException as exception:
                self._check_health(producer, f"records for {topic!r} are not sent")
                wrong = f"a record for {topic!r} cannot be sent"
                raise self._connection.of_producer(kafka_error(exception), wrong) from exception
            wrong = f"records for {topic!r} are not sent"
            self._hear(producer, wrong, 0 if row == len(columns) else 0.05)
            if row < len(columns) and self._clock.monotonic_s() > deadline_s:
                raise self._untaken(len(columns) - row)

    def _check(self, topic: str, partition: int | None, columns: Columns) -> None:
        count = self._widths.get(topic, 0)
        if not count or (partition is not None and partition >= count):
            count = self._widths[topic] = self._width(topic)
        if not count:
            message = (
                f"topic {topic!r} does not exist; got {len(columns)} records for it; create it "
                "with 'streamfn topics create', or run with --create-topics"
            )
            raise RefusedError(message)
        if partition is not None and not 0 <= partition < count:
            message = (
                f"topic {topic!r} has {count} partitions; got records for partition {partition}; "
                "choose one of them, or None to go by key"
            )
            raise RefusedError(message)
        least, most = min(columns.timestamps), max(columns.timestamps)
        if least < 0 or most >= TIME_END_MS:
            when, got = ("before 1970", least) if least < 0 else ("after 9999", most)
            message = (
                f"a record for {topic!r} has a time {when}; got {got} ms; give it a timestamp in "
                "milliseconds since the epoch"
            )
            raise RefusedError(message)

    def forget(self, topic: str) -> None:
        """Look a topic up again when next written to."""
        self._widths.pop(topic, None)

    def flush(self) -> dict[TopicPartition, int]:
        """Wait until the brokers have all rows; return the ends of partitions named in ``emit``."""
        producer, wrong = self.producer("flush"), "records are not taken"
        if self._unflushed:
            try:
                left = producer.flush(CALL_TIMEOUT_S)
            except KafkaException as exception:
                found = self._connection.of_producer(kafka_error(exception), wrong)
                raise found from exception
            self._check_health(producer, wrong)
            if left:
                raise self._untaken(left)
            self._connection.answered()
            self._unflushed = False
            if self._transactional is None:  # only failures are reported
                self._delivery.ends.update(self._ends(self._named))
        return dict(self._delivery.ends)

    def _untaken(self, records: int) -> LogError:
        message = (
            f"{records} records are not taken; {self._connection.silence()}; they are sent again"
        )
        return LogError(message, retriable=True)

    def _check_health(self, producer: Producer, wrong: str) -> None:
        """Raise what has gone wrong behind our back.

        Beginning again is refused either as out of turn, which says that all is well, or with the
        error that the transaction has come to: asking so spares a report for each record.
        """
        error = self._delivery.error
        if self._transactional is not None:
            try:
                producer.begin_transaction()
            except KafkaException as exception:
                found = kafka_error(exception)
                error = None if found.code() == KafkaError._STATE else found
        if error is not None:
            self._delivery.error = None
            raise self._connection.of_producer(error, self._named_in(wrong, error))

    def _named_in(self, wrong: str, error: KafkaError) -> str:
        """Say which topics we may not write to: the error of a transaction does not."""
        if error.code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return wrong
        try:
            names = self._denied(self._widths, "WRITE")
        except LogError:
            return wrong
        return f"{wrong} by {', '.join(map(repr, names))}" if names else wrong

    # positions and the end
    def send_offsets(
        self, offsets: Mapping[TopicPartition, Committed], group: Callable[[], bytes]
    ) -> None:
        """Add positions to the transaction, in the name of a member as it is now.

        Not if a broker was lost meanwhile: see ``begin``.
        """
        producer = self.producer("send_offsets")
        if self._connection.failures != self._failures:
            message = (
                "positions are not sent; the connection was lost in this transaction; its records "
                "are processed again"
            )
            raise AbortedError(message)
        started_s = self._clock.monotonic_s()
        try:
            sent = kafka_offsets(offsets)
            producer.send_offsets_to_transaction(sent, group(), CALL_TIMEOUT_S)
        except KafkaException as exception:
            error = kafka_error(exception)
            prompt = self._clock.monotonic_s() - started_s < self._prompt_s
            self._can_abort = error.code() in STALE and prompt and not self._unflushed
            wrong = "positions are not taken"
            if error.code() in RIGHTS:  # on what was read: no record's fault
                raise self._connection.error(error, wrong) from exception
            raise self._connection.of_producer(error, wrong) from exception
        except AbortedError:
            self._can_abort = not self._unflushed
            raise

    def commit(self) -> None:
        """Commit the transaction; may be called again after a retriable unknown outcome."""
        producer = self.producer("commit")
        if self._unflushed:
            self.flush()
        if self._transactional is not None:
            try:
                producer.commit_transaction(CALL_TIMEOUT_S)
            except KafkaException as exception:
                raise self._connection.of_commit(kafka_error(exception)) from exception
            self._connection.answered()
        self._is_open = False

    def close(self) -> None:
        """Let the producer go, and with it what is not committed."""
        self._drop()
        self._opening = None
