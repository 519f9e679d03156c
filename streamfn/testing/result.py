"""What a replay has left, to be looked at in a test: outputs, dead letters, state, snapshots.

Effects come from the replay and are decoded when a test reads them, or become the lines of a
snapshot. Invariant: looking changes nothing, so a test may look as often as it likes.
"""

from collections.abc import Iterable, Iterator
from heapq import merge
from typing import Any, Final, TypeVar, overload

import pytest

from streamfn.dsl.endpoints import Topic
from streamfn.errors import ConfigError, SerdeError
from streamfn.graph.stores import decode_entry, entry_serde
from streamfn.graph.topology import Sink, TopicSpec
from streamfn.record import Record
from streamfn.replay.effects import Effects, Raised
from streamfn.replay.feeding import written_by
from streamfn.replay.output_file import shown
from streamfn.replay.replay import Replayed
from streamfn.results import Raw, decoded
from streamfn.testing.explain import Facts, plain, time_text
from streamfn.testing.snapshots import Snapshots, header_of, lines_of

K = TypeVar("K")
V = TypeVar("V")

OF_THE_RUN: Final = frozenset({"streamfn.failed_at_ms", "streamfn.provenance", "streamfn.root"})
"""Headers that tell of the run, not of the record."""
FIRST_RECORDS: Final = 500
LINES_MAX: Final = 30


class ReplayResult:
    """What a replay has left: outputs, dead letters, state, failures."""

    def __init__(self, done: Replayed, found: list[Effects], snapshots: Snapshots) -> None:
        self._done, self._plan, self._snapshots = done, done.plan, snapshots
        internal = self._plan.own_topics - {self._plan.dead_letter_topic}
        self._outputs = [effects for effects in found if effects.topic not in internal]
        self._found: dict[str, list[Effects]] = {}
        for effects in self._outputs:
            self._found.setdefault(effects.topic, []).append(effects)
        self.records = done.records
        """How many input records there were."""
        self.raised = tuple(done.raised)
        """Which of them failed under ``on_error`` fail: undone, and the replay went on."""
        self.notices = done.notices
        """What a replay of this program leaves out or does otherwise than a live run."""

    @overload
    def read(self, topic: Topic[K, V]) -> list[Record[K, V]]: ...
    @overload
    def read(self, topic: str) -> list[Record[Any, Any]]: ...
    def read(self, topic: Topic[Any, Any] | str) -> list[Record[Any, Any]]:
        """Return the records that the app wrote to a topic.

        Each partition is in the order it was written; partitions are merged by timestamp.

        Raises:
            ConfigError: the app never writes to this topic.
            SerdeError: a record does not decode.
        """
        spec = self._spec(topic)
        found = list(self._decoded(spec))
        parts: dict[int, list[Record[Any, Any]]] = {}
        for record in found:
            parts.setdefault(record.partition, []).append(record)
        return list(merge(*(parts[at] for at in sorted(parts)), key=lambda r: r.timestamp_ms))

    def dead_letters(self) -> list[Raw]:
        """Return what failed under ``on_error`` dead_letter, as bytes; headers say why."""
        return list(self._raw(self._plan.dead_letter_topic))

    def state(self, stage: object, parameter: str = "") -> dict[Any, Any]:
        """Return the final entries of a function's parameter, or of a table, in key order."""
        whole = stage if isinstance(stage, str) else str(getattr(stage, "name", ""))
        if whole in self._plan.topology.global_tables and not parameter:
            return self._done.workers[0].global_tables.entries(whole)
        return self._done.state(stage, parameter)

    def check(self, name: str = "", *, first: int = FIRST_RECORDS) -> None:
        """Compare all outputs, dead letters, failures and the final state with the snapshot.

        It stands next to the test, in ``snapshots/<test file>/<test>.jsonl``;
        ``pytest --streamfn-update`` writes it.

        Args:
            name: tells the snapshots of one test apart.
            first: so many records of each topic and entries of each store are written out; of what
                is behind them there is a sum for each 10,000.
        """
        __tracebackhide__ = True
        lines = [header_of(self._plan.application, first), *lines_of(self._places(), first)]
        self._snapshots.check(lines, name)

    def check_same_as(
        self,
        expected: "ReplayResult",
        *,
        ignore: Iterable[str] = (),
        tolerance: Iterable[str] = (),
    ) -> None:
        """Compare with what another replay of the same recording has left.

        Args:
            expected: of another version of the app, or of other options.
            ignore: fields that do not count: ``("price", "totals:legs[].at")``.
            tolerance: how far apart numbers may be: ``("1e-9", "price=0.01")``.
        """
        __tracebackhide__ = True
        from streamfn.replay.diff.compare import Options, compare_effects, rules, state_rows

        found = compare_effects(
            expected._outputs, self._outputs, self._plan,
            Options(rules(_several(ignore), _several(tolerance))), other_plan=expected._plan,
            raised=(expected.raised, self.raised),
            states=(state_rows(expected._done), state_rows(self._done)),
        )  # fmt: skip
        if found.exit_code:
            lines = found.lines()
            more = [f"… and {len(lines) - LINES_MAX:,} more lines"] if lines[LINES_MAX:] else []
            pytest.fail("\n".join([*lines[:LINES_MAX], *more]))

    # topics
    def _spec(self, topic: Topic[Any, Any] | str) -> TopicSpec:
        name = topic if isinstance(topic, str) else topic.name
        written = written_by(self._plan)
        spec = self._plan.known_topics.get(name)
        if spec is not None and (name in written or self._chooses):
            return spec
        if not isinstance(topic, str) and self._chooses:
            return topic.spec
        known = ", ".join(sorted(written)) or "none"
        message = f"topic {name!r} is not written by this app; it writes {known}; name one of them"
        raise ConfigError(message)

    @property
    def _chooses(self) -> bool:
        """Whether records may go to any topic."""
        nodes = self._plan.topology.nodes.values()
        return any(isinstance(n, Sink) and n.choose is not None and not n.topics for n in nodes)

    def _raw(self, topic: str) -> Iterator[Raw]:
        """Yield the records of a topic in order of partition and offset."""
        found = self._found.get(topic, [])
        for each in sorted(found, key=lambda each: (each.partition, each.first_offset)):
            rows = zip(each.keys, each.values, each.timestamps, strict=True)
            for row, (key, value, timestamp_ms) in enumerate(rows):
                yield Record(
                    key, value, timestamp_ms, topic, each.partition, each.first_offset + row,
                    each.headers.get(row, ()),
                )  # fmt: skip

    def _decoded(self, spec: TopicSpec) -> Iterator[Record[Any, Any]]:
        for raw in self._raw(spec.name):
            yield decoded(raw, spec.key.decode, spec.value.decode)

    # snapshot
    def _places(self) -> Iterator[tuple[str, str, Iterator[Facts]]]:
        for topic in sorted(self._found):
            yield "topic", topic, self._facts_of_topic(topic)
        if self.raised:
            yield "failures", "", map(_failure, self.raised)
        for store in sorted(self._plan.topology.stores):
            yield "store", store, self._facts_of_store(store)

    def _facts_of_topic(self, topic: str) -> Iterator[Facts]:
        spec = self._plan.known_topics.get(topic)
        for raw in self._raw(topic):
            facts: Facts = {
                "topic": topic,
                "partition": raw.partition,
                "time": time_text(raw.timestamp_ms),
                "key": readable(raw.key, spec and spec.key.decode),
            }
            if raw.value is None:
                facts["tombstone"] = True
            else:
                facts["value"] = readable(raw.value, spec and spec.value.decode)
            headers = [[n, shown(value)] for n, value in raw.headers if n not in OF_THE_RUN]
            yield {**facts, "headers": headers} if headers else facts

    def _facts_of_store(self, store: str) -> Iterator[Facts]:
        """Yield what people see of a store; buffers are the operators' own."""
        spec = self._plan.topology.stores[store]
        seen, decode = decode_entry(spec), entry_serde(spec).decode
        for key, value, partition in self._done.entries(store):
            entry = seen(key, decode(value))
            if entry is not None:
                said = (_plain_or(entry[0], key), _plain_or(entry[1], value))
                yield {"store": store, "partition": partition, "key": said[0], "value": said[1]}


def _several(texts: Iterable[str]) -> Iterable[str]:
    """Take one text for a list of one: its letters are never meant."""
    return [texts] if isinstance(texts, str) else texts


# facts
def readable(raw: bytes | None, decode: Any) -> Any:
    """Make what JSON has of a key or value; of one that does not decode, of its bytes."""
    if raw is None or decode is None:
        return shown(raw)
    try:
        return plain(decode(raw))
    except Exception:  # a serde may be a user's own: whatever it raises, the bytes can be shown
        return shown(raw)


def _plain_or(value: object, raw: bytes) -> Any:
    try:
        return plain(value)
    except SerdeError:
        return shown(raw)


def _failure(raised: Raised) -> Facts:
    return {
        "raised": raised.error,
        "message": raised.message,
        "stage": raised.stage,
        "record": [*raised.source, raised.offset],
    }
