"""A program with a global table, and what its tests look at."""

import streamfn as sf
from streamfn.engine.global_tables import GlobalTables
from streamfn.graph.topology import OnError
from tests.crash_world import Row, World

HOME = "global-tables.0"
DAY_MS = 24 * 3_600_000


class Program:
    """An app whose records look up names by the first letter of their value."""

    def __init__(self, *, partitions: int = 2, on_error: OnError = "fail") -> None:
        self.app = app = sf.App("app", on_error=on_error)
        self.names = app.topic("names", key=str, value=int, partitions=partitions)
        self.records = app.topic("in", key=str, value=str)
        self.out = app.topic("out", key=str, value=str)
        self.table = app.global_table(self.names, name="all-names")
        app.stream(self.records).left_join(
            self.table,
            lambda value, found: f"{value}={found}",
            on=lambda value: value[:1],
            value=str,
        ).to(self.out)


def name(key: str | None, value: int | None) -> Row:
    """A row of the table's topic."""
    return (None if key is None else key.encode(), None if value is None else b"%d" % value, 1)


def record(value: str) -> Row:
    """A row that looks up."""
    return b"k", value.encode(), 1


def tables(world: World) -> GlobalTables:
    """The running worker's."""
    assert world.worker is not None
    return world.worker.global_tables


def outputs(world: World) -> list[str]:
    """What was made so far."""
    return [(value or b"").decode() for value in world.values("out")]
