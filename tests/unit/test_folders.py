"""A task's folder: what is wiped, set aside, removed for age, and what never is."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamfn.clock import CountingRandom, ManualClock
from streamfn.errors import StateError, StateLockedError
from streamfn.state import folders
from streamfn.state.directory import StateDirectory
from streamfn.state.folders import DRAFT, MARKER, TaskFolder
from streamfn.state.rocksdb import RocksStore


def directory(root: Path, *, seed: int = 0, now_ms: int = 1_000) -> StateDirectory:
    """The state folder of one application, on a clock that stands still."""
    return StateDirectory(root, "flights", clock=ManualClock(now_ms), random=CountingRandom(seed))


def fill(task: TaskFolder) -> None:
    """Put a database into a task's folder."""
    store = RocksStore(task.store_path, ["counts"])
    store.write({"counts": {b"a": b"1"}}, {"offset": b"1"})
    store.close()


def test_a_restore_that_did_not_end_is_seen(tmp_path: Path) -> None:
    """The mark outlives the process and goes with the end of the restore, or with a wipe."""
    there = directory(tmp_path)
    task = there.lock_task("count_0")
    assert not task.was_restoring
    task.begin_restore()
    task.close()
    task = there.lock_task("count_0")
    assert task.was_restoring
    task.end_restore()
    assert not task.was_restoring
    task.begin_restore()
    task.wipe()
    assert not task.was_restoring


def test_a_wiped_folder_is_empty_and_ours(tmp_path: Path) -> None:
    """Nothing of the old data is left, and the lock was held all the time."""
    task = directory(tmp_path).lock_task("count_0")
    fill(task)
    task.wipe()
    assert [path.name for path in task.path.iterdir()] == [MARKER]
    assert [path.name for path in task.path.parent.iterdir()] == ["count_0"]
    with pytest.raises(StateLockedError):
        directory(tmp_path).lock_task("count_0")


def test_a_folder_without_our_mark_is_never_wiped(tmp_path: Path) -> None:
    """Neither by the task, nor as unowned, nor by a reset, nor taken at all."""
    there = directory(tmp_path)
    task = there.lock_task("count_0")
    (task.path / MARKER).unlink()
    (task.path / "thesis.txt").write_text("years of work")
    for wipe in (task.wipe, lambda: task.set_aside("x")):
        with pytest.raises(StateError, match="was not made by streamfn"):
            wipe()
    task.close()
    there.lock_task("other_0").close()
    assert directory(tmp_path, now_ms=10**15).remove_unowned(0) == ["other_0"]
    there.lock_task("other_0").close()
    for refused in (there.wipe_all, lambda: there.lock_task("count_0")):
        with pytest.raises(StateError, match="was not made by streamfn"):
            refused()
    assert (task.path / "thesis.txt").read_text() == "years of work"
    assert there.list_tasks() == ["other_0"]


class Killed(BaseException):
    """Kill -9 at this place."""


def killed_before(call: Callable[..., Any], *, draft: bool = False) -> Callable[..., Any]:
    """A call before which the process dies; with ``draft`` only if it is about a draft."""

    def dies(*given: Any, **named: Any) -> Any:
        if not draft or str(given[0]).endswith(DRAFT):
            raise Killed
        return call(*given, **named)

    return dies


@pytest.mark.parametrize("then", ["taken", "wiped"])
@pytest.mark.parametrize(
    ("place", "name", "left"),
    [
        (os, "open", []),
        (os, "write", [DRAFT]),
        (os, "fsync", [DRAFT]),
        (Path, "replace", [DRAFT]),
        (folders, "sync_folder", [MARKER]),
    ],
)
def test_a_crash_while_a_folder_is_made_leaves_no_stranger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, left: list[str],
    then: str,
) -> None:  # fmt: skip
    """Wherever the process is killed, the folder can be taken and can be deleted."""
    there = directory(tmp_path)
    with monkeypatch.context() as crash:
        crash.setattr(place, name, killed_before(getattr(place, name), draft=name == "open"))
        with pytest.raises(Killed):
            there.lock_task("count_0")
    path = there.task_path("count_0")
    assert [entry.name for entry in path.iterdir()] == left
    there.check_removable()
    if then == "wiped":
        assert there.wipe_all() == ["count_0"]
        assert not path.exists()
        return
    task = there.lock_task("count_0")
    fill(task)
    task.wipe()
    assert [entry.name for entry in path.iterdir()] == [MARKER]


def test_a_draft_beside_a_strangers_file_is_not_ours(tmp_path: Path) -> None:
    """Only a folder with nothing but the draft is nobody's; a folder of that name is something."""
    there = directory(tmp_path)
    there.lock_task("other_0").close()
    for name, make in (("a_0", Path.touch), ("b_0", Path.mkdir)):
        path = there.task_path(name)
        path.mkdir()
        make(path / DRAFT)
        (path / "thesis.txt" if name == "a_0" else path / DRAFT / "thesis.txt").write_text("years")
        with pytest.raises(StateError, match="was not made by streamfn"):
            there.check_removable()
        with pytest.raises(StateError, match="was not made by streamfn"):
            there.lock_task(name)


def test_a_mark_that_is_a_link_is_none(tmp_path: Path) -> None:
    """Only a real file marks a folder."""
    task = directory(tmp_path).lock_task("count_0")
    (task.path / MARKER).rename(tmp_path / "mark")
    (task.path / MARKER).symlink_to(tmp_path / "mark")
    with pytest.raises(StateError, match="was not made by streamfn"):
        task.wipe()


def test_a_wipe_does_not_follow_links(tmp_path: Path) -> None:
    """A link in a task's folder goes, what it points to stays."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("kept")
    task = directory(tmp_path).lock_task("count_0")
    (task.path / "link").symlink_to(tmp_path / "kept")
    task.store_path.mkdir()
    (task.store_path / "link").symlink_to(tmp_path / "kept")
    task.wipe()
    assert (tmp_path / "kept" / "file").read_text() == "kept"


def test_a_half_deleted_rest_goes_when_the_task_is_taken_again(tmp_path: Path) -> None:
    """A crash during a wipe leaves a folder that is deleted later, marked or already empty."""
    there = directory(tmp_path)
    task = there.lock_task("count_0")
    fill(task)
    shutil.copytree(task.path, task.path.with_name("count_0.wiped-01"))
    task.path.with_name("count_0.wiped-02").mkdir()
    assert there.list_tasks() == ["count_0"]
    task.close()
    there.lock_task("count_0")
    assert [path.name for path in task.path.parent.iterdir()] == ["count_0"]


def test_damaged_data_is_set_aside_three_times_at_most(tmp_path: Path) -> None:
    """The newest three stay with their reasons; the task goes on with an empty folder."""
    clock = ManualClock(5_000)
    there = StateDirectory(tmp_path, "flights", clock=clock, random=CountingRandom())
    task = there.lock_task("count_0")
    for number in range(5):
        fill(task)
        aside = task.set_aside(f"checksum {number}")
        assert (aside / "store").is_dir()
        clock.advance_ms(1_000 if number % 2 else 0)
    names = [path.name for path in sorted(task.path.parent.iterdir())]
    assert names == ["count_0", *(f"count_0.corrupt-{ms}" for ms in (6_000, 6_001, 7_000))]
    assert (task.path.with_name(names[-1]) / "reason.txt").read_text() == "checksum 4\n"
    assert [path.name for path in task.path.iterdir()] == [MARKER]
    assert there.list_tasks() == ["count_0"]


def test_a_closed_task_folder_is_not_changed(tmp_path: Path) -> None:
    """Its lock is gone, so it may be another's."""
    task = directory(tmp_path).lock_task("count_0")
    task.close()
    for act in (task.wipe, task.begin_restore, task.end_restore, lambda: task.set_aside("x")):
        with pytest.raises(AssertionError, match="is closed"):
            act()


def test_unowned_folders_are_found_and_removed_after_a_delay(tmp_path: Path) -> None:
    """Locked ones, young ones and what was set aside stay."""
    there = directory(tmp_path)
    used, old, young = (there.lock_task(name) for name in ("used_0", "old_0", "young_0"))
    old.set_aside("x")
    (old.path.with_name("old_0.wiped-01")).mkdir()
    old.close()
    young.close()
    private = there.fresh("used_0")
    for path in (*old.path.rglob("*"), old.path, there.path / "locks" / "old_0.lock"):
        os.utime(path, (1_000, 1_000))
    assert there.unowned(["young_0"]) == ["old_0"]
    now_ms = int(young.path.stat().st_mtime * 1000) + 60_000
    assert directory(tmp_path, now_ms=now_ms).remove_unowned(3_600) == ["old_0"]
    assert there.list_tasks() == ["used_0", "young_0"]
    assert used.path.exists()
    assert private.path.exists()
    assert old.path.with_name("old_0.corrupt-1000").exists()


def test_a_store_that_was_written_to_lately_is_not_old(tmp_path: Path) -> None:
    """The newest file counts: a killed worker has not touched its lock for long."""
    there = directory(tmp_path)
    task = there.lock_task("count_0")
    fill(task)
    task.close()
    os.utime(task.path, (1_000, 1_000))
    os.utime(there.path / "locks" / "count_0.lock", (1_000, 1_000))
    now_ms = int(task.store_path.stat().st_mtime * 1000) + 60_000
    assert directory(tmp_path, now_ms=now_ms).remove_unowned(3_600) == []
