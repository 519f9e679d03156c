"""The state folder: names, locks against real processes, copies, and what may be deleted."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from streamfn.clock import CountingRandom, ManualClock
from streamfn.errors import StateError, StateLockedError
from streamfn.state import directory as directory_module
from streamfn.state.directory import StateDirectory
from streamfn.state.folders import TaskFolder, network_file_system
from streamfn.state.rocksdb import RocksStore
from streamfn.state.slots import WorkerSlot

ROOT = Path(__file__).parents[2]
Claim: TypeAlias = Callable[[StateDirectory], WorkerSlot]

OTHER = """
import sys
from streamfn.clock import SystemClock, SystemRandom
from streamfn.state.directory import StateDirectory
there = StateDirectory(sys.argv[1], "flights", clock=SystemClock(), random=SystemRandom())
slot = there.claim_worker_slot() if "slot" in sys.argv[3:] else None
task = there.lock_task(sys.argv[2])
print("ready", flush=True)
sys.stdin.read()
"""


def directory(root: Path, *, seed: int = 0, now_ms: int = 1_000) -> StateDirectory:
    """The state folder of one application, on a clock that stands still."""
    return StateDirectory(root, "flights", clock=ManualClock(now_ms), random=CountingRandom(seed))


@pytest.fixture
def claim() -> Iterator[Claim]:
    """Claims slots, and gives them back after the test."""
    slots: list[WorkerSlot] = []

    def take(there: StateDirectory) -> WorkerSlot:
        slots.append(there.claim_worker_slot())
        return slots[-1]

    yield take
    for slot in slots:
        slot.close()


@contextmanager
def other_process(
    root: Path, task: str, *flags: str
) -> Generator[subprocess.Popen[bytes], None, None]:
    """A second process that has a task, until it is killed."""
    command = [sys.executable, "-c", OTHER, str(root), task, *flags]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


# names and places


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "../b", "a b", "ä", "x" * 201, "a\n", "a.corrupt-1", "a.wiped-0f"],
)
def test_a_name_that_could_lead_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    """Applications and tasks have strict names, and none that we give to remains."""
    with pytest.raises(StateError, match="use 1 to 200 of"):
        StateDirectory(tmp_path, name, clock=ManualClock(), random=CountingRandom())
    with pytest.raises(StateError, match="use 1 to 200 of"):
        directory(tmp_path).lock_task(name)
    with pytest.raises(StateError, match="use 1 to 200 of"):
        directory(tmp_path).fresh(name)
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "flights"])


def test_looking_creates_nothing(tmp_path: Path) -> None:
    """A tool that asks about an application that never ran leaves no trace."""
    there = directory(tmp_path / "state")
    assert (there.list_tasks(), there.unowned([]), there.wipe_all()) == ([], [], [])
    assert there.remove_unowned(0) == []
    assert list(tmp_path.iterdir()) == []


def test_only_this_user_can_read_it(tmp_path: Path, claim: Claim) -> None:
    """Folders have mode 0700, files 0600, whatever the umask."""
    there = directory(tmp_path / "state")
    before = os.umask(0)
    try:
        slot, task = claim(there), there.lock_task("count_0")
        task.begin_restore()
        slot.close()
    finally:
        os.umask(before)
    for path in [tmp_path / "state", *(tmp_path / "state").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_root_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """So is a link in place of the application's folder, a task's folder or a lock."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(StateError, match="symbolic link"):
        directory(tmp_path / "link")
    (tmp_path / "flights").symlink_to(tmp_path / "real")
    with pytest.raises(StateError, match="symbolic link"):
        directory(tmp_path).lock_task("count_0")
    assert list((tmp_path / "real").iterdir()) == []


@pytest.mark.parametrize("place", ["tasks/count_0", "locks/count_0.lock", "locks"])
def test_links_inside_are_refused(tmp_path: Path, place: str) -> None:
    """What a link points to is not touched."""
    target = tmp_path / "elsewhere"
    target.mkdir()
    (target / "kept").write_text("kept")
    there = directory(tmp_path / "state")
    there.lock_task("other_0").close()
    link = there.path / place
    if link.is_dir():
        shutil.rmtree(link)
    link.symlink_to(target)
    with pytest.raises(StateError, match="symbolic link"):
        there.lock_task("count_0")
    assert [path.name for path in target.iterdir()] == ["kept"]


def test_a_root_below_a_file_says_path_and_cure(tmp_path: Path, claim: Claim) -> None:
    """One line, no traceback to read."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"file/state.*name another folder") as caught:
        directory(tmp_path / "file" / "state").lock_task("count_0")
    assert "\n" not in str(caught.value)
    (tmp_path / "flights").write_text("")
    with pytest.raises(StateError, match="a file stands where a folder should be"):
        claim(directory(tmp_path))


WITHOUT_RIGHTS = """
import os
import sys
from streamfn.clock import SystemClock, SystemRandom
from streamfn.errors import StateError
from streamfn.state.directory import StateDirectory
if os.geteuid() == 0:  # root may write everywhere: be somebody else
    os.seteuid(65534)
for act in ("claim_worker_slot", "list_tasks", "wipe_all"):
    try:
        there = StateDirectory(sys.argv[1], "flights", clock=SystemClock(), random=SystemRandom())
        getattr(there, act)()
    except StateError as error:
        print(error)
"""


def test_no_rights_say_path_and_cure(tmp_path: Path) -> None:
    """A folder that is not ours to write names the cure."""
    (tmp_path / "state").mkdir(mode=0)
    command = [sys.executable, "-c", WITHOUT_RIGHTS, str(tmp_path / "state")]
    told = subprocess.run(command, capture_output=True, cwd=ROOT, check=True, text=True).stdout
    assert told.count("/state") == told.count("give this user the right to write there, or") == 3


def test_network_file_systems_are_found_by_the_deepest_mount(tmp_path: Path) -> None:
    """A local disk below a network mount is local, a later mount hides an earlier one."""
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "disk / ext4 rw 0 0\nserver:/home /home nfs4 rw 0 0\ndisk2 /home/local xfs rw 0 0\n"
        "server:/a /mnt/my\\040share cifs rw 0 0\nserver:/b /srv nfs rw 0 0\n"
        "disk3 /srv ext4 rw 0 0\n"
    )
    places = ["/var/x", "/home/me/state", "/home/local/x", "/homely", "/mnt/my share/x", "/srv/x"]
    found = [network_file_system(Path(place), mounts) for place in places]
    assert found == [None, "nfs4", None, None, "cifs", None]
    assert network_file_system(Path("/x"), tmp_path / "missing") is None


def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks do not hold there."""

    def network(_path: Path) -> str:
        return "nfs4"

    monkeypatch.setattr(directory_module, "network_file_system", network)
    with pytest.raises(StateError, match="'nfs4', where locks do not hold"):
        directory(tmp_path)


# locks


def test_a_task_of_another_process_names_it(tmp_path: Path) -> None:
    """The error tells pid and command; other tasks are free, and so is this one after kill -9."""
    there = directory(tmp_path)
    with other_process(tmp_path, "count_0") as process:
        with pytest.raises(
            StateLockedError, match=rf"'count_0' .*process {process.pid} on .*python"
        ):
            there.lock_task("count_0")
        there.lock_task("count_1").close()
        process.send_signal(signal.SIGKILL)
        process.wait(120)
        there.lock_task("count_0").close()


def test_a_task_is_ours_once(tmp_path: Path) -> None:
    """Not even the same process gets it twice, until it is closed."""
    there = directory(tmp_path)
    task = there.lock_task("count_0")
    with pytest.raises(StateLockedError, match=f"process {os.getpid()}"):
        directory(tmp_path).lock_task("count_0")
    task.close()
    task.close()
    again = there.lock_task("count_0")
    assert again.path == tmp_path / "flights" / "tasks" / "count_0"
    assert (there.path / "locks" / "count_0.lock").exists()


def test_a_zombies_task_gets_a_private_folder(tmp_path: Path) -> None:
    """It is empty, of its own, and gone when closed."""
    there = directory(tmp_path)
    with other_process(tmp_path, "count_0"):
        first, second = there.fresh("count_0"), there.fresh("count_0")
        assert first.private
        assert first.path != second.path
        assert first.path.name.startswith("count_0.private-")
        assert there.list_tasks() == ["count_0"]
        RocksStore(first.store_path, ["counts"]).close()
        first.close()
        assert not first.path.exists()
        assert second.path.exists()


def test_slots_are_the_lowest_free_numbers(tmp_path: Path, claim: Claim) -> None:
    """Processes share them; a closed or dead one's number is free again."""
    there = directory(tmp_path)
    with other_process(tmp_path, "count_0", "slot"):
        first, second = claim(there), claim(there)
        assert (first.number, second.number) == (1, 2)
        first.close()
        assert claim(there).number == 1
    assert claim(there).number == 0


# identity


def identity(slot: WorkerSlot) -> str:
    """The uuid in a transactional id."""
    application, uuid, number = slot.transactional_id.rsplit("-", 2)
    assert (application, number) == ("flights", str(slot.number))
    return uuid


def test_a_transactional_id_outlives_the_process(tmp_path: Path, claim: Claim) -> None:
    """All slots of a folder share its uuid, in every process."""
    one = claim(directory(tmp_path, seed=1))
    two = claim(directory(tmp_path, seed=2))
    assert (one.number, two.number) == (0, 1)
    assert identity(one) == identity(two)


def test_a_copied_folder_is_another(tmp_path: Path, claim: Claim) -> None:
    """Two folders with one uuid would fence each other for ever; a moved one stays itself."""
    original = identity(claim(directory(tmp_path / "a", seed=1)))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    copy = identity(claim(directory(tmp_path / "b", seed=2)))
    assert copy != original
    assert identity(claim(directory(tmp_path / "b", seed=3))) == copy
    (tmp_path / "a").rename(tmp_path / "c")
    assert identity(claim(directory(tmp_path / "c", seed=4))) == original


def test_a_folder_on_another_machine_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, claim: Claim
) -> None:
    """The machine's id decides; without one, its name."""
    monkeypatch.setattr(directory_module, "MACHINE_ID", tmp_path / "machine")
    nameless = identity(claim(directory(tmp_path, seed=1)))
    assert identity(claim(directory(tmp_path, seed=2))) == nameless
    (tmp_path / "machine").write_text("0123456789abcdef\n")
    assert identity(claim(directory(tmp_path, seed=3))) != nameless


@pytest.mark.parametrize("text", ["", "{", '{"uuid": "../x", "machine": "m", "inode": 1}'])
def test_a_damaged_identity_is_made_anew(tmp_path: Path, text: str, claim: Claim) -> None:
    """It costs a new uuid and nothing else."""
    there = directory(tmp_path, seed=1)
    claim(there).close()
    (there.path / "identity.json").write_text(text)
    assert identity(claim(directory(tmp_path, seed=8))) == f"{9:016x}"


# reset


def fill(task: TaskFolder) -> None:
    """Put a database into a task's folder."""
    store = RocksStore(task.store_path, ["counts"])
    store.write({"counts": {b"a": b"1"}}, {"offset": b"1"})
    store.close()


def test_a_reset_wipes_all_tasks_and_no_log(tmp_path: Path, claim: Claim) -> None:
    """What was set aside and private folders go too; the log and the identity stay."""
    there = directory(tmp_path)
    claim(there).close()
    task = there.lock_task("count_0")
    fill(task)
    task.set_aside("x")
    task.close()
    (there.path / "log").mkdir()
    (there.path / "log" / "CURRENT").write_text("log")
    assert there.wipe_all() == ["count_0", "count_0.corrupt-1000"]
    assert there.list_tasks() == []
    assert list((there.path / "tasks").iterdir()) == []
    assert (there.path / "log" / "CURRENT").read_text() == "log"
    assert (there.path / "identity.json").exists()


@pytest.mark.parametrize("flags", [(), ("slot",)])
def test_a_reset_under_a_running_worker_is_refused(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """Nothing is deleted, and the process is named."""
    there = directory(tmp_path)
    there.lock_task("a_0").close()
    with other_process(tmp_path, "count_0", *flags) as process:
        with pytest.raises(StateLockedError, match=f"process {process.pid}"):
            there.wipe_all()
        assert there.list_tasks() == ["a_0", "count_0"]
    assert there.wipe_all() == ["a_0", "count_0"]
