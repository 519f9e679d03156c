"""Mistakes in groups, tables and joins: at the user's line, with what to do about them."""

# Wrong programs are written against Any: else the type checkers would refuse them first.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import streamfn as sf
from streamfn.graph.plan import plan
from tests.unit.wrong_programs import Wrong, check

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def unknown(program: Wrong) -> Any:
    """A stream whose values have no known type."""
    return program.stream.map_values(lambda number: number)


AGGREGATES: list[tuple[Callable[[Wrong], Any], str, str, str]] = [
    (
        lambda p: p.grouped.reduce(lambda total: total),  # here
        "the function of reduce cannot be called as fn(aggregate, value)",
        "with total",
        "write it as",
    ),
    (
        lambda p: p.grouped.aggregate(0, 3),  # here
        "aggregate needs a function",
        "3",
        "pass fn(aggregate, value)",
    ),
    (
        lambda p: p.grouped.aggregate(lambda key: 0, max, value=int),  # here
        "the function of initial= of aggregate cannot be called as fn()",
        "with key",
        "write it as fn()",
    ),
    (
        lambda p: p.grouped.aggregate("none", max, value=int),  # here
        "initial= of aggregate is not of its type",
        "int",
        "start from a int",
    ),
    (
        lambda p: p.grouped.aggregate([], lambda total, number: total),  # here
        "needs to know the type of its values",
        "no type",
        "say value=",
    ),
    (
        lambda p: unknown(p).group_by_key().reduce(max),  # here
        "reduce 'numbers-reduce' needs to know the type of its values",
        "no type",
        "say value=",
    ),
    (
        lambda p: p.stream.map(lambda k, n: (k, n), value=int).group_by_key().count(),  # here
        "the key type behind map 'numbers-map-value' is unknown and needed",
        "without a return annotation",
        "say key=",
    ),
    (
        lambda p: p.sessions.aggregate(0, max),  # here
        "merge= of aggregate of sessions needs a function",
        "None",
        "pass fn(one, other)",
    ),
    (
        lambda p: p.sessions.aggregate(0, max, lambda one: one),  # here
        "merge= of aggregate of sessions cannot be called",
        "with one",
        "fn(one, other)",
    ),
    (
        lambda p: p.stream.group_by(lambda key, number, more: ""),  # here
        "group_by cannot be called as fn(value) or fn(key, value)",
        "more",
        "write it as",
    ),
    (
        lambda p: (p.grouped.count(), p.grouped.count()),  # here
        "count has the name of another stage",
        "'numbers-count'",
        "say name=",
    ),
    (
        lambda p: p.table.group_by(lambda n: "").reduce(max, lambda total: total),  # here
        "reduce of a table cannot be called as fn(aggregate, value)",
        "with total",
        "write it as",
    ),
    (
        lambda p: p.grouped.cogroup(max).cogroup(Wrong().grouped, max).aggregate(0),  # here
        "cogroup joins parts of two apps",
        "'numbers' of 'app'",
        "of one app",
    ),
    (
        lambda p: p.grouped.cogroup(max, value=int).cogroup(p.stream, max).aggregate(0),  # here
        "cogroup needs a grouped stream",
        "Stream",
        "group_by_key()",
    ),
    (
        lambda p: p.app.stream(p.table),  # here
        "the source of stream() cannot be read",
        "Table('numbers-table')",
        "table.to_stream()",
    ),
    (
        lambda p: p.table.map_values(lambda n: n, store="kept"),  # here
        "needs to know the type of its values",
        "no type",
        "say value=",
    ),
    (
        lambda p: p.table.filter(lambda n: n, store="a b"),  # here
        "the name of filter is not usable",
        "'a b'",
        "A-Z",
    ),
    (
        lambda p: p.app.table(p.numbers, versioned=5, name="then"),  # here
        "versioned= of a table is no duration",
        "5",
        "timedelta",
    ),
    (
        lambda p: p.app.global_table(p.stream),  # here
        "the source of global_table() is no topic",
        "Stream",
        "app.topic",
    ),
    (
        lambda p: p.stream.to(lambda number: p.numbers, topics=p.numbers),  # here
        "topics= of to() is no tuple of topics",
        "Topic('numbers')",
        "topics=(one, other)",
    ),
]

JOINS: list[tuple[Callable[[Wrong], Any], str, str, str]] = [
    (
        lambda p: p.stream.join(p.words, lambda left: left, MINUTE),  # here
        "join cannot be called as fn(left, right) or fn(key, left, right)",
        "with left",
        "write it as",
    ),
    (
        lambda p: p.stream.join(p.words, lambda left, right: left),  # here
        "a join of two streams needs a window",
        "None",
        "sf.JoinWindow",
    ),
    (
        lambda p: p.stream.join(p.words, max, sf.JoinWindow(-HOUR, MINUTE)),  # here
        "JoinWindow ends before it begins",
        "before=",
        "-before <= after",
    ),
    (
        lambda p: p.stream.join(p.words, max, sf.JoinWindow(HOUR, grace=-MINUTE)),  # here
        "grace of JoinWindow is negative",
        "timedelta",
        "or more",
    ),
    (
        lambda p: p.stream.join(unknown(p), max, MINUTE),  # here
        "the right of join 'numbers-join-numbers' needs",
        "no type",
        "say value=",
    ),
    (
        lambda p: p.stream.join(Wrong().words, max, MINUTE),  # here
        "join joins parts of two apps",
        "'texts' of 'app'",
        "through a topic",
    ),
    (
        lambda p: p.stream.key_by(len, key=int).join(p.words, max, MINUTE),  # here
        "join joins keys that differ",
        "int of 'numbers-by-len' and str of 'texts'",
        "key_by",
    ),
    (
        lambda p: p.stream.join(3, max),  # here
        "join has no other side",
        "3",
        "pass a table",
    ),
    (
        lambda p: p.stream.join(p.names, max, MINUTE),  # here
        "join with a table has no within=",
        "60",
        "leave it out",
    ),
    (
        lambda p: p.stream.join(p.words, max, MINUTE, grace=MINUTE),  # here
        "join with another stream has no grace=",
        "60",
        "leave it out",
    ),
    (
        lambda p: p.stream.join(p.names, max, grace=MINUTE),  # here
        "grace= of a join needs a versioned table",
        "'texts-table'",
        "versioned=",
    ),
    (
        lambda p: p.stream.join(p.short(), max, grace=HOUR),  # here
        "grace= of a join is longer than the history of table 'v'",
        "a history of 60000 ms",
        "longer versioned=",
    ),
    (
        lambda p: p.stream.join(p.app.global_table(p.texts), max),  # here
        "on= of join needs a function",
        "None",
        "fn(value) or fn(key, value)",
    ),
    (
        lambda p: p.table.join(p.stream, max),  # here
        "join of a table joins a table",
        "Stream",
        "pass a table",
    ),
    (
        lambda p: p.table.join(Wrong().table, max),  # here
        "join joins parts of two apps",
        "'numbers-table' of 'app'",
        "of one app",
    ),
    (
        lambda p: p.table.join(p.names, max, store="kept"),  # here
        "needs to know the type of its values",
        "no type",
        "say value=",
    ),
    (
        lambda p: p.table.join(p.names, max, on=str),  # here
        "table 'numbers-table-join-texts-table' needs to know the type of its values",
        "no type",
        "say value=",
    ),
    (
        lambda p: p.table.join(p.names, max, on=int, value=str),  # here
        "on= of join gives keys that its table does not have",
        "int for 'texts-table' with keys of type str",
        "answer a str",
    ),
    (
        lambda p: p.table.map_values(lambda n: n).join(p.names, max, on=str, value=str),  # here
        "a foreign-key join needs to know the value type of its left table",
        "nobody says",
        "say value=",
    ),
    (
        lambda p: (p.table.join(p.names, max), p.table.join(p.names, min)),  # here
        "join with 'texts-table' has the name of another stage",
        "'numbers-table-join-texts-table'",
        "say name=",
    ),
]


@pytest.mark.parametrize(("write", "wrong", "got", "cure"), AGGREGATES + JOINS)
def test_mistake(write: Callable[[Wrong], Any], wrong: str, got: str, cure: str) -> None:
    """A mistake is told at its own line, and it is the only one."""
    program = Wrong()
    write(program)
    check(program.app, wrong, got, cure)


def test_keys_written_differently() -> None:
    """Equal keys of two topics that are written differently lie in other partitions."""
    program = Wrong()
    one = program.app.topic("one", key=int, value=int)
    other = program.app.topic("other", key=sf.INT64, value=int)
    program.app.table(one).join(program.app.table(other), max)  # here
    check(program.app, "written differently", "json of 'one-table' and int64", "key_by(lambda")


def test_lookup_in_a_table_that_keeps_nothing() -> None:
    """A function can only look up in what is kept."""
    program = Wrong()
    positive = program.table.filter(lambda number: number > 0, name="positive")

    @program.app.function(program.texts)  # type: ignore[untyped-decorator]  # of any type
    def look(text: str, numbers: sf.Lookup[str, int] = positive) -> None:  # here
        """Looks up."""

    check(program.app, "reads a table that keeps nothing", "'positive'", "say store=")


def test_lookup_of_windows_by_plain_keys() -> None:
    """Windows are looked up by their key and time."""
    program = Wrong()
    hourly = program.counted(sf.Tumbling(HOUR))

    @program.app.function(program.texts)  # type: ignore[untyped-decorator]  # of any type
    def look(text: str, numbers: sf.Lookup[str, int] = hourly) -> None:  # here
        """Looks up."""

    check(program.app, "expects keys of type str", "keys of type Windowed[str]", "Windowed[str]")


def test_each_join_of_topics_that_do_not_match_is_told_at_its_line() -> None:
    """Place, both topics, both counts, the cure; what is behind a mistake is not told again."""
    app = sf.App("apart")
    narrow = app.topic("narrow", key=str, value=int, partitions=2)
    wide = app.topic("wide", key=str, value=int, partitions=3)
    streams = app.stream(narrow).join(app.stream(wide), lambda a, b: a + b, HOUR, value=int)
    app.table(narrow).join(app.table(wide), lambda a, b: a + b, value=int)
    streams.group_by_key().count(name="behind")
    nodes = app.topology().nodes
    with pytest.raises(sf.TopologyError) as caught:
        plan(app.topology())
    told = caught.value.mistakes
    assert [each.where for each in told] == [
        nodes["narrow-join-wide"].where,
        nodes["narrow-table-join-wide-table"].where,
    ]
    assert all("'narrow' and 'wide' meet at join" in each.wrong for each in told)
    assert {each.got for each in told} == {"2 and 3 partitions"}
