"""Replay order by event time, for programs whose topics have one of their own.

A recording is in the order of the records' own timestamps; a task merges its inputs by event time.
Each partition is read apart, its records get their event times, and they are merged anew.
Invariant: the order is that of a replay, with event times for timestamps; a record whose event time
cannot be read keeps its own, and fails later where its policy holds.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from streamfn.clock import SystemClock
from streamfn.engine.steps import merge_time
from streamfn.graph.plan import Plan
from streamfn.graph.topology import TopicSpec
from streamfn.record import Batch, TopicPartition
from streamfn.replay.log_inputs import LogInputs, lanes_of, merged
from streamfn.replay.recording import Chunk, Inputs


def in_order(inputs: Inputs, plan: Plan, fed: frozenset[str]) -> Iterator[Chunk]:
    """Yield the records of the fed topics as the program is to see them."""
    timed = {
        source.topic.name: source.topic
        for sub in plan.subtopologies
        for source in sub.sources
        if source.topic.timestamp is not None and source.topic.name in fed
    }
    if not timed:
        return inputs.chunks(fed)
    keep: dict[str, Callable[[Batch], Batch]] = {
        name: partial(with_event_times, spec) for name, spec in timed.items()
    }
    streams = streams_of(inputs, fed)
    return merged(lanes_of(streams, dict.fromkeys(streams, (0, 0)), keep), SystemClock())


def with_event_times(topic: TopicSpec, batch: Batch) -> Batch:
    """Return the batch with the event times of its records."""
    pairs = zip(batch.values, batch.timestamps, strict=True)
    return replace(batch, timestamps=[merge_time(topic, raw, own_ms) for raw, own_ms in pairs])


def streams_of(inputs: Inputs, topics: frozenset[str]) -> dict[TopicPartition, Iterator[Batch]]:
    """Read each partition on its own; of a file, each in a pass of its own."""
    if isinstance(inputs, LogInputs):
        return inputs.partitions(topics)
    return {
        source: _of_partition(inputs, source)
        for topic in inputs.header.topics
        if topic.name in topics
        for source in (TopicPartition(topic.name, number) for number in range(topic.partitions))
    }


def _of_partition(inputs: Inputs, source: TopicPartition) -> Iterator[Batch]:
    for chunk in inputs.chunks({source.topic}):
        yield from (batch for batch in chunk if batch.source == source)
