"""Topics of an embedded log in memory, and what a replay reads of them."""

from collections.abc import Iterable, Sequence
from functools import partial

from streamfn.clock import CountingRandom, ManualClock
from streamfn.connectors.embedded import EmbeddedLog
from streamfn.connectors.log import Log
from streamfn.record import Columns, TopicPartition
from streamfn.replay.log_inputs import LogInputs
from streamfn.replay.ranges import Ranges, Span, resolve
from streamfn.replay.recording import Chunk, Inputs
from streamfn.replay.roles import Selected, header_of
from streamfn.replay.sample import Keep
from streamfn.rocks import Memory

NOW_MS = 1_000_000_000_000
Row = tuple[TopicPartition, int, bytes | None, int]
"""Partition, offset, key, time."""


def opened_log() -> EmbeddedLog:
    """Open an empty log with a producer."""
    log = EmbeddedLog(Memory, clock=ManualClock(NOW_MS), random=CountingRandom(), group="g")
    log.open_producer()
    return log


def write(log: EmbeddedLog, topic: str, partition: int, times_ms: Sequence[int]) -> None:
    """Write a record for each time, in one transaction; keys and values tell which it is."""
    end = log.end_offsets([TopicPartition(topic, partition)])[TopicPartition(topic, partition)]
    columns = Columns.empty()
    for number, time_ms in enumerate(times_ms, end):
        columns.add(b"k%d" % number, b"v%d" % number, time_ms)
    log.begin()
    log.emit(topic, partition, columns)
    log.flush()
    log.commit()


def inputs_of(log: Log, ranges: Ranges, keep: dict[str, Keep] | None = None) -> LogInputs:
    """Read ranges of a log."""
    selected = Selected(dict.fromkeys(ranges, "other"), ranges)
    header = header_of(log, selected, application="", source="test", now_ms=NOW_MS)
    return LogInputs(log, header, place="the log", keep=keep, clock=ManualClock())


def all_of(log: EmbeddedLog, *topics: str) -> LogInputs:
    """Read topics from their begin to their end."""
    return inputs_of(log, resolve(log, topics, Span(), NOW_MS))


def in_order(chunks: Iterable[Chunk]) -> list[Row]:
    """Return the records of chunks by their ranks, and check that these ascend and are whole."""
    found: dict[int, Row] = {}
    for chunk in chunks:
        ranks: list[int] = []
        for batch in chunk:
            assert batch.ranks is not None
            assert list(batch.ranks) == sorted(batch.ranks)
            ranks += batch.ranks
            rows = zip(batch.offsets, batch.keys, batch.timestamps, strict=True)
            for rank, row in zip(batch.ranks, rows, strict=True):
                found[rank] = (batch.source, *row)
        assert not found or min(ranks) > max(set(found) - set(ranks), default=-1)
    assert list(sorted(found)) == list(range(len(found)))
    return [found[rank] for rank in sorted(found)]


def rows_of(inputs: Inputs, topics: set[str] | None = None) -> list[Row]:
    """Return the records of inputs in order."""
    return in_order(inputs.chunks(topics))


def expected(written: dict[TopicPartition, list[int]]) -> list[Row]:
    """Sort all records as the contract says."""
    rows: list[tuple[int, TopicPartition, int, int]] = []
    for source, times in written.items():
        highest = partial(max, default=0)
        rows += [(highest(times[: n + 1]), source, n, at) for n, at in enumerate(times)]
    return [(source, n, b"k%d" % n, at) for _, source, n, at in sorted(rows)]
