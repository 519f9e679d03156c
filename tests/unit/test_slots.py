"""Worker slots: how crashes are counted, and which ends of a process are none."""

import faulthandler
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamfn.clock import SystemClock, SystemRandom
from streamfn.state.directory import StateDirectory
from streamfn.state.slots import WorkerSlot

ROOT = Path(__file__).parents[2]

WORKER = """
import faulthandler
import sys
from streamfn.clock import SystemClock, SystemRandom
from streamfn.state.directory import StateDirectory
there = StateDirectory(sys.argv[1], "flights", clock=SystemClock(), random=SystemRandom())
slot = there.claim_worker_slot()
faulthandler.enable(slot.crash_file())
if "note" in sys.argv:
    slot.note_position("count_0", "a-much-longer-name-of-a-topic", 1234567)
    slot.note_position("count_0", "flights", 42)
print("ready", flush=True)
if "hang" in sys.argv:
    faulthandler.dump_traceback_later(0.01, exit=True, file=slot.crash_file())
if "crash" in sys.argv:
    faulthandler._sigsegv()
if "end" not in sys.argv:
    sys.stdin.read()
slot.close()
"""


def run_worker(root: Path, *flags: str) -> None:
    """Let a process claim a slot and end in the way that the flags say."""
    command = [sys.executable, "-c", WORKER, str(root), *flags]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        if "kill" in flags:
            process.send_signal(signal.SIGKILL)
        process.wait(120)


def there(root: Path) -> StateDirectory:
    """The folder that ``run_worker`` uses."""
    return StateDirectory(root, "flights", clock=SystemClock(), random=SystemRandom())


@pytest.fixture
def slot(tmp_path: Path) -> Iterator[WorkerSlot]:
    """A claimed slot."""
    claimed = there(tmp_path).claim_worker_slot()
    yield claimed
    claimed.close()


def counted(root: Path) -> dict[tuple[str, str, int], int]:
    """What the next worker is told."""
    claimed = there(root).claim_worker_slot()
    try:
        return claimed.crashes()
    finally:
        claimed.close()


@pytest.mark.parametrize("way", ["crash", "hang"])
def test_a_crash_counts_for_the_last_position(tmp_path: Path, way: str) -> None:
    """A signal and the watchdog add one each time; the traceback is kept beside the slot."""
    for times in (1, 2):
        run_worker(tmp_path, "note", way)
        assert counted(tmp_path) == {("count_0", "flights", 42): times}
    report = tmp_path / "flights" / "workers" / "0.last-crash"
    assert "most recent call first" in report.read_text()


@pytest.mark.parametrize("flags", [("note", "kill"), ("note", "end"), ("crash",)])
def test_what_is_no_crash_of_a_record_counts_nothing(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    """A kill -9, an orderly end, and a crash before the first position."""
    run_worker(tmp_path, "note", "end")
    run_worker(tmp_path, *flags)
    assert counted(tmp_path) == {}


def test_a_dump_of_a_living_process_is_no_crash(tmp_path: Path, slot: WorkerSlot) -> None:
    """An orderly close keeps the dump and counts nothing."""
    slot.note_position("count_0", "flights", 7)
    faulthandler.dump_traceback(slot.crash_file())
    slot.close()
    assert counted(tmp_path) == {}
    assert (tmp_path / "flights" / "workers" / "0.last-crash").stat().st_size


def test_counts_of_a_task_that_got_past_are_forgotten(tmp_path: Path, slot: WorkerSlot) -> None:
    """Another task's counts stay, and all slots see the same."""
    text = '[["a_0","t",5,2],["a_0","t",9,1],["b_0","t",5,1]]'
    (tmp_path / "flights" / "crashes.json").write_text(text)
    assert slot.crashes() == {("a_0", "t", 5): 2, ("a_0", "t", 9): 1, ("b_0", "t", 5): 1}
    slot.forget_crash("a_0")
    slot.forget_crash("c_0")
    assert slot.crashes() == counted(tmp_path) == {("b_0", "t", 5): 1}


@pytest.mark.parametrize("text", ["", "nonsense", '[["a_0","t","5",1]]'])
def test_damaged_counts_count_nothing(tmp_path: Path, slot: WorkerSlot, text: str) -> None:
    """The file only shortens a bad record's way; without it the worker runs."""
    (tmp_path / "flights" / "crashes.json").write_text(text)
    assert slot.crashes() == {}


def test_a_reset_forgets_crashes(tmp_path: Path) -> None:
    """Those counted, and the one not counted yet."""
    run_worker(tmp_path, "note", "crash")
    assert counted(tmp_path)
    run_worker(tmp_path, "note", "crash")
    there(tmp_path).wipe_all()
    assert counted(tmp_path) == {}
