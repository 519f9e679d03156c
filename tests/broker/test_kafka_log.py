"""The Log contract on a real Kafka, and what only a broker can show of records and transactions."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count

import pytest

from streamfn.clock import SystemClock
from streamfn.connectors.kafka import KafkaLog
from streamfn.connectors.log import Committed, Log
from streamfn.errors import (
    AbortedError,
    FencedError,
    LogError,
    RefusedError,
)
from streamfn.record import Batch, Columns, TopicPartition
from tests.kafka_settings import Address
from tests.unit.log_contract import (
    DEADLINE_S,
    Listening,
    LogContract,
    append,
    columns,
    everything,
    join,
    numbered,
    poll_to_the_end,
    rows_of,
)

OpenLog = Callable[..., KafkaLog]


@pytest.fixture
def open_log(broker: Address, name: str) -> Iterator[OpenLog]:
    """Open logs that are closed when the test ends; each has a transactional id of its own."""
    numbers = count()
    with ExitStack() as stack:

        def opened(**options: object) -> KafkaLog:
            given: dict[str, object] = {"transactional_id": f"{name}-{next(numbers)}", **options}
            settings = given.pop("settings", {})
            log = KafkaLog(broker.bootstrap, settings, clock=SystemClock(), **given)  # type: ignore[arg-type]  # options are the test's own
            stack.callback(log.close)
            return log

        yield opened


@pytest.fixture
def log(open_log: OpenLog) -> Log:
    """A log that nobody else has, on a broker that others have too."""
    return open_log()


@pytest.fixture
def source(log: Log, name: str) -> TopicPartition:
    """Partition 0 of a new topic with two partitions, and a producer."""
    log.create_topic(name, 2, {"retention.ms": "-1"})
    log.open_producer()
    return TopicPartition(name, 0)


def poll_until(log: Log, done: Callable[[], object]) -> None:
    """Poll until something is so."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline_s, "not so in time"
        log.poll(0.05)


class TestKafkaLog(LogContract):
    """The contract, kept by Kafka."""


class TestKafkaLogNextGeneration(LogContract):
    """The contract, kept by Kafka under the group protocol of KIP-848."""

    @pytest.fixture
    def log(self, open_log: OpenLog) -> Log:
        """A log whose groups are managed by the broker."""
        return open_log(settings={"consumer.group.protocol": "consumer"})


# transactions
def test_a_second_producer_fences_the_first(
    open_log: OpenLog, name: str, source: TopicPartition
) -> None:
    """With the same transactional id the newer one works on, and the older one learns of it."""
    old, new = (open_log(transactional_id=f"{name}-same") for _ in range(2))
    old.join(name, 0, Listening())
    old.open_producer()
    append(old, name, 0, numbered(0, 1))
    old.begin()
    old.emit(name, 0, columns(numbered(1, 2)))
    new.open_producer()

    def finish() -> None:
        old.flush()
        old.send_offsets({source: Committed(1, "")})
        old.commit()

    with pytest.raises(FencedError):
        finish()
    append(new, name, 0, numbered(2, 3))
    assert everything(new, source) == [*numbered(0, 1), *numbered(2, 3)]


def test_aborted_records_are_never_seen(log: Log, source: TopicPartition) -> None:
    """Neither a poll nor a read gives them; both reach the end behind them."""
    join(log, source.topic, 1)
    for start in (0, 20):
        log.begin()
        log.emit(source.topic, 0, columns(numbered(100, 110)))
        log.flush()
        log.open_producer()
        append(log, source.topic, 0, numbered(start, start + 2))
    log.begin()
    log.emit(source.topic, 0, columns(numbered(200, 210)))
    log.flush()
    log.open_producer()
    expected = [*numbered(0, 2), *numbered(20, 22)]
    log.assign({source: 0})
    assert rows_of(poll_to_the_end(log, [source])) == expected
    assert everything(log, source) == expected
    end = log.end_offsets([source])[source]
    assert end > 34  # committed records, aborted ones, and a mark at the end of each transaction
    assert log.caught_up(source, at_least=end)
    assert not log.caught_up(source, at_least=end + 1)


def test_a_read_waits_for_an_open_transaction(
    open_log: OpenLog, log: Log, source: TopicPartition
) -> None:
    """The end is the uncommitted one: until the transaction ends, batches are empty."""
    append(log, source.topic, 0, numbered(0, 2))
    log.begin()
    log.emit(source.topic, 0, columns(numbered(2, 4)))
    log.flush()
    other = open_log()
    end = other.end_offsets([source])[source]
    batches = other.read(source, 0, end)
    seen = rows_of([next(filter(len, batches))])
    seen += rows_of(next(batches) for _ in range(20))
    assert seen == numbered(0, 2)
    log.commit()
    assert rows_of(batches) == numbered(2, 4)


def test_reads_take_turns(log: Log, source: TopicPartition) -> None:
    """Several reads at a time, also of one partition, each give all of theirs in order."""
    other = TopicPartition(source.topic, 1)
    for start in range(0, 30_000, 5_000):
        append(log, source.topic, 0, numbered(start, start + 5_000))
        append(log, source.topic, 1, numbered(start + 50_000, start + 55_000))
    ends = log.end_offsets([source, other])
    reads = [log.read(tp, 0, ends[tp]) for tp in (source, other, source)]
    found: list[list[int]] = [[], [], []]
    open_reads = dict(enumerate(reads))
    while open_reads:
        for number, batches in list(open_reads.items()):
            batch = next(batches, None)
            if batch is None:
                del open_reads[number]
            else:
                found[number] += batch.timestamps
    assert found[0] == found[2] == list(range(1, 30_001))
    assert len(found[1]) == 30_000


def test_a_read_that_is_given_up_frees_its_partition(log: Log, source: TopicPartition) -> None:
    """Another read begins where it says, not where the first one was."""
    append(log, source.topic, 0, numbered(0, 5_000))
    batches = log.read(source, 0, 5_000)
    assert next(filter(len, batches)).offsets[0] == 0
    batches.close()  # type: ignore[attr-defined]  # an iterator of ours is a generator
    assert rows_of(log.read(source, 7, 9)) == numbered(7, 9)


def test_what_a_broker_refuses_is_named(log: Log, name: str) -> None:
    """A time two hours ahead, no key where it is compacted: the topic and the reason are told."""
    log.create_topic(name, 1, {"cleanup.policy": "compact"})
    ahead_ms = SystemClock().now_ms() + 2 * 3_600_000
    for row, reason in (((b"k", b"v", ahead_ms), "timestamp"), ((None, b"v", 1), "key")):
        log.open_producer()
        with pytest.raises(RefusedError, match=f"{name}.*{reason}"):
            append(log, name, 0, [row])
    log.open_producer()
    append(log, name, 0, numbered(0, 1))
    assert everything(log, TopicPartition(name, 0)) == numbered(0, 1)


def test_a_full_queue_is_waited_for(open_log: OpenLog, source: TopicPartition) -> None:
    """More rows than the client holds go out all the same, in order, with their headers."""
    log = open_log(settings={"producer.queue.buffering.max.messages": "1000"})
    log.open_producer()
    emitted = columns(numbered(0, 10_000), {n: (("n", b"%d" % n),) for n in range(0, 10_000, 7)})
    log.begin()
    log.emit(source.topic, 0, emitted)
    assert log.flush() == {source: 10_000}
    log.commit()
    assert everything(log, source) == numbered(0, 10_000)
    batches = log.read(source, 0, 10_000)
    headers = [each for batch in batches if len(batch) for each in batch.headers or []]
    assert {n: each for n, each in enumerate(headers) if each} == emitted.headers


def test_a_time_of_zero_becomes_one(log: Log, source: TopicPartition) -> None:
    """Kafka's client takes 0 for now; a record of 1970 stays one."""
    append(log, source.topic, 0, [(b"k", b"v", 0), (b"k", b"v", 2)])
    assert everything(log, source) == [(b"k", b"v", 1), (b"k", b"v", 2)]


def test_positions_do_not_come_back_in_time(log: Log, source: TopicPartition) -> None:
    """A position that the log no longer has is named, and it is gone back to what is committed."""
    append(log, source.topic, 0, numbered(0, 10))
    log.delete_records(source, 5)
    join(log, source.topic, 1)
    log.assign({source: 2})
    with pytest.raises(AbortedError, match=r"position 2 of .* is no longer in the log"):
        poll_until(log, lambda: False)


def test_an_error_of_one_partition_loses_no_record_of_others(
    log: Log, source: TopicPartition
) -> None:
    """What was taken together with the error comes with the next poll."""
    other = TopicPartition(source.topic, 1)
    append(log, source.topic, 0, numbered(0, 10))
    append(log, source.topic, 1, numbered(0, 10))
    log.delete_records(source, 5)
    join(log, source.topic, 1)
    log.assign({source: 2, other: 0})
    given: list[Batch] = []
    with pytest.raises(LogError, match="position 2"):
        poll_until(log, lambda: given.extend(log.poll(0.05)))
    log.unassign([source])
    given += poll_to_the_end(log, [other])
    assert rows_of(given) == numbered(0, 10)


def test_missing_partitions_are_named(log: Log, source: TopicPartition) -> None:
    """Asking for offsets of what does not exist is an error at once, and no waiting."""
    for missing in (TopicPartition(f"{source.topic}-no", 0), TopicPartition(source.topic, 7)):
        with pytest.raises(LogError, match=rf"{missing.topic}\[{missing.partition}\] does not"):
            log.end_offsets([missing])
    log.begin()
    with pytest.raises(RefusedError, match="2 partitions"):
        log.emit(source.topic, 2, columns(numbered(0, 1)))


def test_keys_need_no_topic_of_the_same_name(log: Log, source: TopicPartition) -> None:
    """A topic that is made anew, narrower, takes rows again: its width is asked anew."""
    append(log, source.topic, 1, numbered(0, 1))
    log.delete_topic(source.topic)
    log.create_topic(source.topic, 1, {})
    log.open_producer()
    log.begin()
    with pytest.raises(RefusedError, match="1 partitions"):
        log.emit(source.topic, 1, columns(numbered(0, 1)))


def test_the_brokers_tell_how_long_positions_live(log: Log) -> None:
    """Seven days unless configured."""
    assert log.positions_kept_ms() == 7 * 24 * 3_600_000


def test_topics_are_told_with_their_settings(log: Log, source: TopicPartition) -> None:
    """By name only those that exist; Kafka's own are not among all."""
    found = log.topics([source.topic, f"{source.topic}-no"])
    assert set(found) == {source.topic}
    assert found[source.topic].config["cleanup.policy"] == "delete"
    assert not any(name.startswith("__") for name in log.topic_names())


# at least once
def test_at_least_once_commits_rows_then_positions(
    open_log: OpenLog, source: TopicPartition
) -> None:
    """Rows are there after the flush, positions with their metadata after the commit."""
    log = open_log(exactly_once=False)
    join(log, source.topic, 1)
    log.open_producer()
    log.begin()
    log.emit(source.topic, 0, columns(numbered(0, 3)))
    assert log.flush() == {source: 3}
    log.send_offsets({source: Committed(2, "token")})
    assert log.committed([source]) == {}
    assert everything(log, source) == numbered(0, 3)
    log.commit()
    assert log.committed([source]) == {source: Committed(2, "token")}


def test_at_least_once_tells_of_rows_that_failed(open_log: OpenLog, source: TopicPartition) -> None:
    """A row that the broker refuses is told by ``flush``, also if others went through."""
    log = open_log(exactly_once=False)
    log.open_producer()
    ahead_ms = SystemClock().now_ms() + 2 * 3_600_000
    with pytest.raises(RefusedError, match=source.topic):
        append(log, source.topic, None, [(b"k", b"v", ahead_ms), *numbered(0, 3)])
    log.open_producer()
    append(log, source.topic, 1, numbered(0, 3))


def test_a_large_transaction_has_no_report_for_each_row(log: Log, source: TopicPartition) -> None:
    """A hundred thousand rows take well under the time that a report for each would cost."""
    emitted = Columns.empty()
    emitted.keys += [b"key"] * 100_000
    emitted.values += [b"value"] * 100_000
    emitted.timestamps += range(1, 100_001)
    log.begin()
    log.emit(source.topic, 0, emitted)
    assert log.flush() == {source: 100_000}
    log.commit()
    assert sum(map(len, log.read(source, 0, 100_000))) == 100_000
