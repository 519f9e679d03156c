"""Verbs as processes, in a folder of their own: what they say, what they leave, how they end.

Temporary files of these processes lie in a folder that nobody else uses. Invariant: no process
outlives its test.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.broker.programs import Job
from tests.broker.workers import JOB, PATIENCE_S, Process
from tests.flights_support import ROOT


class Verbs:
    """Starts verbs of the command line."""

    def __init__(self, folder: Path, broker: str, job: Job | None = None) -> None:
        self.folder, self.broker = folder, broker
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self._started: list[Process] = []
        self._job = job
        self.before = set(folder.iterdir())

    @property
    def environment(self) -> Mapping[str, str]:
        """What the processes are given."""
        job = {} if self._job is None else {JOB: json.dumps(self._job.as_dict())}
        own = {"TMPDIR": str(self.temporary), "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
        return {**os.environ, **own, **job}

    def __call__(self, *words: object, code: int = 0) -> str:
        """Run a verb to its end; return all that it said."""
        done = subprocess.run(
            self.command(*words), cwd=self.folder, env=self.environment, capture_output=True,
            text=True, check=False, timeout=PATIENCE_S,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == code, said[-3_000:]
        return said

    def fails(self, *words: object, code: int) -> str:
        """Run a verb that fails; return its one line of error, the last of what it says."""
        lines = self(*words, code=code).splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        assert errors == lines[-1:], lines
        return errors[0]

    def start(self, name: str, *words: object) -> Process:
        """Start a verb; its paths are taken from the folder, not from where it runs."""
        process = Process(name, self.command(*words), self.folder, self.environment)
        self._started.append(process)
        return process

    @staticmethod
    def command(*words: object) -> list[str]:
        """A verb as a command."""
        return [sys.executable, "-m", "streamfn", *map(str, words)]

    def new(self) -> set[str]:
        """What was not in the folder before, but for what processes have said."""
        found = {path.name for path in set(self.folder.iterdir()) - self.before}
        return {name for name in found if not name.endswith((".out", ".err"))}

    def leftovers(self) -> list[str]:
        """What lies in the folder for temporary files."""
        return sorted(path.name for path in self.temporary.iterdir())

    def close(self) -> None:
        """End what still runs."""
        for process in self._started:
            if process.code is None:
                process.kill()


def wait_for_text(process: Process, text: str) -> None:
    """Wait until a process has said something."""
    wait_for(process, lambda: text in process.said)


def wait_for(process: Process, met: Callable[[], bool]) -> None:
    """Wait until something is so while a process lives."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not met():
        assert process.code is None, process.tail()
        assert time.monotonic() < deadline_s, process.tail()
        time.sleep(0.02)


def interrupted(process: Process) -> int:
    """Send what Ctrl-C sends; return the exit code."""
    process.send(signal.SIGINT)
    return process.ended()


def processes_about(text: str) -> list[int]:
    """The processes whose command or environment has a text in it, but for this one."""
    found: list[int] = []
    for place in Path("/proc").iterdir():
        if not place.name.isdigit() or int(place.name) == os.getpid():
            continue
        try:
            told = (place / "cmdline").read_bytes() + (place / "environ").read_bytes()
        except OSError:
            continue  # it has just ended, or is not ours
        if text.encode() in told:
            found.append(int(place.name))
    return found
