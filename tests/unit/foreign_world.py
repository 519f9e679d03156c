"""A program with one foreign-key join, and what Kafka Streams answers when each step is finished.

A left value names its right row by its first letter; a blank names none.
"""

from typing import Any, NamedTuple, TypeAlias

from streamfn.graph.operators import ForeignKeyJoin, ForeignKeyLookup, ForeignKeySend, ToStream
from streamfn.graph.topology import (
    AnyNode,
    Sink,
    Source,
    StoreKind,
    StoreSpec,
    TableStore,
    TopicSpec,
    Topology,
)
from streamfn.serde import as_key_serde, as_serde
from streamfn.serde.foreign_keys import answer_serde, subscription_serde
from streamfn.testing.driver import TestDriver

Answer: TypeAlias = "tuple[str, str | None, int]"


class Row(NamedTuple):
    """A record of one of the inputs."""

    side: str
    key: str
    value: str | None
    at: int


def first_letter(value: str) -> str | None:
    """The foreign key."""
    return None if value.startswith(" ") else value[0]


def joined(left: str | None, right: str | None) -> str:
    """One beside the other."""
    return f"{left}+{right}"


class Program:
    """Tables ``left`` and ``right``, joined into the table ``result``, which goes to ``out``."""

    def __init__(
        self, kind: Any, *, left: int = 1, right: int = 1, history_ms: int | None = None
    ) -> None:
        widths = {"left": left, "right": right, "out": 1}
        self.topics = {
            name: TopicSpec(name, as_key_serde(str), as_serde(str), partitions=width)
            for name, width in widths.items()
        }
        table: StoreKind = "table" if history_ms is None else "versioned"
        nodes: list[AnyNode] = []
        for side in ("left", "right"):
            store = StoreSpec(f"{side}-table", table, str, str, history_ms=history_ms)
            source = Source(name=side, topic=self.topics[side], key=str, value=str)
            kept = TableStore(name=store.name, parents=(side,), key=str, value=str, store=store)
            nodes += [source, kept]
        asked = StoreSpec("result-subscriptions", "buffer", tuple[str, str], bytes)
        nodes += [
            ForeignKeySend(
                name="result-subscriptions", parents=("left-table",), key=str,
                value=subscription_serde(str), on=first_letter, kind=kind, left_key=str,
                left_value=str,
            ),
            ForeignKeyLookup(
                name="result-answers", parents=("result-subscriptions", "right-table"), key=str,
                value=answer_serde(str), kind=kind, store=asked, left_key=str,
            ),
            ForeignKeyJoin(
                name="result-joined", parents=("result-answers", "left-table"), key=str,
                value=str, kind=kind, fn=joined,
            ),
            TableStore(
                name="result", parents=("result-joined",), key=str, value=str,
                store=StoreSpec("result", "table", str, str),
            ),
            ToStream(name="stream", parents=("result",), key=str, value=str),
            Sink(name="sink", parents=("stream",), topics=(self.topics["out"],)),
        ]  # fmt: skip
        self._topology = Topology("app", {node.name: node for node in nodes})

    def topology(self) -> Topology:
        """What the driver runs."""
        return self._topology

    def driver(self, **options: Any) -> TestDriver:
        """Run it."""
        return TestDriver(self, **options)  # type: ignore[arg-type]  # all it asks of an app is its topology

    def send(self, driver: TestDriver, row: Row) -> None:
        """Process a record."""
        topic: Any = self.topics[row.side]
        driver.send(topic, row.value, key=row.key, timestamp_ms=row.at)

    def read(self, driver: TestDriver) -> list[Answer]:
        """What was answered since the last look."""
        topic: Any = self.topics["out"]
        return [(found.key, found.value, found.timestamp_ms) for found in driver.read(topic)]


class Model:
    """The two tables, and what each change of them means for the result."""

    def __init__(self, kind: str) -> None:
        self.inner = kind == "inner"
        self.left: dict[str, str] = {}
        self.right: dict[str, tuple[str, int]] = {}
        self.result: dict[str, str | None] = {}

    def send(self, row: Row) -> list[Answer]:
        """Process a record."""
        answers = list(self._left(row) if row.side == "left" else self._right(row))
        self.result.update({key: value for key, value, _ in answers})
        return answers

    def _joined(self, left: str | None, right: str | None) -> str | None:
        if left is None or (right is None and self.inner):
            return None
        return joined(left, right)

    def _left(self, row: Row) -> list[Answer]:
        old = self.left.pop(row.key, None)
        if row.value is not None:
            self.left[row.key] = row.value
        before, after = (None if v is None else first_letter(v) for v in (old, row.value))
        if old is None and row.value is None:
            return []
        if self.inner and before is None and after is None:
            return []
        asked = before if self.inner and after is None else after
        found = self.right.get(asked) if asked is not None else None
        at = row.at if found is None else max(row.at, found[1])
        if self.inner and found is None and after is not None and before in (None, after):
            return []
        value = None if found is None or after is None else found[0]
        return [(row.key, self._joined(row.value, value), at)]

    def _right(self, row: Row) -> list[Answer]:
        if row.value is None:
            self.right.pop(row.key, None)
        else:
            self.right[row.key] = row.value, row.at
        return [
            (key, self._joined(value, row.value), row.at)
            for key, value in sorted(self.left.items())
            if first_letter(value) == row.key
        ]

    def rows(self) -> dict[str, str]:
        """The result as it must be in the end."""
        found = {
            key: self._joined(value, self.right.get(value[0], (None, 0))[0])
            for key, value in self.left.items()
            if first_letter(value) is not None or not self.inner
        }
        return {key: value for key, value in found.items() if value is not None}
