"""Global tables: any record of any task looks up any row, by a join or by a function."""

# pyright: reportPrivateUsage=false

import pytest

import streamfn as sf
from streamfn.errors import StageError, StopError
from streamfn.graph.describe import describe, to_text
from streamfn.graph.plan import plan
from streamfn.graph.rights import rights_of
from streamfn.graph.topology import OnError
from streamfn.testing import TestDriver
from tests.crash_world import World
from tests.unit.global_world import Program, name, outputs, record, tables


def test_any_record_looks_up_any_key() -> None:
    """A row of another partition is found; nulls delete, and null keys are none."""
    program = Program(partitions=5)
    with TestDriver(program.app) as driver:
        for number, key in enumerate("abcdef"):
            driver.send(program.names, number, key=key)
        driver.send(program.names, 9)
        driver.send(program.names, None, key="b")
        driver.send(program.names, 7, key="a")
        assert driver.state(program.table) == {"a": 7, "c": 2, "d": 3, "e": 4, "f": 5}
        for value in ("a1", "b1", "f1"):
            driver.send(program.records, value, key="k")
        assert [r.value for r in driver.read(program.out)] == ["a1=7", "b1=None", "f1=5"]


def test_a_function_looks_up_too() -> None:
    """``sf.Lookup`` takes a global table; the function needs no key, and has no store of it."""
    app = sf.App("app")
    names = app.topic("names", key=int, value=list[str], partitions=3)
    records, out = app.topic("in", key=str, value=int), app.topic("out", key=str, value=str)
    whole = app.global_table(names)

    @app.function(records, to=out)
    def told(value: int, found: sf.Lookup[int, list[str]] = whole) -> str:
        there = found.get(value)
        if there is not None:
            there.append("changed")
        return f"{value} {there}"

    assert not app.topology().stores
    with TestDriver(app) as driver:
        driver.send(names, ["a"], key=-5)
        for value in (-5, -5, 6):
            driver.send(records, value)
        found = [r.value for r in driver.read(out)]
        assert found == ["-5 ['a', 'changed']", "-5 ['a', 'changed']", "6 None"]


def test_a_program_may_write_the_topic_of_its_global_table() -> None:
    """What it has written is there for the next record."""
    app = sf.App("app")
    records, out = app.topic("in", key=str, value=str), app.topic("out", key=str, value=str)
    seen = app.topic("seen", key=str, value=str)
    table = app.global_table(seen)
    stream = app.stream(records)
    stream.left_join(table, lambda value, old: f"{old}>{value}", on=lambda key, value: key).to(out)
    stream.to(seen)
    with TestDriver(app) as driver:
        for value in ("1", "2", "3"):
            driver.send(records, value, key="k")
        assert [r.value for r in driver.read(out)] == ["None>1", "1>2", "2>3"]


def test_a_store_of_it_is_refused() -> None:
    """Nobody writes to a global table but its topic."""
    program = Program()
    app = program.app

    @app.function(program.records)
    def changed(value: str, names: sf.Store[str, int] = program.table) -> None:
        names["x"] = 1

    with pytest.raises(sf.TopologyError, match=r"would write to a global table.*sf\.Lookup"):
        app.topology()


def test_a_row_that_does_not_decode_fails_who_asks_for_it() -> None:
    """Others do not notice; the record fails by its policy, with a reason that names the row."""
    world = World(Program().app)
    world.write("names", (b"x", b"no number", 1), name("a", 1))
    world.write("in", record("a1"))
    world.settle()
    world.write("in", record("x1"))
    with pytest.raises(StageError, match="global table 'all-names' holds no int for key 'x'"):
        world.settle()


@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_a_key_that_does_not_decode(on_error: OnError) -> None:
    """It stops the worker, or is counted, as the application says."""
    app = sf.App("app", on_error=on_error)
    numbers = app.topic("numbers", key=int, value=str)
    records, out = app.topic("in", key=str, value=str), app.topic("out", key=str, value=str)
    app.stream(records).join(
        app.global_table(numbers), lambda one, two: one + two, on=len, value=str
    ).to(out)
    world = World(app)
    world.write("numbers", (b"none", b"x", 1), (numbers.spec.key.encode(2), b"two", 1))
    world.write("in", record("a1"))
    if on_error == "fail":
        with pytest.raises(StopError, match=r"offset 0 of numbers\[0\] has no key of global table"):
            world.settle()
        return
    world.settle()
    assert outputs(world) == ["a1two"]
    assert tables(world)._metrics.dropped["unreadable key at numbers-global-table"] == 1


def test_what_people_are_told() -> None:
    """The topic is the user's and read by the application; the table is described."""
    planned = plan(Program().app.topology())
    assert "names" in planned.user_topics
    assert not any("names" in topic.name for topic in planned.internal_topics)
    facts = describe(planned)
    assert [(t.name, t.topic) for t in facts.global_tables] == [("all-names", "names")]
    assert "global table all-names of topic names: str → int" in to_text(facts)
    assert {t.name: t.purpose for t in facts.topics}["names"] == "global table"
    (right,) = [right for right in rights_of(planned) if right.name == "names"]
    assert right.operations == ("Read", "Describe")
