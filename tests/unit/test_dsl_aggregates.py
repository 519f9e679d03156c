"""Groups, windows and cogroups: the nodes of right programs, with their stores and types."""

# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false

import operator
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeAlias

import msgspec
import pytest

import streamfn as sf
from streamfn.graph.operators import Aggregate, LateRecords
from streamfn.graph.topology import AnyNode, Step

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
DAY_MS = 86_400_000


class Total(msgspec.Struct):
    """A sum that can be changed."""

    sum: int = 0


class Program:
    """An app with two topics, and what a test looks at."""

    def __init__(self) -> None:
        self.app = sf.App("app")
        self.numbers = self.app.topic("numbers", key=str, value=int)
        self.others = self.app.topic("others", key=str, value=int)
        self.stream = self.app.stream(self.numbers)
        self.grouped = self.stream.group_by_key()

    def last(self) -> AnyNode:
        """The node built last."""
        return list(self.app.topology().nodes.values())[-1]

    def aggregate(self) -> Aggregate:
        """The node built last, an aggregate."""
        node = self.last()
        assert isinstance(node, Aggregate)
        return node


@pytest.fixture
def program() -> Program:
    """A fresh program."""
    return Program()


def add(total: Total, number: int) -> Total:
    """Add a number to a total."""
    return Total(total.sum + number)


def test_count(program: Program) -> None:
    """A count: its name, its store, its types."""
    table = program.grouped.count()
    node = program.aggregate()
    assert (node.name, node.parents, node.key, node.value) == (
        "numbers-count",
        ("numbers",),
        str,
        int,
    )
    assert (node.store.name, node.store.kind) == ("numbers-count", "table")
    assert (node.store.key, node.store.value) == (str, int)
    assert node.counts
    assert node.initial is not None
    assert node.fns[0](node.initial(), "any") == 1
    assert (table.name, table.spec) == (node.name, node.store)


def test_reduce(program: Program) -> None:
    """A reduction has the stream's values and no start."""
    program.grouped.reduce(max, name="most")
    node = program.aggregate()
    assert (node.name, node.initial, node.fns, node.value) == ("most", None, (max,), int)


def test_group_by(program: Program) -> None:
    """A change of key by value, or by key and value, names what follows."""
    program.stream.group_by(lambda number: str(number)).count()
    program.stream.group_by(lambda key, number: len(key), key=int).count()
    nodes = program.app.topology().nodes
    steps = [node for node in nodes.values() if isinstance(node, Step)]
    assert [(step.name, step.key, step.takes_key) for step in steps] == [
        ("numbers-by-str", str, False),
        ("numbers-by-len", int, True),
    ]
    assert {"numbers-by-str-count", "numbers-by-len-count"} <= set(nodes)


def none() -> int | None:
    """An annotated start that may be None."""
    return None


Aggregating: TypeAlias = Callable[[Any], Any]
STARTS: list[tuple[Aggregating, object, object]] = [
    (lambda g: g.aggregate(0.5, lambda total, number: total), float, 0.5),
    (lambda g: g.aggregate("", lambda total, number: total), str, ""),
    (lambda g: g.aggregate(Total(), lambda total, number: total), Total, Total()),
    (lambda g: g.aggregate(Total, lambda total, number: total), Total, Total()),
    (lambda g: g.aggregate(lambda: Total(1), add), Total, Total(1)),
    (lambda g: g.aggregate(None, add), Total, None),
    (lambda g: g.aggregate(none, lambda total, number: total), int, None),
    (lambda g: g.aggregate([1], lambda total, number: total, value=list[int]), list[int], [1]),
    (lambda g: g.aggregate(list, lambda total, number: total, value=list[int]), list[int], []),
    (lambda g: g.aggregate(0, lambda total, number: total, value=float), float, 0),
]


@pytest.mark.parametrize(("aggregate", "value", "start"), STARTS)
def test_type_and_start_of_an_aggregate(
    program: Program, aggregate: Aggregating, value: object, start: object
) -> None:
    """The type is said, annotated, or that of the start; each key gets a start of its own."""
    aggregate(program.grouped)
    node = program.aggregate()
    assert node.initial is not None
    assert (node.store.value, node.initial()) == (value, start)
    if isinstance(start, list | Total):
        assert node.initial() is not node.initial()


@pytest.mark.parametrize(
    ("window", "kind", "name"),
    [
        (sf.Tumbling(HOUR), "window", "numbers-tumbling-1h-count"),
        (sf.Hopping(HOUR, MINUTE), "window", "numbers-hopping-1h-1m-count"),
        (sf.Sliding(MINUTE), "sliding", "numbers-sliding-1m-count"),
        (sf.Session(MINUTE), "session", "numbers-session-1m-count"),
        (sf.Unlimited(), "window", "numbers-unlimited-count"),
    ],
)
def test_windows(program: Program, window: Any, kind: str, name: str) -> None:
    """A windowed count: keys with their window outside, without it in the store."""
    grouped: Any = program.grouped
    table: sf.Table[Any, int] = grouped.window(window).count()
    node = program.aggregate()
    assert (node.name, node.key, node.value) == (name, sf.Windowed[str], int)
    assert (node.store.kind, node.store.key, node.store.window) == (kind, str, node.window)
    assert node.emit == "update"
    assert table.spec is node.store


def test_emission_on_close(program: Program) -> None:
    """A window that is handed on when it is closed."""
    program.grouped.window(sf.Tumbling(HOUR), emit="close").count()
    assert program.aggregate().emit == "close"


def test_merging_sessions(program: Program) -> None:
    """Sessions have what makes two of them one; windows have not."""
    sessions = program.grouped.window(sf.Session(MINUTE))
    sessions.count()
    assert program.aggregate().merge is operator.add
    sessions.reduce(max)
    assert program.aggregate().merge is max
    sessions.aggregate(0, lambda total, number: total, min)
    assert program.aggregate().merge is min
    program.grouped.window(sf.Tumbling(MINUTE)).reduce(max)
    assert program.aggregate().merge is None


def test_late(program: Program) -> None:
    """Late records are a stream of their own, beside the aggregate; their values need no type."""
    stream = program.stream.map_values(lambda number: object())
    late = stream.group_by_key().window(sf.Tumbling(HOUR, grace=MINUTE)).late()
    node = program.last()
    assert isinstance(node, LateRecords)
    assert (node.name, node.window.grace_ms) == ("numbers-tumbling-1h-late", 60_000)
    assert (node.store.name, node.store.kind) == (node.name, "buffer")
    assert isinstance(late, sf.Stream)


def test_cogroup(program: Program) -> None:
    """A cogroup has a function a stream, in one store."""
    others = program.app.stream(program.others).group_by_key()
    program.grouped.cogroup(add).cogroup(others, add).aggregate(Total())
    node = program.aggregate()
    assert (node.name, node.parents) == ("numbers-others-cogroup", ("numbers", "others"))
    assert (node.fns, node.value, node.store.kind) == ((add, add), Total, "table")


def test_cogroup_in_windows(program: Program) -> None:
    """A cogroup in windows, and in sessions with what merges them; its type is said early."""
    others = program.app.stream(program.others).group_by_key()
    together = program.grouped.cogroup(lambda total, number: total + number, value=int).cogroup(
        others, lambda total, number: total - number
    )
    together.window(sf.Tumbling(HOUR)).aggregate(lambda: 0)
    node = program.aggregate()
    assert (node.name, node.value) == ("numbers-others-tumbling-1h-cogroup", int)
    together.window(sf.Session(HOUR)).aggregate(0, max)
    node = program.aggregate()
    assert (node.name, node.value, node.merge) == ("numbers-others-session-1h-cogroup", int, max)


def test_windows_that_others_read_are_remembered_longer(program: Program) -> None:
    """A day, or much, if a join reads them or several streams write them; else as they say."""
    windows = program.grouped.window(sf.Tumbling(HOUR, grace=MINUTE))
    alone, read = windows.count(), windows.count(name="read")
    said = program.grouped.window(sf.Tumbling(HOUR, retention=3 * HOUR)).count(name="said")
    read.filter(lambda number: number > 1).join(said, lambda one, other: one)

    @program.app.function(program.numbers)
    def look(number: int, seen: sf.Lookup[sf.Windowed[str], int] = read) -> None:
        """Looks up in a window."""

    nodes = program.app.topology().nodes
    kept = {name: node for name, node in nodes.items() if isinstance(node, Aggregate)}
    retentions = {name: node.window and node.window.retention_ms for name, node in kept.items()}
    assert retentions == {
        alone.name: None,
        "read": 3_660_000 + DAY_MS,
        "said": 3 * 3_600_000,
    }
    assert nodes["look"].stores == (kept["read"].store,)
    assert kept["read"].store.window == kept["read"].window
    assert read.spec == replace(kept["read"].store, window=kept[alone.name].window)
    others = program.app.stream(program.others).group_by_key()
    program.grouped.cogroup(add).cogroup(others, add).window(sf.Sliding(HOUR)).aggregate(Total())
    node = program.aggregate()
    assert node.window is not None
    assert node.window.retention_ms == 17 * 2 * 3_600_000  # more than a day
