"""Versions of rows against a plain model: every version ever put, and the stream time."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfn.database import Space
from streamfn.engine.operators import versioned
from streamfn.engine.operators.timed import Timed
from streamfn.engine.operators.versioned import Versions
from streamfn.graph.stores import ENTRY, INDEX, entry_serde
from streamfn.graph.topology import StoreSpec
from streamfn.serde import is_immutable
from streamfn.state.levels import Levels, Undo
from streamfn.state.memory import MemoryStore

KEYS = st.sampled_from([b"", b"a", b"a\x00", b"a\x00\x00\x00\x00\x00\x00\x00\x0c", b"b"])
PUTS = st.tuples(st.just(b"a") | KEYS, st.none() | st.integers(0, 9), st.integers(0, 12))


class World:
    """A versioned store over a disk, as a task has it."""

    def __init__(self, history_ms: int, type_: Any = int) -> None:
        self.spec = StoreSpec("s", "versioned", bytes, type_, history_ms=history_ms)
        self.disk: dict[str, Space] = {}
        self.open()

    def open(self) -> None:
        """Open the store anew: nothing is in memory."""
        serde = entry_serde(self.spec)
        self.undo: Undo = []
        self.levels = Levels(
            "s", MemoryStore(["s"], disk=self.disk), serde.encode, serde.decode,
            mutable=not is_immutable(self.spec.value), undo=self.undo,
        )  # fmt: skip
        self.timed = Timed(self.levels, self.spec)
        self.versions = Versions(self.timed, self.spec)

    def commit(self) -> None:
        """Commit, write to the disk and open anew."""
        self.levels.changelog()
        self.levels.committed()
        self.levels.store.write({"s": self.levels.to_write()}, {})
        self.open()

    def undone(self) -> None:
        """Undo all since the last time."""
        for levels, key, old in reversed(self.undo):
            levels.restore(key, old)
        self.undo.clear()

    def count(self, prefix: bytes) -> int:
        """How many entries begin with a byte."""
        return sum(1 for _ in self.timed.scan(prefix, bytes([prefix[0] + 1])))


class Model:
    """All versions of all keys.

    A deletion at the time of the latest version takes that back, unless a version ended then.
    """

    def __init__(self, history_ms: int) -> None:
        self.history_ms, self.now = history_ms, -1
        self.rows: dict[bytes, dict[int, int | None]] = {}
        self.ends: set[tuple[bytes, int]] = set()

    def put(self, key: bytes, value: int | None, time_ms: int) -> Any:
        """Add a version; answer the change."""
        self.now = max(self.now, time_ms)
        if time_ms < self.now - self.history_ms:
            return None
        row = self.rows.setdefault(key, {})
        last = max(row, default=-1)
        old = row.get(last)
        if value is None and old is not None and time_ms == last and (key, last) not in self.ends:
            del row[last]
            return value, old, True
        if time_ms < last:
            self.ends.add((key, min(start for start in row if start > time_ms)))
        elif time_ms > last and (old is not None or value is None):
            self.ends.add((key, time_ms))
        row[time_ms] = value
        return value, old, time_ms >= last

    def latest(self, key: bytes) -> Any:
        """The newest version, if it has a value."""
        return self.at(key, 1 << 60)

    def as_of(self, key: bytes, time_ms: int) -> Any:
        """What was valid at a time; the newest only, if the time is too long ago."""
        if (
            time_ms < self.now - self.history_ms
            and max(self.rows.get(key, {}), default=0) > time_ms
        ):
            return None
        return self.at(key, time_ms)

    def at(self, key: bytes, time_ms: int) -> Any:
        """The last version that starts at a time or before."""
        row = self.rows.get(key, {})
        start = max((start for start in row if start <= time_ms), default=-1)
        return None if row.get(start) is None else (row[start], start)


@settings(max_examples=250, deadline=None)
@given(
    puts=st.lists(PUTS, min_size=12, max_size=40),
    history_ms=st.sampled_from([0, 1, 3, 5, 8, 100]),
    commits=st.integers(1, 9), freed=st.sampled_from([1, 2, 100]),
)  # fmt: skip
def test_versions_are_those_of_the_model(
    puts: list[Any], history_ms: int, commits: int, freed: int
) -> None:
    """Changes, latest rows and rows as of all times agree, however little is freed a record."""
    world, model = World(history_ms), Model(history_ms)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(versioned, "FREED_MAX", freed)
        for count, put in enumerate(puts):
            assert world.versions.put(*put) == model.put(*put)
            if count % commits == 0:
                world.commit()
            else:
                world.undo.clear()
                world.versions.put(put[0], 7, 61)
                world.undone()
            key = put[0]
            assert world.versions.latest(key) == model.latest(key)
            for time_ms in range(14):
                assert world.versions.as_of(key, time_ms) == model.as_of(key, time_ms)


def test_history_is_freed() -> None:
    """What ended before the history goes, deleted rows with it; what still is stays."""
    world = World(100)
    for time_ms in range(0, 1000, 10):
        world.versions.put(b"a", time_ms, time_ms)
        world.versions.put(b"b%d" % time_ms, time_ms, time_ms)
        world.versions.put(b"b%d" % time_ms, None, time_ms + 5)
    assert world.count(ENTRY) < 15
    assert world.count(INDEX) < 60
    for time_ms in range(2000, 2010):  # bounded work a record, and yet it comes to its end
        world.versions.put(b"c", time_ms, time_ms)
    assert (world.count(ENTRY), world.count(INDEX)) == (2, 10)
    assert world.versions.latest(b"a") == (990, 990)


def test_history_of_many_keys_is_freed() -> None:
    """More keys than one record frees end at once, and one of them has as many versions."""
    world = World(100)
    for number in range(3 * versioned.FREED_MAX):
        world.versions.put(b"%d" % number, 1, 0)
        world.versions.put(b"%d" % number, None, 1)
        world.versions.put(b"7", number, 2)
        world.versions.put(b"7", None, 3)
        world.versions.put(b"7", number, 3 + number % 20)
    for time_ms in range(1000, 1050):
        world.versions.put(b"c", 1, time_ms)
    assert (world.count(ENTRY), world.count(INDEX)) == (2, 51)
    assert world.versions.latest(b"7") == (139, 22)


def test_a_longer_history_is_freed_too() -> None:
    """What comes to be older than what was freed already is freed with the next."""
    world = World(10)
    world.versions.put(b"a", 1, 0)
    world.versions.put(b"a", 1, 100)
    world.commit()
    world.spec = StoreSpec("s", "versioned", bytes, int, history_ms=90)
    world.open()
    world.versions.put(b"b", 1, 20)
    world.versions.put(b"b", None, 21)
    for time_ms in (400, 401, 800, 801):
        world.versions.put(b"c", 1, time_ms)
    assert (world.count(ENTRY), world.count(INDEX)) == (2, 3)


def test_history_may_change_between_runs() -> None:
    """A longer history finds what the shorter one kept, and what comes from then on."""
    world = World(10)
    for time_ms in range(0, 50, 5):
        world.versions.put(b"a", time_ms, time_ms)
    world.commit()
    world.spec = StoreSpec("s", "versioned", bytes, int, history_ms=1000)
    world.open()
    world.versions.put(b"a", 1000, 1000)
    assert world.versions.as_of(b"a", 41) == (40, 40)
    assert world.versions.as_of(b"a", 999) == (45, 45)
    assert world.versions.as_of(b"a", 3) is None


def test_values_that_change_in_place() -> None:
    """A row that its reader changes stays what it was."""
    world = World(10, list[int])
    world.versions.put(b"a", [1], 1)
    world.versions.put(b"a", [2], 2)
    found = world.versions.as_of(b"a", 1)
    assert found is not None
    found[0].append(9)
    assert world.versions.as_of(b"a", 1) == ([1], 1)
