"""Records of a log in the order of a replay: its topics merged as ``Inputs``.

Partitions are read side by side and handed on in chunks, up to the *safe horizon*: the lowest of
the times that the partitions not at their end have come to. Invariant: the order is that of a sort
by (highest timestamp so far in the partition, topic, partition, offset), wherever chunks end, and
what is held in memory is bounded however far the partitions are apart in time.
"""

import logging
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, chain
from operator import itemgetter
from typing import Final

from streamfn.clock import Clock, SystemClock
from streamfn.connectors.log import Log
from streamfn.record import Batch, TopicPartition
from streamfn.replay.boundary import Boundary
from streamfn.replay.recording import Chunk, Entry, Header
from streamfn.replay.sample import Keep

log_ = logging.getLogger("streamfn")

CHUNK_ROWS: Final = 8_192
"""About how many records a chunk has."""
CHUNK_BYTES: Final = 32 << 20
"""And how many bytes, if they are large."""
SAY_EVERY_S: Final = 10.0


class LogInputs:
    """A log's topics, or parts of them, as a replay reads them."""

    def __init__(
        self,
        log: Log,
        header: Header,
        *,
        place: str,
        keep: Mapping[str, Keep] | None = None,
        boundary: Boundary | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Read what ``header`` says; ``keep`` thins topics out, by name."""
        self._log, self.header, self.place = log, header, place
        self._keep, self._boundary = keep or {}, boundary
        self._clock = clock or SystemClock()
        self.passed = 0
        """Offsets that the pass under way has read."""

    @property
    def total(self) -> int | None:
        """How many offsets there are: as many records, but for marks of transactions."""
        return sum(r.end - r.start for topic in self.header.topics for r in topic.ranges.values())

    def state(self) -> Iterator[Entry]:
        """Yield the entries of the stores at the boundary."""
        return iter(()) if self._boundary is None else self._boundary.entries()

    def chunks(self, topics: Container[str] | None = None) -> Iterator[Chunk]:
        """Yield the records, or those of some topics, in order.

        Raises:
            LogError: records are deleted before they were read, or the log does not answer.
        """

        def passed(count: int) -> None:
            self.passed = count

        self.passed = 0
        ranges = self._ranges(topics)
        lanes = lanes_of(self._log.read_many(ranges), ranges, self._keep)
        return merged(lanes, self._clock, passed)

    def partitions(self, topics: Container[str]) -> dict[TopicPartition, Iterator[Batch]]:
        """Read the partitions of some topics side by side, each in its own order."""
        streams = self._log.read_many(self._ranges(topics))
        return {
            source: map(self._keep[source.topic], batches)
            if source.topic in self._keep
            else batches
            for source, batches in streams.items()
        }

    def _ranges(self, topics: Container[str] | None) -> dict[TopicPartition, tuple[int, int]]:
        return {
            TopicPartition(topic.name, number): (span.start, span.end)
            for topic in self.header.topics
            if topics is None or topic.name in topics
            for number, span in topic.ranges.items()
        }

    def close(self) -> None:
        """Drop the state that was copied; the log belongs to whoever opened it."""
        if self._boundary is not None:
            self._boundary.close()


class Lane:
    """One partition on its way into the merge: what is loaded and not handed on."""

    def __init__(
        self,
        source: TopicPartition,
        span: tuple[int, int],
        batches: Iterator[Batch],
        place: int,
        lanes: int,
        keep: Mapping[str, Keep],
    ) -> None:
        self.source, self._span, self._batches = source, span, batches
        self._place, self._lanes, self._keep = place, lanes, keep.get(source.topic)
        self._loaded: deque[tuple[Batch, list[int]]] = deque()
        self._highest_ms: int | None = None
        self.rows = self._bytes = 0
        self.passed = 0
        """Offsets of the range that were read."""
        self.at_end = False

    @property
    def ready(self) -> bool:
        """True if it is known what comes next from here."""
        return self.at_end or self.rows > 0

    def wants(self, rows_max: int, bytes_max: int) -> bool:
        """True if more is to be loaded, as little is here."""
        return not self.at_end and self.rows < rows_max and self._bytes < bytes_max

    def load(self) -> bool:
        """Take the next batch; False if nothing has come for now."""
        batch = next(self._batches, None)
        if batch is None:
            self.at_end, self.passed = True, self._span[1] - self._span[0]
            return False
        came, self.passed = len(batch) > 0, batch.next_offset - self._span[0]
        if came and self._keep is not None:
            batch = self._keep(batch)
        if len(batch):
            self._loaded.append((batch, self._orders(batch.timestamps)))
            self.rows += len(batch)
            self._bytes += size_of(batch)
        return came

    def _orders(self, timestamps: Sequence[int]) -> list[int]:
        """What each record is sorted by: the highest time so far, then the partition."""
        first = timestamps[0] if self._highest_ms is None else self._highest_ms
        highest = list(accumulate(timestamps, max, initial=first))[1:]
        self._highest_ms = highest[-1]
        lanes, place = self._lanes, self._place
        return [time_ms * lanes + place for time_ms in highest]

    @property
    def horizon(self) -> int | None:
        """What comes later is sorted behind this; None at the end."""
        return None if self.at_end else self._loaded[-1][1][-1]

    def take(self, horizon: int | None) -> Iterator[tuple[Batch, list[int]]]:
        """Hand on what is sorted up to the horizon."""
        while self._loaded:
            batch, orders = self._loaded[0]
            stop = len(orders) if horizon is None else bisect_right(orders, horizon)
            if stop < len(orders):
                if stop:
                    self._loaded[0] = batch.part(stop, len(orders)), orders[stop:]
                    yield self._taken(batch.part(0, stop)), orders[:stop]
                return
            self._loaded.popleft()
            yield self._taken(batch), orders

    def _taken(self, batch: Batch) -> Batch:
        self.rows -= len(batch)
        self._bytes -= size_of(batch)
        return batch


def lanes_of(
    streams: Mapping[TopicPartition, Iterator[Batch]],
    ranges: Mapping[TopicPartition, tuple[int, int]],
    keep: Mapping[str, Keep],
) -> list[Lane]:
    """Make the lanes of a merge: one a partition."""
    return [
        Lane(source, ranges[source], streams[source], place, len(streams), keep)
        for place, source in enumerate(sorted(streams))
    ]


def merged(
    lanes: list[Lane], clock: Clock, passed: Callable[[int], None] = lambda count: None
) -> Iterator[Chunk]:
    """Merge partitions by the timestamps at their heads; ``passed`` is told of offsets read."""
    rank, count = 0, max(1, len(lanes))
    enough = max(1, CHUNK_ROWS // count), CHUNK_BYTES // count
    patience = Patience(clock)
    while True:
        ready = _load(lanes, *enough)
        count = sum(lane.passed for lane in lanes)
        passed(count)
        patience.look([lane for lane in lanes if not lane.ready], count)
        if not ready:
            continue
        chunk = _chunk(lanes, rank)
        if not chunk:
            return
        rank += sum(map(len, chunk))
        yield chunk


def _load(lanes: list[Lane], rows_max: int, bytes_max: int) -> bool:
    """Have each partition load some records; True when the horizon is known."""
    for lane in lanes:
        while lane.wants(rows_max, bytes_max) and lane.load():
            continue
    return all(lane.ready for lane in lanes)


def _chunk(lanes: list[Lane], rank: int) -> Chunk:
    """Return all that is safe to hand on, with ranks; nothing at the end of all partitions."""
    horizon = min((lane.horizon for lane in lanes if lane.horizon is not None), default=None)
    taken = [each for lane in lanes for each in lane.take(horizon)]
    if len({batch.source for batch, _ in taken}) == 1:
        return [*_in_order(map(itemgetter(0), taken), rank)]
    orders = list(chain.from_iterable(map(itemgetter(1), taken)))
    ranks = [0] * len(orders)
    for place, row in enumerate(sorted(range(len(orders)), key=orders.__getitem__), rank):
        ranks[row] = place
    chunk: Chunk = []
    start = 0
    for batch, _ in taken:
        stop = start + len(batch)
        chunk.append(ranked(batch, ranks[start:stop]))
        start = stop
    return chunk


def _in_order(batches: Iterator[Batch], rank: int) -> Iterator[Batch]:
    for batch in batches:
        yield ranked(batch, range(rank, rank + len(batch)))
        rank += len(batch)


def ranked(batch: Batch, ranks: Sequence[int]) -> Batch:
    """Return the batch with ranks."""
    return replace(batch, ranks=ranks)


def size_of(batch: Batch) -> int:
    """Count the bytes of a batch's values, which tell how much it is."""
    return sum(map(len, filter(None, batch.values)))


class Patience:
    """Says now and then what is waited for: an open transaction, or a broker."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._passed = clock, -1
        self._since_s = self._said_s = clock.monotonic_s()

    def look(self, waiting: Sequence[Lane], passed: int) -> None:
        """Look whether anything has come."""
        now_s = self._clock.monotonic_s()
        if passed != self._passed or not waiting:
            self._passed, self._since_s, self._said_s = passed, now_s, now_s
        elif now_s - self._said_s >= SAY_EVERY_S:
            self._said_s = now_s
            log_.warning(
                "waiting since %.0f s for records of %s: a transaction is open there, or the "
                "broker does not answer",
                now_s - self._since_s,
                waiting[0].source,
            )
