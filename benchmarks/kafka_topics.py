"""Topics of a benchmark: inputs that are filled once per broker, and what a run leaves behind.

Invariant: an input is used only if its ends say that it holds every record exactly once; whatever
a run has made begins with the run's id and is deleted by it.
"""

import sys
from collections.abc import Iterator

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it re-exports without saying so
    AdminClient,
    NewTopic,
    OffsetSpec,
)

from benchmarks.kafka_case import Case, orders

PREFIX = "streamfn-bench-"
TIMEOUT_S = 60.0

QUIET = {"log_level": 0}
"""The client library tells of each topic and broker that goes; what matters here is raised."""
FOREVER = {"retention.ms": "-1"}
"""Records bear timestamps of long ago: a broker's default would delete them while they are read."""


class Topics:
    """Administration of one broker."""

    def __init__(self, broker: str) -> None:
        self.broker = broker
        self._admin = AdminClient({"bootstrap.servers": broker, **QUIET})

    def create(self, name: str, partitions: int, config: dict[str, str]) -> None:
        """Create a topic and wait until the broker lists it."""
        topic = NewTopic(name, partitions, -1, config=config)
        for made in self._admin.create_topics([topic]).values():
            made.result(TIMEOUT_S)
        while len(self._partitions(name)) != partitions:
            pass

    def names(self, prefix: str) -> list[str]:
        """List the topics whose names begin so."""
        return [
            name
            for name in self._admin.list_topics(timeout=TIMEOUT_S).topics
            if name.startswith(prefix)
        ]

    def delete(self, prefix: str) -> None:
        """Delete the topics whose names begin so."""
        names = self.names(prefix)
        for gone in self._admin.delete_topics(names).values() if names else ():
            gone.result(TIMEOUT_S)

    def ends(self, name: str) -> dict[int, int]:
        """The uncommitted end of each partition."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # it has no annotation
        asked = {TopicPartition(name, each): latest for each in self._partitions(name)}
        found = self._admin.list_offsets(asked, isolation_level=IsolationLevel.READ_UNCOMMITTED)
        return {each.partition: future.result(TIMEOUT_S).offset for each, future in found.items()}

    def _partitions(self, name: str) -> list[int]:
        found = self._admin.list_topics(name, timeout=TIMEOUT_S).topics[name]
        return [] if found.error is not None else [*found.partitions]

    # inputs
    def fill(self, case: Case, records: int) -> str:
        """Have the input of a case on the broker; return its topic."""
        name = f"{PREFIX}in-{case.keys}-{case.partitions}-{records}"
        if name in self.names(name):
            if sum(self.ends(name).values()) == records:
                return name
            self.delete(name)
        self.create(name, case.partitions, FOREVER)
        producer = filler(self.broker)
        for number, (key, value, timestamp_ms) in enumerate(orders(case.keys, records)):
            producer.produce(name, value, key, timestamp=timestamp_ms)
            if number % 1000 == 0:
                producer.poll(0)
        finish(producer)
        return name

    # reading
    def read(self, topic: str, partition: int) -> Iterator[Message]:
        """Yield the committed records of a partition up to its end as of now."""
        end = self.ends(topic)[partition]
        consumer = Consumer(
            {
                "bootstrap.servers": self.broker,
                "group.id": f"{PREFIX}reader",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "fetch.queue.backoff.ms": 20,
                **QUIET,
            }
        )
        consumer.assign([TopicPartition(topic, partition, 0)])
        try:
            yield from _until(consumer, end)
        finally:
            consumer.close()


def _until(consumer: Consumer, end: int) -> Iterator[Message]:
    """The end is an EOF event at it: the last offsets may be markers of transactions."""
    position, quiet = 0, 0
    while position < end:
        messages = consumer.consume(1000, 0.5)
        quiet = 0 if messages else quiet + 1
        if quiet * 0.5 > TIMEOUT_S:
            message = f"nothing to read for {TIMEOUT_S:.0f} s at offset {position} of {end}"
            raise AssertionError(message)
        for each in messages:
            error, offset = each.error(), each.offset()
            assert offset is not None
            if error is None:
                yield each
                position = offset + 1
            elif error.code() == error._PARTITION_EOF:
                position = offset
            else:
                raise KafkaException(error)


def filler(broker: str, **more: object) -> Producer:
    """A producer that writes what is not measured."""
    return Producer(
        {
            "bootstrap.servers": broker,
            "linger.ms": 20,
            "compression.type": "lz4",
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "queue.buffering.max.messages": 2_000_000,
            "queue.buffering.max.kbytes": 2_000_000,
            **QUIET,
            **more,
        }
    )


def finish(producer: Producer) -> None:
    """See that everything is written."""
    if producer.flush(TIMEOUT_S):
        message = f"{len(producer)} records could not be written"
        raise AssertionError(message)


if __name__ == "__main__":
    _, _broker, _keys, _partitions, _records = sys.argv
    print(Topics(_broker).fill(Case("", int(_keys), int(_partitions)), int(_records)))
