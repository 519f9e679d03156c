"""Feeds: rows and position in one transaction, under every policy, resumed, cured and grown."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest

import streamfn as sf
from streamfn.engine.feed import RowError
from streamfn.errors import LogError, StateCorruptedError
from streamfn.record import TopicPartition
from tests.crash_world import World
from tests.faulty_log import Chaos, Crash, Script

POSITION = TopicPartition("app-in-feed-position", 0)
LETTERS = "app-dead-letters"


Worlds: TypeAlias = Callable[..., World]


@pytest.fixture
def worlds() -> Iterator[Worlds]:
    """Make worlds whose files are closed in the end."""
    made: list[World] = []

    def make(app: sf.App, **settings: Any) -> World:
        made.append(World(app, **settings))
        return made[-1]

    yield make
    for world in made:
        world.crash()


class Line(msgspec.Struct, frozen=True):
    """A row of the file."""

    name: str
    number: int


def loading(path: Path, on_error: Any = "fail") -> sf.App:
    """Make an app that loads a file and adds its numbers up by name."""
    app = sf.App("app", on_error=on_error)
    lines = app.topic("in", key=str, value=Line, partitions=2)
    sums = app.topic("sums", key=str, value=int)
    app.feed(lines, path, key="name", timestamp=lambda line: line.number)

    @app.function(lines, to=sums)
    def add(line: Line, total: sf.Value[int]) -> int:
        total.value += line.number
        return total.value

    return app


def write(path: Path, *rows: str) -> Path:
    """Write a file with a header and these rows."""
    path.write_text("".join(f"{row}\n" for row in ("name,number", *rows)))
    return path


def numbered(count: int, start: int = 0) -> list[str]:
    """Return so many good rows."""
    return [f"n{number % 3},{number}" for number in range(start, start + count)]


def loaded(world: World) -> list[int]:
    """Return the numbers of the rows in the topic, sorted."""
    values = [value or b"" for value in world.values("in")]
    return sorted(msgspec.json.decode(value, type=Line).number for value in values)


def sums(world: World) -> dict[bytes, int]:
    """Return the last sum of each name."""
    return {key or b"": int(value or b"") for _, key, value, _, _ in world.records("sums")}


def expected_sums(numbers: list[int]) -> dict[bytes, int]:
    """Work the sums out in plain Python."""
    found: dict[bytes, int] = {}
    for number in numbers:
        name = f"n{number % 3}".encode()
        found[name] = found.get(name, 0) + number
    return found


def test_a_file_is_loaded_once(worlds: Worlds, tmp_path: Path) -> None:
    """Also if another worker starts on it."""
    world = worlds(loading(write(tmp_path / "rows.csv", *numbered(20))))
    for _ in range(3):
        world.settle()
        assert loaded(world) == list(range(20))
        assert sums(world) == expected_sums(list(range(20)))
        world.close()


def test_rows_and_position_are_in_one_transaction(worlds: Worlds, tmp_path: Path) -> None:
    """One record of the position with the rows, and the token of the transaction."""
    world = worlds(loading(write(tmp_path / "rows.csv", *numbered(20))))
    world.start()
    world.log.calls.clear()
    world.settle()
    with_rows = next(offsets for offsets in world.log.offsets if POSITION in offsets)
    assert len({position.metadata for position in with_rows.values()}) >= 1
    assert len(world.values(POSITION.topic)) == 1


FAULTS = ["before", "after", "fenced", "crash", "crashed", "final"]


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        *((call, fault) for call in ("flush", "send_offsets") for fault in FAULTS),
        *(("commit", fault) for fault in (*FAULTS, "unknown", "applied")),
    ],
)
def test_a_load_that_fails_goes_on_without_doubles(
    worlds: Worlds, tmp_path: Path, call: str, fault: str
) -> None:
    """Whatever happens to the transaction, rows and position share its fate."""
    world = worlds(loading(write(tmp_path / "rows.csv", *numbered(30))), transaction_records_max=5)
    world.faults = Script(**{call: f"{fault} - {fault} - {fault}"})
    for _ in range(6):
        try:
            world.settle()
        except (Crash, LogError):
            world.crash()
    world.settle()
    assert loaded(world) == list(range(30))
    assert sums(world) == expected_sums(list(range(30)))


@pytest.mark.parametrize("first", [0, 1, 3])
def test_fail_leaves_the_bad_row_unread(worlds: Worlds, tmp_path: Path, first: int) -> None:
    """All rows before it are in the topic; a cured file goes on with it."""
    path = tmp_path / "rows.csv"
    rows = numbered(6)
    write(path, *rows[:first], f"n{first % 3},x", *rows[first + 1 :])
    world = worlds(loading(path))
    for _ in range(2):
        with pytest.raises(RowError, match=rf"'in-feed', line {first + 2} makes no sense"):
            world.settle()
        assert loaded(world) == list(range(first))
        assert world.worker is not None
        world.worker.close(commit=False)
        world.crash()
    write(path, *rows)
    world.settle()
    assert loaded(world) == list(range(6))
    assert sums(world) == expected_sums(list(range(6)))


@pytest.mark.parametrize("on_error", ["skip", "dead_letter"])
def test_a_bad_row_is_passed_by_policy(worlds: Worlds, tmp_path: Path, on_error: str) -> None:
    """Once, also over restarts; a dead letter holds its bytes and says where it stood."""
    path = write(tmp_path / "rows.csv", "n0,0", "n1,x", "n2,2", "n0")
    world = worlds(loading(path, on_error))
    for _ in range(2):
        world.settle()
        world.crash()
    world.settle()
    assert loaded(world) == [0, 2]
    letters = list(world.records(LETTERS)) if on_error == "dead_letter" else []
    assert [value for _, _, value, _, _ in letters] == (
        [b"n1,x\n", b"n0\n"] if on_error == "dead_letter" else []
    )
    assert [dict(headers)["streamfn.line"] for *_, headers in letters] == [b"3", b"5"][
        : len(letters)
    ]
    assert all(dict(headers)["streamfn.feed"] == b"in-feed" for *_, headers in letters)


def test_a_file_of_bad_rows_alone_comes_to_its_end(worlds: Worlds, tmp_path: Path) -> None:
    """The position moves though no row is loaded."""
    world = worlds(loading(write(tmp_path / "rows.csv", "n0,x", "n1,y"), "skip"))
    worker = world.settle()
    assert worker.finished
    assert len(world.values(POSITION.topic)) == 1
    assert worker.metrics.skipped == 2
    assert world.run_again().metrics.skipped == 0


def test_a_file_that_has_grown_gives_its_new_rows(worlds: Worlds, tmp_path: Path) -> None:
    """At the next start, each once."""
    path = write(tmp_path / "rows.csv", *numbered(5))
    world = worlds(loading(path))
    world.settle()
    world.close()
    with path.open("a") as file:
        file.write("".join(f"{row}\n" for row in numbered(4, 5)))
    for _ in range(2):
        world.settle()
        assert loaded(world) == list(range(9))
        world.close()


def test_a_position_behind_many_aborted_ones_is_found(worlds: Worlds, tmp_path: Path) -> None:
    """However many offsets of the topic hold nothing: a load is never begun anew."""
    world = worlds(loading(write(tmp_path / "rows.csv", *numbered(5))))
    world.settle()
    world.close()
    ends = world.inner.end_offsets

    def far(sources: Any) -> dict[TopicPartition, int]:
        return {source: end + 500 * (source == POSITION) for source, end in ends(sources).items()}

    world.inner.end_offsets = far  # type: ignore[method-assign]  # as aborted transactions leave it
    worker = world.start()
    worker.step()
    assert worker.feeds[0].at_end
    assert worker.metrics.rows_loaded == 0


def test_a_row_that_cannot_be_sent_condemns_no_record(worlds: Worlds, tmp_path: Path) -> None:
    """The record that shares its transaction is innocent; each row gets the feed's policy."""
    path = write(tmp_path / "rows.csv", *numbered(3))
    world = worlds(loading(path, "dead_letter"), commit_interval_ms=100)
    worker = world.start()
    world.write("in", (b"n1", b'{"name":"n1","number":100}', 1))
    world.log.refuses = lambda topic, value: topic == "in"
    for _ in range(30):
        world.settle()
        world.clock.advance_ms(100)
    assert len(world.values("app-dead-letters")) == 3
    assert worker.feeds[0].at_end
    assert sums(world) == {b"n1": 100}


@pytest.mark.parametrize("policy", ["fail", "skip", "dead_letter"])
def test_one_refused_row_among_many(worlds: Worlds, tmp_path: Path, policy: str) -> None:
    """It is found by halving; the others are loaded, under fail those in front of it."""
    path = write(tmp_path / "rows.csv", *numbered(50))
    world = worlds(loading(path, policy))
    worker = world.start()
    world.log.refuses = lambda topic, value: topic == "in" and b'"number":30' in (value or b"")
    if policy == "fail":
        with pytest.raises(RowError, match="line 32 makes no sense"):
            world.settle()
    else:
        world.settle()
    assert len(world.values("in")) == (30 if policy == "fail" else 49)
    assert worker.metrics.rewinds < 20


def test_a_row_is_not_blamed_for_another_feed_s(worlds: Worlds, tmp_path: Path) -> None:
    """Two feeds share a transaction, one has a row that the log refuses: the other loses none."""
    app = loading(write(tmp_path / "rows.csv", *numbered(30)), "dead_letter")
    other = app.topic("other", key=str, value=Line)
    app.feed(other, write(tmp_path / "more.csv", *numbered(30)), key="name")
    app.stream(other).to("copied")
    world = worlds(app)
    world.start()
    world.log.refuses = lambda topic, value: topic == "in" and b'"number":17' in (value or b"")
    world.settle()
    assert len(world.values("in")) == 29
    assert len(world.values("other")) == 30
    assert len(world.values("app-dead-letters")) == 1


@pytest.mark.parametrize("seed", range(60))
def test_a_load_under_faults(worlds: Worlds, tmp_path: Path, seed: int) -> None:
    """Random errors and crashes at any call: each row is loaded and counted once."""
    choose = random.Random(seed)
    rows = numbered(40)
    bad = sorted(choose.sample(range(40), 5))
    for row in bad:
        rows[row] = f"n{row % 3},bad"
    world = worlds(
        loading(write(tmp_path / "rows.csv", *rows), "dead_letter"),
        transaction_records_max=choose.choice((1, 6, 1_000)),
        commit_interval_ms=choose.choice((0, 20)),
    )
    world.faults = Chaos(seed)
    for _ in range(3_000):
        try:
            worker = world.worker or world.start()
            worker.step()
            world.clock.advance_ms(5)
            if worker.finished:
                break
        except (Crash, LogError, StateCorruptedError):
            world.crash()
    good = [number for number in range(40) if number not in bad]
    assert loaded(world) == good
    assert sums(world) == expected_sums(good)
    assert len(world.values(LETTERS)) == len(bad)
