"""A supervisor over real worker processes; one on the embedded log, which needs no broker."""

import os
import re
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

from streamfn.cli.children import Children
from streamfn.cli.job import job_of
from streamfn.clock import SystemClock
from streamfn.config import Config
from streamfn.engine.status import Note
from streamfn.engine.supervisor import Supervisor
from tests.unit.cli_shell import ROOT, TEXTS, Shell, open_shell

DEADLINE_S = 120


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A shell in an empty folder, whose processes find this tree."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "streamfn"])
    with open_shell(tmp_path, monkeypatch) as opened:
        yield opened


class Supervision:
    """A supervisor, its processes and what they said."""

    def __init__(self, target: str, *, until_end: bool, silence_s: float) -> None:
        self.notes: list[tuple[int, Note]] = []
        self.children = Children(job_of(target, Config(), create_topics=True), take_stdout=True)
        self.supervisor = Supervisor(
            self.children.spawn, 1, SystemClock(), until_end=until_end, silence_s=silence_s,
            note=lambda number, note: self.notes.append((number, note)),
        )  # fmt: skip

    def until(self, reached: Callable[[], bool]) -> None:
        """Go round until something is so."""
        give_up_s = monotonic() + DEADLINE_S
        while not reached():
            assert monotonic() < give_up_s, self.notes
            self.supervisor.step()
            self.children.wait(0.05)

    def said(self, word: str) -> list[str]:
        """Return the lines of one kind."""
        return [note.text for _, note in self.notes if note.word == word]

    def pid(self) -> int:
        """The worker's process."""
        child = self.supervisor.workers[0].child
        assert child is not None
        return child.pid


@contextmanager
def supervised(
    target: str, *, until_end: bool = False, silence_s: float = 0.0
) -> Generator[Supervision]:
    """Supervise one worker."""
    found = Supervision(target, until_end=until_end, silence_s=silence_s)
    try:
        yield found
    finally:
        found.children.close()


def test_a_worker_process_works_to_the_end(shell: Shell) -> None:
    """It says what it does, and the end is agreed on with it."""
    shell.lines(TEXTS)
    with supervised(shell.program(), until_end=True) as world:
        world.until(lambda: world.supervisor.done)
        assert world.supervisor.finishing
        assert world.supervisor.failure is None
        assert world.supervisor.counts["records"] == 9
        assert world.supervisor.counts["rows_loaded"] == 3
    assert shell("state").stdout == "count-seen  3 keys\ncount-total  3 keys\n"


def test_a_record_that_fails_comes_back_in_the_users_words(shell: Shell) -> None:
    """The exit code, the line and the user's part of the traceback."""
    shell.lines(["a b", "bad"])
    with supervised(shell.program()) as world:
        world.until(lambda: world.supervisor.done)
        failure = world.supervisor.failure
    assert failure is not None
    assert failure.exit_code == 5
    assert 'raise ValueError("a bad word")' in failure.trace
    assert "stage 'count' failed" in failure.lines[0]
    assert "streamfn reset" not in failure.lines[0]


def test_a_program_that_cannot_be_loaded_stops_the_whole(shell: Shell) -> None:
    """There is no sense in trying that again."""
    with supervised("nosuch.py") as world:
        world.until(lambda: world.supervisor.done)
        assert world.supervisor.failure is not None
        assert world.supervisor.failure.exit_code == 3


def test_a_killed_worker_starts_again_and_one_that_is_asked_leaves(shell: Shell) -> None:
    """The one after a second, the other at once; what is printed comes through."""
    shell.lines(TEXTS)
    name = shell.program()
    Path(name).write_text(
        Path(name).read_text().replace("    seen[", '    print("saw", word)\n    seen[')
    )
    with supervised(name) as world:
        supervisor = world.supervisor
        world.until(lambda: supervisor.counts["records"] == 9 and len(world.said("stdout")) == 6)
        os.kill(world.pid(), signal.SIGKILL)
        world.until(lambda: supervisor.workers[0].restarts == 1)
        assert world.said("warning")[-1] == (
            "worker 1 ended (killed by SIGKILL), starts again in 1 s"
        )
        world.until(lambda: supervisor.workers[0].status is not None)
        os.kill(world.pid(), signal.SIGTERM)
        world.until(lambda: supervisor.workers[0].restarts == 2)
        assert world.said("warning")[-1] == "worker 1 left (SIGTERM), starts again"
        world.until(lambda: supervisor.workers[0].status is not None)
        supervisor.stop()
        world.until(lambda: supervisor.done)
    assert supervisor.failure is None
    assert shell("state").stdout == "count-seen  3 keys\ncount-total  3 keys\n"


def test_a_worker_whose_loop_is_stopped_is_killed(shell: Shell) -> None:
    """A process that is stopped by a signal is silent, and its own watchdog is, too."""
    shell.lines(TEXTS)
    with supervised(shell.program(), silence_s=4.0) as world:
        world.until(lambda: world.supervisor.counts["records"] == 9)
        os.kill(world.pid(), signal.SIGSTOP)
        world.until(lambda: world.supervisor.workers[0].restarts == 1)
        assert re.search(r"was silent for \d+ s and is killed", world.said("warning")[0])
