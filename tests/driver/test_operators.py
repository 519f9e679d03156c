"""Every operator once, with Kafka Streams' answers: null values, null keys, order, timestamps."""

# mypy: disable-error-code="untyped-decorator"
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

import streamfn as sf
from streamfn.graph.plan import plan
from streamfn.testing import TestDriver


class World:
    """An app with an input of ints and an output, the way between them made by the test."""

    def __init__(self, **policy: Any) -> None:
        self.app: Any = sf.App("operators", **policy)
        self.numbers: Any = self.app.topic("numbers", key=str, value=int)
        self.out: Any = self.app.topic("out", key=str, value=int)
        self.other: Any = self.app.topic("other", key=str, value=int)
        self.stream: Any = self.app.stream(self.numbers)

    def run(self, *sent: tuple[str | None, int | None]) -> list[tuple[str | None, int | None]]:
        """Send keys and values, one a millisecond; return those of the output."""
        with TestDriver(self.app) as driver:
            for at, (key, value) in enumerate(sent):
                driver.send(self.numbers, value, key=key, timestamp_ms=at)
            used = "other" in plan(self.app.topology()).user_topics
            self.others = [(r.key, r.value) for r in driver.read(self.other)] if used else []
            self.records = driver.read(self.out)
        return [(record.key, record.value) for record in self.records]


@pytest.fixture
def world() -> World:
    """A new app."""
    return World()


ALL = [("a", 1), ("b", 2), (None, 3), ("c", None)]


# one by one
def test_filter_gets_null_values_and_keeps_null_keys(world: World) -> None:
    """It is called for every record."""
    world.stream.filter(lambda value: value != 1).to(world.out)
    assert world.run(*ALL) == [("b", 2), (None, 3), ("c", None)]


def test_filter_by_key(world: World) -> None:
    """``fn(key, value)`` gets the decoded key, or None."""
    world.stream.filter(lambda key, value: key in (None, "a")).to(world.out)
    assert world.run(*ALL) == [("a", 1), (None, 3)]


def test_filter_takes_anything_true(world: World) -> None:
    """As Python does, for both."""
    world.stream.filter(lambda value: value and value - 1).to(world.out)
    world.stream.filter_not(lambda value: value and value - 1).to(world.other)
    assert world.run(*ALL) == [("b", 2), (None, 3)]
    assert world.others == [("a", 1), ("c", None)]


def test_map_values_maps_null_values(world: World) -> None:
    """From one and to one; None is a tombstone, not nothing."""
    world.stream.map_values(lambda value: -1 if value is None else None).to(world.out)
    assert world.run(*ALL) == [("a", None), ("b", None), (None, None), ("c", -1)]


def test_map_values_by_key(world: World) -> None:
    """The key is there to look at."""
    world.stream.map_values(lambda key, value: len(key or "none")).to(world.out)
    assert world.run(*ALL) == [("a", 1), ("b", 1), (None, 4), ("c", 1)]


def test_map_changes_key_and_value(world: World) -> None:
    """Both may become None."""
    world.stream.map(lambda key, value: (value and f"{key}{value}", key and 0)).to(world.out)
    assert world.run(*ALL) == [("a1", 0), ("b2", 0), ("None3", None), (None, 0)]


def test_flat_map_values_makes_none_one_or_more(world: World) -> None:
    """In order, each with the record's key and time."""
    world.stream.flat_map_values(lambda value: [value] * (value or 0)).to(world.out)
    assert world.run(("a", 2), ("b", 0), ("c", None), ("d", 1)) == [("a", 2), ("a", 2), ("d", 1)]
    assert [record.timestamp_ms for record in world.records] == [0, 0, 3]


def test_flat_map_makes_pairs(world: World) -> None:
    """Of any iterable, a generator too."""

    def pairs(key: str, value: int) -> Iterator[tuple[str, int]]:
        yield key, value
        yield f"{key}!", value + 1

    world.stream.flat_map(pairs).to(world.out)
    assert world.run(("a", 1)) == [("a", 1), ("a!", 2)]


def test_peek_sees_and_changes_nothing(world: World) -> None:
    """What it answers is of no interest."""
    seen: list[Any] = []

    def look(key: str | None, value: int | None) -> int:
        seen.append((key, value))
        return 99

    world.stream.peek(look).to(world.out)
    assert world.run(*ALL) == ALL == seen


def test_key_by_and_select_key_are_one(world: World) -> None:
    """The value stays; a null key may come out."""
    world.stream.key_by(lambda value: value and str(value)).to(world.out)
    world.stream.select_key(lambda value: "all", name="all").to(world.other)
    assert world.run(*ALL) == [("1", 1), ("2", 2), ("3", 3), (None, None)]
    assert world.others == [("all", value) for _, value in ALL]


def test_key_by_takes_other_types_if_said(world: World) -> None:
    """Unsaid, a key that is no text fails."""
    by_number = world.app.topic("by-number", key=int, value=int)
    world.stream.key_by(lambda value: -value, key=int).to(by_number)
    with TestDriver(world.app) as driver:
        driver.send(world.numbers, 5, key="a")
        assert [record.key for record in driver.read(by_number)] == [-5]
    unsaid = World()
    unsaid.stream.key_by(lambda value: value).to(unsaid.out)
    with pytest.raises(sf.StageError, match="must answer str when no type is given; got int 5"):
        unsaid.run(("a", 5))


def test_split_takes_the_first_that_holds(world: World) -> None:
    """Each record goes one way; the rest goes the last."""
    low, also_low, rest = world.stream.split(lambda v: v == 1, lambda k, v: v in (1, 2))
    low.map_values(lambda value: 10).to(world.out)
    also_low.map_values(lambda value: 20).to(world.out)
    rest.to(world.other)
    assert world.run(*ALL) == [("a", 10), ("b", 20)]
    assert world.others == [(None, 3), ("c", None)]


def test_a_way_without_a_reader_goes_nowhere(world: World) -> None:
    """A record that takes it is not tried on the ways behind it."""
    _, low, _ = world.stream.split(lambda v: v == 1, lambda v: v is not None and v < 3)
    low.to(world.out)
    assert world.run(*ALL) == [("b", 2)]


def test_merge_keeps_the_order_of_each(world: World) -> None:
    """A record takes all its ways, in the order of their declaration, before the next starts."""
    tenfold = world.stream.map_values(lambda value: value * 10, value=int)
    world.stream.merge(tenfold).to(world.out)
    assert world.run(("a", 1), ("b", 2)) == [("a", 10), ("a", 1), ("b", 20), ("b", 2)]


def test_merge_of_topics_goes_by_time_and_arrival(world: World) -> None:
    """What arrives is processed; it does not wait for what may come."""
    world.stream.merge(world.app.stream(world.other)).to(world.out)
    with TestDriver(world.app) as driver:
        driver.send(world.numbers, 1, key="a", timestamp_ms=5)
        driver.send(world.other, 2, key="a", timestamp_ms=3)
        offsets = {record.value: record.offset for record in driver.read(world.out)}
    assert offsets == {1: 0, 2: 1}


# sinks
def test_to_a_tuple_and_to_a_name(world: World) -> None:
    """Each topic gets each record, and the stream goes on."""
    world.stream.to((world.out, world.other))
    world.stream.to("named", key=str, value=int)
    with TestDriver(world.app) as driver:
        driver.send(world.numbers, 7, key="a", headers=(("h", b"1"),), timestamp_ms=3)
        named = world.app.topic("named", key=str, value=int)
        found = [driver.read(topic) for topic in (world.out, world.other, named)]
    assert [
        [(r.key, r.value, r.timestamp_ms, r.headers) for r in records] for records in found
    ] == [[("a", 7, 3, (("h", b"1"),))]] * 3


def test_through_a_topic_and_on(world: World) -> None:
    """What is written to a topic can be read from it."""
    world.stream.map_values(lambda value: value + 1).to(world.other)
    world.app.stream(world.other).map_values(lambda value: value * 2).to(world.out)
    assert world.run(("a", 1), ("b", 2)) == [("a", 4), ("b", 6)]


def test_repartition_puts_each_key_in_its_partition(world: World) -> None:
    """Records, null values, headers and times come through; in the key's order."""
    wide = world.app.topic("wide", key=str, value=int, partitions=4)
    world.stream.repartition(partitions=4).to(wide)
    with TestDriver(world.app) as driver:
        for at, (key, value) in enumerate([("a", 1), ("b", None), ("a", 3)]):
            driver.send(world.numbers, value, key=key, timestamp_ms=at, headers=(("h", b"1"),))
        found = driver.read(wide)
    sent = [("a", 1, 0), ("b", None, 1), ("a", 3, 2)]
    assert [(r.key, r.value, r.timestamp_ms) for r in found] == sent
    assert found[0].partition == found[2].partition
    assert all(record.headers == (("h", b"1"),) for record in found)


# time
def test_event_time_is_read_from_the_value(world: World) -> None:
    """Answers carry it; a tombstone keeps the record's own time."""
    timed = world.app.topic("timed", key=str, value=int, timestamp=lambda value: value * 1000)
    world.app.stream(timed).to(world.out)
    with TestDriver(world.app) as driver:
        driver.send(timed, 5, key="a", timestamp_ms=1)
        driver.send(timed, None, key="a", timestamp_ms=2)
        assert sorted(r.timestamp_ms for r in driver.read(world.out)) == [2, 5000]


@pytest.mark.parametrize("wrong", [lambda value: -1, lambda value: "now", lambda value: 1 / 0])
def test_a_record_without_event_time_fails(wrong: Any) -> None:
    """It goes to the dead letters with the time it came with."""
    world = World(on_error="dead_letter")
    timed = world.app.topic("timed", key=str, value=int, timestamp=wrong)
    world.app.stream(timed).to(world.out)
    with TestDriver(world.app) as driver:
        driver.send(timed, 5, key="a", timestamp_ms=7)
        (dead,) = driver.dead_letters()
    assert (dead.key, dead.value, dead.timestamp_ms) == (b"a", b"5", 7)
    assert dict(dead.headers)["streamfn.stage"] == b"timed"


# functions
def test_a_function_drops_null_values_unless_it_takes_them(world: World) -> None:
    """The annotation says so; what it answers with None goes nowhere."""

    @world.app.function(world.numbers, to=world.out)
    def strict(value: int) -> int | None:
        return value if value > 1 else None

    @world.app.function(world.numbers, to=world.other)
    def lenient(value: int | None) -> int:
        return -1 if value is None else value

    assert world.run(*ALL) == [("b", 2), (None, 3)]
    assert world.others == [("a", 1), ("b", 2), (None, 3), ("c", -1)]


def test_state_needs_a_key(world: World) -> None:
    """A null key is dropped before it; without state it is processed."""

    @world.app.function(world.numbers, to=world.out)
    def count(value: int, seen: sf.Value[int]) -> int:
        seen.value += 1
        return seen.value

    assert world.run(("a", 5), (None, 5), ("a", 5)) == [("a", 1), ("a", 2)]


def test_answers_with_records(world: World) -> None:
    """Other keys, tombstones, other topics, other times; several by yield."""

    @world.app.function(world.numbers, to=(world.out, world.other))
    def route(value: int) -> Iterator[Any]:
        yield world.out.record(key="x", value=None)
        yield world.other.record(key=None, value=value, timestamp_ms=77)

    assert world.run(("a", 5)) == [("x", None)]
    assert world.others == [(None, 5)]


def test_a_function_is_a_stream(world: World) -> None:
    """Its answers go to its topic and on."""

    @world.app.function(world.numbers, to=world.other)
    def double(value: int) -> int:
        return value * 2

    double.filter(lambda value: value > 2).to(world.out)
    assert world.run(("a", 1), ("b", 2)) == [("b", 4)]
    assert world.others == [("a", 2), ("b", 4)]


def test_a_list_is_one_answer(world: World) -> None:
    """So is a tuple or a dict."""
    lists = world.app.topic("lists", key=str, value=list[int])

    @world.app.function(world.numbers, to=lists)
    def pair(value: int) -> list[int]:
        return [value, value]

    with TestDriver(world.app) as driver:
        driver.send(world.numbers, 1, key="a")
        assert [record.value for record in driver.read(lists)] == [[1, 1]]


# tables
def test_a_table_keeps_the_last_value(world: World) -> None:
    """A tombstone removes; a null key is no row; readers see what was there before."""
    table = world.app.table(world.other)

    @world.app.function(world.numbers, to=world.out)
    def look(value: int, rows: sf.Lookup[str, int] = table) -> int:
        return rows.get("a") or -value

    with TestDriver(world.app) as driver:
        for value in (1, 2, None):
            driver.send(world.numbers, 9, key="k")
            driver.send(world.other, value, key="a")
        driver.send(world.other, 5)
        driver.send(world.numbers, 9, key="k")
        assert [record.value for record in driver.read(world.out)] == [-9, 1, 2, -9]
        assert driver.state(table) == {}


def test_a_topic_can_be_a_stream_and_a_table(world: World) -> None:
    """Under its own key and under another one; the table has the record already."""
    table = world.app.table(world.numbers)

    @world.app.function(world.stream.key_by(lambda value: "a" if value else "b"), to=world.out)
    def look(value: int, rows: sf.Lookup[str, int] = table) -> int:
        return 10 * value + (rows.get("a") or 0)

    assert world.run(("a", 1), ("x", 2), ("a", 3)) == [("a", 11), ("a", 21), ("a", 33)]


# keyed state behind changes of key
@pytest.mark.parametrize("interval_ms", [0, 500])
def test_state_behind_a_change_of_key(world: World, interval_ms: int) -> None:
    """Records of all partitions meet at their new key."""
    wide = world.app.topic("wide", key=str, value=int, partitions=4)
    by = world.app.stream(wide).key_by(lambda value: "even" if value % 2 == 0 else "odd")

    @world.app.function(by, to=world.out)
    def total(value: int, total: sf.Value[int]) -> int:
        total.value += value
        return total.value

    with TestDriver(world.app, commit_interval_ms=interval_ms) as driver:
        for at in range(20):
            driver.send(wide, at, key=f"k{at}", timestamp_ms=at)
        for _ in range(3):
            driver.advance(timedelta(seconds=1))
        assert driver.state(total, "total") == {"even": 90, "odd": 100}
        assert len(driver.read(world.out)) == 20


def test_explicit_repartition_before_state(world: World) -> None:
    """As wide as said."""

    @world.app.function(world.stream.repartition(partitions=3), to=world.out)
    def count(value: int, seen: sf.Value[int]) -> int:
        seen.value += 1
        return seen.value

    assert sorted(world.run(*[(key, 1) for key in "abcabca"])) == [
        ("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2), ("c", 1), ("c", 2),
    ]  # fmt: skip


def test_a_stream_beside_itself_under_another_key(world: World) -> None:
    """Counted under both keys."""

    @world.app.function(world.stream.merge(world.stream.key_by(lambda value: "all")))
    def count(value: int, seen: sf.Value[int]) -> None:
        seen.value += 1

    with TestDriver(world.app) as driver:
        for key in "aab":
            driver.send(world.numbers, 1, key=key)
        assert driver.state(count, "seen") == {"a": 2, "all": 3, "b": 1}


def test_a_key_that_does_not_decode_is_a_bad_record() -> None:
    """It must not reach a store."""
    world = World(on_error="dead_letter")

    @world.app.function(world.numbers, to=world.out)
    def count(value: int, seen: sf.Value[int]) -> int:
        seen.value += 1
        return seen.value

    with TestDriver(world.app) as driver:
        driver.send_raw("numbers", b"1", key=b"\xff")
        assert len(driver.dead_letters()) == 1
        assert driver.state(count, "seen") == {}
