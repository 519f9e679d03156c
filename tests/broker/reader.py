"""An independent look at Kafka: a plain read_committed consumer that knows nothing of streamfn.

Invariant: ``records`` holds every committed record of the topic up to an end that was asked for
with open transactions included, in the order of each partition, and each once.
"""

import time
import uuid
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from tests.broker.client import Client
from tests.kafka_settings import Address

PATIENCE_S = 120.0


class Seen(NamedTuple):
    """A committed record, as text."""

    partition: int
    offset: int
    key: str
    value: str | None
    timestamp_ms: int
    headers: dict[str, str]


class Reader:
    """One topic, read on and on."""

    def __init__(self, address: Address, client: Client, topic: str) -> None:
        self._client, self._topic = client, topic
        self._consumer = Consumer(
            {
                **address.client(),
                "group.id": f"reader-{uuid.uuid4().hex}",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "log_level": 0,
                "reconnect.backoff.max.ms": 500,
            }
        )
        self._next: dict[int, int] = {}
        self.records: list[Seen] = []
        self.raw: dict[int, dict[bytes, bytes | None]] = {}
        """The last value of each key by partition, as a table of the topic holds it."""

    def close(self) -> None:
        """Leave."""
        self._consumer.close()

    def look(self) -> int:
        """Take what is there now, without waiting for more; return how many have been seen."""
        self._join()
        for message in self._consumer.consume(10_000, 0.1):
            self._take(message)
        return len(self.records)

    def to_end(self) -> list[Seen]:
        """Read up to the ends of now, open transactions included; return all that was seen."""
        self._join()
        ends = self._client.ends(self._topic)
        deadline_s = time.monotonic() + PATIENCE_S
        while any(self._next.get(partition, 0) < end for partition, end in ends.items()):
            assert time.monotonic() < deadline_s, f"{self._topic} is read to {self._next} of {ends}"
            for message in self._consumer.consume(10_000, 0.1):
                self._take(message)
        return self.records

    def _join(self) -> None:
        """Read all partitions that there are, new ones too."""
        found = set(self._client.ends(self._topic)) - set(self._next)
        if found:
            self._next |= dict.fromkeys(found, 0)
            self._consumer.incremental_assign([TopicPartition(self._topic, p, 0) for p in found])

    def _take(self, message: Message) -> None:
        error = message.error()
        partition, offset = message.partition(), message.offset()
        assert partition is not None, error
        assert offset is not None, error
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                self._next[partition] = offset
            return
        self._next[partition] = offset + 1
        key, value = as_bytes(message.key()) or b"", as_bytes(message.value())
        self.raw.setdefault(partition, {})[key] = value
        self.records.append(
            Seen(
                partition, offset, key.decode(errors="replace"),
                None if value is None else value.decode(errors="replace"), message.timestamp()[1],
                headers_of(message),
            )
        )  # fmt: skip


def as_bytes(given: object) -> bytes | None:
    """What a plain consumer gives is bytes or nothing, whatever its types allow."""
    assert given is None or isinstance(given, bytes)
    return given


def headers_of(message: Message) -> dict[str, str]:
    """The headers of a message, as text."""
    headers: Any = message.headers() or ()
    return {name: (raw or b"").decode() for name, raw in headers}
