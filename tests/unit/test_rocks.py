"""Rocks and Memory against a plain dict, and what Rocks does with damage, locks and full disks."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamfn.errors import InternalError, StateCorruptedError, StateError, StateLockedError
from streamfn.rocks import Database, Memory, Rocks, database_error

Open = Callable[[], Database]


@pytest.fixture(params=["memory", "rocks"])
def reopenable(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Open the same database again and again."""
    if request.param == "rocks":
        return lambda: Rocks(tmp_path / "db", ["a", "b"])
    memory = Memory()
    disk = memory.disk
    return lambda: Memory(["a", "b"], disk)


@pytest.fixture
def database(reopenable: Open) -> Iterator[Database]:
    """Open an empty database with the spaces a and b."""
    database = reopenable()
    yield database
    database.close()


def rows(database: Database, space: str = "a", *, reverse: bool = False) -> list[bytes]:
    """Read the keys of a whole space."""
    return [key for key, _ in database.scan(space, b"", None, reverse=reverse)]


KEYS = st.binary(max_size=3)
SPACES = st.sampled_from("ab")
CHANGES = st.dictionaries(SPACES, st.dictionaries(KEYS, st.none() | st.binary(max_size=4)))
RANGES = st.lists(
    st.tuples(SPACES, KEYS, KEYS).map(lambda r: (r[0], min(r[1], r[2]), max(r[1], r[2]))),
    max_size=2,
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["write", "load", "reopen"]), CHANGES, RANGES), max_size=8
)


def applied(
    model: dict[tuple[str, bytes], bytes],
    changes: dict[str, dict[bytes, bytes | None]],
    ranges: list[tuple[str, bytes, bytes]],
) -> None:
    """Write to the model as ``Database.write`` promises."""
    for space, start, end in ranges:
        for held in [held for held in model if held[0] == space and start <= held[1] < end]:
            del model[held]
    for space, entries in changes.items():
        for key, value in entries.items():
            model.pop((space, key), None)
            if value is not None:
                model[space, key] = value


@given(steps=STEPS, bounds=st.tuples(KEYS, st.none() | KEYS))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_both_agree_with_a_dict(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, dict[str, dict[bytes, bytes | None]], list[tuple[str, bytes, bytes]]]],
    bounds: tuple[bytes, bytes | None],
) -> None:
    """Writes, loads and reopening leave what a dict would hold; every way of reading shows it."""
    path = tmp_path_factory.mktemp("rocks")
    memory = Memory(["a", "b"])
    databases: list[Database] = [Rocks(path, ["a", "b"]), memory]
    model: dict[tuple[str, bytes], bytes] = {}
    for step, changes, ranges in steps:
        if step == "write":
            for database in databases:
                database.write(changes, ranges)
            applied(model, changes, ranges)
        elif step == "load":
            for space, entries in changes.items():
                ordered = sorted((key, value) for key, value in entries.items() if value)
                assert [database.load(space, ordered) for database in databases] == [
                    len(ordered)
                ] * 2
                applied(model, {space: dict(ordered)}, [])
        else:
            for database in databases:
                database.close()
            databases = [Rocks(path), Memory(disk=memory.disk)]
    start, end = bounds
    for space in "ab":
        whole = sorted((key, value) for (held, key), value in model.items() if held == space)
        within = [row for row in whole if start <= row[0] and (end is None or row[0] < end)]
        for database in databases:
            assert list(database.scan(space, start, end)) == within
            assert list(database.scan(space, start, end, reverse=True)) == within[::-1]
            for key, value in whole:
                assert database.get(space, key) == value
            at_most = [row for row in whole if start <= row[0] <= (end or b"\xff" * 4)]
            found = database.last(space, start, end or b"\xff" * 4)
            assert found == (at_most[-1] if at_most else None)
            assert database.get(space, b"none at all") is None
    for database in databases:
        database.close()


def test_a_scan_shows_what_was_there_when_it_was_made(database: Database) -> None:
    """Entries written, changed or deleted while a scan is read are not seen by it."""
    database.write({"a": {b"1": b"x", b"3": b"x"}})
    scan = database.scan("a", b"", None)
    assert next(scan) == (b"1", b"x")
    database.write({"a": {b"2": b"new", b"3": None, b"4": b"new"}})
    assert list(scan) == [(b"3", b"x")]
    assert rows(database) == [b"1", b"2", b"4"]


def test_a_scan_keeps_its_bounds(database: Database) -> None:
    """A scan ends where it was told, although the memory of its arguments is free for others.

    rocksdict's iterator only points to its bounds: 3 of 4 scans ended early before they were kept.
    """
    prefix = b"\0\0\0\1\0\0\0\0"
    database.write({"a": {prefix + b"%08d" % row: b"x" for row in range(600)}})
    for stop in (5, 100, 255, 256, 599):
        for reverse in (False, True):
            scan = database.scan(
                "a", prefix + b"%08d" % 3, prefix + b"%08d" % stop, reverse=reverse
            )
            noise = [bytes([size]) * size for size in range(8, 80) for _ in range(500)]
            assert len(list(scan)) == stop - 3
            del noise


def test_a_scan_of_a_closed_database_raises(reopenable: Open) -> None:
    """A scan that is cut short by ``close`` does not look like a complete one."""
    database = reopenable()
    database.write({"a": {b"1": b"x", b"2": b"x"}})
    begun, untouched = database.scan("a", b"", None), database.scan("a", b"", None)
    next(begun)
    database.close()
    with pytest.raises(StateError, match="is closed"):
        list(begun)
    with pytest.raises(StateError, match="is closed"):
        list(untouched)


def test_closing_frees_the_folder_although_a_scan_lives(reopenable: Open) -> None:
    """The LOCK is free after ``close``, so that the same process can open again."""
    database = reopenable()
    database.write({"a": {b"1": b"x"}})
    scan = database.scan("a", b"", None)
    database.close()
    database.close()
    again = reopenable()
    assert again.get("a", b"1") == b"x"
    again.close()
    del scan


def test_every_call_after_close_raises(reopenable: Open) -> None:
    """A closed database says so."""
    database = reopenable()
    database.close()
    for call in (
        lambda: database.get("a", b""),
        lambda: database.scan("a", b"", None),
        lambda: database.last("a", b"", b"1"),
        lambda: database.write({"a": {b"1": b"x"}}),
        lambda: database.load("a", []),
        lambda: database.create_space("c"),
        lambda: database.drop_space("a"),
    ):
        with pytest.raises(StateError, match="is closed"):
            call()


def test_spaces_come_and_go(reopenable: Open) -> None:
    """A created space is there after reopening; a dropped one is empty when created again."""
    database = reopenable()
    database.create_space("c")
    database.create_space("c")
    database.write({"c": {b"1": b"x"}, "b": {b"1": b"x"}})
    database.close()
    database = reopenable()
    assert database.spaces() == ["a", "b", "c"]
    assert rows(database, "c") == [b"1"]
    database.drop_space("c")
    assert database.spaces() == ["a", "b"]
    database.create_space("c")
    assert rows(database, "c") == []
    assert rows(database, "b") == [b"1"]
    database.close()


def test_an_unknown_space_is_our_bug(database: Database) -> None:
    """A write with an unknown space changes nothing."""
    for call in (
        lambda: database.get("x", b""),
        lambda: database.scan("x", b"", None),
        lambda: database.last("x", b"", b"1"),
        lambda: database.write({"a": {b"1": b"x"}, "x": {b"1": b"x"}}),
        lambda: database.write({"a": {b"1": b"x"}}, [("x", b"", b"1")]),
        lambda: database.load("x", []),
        lambda: database.drop_space("x"),
    ):
        with pytest.raises(InternalError, match="'x' does not exist"):
            call()
    assert rows(database) == []


def test_loading_keys_that_do_not_ascend_is_refused(database: Database) -> None:
    """Nothing of an unsorted load stays."""
    with pytest.raises(StateError, match="ascend"):
        database.load("a", [(b"2", b"x"), (b"1", b"x")])
    assert rows(database) == []


def test_the_size_grows_with_the_data(database: Database) -> None:
    """The size is at least that of random data."""
    before = database.size_bytes()
    database.write({"a": {b"1": os.urandom(100_000)}}, sync=True)
    assert database.size_bytes() >= before + 100_000


def filled(path: Path) -> int:
    """Write two thousand keys, have them in a table file, and return their number."""
    database = Rocks(path, ["a"])
    database.load("a", [(b"%08d" % row, os.urandom(200)) for row in range(2000)])
    database.close()
    return 2000


@pytest.mark.parametrize("place", [0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_flipped_table_file_never_loses_keys_silently(
    tmp_path: Path, place: float, reverse: bool
) -> None:
    """A scan of damaged data raises; it never ends early as if all had been read."""
    filled(tmp_path)
    table = next(tmp_path.glob("*.sst"))
    data = bytearray(table.read_bytes())
    at = int(len(data) * place)
    data[at : at + 64] = bytes(byte ^ 0xFF for byte in data[at : at + 64])
    table.write_bytes(data)
    with pytest.raises(StateCorruptedError, match="damaged"):
        _read_all(tmp_path, reverse)


def test_a_flipped_table_file_is_told_by_get_and_last(tmp_path: Path) -> None:
    """Point reads of damaged data raise."""
    filled(tmp_path)
    table = next(tmp_path.glob("*.sst"))
    data = bytearray(table.read_bytes())
    data[200_000:250_000] = bytes(50_000)
    table.write_bytes(data)
    database = Rocks(tmp_path)
    with pytest.raises(StateCorruptedError):
        database.get("a", b"%08d" % 1000)
    with pytest.raises(StateCorruptedError):
        database.last("a", b"", b"%08d" % 1000)
    database.close()


def _read_all(path: Path, reverse: bool) -> None:
    database = Rocks(path)
    try:
        assert len(rows(database, reverse=reverse)) == 2000
    finally:
        database.close()


@pytest.mark.parametrize("left", [0.0, 0.5, 0.99])
def test_a_cut_table_file_is_told(tmp_path: Path, left: float) -> None:
    """A table file that lost its tail cannot be opened or read."""
    filled(tmp_path)
    table = next(tmp_path.glob("*.sst"))
    os.truncate(table, int(table.stat().st_size * left))
    with pytest.raises(StateCorruptedError):
        _read_all(tmp_path, False)


def test_a_cut_write_ahead_log_leaves_whole_batches(tmp_path: Path) -> None:
    """After a torn tail both spaces hold the same prefix."""
    database = Rocks(tmp_path / "db", ["a", "b"])
    for row in range(200):
        database.write({"a": {b"%04d" % row: b"x" * 50}, "b": {b"%04d" % row: b"y" * 50}})
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(tmp_path / "db"), str(copy)], check=True)
    database.close()
    log = max(copy.glob("*.log"))
    os.truncate(log, log.stat().st_size * 2 // 3)
    database = Rocks(copy)
    kept = rows(database, "a")
    assert 50 < len(kept) < 200
    assert kept == rows(database, "b") == [b"%04d" % row for row in range(len(kept))]
    database.close()


def test_a_second_opener_is_told(tmp_path: Path) -> None:
    """The folder of an open database is locked, here and for other processes."""
    database = Rocks(tmp_path / "db", ["a"])
    with pytest.raises(StateLockedError, match="open elsewhere"):
        Rocks(tmp_path / "db")
    script = f"from streamfn.rocks import Rocks; Rocks({str(tmp_path / 'db')!r})"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "StateLockedError" in ended.stderr
    database.close()


def test_a_reader_sees_what_is_on_disk_and_cannot_write(tmp_path: Path) -> None:
    """``read_only`` opens beside an owner, write-ahead log included."""
    owner = Rocks(tmp_path / "db", ["a"])
    owner.write({"a": {b"1": b"x"}})
    reader = Rocks(tmp_path / "db", read_only=True)
    assert rows(reader) == [b"1"]
    with pytest.raises(StateError):
        reader.write({"a": {b"2": b"x"}})
    reader.close()
    owner.close()


def test_opening_what_is_not_there(tmp_path: Path) -> None:
    """Without ``create`` a missing folder is an error and stays missing."""
    with pytest.raises(StateError, match="cannot be used"):
        Rocks(tmp_path / "none", ["a"], create=False)
    assert not (tmp_path / "none" / "CURRENT").exists()
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="cannot be used"):
        Rocks(tmp_path / "file" / "db", ["a"])


def test_the_folder_is_private_and_its_logs_bounded(tmp_path: Path) -> None:
    """Others cannot read the data; RocksDB's own log files do not pile up."""
    for _ in range(5):
        Rocks(tmp_path / "db", ["a"]).close()
    assert (tmp_path / "db").stat().st_mode & 0o777 == 0o700
    assert len(list((tmp_path / "db").glob("LOG*"))) <= 2


def test_what_errors_mean() -> None:
    """A plain exception is named by its text; other errors stay as they are."""
    full = database_error(Exception("IO error: No space left on device: While appending"), "db")
    assert isinstance(full, StateError)
    assert "disk full" in str(full)
    denied = database_error(PermissionError(13, "Permission denied", "db"), "db")
    assert isinstance(denied, StateError)
    assert "no permission" in str(denied)
    bug = TypeError("no bytes")
    assert database_error(bug, "db") is bug


def test_a_failing_write_raises_and_leaves_whole_batches(tmp_path: Path) -> None:
    """A limit on file sizes stands for a full disk: what was acknowledged is there afterwards."""
    script = f"""
import resource, signal
from streamfn.errors import StateError
from streamfn.rocks import Rocks
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
database = Rocks({str(tmp_path / "db")!r}, ["a", "b"])
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
row = 0
try:
    while True:
        database.write({{"a": {{b"%06d" % row: b"x" * 500}}, "b": {{b"%06d" % row: b"y" * 500}}}})
        row += 1
except StateError as error:
    print(row, error)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    row, text = ended.stdout.split(" ", 1)
    assert "cannot be" in text
    database = Rocks(tmp_path / "db")
    kept = rows(database, "a")
    assert kept == rows(database, "b")
    assert int(row) <= len(kept) <= int(row) + 1
    database.close()
