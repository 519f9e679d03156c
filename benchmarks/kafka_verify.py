"""Every output is read back, committed ones only, and compared with what the input demands.

The *i*-th output of a partition must be what the *i*-th record of the input's partition makes, so
that a record that is missing, doubled or out of order shows. For a count the changelog is folded
and compared with the totals too. Invariant: a figure is printed only after this.
"""

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest

import msgspec
from confluent_kafka import Message

from benchmarks.kafka_case import LOOP, WINDOW_MS, Order, Priced, Task
from benchmarks.kafka_topics import Topics

Pair = tuple[bytes, bytes]


class Timed(msgspec.Struct):
    """The fields of an order that a window asks for."""

    amount: float
    ts: int


_timed = msgspec.json.Decoder(Timed).decode
_order = msgspec.json.Decoder(Order).decode
_json = msgspec.json.Encoder().encode


def verify(task: Task, topics: Topics) -> None:
    """Check all that a run has written.

    Raises:
        AssertionError: an output or a state is not what the input demands.
    """
    changelog = f"{task.id}-changelog" if task.side == LOOP else ""
    if task.side != LOOP and task.case.job == "count":
        [changelog] = [name for name in topics.names(task.id) if name.endswith("-changelog")]
    for partition in range(task.case.partitions):
        totals = Counter[bytes]()
        inputs = pairs(topics.read(task.source, partition))
        outputs = pairs(topics.read(task.sink, partition))
        compare(f"partition {partition}", expected(task.case.job, inputs, totals), outputs)
        if task.case.job == "count":
            changes = pairs(topics.read(changelog, partition))
            compare_state(totals, changes, int if task.side == LOOP else from_state)


def expected(job: str, inputs: Iterable[Pair], totals: Counter[bytes]) -> Iterator[Pair]:
    """Yield the outputs that inputs demand; ``totals`` counts them by key."""
    sums: dict[bytes, float] = {}
    for key, value in inputs:
        totals[key] += 1
        if job == "passthrough":
            yield key, value
        elif job == "map":
            order = _order(value)
            yield key, _json(Priced(order.user, order.amount * 1.2))
        elif job == "tumbling":
            yield _summed(key, value, sums)
        else:
            yield key, b"%d" % totals[key]


def _summed(key: bytes, value: bytes, sums: dict[bytes, float]) -> Pair:
    """The sum of an order's window, under the key that Kafka Streams would write."""
    order = _timed(value)
    start_ms = order.ts - order.ts % WINDOW_MS
    windowed = key + struct.pack(">qq", start_ms + WINDOW_MS, start_ms)
    sums[windowed] = sums.get(windowed, 0.0) + order.amount
    return windowed, _json(sums[windowed])


def compare(where: str, wanted: Iterable[Pair], found: Iterable[Pair]) -> int:
    """Return how many there are if all are alike."""
    number = -1
    for number, (one, other) in enumerate(zip_longest(wanted, found)):
        if one != other:
            message = f"{where}, output {number}: expected {one!r}, found {other!r}"
            raise AssertionError(message)
    return number + 1


def compare_state(
    totals: Counter[bytes], changes: Iterable[Pair], decode: Callable[[bytes], int]
) -> None:
    """The last change of each key is its total."""
    state = {key: decode(value) for key, value in changes}
    if state != totals:
        wrong = next(key for key in {**totals, **state} if state.get(key) != totals.get(key))
        message = f"{wrong!r} is {state.get(wrong)} in the changelog, expected {totals[wrong]}"
        raise AssertionError(message)


def from_state(value: bytes) -> int:
    """Decode a count as streamfn keeps it."""
    return msgspec.msgpack.decode(value, type=int)


def pairs(messages: Iterable[Message]) -> Iterator[Pair]:
    """Keys and values; none is null in a benchmark."""
    for message in messages:
        key, value = message.key(), message.value()
        assert isinstance(key, bytes)
        assert isinstance(value, bytes)
        yield key, value
