"""The watchdog: a loop that hangs ends the process with its stacks, one that beats lives."""

import faulthandler
import io
import subprocess
import sys
from pathlib import Path

import pytest

from streamfn.engine.watchdog import Watchdog

HANGING = """
import io, sys, time
from streamfn.engine.watchdog import Watchdog
file = io.FileIO(sys.argv[1], "w")
watchdog = Watchdog(2000, file)
def hang_here():
    time.sleep(60)
for _ in range(int(sys.argv[2])):
    watchdog.beat(time.monotonic())
    time.sleep(0.01)
if sys.argv[3] == "stop":
    watchdog.stop()
    print("alive")
else:
    hang_here()
"""


def run(path: Path, beats: int, then: str) -> "subprocess.CompletedProcess[str]":
    """Run a loop that beats, and then hangs or stops."""
    return subprocess.run(
        [sys.executable, "-c", HANGING, str(path), str(beats), then],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=55,
        check=False,
    )


def test_a_loop_that_hangs_is_ended_with_its_stacks(tmp_path: Path) -> None:
    """The process exits with 1 and the file says where it hung."""
    ended = run(tmp_path / "crash", 1, "hang")
    assert ended.returncode == 1
    text = (tmp_path / "crash").read_text()
    assert "Timeout" in text
    assert "hang_here" in text


def test_a_loop_that_beats_lives_longer_than_the_time_out(tmp_path: Path) -> None:
    """Each beat moves the moment away; after ``stop`` nothing is armed and nothing written."""
    ended = run(tmp_path / "crash", 250, "stop")
    assert (ended.returncode, ended.stdout) == (0, "alive\n")
    assert (tmp_path / "crash").read_text() == ""


class Armed:
    """Stands in for ``faulthandler``'s timer: notes when it was armed."""

    def __init__(self) -> None:
        self.calls: list[float] = []
        self.cancelled = 0

    def later(self, timeout_s: float, *, exit: bool, file: io.FileIO) -> None:
        """Arm."""
        assert exit
        self.calls.append(timeout_s)

    def cancel(self) -> None:
        """Disarm."""
        self.cancelled += 1

    def enable(self, file: io.FileIO) -> None:
        """Leave the tests' own handlers alone."""

    def disable(self) -> None:
        """Leave them alone."""


@pytest.fixture
def armed(monkeypatch: pytest.MonkeyPatch) -> Armed:
    """Keep the tests' own process out of it."""
    seen = Armed()
    monkeypatch.setattr(faulthandler, "dump_traceback_later", seen.later)
    monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", seen.cancel)
    monkeypatch.setattr(faulthandler, "enable", seen.enable)
    monkeypatch.setattr(faulthandler, "disable", seen.disable)
    return seen


def test_it_is_armed_by_the_first_beat_and_not_by_each(tmp_path: Path, armed: Armed) -> None:
    """Arming costs a system call: a hundred times per time-out is enough."""
    with io.FileIO(tmp_path / "crash", "w") as file:
        watchdog = Watchdog(100_000, file)
        assert armed.calls == []
        for tenth in range(100):
            watchdog.beat(tenth / 10)
        assert 5 <= len(armed.calls) <= 10
        assert set(armed.calls) == {100.0}
        watchdog.stop()
        assert armed.cancelled == 1


def test_a_time_out_of_nothing_is_off(tmp_path: Path, armed: Armed) -> None:
    """Also without a file to write to."""
    with io.FileIO(tmp_path / "crash", "w") as file:
        Watchdog(0, file).beat(1.0)
    Watchdog(1_000, None).beat(1.0)
    assert armed.calls == []
