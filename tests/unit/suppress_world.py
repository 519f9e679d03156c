"""A program that suppresses the changes a test makes up, and Kafka Streams' buffer as a model."""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import msgspec

from streamfn.graph.operators import Suppress, ToStream
from streamfn.graph.topology import AnyNode, Sink, Source, Step, StoreSpec, TopicSpec, Topology
from streamfn.serde import as_key_serde, as_serde
from streamfn.testing.driver import TestDriver
from streamfn.windowed import Windowed

Answer: TypeAlias = "tuple[Any, str | None, str | None, int]"
"""Key, new value, old value, time."""


class Change(msgspec.Struct, frozen=True):
    """What a record of the input stands for; ``start`` and ``end`` are of its window."""

    new: str | None
    old: str | None = None
    start: int = 0
    end: int = 0


class Row(NamedTuple):
    """A record of the input."""

    key: str
    change: Change
    at: int


def row(key: str, new: str | None, at: int, window: tuple[int, int] = (0, 0)) -> Row:
    """A change whose old value does not matter."""
    return Row(key, Change(new, None, *window), at)


class Program:
    """Changes of ``in`` are suppressed and written to ``out``.

    With ``records`` as records, as behind ``to_stream``; else with their old values.
    """

    def __init__(self, *, windowed: bool = False, records: bool = False, **options: Any) -> None:
        key: Any = Windowed[str] if windowed else str
        options = {"name": "held", "key": key, "value": str, "parents": ("changes",)} | options
        node = Suppress(store=StoreSpec("held", "buffer", key, options["value"]), **options)
        self.source = TopicSpec("in", as_key_serde(key), as_serde(Change), partitions=1)
        self._windowed = windowed
        self.out = TopicSpec("out", as_key_serde(key), as_serde(Change), partitions=1)
        after: AnyNode = ToStream(name="stream", parents=("held",))
        made = _changed if records else _noted
        nodes: list[AnyNode] = [
            Source(name="in", topic=self.source, key=key, value=Change),
            Step(name="changes", parents=("in",), kind="map_values", fn=_change),
            node,
            *([after] if records else []),
            Step(
                name="shown", parents=("stream" if records else "held",), kind="map_values",
                fn=made,
            ),
            Sink(name="sink", parents=("shown",), topics=(self.out,)),
        ]  # fmt: skip
        self._topology = Topology("app", {each.name: each for each in nodes})

    def topology(self) -> Topology:
        """What the driver runs."""
        return self._topology

    def driver(self, **options: Any) -> TestDriver:
        """Run it."""
        return TestDriver(self, **options)  # type: ignore[arg-type]  # all it asks of an app is its topology

    def send(self, driver: TestDriver, row: Row) -> list[Answer]:
        """Process a record; return what went on."""
        self.put(driver, row)
        return self.read(driver)

    def put(self, driver: TestDriver, row: Row) -> None:
        """Process a record."""
        topic: Any = self.source
        driver.send(topic, row.change, key=self.key(row), timestamp_ms=row.at)

    def key(self, row: Row) -> Any:
        """The key as the operator has it."""
        if self._windowed:
            return Windowed(row.key, row.change.start, row.change.end)
        return row.key

    def read(self, driver: TestDriver) -> list[Answer]:
        """What was written since the last look, in order."""
        topic: Any = self.out
        found = sorted(driver.read(topic), key=lambda record: record.offset)
        return [(r.key, r.value.new, r.value.old, r.timestamp_ms) for r in found]


def _change(value: Change) -> Any:
    return value.new, value.old, True


def _noted(change: Any) -> Change:
    return Change(change[0], change[1])


def _changed(value: Any) -> Change:
    return Change(value)


class Model:
    """``InMemoryTimeOrderedKeyValueChangeBuffer`` and its processor, in plain dicts."""

    def __init__(
        self, hold_ms: int, *, final: bool = False, records_max: int | None = None
    ) -> None:
        self.hold_ms, self.final, self.records_max = hold_ms, final, records_max
        self.now = -1
        self.places: dict[Any, int] = {}
        self.waiting: dict[tuple[int, Any], tuple[str | None, str | None, int]] = {}

    def send(self, key: Any, change: Change, at: int) -> Iterator[Answer]:
        """Process a change."""
        self.now = max(self.now, at)
        place = self.places.setdefault(key, key.end_ms if self.final else at)
        _, old, _ = self.waiting.get((place, key), (None, change.old, 0))  # what went on last
        self.waiting[place, key] = change.new, old, at
        for place, key in sorted(self.waiting):
            if place <= self.now - self.hold_ms:
                yield from self._gone(place, key)
        while self.records_max is not None and len(self.waiting) > self.records_max:
            yield from self._gone(*min(self.waiting))

    def _gone(self, place: int, key: Any) -> Iterator[Answer]:
        new, old, at = self.waiting.pop((place, key))
        del self.places[key]
        if new is not None or not self.final:
            yield key, new, old, at
