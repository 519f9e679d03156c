"""The flights killed with -9, with and without their stores, and on a full disk."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.flights_reference import figures
from tests.flights_support import ROOT, check_everything, load_app, make_package, places
from tests.kill_flights import check_kills

MEGABYTE = 1 << 20

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two months, in the order in which the file has them: the later one first."""
    return make_package(tmp_path_factory.mktemp("packages"), {"2", "12"})


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One month, for what is done more than once."""
    return make_package(tmp_path_factory.mktemp("packages"), {"2"})


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own for the state, with little room."""
    place = tmp_path / "disk"
    place.mkdir()
    made = mount(place, "-t", "tmpfs", "-o", "size=10m", "tmpfs")
    if made.returncode:
        pytest.skip(f"a small disk needs rights to mount: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def mount(place: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Call mount; who may not is told so by its return code."""
    command = ["mount", *options, str(place)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def run_command(
    package: Path, state_dir: Path, before: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the flights as a user does."""
    command = [
        sys.executable, "-m", "streamfn", "run", "topologies/flights.py", "--until-end",
        "--state-dir", str(state_dir),
    ]  # fmt: skip
    path = os.pathsep.join((str(package), str(ROOT)))
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, preexec_fn=before,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def check_refused(ended: subprocess.CompletedProcess[str], why: str) -> None:
    """It ended with the code of the log or of a store, one error line, and no traceback."""
    lines = ended.stderr.splitlines()
    assert ended.returncode in (6, 7), ended.stderr
    assert [why in line for line in lines if line.startswith("error:")] == [True], ended.stderr
    assert "Traceback" not in ended.stderr


def check_goes_on(package: Path, state_dir: Path) -> None:
    """With room again it ends, and everything is right."""
    ended = run_command(package, state_dir)
    assert ended.returncode == 0, ended.stderr
    check_everything(load_app(package), state_dir, figures(*places(package)))


def limit_files() -> None:
    """Let no file of the process grow beyond a few megabytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MEGABYTE, resource.RLIM_INFINITY))


def test_thirty_kills(package: Path, tmp_path: Path) -> None:
    """Killed at 30 random moments, it ends with the right figures, each once and in order."""
    check_kills(30, package, tmp_path, seed=7)


def test_kills_that_lose_the_state(month: Path, tmp_path: Path) -> None:
    """So it does when the stores are deleted in between and come back from their changelogs."""
    check_kills(10, month, tmp_path, seed=8, losing=0.5)


def test_full_disk(month: Path, disk: Path) -> None:
    """On a full disk it ends with one line, as often as it is tried; with more room it goes on."""
    for _ in range(2):
        check_refused(run_command(month, disk), "disk full")
    assert mount(disk, "-o", "remount,size=500m").returncode == 0
    check_goes_on(month, disk)


def test_files_that_cannot_grow(month: Path, tmp_path: Path) -> None:
    """A limit on the size of files is met like a full disk, and lifted like one."""
    for _ in range(2):
        check_refused(run_command(month, tmp_path, limit_files), "File too large")
    check_goes_on(month, tmp_path)
