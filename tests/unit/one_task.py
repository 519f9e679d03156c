"""One task over a store in memory, without a log: for tests that need to choose its batches."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from streamfn.clock import ManualClock
from streamfn.config import Config
from streamfn.connectors.partitioner import Partitioner
from streamfn.engine.task import Task
from streamfn.graph.plan import plan
from streamfn.metrics import Metrics
from streamfn.record import Batch, Headers, TopicPartition
from streamfn.state.home import MemoryHomes
from streamfn.state.keys import key_codec

Row: TypeAlias = "tuple[Any, Any, int] | tuple[Any, Any, int, Headers]"
"""Key, value, timestamp and perhaps headers."""


class OneTask:
    """The first sub-topology's task of a partition; ``send`` gives it one batch to process."""

    def __init__(self, app: Any, *, partition: int = 0, generated: bool = True) -> None:
        self.plan = plan(app.topology())
        self.sub = self.plan.subtopologies[0]
        self.metrics = Metrics()
        self.task = Task(
            self.plan, self.sub, partition, MemoryHomes().open("task", self.sub.stores),
            ManualClock(), self.metrics, Partitioner().partition_of, Config(), generated=generated,
        )  # fmt: skip
        self._ends: dict[TopicPartition, int] = {}

    def send(self, topic: str, rows: Sequence[Row]) -> None:
        """Process rows as one batch."""
        serde = next(s.topic for s in self.sub.sources if s.topic.name == topic)
        source = TopicPartition(topic, self.task.partition)
        start = self._ends.get(source, 0)
        self._ends[source] = end = start + len(rows)
        headers = [tuple(row[3:4][0]) if len(row) > 3 else () for row in rows]
        batch = Batch(
            source,
            [None if row[0] is None else serde.key.encode(row[0]) for row in rows],
            [_raw(serde.value.encode, row[1]) for row in rows],
            [row[2] for row in rows],
            range(start, end),
            end,
            headers if any(headers) else None,
        )
        self.task.add(batch)
        while self.task.process(1e9, lambda _: True, 1_000_000):
            """Slices start small."""

    def output(self, topic: str) -> list[tuple[Any, Any, int, Headers]]:
        """Key, value, timestamp and headers of all outputs to a topic so far."""
        spec = self.plan.user_topics.get(topic)
        columns = self.task.scope.output(topic)
        decode_key = bytes if spec is None else spec.key.decode
        decode = bytes if spec is None else spec.value.decode
        return [
            (
                None if key is None else decode_key(key),
                None if raw is None else decode(raw),
                timestamp,
                columns.headers.get(row, ()),
            )
            for row, (key, raw, timestamp) in enumerate(
                zip(columns.keys, columns.values, columns.timestamps, strict=True)
            )
        ]

    def values(self, topic: str) -> list[Any]:
        """The values of all outputs to a topic so far."""
        return [value for _, value, _, _ in self.output(topic)]

    def state(self, store: str) -> dict[Any, Any]:
        """The entries of a store, in order."""
        decode = key_codec(self.sub.stores[store].key).decode
        return {decode(key): value for key, value in self.task.scope.levels[store].scan(b"", None)}

    def commit(self, *, written: bool = False, forgotten: bool = False) -> None:
        """Commit the state; also write it to the database, and empty the caches, if said."""
        for name, levels in self.task.scope.levels.items():
            levels.changelog()
            levels.committed()
            if written:
                self.task.home.store.write({name: levels.to_write()}, {})
                levels.written()
            if forgotten:
                levels.shrink(0)


def _raw(encode: Any, value: Any) -> bytes | None:
    """A value's bytes; bytes stay as they are, however broken."""
    return value if value is None or isinstance(value, bytes) else encode(value)
