"""What writes the input while things go wrong: numbered records per key, paced, in a thread.

Invariant: within a key the numbers rise by one, in the order of the partition: the client is
idempotent. The truth is nevertheless read back from the topic, never taken from here.
"""

import random
import threading
import time
from collections import Counter
from types import TracebackType

from confluent_kafka import Producer

from tests.kafka_settings import Address


class Feeder:
    """Writes until it is told to stop; inside ``with`` it writes by itself."""

    def __init__(
        self,
        address: Address,
        topic: str,
        *,
        keys: int = 20,
        rate: int = 400,
        words: tuple[str, ...] = ("n",),
        seed: int = 1,
    ) -> None:
        self._topic, self._keys, self._rate, self._words = topic, keys, rate, words
        self._random = random.Random(seed)
        self._numbers = Counter[str]()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._at_ms = start_ms()
        self._failed: list[str] = []
        self.written = 0
        self._producer = Producer(
            {
                **address.client(),
                "enable.idempotence": True,
                "linger.ms": 5,
                "log_level": 0,
                "reconnect.backoff.max.ms": 500,
                "message.timeout.ms": 120_000,
                "partitioner": "murmur2_random",
            }
        )

    def write(self, count: int) -> None:
        """Write so many records and wait until Kafka has them."""
        self._put(count)
        self.flush()

    def say(self, key: str, value: str | bytes | None, timestamp_ms: int | None = None) -> None:
        """Write a record of one's own."""
        self._at_ms += 1
        at_ms = self._at_ms if timestamp_ms is None else timestamp_ms
        self._producer.produce(self._topic, value, key, timestamp=at_ms, on_delivery=self._told)
        self.written += 1

    def flush(self) -> None:
        """Wait until Kafka has all."""
        assert self._producer.flush(60) == 0, "the input is not taken"
        assert not self._failed, self._failed[:3]

    def __enter__(self) -> "Feeder":
        self._thread = threading.Thread(target=self._go, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
        if error is None:
            self.flush()

    def stop(self) -> None:
        """Write no more, before the block ends, and wait until Kafka has all."""
        self._end()
        self.flush()

    def _end(self) -> None:
        self._ending.set()
        if self._thread is not None:
            self._thread.join(30)

    def _go(self) -> None:
        each_s, count = 0.02, max(1, self._rate // 50)
        while not self._ending.wait(each_s):
            self._put(count)
            self._producer.poll(0)

    def _put(self, count: int) -> None:
        for _ in range(count):
            key = f"k{self._random.randrange(self._keys)}"
            self._numbers[key] += 1
            word = self._random.choice(self._words)
            self.say(key, f"{word} {key} {self._numbers[key]}")

    def _told(self, error: object, _message: object) -> None:
        if error is not None:
            self._failed.append(str(error))


def start_ms() -> int:
    """Where the times of records begin: a full second, an hour ago.

    They must not be older than the retention of topics, or a broker deletes what was just written.
    """
    return (time.time_ns() // 1_000_000_000 - 3_600) * 1_000
