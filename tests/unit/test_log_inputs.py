"""Topics of a log in replay order: the merge against a sort, ranges, and what is gone."""

from collections.abc import Iterator
from itertools import repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.errors import ConfigError, LogError
from streamfn.record import Batch, TopicPartition
from streamfn.replay import log_inputs
from streamfn.replay.ranges import (
    Bound,
    Span,
    bound_of,
    check_bounds,
    resolve,
    retention_notes,
    time_of,
    time_text,
)
from streamfn.replay.recording import Range
from tests.unit.log_world import (
    NOW_MS,
    all_of,
    expected,
    in_order,
    inputs_of,
    opened_log,
    rows_of,
    write,
)

HOUR_MS = 3_600_000
TIMES = st.lists(st.integers(0, 30), max_size=25)
A0, A1 = TopicPartition("a", 0), TopicPartition("a", 1)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have chunks of a few records, so that a few records make several."""
    monkeypatch.setattr(log_inputs, "CHUNK_ROWS", 6)


@given(st.lists(st.lists(TIMES, max_size=4), min_size=1, max_size=4))
def test_the_merge_is_a_sort(written: list[list[list[int]]]) -> None:
    """By the highest time so far in the partition, topic, partition, offset; ties included."""
    log = opened_log()
    rows: dict[TopicPartition, list[int]] = {}
    for number, transactions in enumerate(written):
        topic, partition = f"t{number // 2}", number % 2
        if partition == 0:
            log.create_topic(topic, 2, {})
        for times in filter(None, transactions):
            write(log, topic, partition, times)
        rows[TopicPartition(topic, partition)] = [at for times in transactions for at in times]
    topics = {source.topic for source in rows}
    inputs = all_of(log, *sorted(topics))
    assert rows_of(inputs) == expected(rows)
    assert inputs.total == inputs.passed == sum(map(len, rows.values()))
    assert rows_of(inputs, {"t0"}) == expected({s: t for s, t in rows.items() if s.topic == "t0"})
    log.close()


@given(TIMES, TIMES, st.sets(st.integers(0, 25)))
def test_what_is_thinned_out_keeps_replay_order(
    first: list[int], second: list[int], wanted: set[int]
) -> None:
    """The order is that of the records that are left, not of those that were there."""
    log = opened_log()
    log.create_topic("a", 2, {})
    write(log, "a", 0, first)
    write(log, "a", 1, second)

    def keep(batch: Batch) -> Batch:
        found = [n for n, offset in enumerate(batch.offsets) if offset in wanted]
        return Batch(
            batch.source, [batch.keys[n] for n in found], [batch.values[n] for n in found],
            [batch.timestamps[n] for n in found], [batch.offsets[n] for n in found],
            batch.next_offset,
        )  # fmt: skip

    inputs = inputs_of(log, resolve(log, ["a"], Span(), NOW_MS), {"a": keep})
    found = rows_of(inputs)
    assert {(s, n) for s, n, _, _ in found} == {
        (source, n)
        for source, times in ((A0, first), (A1, second))
        for n in range(len(times))
        if n in wanted
    }
    marks: dict[TopicPartition, int] = {}
    orders: list[tuple[int, TopicPartition, int]] = []
    for source, offset, _, at in found:
        marks[source] = max(marks.get(source, at), at)
        orders.append((marks[source], source, offset))
    assert orders == sorted(orders)
    log.close()


def test_a_partition_far_ahead_is_not_read_into_memory() -> None:
    """What waits stays within a chunk, however many records lie ahead in time."""
    log = opened_log()
    log.create_topic("a", 2, {})
    for start in range(0, 40_000, 1_000):
        write(log, "a", 0, range(start, start + 1_000))
    write(log, "a", 1, [*range(5), 100_000])
    sizes = [sum(map(len, chunk)) for chunk in all_of(log, "a").chunks()]
    assert sum(sizes) == 40_006
    assert max(sizes) <= 2_000
    log.close()


def test_headers_and_gaps_go_through() -> None:
    """Rows of a batch keep their headers and offsets."""
    batch = Batch(
        A0, [b"a", b"b", b"c"], [b"1", None, b"3"], [1, 2, 3], [4, 6, 9], 12,
        [(), (("h", b"x"),), ()],
    )  # fmt: skip
    cut = batch.part(1, 3)
    assert (cut.keys, cut.values, cut.timestamps) == ([b"b", b"c"], [None, b"3"], [2, 3])
    assert (list(cut.offsets), cut.next_offset) == ([6, 9], 12)
    assert cut.headers == [(("h", b"x"),), ()]
    assert batch.part(0, 1).next_offset == 6


@given(TIMES.filter(bool), st.integers(0, 31), st.integers(0, 31))
def test_a_span_of_time(times: list[int], first: int, last: int) -> None:
    """From the first record of that time or later up to the first of the end's time or later."""
    log = opened_log()
    log.create_topic("a", 1, {})
    write(log, "a", 0, times)
    span = Span(Bound(time_ms=first), Bound(time_ms=last))
    if first >= last:
        with pytest.raises(ConfigError, match="nothing lies between"):
            resolve(log, ["a"], span, NOW_MS)
        return
    start = next((n for n, at in enumerate(times) if at >= first), len(times))
    end = next((n for n, at in enumerate(times) if at >= last), len(times))
    assert resolve(log, ["a"], span, NOW_MS) == {"a": {0: Range(start, end)}}
    log.close()


@pytest.mark.parametrize(
    ("start", "end", "ranges"),
    [
        ([], [], {0: Range(0, 10), 1: Range(0, 4)}),
        (["3"], [], {0: Range(3, 10), 1: Range(3, 4)}),
        (["-3"], [], {0: Range(7, 10), 1: Range(1, 4)}),
        (["-6"], [], {0: Range(4, 10), 1: Range(0, 4)}),
        (["6"], ["8"], {0: Range(6, 8), 1: Range(4, 4)}),
        (["a:0:5"], ["a:0:7", "3"], {0: Range(5, 7), 1: Range(0, 3)}),
        ([], ["99"], {0: Range(0, 10), 1: Range(0, 4)}),
    ],
)
def test_a_span_of_offsets(start: list[str], end: list[str], ranges: dict[int, Range]) -> None:
    """In each partition, or in one, from the begin or back from the end."""
    log = opened_log()
    log.create_topic("a", 2, {})
    write(log, "a", 0, range(10))
    write(log, "a", 1, range(4))
    span = Span(bound_of(start, NOW_MS), bound_of(end, NOW_MS))
    assert resolve(log, ["a"], span, NOW_MS) == {"a": ranges}
    log.close()


def test_single_partitions() -> None:
    """Only those that are named, and an error where there is none of them."""
    log = opened_log()
    log.create_topic("a", 2, {})
    write(log, "a", 1, range(4))
    found = resolve(log, ["a"], Span(partitions=frozenset({1, 7})), NOW_MS)
    assert found == {"a": {1: Range(0, 4)}}
    for span, text in (
        (Span(partitions=frozenset({7})), r"'a' has no such partition; got \[7\]; it has 0 to 1"),
        (Span(Bound(of={TopicPartition("b", 0): 1})), r"b\[0\] has a bound and is not read"),
    ):
        with pytest.raises(ConfigError, match=text):
            check_bounds(span, resolve(log, ["a"], span, NOW_MS))
    with pytest.raises(ConfigError, match="'x' does not exist"):
        resolve(log, ["x"], Span(), NOW_MS)
    log.close()


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("2001-09-09T01:46:40", NOW_MS),
        ("2001-09-09T03:46:40+02:00", NOW_MS),
        ("2001-09-09T01:46:40Z", NOW_MS),
        ("2001-09-09", NOW_MS - 6_400_000),
        ("now", NOW_MS),
        ("-2h", NOW_MS - 2 * HOUR_MS),
        ("+90s", NOW_MS + 90_000),
        ("-1d", NOW_MS - 24 * HOUR_MS),
        ("@12", 12),
    ],
)
def test_times(text: str, time_ms: int) -> None:
    """UTC unless said otherwise; a distance counts from now."""
    assert time_of(text, NOW_MS) == time_ms
    assert bound_of([text], NOW_MS) == Bound(time_ms)


def test_a_time_is_written() -> None:
    """As UTC, or as its number where no calendar has it."""
    assert time_text(NOW_MS) == "2001-09-09 01:46:40Z"
    assert time_text(2**62) == str(2**62)


@pytest.mark.parametrize("text", ["yesterday", "flights:0", "2013-13-01", "-2 hours"])
def test_what_is_no_bound(text: str) -> None:
    """The error shows the forms that there are."""
    with pytest.raises(ConfigError, match=f"'{text}' is no place in a topic; .*-2h"):
        bound_of([text], NOW_MS)


def test_two_bounds_for_all_partitions() -> None:
    """One of them is a mistake."""
    with pytest.raises(ConfigError, match="'-1h' is one bound too many"):
        bound_of(["12", "-1h"], NOW_MS)


# retention
@pytest.mark.parametrize(
    ("start", "text"),
    [
        ("2", r"records 2 to 6 of a\[0\] are gone; the first is at offset 6, of 2001-09-09"),
        ("a:0:5", r"records 5 to 6 of a\[0\] are gone"),
        ("-2h", r"records of a\[0\] since .* may be gone; the first is at offset 6"),
    ],
)
def test_a_gap_is_an_error_or_skipped(start: str, text: str) -> None:
    """It names the partition, what is gone, and the first record that is there."""
    log = opened_log()
    log.create_topic("a", 1, {})
    write(log, "a", 0, range(NOW_MS - 10, NOW_MS))
    log.delete_records(A0, 6)
    bound = bound_of([start], NOW_MS)
    with pytest.raises(LogError, match=text + ".*--on-gap skip"):
        resolve(log, ["a"], Span(bound), NOW_MS)
    kept = resolve(log, ["a"], Span(bound, on_gap="skip"), NOW_MS)
    assert kept == {"a": {0: Range(6, 10)}}
    assert resolve(log, ["a"], Span(), NOW_MS) == kept
    log.close()


def test_all_of_a_range_is_gone() -> None:
    """Also where nothing is left at all, and where the range ended before what is left."""
    log = opened_log()
    log.create_topic("a", 1, {})
    write(log, "a", 0, range(NOW_MS - 10, NOW_MS))
    log.delete_records(A0, 6)
    with pytest.raises(LogError, match="records 2 to 6 of a"):
        resolve(log, ["a"], Span(Bound(offset=2), Bound(offset=4)), NOW_MS)
    with pytest.raises(LogError, match="records 4 to 6 of a"):
        resolve(log, ["a"], Span(end=Bound(offset=4)), NOW_MS)
    log.delete_records(A0, 10)
    with pytest.raises(LogError, match="nothing is left below its end, 10"):
        resolve(log, ["a"], Span(Bound(time_ms=NOW_MS - HOUR_MS)), NOW_MS)
    span = Span(Bound(offset=2), Bound(offset=4), on_gap="skip")
    assert resolve(log, ["a"], span, NOW_MS) == {"a": {0: Range(10, 10)}}
    log.close()


def test_what_cannot_be_read_yet_is_not_said_to_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is slow, or a transaction that is open where a range begins."""
    log = opened_log()
    log.create_topic("a", 1, {})
    write(log, "a", 0, range(NOW_MS - 10, NOW_MS))
    log.delete_records(A0, 6)

    def nothing(*_: object) -> Iterator[Batch]:
        return repeat(Batch(A0, [], [], [], [], 6))

    monkeypatch.setattr(log, "read", nothing)
    with pytest.raises(LogError, match="what is left, below its end, 10, could not be read yet"):
        resolve(log, ["a"], Span(Bound(offset=2)), NOW_MS)
    log.close()


def test_what_retention_alone_has_deleted_is_no_gap() -> None:
    """A time within the retention: all that is gone is older."""
    log = opened_log()
    log.create_topic("a", 1, {"retention.ms": str(3 * HOUR_MS)})
    write(log, "a", 0, range(NOW_MS - 10, NOW_MS))
    log.delete_records(A0, 6)
    span = Span(Bound(time_ms=NOW_MS - 2 * HOUR_MS))
    assert resolve(log, ["a"], span, NOW_MS) == {"a": {0: Range(6, 10)}}
    with pytest.raises(LogError, match="may be gone"):
        resolve(log, ["a"], Span(Bound(time_ms=NOW_MS - 4 * HOUR_MS)), NOW_MS)
    log.close()


def test_records_that_go_while_they_are_read() -> None:
    """An error that names the place: nothing is left out without a word."""
    log = opened_log()
    log.create_topic("a", 2, {})
    for start in range(0, 4_000, 1_000):
        write(log, "a", 0, range(start, start + 1_000))
    write(log, "a", 1, range(0, 3_000, 500))
    chunks = all_of(log, "a").chunks()
    assert sum(map(len, next(chunks))) > 0
    log.delete_records(A0, 3_000)
    with pytest.raises(LogError, match=r"records from offset \d+ of a\[0\] are gone; it begins at"):
        in_order(chunks)
    log.close()


def test_a_topic_with_a_short_retention_is_warned_of() -> None:
    """If what is read is older than it keeps, and only then."""
    log = opened_log()
    log.create_topic("a", 1, {"retention.ms": str(HOUR_MS)})
    log.create_topic("b", 1, {})
    (note,) = retention_notes(log, ["a", "b"], NOW_MS - 2 * HOUR_MS, NOW_MS)
    assert note.startswith("topic 'a' keeps records for 0.0417 days; got a range that begins at")
    assert retention_notes(log, ["a", "b"], NOW_MS - HOUR_MS // 2, NOW_MS) == []
    log.close()
