"""Restores: the tail, all, or nothing; what is trusted, what is wiped; in slices, with a bound."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import streamfn as sf
from streamfn.clock import CountingRandom
from streamfn.connectors.log import Committed
from streamfn.engine import marks
from streamfn.errors import StateCorruptedError, StopError
from streamfn.record import Columns, TopicPartition
from streamfn.state.directory import StateDirectory
from streamfn.state.home import FolderHomes
from tests.crash_world import World
from tests.faulty_log import Crash, Script
from tests.unit.restore_world import (
    CHANGELOG,
    TASK,
    all_records,
    behind,
    counting,
    level,
    meta,
    restored,
    written,
)

A0 = TopicPartition("in", 0)
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


# how much
def test_a_level_store_reads_nothing() -> None:
    """The token says that it holds exactly what is committed."""
    world = level()
    assert restored(world) == 0
    assert "read" not in world.log.calls
    assert world.homes.wiped == []


def test_a_store_behind_reads_its_tail() -> None:
    """From where its offset stands, and no more."""
    world = behind()
    assert restored(world) == 5
    assert world.homes.wiped == []


def test_a_store_that_is_gone_reads_all() -> None:
    """As on a machine where the task has never been."""
    world = behind()
    world.homes.disks.clear()
    assert restored(world) == all_records(world)


def test_offsets_alone_do_not_make_a_store_level() -> None:
    """A transaction of a timer moves no offset: the token tells, and the tail is read."""
    world = behind()
    meta(world)[b"token"] = b"another:1"
    assert restored(world) == 5


def test_ends_are_asked_after_the_stable_positions() -> None:
    """Else what a predecessor commits in between would be missed."""
    world = behind()
    worker = world.start()
    world.log.calls.clear()
    worker.step()
    calls = world.log.calls
    last_committed = len(calls) - 1 - calls[::-1].index("committed")
    assert "end_offsets" in calls[last_committed:]


def test_an_old_copy_of_the_folder_reads_from_there() -> None:
    """A folder put back from a backup is behind, not wrong."""
    world = level()
    old = world.homes.copies()
    world.settle()
    written(world, range(20, 40))
    world.close()
    world.homes.disks, world.homes.marks = old
    assert restored(world) == 10
    assert world.homes.wiped == []


# what is not trusted
def check_wiped(wreck: Callable[[World], None], world: World | None = None) -> World:
    """Damage a store that is behind; all of it must be read again."""
    world = world or behind()
    stray = world.homes.disks[TASK]["store:count-total"]
    stray.entries[b"stray"] = b"1"
    stray.keys.append(b"stray")
    wreck(world)
    worker = world.settle()
    assert len(world.homes.wiped) == 1
    assert world.in_tasks("count-total") == world.folded(CHANGELOG)
    assert worker.metrics.restored_records == all_records(world)
    return world


def test_a_store_of_another_log_is_wiped() -> None:
    """The cluster id differs, though names and offsets fit."""
    other = World(counting(), random=CountingRandom(1_000))
    other.settle()
    written(other, range(20), keys=3)
    other.crash()

    def take(world: World) -> None:
        world.log_disk = other.log_disk
        world.open_log()

    assert "another" in check_wiped(take).homes.wiped[0][1]


def test_a_changelog_made_anew_is_an_error() -> None:
    """The state would begin at nothing, without a word."""
    world = level()
    world.inner.delete_topic(CHANGELOG)
    with pytest.raises(StopError, match="deleted and made anew"):
        world.settle()


def test_a_store_of_a_changelog_that_was_reset_is_wiped() -> None:
    """``streamfn reset --store`` has the positions forget it; its offsets mean other records."""

    def reset(world: World) -> None:
        at = world.inner.committed([A0])[A0]
        mark = marks.without(marks.mark_of(at), "count-total")
        world.inner.open_producer()
        world.inner.begin()
        world.inner.send_offsets({A0: Committed(at.offset, marks.written(mark))})
        world.inner.commit()
        world.inner.delete_topic(CHANGELOG)

    assert "another" in check_wiped(reset).homes.wiped[0][1]


def test_a_restore_that_was_not_finished_is_begun_anew() -> None:
    """The mark outlives the process."""
    world = check_wiped(lambda world: world.homes.marks.add(TASK))
    assert "not finished" in world.homes.wiped[0][1]
    assert world.homes.marks == set()


def test_an_offset_beyond_the_end_is_wiped() -> None:
    """The changelog was cut, by whatever means."""
    key = b"changelog:count-total"
    check_wiped(lambda world: meta(world).update({key: b"1000"}))


def test_an_offset_below_the_begin_is_wiped() -> None:
    """What lies between is gone; what is left is all there is."""

    def trim(world: World) -> None:
        world.inner.delete_records(TopicPartition(CHANGELOG, 0), 12)

    check_wiped(trim)


def test_a_store_long_away_is_wiped() -> None:
    """The changelog may have dropped tombstones of keys that the store still has."""
    check_wiped(lambda world: world.clock.advance_ms(4 * DAY_MS))


def test_a_store_away_for_less_is_kept() -> None:
    """Half the time that tombstones are kept is the bound."""
    world = behind()
    world.clock.advance_ms(3 * DAY_MS)
    assert restored(world) == 5


def test_a_level_store_is_kept_however_long_it_was_away() -> None:
    """Nothing happened meanwhile."""
    world = level()
    world.clock.advance_ms(100 * DAY_MS)
    assert restored(world) == 0
    assert world.homes.wiped == []


def test_a_store_idle_for_long_is_kept() -> None:
    """Positions are committed each hour, which changes the token and nothing else."""
    world = level()
    world.settle()
    for _ in range(100):
        world.clock.advance_ms(HOUR_MS)
        world.settle()
    world.close()
    assert restored(world) == 0
    assert world.homes.wiped == []


# on the way
def test_other_tasks_run_between_the_slices() -> None:
    """A long restore of one holds up nobody else."""
    world = World(counting(partitions=2), restore_slice_records=3)
    world.settle()
    for number in range(30):
        world.write("in", (b"k%d" % number, b"1", 1), partition=0)
        world.settle()
    world.close()
    del world.homes.disks["in_0"]
    world.write("in", (b"other", b"777", 1), partition=1)
    worker = world.start()
    world.log.split = True
    seen_while_restoring = False
    for _ in range(100):
        worker.step()
        done = b"777" in world.values("out")
        seen_while_restoring |= done and "in_0" in worker.restores
    assert seen_while_restoring
    assert not worker.restores
    assert world.in_tasks("count-total") == world.folded(CHANGELOG)


def test_a_changelog_that_gives_nothing_stops_the_worker() -> None:
    """Past the bound; to go on with what there is would be silent loss."""
    world = behind()
    world.faults = Script(read="stall")
    with pytest.raises(StopError, match=f"{CHANGELOG}.*offset"):
        world.settle()
    assert 120 <= world.clock.monotonic_s() < 130


@pytest.mark.parametrize("fault", ["crash", "crashed"])
def test_a_crash_in_a_bulk_load_begins_it_anew(fault: str) -> None:
    """Half a load is never taken for a store."""
    world = behind()
    world.homes.disks.clear()
    world.faults = Script(store_load=fault)
    with pytest.raises(Crash):
        world.settle()
    world.crash()
    assert world.homes.marks == {TASK}
    assert restored(world) == all_records(world)
    assert world.homes.wiped[-1] == (TASK, "a restore was not finished")
    assert world.homes.marks == set()


@pytest.mark.parametrize("fault", ["- crash", "- crashed", "- - crash", "- - crashed"])
def test_a_crash_in_a_tail_goes_on_there(fault: str) -> None:
    """Each slice is written with its offset."""
    world = World(counting(), restore_slice_records=1)
    world.settle()
    written(world, range(20))
    world.close()
    world.settle()
    for number in range(20, 26):
        written(world, range(number, number + 1))
    world.crash()
    world.faults = Script(store_write=fault)
    world.start()
    world.log.split = True
    with pytest.raises(Crash):
        world.settle()
    world.crash()
    assert restored(world) < 6
    assert world.homes.wiped == []


def test_an_error_in_a_read_is_no_end() -> None:
    """What was read by then is not taken for all."""
    world = behind()
    world.homes.disks.clear()
    world.faults = Script(read="middle")
    try:
        world.settle()
    except sf.StreamfnError:
        world.crash()
    assert restored(world) >= 0


# on disk
def on_disk(path: Path) -> World:
    """Return a world whose homes are folders, with a store that is behind."""
    world = World(counting())
    directory = StateDirectory(path, "app", clock=world.clock, random=world.random)
    world.task_homes = FolderHomes(directory)
    world.settle()
    written(world, range(2_000), keys=500)
    world.close()
    return world


def damage(path: Path, pattern: str, found_max: int = 99) -> None:
    """Overwrite the middle of files."""
    files = [file for file in path.rglob(pattern) if file.is_file() and file.stat().st_size]
    assert files, f"no {pattern} in {sorted(path.rglob('*'))}"
    for file in files[:found_max]:
        data = bytearray(file.read_bytes())
        middle = len(data) // 2
        data[middle : middle + 64] = b"\xa5" * len(data[middle : middle + 64])
        file.write_bytes(data)


@pytest.mark.parametrize("pattern", ["MANIFEST*", "CURRENT"])
def test_a_database_that_does_not_open_is_set_aside_and_rebuilt(
    tmp_path: Path, pattern: str
) -> None:
    """Never read as fewer keys; the damaged files are kept for who wants to look."""
    world = on_disk(tmp_path)
    damage(tmp_path, pattern)
    worker = world.settle()
    assert worker.metrics.restored_records == all_records(world)
    assert world.in_tasks("count-total") == world.folded(CHANGELOG)
    assert [path for path in tmp_path.rglob("*") if "corrupt" in path.name]
    world.close()


def test_a_database_found_damaged_while_running_is_rebuilt_next_time() -> None:
    """The worker stops; the next one does not trip over the same block."""
    world = level()
    world.settle()
    world.faults = Script(store_get="corrupt")
    with pytest.raises(StateCorruptedError):
        written(world, range(20, 25))
    assert world.worker is not None
    world.worker.close(commit=False)
    world.crash()
    records = all_records(world)
    assert restored(world) == records
    assert len(world.homes.wiped) == 1


@pytest.mark.parametrize("store_interval_ms", [0, 60_000])
def test_a_task_that_was_taken_over_is_opened_anew(store_interval_ms: int) -> None:
    """A worker wakes up from a long sleep: its state is stale, whatever positions it finds.

    Were it only rewound, it would go on from another's position with its own old state, and write
    that under the other's token: level for whoever opens the folder next.
    """
    world = World(counting(), store_interval_ms=store_interval_ms)
    written(world, range(6), keys=1)
    world.settle()
    take_over(world, total=1_000)
    written(world, range(1, 2), keys=1)
    worker = world.settle()
    assert worker.metrics.rewinds == 1
    entries = {b"k0": msgspec.msgpack.encode(1_001)}
    expected = {0: entries}
    assert world.in_tasks("count-total") == world.folded(CHANGELOG) == expected
    world.run_again()
    assert world.in_tasks("count-total") == expected


def take_over(world: World, total: int) -> None:
    """Do as another worker that has gone on from the committed state."""
    world.inner.open_producer()
    at = world.inner.committed([A0])[A0]
    mark = msgspec.structs.replace(marks.mark_of(at), token="another:1")
    world.inner.begin()
    world.inner.emit(CHANGELOG, 0, Columns([b"k0"], [msgspec.msgpack.encode(total)], [1], {}))
    world.inner.flush()
    world.inner.send_offsets({A0: Committed(at.offset, marks.written(mark))})
    world.inner.commit()
    world.faults = Script(begin="fenced")
