"""The hand-written loop: what a good programmer would write for one job with confluent-kafka.

Batches of a thousand, a transactional producer, outputs produced as they are made, offsets and the
changed keys in the same transaction, state in a dictionary. It does without what an engine is for:
a restore, a rebalance, a failing record, an outcome in doubt, time order, state on disk. Invariant:
the same client settings, commit interval and garbage collector settings as streamfn's.
"""

import gc
import time
from collections.abc import Callable
from struct import Struct

import msgspec
from confluent_kafka import Consumer, KafkaException, Message, Producer

from benchmarks.kafka_case import WINDOW_MS, Figures, Order, Priced, Span, Task

CONSUMER = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "partition.assignment.strategy": "cooperative-sticky",
    "fetch.queue.backoff.ms": 20,
    "queued.max.messages.kbytes": 16_384,
}
PRODUCER = {
    "compression.type": "lz4",
    "linger.ms": 5,
    "partitioner": "murmur2_random",
    "queue.buffering.max.messages": 1_000_000,
    "queue.buffering.max.kbytes": 1_000_000,
}


Bytes = str | bytes | None
"""What the client library says a key is."""


class Job:
    """One job: a batch of messages goes in, outputs go to the producer."""

    def __init__(self, task: Task, producer: Producer) -> None:
        self.sink, self.changelog = task.sink, f"{task.id}-changelog"
        self.produce = producer.produce
        self.counts: dict[Bytes, int] = {}
        self.sums: dict[tuple[int, Bytes], float] = {}
        self.window_ms = -1
        self.changed: dict[Bytes, bytes | None] = {}
        self.changes = 0

    def passthrough(self, messages: list[Message]) -> None:
        """Hand bytes on."""
        produce, sink = self.produce, self.sink
        for message in messages:
            if message.error() is not None:
                raise KafkaException(message.error())
            produce(sink, message.value(), message.key())

    def map(self, messages: list[Message]) -> None:
        """Decode, price, encode."""
        produce, sink = self.produce, self.sink
        for message in messages:
            if message.error() is not None:
                raise KafkaException(message.error())
            order = decode(message.value())
            produce(sink, encode(Priced(order.user, order.amount * 1.2)), message.key())

    def count(self, messages: list[Message]) -> None:
        """Count the orders of each key."""
        produce, sink, counts, changed = self.produce, self.sink, self.counts, self.changed
        for message in messages:
            if message.error() is not None:
                raise KafkaException(message.error())
            decode(message.value())
            key = message.key()
            counts[key] = total = counts.get(key, 0) + 1
            changed[key] = data = b"%d" % total
            produce(sink, data, key)

    def tumbling(self, messages: list[Message]) -> None:
        """Sum the orders of each key and window; a window that is over is forgotten."""
        produce, sink, sums, changed = self.produce, self.sink, self.sums, self.changed
        for message in messages:
            if message.error() is not None:
                raise KafkaException(message.error())
            order = decode(message.value())
            key, timestamp = message.key(), message.timestamp()[1]
            start = timestamp - timestamp % WINDOW_MS
            if start > self.window_ms:
                self._forget(start)
            elif start < self.window_ms:
                continue  # late
            place = start, key
            sums[place] = total = sums.get(place, 0.0) + order.amount
            windowed = key + pack(start + WINDOW_MS, start)  # type: ignore[operator]  # it is bytes
            changed[windowed] = data = encode(total)
            produce(sink, data, windowed, timestamp=timestamp)

    def _forget(self, start: int) -> None:
        for _, key in self.sums:
            old = key + pack(self.window_ms + WINDOW_MS, self.window_ms)  # type: ignore[operator]  # it is bytes
            self.changed[old] = None
        self.sums.clear()
        self.window_ms = start

    def write_changes(self) -> None:
        """Put each changed key into the changelog once; its key leads it to its partition."""
        produce, changelog = self.produce, self.changelog
        for key, data in self.changed.items():
            produce(changelog, data, key)
        self.changes += len(self.changed)
        self.changed.clear()


decode: Callable[[bytes | None], Order] = msgspec.json.Decoder(Order).decode  # type: ignore[assignment]  # a null would raise
encode = msgspec.json.Encoder().encode
pack = Struct(">qq").pack


def run(task: Task) -> Figures:
    """Process all records of the source."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    life, span = Span(), Span()
    address = {"bootstrap.servers": task.broker, "allow.auto.create.topics": False}
    consumer = Consumer({**address, **CONSUMER, "group.id": task.id})
    producer = Producer({**address, **PRODUCER, "transactional.id": task.id})
    producer.init_transactions()
    consumer.subscribe([task.source])
    job = Job(task, producer)
    commits = _loop(task, job, consumer, producer, span)
    consumer.close()
    life.committed()
    return Figures.of(task.records, span, life, commits=commits, changes=job.changes)


def _loop(task: Task, job: Job, consumer: Consumer, producer: Producer, span: Span) -> int:
    process: Callable[[list[Message]], None] = getattr(job, task.case.job)
    interval_s, committed_s = task.commit_interval_ms / 1000, time.monotonic()
    done = commits = 0
    open_ = False
    while done < task.records or open_:
        messages = consumer.consume(1000, 0.01)
        if messages:
            if not open_:
                producer.begin_transaction()
                open_ = True
            process(messages)
            producer.poll(0)
            done += len(messages)
        elif not done:
            span.waiting()
        if open_ and time.monotonic() - committed_s >= interval_s:
            job.write_changes()
            producer.send_offsets_to_transaction(
                consumer.position(consumer.assignment()), consumer.consumer_group_metadata()
            )
            producer.commit_transaction()
            span.committed()
            open_, commits, committed_s = False, commits + 1, time.monotonic()
    return commits
