"""What a task has read and not yet processed.

One queue an input, merged by the timestamp at their heads.

Batches come from ``Log.poll``; slices of them go to the task's chains. Invariant: the record that
goes next is the one with the lowest (timestamp, topic) among the heads of all inputs, so the order
is the same in each replay; while an input is empty and not known to be at its end, nothing goes.
(Kafka Streams: ``PartitionGroup``, KIP-353, KIP-695.)
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from streamfn.record import Batch, TopicPartition


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows ``start`` to ``stop`` of a batch: the next ones in order."""

    batch: Batch
    start: int
    stop: int


class Buffer:
    """The queues of one task."""

    def __init__(self, sources: Iterable[TopicPartition], max_idle_ms: int = 0) -> None:
        self._queues: dict[TopicPartition, deque[Batch]] = {s: deque() for s in sorted(sources)}
        self._heads = dict.fromkeys(self._queues, 0)
        self._counts = dict.fromkeys(self._queues, 0)
        self._max_idle_ms = max_idle_ms
        self._idle_since_ms: dict[TopicPartition, int] = {}
        """When an input at its end was first found empty while others had records."""

    def add(self, batch: Batch) -> None:
        """Append a batch to its input's queue."""
        if len(batch):
            self._queues[batch.source].append(batch)
            self._idle_since_ms.pop(batch.source, None)
            self._counts[batch.source] += len(batch)

    def count(self, source: TopicPartition) -> int:
        """Records that wait in an input."""
        return self._counts[source]

    def __len__(self) -> int:
        return sum(self._counts.values())

    def clear(self) -> None:
        """Forget everything: after a rewind it is read again."""
        for source, queue in self._queues.items():
            queue.clear()
            self._heads[source] = self._counts[source] = 0
        self._idle_since_ms.clear()

    def next(
        self, limit: int, caught_up: Callable[[TopicPartition], bool], now_ms: int
    ) -> Slice | None:
        """Return the rows that go next, at most ``limit``; None if there are none yet."""
        if len(self._queues) == 1:
            ((source, queue),) = self._queues.items()
            return self._slice(source, None, limit) if queue else None
        heads = [
            (_order(queue[0])[self._heads[source]], source)
            for source, queue in self._queues.items()
            if queue
        ]
        if not heads or (len(heads) < len(self._queues) and self._must_wait(caught_up, now_ms)):
            return None
        heads.sort()
        _, source = heads[0]
        bound = heads[1] if len(heads) > 1 else None
        return self._slice(source, bound, limit)

    def _must_wait(self, caught_up: Callable[[TopicPartition], bool], now_ms: int) -> bool:
        """An empty input that is not at its end may hold earlier records.

        One at its end may get some.
        """
        if any(not queue and not caught_up(source) for source, queue in self._queues.items()):
            return True
        if self._max_idle_ms == 0:
            return False
        idle = [source for source, queue in self._queues.items() if not queue]
        since = [self._idle_since_ms.setdefault(source, now_ms) for source in idle]
        return now_ms - max(since) < self._max_idle_ms

    def waiting_for(self, caught_up: Callable[[TopicPartition], bool]) -> list[TopicPartition]:
        """The empty inputs that hold up records of others: what a silent task waits for."""
        if not len(self):
            return []
        return [s for s, queue in self._queues.items() if not queue and not caught_up(s)]

    def _slice(
        self,
        source: TopicPartition,
        bound: tuple[int, TopicPartition] | None,
        limit: int,
    ) -> Slice:
        """The longest run of the head batch that comes before the next head of another input."""
        batch, start = self._queues[source][0], self._heads[source]
        stop = min(len(batch), start + limit)
        if bound is not None:
            at, other = bound
            last = at if source < other else at - 1
            end, order = start + 1, _order(batch)
            while end < stop and order[end] <= last:
                end += 1
            stop = end
        return Slice(batch, start, stop)

    def advance(self, source: TopicPartition, rows: int) -> None:
        """The first rows of an input have been processed."""
        queue = self._queues[source]
        self._counts[source] -= rows
        self._heads[source] += rows
        if self._heads[source] == len(queue[0]):
            queue.popleft()
            self._heads[source] = 0


def _order(batch: Batch) -> Sequence[int]:
    """What rows are merged by: their times, or in a replay the order of all inputs."""
    return batch.timestamps if batch.ranks is None else batch.ranks
