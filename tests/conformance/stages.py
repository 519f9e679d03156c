"""Ops that are functions of the user's own with state and timers: dedup, running, tick and so on.

A timer answers with records of a topic: of the op's only sink, else of a topic of its own that is
read on. Invariant: they use what any program uses, ``@app.function``, its stores and ``every``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import streamfn as sf
from tests.conformance.cases import Op
from tests.conformance.functions import Text, shown
from tests.conformance.made import Build, Made, milliseconds

NULL = "null"


def build_dedup(made: Made, op: Op) -> None:
    """Hand on what differs from the last value of the key.

    A function that answers None answers nothing, so a null goes on written as a text.
    """

    @made.app.function(made.streams[op.in_], name=op.id)
    def dedup(value: str | None, last: sf.Value[str]) -> str | None:
        if value == (last.value if last.exists else None):
            return None
        if value is None:
            last.delete()
            return NULL
        last.value = value
        return "=" + value

    def read(text: Text) -> Any:
        return None if text is None or text == NULL else text[1:]

    made.streams[op.id] = dedup.map_values(read, value=str, name=f"{op.id}-read")


def build_running(made: Made, op: Op) -> None:
    """Number the records of each key."""

    @made.app.function(made.streams[op.in_], name=op.id)
    def running(value: str | None, seen: sf.Value[int]) -> str:
        seen.value += 1
        return f"{seen.value}:{shown(value)}"

    made.streams[op.id] = running


def build_tick(made: Made, op: Op) -> None:
    """Count records, those without a key too: a store takes none of these, so it is in memory."""
    sink, seen = _sink(made, op), [0]

    @made.app.function(made.streams[op.in_], to=(sink,), name=op.id)
    def count(value: str | None, context: sf.Context[str]) -> None:
        seen[0] += 1

    @count.every(milliseconds(op.every), clock=op.clock)
    def tick(context: sf.Context[str]) -> sf.Outgoing[str, str]:
        counted, seen[0] = seen[0], 0
        return sink.record(key="tick", value=str(counted), timestamp_ms=context.timestamp_ms)

    _go_on(made, op, count, sink)


def build_flush_store(made: Made, op: Op) -> None:
    """Keep the last value of each key, or share a table's store, and send all at each tick."""
    if op.store is not None:
        _flush_shared(made, op, made.stores[op.store])
        return
    sink = _sink(made, op)

    @made.app.function(made.streams[op.in_], to=(sink,), name=op.id)
    def keep(value: str | None, context: sf.Context[str], kept: sf.Store[str, str]) -> None:
        if value is None:
            kept.pop(context.key, None)
        else:
            kept[context.key] = value

    @keep.every(milliseconds(op.every), clock=op.clock)
    def flush(context: sf.Context[str], kept: sf.Store[str, str]) -> Iterator[Sent]:
        for key, value in kept.items():
            yield sink.record(key=key, value=value, timestamp_ms=context.timestamp_ms)

    _go_on(made, op, keep, sink)


def _flush_shared(made: Made, op: Op, table: sf.Table[str, str]) -> None:
    sink = _sink(made, op)

    @made.app.function(made.streams[op.in_], to=(sink,), name=op.id)
    def ignore(value: str | None, kept: sf.Store[str, str] = table) -> None:
        """Only its timer does something."""

    @ignore.every(milliseconds(op.every), clock=op.clock)
    def flush(context: sf.Context[str], kept: sf.Store[str, str]) -> Iterator[Sent]:
        for key, value in kept.items():
            yield sink.record(key=key, value=value, timestamp_ms=context.timestamp_ms)

    _go_on(made, op, ignore, sink)


def build_expire(made: Made, op: Op) -> None:
    """Forget keys that were not heard of for a time, and say so."""
    sink = _sink(made, op)

    @made.app.function(made.streams[op.in_], to=(sink,), name=op.id)
    def hear(value: str | None, context: sf.Context[str], heard: sf.Store[str, int]) -> None:
        if value is None:
            heard.pop(context.key, None)
        else:
            heard[context.key] = max(heard.get(context.key, -1), context.timestamp_ms)

    @hear.every(milliseconds(op.every), clock=op.clock)
    def expire(context: sf.Context[str], heard: sf.Store[str, int]) -> Iterator[Sent]:
        now_ms = context.timestamp_ms
        for key, at_ms in list(heard.items()):
            if at_ms + op.ttl <= now_ms:
                del heard[key]
                yield sink.record(key=key, value=f"expired:{at_ms}", timestamp_ms=now_ms)

    _go_on(made, op, hear, sink)


Sent = sf.Outgoing[str, str]


def _sink(made: Made, op: Op) -> sf.Topic[str, str]:
    """Where an op's timer writes to."""
    users = made.case.users(op.id)
    if len(users) == 1 and users[0].op == "to":
        made.answered.add(op.id)
        return made.topic(users[0].topic)
    return made.topic(f"{op.id}-answers")


def _go_on(made: Made, op: Op, function: sf.Stream[str, Any], sink: sf.Topic[str, str]) -> None:
    """Read the timer's answers in the sub-topology of its function, as Kafka Streams does."""
    if op.id not in made.answered:
        answers = made.app.stream(sink)
        made.streams[op.id] = function.merge(answers, name=f"{op.id}-read")


STAGES: Mapping[str, Build] = {
    "dedup": build_dedup,
    "running": build_running,
    "tick": build_tick,
    "flush_store": build_flush_store,
    "expire": build_expire,
}
