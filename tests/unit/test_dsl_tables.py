"""Tables and joins: the nodes of right programs, with their stores and types."""

from datetime import timedelta
from typing import Any

import pytest

import streamfn as sf
from streamfn.graph.operators import (
    ForeignKeyJoin,
    ForeignKeyLookup,
    ForeignKeySend,
    GlobalJoin,
    Regroup,
    StreamJoin,
    StreamTableJoin,
    Suppress,
    TableAggregate,
    TableJoin,
    TableStep,
    ToStream,
)
from streamfn.graph.plan import plan
from streamfn.graph.topology import UNKNOWN, AnyNode, Sink, TableStore

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


class Program:
    """An app with two topics and their tables, and what a test looks at."""

    def __init__(self) -> None:
        self.app = sf.App("app")
        self.numbers = self.app.topic("numbers", key=str, value=int)
        self.texts = self.app.topic("texts", key=str, value=str)
        self.stream, self.words = self.app.stream(self.numbers), self.app.stream(self.texts)
        self.table, self.names = self.app.table(self.numbers), self.app.table(self.texts)

    def node(self, name: str) -> Any:
        """A built node."""
        return self.app.topology().nodes[name]

    def last(self) -> AnyNode:
        """The node built last."""
        return list(self.app.topology().nodes.values())[-1]


@pytest.fixture
def program() -> Program:
    """A fresh program."""
    return Program()


def test_table_of_a_stream(program: Program) -> None:
    """A stream's last values, kept under a name of its own."""
    program.stream.map_values(lambda number: str(number), value=str).to_table(name="last")
    node = program.last()
    assert isinstance(node, TableStore)
    assert (node.store.name, node.store.kind, node.store.value) == ("last", "table", str)


def test_versioned_table(program: Program) -> None:
    """A table that also knows what was before is another one than the plain one."""
    table = program.app.table(program.numbers, versioned=HOUR, name="then")
    assert table.spec is not None
    assert (table.spec.kind, table.spec.history_ms) == ("versioned", 3_600_000)
    assert program.app.table(program.numbers, versioned=HOUR, name="then").spec is table.spec


def test_steps(program: Program) -> None:
    """Steps of a table keep nothing, unless they are given a store."""
    made: list[sf.Table[str, Any]] = [
        program.table.filter(lambda number: number > 1),
        program.table.filter_not(lambda key, number: number > 1, store="few"),
        program.table.map_values(str, value=str, store="kept", name="written"),
        program.table.transform_values(lambda number: number or 0),
    ]
    nodes = [program.node(table.name) for table in made]
    assert all(isinstance(node, TableStep) for node in nodes)
    assert [(node.kind, node.takes_key, node.value) for node in nodes] == [
        ("filter", False, int),
        ("filter_not", True, int),
        ("map_values", False, str),
        ("transform_values", False, UNKNOWN),
    ]
    assert [(table.name, table.spec and table.spec.name) for table in made[1:3]] == [
        ("few", "few"),
        ("written", "kept"),
    ]
    assert [table.spec for table in (made[0], made[3])] == [None, None]


def test_to_stream(program: Program) -> None:
    """A table's changes as a stream of its types."""
    stream = program.table.to_stream()
    node = program.last()
    assert isinstance(node, ToStream)
    assert (node.key, node.value, node.parents) == (str, int, ("numbers-table",))
    stream.to(program.numbers)


def test_grouped_table(program: Program) -> None:
    """Rows go to their groups through a topic of changes."""
    groups = program.table.group_by(lambda number: str(number % 2))
    groups.count()
    groups.reduce(max, min)
    groups.aggregate(0.0, lambda total, n: total + n, lambda total, n: total - n)
    regroup = program.node("numbers-table-by-str-2")
    assert isinstance(regroup, Regroup)
    changes: Any = regroup.value
    assert (regroup.key, changes.name, regroup.check_str) == (str, "change[json[int]]", True)
    made = [
        node for node in program.app.topology().nodes.values() if isinstance(node, TableAggregate)
    ]
    assert [(node.name, node.value) for node in made] == [
        ("numbers-table-by-str-2-count", int),
        ("numbers-table-by-str-2-reduce", int),
        ("numbers-table-by-str-2-aggregate", float),
    ]
    count, reduced, _ = made
    assert (count.add(5, 1), count.subtract(5, 1)) == (6, 4)
    assert (reduced.initial, reduced.add, reduced.subtract) == (None, max, min)
    topics = [topic.name for topic in plan(program.app.topology()).internal_topics]
    assert "app-numbers-table-by-str-2-repartition" in topics


def test_suppress_for_a_time(program: Program) -> None:
    """Changes of any table wait for a time."""
    table = program.table.suppress(MINUTE, max_records=3, when_full="fail")
    node = program.last()
    assert isinstance(node, Suppress)
    assert (node.name, node.limit_ms) == ("numbers-table-suppress", 60_000)
    assert (node.records_max, node.when_full) == (3, "fail")
    assert table.spec is None, "nobody looks up in what waits"


@pytest.mark.parametrize(
    ("window", "after_ms", "inclusive", "idle_ms"),
    [
        (sf.Tumbling(HOUR, grace=MINUTE), 60_000, False, None),
        (sf.Hopping(HOUR, MINUTE, idle_close=MINUTE), 0, False, 60_000),
        (sf.Sliding(HOUR, grace=MINUTE), 60_000, True, None),
        (sf.Session(HOUR, grace=MINUTE), 3_660_000, True, None),
    ],
)
def test_suppress_until_closed(
    program: Program, window: Any, after_ms: int, inclusive: bool, idle_ms: int | None
) -> None:
    """When a window closes is found upstream, through steps."""
    grouped: Any = program.stream.group_by_key()
    counted: sf.Table[Any, int] = grouped.window(window).count()
    counted.filter(lambda number: number > 1).suppress("close")
    node = program.last()
    assert isinstance(node, Suppress)
    found = (node.limit_ms, node.close_after_ms, node.inclusive_end, node.idle_close_ms)
    assert found == (None, after_ms, inclusive, idle_ms)
    assert node.store.key == sf.Windowed[str]


def test_suppress_of_joined_windows(program: Program) -> None:
    """The later of two windows decides; both must close when nothing comes."""
    grouped = program.stream.group_by_key()
    one = grouped.window(sf.Tumbling(HOUR, grace=MINUTE, idle_close=MINUTE)).count()
    other = grouped.window(sf.Tumbling(HOUR, grace=HOUR)).reduce(max)
    one.join(other, lambda left, right: left, value=int).suppress("close")
    node = program.last()
    assert isinstance(node, Suppress)
    assert (node.close_after_ms, node.idle_close_ms) == (3_600_000, None)


def test_stream_join(program: Program) -> None:
    """Two streams: what is remembered of either side, and what waits."""
    window = sf.JoinWindow(MINUTE, HOUR, grace=MINUTE)
    program.stream.join(program.words, lambda number, word: word, window, value=str)
    program.stream.left_join(program.words, lambda key, number, word: word, MINUTE)
    program.stream.outer_join(program.texts, lambda number, word: word, MINUTE)
    made = [node for node in program.app.topology().nodes.values() if isinstance(node, StreamJoin)]
    assert [(node.name, node.kind, node.takes_key, node.value) for node in made] == [
        ("numbers-join-texts", "inner", False, str),
        ("numbers-left_join-texts", "left", True, UNKNOWN),
        ("numbers-outer_join-texts", "outer", False, UNKNOWN),
    ]
    inner, left, _ = made
    assert inner.parents == ("numbers", "texts")
    assert (inner.before_ms, inner.after_ms, inner.grace_ms) == (60_000, 3_600_000, 60_000)
    assert [(store.name, store.key, store.value) for store in left.stores] == [
        ("numbers-left_join-texts-left", str, int),
        ("numbers-left_join-texts-right", str, str),
        ("numbers-left_join-texts-unmatched", str, bytes),
    ]
    assert len(inner.stores) == 2


def test_stream_table_join(program: Program) -> None:
    """A stream looks up a table; of a versioned one it may wait for what comes late."""
    program.stream.join(program.names, lambda number, name: name)
    node = program.last()
    assert isinstance(node, StreamTableJoin)
    assert (node.name, node.parents) == ("numbers-join-texts-table", ("numbers", "texts-table"))
    assert (node.stores, node.grace_ms) == ((), None)
    then = program.app.table(program.texts, versioned=HOUR, name="then")
    program.stream.left_join(
        then.filter(lambda name: True), lambda number, name: name, grace=MINUTE
    )
    node = program.last()
    assert isinstance(node, StreamTableJoin)
    assert (node.kind, node.grace_ms) == ("left", 60_000)
    assert [store.name for store in node.stores] == ["numbers-left_join-then-buffer"]


def test_global_table(program: Program) -> None:
    """A global table stands beside the nodes; joins and functions read it by any key."""
    everywhere = program.app.global_table(program.texts)
    again = program.app.global_table(program.texts)
    program.stream.join(everywhere, lambda number, text: text, on=lambda number: str(number))
    node = program.last()
    assert isinstance(node, GlobalJoin)
    assert (node.parents, node.table, node.keyed) == (("numbers",), everywhere.spec, False)

    @program.app.function(program.numbers)
    def look(number: int, texts: sf.Lookup[str, str] = everywhere) -> str | None:
        return texts.get(str(number))

    topology = program.app.topology()
    (name,) = topology.global_tables
    assert (name, again.spec) == ("texts-global-table", everywhere.spec)
    assert topology.global_tables[name].topic is program.texts.spec
    assert not topology.nodes["look"].keyed
    assert look(1, {"1": "one"}) == "one"


def test_table_join(program: Program) -> None:
    """Two tables, key by key; a store only if it is asked for."""
    program.table.join(program.names, lambda number, name: name)
    program.table.left_join(program.names, lambda k, n, name: name, store="left", value=str)
    program.table.outer_join(program.table, lambda one, other: one, name="self")
    made = [node for node in program.app.topology().nodes.values() if isinstance(node, TableJoin)]
    assert [(node.name, node.kind, node.takes_key) for node in made] == [
        ("numbers-table-join-texts-table", "inner", False),
        ("left", "left", True),
        ("self", "outer", False),
    ]
    assert [len(node.stores) for node in made] == [0, 1, 0]
    assert made[2].parents == ("numbers-table", "numbers-table")


def test_foreign_key_join(program: Program) -> None:
    """A round trip: subscriptions to the right side, answers back, and a table of the results."""
    joined = program.table.join(
        program.names, lambda number, name: name, on=lambda number: str(number), value=str
    )
    name = "numbers-table-join-texts-table"
    nodes = program.app.topology().nodes
    asked, answered = nodes[f"{name}-subscriptions"], nodes[f"{name}-answers"]
    met, kept = nodes[f"{name}-joined"], nodes[name]
    assert isinstance(asked, ForeignKeySend)
    assert isinstance(answered, ForeignKeyLookup)
    assert isinstance(met, ForeignKeyJoin)
    assert isinstance(kept, TableStore)
    assert (asked.parents, asked.left_key, asked.left_value) == (("numbers-table",), str, int)
    assert (answered.parents, met.parents) == (
        (asked.name, "texts-table"),
        (answered.name, "numbers-table"),
    )
    assert answered.store.key == tuple[str, str]
    assert (joined.name, joined.spec) == (name, kept.store)
    topics = {topic.name for topic in plan(program.app.topology()).internal_topics}
    assert {f"app-{name}-answers-repartition", f"app-{name}-subscriptions-repartition"} <= topics


def test_chosen_topics(program: Program) -> None:
    """A topic for each record: one of those said, or any."""
    program.stream.to(lambda number: program.numbers, topics=(program.numbers, "more"))
    sink = program.last()
    assert isinstance(sink, Sink)
    assert sink.choose is not None
    assert [topic.name for topic in sink.topics] == ["numbers", "more"]
    assert sink.choose("key", 1) is program.numbers
    program.stream.to(lambda key, number: f"{key}-{number}")
    sink = program.last()
    assert isinstance(sink, Sink)
    assert sink.choose is not None
    assert (sink.topics, sink.choose("a", 1)) == ((), "a-1")
