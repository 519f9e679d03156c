"""``Levels`` against two dicts: what is committed, and what is there now."""

from itertools import islice
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamfn.database import Space
from streamfn.errors import SerdeError, StateTypeError
from streamfn.serde import is_immutable, state_serde
from streamfn.state.levels import MISSING, Levels, Undo
from streamfn.state.memory import MemoryStore

KEYS = st.sampled_from([b"", b"a", b"a\x00", b"ab", b"b", b"\xff"])
BOUNDS = KEYS | st.sampled_from([b"aa", b"c"])


def open_levels(
    type_: Any, store: MemoryStore, undo: Undo, *, indexed: bool = True, exact: type | None = None
) -> Levels:
    """Open the levels as a task does."""
    serde = state_serde(type_)
    return Levels(
        "s", store, serde.encode, serde.decode, mutable=not is_immutable(type_), undo=undo,
        indexed=indexed, exact=exact,
    )  # fmt: skip


class Machine(RuleBasedStateMachine):
    """Everything that a task, a commit and a restart do to a store."""

    held: ClassVar[Any] = int
    values: ClassVar[st.SearchStrategy[Any]] = st.integers(-9, 9)
    indexed = True
    exact: ClassVar[type | None] = int

    @initialize()
    def open(self) -> None:
        """Begin with an empty disk."""
        self.disk: dict[str, Space] = {}
        self.committed: dict[bytes, Any] = {}
        self.written: dict[bytes, Any] = {}
        self.now: dict[bytes, Any] = {}
        self.before_record: dict[bytes, Any] = {}
        self.load()

    def load(self) -> None:
        """Open the store anew: nothing is in memory."""
        self.undo: Undo = []
        self.store = MemoryStore(["s"], disk=self.disk)
        self.levels = open_levels(
            self.held, self.store, self.undo, indexed=self.indexed, exact=self.exact
        )

    def copied(self, value: Any) -> Any:
        """A value of the model's own."""
        serde = state_serde(self.held)
        return serde.decode(serde.encode(value))

    # a record
    @rule(key=KEYS, value=st.data())
    def put(self, key: bytes, value: st.DataObject) -> None:
        """Set a key, and change the object that was given."""
        given = value.draw(self.values)
        self.now[key] = self.copied(given)
        self.levels.put(key, given)
        spoil(given)

    @rule(key=KEYS)
    def delete(self, key: bytes) -> None:
        """Remove a key, there or not."""
        self.now.pop(key, None)
        self.levels.delete(key)

    @precondition(lambda self: not self.indexed)
    @rule(key=KEYS, value=st.data())
    def settle(self, key: bytes, value: st.DataObject) -> None:
        """Write as a generated chain does, when the record has succeeded."""
        self.end_record()
        given = value.draw(self.values)
        entry = self.levels.encode(given) if self.levels.mutable else given
        if key not in self.levels.cache:
            self.levels.load(key)
        self.levels.cache[key] = self.levels.dirty[key] = entry
        self.now[key] = self.copied(given)
        self.before_record = dict(self.now)

    @rule()
    def end_record(self) -> None:
        """The record has succeeded."""
        self.undo.clear()
        self.before_record = dict(self.now)

    @rule()
    def undo_record(self) -> None:
        """The record has failed."""
        for levels, key, old in reversed(self.undo):
            levels.restore(key, old)
        self.undo.clear()
        self.now = dict(self.before_record)

    @rule(key=KEYS)
    def get(self, key: bytes) -> None:
        """Read a key, and change what is read."""
        found = self.levels.get(key)
        assert found == self.now.get(key, MISSING)
        spoil(found)

    # a commit
    @rule()
    def commit(self) -> None:
        """Each changed key once; what the changelog says is the difference."""
        self.end_record()
        keys, values = self.levels.changelog()
        assert len(set(keys)) == len(keys)
        folded = {**self.committed}
        for key, raw in zip(keys, values, strict=True):
            assert key is not None
            folded.pop(key, None)
            if raw is not None:
                folded[key] = self.levels.decode(raw)
        assert folded == self.now
        self.levels.committed()
        assert self.levels.changelog() == ([], [])
        self.committed = dict(self.now)

    @rule()
    def write(self) -> None:
        """What is committed goes into the database, whatever is not stays out."""
        self.store.write({"s": self.levels.to_write()}, {})
        self.levels.written()
        self.written = dict(self.committed)
        held = {key: self.levels.decode(raw) for key, raw in self.store.scan("s", b"", None)}
        assert held == self.written

    @rule()
    def rewind(self) -> None:
        """Back to what is committed."""
        self.undo.clear()
        self.levels.rewind()
        self.now = dict(self.committed)
        self.before_record = dict(self.now)

    @rule(entries_max=st.integers(0, 5))
    def shrink(self, entries_max: int) -> None:
        """Nothing is lost by forgetting, and nothing uncommitted is forgotten."""
        self.levels.shrink(entries_max)
        assert self.levels.dirty or len(self.levels.cache) <= entries_max

    @rule()
    def reopen(self) -> None:
        """The process dies; what was not written is replayed from the changelog."""
        self.store.close()
        self.load()
        replayed = self.committed.items()
        raws = {key: self.levels.encode(value) for key, value in replayed}
        gone = dict.fromkeys(self.written.keys() - raws.keys())
        self.store.write({"s": {**gone, **raws}}, {})
        self.rewind()
        self.written = dict(self.committed)

    # scans
    @rule(start=BOUNDS, end=BOUNDS | st.none(), reverse=st.booleans())
    def scan(self, start: bytes, end: bytes | None, reverse: bool) -> None:
        """A range in either direction, even one that is upside down."""
        found = list(self.levels.scan(start, end, reverse=reverse))
        keys = sorted(k for k in self.now if k >= start and (end is None or k < end))
        assert found == [(k, self.now[k]) for k in (reversed(keys) if reverse else keys)]
        for _, value in found:
            spoil(value)

    @rule(reverse=st.booleans(), at=st.integers(1, 4))
    def delete_while_scanning(self, reverse: bool, at: int) -> None:
        """Deleting what was just seen, or all, neither breaks a scan nor makes it repeat."""
        seen: list[bytes] = []
        for key, _ in self.levels.scan(b"", None, reverse=reverse):
            seen.append(key)
            self.delete(key)
            if len(seen) == at:
                self.levels.put(b"b", next(iter(islice(self._some(), 1))))
                self.now[b"b"] = self.copied(next(iter(self._some())))
        assert len(set(seen)) == len(seen)
        assert seen == sorted(seen, reverse=reverse)

    def _some(self) -> list[Any]:
        return [{"x": [1]}] if self.levels.mutable else [3]

    @invariant()
    def clean_is_committed(self) -> None:
        """What is not dirty and in the cache is the committed state."""
        for key, entry in getattr(self, "levels", _NONE).cache.items():
            if key not in self.levels.dirty:
                value = self.levels.decode(entry) if isinstance(entry, bytes) else entry
                assert value == self.committed.get(key, MISSING)


class _Nothing:
    cache: ClassVar[dict[bytes, Any]] = {}


_NONE: Any = _Nothing()


def spoil(value: Any) -> None:
    """Change an object in place, if it can be."""
    if isinstance(value, dict):
        value["spoilt"] = [0]  # pyright: ignore[reportUnknownMemberType]  # any dict


class Numbers(Machine):
    """Immutable values of the exact type."""


class Optional(Machine):
    """None is a value, not an absence."""

    held = int | None
    values = st.none() | st.integers(0, 3)
    exact = None


class Direct(Optional):
    """Cache and dirty are also written directly."""

    indexed = False


class Mutable(Machine):
    """Values that are changed in place after they were read or written."""

    held = dict[str, list[int]]
    values = st.dictionaries(st.sampled_from("xy"), st.lists(st.integers(0, 2), max_size=2))
    exact = None


for machine in (Numbers, Optional, Direct, Mutable):
    name = f"Test{machine.__name__}"
    globals()[name] = machine.TestCase
    globals()[name].settings = settings(max_examples=40, stateful_step_count=30)


def test_none_is_not_missing() -> None:
    """None is stored, and written to the changelog as a value; a deletion is a tombstone."""
    levels = open_levels(int | None, MemoryStore(["s"]), [])
    levels.put(b"gone", 1)
    levels.changelog()
    levels.committed()
    levels.put(b"none", None)
    levels.delete(b"gone")
    assert levels.get(b"none") is None
    assert levels.get(b"gone") is MISSING
    assert list(levels.scan(b"", None)) == [(b"none", None)]
    assert levels.changelog() == ([b"none", b"gone"], [b"\xc0", None])


def test_what_came_and_went_between_commits_is_not_told() -> None:
    """Nobody knows of it: neither the changelog nor a later scan holds it, not even twice."""
    levels = open_levels(int, MemoryStore(["s"]), [])
    levels.put(b"kept", 1)
    assert [key for key, _ in levels.scan(b"", None)] == [b"kept"]
    levels.put(b"gone", 1)
    levels.delete(b"gone")
    assert levels.changelog() == ([b"kept"], [b"\x01"])
    levels.committed()
    levels.put(b"gone", 2)
    assert [key for key, _ in levels.scan(b"", None)] == [b"gone", b"kept"]
    levels.delete(b"gone")
    assert levels.changelog() == ([], [])


def put_and_log(levels: Levels, value: Any) -> None:
    """Set a key and make the changelog of it."""
    levels.put(b"k", value)
    levels.changelog()


def test_an_int_in_a_store_of_floats_is_a_float_at_once() -> None:
    """A restart must not be what changes it."""
    levels = open_levels(float, MemoryStore(["s"]), [], exact=float)
    levels.put(b"k", 1)
    assert type(levels.get(b"k")) is float


@pytest.mark.parametrize(
    ("type_", "exact", "value"),
    [
        (int, int, "text"),
        (int, int, True),
        (int, int, 1 << 70),
        (str, str, "\ud800"),
        (str, str, b"bytes"),
        (int | None, None, 1.5),
        (tuple[int, ...], None, ("a",)),
        (dict[str, int], None, {"a": "b"}),
        (dict[str, int], None, [1]),
    ],
)
def test_a_wrong_type_is_refused(type_: Any, exact: type | None, value: Any) -> None:
    """What could not be read back is not written: if not when it is put, at the changelog."""
    levels = open_levels(type_, MemoryStore(["s"]), [], exact=exact)
    with pytest.raises(SerdeError, match="store 's' got a value that does not fit its type"):
        put_and_log(levels, value)
    levels.rewind()
    assert levels.changelog() == ([], [])


def test_a_wrong_mutable_value_is_not_taken_for_an_old_type() -> None:
    """Read again before the commit, it is the fault of who wrote it, not of the store."""
    levels = open_levels(dict[str, int], MemoryStore(["s"]), [])
    levels.put(b"k", [1])
    with pytest.raises(SerdeError, match="does not fit its type"):
        levels.get(b"k")


def test_a_stored_value_of_another_type_is_the_stores_fault() -> None:
    """Bytes that the type cannot read name the store and the cure."""
    store = MemoryStore(["s"])
    store.write({"s": {b"k": state_serde(str).encode("text")}}, {})
    levels = open_levels(int, store, [])
    with pytest.raises(StateTypeError, match=r"store 's' .* streamfn reset --store s"):
        levels.get(b"k")
    with pytest.raises(StateTypeError):
        list(levels.scan(b"", None))
