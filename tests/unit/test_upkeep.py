"""Merging, retention and compaction of the embedded log: nobody notices, nothing is lost."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from streamfn.clock import CountingRandom, ManualClock
from streamfn.connectors.catalogue import CHUNKS
from streamfn.connectors.embedded import EmbeddedLog
from streamfn.connectors.upkeep import COMPACT_ROWS, WARM_ROWS
from streamfn.record import TopicPartition
from tests.unit.embedded_world import A0, Failing, World
from tests.unit.log_contract import Row, append, everything, numbered, poll_to_the_end, rows_of

DAY_MS = 86_400_000


@pytest.fixture(params=["memory", "disk"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An empty log in memory or on disk."""
    world = World(tmp_path / "state" / "log" if request.param == "disk" else None)
    yield world
    world.log.close()


def chunks(log: EmbeddedLog) -> int:
    """Count stored chunks."""
    return sum(1 for _ in log.database.scan(CHUNKS, b"", None))


def settle(world: World) -> None:
    """Poll until upkeep has nothing to do any more."""
    world.clock.advance_ms(10_000)
    for _ in range(300):
        before = world.clock.monotonic_s()
        world.log.poll(0.001)
        if world.clock.monotonic_s() > before:
            return
    raise AssertionError


def test_small_chunks_are_merged(world: World) -> None:
    """A thousand transactions of one record become a few chunks; a reader notices nothing."""
    world.log.create_topic("a", 1, {})
    for number in range(600):
        append(world.log, "a", 0, numbered(number, number + 1))
    append(world.log, "a", 0, numbered(600, 1600))
    reader = world.log.read(A0, 300, 1600)
    settle(world)
    assert chunks(world.log) <= 5
    assert rows_of(reader) == numbered(300, 1600)
    assert everything(world.reopen(), A0) == numbered(0, 1600)
    settle(world)
    assert everything(world.log, A0) == numbered(0, 1600)


def test_merging_goes_on_while_busy(world: World) -> None:
    """Small chunks do not pile up while every poll finds records."""
    world.log.create_topic("a", 1, {})
    world.log.assign({A0: 0})
    for number in range(1000):
        append(world.log, "a", 0, numbered(number, number + 1))
        assert rows_of(world.log.poll(0)) == numbered(number, number + 1)
    assert chunks(world.log) < 300


def test_merging_a_partition_that_was_trimmed(world: World) -> None:
    """Trimming into a chunk, or up to the end, leaves upkeep nothing to trip over."""
    world.log.create_topic("a", 1, {})
    append(world.log, "a", 0, numbered(0, 1))
    append(world.log, "a", 0, numbered(1, 1001))
    world.log.delete_records(A0, 500)
    settle(world)
    assert everything(world.log, A0) == numbered(500, 1001)


def test_retention_drops_old_chunks(world: World) -> None:
    """Whole chunks whose newest record is too old go from the head; the end stays."""
    world.log.create_topic("a", 1, {"retention.ms": "1000"})
    world.log.create_topic("kept", 1, {})
    world.clock.advance_ms(5_000_000)
    for start in range(0, 5_000, 1000):
        append(world.log, "a", 0, [(b"k", b"v", start * 1000 + row) for row in range(100)])
    append(world.log, "a", 0, [(b"k", b"v", 5_100_000)])
    append(world.log, "kept", 0, numbered(0, 1))
    settle(world)
    assert world.log.begin_offsets([A0]) == {A0: 500}
    assert [row[2] for row in everything(world.reopen(), A0)] == [5_100_000]
    assert everything(world.log, TopicPartition("kept", 0)) == numbered(0, 1)


def compacted(world: World, rows: Iterable[Row], config: Mapping[str, str]) -> None:
    """Fill a compacted topic and let upkeep work."""
    world.log.create_topic("a", 1, {"cleanup.policy": "compact", **config})
    rows = list(rows)
    for start in range(0, len(rows), 700):
        append(world.log, "a", 0, rows[start : start + 700])
    settle(world)


def test_compaction_keeps_the_last_record_of_each_key(world: World) -> None:
    """Superseded records go, offsets stay, the newest part is left alone."""
    count = COMPACT_ROWS + WARM_ROWS + 2000
    rows: list[Row] = [(b"%d" % (number % 50), b"%d" % number, number) for number in range(count)]
    compacted(world, rows, {})
    batches = list(world.log.read(A0, 0, count))
    offsets = [offset for batch in batches for offset in batch.offsets]
    assert len(offsets) < count // 3
    assert rows_of(batches) == [rows[offset] for offset in offsets]
    assert {row[0]: row for row in rows_of(batches)} == {row[0]: row for row in rows}
    assert batches[-1].next_offset == count
    assert rows_of(world.reopen().read(A0, offsets[20], count)) == rows_of(batches)[20:]


def test_tombstones_stay_until_they_expire(world: World) -> None:
    """A deletion hides its key for delete.retention.ms, then it goes, and the key stays hidden."""
    count = COMPACT_ROWS + WARM_ROWS + 1000
    world.clock.advance_ms(DAY_MS)
    rows: list[Row] = [
        (b"gone", b"old", 0),
        (b"gone", None, 0),
        (b"hidden", b"old", DAY_MS),
        (b"hidden", None, DAY_MS),
        *((b"%d" % (number % 50), b"x", DAY_MS) for number in range(count)),
    ]
    compacted(world, rows, {"delete.retention.ms": "3600000"})
    left = [row for row in everything(world.log, A0) if row[0] in (b"gone", b"hidden")]
    assert left == [(b"hidden", None, DAY_MS)]


def test_a_tombstone_in_the_newest_part_waits_for_its_pass(world: World) -> None:
    """What it hides goes first, in a later compaction; the key never comes back."""
    world.clock.advance_ms(DAY_MS)
    filler: list[Row] = [(b"%d" % (row % 50), b"x", DAY_MS) for row in range(COMPACT_ROWS)]
    rows = [(b"gone", b"old", 0), *filler, *filler[:WARM_ROWS], (b"gone", None, 0)]
    compacted(world, rows, {"delete.retention.ms": "3600000"})
    assert everything(world.log, A0)[-1] == (b"gone", None, 0)
    append(world.log, "a", 0, [*filler, *filler[:WARM_ROWS]])
    settle(world)
    assert len(everything(world.log, A0)) < 2 * WARM_ROWS + 100
    assert not [row for row in everything(world.log, A0) if row[0] == b"gone"]


def test_compaction_with_a_reader_in_the_middle(world: World) -> None:
    """A reader that stands anywhere goes on over rewritten chunks and ends right."""
    count = COMPACT_ROWS + WARM_ROWS + 1000
    rows: list[Row] = [(b"%d" % (number % 999), b"%d" % number, number) for number in range(count)]
    world.log.create_topic("a", 1, {"cleanup.policy": "compact"})
    for start in range(0, count, 100):
        append(world.log, "a", 0, rows[start : start + 100])
    seen: dict[bytes | None, Row] = {}
    reader = world.log.read(A0, 0, count)
    world.clock.advance_ms(10_000)
    for batch in reader:
        seen |= {row[0]: row for row in rows_of([batch])}
        world.log.poll(0)
    assert seen == {row[0]: row for row in rows}


def test_polling_over_an_end_that_was_compacted_away(world: World) -> None:
    """A position before a gap that reaches the end arrives there."""
    count = COMPACT_ROWS + WARM_ROWS
    rows: list[Row] = [(b"k", b"v", number) for number in range(count)]
    compacted(world, rows, {})
    world.log.assign({A0: 5})
    assert rows_of(poll_to_the_end(world.log, [A0]))[-1] == rows[-1]


def test_upkeep_that_fails_pauses(caplog: pytest.LogCaptureFixture) -> None:
    """Reading goes on when the disk is full; upkeep tries again later."""
    database = Failing()
    clock = ManualClock()
    log = EmbeddedLog(lambda: database, clock=clock, random=CountingRandom())
    log.create_topic("a", 1, {})
    log.open_producer()
    for number in range(300):
        append(log, "a", 0, numbered(number, number + 1))
    database.fail = "before"
    log.assign({A0: 0})
    assert rows_of(log.poll(0)) == numbered(0, 300)
    assert "upkeep of the embedded log pauses" in caplog.text
    database.fail = ""
    log.poll(0)
    assert chunks(log) == 300
    clock.advance_ms(61_000)
    append(log, "a", 0, numbered(300, 301))
    log.poll(0)
    assert chunks(log) == 1
