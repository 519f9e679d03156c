"""What fails in a replay: noted once each, in order of the records, and the rest goes on.

Invariant: what is said of failures is the same on any commit interval, number of workers and size
of chunks, as outputs are.
"""

from datetime import timedelta
from typing import Any, Final

import pytest

import streamfn as sf
from streamfn.config import Config
from streamfn.errors import ConfigError
from streamfn.graph.stores import entry_serde
from streamfn.record import TopicPartition
from streamfn.replay.effects import Collected, Raised
from streamfn.replay.recording import Entry, Range, RecordedStore
from streamfn.replay.replay import replay
from streamfn.replay.taps import SHOWN
from tests.replay_world import MemoryInputs, Placed, placed, replayed

NUMBERS: Final = {"numbers": 3}
MANNERS: Final[tuple[dict[str, Any], ...]] = (
    {"rows_max": 1, "commit_interval_ms": 0},
    {"rows_max": 7, "workers": 2, "generated": False},
    {"rows_max": 1_000, "workers": 3, "commit_interval_ms": 1_000_000},
    {"rows_max": 1_000, "commit_interval_ms": 0},
)


def fail(message: str) -> None:
    """Raise."""
    raise ValueError(message)


def numbers(count: int) -> list[Placed]:
    """Numbers of several keys."""
    return placed(
        [("numbers", b"abcdefg"[n % 7 :][:1], b"%d" % n, n * 100) for n in range(count)], 3
    )


def said(raised: Raised) -> tuple[Any, ...]:
    """All but the traceback."""
    return raised.stage, raised.source, raised.offset, raised.root, raised.message


def noted(make: Any, records: list[Placed]) -> list[tuple[Any, ...]]:
    """What fails, which is the same in each manner."""
    every: list[list[tuple[Any, ...]]] = []
    for manner in MANNERS:
        given = dict(manner)
        inputs = MemoryInputs(records, NUMBERS, rows_max=given.pop("rows_max"))
        every.append([said(each) for each in replayed(make(), inputs, **given).raised])
    assert all(each == every[0] for each in every)
    return every[0]


def failing() -> sf.App:
    """Fails on some, in front of a repartition and behind it, and in a timer."""
    app = sf.App("failing")
    topic = app.topic("numbers", key=str, value=int, partitions=3)
    out = app.topic("out", key=str, value=int)

    def front(number: int) -> int:
        """Fails on elevens."""
        if number % 11 == 0:
            fail(f"front {number}")
        return number

    def behind(number: int, total: sf.Value[int]) -> int:
        """Fails on fives."""
        total.value += number
        if number % 5 == 0:
            fail(f"behind {number}")
        return total.value

    def tick(about: sf.Context[str], total: sf.Store[str, int]) -> None:
        """Fails always."""
        fail("tick")

    keyed = app.stream(topic).map_values(front, value=int).key_by(lambda n: str(n % 4), key=str)
    app.function(keyed, to=out)(behind).every(timedelta(seconds=2))(tick)
    return app


def test_failures_are_in_order_of_the_records() -> None:
    """However many tasks and workers there are, each is noted with the record that it is of."""
    found = noted(failing, numbers(60))
    places = {(each.source, each.offset): each.at_ms for each in numbers(60)}
    times = [places[root] for *_, root, _ in found]
    assert times == sorted(times)
    assert {message.split(" ")[0] for *_, message in found} == {"front", "behind", "tick"}


def unreadable() -> sf.App:
    """Fails at once on some, and on others when its state is written."""
    app = sf.App("unreadable")
    topic = app.topic("numbers", key=str, value=int, partitions=3)

    def keep(number: int, kept: sf.Store[str, list[int]], about: sf.Context[str]) -> None:
        """Keeps what cannot be read back."""
        wrong: Any = "text" if number == 20 else number
        kept[f"{about.key}{number}"] = [wrong]
        if number % 6 == 5:
            raise ValueError(str(number))

    app.function(topic)(keep)
    return app


def test_what_is_rewound_is_noted_once() -> None:
    """A record that fails is in a transaction that another record has taken back."""
    found = noted(unreadable, numbers(40))
    assert len(found) == len(set(found)) == 7


def test_result_of_a_window_fails_once() -> None:
    """It does not fail again for each later record, which would all be undone."""

    def make() -> sf.App:
        app = sf.App("windows")
        topic = app.topic("numbers", key=str, value=int, partitions=3)
        out = app.topic("out", key=str, value=int)
        window = sf.Tumbling(timedelta(seconds=1))
        counts = app.stream(topic).group_by_key().window(window, emit="close").count()

        def show(key: sf.Windowed[str], value: int) -> tuple[str, int]:
            """Fails on one window."""
            if key.key == "a" and key.start_ms == 2_000:
                fail(f"{key.key} {key.start_ms}")
            return key.key, value

        counts.to_stream().map(show, key=str, value=int).to(out)
        return app

    (one,) = noted(make, numbers(70))
    assert one[-1] == "a 2000"


def test_merge_waits_for_nobody() -> None:
    """All that will come is there: an option that has a live merge wait loses no record."""
    app = sf.App("waiting")
    left, right = (app.topic(n, key=str, value=int, partitions=1) for n in ("left", "right"))
    app.stream(left).merge(app.stream(right)).to(app.topic("out", key=str, value=int))
    sent = [("left" if n % 2 else "right", b"k", b"%d" % n, n) for n in range(20)]
    inputs = MemoryInputs(placed(sent, 1), {"left": 1, "right": 1}, rows_max=3)
    sink = Collected()
    config = Config(max_task_idle_ms=60_000)
    with replay(app.topology(), inputs, sink, config=config, in_memory=True) as done:
        assert done.records == 20
    assert sum(map(len, sink.found)) == 20


def test_recorded_state_is_in_the_folded_changelog() -> None:
    """An entry that no record touches is in both, as it was."""
    app = sf.App("begun")
    topic = app.topic("numbers", key=str, value=int, partitions=1)

    @app.function(topic)
    def add(number: int, total: sf.Value[int]) -> None:
        """Adds up."""
        total.value += number

    encode = entry_serde(app.topology().stores["add-total"]).encode
    source = TopicPartition("numbers", 0)
    inputs = MemoryInputs(
        [Placed(source, 17, b"k", b"2", 5_000)], {"numbers": 1},
        entries=[Entry("add-total", 0, key, encode(40)) for key in (b"k", b"other")],
        stores=(RecordedStore("add-total", "value", "str", "int", 1),),
        starts={source: Range(17, 17, 4_000)},
    )  # fmt: skip
    found = replayed(app, inputs)  # holds that both agree
    assert [(key, value) for key, value, _ in found.entries["add-total"]] == [
        (b"k", encode(42)), (b"other", encode(40)),
    ]  # fmt: skip


def test_global_table_must_be_recorded() -> None:
    """It is read before the first record: what the program writes itself would never be in it."""
    app = sf.App("own")
    numbers_, names = (app.topic(n, key=str, value=int, partitions=1) for n in ("numbers", "names"))
    known = app.global_table(names)
    app.stream(numbers_).to(names)

    @app.function(numbers_, to=app.topic("out", key=str, value=int))
    def look(number: int, table: sf.Lookup[str, int] = known) -> int | None:
        """Looks up."""
        return table.get("k")

    with pytest.raises(ConfigError, match="topic 'names', which the program reads, is not in"):
        replayed(app, MemoryInputs([], {"numbers": 1}))


class Unshowable:
    """Cannot be shown."""

    def __repr__(self) -> str:
        """Raise."""
        raise ZeroDivisionError


@pytest.mark.parametrize("value", [Unshowable(), [Unshowable()], {1, "a"}, 1 << 70, "\ud800"])
def test_tap_never_fails(value: Any) -> None:
    """Whatever a stage hands on is shown somehow."""
    assert SHOWN.decode(SHOWN.encode(value)) is not None


def test_state_that_is_missing_is_said() -> None:
    """A store that begins empty in the middle of a key's life, and one that nobody has any more."""
    app = sf.App("other")
    topic = app.topic("numbers", key=str, value=int, partitions=1)

    @app.function(topic)
    def add(number: int, total: sf.Value[int]) -> None:
        """Adds up."""
        total.value += number

    stores = (RecordedStore("old-total", "value", "str", "int", 1),)
    found = replayed(app, MemoryInputs([], {"numbers": 1}, stores=stores))
    assert "the recording has no state of add-total: there it begins with nothing" in found.notices
    assert any("state of old-total is left out" in notice for notice in found.notices)
