"""What reviews of the engine's operators have found, so that it does not come back."""

# mypy: disable-error-code="untyped-decorator"
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import streamfn as sf
from streamfn.errors import StageError
from streamfn.testing import TestDriver
from tests.unit.one_task import OneTask

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
MINUTE = timedelta(minutes=1)

Windows = Callable[[Any], Any]


def _sums(app: Any, windows: Windows) -> tuple[Any, Any]:
    """Sums a window, which fail on their way if they are negative."""
    source = app.topic("in", key=str, value=int)
    out = app.topic("out", key=str, value=int)
    sums: Any = windows(app.stream(source).group_by_key())
    sums.to_stream().map(lambda at, total: (at.key, _whole(total)), key=str, value=int).to(out)
    return source, out


def _whole(total: int) -> int:
    if total < 0:
        message = f"{total} is negative"
        raise ValueError(message)
    return total


def _tumbling(grouped: Any) -> Any:
    return grouped.window(sf.Tumbling(MINUTE), emit="close").reduce(int.__add__, name="sums")


def _sliding(grouped: Any) -> Any:
    return grouped.window(sf.Sliding(MINUTE), emit="close").reduce(int.__add__, name="sums")


def _suppressed(grouped: Any) -> Any:
    summed = grouped.window(sf.Tumbling(MINUTE)).reduce(int.__add__, name="sums")
    return summed.suppress("close", name="held")


def _session(grouped: Any) -> Any:
    return grouped.window(sf.Session(MINUTE), emit="close").reduce(int.__add__, name="sums")


FINAL = pytest.mark.parametrize("windows", [_tumbling, _sliding, _session, _suppressed])


@FINAL
@pytest.mark.parametrize("policy", ["skip", "dead_letter"])
def test_a_result_that_fails_costs_no_other_record(windows: Windows, policy: Any) -> None:
    """The records that come after it are not undone: each would fail by it again."""
    app = sf.App("poison", on_error=policy)
    source, out = _sums(app, windows)
    with TestDriver(app) as driver:
        driver.send(source, -1, key="poison", timestamp_ms=MINUTE_MS)
        for number in range(2, 12):
            driver.send(source, number, key="fine", timestamp_ms=number * 5 * MINUTE_MS)
        assert [each.value for each in driver.read(out)] == [*range(2, 11)]
        assert not driver.dead_letters()


def test_a_record_that_met_nobody_and_fails_costs_no_other() -> None:
    """The function of a left join raises for it when it has waited long enough."""
    app = sf.App("poison", on_error="skip")
    left, right = (app.topic(name, key=str, value=int) for name in ("left", "right"))
    out = app.topic("out", key=str, value=int)
    joined = app.stream(left).left_join(
        app.stream(right), lambda mine, other: _whole(mine), sf.JoinWindow(MINUTE), value=int
    )
    joined.to(out)
    with TestDriver(app) as driver:
        driver.send(left, -1, key="poison", timestamp_ms=MINUTE_MS)
        for number in range(2, 12):
            driver.send(left, number, key="fine", timestamp_ms=number * 5 * MINUTE_MS)
        assert [each.value for each in driver.read(out)] == [*range(2, 11)]


def test_sessions_of_values_that_change_in_place_are_found_as_quickly() -> None:
    """A key with a thousand closed sessions is not read from its first one for each record."""
    app = sf.App("many")
    source = app.topic("in", key=str, value=int)
    sessions = (
        app.stream(source)
        .group_by_key()
        .window(sf.Session(timedelta(milliseconds=1), retention=timedelta(days=9)))
    )
    sessions.aggregate(list[int], lambda held, one: [*held, one], lambda a, b: a + b,
                       value=list[int], name="s")  # fmt: skip
    with TestDriver(app) as driver:
        for number in range(1_000):
            driver.send(source, number, key="k", timestamp_ms=number * 10)
        (task,) = driver._worker.tasks.values()  # pyright: ignore[reportPrivateUsage]  # to count
        levels, read = task.scope.levels["s"], list[bytes]()
        decode = levels.decode

        def counted(raw: bytes) -> Any:
            read.append(raw)
            return decode(raw)

        levels.decode = counted
        driver.send(source, 0, key="k", timestamp_ms=20_000)
        assert len(read) < 20


@FINAL
def test_a_result_that_fails_stops_the_worker_if_it_is_to(windows: Windows) -> None:
    """Under ``fail`` nothing is dropped."""
    app = sf.App("poison")
    source, _ = _sums(app, windows)
    driver = TestDriver(app)
    driver.send(source, -1, key="poison", timestamp_ms=MINUTE_MS)
    with pytest.raises(StageError, match="-1 is negative"):
        driver.send(source, 1, key="fine", timestamp_ms=HOUR_MS)
    driver.close(commit=False)


def test_results_that_fail_are_tried_again() -> None:
    """Each record is, as often as is said, however many of the results that it brings fail."""
    app = sf.App("poison", on_error="skip", retries=2, retry_backoff=timedelta(seconds=1))
    source, out = _sums(app, _tumbling)
    with TestDriver(app) as driver:
        for key in "abc":
            driver.send(source, 5 if key == "b" else -1, key=key, timestamp_ms=MINUTE_MS)
        driver.send(source, 1, key="fine", timestamp_ms=HOUR_MS)
        assert not driver.read(out)
        driver.advance(timedelta(seconds=1))
        assert not driver.read(out)
        driver.advance(timedelta(seconds=2))
        assert [each.value for each in driver.read(out)] == [5]
        driver.send(source, 1, key="fine", timestamp_ms=2 * HOUR_MS)
        assert [each.value for each in driver.read(out)] == [1]


def test_a_result_that_fails_when_idle_is_dropped_once() -> None:
    """The windows are closed by it all the same, not again and again."""
    app = sf.App("idle", on_error="skip")
    window = sf.Tumbling(MINUTE, idle_close=timedelta(seconds=10))
    source, out = _sums(
        app, lambda grouped: grouped.window(window, emit="close").reduce(int.__add__, name="sums")
    )
    with TestDriver(app) as driver:
        driver.send(source, -1, key="poison", timestamp_ms=1)
        driver.send(source, 7, key="zebra", timestamp_ms=1)
        for _ in range(3):
            driver.advance(timedelta(seconds=11))
        assert [each.value for each in driver.read(out)] == [7]


def test_a_record_that_waited_fails_alone() -> None:
    """A stream joined with a versioned table, with grace: who brings the time is not at fault."""
    app = sf.App("grace", on_error="dead_letter")
    source = app.topic("in", key=str, value=int)
    rows = app.topic("rows", key=str, value=int)
    out = app.topic("out", key=str, value=int)
    table = app.table(rows, versioned=timedelta(hours=1), name="table")
    joined: Any = app.stream(source).left_join(
        table, lambda number, row: _whole(number), grace=MINUTE, value=int
    )
    joined.to(out)
    with TestDriver(app) as driver:
        for number in (-1, 2, 3, 4):
            driver.send(source, number, key="a", timestamp_ms=HOUR_MS + number * 5 * MINUTE_MS)
        assert [each.value for each in driver.read(out)] == [2, 3]


def test_many_windows_a_record_are_forgotten_as_fast_as_they_are_made() -> None:
    """Each record makes 240 windows of a new key, more than one clean-up deletes."""
    app: Any = sf.App("hopping")
    source = app.topic("in", key=str, value=int)
    window = sf.Hopping(timedelta(hours=4), MINUTE)
    app.stream(source).group_by_key().window(window).count(name="counts")
    task = OneTask(app)
    rows = [(f"key{number}", 1, (10 + 2 * number) * HOUR_MS) for number in range(60)]
    task.send("in", rows)
    kept = sum(1 for _ in task.task.scope.levels["counts"].scan(b"\x02", b"\x03"))
    assert kept < 8 * 240


@pytest.mark.parametrize("generated", [True, False])
@pytest.mark.parametrize(
    "window",
    [
        sf.Tumbling(MINUTE, grace=timedelta(hours=1)),
        sf.Hopping(MINUTE, timedelta(seconds=20), grace=timedelta(hours=1)),
        sf.Sliding(MINUTE, grace=timedelta(hours=1)),
        sf.Session(MINUTE, grace=timedelta(hours=1)),
    ],
    ids=["tumbling", "hopping", "sliding", "session"],
)
def test_a_record_without_a_time_fails(window: Any, generated: bool) -> None:
    """Old clients of Kafka wrote none: it is in no window, and not in the last one's either."""
    app: Any = sf.App("untimed", on_error="dead_letter")
    source = app.topic("in", key=str, value=int)
    app.stream(source).group_by_key().window(window).count(name="counts").to_stream()
    task = OneTask(app, generated=generated)
    task.send("in", [("a", 1, HOUR_MS), ("b", 1, -1), ("b", 1, -1), ("a", 1, HOUR_MS)])
    letters = task.output("untimed-dead-letters")
    assert [key for key, *_ in letters] == [b"b", b"b"]
    assert b"has no usable timestamp; got -1; give" in dict(letters[0][3])["streamfn.message"]
    counts = task.task.scope.levels["counts"].scan(b"\x02", b"\x03")
    assert all(b"a" in key for key, _ in counts)


@pytest.mark.parametrize("kind", ["window", "sliding", "session", "versioned"])
def test_windows_and_versions_are_written_by_their_operators_alone(kind: str) -> None:
    """What a function wrote there had no index, so it stayed for ever, and caches missed it."""
    app: Any = sf.App("written", on_error="dead_letter")
    source = app.topic("in", key=str, value=int)
    orders = app.topic("orders", key=str, value=int)
    grouped = app.stream(source).group_by_key()
    table: Any = {
        "window": lambda: grouped.window(sf.Tumbling(MINUTE)).count(),
        "sliding": lambda: grouped.window(sf.Sliding(MINUTE)).count(),
        "session": lambda: grouped.window(sf.Session(MINUTE)).count(),
        "versioned": lambda: app.table(source, versioned=MINUTE),
    }[kind]()
    at: list[Any] = []

    @app.function(orders)
    def write(value: int, rows: sf.Store[Any, Any] = table) -> None:
        if value:
            rows[at[0]] = value
        else:
            del rows[at[0]]

    with TestDriver(app) as driver:
        driver.send(source, 1, key="a", timestamp_ms=MINUTE_MS)
        before = driver.state(table)
        at += before
        for value in (0, 5):
            driver.send(orders, value, key="a", timestamp_ms=MINUTE_MS)
        assert driver.state(table) == before
        messages = [dict(each.headers)["streamfn.message"] for each in driver.dead_letters()]
        assert ["can only be read; got a write of key" in str(each) for each in messages] == [
            True
        ] * 2


def test_a_session_is_found_by_its_whole_window() -> None:
    """A look-up of a session that has grown since finds nothing, as in Kafka Streams."""
    app: Any = sf.App("spans")
    source = app.topic("in", key=str, value=int)
    asked = app.topic("asked", key=str, value=int)
    out = app.topic("out", key=str, value=list[int])
    counts = app.stream(source).group_by_key().window(sf.Session(MINUTE)).count(name="counts")

    @app.function(asked, to=out)
    def ask(end: int, rows: sf.Lookup[sf.Windowed[str], int] = counts) -> list[int]:
        return [rows.get(sf.Windowed("a", 0, end)) or 0]

    with TestDriver(app) as driver:
        for timestamp in (0, 7):
            driver.send(source, 1, key="a", timestamp_ms=timestamp)
        for end in (0, 7):
            driver.send(asked, end, key="a", timestamp_ms=10)
        assert [each.value for each in driver.read(out)] == [[0], [2]]
