"""A task's outputs on their way into the transaction: to which topic and partition they go.

Columns come from the sinks of its chains and go to ``Log.emit``. Most go by their key, which the
log does; keys of windows go by the key without the window. Invariant: all records of a key are in
one partition, whatever their windows, and where those of the plain key would be.
"""

from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import TypeAlias

from streamfn.config import Config
from streamfn.connectors.log import Log
from streamfn.engine.scope import Scope
from streamfn.errors import RefusedError
from streamfn.graph.plan import Plan, Subtopology
from streamfn.graph.topology import Function, Sink
from streamfn.record import Columns

Hashed: TypeAlias = Callable[[bytes], bytes]


class Outputs:
    """Emits what a task has written."""

    def __init__(self, scope: Scope, plan: Plan, config: Config) -> None:
        self._scope, self._plan, self._config = scope, plan, config
        self._hashed = hashed_keys(scope.subtopology)
        self._widths: dict[str, int] = {}
        """Partition counts of topics that records have chosen."""
        self._counted: dict[str, tuple[int, int]] = {}

    def waiting_bytes(self) -> int:
        """Bytes of outputs that wait for the commit; it counts only what is new."""
        for topic, columns in self._scope.outputs.items():
            rows, counted = self._counted.get(topic, (0, 0))
            if rows != len(columns):
                rows = min(rows, len(columns))
                new = sum(map(len, filter(None, columns.values[rows:])))
                self._counted[topic] = len(columns), counted + new
        return sum(counted for _, counted in self._counted.values())

    def clear(self) -> int:
        """Forget all outputs; return how many there were."""
        rows = 0
        for columns in self._scope.outputs.values():
            rows += len(columns)
            columns.clear()
        self._counted.clear()
        return rows

    def emit(self, log: Log) -> None:
        """Put all columns into the transaction."""
        for topic, columns in self._scope.outputs.items():
            if len(columns):
                columns.origins, columns.task = self._scope.origins(topic), self._scope.task
                if topic in self._scope.chosen:
                    self._emit_chosen(log, topic, columns)
                else:
                    self._emit(log, topic, columns, self._hashed.get(topic))

    def _emit(self, log: Log, topic: str, columns: Columns, hashed: Hashed | None) -> None:
        width = self._plan.partitions.get(topic) or self._widths.get(topic, 1)
        if hashed is None or width == 1:
            log.emit(topic, None, columns)
            return
        for partition, part in by_partition(columns, hashed, width, self._scope.partition_of):
            log.emit(topic, partition, part)

    def _emit_chosen(self, log: Log, topic: str, columns: Columns) -> None:
        """Emit to a topic that no plan names: embedded it is made, on Kafka it must be there.

        Raises:
            RefusedError: it is not.
        """
        spec = self._scope.chosen[topic]
        if topic not in self._widths and topic not in self._plan.partitions:
            found = log.topics([topic]).get(topic)
            if found is None and self._config.broker:
                message = (
                    f"topic {topic!r} does not exist; got {len(columns)} records that chose it; "
                    "create it, or choose one that is there: chosen topics are never created"
                )
                raise RefusedError(message)
            if found is None:
                found = log.create_topic(topic, spec.partitions or 1, spec.config)
            self._widths[topic] = found.partitions
        self._emit(log, topic, columns, spec.key.hashed)


def hashed_keys(sub: Subtopology) -> dict[str, Hashed]:
    """For the topics written to whose partition not all of a key chooses: what of it does."""
    topics = [
        topic
        for node in sub.nodes.values()
        for topic in (
            node.topics
            if isinstance(node, Sink)
            else node.sinks
            if isinstance(node, Function)
            else ()
        )
    ]
    return {topic.name: topic.key.hashed for topic in topics if topic.key.hashed is not None}


def by_partition(
    columns: Columns, hashed: Hashed, width: int, partition_of: Callable[[bytes, int], int]
) -> Iterator[tuple[int | None, Columns]]:
    """Yield each partition's rows, in order; those without a key go wherever the log puts them."""
    rows: dict[int | None, list[int]] = {}
    adds: dict[bytes | None, Callable[[int], None]] = {}
    for row, key in enumerate(columns.keys):
        chooses = None if key is None else hashed(key)
        add = adds.get(chooses)
        if add is None:
            partition = None if chooses is None else partition_of(chooses, width)
            add = adds[chooses] = rows.setdefault(partition, []).append
        add(row)
    apart = None in rows
    for partition, chosen in rows.items():
        part = _picked(columns, chosen)
        part.places = chosen if apart else ()  # whoever places those without a key wants an order
        yield partition, part


def _picked(columns: Columns, rows: list[int]) -> Columns:
    keys, values, times = columns.keys, columns.values, columns.timestamps
    if len(rows) == 1:
        (row,) = rows
        part = Columns([keys[row]], [values[row]], [times[row]], {})
    else:
        pick = itemgetter(*rows)
        part = Columns(list(pick(keys)), list(pick(values)), list(pick(times)), {})
    if columns.stages:  # they are traced
        part.task, part.stages = columns.task, [columns.stages[row] for row in rows]
        part.ranks = [columns.ranks[row] for row in rows] if columns.ranks else []
    if columns.headers:
        headers = ((at, columns.headers.get(row)) for at, row in enumerate(rows))
        part.headers.update((at, found) for at, found in headers if found)
    return part
