"""MemoryStore and RocksStore against a plain model, and what only a disk can do wrong."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from streamfn.database import Space
from streamfn.errors import InternalError, StateCorruptedError, StateError
from streamfn.state import database_store
from streamfn.state.memory import MemoryStore
from streamfn.state.rocksdb import RocksStore
from streamfn.state.store import StateStore

STORES = ("counts", "default", "__meta", "a.b-c_D")
Opener: TypeAlias = Callable[[], StateStore]


@pytest.fixture(params=["memory", "rocksdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StateStore]:
    """One of each kind, with store names that a database might use itself."""
    opened: StateStore
    opened = MemoryStore(STORES) if request.param == "memory" else RocksStore(tmp_path, STORES)
    yield opened
    opened.close()


def rows(store: StateStore, name: str) -> list[tuple[bytes, bytes]]:
    """All entries of a store."""
    return list(store.scan(name, b"", None))


def test_a_write_is_read_back(store: StateStore) -> None:
    """Data and meta of one write are there; other stores have none of it."""
    store.write({"counts": {b"b": b"2", b"a": b"1"}, "default": {b"b": b""}}, {"offset": b"7"})
    assert store.get("counts", b"a") == b"1"
    assert store.get("default", b"b") == b""
    assert store.get("default", b"a") is None
    assert store.meta() == {"offset": b"7"}
    assert rows(store, "counts") == [(b"a", b"1"), (b"b", b"2")]
    assert rows(store, "__meta") == []


def test_none_deletes_a_key_and_a_meta_entry(store: StateStore) -> None:
    """A later write with None takes both away."""
    store.write({"counts": {b"a": b"1"}}, {"offset": b"7", "token": b"t"})
    store.write({"counts": {b"a": None, b"never": None}}, {"offset": None})
    assert rows(store, "counts") == []
    assert store.meta() == {"token": b"t"}


def test_ranges_are_deleted_before_the_changes_of_the_same_write(store: StateStore) -> None:
    """A key written together with the range it lies in stays; the range's end is not part of it."""
    store.write({"counts": {b"a": b"1", b"b": b"1", b"c": b"1"}, "default": {b"a": b"1"}}, {})
    store.write({"counts": {b"b": b"2"}}, {}, [("counts", b"a", b"c")])
    assert rows(store, "counts") == [(b"b", b"2"), (b"c", b"1")]
    assert rows(store, "default") == [(b"a", b"1")]


def test_a_scan_shows_the_store_as_it_was(store: StateStore) -> None:
    """Writes during a scan do not reach it, forwards and backwards."""
    store.write({"counts": {bytes((key,)): b"1" for key in range(5)}}, {})
    forwards = store.scan("counts", b"\x01", b"\x04")
    backwards = store.scan("counts", b"\x01", b"\x04", reverse=True)
    store.write({"counts": {b"\x02": None, b"\x03\x00": b"2"}}, {})
    assert [key for key, _ in forwards] == [b"\x01", b"\x02", b"\x03"]
    assert [key for key, _ in backwards] == [b"\x03", b"\x02", b"\x01"]


def test_a_bulk_load_takes_the_last_entry_of_a_key(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unsorted entries with repeats and deletions, over several chunks, count as read."""
    monkeypatch.setattr(database_store, "LOAD_CHUNK_BYTES", 3 * database_store.ENTRY_BYTES)
    entries = [
        (b"c", b"1"), (b"a", b"1"), (b"c", b"2"),
        (b"a", None), (b"b", b"1"), (b"never", None),
        (b"b", None), (b"b", b"3"), (b"d", None), (b"d", b"4"),
    ]  # fmt: skip
    assert store.load("counts", iter(entries)) == len(entries)
    assert rows(store, "counts") == [(b"b", b"3"), (b"c", b"2"), (b"d", b"4")]
    assert store.load("counts", [(b"b", None)]) == 1
    assert store.load("counts", []) == 0
    assert rows(store, "counts") == [(b"c", b"2"), (b"d", b"4")]


def test_a_store_of_another_task_is_our_bug(store: StateStore) -> None:
    """A name that was not opened is never created on the way."""
    with pytest.raises(InternalError, match="'other'"):
        store.get("other", b"a")
    with pytest.raises(InternalError, match="'other'"):
        store.write({"counts": {b"a": b"1"}, "other": {b"a": b"1"}}, {})
    assert rows(store, "counts") == []


@pytest.mark.parametrize("name", ["", "a/b", "a b", "ä", "x" * 201, "a\n"])
def test_a_name_that_is_no_stores_is_refused(name: str) -> None:
    """Names are checked when the store is opened."""
    with pytest.raises(StateError, match="use 1 to 200 of"):
        MemoryStore([name])


def test_size_grows_with_data(store: StateStore) -> None:
    """A hundred kilobytes more are seen."""
    before = store.size_bytes()
    store.write({"counts": {os.urandom(8): os.urandom(1000) for _ in range(100)}}, {})
    assert store.size_bytes() >= before + 100_000


def test_close_twice_does_nothing(store: StateStore) -> None:
    """A second close is no error."""
    store.close()
    store.close()
    with pytest.raises(StateError, match="closed"):
        store.get("counts", b"a")


class Model(RuleBasedStateMachine):
    """Any writes, loads and reopenings leave what a dict of dicts would hold."""

    keys = st.binary(max_size=2)
    values = st.none() | st.binary(max_size=3)
    names = st.sampled_from(["one", "two"])
    opener: Opener

    def __init__(self) -> None:
        super().__init__()
        self.store = self.opener()
        self.data: dict[str, dict[bytes, bytes]] = {"one": {}, "two": {}}
        self.marks: dict[str, bytes] = {}

    def apply(self, name: str, key: bytes, value: bytes | None) -> None:
        """Change the model."""
        self.data[name].pop(key, None)
        if value is not None:
            self.data[name][key] = value

    @rule(
        changes=st.dictionaries(names, st.dictionaries(keys, values)),
        meta=st.dictionaries(st.sampled_from(["offset", "é"]), values),
        ranges=st.lists(st.tuples(names, keys, keys), max_size=2),
    )
    def write(
        self,
        changes: dict[str, dict[bytes, bytes | None]],
        meta: dict[str, bytes | None],
        ranges: list[tuple[str, bytes, bytes]],
    ) -> None:
        """Write one batch."""
        ranges = [(name, min(pair), max(pair)) for name, *pair in ranges]
        self.store.write(changes, meta, ranges)
        for name, start, end in ranges:
            for key in [key for key in self.data[name] if start <= key < end]:
                del self.data[name][key]
        for name, changed in changes.items():
            for key, value in changed.items():
                self.apply(name, key, value)
        marks = {**self.marks, **meta}
        self.marks = {mark: value for mark, value in marks.items() if value is not None}

    @rule(name=names, entries=st.lists(st.tuples(keys, values)))
    def load(self, name: str, entries: list[tuple[bytes, bytes | None]]) -> None:
        """Load in bulk, even over what is there."""
        assert self.store.load(name, entries) == len(entries)
        for key, value in entries:
            self.apply(name, key, value)

    @precondition(lambda self: isinstance(self.store, RocksStore))
    @rule()
    def reopen(self) -> None:
        """Close the folder and open it again."""
        self.store.close()
        self.store = self.opener()

    @rule(name=names, start=keys, end=st.none() | keys, reverse=st.booleans())
    def scan(self, name: str, start: bytes, end: bytes | None, reverse: bool) -> None:
        """Scan a part in either direction."""
        kept = [row for row in self.data[name].items() if start <= row[0]]
        kept = [row for row in kept if end is None or row[0] < end]
        found = list(self.store.scan(name, start, end, reverse=reverse))
        assert found == sorted(kept, reverse=reverse)

    @invariant()
    def equal(self) -> None:
        """All stores and the meta entries are the model's."""
        assert {name: dict(self.store.scan(name, b"", None)) for name in self.data} == self.data
        assert self.store.meta() == self.marks

    def teardown(self) -> None:
        """Close."""
        self.store.close()


def run_model(opener: Callable[[], Opener], examples: int) -> int:
    """Run the machine with a fresh place for each example; return how many it took."""
    places = count()

    class Bound(Model):
        """The model over one kind of store."""

        def __init__(self) -> None:
            self.opener = opener()
            next(places)
            super().__init__()

    steps = settings(max_examples=examples, stateful_step_count=12, deadline=None)
    run_state_machine_as_test(Bound, settings=steps)
    return next(places)


def test_memory_equals_the_model() -> None:
    """The store in memory is a dict of dicts."""
    assert run_model(lambda: lambda: MemoryStore(["one", "two"]), 60) >= 60


def test_rocksdb_equals_the_model(tmp_path: Path) -> None:
    """So is the one on disk, over any number of reopenings."""
    folders = count()

    def place() -> Opener:
        folder = tmp_path / str(next(folders))
        return lambda: RocksStore(folder, ["one", "two"])

    assert run_model(place, 12) >= 12


def test_memory_can_be_opened_again() -> None:
    """What was written outlives close in ``disk``, as in a folder."""
    disk: dict[str, Space] = {}
    first = MemoryStore(["one"], disk=disk)
    first.write({"one": {b"a": b"1"}}, {"offset": b"1"})
    first.close()
    second = MemoryStore(["one", "two"], disk=disk)
    assert (second.get("one", b"a"), second.meta()) == (b"1", {"offset": b"1"})


def test_stores_come_and_go(tmp_path: Path) -> None:
    """A new store gets a family; a removed one's is opened and kept for when it comes back."""
    first = RocksStore(tmp_path, ["old", "kept"])
    first.write({"old": {b"a": b"1"}, "kept": {b"a": b"2"}}, {"offset": b"1"})
    first.close()
    second = RocksStore(tmp_path, ["kept", "new"])
    second.write({"new": {b"a": b"3"}}, {})
    assert second.get("kept", b"a") == b"2"
    with pytest.raises(InternalError):
        second.get("old", b"a")
    second.close()
    third = RocksStore(tmp_path, ["old", "new"])
    assert (third.get("old", b"a"), third.get("new", b"a")) == (b"1", b"3")
    third.close()


def filled(folder: Path) -> list[Path]:
    """Make a closed database with a table file and return its table files."""
    store = RocksStore(folder, ["one"])
    store.load("one", [(b"%06d" % key, os.urandom(200)) for key in range(2000)])
    store.write({"one": {b"last": b"1"}}, {"offset": b"1"})
    store.close()
    return sorted(folder.glob("*.sst"))


def test_a_table_cut_short_is_corruption(tmp_path: Path) -> None:
    """A file that lost its end is told when the folder is opened or read, never passed over."""
    for table in filled(tmp_path):
        os.truncate(table, table.stat().st_size // 2)
    with pytest.raises(StateCorruptedError, match="set the folder aside"):
        rows(RocksStore(tmp_path, ["one"]), "one")


def test_a_flipped_table_is_corruption_not_a_short_scan(tmp_path: Path) -> None:
    """A damaged block ends a scan with an error instead of ending it early."""
    table = max(filled(tmp_path), key=lambda path: path.stat().st_size)
    with table.open("r+b") as file:
        file.seek(table.stat().st_size // 2)
        file.write(os.urandom(64))
    store = RocksStore(tmp_path, ["one"])
    with pytest.raises(StateCorruptedError):
        rows(store, "one")
    store.close()


def test_a_damaged_manifest_is_corruption(tmp_path: Path) -> None:
    """The list of files is what it starts from."""
    filled(tmp_path)
    for manifest in tmp_path.glob("MANIFEST-*"):
        manifest.write_bytes(b"nonsense" * 100)
    with pytest.raises(StateCorruptedError):
        RocksStore(tmp_path, ["one"])


WRITER = """
import sys
from streamfn.state.rocksdb import RocksStore
store = RocksStore(sys.argv[1], ["one", "two"])
for number in range(1_000_000):
    value = b"%d" % number
    store.write({"one": {b"n": value, value: b""}, "two": {b"n": value}}, {"offset": value})
    if number == 200:
        print("ready", flush=True)
"""


def test_a_killed_writer_leaves_whole_batches(tmp_path: Path) -> None:
    """After kill -9 both stores and the offset are at the same batch, and none is lost."""
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        writer.send_signal(signal.SIGKILL)
    store = RocksStore(tmp_path, ["one", "two"])
    last = int(store.meta()["offset"])
    assert last >= 200
    assert store.get("one", b"n") == store.get("two", b"n") == b"%d" % last
    assert len(rows(store, "one")) == last + 2
    store.close()
