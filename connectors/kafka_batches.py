"""Messages of librdkafka as batches of columns.

They come from a consumer as one list with runs of one partition, and go on as batches and as the
ends that were reached. Invariant: no record is dropped here and none is looked at twice; what a
column costs is one call in C per record.
"""

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, cast

from confluent_kafka import KafkaError, Message

from streamfn.record import Batch, Headers, TopicPartition

Messages = list["Message[bytes, bytes]"]

KEY, VALUE, STAMP = Message.key, Message.value, Message.timestamp
OFFSET, TOPIC, PARTITION, HEADERS = (
    Message.offset,
    Message.topic,
    Message.partition,
    Message.headers,
)
SECOND: Final = itemgetter(1)
NO_STAMP: Final = -1
"""The timestamp of an event that is no record (an end, an error), and of records of old clients."""


def runs(messages: Messages) -> Iterator[tuple[TopicPartition, Messages]]:
    """Split messages where the partition changes."""
    partitions = list(map(PARTITION, messages))
    if partitions.count(partitions[0]) == len(messages) and len(set(map(TOPIC, messages))) == 1:
        yield _source(messages[0]), messages
        return
    start = 0
    for _, run in groupby(zip(map(TOPIC, messages), partitions, strict=True)):
        stop = start + sum(1 for _ in run)
        yield _source(messages[start]), messages[start:stop]
        start = stop


def _source(message: "Message[bytes, bytes]") -> TopicPartition:
    return TopicPartition(message.topic() or "", cast(int, message.partition()))


def records(source: TopicPartition, run: Messages) -> tuple[Batch | None, list[Any]]:
    """Return the records of a run as a batch, and its other messages: ends and errors."""
    stamps = list(map(SECOND, map(STAMP, run)))
    others: list[Any] = []
    if NO_STAMP in stamps:
        others = [message for message in run if message.error() is not None]
        if others:
            run = [message for message in run if message.error() is None]
            stamps = list(map(SECOND, map(STAMP, run)))
    if not run:
        return None, others
    first, last = cast(int, run[0].offset()), cast(int, run[-1].offset())
    gapless = last - first == len(run) - 1
    offsets = range(first, last + 1) if gapless else list(map(OFFSET, run))
    batch = Batch(
        source, list(map(KEY, run)), list(map(VALUE, run)), stamps, cast(Any, offsets), last + 1,
        list(map(_headers, map(HEADERS, run))) if any(map(HEADERS, run)) else None,
    )  # fmt: skip
    return batch, others


def _headers(given: Any) -> Headers:
    """Headers as we have them; a header without a value counts as an empty one."""
    return tuple((name, value or b"") for name, value in given or ())


def is_end(error: KafkaError) -> bool:
    """Tell whether an event says that a partition's end was reached."""
    return error.code() == KafkaError._PARTITION_EOF
