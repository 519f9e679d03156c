"""What a run has left, read at leisure: ``Results`` for a report, and what ``cli`` reads with.

Records come from the log's topics, a store's entries from its changelog, which is the truth: it
holds all that is committed, also when the process died before its database was written. Invariant:
reading changes nothing.
"""

import heapq
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, overload

from streamfn.connectors.log import Log
from streamfn.dsl.endpoints import Topic
from streamfn.errors import ConfigError, RegistryError, SerdeError
from streamfn.graph.plan import Plan
from streamfn.graph.stores import decode_entry, entry_serde
from streamfn.graph.topology import StoreSpec, Topology
from streamfn.metrics import Metrics
from streamfn.record import Record, TopicPartition

K = TypeVar("K")
V = TypeVar("V")
Raw = Record[bytes | None, bytes | None]


class Results:
    """What ``@app.report`` gets: the stores and topics of a run that has come to its end."""

    def __init__(self, plan: Plan, log: Log, metrics: Metrics) -> None:
        self._plan, self._log, self.metrics = plan, log, metrics

    def state(self, stage: object, parameter: str = "") -> dict[Any, Any]:
        """Return the entries of a function's parameter (or of a table) over all partitions.

        They are in key order. A stage is the decorated function, the table, or its name; the
        parameter may be left out where the function has one store.
        """
        spec = self._plan.topology.stores[store_name(self._plan.topology, stage, parameter)]
        return {key: value for key, value, _ in store_entries(self._log, self._plan, spec)}

    @overload
    def read(self, topic: Topic[K, V]) -> Iterator[Record[K, V]]: ...
    @overload
    def read(self, topic: str) -> Iterator[Record[Any, Any]]: ...
    def read(self, topic: Topic[Any, Any] | str) -> Iterator[Record[Any, Any]]:
        """Yield the records of a topic, partitions merged by timestamp.

        Raises:
            ConfigError: the application has no such topic.
            SerdeError: a record does not decode.
        """
        name = topic if isinstance(topic, str) else topic.name
        spec = self._plan.user_topics.get(name)
        if spec is None:
            known = ", ".join(self._plan.user_topics)
            message = f"topic {name!r} is not used by this app; it has {known}; name one of them"
            raise ConfigError(message)
        for raw in read_topic(self._log, name):
            yield decoded(raw, spec.key.decode, spec.value.decode)

    def dead_letters(self) -> Iterator[Raw]:
        """Yield what failed, as the bytes that were read; headers say where and why."""
        return read_topic(self._log, self._plan.dead_letter_topic)


def decoded(
    raw: Raw, key: Callable[[bytes], Any], value: Callable[[bytes], Any]
) -> Record[Any, Any]:
    """Decode a record; nulls stay None.

    Raises:
        SerdeError: with the place of the record.
        RegistryError: no record is at fault.
    """
    try:
        made_key = None if raw.key is None else key(raw.key)
        made = None if raw.value is None else value(raw.value)
    except RegistryError:
        raise
    except Exception as error:  # a serde may be a user's own: what it raises is the reason
        message = (
            f"record at offset {raw.offset} of {raw.topic}[{raw.partition}] does not decode; "
            f"got {error}; read it with the type that it was written with"
        )
        raise SerdeError(message) from error
    return Record(
        made_key, made, raw.timestamp_ms, raw.topic, raw.partition, raw.offset, raw.headers
    )


def entry_decoder(
    spec: StoreSpec, otherwise: Callable[[bytes], Any]
) -> Callable[[Raw], Record[Any, Any]]:
    """Return what decodes the records of a store's changelog.

    Keys are those that people use; ``otherwise`` shows those that only the operator knows. Where a
    session ended that is deleted stands nowhere: its ``end_ms`` is None.
    """
    seen, decode = decode_entry(spec), entry_serde(spec).decode

    def read(raw: Raw) -> Record[Any, Any]:
        entry = decoded(raw, bytes, decode).value

        def key(written: bytes) -> Any:
            shown = seen(written, (True, None) if raw.value is None else entry)
            return otherwise(written) if shown is None else shown[0]

        return decoded(raw, key, lambda _: entry)

    return read


def partitions_of(log: Log, topic: str) -> list[TopicPartition]:
    """Return the partitions of a topic; of one that does not exist, none."""
    info = log.topics([topic]).get(topic)
    return [TopicPartition(topic, number) for number in range(info.partitions if info else 0)]


def read_partition(log: Log, source: TopicPartition, start: int, end: int) -> Iterator[Raw]:
    """Yield the records of a partition between two offsets, as bytes."""
    for batch in log.read(source, start, end):
        for row, key in enumerate(batch.keys):
            yield Record(
                key, batch.values[row], batch.timestamps[row], source.topic, source.partition,
                batch.offsets[row], batch.headers[row] if batch.headers else (),
            )  # fmt: skip


def read_topic(log: Log, topic: str) -> Iterator[Raw]:
    """Yield the records of a topic, partitions merged by timestamp, as bytes."""
    sources = partitions_of(log, topic)
    begins, ends = log.begin_offsets(sources), log.end_offsets(sources)
    return merged([read_partition(log, s, begins[s], ends[s]) for s in sources])


def merged(parts: list[Iterator[Raw]]) -> Iterator[Raw]:
    """Merge partitions by timestamp; within a partition the order stays the log's."""
    return heapq.merge(*parts, key=lambda raw: (raw.timestamp_ms, raw.partition, raw.offset))


def changelog_entries(log: Log, source: TopicPartition) -> dict[bytes, bytes]:
    """Fold a partition of a changelog to what a store holds at its end."""
    found: dict[bytes, bytes] = {}
    begin, end = log.begin_offsets([source])[source], log.end_offsets([source])[source]
    for batch in log.read(source, begin, end):
        for key, value in zip(batch.keys, batch.values, strict=True):
            if key is None:
                continue
            if value is None:
                found.pop(key, None)
            else:
                found[key] = value
    return found


def store_entries(log: Log, plan: Plan, spec: StoreSpec) -> Iterator[tuple[Any, Any, int]]:
    """Yield (key, value, partition) of a store over all partitions, in key order.

    Raises:
        SerdeError: an entry does not decode as the types of the program.
    """
    sources = partitions_of(log, plan.changelog(spec.name))
    rows = sorted(
        (key, source.partition, raw)
        for source in sources
        for key, raw in changelog_entries(log, source).items()
    )
    seen, decode = decode_entry(spec), entry_serde(spec).decode
    for key, partition, raw in rows:
        try:
            value = decode(raw)
        except Exception as error:  # a hook may be a user's own: what it raises is the reason
            message = (
                f"store {spec.name!r} holds values of another type; got {error}; read it with the "
                f"program that wrote it, or drop the state: streamfn reset --store {spec.name}"
            )
            raise SerdeError(message) from error
        found = seen(key, value)
        if found is not None:
            yield *found, partition


def store_name(topology: Topology, stage: object, parameter: str = "") -> str:
    """Find a store by its own name, or by a stage and the parameter that holds it.

    Raises:
        ConfigError: there is none, or several.
    """
    stores = list(topology.stores)
    base = stage if isinstance(stage, str) else str(getattr(stage, "name", stage))
    wanted = f"{base}-{parameter}" if parameter else base
    if wanted in stores:
        return wanted
    near = [name for name in stores if not parameter and name.startswith(f"{base}-")]
    if len(near) == 1:
        return near[0]
    known = ", ".join(near or stores) or "none"
    message = (
        f"store {wanted!r} is not one of application {topology.application!r}; it has {known}; "
        "name one of them"
    )
    raise ConfigError(message)
