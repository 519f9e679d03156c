"""Rows on their way into librdkafka, in a loop in C, and what it reports of them.

Columns come from ``Output.emit`` and go to ``Producer.produce``, which takes neither lists nor a
timestamp for many at once. Invariant: rows are taken in order and each once; no row has a report of
its own but the last one of a partition that was named.
"""

from collections import deque
from collections.abc import Callable, Iterable
from itertools import chain, repeat
from operator import length_hint
from typing import Any, Final

from confluent_kafka import KafkaError, Producer

from streamfn.record import Columns, TopicPartition

ANY_PARTITION: Final = -1
EXHAUST: Final = deque[Any](maxlen=0).extend
"""Runs an iterator to its end."""


class Delivery:
    """What the callbacks of one producer have told; they never raise."""

    def __init__(self) -> None:
        self.ends: dict[TopicPartition, int] = {}
        self.error: KafkaError | None = None

    def last(self, error: KafkaError | None, message: Any) -> None:
        """Take the report of a partition's last row."""
        if error is not None:
            self.failed(error, message)
        else:
            source = TopicPartition(message.topic(), message.partition())
            self.ends[source] = max(self.ends.get(source, 0), message.offset() + 1)

    def failed(self, error: KafkaError | None, message: Any) -> None:
        """Take the report of a row that was not delivered."""
        if self.error is None and error is not None:
            self.error = KafkaError(error.code(), f"{message.topic()}: {error.str()}")


def produce(
    producer: Producer,
    topic: str,
    partition: int | None,
    columns: Columns,
    start: int,
    last: Callable[..., None] | None,
) -> int:
    """Produce rows from ``start`` on; return the first one that found no room.

    The last row is reported to ``last``: its offset tells a partition's end.

    Raises:
        KafkaException: a row is refused at once.
    """
    count = len(columns)
    values = iter(columns.values[start:] if start else columns.values)
    stamps = columns.timestamps[start:] if start else columns.timestamps
    if 0 in stamps:
        stamps = [stamp or 1 for stamp in stamps]  # librdkafka takes 0 for the time of sending
    nothing = repeat(None)
    reports = nothing if last is None else chain(repeat(None, count - start - 1), (last,))
    arguments: list[Iterable[Any]] = [
        repeat(topic),
        values,
        columns.keys[start:] if start else columns.keys,
        repeat(ANY_PARTITION if partition is None else partition),
        reports,
        nothing,
        stamps,
    ]
    if columns.headers:
        given = map(columns.headers.get, range(start, count), repeat(()))
        arguments.append(map(list, given))
    try:
        EXHAUST(map(producer.produce, *arguments))
    except BufferError:
        return count - length_hint(values) - 1
    return count
