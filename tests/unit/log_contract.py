"""What every Log must do, as tests: the embedded log runs them in memory and on disk, Kafka later.

Subclass ``LogContract`` as ``Test…`` and give it the fixtures ``log`` (an empty, open Log) and
``name`` (a topic name that nobody else uses).
"""

import time
from collections.abc import Iterable, Sequence

import pytest

from streamfn.clock import SystemClock
from streamfn.connectors.log import Committed, Log
from streamfn.errors import InternalError, LogError, RefusedError
from streamfn.record import Batch, Columns, Headers, TopicPartition

DEADLINE_S = 120.0
Row = tuple[bytes | None, bytes | None, int]


class Listening:
    """A listener that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, list[int]]] = []

    def assigned(self, tokens: list[int]) -> None:
        """Remember an assignment."""
        self.told.append(("assigned", tokens))

    def revoked(self, tokens: list[int]) -> None:
        """Remember a revocation."""
        self.told.append(("revoked", tokens))

    def lost(self, tokens: list[int]) -> None:
        """Remember a loss."""
        self.told.append(("lost", tokens))


def columns(rows: Iterable[Row], headers: dict[int, Headers] | None = None) -> Columns:
    """Make columns of rows."""
    made = Columns.empty()
    for row, (key, value, timestamp_ms) in enumerate(rows):
        made.add(key, value, timestamp_ms, (headers or {}).get(row, ()))
    return made


def numbered(start: int, stop: int) -> list[Row]:
    """Make rows that can be told apart; no timestamp is 0, which Kafka's client cannot send."""
    return [(b"k%d" % number, b"v%d" % number, number + 1) for number in range(start, stop)]


def append(log: Log, topic: str, partition: int | None, rows: Sequence[Row]) -> None:
    """Write rows in a transaction of their own."""
    log.begin()
    log.emit(topic, partition, columns(rows))
    log.flush()
    log.commit()


def rows_of(batches: Iterable[Batch]) -> list[Row]:
    """Return the rows of batches in order."""
    return [
        row
        for batch in batches
        for row in zip(batch.keys, batch.values, batch.timestamps, strict=True)
    ]


def everything(log: Log, source: TopicPartition) -> list[Row]:
    """Read a whole partition."""
    begin, end = log.begin_offsets([source])[source], log.end_offsets([source])[source]
    return rows_of(log.read(source, begin, end))


def poll_to_the_end(log: Log, sources: Sequence[TopicPartition]) -> list[Batch]:
    """Poll until all sources are caught up with their ends of now."""
    ends = log.end_offsets(sources)
    deadline = time.monotonic() + DEADLINE_S
    batches: list[Batch] = []
    while True:
        batches += log.poll(0.05)
        if all(log.caught_up(source, ends[source]) for source in sources):
            return batches
        assert time.monotonic() < deadline, "not caught up in time"


def join(log: Log, group: str, tokens: int) -> Listening:
    """Become the only member of a group."""
    listener = Listening()
    log.join(group, tokens, listener)
    deadline = time.monotonic() + DEADLINE_S
    while not listener.told:
        assert time.monotonic() < deadline, "nothing assigned in time"
        log.poll(0.05)
    return listener


class LogContract:
    """The behaviour that the engine relies on."""

    @pytest.fixture
    def source(self, log: Log, name: str) -> TopicPartition:
        """Partition 0 of a new topic with two partitions, and a producer."""
        log.create_topic(name, 2, {"retention.ms": "-1"})
        log.open_producer()
        return TopicPartition(name, 0)

    def test_committed_rows_are_read_in_order(self, log: Log, source: TopicPartition) -> None:
        """What two transactions wrote is read as one sequence, with keys, values and timestamps."""
        append(log, source.topic, 0, [*numbered(0, 3), (None, b"x", 5), (b"k", None, 6)])
        append(log, source.topic, 0, numbered(7, 9))
        expected = [*numbered(0, 3), (None, b"x", 5), (b"k", None, 6), *numbered(7, 9)]
        assert everything(log, source) == expected
        assert everything(log, TopicPartition(source.topic, 1)) == []

    def test_headers_come_back_row_by_row(self, log: Log, source: TopicPartition) -> None:
        """Headers keep their order and repeats; rows without have none; batches without say so."""
        headers: Headers = (("a", b"1"), ("b", b""), ("a", b"2"))
        log.begin()
        log.emit(source.topic, 0, columns(numbered(0, 3), {1: headers}))
        log.emit(source.topic, 0, columns(numbered(3, 5), {0: (("c", b"3"),)}))
        log.emit(source.topic, 1, columns(numbered(0, 1)))
        log.commit()
        found: list[Headers] = []
        for batch in log.read(source, 0, 5):
            found += batch.headers or [()] * len(batch)
        assert found == [(), headers, (), (("c", b"3"),), ()]
        (bare,) = filter(len, log.read(TopicPartition(source.topic, 1), 0, 1))
        assert bare.headers is None

    def test_keys_go_where_murmur2_sends_them(self, log: Log, source: TopicPartition) -> None:
        """The same key always goes to the partition that a Java producer would choose."""
        rows: list[Row] = [(b"21", b"", 1), (b"foobar", b"", 2), (b"abc", b"", 3), (b"21", b"", 4)]
        append(log, source.topic, None, rows)
        # Java's hashes without sign: 21 → 1173551340, foobar → 1357151166, abc → 479470107.
        assert everything(log, source) == [rows[0], rows[1], rows[3]]
        assert everything(log, TopicPartition(source.topic, 1)) == [rows[2]]

    def test_null_keys_all_arrive(self, log: Log, source: TopicPartition) -> None:
        """Records without a key go somewhere."""
        append(log, source.topic, None, [(None, b"%d" % number, number) for number in range(1, 11)])
        both = [everything(log, TopicPartition(source.topic, index)) for index in range(2)]
        assert sorted(timestamp for rows in both for _, _, timestamp in rows) == list(range(1, 11))

    def test_emitted_columns_are_the_callers_again(self, log: Log, source: TopicPartition) -> None:
        """Clearing columns after ``emit`` does not touch the transaction."""
        log.begin()
        for partition in (0, None):
            emitted = columns(numbered(0, 4))
            log.emit(source.topic, partition, emitted)
            emitted.clear()
        log.commit()
        both = [everything(log, TopicPartition(source.topic, index)) for index in range(2)]
        assert sum(map(len, both)) == 8

    def test_nothing_is_visible_before_commit(self, log: Log, source: TopicPartition) -> None:
        """Neither rows nor positions of an open transaction are seen; an abandoned one never is."""
        join(log, source.topic, 1)
        log.assign({source: 0})
        log.begin()
        log.emit(source.topic, 0, columns(numbered(0, 5)))
        log.flush()
        log.send_offsets({source: Committed(5, "token")})
        assert log.poll(0) == []
        log.open_producer()
        assert log.committed([source]) == {}
        append(log, source.topic, 0, numbered(5, 6))
        assert rows_of(poll_to_the_end(log, [source])) == numbered(5, 6)

    def test_stable_ends(self, log: Log, source: TopicPartition) -> None:
        """They lie in front of the first record of a transaction that is open."""
        append(log, source.topic, 0, numbered(0, 3))
        everything(log, source)
        before = log.stable_ends([source])
        log.begin()
        log.emit(source.topic, 0, columns(numbered(3, 5)))
        assert log.flush() != log.stable_ends([source]) == before

    def test_rows_and_positions_become_visible_together(
        self, log: Log, source: TopicPartition
    ) -> None:
        """Positions keep their metadata and are missing where none was committed."""
        join(log, source.topic, 2)
        other = TopicPartition(source.topic, 1)
        log.begin()
        log.emit(source.topic, 1, columns(numbered(0, 2)))
        log.flush()
        log.send_offsets({source: Committed(7, "incarnation:1 ü")})
        log.commit()
        assert log.committed([source, other]) == {source: Committed(7, "incarnation:1 ü")}
        assert everything(log, other) == numbered(0, 2)

    def test_groups_have_positions_of_their_own(self, log: Log, source: TopicPartition) -> None:
        """Another group does not see them."""
        join(log, f"{source.topic}-one", 1)
        log.begin()
        log.send_offsets({source: Committed(3, "")})
        log.commit()
        log.leave()
        join(log, f"{source.topic}-two", 1)
        assert log.committed([source]) == {}

    def test_flush_tells_the_ends(self, log: Log, source: TopicPartition) -> None:
        """The ends that ``flush`` returns are where the next records go after the commit."""
        log.begin()
        log.emit(source.topic, 0, columns(numbered(0, 3)))
        assert log.flush() == {source: 3}
        log.commit()
        assert log.end_offsets([source])[source] >= 3

    def test_an_empty_transaction_commits(self, log: Log, source: TopicPartition) -> None:
        """Nothing emitted is nothing written."""
        join(log, source.topic, 1)
        log.begin()
        log.emit(source.topic, None, Columns.empty())
        log.flush()
        log.send_offsets({})
        log.commit()
        assert everything(log, source) == []

    def test_calls_out_of_order_are_our_bugs(self, log: Log, source: TopicPartition) -> None:
        """Transaction calls outside a transaction, and a second begin, raise."""
        for call in (
            lambda: log.emit(source.topic, 0, columns(numbered(0, 1))),
            log.flush,
            lambda: log.send_offsets({source: Committed(1, "")}),
            log.commit,
        ):
            with pytest.raises(InternalError):
                call()
        log.begin()
        with pytest.raises(InternalError):
            log.begin()

    def test_what_the_log_never_takes_is_refused(self, log: Log, source: TopicPartition) -> None:
        """A record too large, a negative timestamp: refused by ``flush`` at the latest."""
        for row in ((b"k", bytes(2_000_000), 1), (b"k", b"v", -5)):
            log.open_producer()
            with pytest.raises(RefusedError, match=source.topic):
                append(log, source.topic, 0, [row])
        log.open_producer()
        append(log, source.topic, 0, numbered(0, 1))
        assert everything(log, source) == numbered(0, 1)

    def test_the_listener_is_told_inside_poll(self, log: Log, source: TopicPartition) -> None:
        """All tokens are assigned by a poll and revoked by ``leave``."""
        listener = Listening()
        log.join(source.topic, 3, listener)
        assert listener.told == []
        deadline = time.monotonic() + DEADLINE_S
        while not listener.told and time.monotonic() < deadline:
            log.poll(0.05)
        log.leave()
        assert listener.told == [("assigned", [0, 1, 2]), ("revoked", [0, 1, 2])]

    def test_polling_reads_on_from_positions(self, log: Log, source: TopicPartition) -> None:
        """Batches name their source, offsets and next offset; own commits are seen at once."""
        join(log, source.topic, 1)
        append(log, source.topic, 0, numbered(0, 5))
        log.assign({source: 2})
        batches = poll_to_the_end(log, [source])
        assert rows_of(batches) == numbered(2, 5)
        assert batches[0].source == source
        assert batches[0].offsets[0] == 2
        append(log, source.topic, 0, numbered(5, 8))
        assert rows_of(poll_to_the_end(log, [source])) == numbered(5, 8)

    def test_paused_partitions_give_nothing(self, log: Log, source: TopicPartition) -> None:
        """``pause`` holds a partition's position until ``resume``; others go on."""
        other = TopicPartition(source.topic, 1)
        join(log, source.topic, 2)
        append(log, source.topic, 0, numbered(0, 5))
        append(log, source.topic, 1, numbered(5, 9))
        log.assign({source: 0, other: 0})
        log.pause([source])
        assert rows_of(poll_to_the_end(log, [other])) == numbered(5, 9)
        log.resume([source])
        assert rows_of(poll_to_the_end(log, [source])) == numbered(0, 5)

    def test_seeking_reads_again(self, log: Log, source: TopicPartition) -> None:
        """A position can be set back."""
        join(log, source.topic, 1)
        append(log, source.topic, 0, numbered(0, 5))
        log.assign({source: 0})
        poll_to_the_end(log, [source])
        log.seek(source, 3)
        assert rows_of(poll_to_the_end(log, [source])) == numbered(3, 5)

    def test_unassigned_partitions_give_nothing(self, log: Log, source: TopicPartition) -> None:
        """After ``unassign`` a partition is not read."""
        join(log, source.topic, 1)
        append(log, source.topic, 0, numbered(0, 5))
        log.assign({source: 0})
        log.unassign([source])
        assert log.poll(0.01) == []

    def test_lag_counts_down(self, log: Log, source: TopicPartition) -> None:
        """Caught up means nothing to read; new records end it."""
        join(log, source.topic, 1)
        append(log, source.topic, 0, numbered(0, 5))
        log.assign({source: 0})
        poll_to_the_end(log, [source])
        assert log.lag(source) == 0
        log.seek(source, 1)
        assert not log.caught_up(source)

    def test_reading_a_part(self, log: Log, source: TopicPartition) -> None:
        """``read`` needs no assignment, begins and ends where told, also in the middle."""
        for start in range(0, 10, 3):
            append(log, source.topic, 0, numbered(start, start + 3))
        end = log.end_offsets([source])[source]
        whole = [row for batch in log.read(source, 0, end) for row in batch.offsets]
        assert rows_of(log.read(source, whole[2], whole[7])) == numbered(2, 7)
        assert rows_of(log.read(source, end, end)) == []

    def test_a_time_is_found(self, log: Log, source: TopicPartition) -> None:
        """The first record of that time or later, whatever the order; behind all if none is.

        On Kafka the mark at the end of a transaction has an offset and a time of its own.
        """
        other = TopicPartition(source.topic, 1)
        now_ms = SystemClock().now_ms() - 1_000  # a broker deletes what is much older
        append(log, source.topic, 0, [(b"a", b"", now_ms + at) for at in (5, 9, 3, 9, 20)])
        wanted = {1: 0, 5: 0, 6: 1, 9: 1, 10: 4, 20: 4}
        assert {at: log.offsets_at([source], now_ms + at)[source] for at in wanted} == wanted
        behind = [log.offsets_at([source], now_ms + at)[source] for at in (21, 86_400_000)]
        assert 5 <= min(behind) <= max(behind) <= log.end_offsets([source])[source] <= 6
        assert log.offsets_at([source, other], now_ms + 6) == {source: 1, other: 0}
        assert log.offsets_at([], now_ms) == {}

    def test_ranges_are_read_side_by_side(self, log: Log, source: TopicPartition) -> None:
        """Whichever is wanted next; what is not asked for waits, and nothing of it is lost."""
        other = TopicPartition(source.topic, 1)
        written: list[Row] = []
        for start in range(0, 6_000, 1_000):
            append(log, source.topic, 0, numbered(start, start + 1_000))
            append(log, source.topic, 1, numbered(start, start + 500))
            written += numbered(start, start + 500)
        ends = log.end_offsets([source, other])
        offsets = [offset for batch in log.read(other, 0, ends[other]) for offset in batch.offsets]
        readers = log.read_many({source: (0, ends[source]), other: (offsets[700], offsets[2_500])})
        first = rows_of([next(readers[other])])
        assert rows_of(readers[source]) == numbered(0, 6_000)
        assert first + rows_of(readers[other]) == written[700:2_500]
        assert rows_of(log.read_many({source: (9, 9)})[source]) == []
        assert log.read_many({}) == {}

    def test_what_is_gone_is_not_left_out(self, log: Log, source: TopicPartition) -> None:
        """A range that has lost its begin is an error with its place, when it comes to be read."""
        other = TopicPartition(source.topic, 1)
        append(log, source.topic, 0, numbered(0, 10))
        append(log, source.topic, 1, numbered(0, 10))
        log.delete_records(source, 5)
        readers = log.read_many({source: (2, 10), other: (0, 10)})
        with pytest.raises(LogError, match=r"records from offset 2 of .* it begins at 5"):
            rows_of(readers[source])
        assert rows_of(log.read_many({source: (5, 10)})[source]) == numbered(5, 10)

    def test_deleting_records_moves_the_begin(self, log: Log, source: TopicPartition) -> None:
        """The end stays, even if nothing is left, and new records go on from there."""
        append(log, source.topic, 0, numbered(0, 5))
        log.delete_records(source, 3)
        assert log.begin_offsets([source]) == {source: 3}
        assert rows_of(log.read(source, 0, 5)) == numbered(3, 5)
        end = log.end_offsets([source])[source]
        log.delete_records(source, end)
        assert log.begin_offsets([source]) == log.end_offsets([source]) == {source: end}
        append(log, source.topic, 0, numbered(5, 6))
        assert everything(log, source) == numbered(5, 6)

    def test_topics_are_created_once(self, log: Log, name: str) -> None:
        """The same count is fine, another one is refused; a topic keeps its id and settings."""
        made = log.create_topic(name, 3, {"cleanup.policy": "compact"})
        assert log.create_topic(name, 3, {}).id == made.id
        found = log.topics()[name]
        assert (found.partitions, found.config["cleanup.policy"]) == (3, "compact")
        with pytest.raises(LogError, match="3"):
            log.create_topic(name, 4, {})

    def test_a_deleted_topic_is_gone(self, log: Log, source: TopicPartition) -> None:
        """A topic of the same name begins anew: another id, no records."""
        append(log, source.topic, 0, numbered(0, 5))
        before = log.topics()[source.topic].id
        log.delete_topic(source.topic)
        assert source.topic not in log.topics()
        again = log.create_topic(source.topic, 1, {})
        assert again.id != before
        assert log.end_offsets([source]) == {source: 0}

    def test_a_missing_topic_is_named(self, log: Log, name: str) -> None:
        """Emitting to a topic that does not exist is refused by name."""
        log.open_producer()
        with pytest.raises(RefusedError, match=name):
            append(log, name, None, numbered(0, 1))

    def test_the_log_has_an_identity(self, log: Log) -> None:
        """The cluster id does not change."""
        assert log.cluster_id
        assert log.cluster_id == log.cluster_id
