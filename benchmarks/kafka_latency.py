"""End-to-end latency of the count: a record is produced, its output is read by read_committed.

A thousand records a second are produced one by one and their outputs read in this one process, by
one clock; the side under test is a process of its own that commits at its interval. Each output
names its record (its key and which of that key's it is), so every record's own time is known.
Invariant: each record is answered exactly once, else there are no figures.
"""

import subprocess
import sys
import time

import msgspec
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from benchmarks.kafka_case import Task, key_of, value_of
from benchmarks.kafka_topics import QUIET, finish

KEYS = 1_000
PER_S = 1_000
START_WITHIN_S = 60.0
SETTLE_RECORDS = 2_000
"""The first of them are not counted: connections and caches are still cold."""


class Latency(msgspec.Struct, frozen=True):
    """From before ``produce`` to after ``poll``, in milliseconds."""

    interval_ms: int
    records: int
    p50_ms: float
    p99_ms: float
    longest_ms: float


def measure(task: Task) -> Latency:
    """Start a side on an empty source, keep its pace, wait for every answer."""
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.kafka_one"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdin is not None
        with child.stdin as told:
            told.write(msgspec.json.encode(task))
        driver = _Driver(task, child)
        try:
            driver.warm_up()
            taken = driver.keep_pace(task.records - KEYS)
        finally:
            finish(driver.producer)
            driver.consumer.close()
        child.wait(START_WITHIN_S)
    finally:
        child.kill()
        child.wait()
    counted = sorted(taken[SETTLE_RECORDS:])
    return Latency(
        task.commit_interval_ms, len(counted), counted[len(counted) // 2],
        counted[len(counted) * 99 // 100], counted[-1],
    )  # fmt: skip


class _Driver:
    """Produces records and sees their answers."""

    def __init__(self, task: Task, child: "subprocess.Popen[bytes]") -> None:
        address = {"bootstrap.servers": task.broker, **QUIET}
        self.source, self.child = task.source, child
        self.producer = Producer({**address, "linger.ms": 0, "partitioner": "murmur2_random"})
        self.consumer = Consumer(
            {
                **address,
                "group.id": f"{task.id}-reader",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
            }
        )
        partitions = range(task.case.partitions)
        self.consumer.assign([TopicPartition(task.sink, each, 0) for each in partitions])

    def warm_up(self) -> None:
        """Send each key once and wait until the side has started and answered."""
        for number in range(KEYS):
            self._send(number)
        answered, give_up_s = 0, time.perf_counter() + START_WITHIN_S
        while answered < KEYS:
            answered += len(self._answers())
            self._check(give_up_s, f"{answered} of {KEYS} answers")

    def keep_pace(self, records: int) -> list[float]:
        """Send so many at their times; return how long each took, in milliseconds."""
        sent_s, taken_ms = list[float](), dict[int, float]()
        start_s = time.perf_counter()
        give_up_s = start_s + records / PER_S + START_WITHIN_S
        while len(taken_ms) < records:
            now_s = time.perf_counter()
            for number in range(len(sent_s), min(records, int((now_s - start_s) * PER_S))):
                sent_s.append(time.perf_counter())
                self._send(number)
            for user, count in self._answers():
                number = (count - 2) * KEYS + user
                if number in taken_ms:
                    message = f"record {number} was answered twice"
                    raise AssertionError(message)
                taken_ms[number] = (time.perf_counter() - sent_s[number]) * 1000
            self._check(give_up_s, f"{len(taken_ms)} of {records} answers")
        return [taken_ms[number] for number in range(records)]

    def _send(self, number: int) -> None:
        user, timestamp_ms = number % KEYS, time.time_ns() // 1_000_000
        value = value_of(user, number, timestamp_ms)
        self.producer.produce(self.source, value, key_of(user), timestamp=timestamp_ms)
        self.producer.poll(0)

    def _answers(self) -> list[tuple[int, int]]:
        first = self.consumer.poll(0.001)
        answers: list[tuple[int, int]] = []
        for message in [] if first is None else [first, *self.consumer.consume(1000, 0)]:
            if message.error() is not None:
                raise KafkaException(message.error())
            key, value = message.key(), message.value()
            assert isinstance(key, bytes)
            assert value is not None
            answers.append((int(key.removeprefix(b"user-")), int(value)))
        return answers

    def _check(self, give_up_s: float, state: str) -> None:
        if time.perf_counter() > give_up_s or self.child.poll():
            message = f"latency: no more answers after {state}"
            raise AssertionError(message)
