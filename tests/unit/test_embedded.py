"""The embedded log: the contract in memory and on disk, and what only it promises."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamfn.clock import CountingRandom, ManualClock
from streamfn.connectors.embedded import EmbeddedLog
from streamfn.connectors.log import Committed
from streamfn.errors import InternalError, LogError, RefusedError, UnknownOutcomeError
from streamfn.record import TopicPartition
from streamfn.rocks import Memory
from tests.unit.embedded_world import A0, Failing, World
from tests.unit.log_contract import (
    Listening,
    LogContract,
    append,
    columns,
    everything,
    numbered,
    poll_to_the_end,
    rows_of,
)


@pytest.fixture(params=["memory", "disk"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An empty log in memory or on disk."""
    world = World(tmp_path / "state" / "log" if request.param == "disk" else None)
    yield world
    world.log.close()


class TestEmbeddedLog(LogContract):
    """The contract, kept by the embedded log."""

    @pytest.fixture
    def log(self, world: World) -> EmbeddedLog:
        """An empty log."""
        return world.log

    @pytest.fixture
    def name(self) -> str:
        """Every log here is new."""
        return "topic"


def test_all_is_there_after_reopening(world: World) -> None:
    """Records, ends, begins, positions, topics and the identity outlive a close."""
    world.log.join("g", 1, Listening())
    before = world.log.create_topic("a", 1, {"retention.ms": "5"}), world.log.cluster_id
    append(world.log, "a", 0, numbered(0, 10))
    world.log.begin()
    world.log.send_offsets({A0: Committed(4, "token")})
    world.log.commit()
    world.log.delete_records(A0, 10)
    log = world.reopen()
    log.join("g", 1, Listening())
    assert (log.topics()["a"], log.cluster_id) == before
    assert log.begin_offsets([A0]) == log.end_offsets([A0]) == {A0: 10}
    assert log.committed([A0]) == {A0: Committed(4, "token")}
    append(log, "a", 0, numbered(10, 12))
    assert everything(log, A0) == numbered(10, 12)


def test_a_deleted_topic_takes_positions_along(world: World) -> None:
    """A topic that is created again has no committed positions, now and after reopening."""
    for name in ("a", "b"):
        world.log.create_topic(name, 1, {})
    world.log.join("g", 1, Listening())
    b0 = TopicPartition("b", 0)
    world.log.begin()
    world.log.send_offsets({A0: Committed(1, ""), b0: Committed(2, "")})
    world.log.commit()
    world.log.assign({A0: 0})
    world.log.delete_topic("a")
    world.log.create_topic("a", 1, {})
    assert world.log.committed([A0, b0]) == {b0: Committed(2, "")}
    with pytest.raises(InternalError, match="not assigned"):
        world.log.lag(A0)
    world.reopen().create_topic("c", 1, {})
    assert everything(world.log, TopicPartition("c", 0)) == []


def test_a_large_transaction_is_split_into_chunks(world: World) -> None:
    """Rows and bytes of a batch stay bounded, whatever one transaction wrote."""
    world.log.create_topic("a", 1, {})
    rows = [*numbered(0, 2500), *[(b"big", bytes(300_000), number) for number in range(2500, 2510)]]
    append(world.log, "a", 0, rows)
    batches = list(world.log.read(A0, 0, 2510))
    assert rows_of(batches) == rows
    assert max(map(len, batches)) <= 1999
    assert max(sum(len(value or b"") for value in batch.values) for batch in batches) < 3 << 20


def test_batches_of_partitions_take_turns(world: World) -> None:
    """Each poll returns one batch of each partition, and begins with another one."""
    world.log.create_topic("a", 3, {})
    sources = [TopicPartition("a", index) for index in range(3)]
    for source in sources:
        for _ in range(3):
            append(world.log, "a", source.partition, numbered(0, 1000))
    world.log.assign(dict.fromkeys(sources, 0))
    polls = [[batch.source.partition for batch in world.log.poll(0)] for _ in range(3)]
    assert polls == [[1, 2, 0], [2, 0, 1], [0, 1, 2]]


def test_an_idle_poll_waits_by_the_clock(world: World) -> None:
    """Waiting is the clock's, and no longer than asked for."""
    world.log.poll(0)
    before = world.clock.monotonic_s()
    for _ in range(3):
        world.log.poll(0.01)
    assert world.clock.monotonic_s() - before <= 0.031
    assert world.clock.monotonic_s() - before >= 0.019


def test_refusals_name_what_is_wrong(world: World) -> None:
    """Topic, size and limit, or the partition count, stand in the text."""
    world.log.create_topic("a", 2, {"max.message.bytes": "200"})
    world.log.create_topic("c", 1, {"cleanup.policy": "compact"})
    world.log.begin()
    with pytest.raises(RefusedError, match=r"has 2 partitions; got records for partition 2"):
        world.log.emit("a", 2, columns(numbered(0, 1)))
    world.log.emit("a", 0, columns([(b"k", bytes(150), 0), (b"k", bytes(100), 0)]))
    with pytest.raises(RefusedError, match=r"a\[0\].* 200 bytes; got one of 221"):
        world.log.flush()
    world.log.open_producer()
    world.log.begin()
    world.log.emit("c", 0, columns([(None, b"", 0)]))
    with pytest.raises(RefusedError, match="without a key"):
        world.log.commit()


def test_a_topic_must_exist_to_be_read(world: World) -> None:
    """Errors name the topic, or the partitions it has."""
    with pytest.raises(LogError, match="'a' does not exist"):
        world.log.assign({A0: 0})
    world.log.create_topic("a", 1, {})
    with pytest.raises(LogError, match="has no partition 1"):
        world.log.end_offsets([TopicPartition("a", 1)])
    with pytest.raises(LogError, match="ends at 0"):
        world.log.delete_records(A0, 1)
    with pytest.raises(LogError, match="cannot be created"):
        world.log.create_topic("b", 0, {})
    with pytest.raises(LogError, match="'b' does not exist"):
        world.log.delete_topic("b")


def test_positions_need_a_group(tmp_path: Path) -> None:
    """Tools name a group without joining; without any it is our bug."""
    world = World(tmp_path / "log")
    with pytest.raises(InternalError, match="no group"):
        world.log.committed([A0])
    world.log.close()


def test_a_reader_that_falls_into_a_gap_is_told(world: World) -> None:
    """Polling below the begin raises with both offsets; it never skips silently."""
    world.log.create_topic("a", 1, {})
    append(world.log, "a", 0, numbered(0, 10))
    world.log.assign({A0: 2})
    world.log.delete_records(A0, 5)
    with pytest.raises(LogError, match="position 2, but it begins at 5"):
        world.log.poll(0)
    world.log.seek(A0, 5)
    assert rows_of(world.log.poll(0)) == numbered(5, 10)


@pytest.mark.parametrize("fail", ["before", "after"])
def test_a_failed_write_is_in_doubt_until_reopened(fail: str) -> None:
    """The commit raises; a new producer shows by the token what happened."""
    disk = Memory().disk
    opened: list[Failing] = []

    def open_database() -> Failing:
        opened.append(Failing(disk=disk))
        return opened[-1]

    log = EmbeddedLog(open_database, clock=ManualClock(), random=CountingRandom(), group="g")
    log.create_topic("a", 1, {})
    log.open_producer()
    log.assign({A0: 0})
    log.begin()
    log.emit("a", 0, columns(numbered(0, 3)))
    log.send_offsets({A0: Committed(1, "token")})
    opened[-1].fail = fail
    with pytest.raises(UnknownOutcomeError, match="disk full"):
        log.commit()
    with pytest.raises(InternalError, match="open_producer"):
        log.begin()
    log.open_producer()
    written = fail == "after"
    assert log.committed([A0]) == ({A0: Committed(1, "token")} if written else {})
    expected = numbered(0, 3) if written else []
    assert everything(log, A0) == expected
    append(log, "a", 0, numbered(3, 5))
    assert rows_of(poll_to_the_end(log, [A0])) == [*expected, *numbered(3, 5)]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "x y", "é", "a\0b", "x" * 250])
def test_a_topic_needs_a_name_that_kafka_takes(world: World, name: str) -> None:
    """What could not be moved to a Kafka is refused at once."""
    with pytest.raises(LogError, match=r"cannot be created; .*of A-Z a-z 0-9"):
        world.log.create_topic(name, 1, {})
    assert world.log.topics() == {}
