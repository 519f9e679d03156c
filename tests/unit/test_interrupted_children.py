"""Ctrl-C while the processes of a comparison are started, at every moment that Python lets one in.

Invariant: none of them works on, and nothing of theirs is left.
"""

import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streamfn.replay.diff import child as children
from streamfn.replay.diff.child import Child, Children, Job
from streamfn.replay.diff.code import Version
from tests.broker.replay_shell import processes_about
from tests.interrupting import interrupted

MOMENTS_AT_MOST = 5_000
NOT_IN = tempfile.__file__
"""What it has just made and not noted yet, nobody can know of."""
DEADLINE_S = 120
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
WAITING = """
import os, sys, tempfile, time
if sys.stdin.readline():
    os.mkdir(os.path.join(tempfile.gettempdir(), "state"))
    time.sleep(600)
"""


def ignored(_: object) -> None:
    """What is raised while something is collected is no matter here."""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for temporary files; what runs in a child makes one and waits."""
    (tmp_path / "waiting.py").write_text(WAITING)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(children, "MODULE", "waiting")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(sys, "unraisablehook", ignored)
    return tmp_path / "temporary"


def child(seed: int = 1) -> Child:
    """A process of a comparison."""
    return Child(Version("this", "program.py"), Job("program.py", "r.jsonl"), seed)


def wait(met: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not met():
        assert time.monotonic() < deadline_s, what
        os.sched_yield()


def check_gone(temporary: Path) -> None:
    """All processes end, and nothing of theirs is left."""
    gc.collect()
    wait(lambda: not processes_about(str(temporary)), "all end")
    assert os.listdir(temporary) == []


@linux
def test_an_interrupt_at_any_moment(temporary: Path) -> None:
    """Also when it has started, and the block that is to end it has not begun."""

    def start() -> None:
        with Children([child()]):
            sys.setprofile(None)

    came = True
    for moment in range(1, MOMENTS_AT_MOST):
        came = interrupted(start, moment, NOT_IN)
        if not came:
            break
    assert not came, "more moments than are tried"
    check_gone(temporary)


@linux
def test_an_interrupt_between_two(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one has its job, and nobody waits for it any more."""
    first = child()
    wait(lambda: any(temporary.glob("*/state")), "the first one works")

    def raises(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", raises)
    with pytest.raises(KeyboardInterrupt), Children([first, child(2)]):
        pytest.fail("the second one has not started")
    del first
    check_gone(temporary)
