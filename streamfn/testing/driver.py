"""``TestDriver``: a topology in memory on virtual time, without a broker, for tests.

It runs the real worker loop, commit protocol and stores over the embedded log in memory; only the
log's and the stores' disk and the clock are others. A record that is sent is processed through all
sub-topologies before ``send`` returns. Invariant: a topology gives the same answers here as on any
other log, on any commit interval.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from heapq import merge
from itertools import groupby
from types import TracebackType
from typing import Any, TypeVar

from streamfn.app import App
from streamfn.clock import CountingRandom, ManualClock
from streamfn.config import Config
from streamfn.connectors.embedded import EmbeddedLog
from streamfn.connectors.partitioner import Partitioner
from streamfn.database import Memory, Space
from streamfn.dsl.endpoints import Topic
from streamfn.engine.worker import Worker
from streamfn.errors import ConfigError
from streamfn.graph.plan import plan
from streamfn.graph.stores import decode_entry, encode_key
from streamfn.graph.topology import Sink, TopicSpec
from streamfn.graph.version import told
from streamfn.record import Columns, Headers, Record, TopicPartition
from streamfn.results import store_name
from streamfn.state.home import MemoryHomes

K = TypeVar("K")
V = TypeVar("V")


class TestDriver:
    """Sends records to an app, moves its time, reads its topics and state.

    >>> import streamfn as sf
    >>> app = sf.App("lengths")
    >>> words = app.topic("words", key=str, value=str)
    >>> lengths = app.topic("lengths", key=str, value=int)
    >>> app.stream(words).map_values(len, value=int).to(lengths)
    >>> with TestDriver(app) as driver:
    ...     driver.send(words, "event", key="a")
    ...     [record.value for record in driver.read(lengths)]
    [5]

    Args:
        app: the app under test.
        commit_interval_ms: 0 commits after each record; more lets changes stay uncommitted for so
            long on the virtual clock, as in production.
        start_ms: where the virtual wall clock begins.
        generated: False runs the reference compiler.
        feeds: True loads what the app's feeds read; else a test sends what it needs.
    """

    __test__ = False  # its name begins with Test, but pytest is not to collect it

    def __init__(
        self,
        app: App,
        *,
        commit_interval_ms: int = 0,
        start_ms: int = 0,
        generated: bool = True,
        feeds: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._generated = generated
        topology = app.topology()
        self._topology = topology if feeds else replace(topology, feeds=())
        self._chooses = any(
            isinstance(node, Sink) and node.choose is not None and not node.topics
            for node in topology.nodes.values()
        )
        """Records may go to any topic."""
        self._partition_of = Partitioner().partition_of
        self._clock, self._random = ManualClock(start_ms), CountingRandom()
        self._config = Config(
            commit_interval_ms=commit_interval_ms, poll_timeout_ms=0, **(options or {})
        )
        disk: dict[str, Space] = {}
        self._log = EmbeddedLog(lambda: Memory([], disk), clock=self._clock, random=self._random)
        self._homes = MemoryHomes()
        self._read_to: dict[TopicPartition, int] = {}
        self._worker = self._start()

    def _start(self) -> Worker:
        widths = {name: topic.partitions for name, topic in self._log.topics().items()}
        planned = told(plan(self._topology, widths), self._config)
        worker = Worker(
            planned, self._log, self._homes, self._clock, self._random, self._config,
            partition_of=self._partition_of, generated=self._generated,
        )  # fmt: skip
        worker.start()
        self._worker = worker
        self._settle()
        return worker

    def __enter__(self) -> "TestDriver":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(commit=error is None)

    def close(self, *, commit: bool = True) -> None:
        """Stop the worker; what was not committed yet is committed, unless it failed."""
        self._worker.close(commit=commit)

    def restart(self) -> None:
        """Kill the worker without a word and start another.

        What was not committed is processed again.
        """
        self._worker.close(commit=False)
        self._start()

    # sending
    def send(
        self,
        topic: Topic[K, V],
        value: V | None,
        *,
        key: K | None = None,
        timestamp_ms: int | None = None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> None:
        """Write a record to a topic and process it all the way.

        Args:
            topic: one that the app reads.
            value: None is a tombstone.
            key: None is a null key.
            headers: pairs of a name and bytes.
            timestamp_ms: the virtual wall clock's time if left out.
            partition: the key's own if left out.
        """
        spec = self._spec(topic)
        raw_key = None if key is None else spec.key.encode(key)
        raw = None if value is None else spec.value.encode(value)
        if partition is None and raw_key is not None and spec.key.hashed is not None:
            width = self._log.topics([spec.name])[spec.name].partitions
            partition = self._partition_of(spec.key.hashed(raw_key), width)
        self.send_raw(
            spec.name,
            raw,
            key=raw_key,
            timestamp_ms=timestamp_ms,
            headers=headers,
            partition=partition,
        )

    def send_raw(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        timestamp_ms: int | None = None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> None:
        """Write bytes to a topic as they are, as a broken producer would."""
        columns = Columns.empty()
        at_ms = self._clock.now_ms() if timestamp_ms is None else timestamp_ms
        columns.add(key, value, at_ms, tuple(headers))
        self._log.begin()
        self._log.emit(topic, partition, columns)
        self._log.flush()
        self._log.commit()
        self._settle()

    def advance(self, duration: timedelta) -> None:
        """Move the virtual wall clock; timers, retries and commits that become due happen.

        It is one leap: a timer that was missed fires once, and what one commit sends through a
        repartition is committed by the next.
        """
        self._clock.advance_ms(duration // timedelta(milliseconds=1))
        self._settle()

    def _settle(self) -> None:
        """Go round until a further round would change nothing at this virtual time."""
        worker = self._worker
        worker.step()
        while not worker.quiet:
            worker.step()

    # looking
    def read(self, topic: Topic[K, V]) -> list[Record[K, V]]:
        """Return the records of a topic that were not read before.

        Each partition is in the order it was written; partitions are merged by timestamp.
        """
        spec = self._spec(topic)
        found = self._records(spec.name, spec.key.decode, spec.value.decode)
        by_partition = [list(group) for _, group in groupby(found, lambda each: each.partition)]
        return list(merge(*by_partition, key=lambda record: record.timestamp_ms))

    def read_raw(self, topic: str) -> list[Record[bytes | None, bytes | None]]:
        """Return the records of a topic that were not read before, as bytes, by partition."""
        return list(self._records(topic, bytes, bytes))

    def dead_letters(self) -> list[Record[bytes | None, bytes | None]]:
        """Return the dead letters that were not read before; headers say where and why."""
        return self.read_raw(self._worker.plan.dead_letter_topic)

    def _records(
        self, topic: str, key: Callable[[bytes], Any], value: Callable[[bytes], Any]
    ) -> Iterator[Record[Any, Any]]:
        info = self._log.topics().get(topic)
        for partition in range(info.partitions if info else 0):
            source = TopicPartition(topic, partition)
            end = self._log.end_offsets([source])[source]
            start = self._read_to.get(source, self._log.begin_offsets([source])[source])
            self._read_to[source] = end
            for batch in self._log.read(source, start, end):
                for row in range(len(batch)):
                    raw_key, raw = batch.keys[row], batch.values[row]
                    yield Record(
                        None if raw_key is None else key(raw_key),
                        None if raw is None else value(raw),
                        batch.timestamps[row], topic, partition, batch.offsets[row],
                        batch.headers[row] if batch.headers else (),
                    )  # fmt: skip

    def state(self, stage: object, parameter: str = "") -> dict[Any, Any]:
        """Return the entries of a function's parameter, or of a table, in key order.

        Changes that are processed and not committed yet are seen.
        """
        topology = self._worker.plan.topology
        whole = stage if isinstance(stage, str) else str(getattr(stage, "name", ""))
        if whole in topology.global_tables and not parameter:
            return self._worker.global_tables.entries(whole)
        name = store_name(topology, stage, parameter)
        spec = topology.stores[name]
        seen, order = decode_entry(spec), encode_key(spec)
        entries = [
            seen(key, value)
            for task in self._worker.tasks.values()
            if name in task.scope.levels
            for key, value in task.scope.levels[name].scan(b"", None)
        ]
        found = [entry for entry in entries if entry is not None]
        return dict(sorted(found, key=lambda entry: order(entry[0])))

    def _spec(self, topic: Topic[Any, Any]) -> TopicSpec:
        found = self._worker.plan.user_topics.get(topic.name)
        if found is None and self._chooses:
            return topic.spec
        if found is None:
            message = f"topic {topic.name!r} is not used by this app; read or write it in a stage"
            raise ConfigError(message)
        return found

    @property
    def now_ms(self) -> int:
        """The virtual wall clock."""
        return self._clock.now_ms()
