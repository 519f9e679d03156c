"""Replays: the order of protocol §6, whatever the commit interval, the workers, the chunks.

Invariant: a replay gives what the test driver gives that gets the same records one by one, in the
order of a replay; and two replays give the same bytes.
"""

import random
from datetime import timedelta
from typing import Any, Final

import msgspec
import pytest

import streamfn as sf
from streamfn.errors import ConfigError, StageError
from streamfn.graph.stores import entry_serde
from streamfn.record import TopicPartition
from streamfn.replay.recording import Entry, Range, RecordedStore
from streamfn.testing.driver import TestDriver
from tests.operator_families import FAMILIES, GRACES, program
from tests.operator_records import records_late, with_tombstones
from tests.replay_world import (
    Answer,
    MemoryInputs,
    Outcome,
    Placed,
    in_replay_order,
    placed,
    replayed,
)

WIDTH: Final = 3
MANNERS: Final[tuple[dict[str, Any], ...]] = (
    {"commit_interval_ms": 0, "workers": 2, "rows_max": 5, "generated": False},
    {"commit_interval_ms": 3, "workers": 3, "rows_max": 1},
    {"commit_interval_ms": 1_000_000, "workers": 1, "rows_max": 1_000},
)


def outcome_of(
    app: sf.App, records: list[Placed], widths: dict[str, int], **manner: Any
) -> Outcome:
    """Replay in one manner."""
    inputs = MemoryInputs(records, widths, rows_max=manner.pop("rows_max", 7))
    return replayed(app, inputs, **manner)


def driven(
    app: sf.App, records: list[Placed], topics: list[str]
) -> dict[TopicPartition, list[Answer]]:
    """What the test driver gives, one record after the other."""
    found: dict[TopicPartition, list[Answer]] = {}
    with TestDriver(app) as driver:
        for each in in_replay_order(records):
            driver.send_raw(
                each.source.topic, each.value, key=each.key, timestamp_ms=each.at_ms,
                headers=each.headers, partition=each.source.partition,
            )  # fmt: skip
        for topic in topics:
            for raw in driver.read_raw(topic):
                source = TopicPartition(topic, raw.partition)
                answer = (raw.key, raw.value, raw.timestamp_ms, raw.headers)
                found.setdefault(source, []).append(answer)
    return found


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_operator_replays_as_driven(name: str) -> None:
    """Each operator, late records and tombstones among them, answers as in the driver."""
    choose = random.Random(name)
    family = FAMILIES[name]
    sent = with_tombstones(choose, records_late(choose, family.inputs, 60))
    records = placed([(r.topic, *r.raw) for r in sent], WIDTH)
    widths = dict.fromkeys(family.inputs, WIDTH)
    grace_s = choose.choice(GRACES)

    def app() -> sf.App:
        return program(name, WIDTH, grace_s).app

    base = outcome_of(app(), records, widths)
    want = driven(app(), records, ["out"])
    assert {s: rows for s, rows in base.rows.items() if s.topic == "out"} == want
    for manner in MANNERS:
        other = outcome_of(app(), records, widths, **manner)
        assert other.rows == base.rows
        assert other.entries == base.entries
        assert (other.roots, other.stages) == (base.roots, base.stages)


class Seen(msgspec.Struct, frozen=True):
    """An answer with all that follows from chance and time."""

    word: str
    count: int
    when: str
    id: str
    number: float


def wide_app() -> sf.App:
    """Words of lines, counted behind a repartition, with chance, timers and dead letters."""
    app = sf.App("words", on_error="dead_letter")
    lines = app.topic("lines", key=str, value=str, partitions=WIDTH)
    seen = app.topic("seen", key=str, value=Seen, partitions=2)
    ticks = app.topic("ticks", key=str, value=int, partitions=2)
    words = app.stream(lines).flat_map_values(str.split, value=str)

    @app.function(words.key_by(lambda word: word[:1]), to=(seen, ticks))
    def count(word: str, total: sf.Value[int], about: sf.Context[str]) -> Any:
        """Counts words under their first letter."""
        if word == "bad":
            raise ValueError(word)
        total.value += 1
        first, second = about.uuid(), about.random.random()
        made = Seen(word, total.value, about.now().isoformat(), str(first), second)
        yield seen.record(key=about.key, value=made)
        again = Seen(word, about.now_ms, "", str(about.uuid()), about.random.random())
        yield seen.record(key=about.key, value=again)

    @count.every(timedelta(seconds=5), clock="wall")
    def tick(about: sf.Context[Any], total: sf.Store[str, int]) -> Any:
        """Says how many there are."""
        yield ticks.record(key="all", value=sum(total.values()))

    return app


def lines(count: int, seed: int = 1) -> list[Placed]:
    """Choose lines; some without a key, some with a word that fails."""
    choose = random.Random(seed)
    sent: list[tuple[str, bytes | None, bytes | None, int]] = []
    at_ms = 0
    for _ in range(count):
        at_ms += choose.choice((0, 0, 400, 1_000))
        words = choose.choices(["ab", "abc", "b", "bcd", "c", "bad"], (5, 5, 5, 5, 5, 1), k=3)
        key = None if choose.random() < 0.1 else choose.choice("xyz").encode()
        late_ms = choose.choice((0, 0, 0, 2_000))
        sent.append(("lines", key, " ".join(words).encode(), max(0, at_ms - late_ms)))
    return placed(sent, WIDTH)


def test_chance_timers_and_dead_letters_are_the_same_bytes() -> None:
    """What looks like chance follows from the records, and so do firings and dead letters."""
    records = lines(120)
    base = outcome_of(wide_app(), records, {"lines": WIDTH})
    assert {source.topic for source in base.rows} >= {"seen", "ticks", "words-dead-letters"}
    for manner in MANNERS:
        other = outcome_of(wide_app(), records, {"lines": WIDTH}, **manner)
        assert other.rows == base.rows
        assert other.entries == base.entries
    answers = [msgspec.json.decode(v, type=Seen) for s, rows in base.rows.items()
               if s.topic == "seen" for _, v, _, _ in rows if v]  # fmt: skip
    assert len({answer.id for answer in answers}) == len(answers), "no id is given out twice"


def test_live_run_and_replay_agree_on_chance() -> None:
    """``now``, ``random`` and ``uuid`` are those of the live run, behind a repartition too."""
    records = lines(80, seed=2)
    base = outcome_of(wide_app(), records, {"lines": WIDTH})
    live = driven(wide_app(), records, ["seen"])

    def ids(rows: dict[TopicPartition, list[Answer]]) -> list[tuple[str, str, float]]:
        found = [msgspec.json.decode(v, type=Seen) for s, each in rows.items()
                 if s.topic == "seen" for _, v, _, _ in each if v]  # fmt: skip
        return sorted((one.when, one.id, one.number) for one in found)

    assert ids(live) == ids(base.rows)


def test_ring_of_topics_goes_round() -> None:
    """A program that feeds itself is drained record by record."""

    def app() -> sf.App:
        made = sf.App("ring")
        start = made.topic("start", key=str, value=int, partitions=WIDTH)
        again = made.topic("again", key=str, value=int, partitions=WIDTH)
        out = made.topic("out", key=str, value=int, partitions=1)

        @made.function(made.stream(start).merge(made.stream(again)), to=(again, out))
        def step(number: int, seen: sf.Value[int], about: sf.Context[str]) -> Any:
            """Halves a number until it is odd."""
            seen.value += 1
            yield out.record(key=about.key, value=number * 100 + seen.value)
            if number and number % 2 == 0:
                yield again.record(key=f"{about.key}{number}", value=number // 2)

        return made

    sent = [
        ("start", key.encode(), str(number % 9 * 4).encode(), number * 10)
        for number, key in enumerate("abcabcabcabcabcabc")
    ]
    records = placed(sent, WIDTH)
    base = outcome_of(app(), records, {"start": WIDTH})
    want = driven(app(), records, ["out", "again"])
    assert {s: rows for s, rows in base.rows.items() if s.topic in ("out", "again")} == want
    for manner in MANNERS:
        other = outcome_of(app(), records, {"start": WIDTH}, **manner)
        assert (other.rows, other.entries, other.roots) == (base.rows, base.entries, base.roots)


def test_failures_are_noted_and_the_rest_goes_on() -> None:
    """Under ``fail`` a live run stops; a replay undoes the record, says so and goes on."""
    app = sf.App("failing")
    numbers = app.topic("numbers", key=str, value=int, partitions=1)
    out = app.topic("out", key=str, value=int)

    @app.function(numbers, to=out)
    def double(number: int, total: sf.Value[int]) -> int:
        """Fails on 3."""
        total.value += number
        if number == 3:
            message = "three"
            raise ValueError(message)
        return total.value

    records = placed([("numbers", b"k", str(n).encode(), n) for n in range(1, 6)], 1)
    found = outcome_of(app, records, {"numbers": 1})
    assert [value for _, value, _, _ in found.rows[TopicPartition("out", 0)]] == [
        b"1", b"3", b"7", b"12",
    ]  # fmt: skip
    (raised,) = found.raised
    assert (raised.stage, raised.error, raised.message) == ("double", "ValueError", "three")
    assert (raised.source, raised.offset, raised.key) == (("numbers", 0), 2, b"k")
    assert raised.root == (("numbers", 0), 2)
    assert "in double" in raised.traceback
    with pytest.raises(StageError, match="three"):
        outcome_of(app, records, {"numbers": 1}, fail_fast=True)


def test_begins_in_the_middle_of_a_key_s_life() -> None:
    """Recorded state is there before the first record, with its stream time."""
    app = sf.App("later")
    numbers = app.topic("numbers", key=str, value=int, partitions=1)
    out = app.topic("out", key=str, value=int)

    @app.function(numbers, to=out)
    def add(number: int, total: sf.Value[int]) -> int:
        """Adds up."""
        total.value += number
        return total.value

    spec = app.topology().stores["add-total"]
    entry = Entry("add-total", 0, b"k", entry_serde(spec).encode(40))
    inputs = MemoryInputs(
        [Placed(TopicPartition("numbers", 0), 17, b"k", b"2", 5_000)], {"numbers": 1},
        entries=[entry], stores=(RecordedStore("add-total", "value", "str", "int", 1),),
        starts={TopicPartition("numbers", 0): Range(17, 17, 4_000)},
    )  # fmt: skip
    found = replayed(app, inputs)
    assert [value for _, value, _, _ in found.rows[TopicPartition("out", 0)]] == [b"42"]


def test_missing_topic_is_named() -> None:
    """A program that reads what was not recorded is told which topic and what there is."""
    app = program(min(FAMILIES), WIDTH, 0).app
    with pytest.raises(ConfigError, match="topic 'left', which the program reads, is not in mem"):
        replayed(app, MemoryInputs([], {"other": 1}))


def test_event_time_decides_the_order() -> None:
    """Where values say when something happened, that is the order, as in a live merge."""

    def app() -> sf.App:
        made = sf.App("event-time")
        rates = made.topic("rates", key=str, value=int, partitions=1, timestamp=lambda v: v)
        sales = made.topic("sales", key=str, value=int, partitions=1, timestamp=lambda v: v)
        out = made.topic("out", key=str, value=str)
        table = made.table(rates)
        joined = made.stream(sales).left_join(table, lambda sale, rate: f"{sale}@{rate}", value=str)
        joined.to(out)
        return made

    # written one topic after the other, long after it happened
    sent = [("sales", b"k", str(at).encode(), 9_000 + at) for at in (10, 20, 30)]
    sent += [("rates", b"k", str(at).encode(), 8_000 + at) for at in (5, 15, 25)]
    found = outcome_of(app(), placed(sent, 1), {"rates": 1, "sales": 1})
    answers = [value for _, value, _, _ in found.rows[TopicPartition("out", 0)]]
    assert answers == [b"10@5", b"20@15", b"30@25"]


def test_global_tables_are_whole_and_said() -> None:
    """A global table is read before the first record, whatever its times, and it is said."""
    app = sf.App("lookup")
    names = app.topic("names", key=str, value=str, partitions=2)
    codes = app.topic("codes", key=str, value=str, partitions=1)
    out = app.topic("out", key=str, value=str)
    known = app.global_table(names)

    @app.function(codes, to=out)
    def name(code: str, table: sf.Lookup[str, str] = known) -> str:
        """Looks a code up."""
        return table.get(code) or "?"

    sent = [("names", b"a", b"Ann", 99_000), ("names", b"b", b"Bob", 99_000)]
    records = placed(sent, 2) + placed([("codes", b"1", b"a", 5), ("codes", b"1", b"z", 6)], 1)
    found = outcome_of(app, records, {"names": 2, "codes": 1})
    assert [v for _, v, _, _ in found.rows[TopicPartition("out", 0)]] == [b"Ann", b"?"]
    assert any("global tables" in notice for notice in found.notices)


def test_taps_show_what_each_stage_hands_on() -> None:
    """A tap is a topic of its own; the program's answers are the same with taps."""
    records = lines(40)
    plain = outcome_of(wide_app(), records, {"lines": WIDTH})
    tapped = outcome_of(wide_app(), records, {"lines": WIDTH}, taps=True)
    seen = {source.topic for source in tapped.rows if source.topic.startswith("stage:")}
    assert seen == {"stage:lines-by-1", "stage:lines-flat_map_values-split"}
    assert {s: r for s, r in tapped.rows.items() if not s.topic.startswith("stage:")} == plain.rows
    assert tapped.entries == plain.entries


def test_clock_on_the_wall_is_said() -> None:
    """Timers of the wall clock and a sample are notices."""
    inputs = MemoryInputs(lines(5), {"lines": WIDTH}, sample="1 % of the keys")
    notices = " ".join(replayed(wide_app(), inputs).notices)
    assert "timers of the wall clock (count) fire by the records' time" in notices
    assert "the recording is a sample: 1 % of the keys" in notices
