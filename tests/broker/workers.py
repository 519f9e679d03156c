"""Worker processes that a test starts, kills, suspends and asks.

Invariant: none outlives its test, and what one has said is kept, so that a failing test shows it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypedDict, TypeVar, cast

from tests.broker.programs import Job
from tests.kafka_jars import ROOT

PATIENCE_S: Final = 120.0
"""Long, as nothing is to fail for being slow on a busy machine."""
JOB: Final = "STREAMFN_TEST_JOB"
"""The variable of the environment that tells ``tests.broker.supervised`` what it is."""


class Told(TypedDict):
    """What a worker says of itself."""

    running: list[str]
    restoring: list[str]
    records: int
    commits: int
    rewinds: int
    restored: int
    away: bool


NOTHING: Final[Told] = {
    "running": [], "restoring": [], "records": 0, "commits": 0, "rewinds": 0, "restored": 0,
    "away": False,
}  # fmt: skip


class Process:
    """One process with what it says; ``Worker`` and a supervisor are such."""

    def __init__(
        self,
        name: str,
        command: list[str],
        folder: Path,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.name = name
        self.may_fail = False
        self._said, self._warned = folder / f"{name}.out", folder / f"{name}.err"
        self._begin = self._said.stat().st_size if self._said.exists() else 0
        with self._said.open("ab") as said, self._warned.open("ab") as warned:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=warned,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code; None while it lives."""
        return self._process.poll()

    @property
    def has_failed(self) -> bool:
        """True if it ended with an error code that no test has asked for."""
        return not self.may_fail and self.code not in (None, 0, -signal.SIGKILL)

    @property
    def frozen(self) -> bool:
        """True while it is stopped by SIGSTOP."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"

    @property
    def warnings(self) -> str:
        """All that it wrote to its error output, and those before it under the same name."""
        return self._warned.read_text(errors="replace")

    @property
    def said(self) -> str:
        """All that it wrote, wherever."""
        return self.warnings + self._said.read_text(errors="replace")

    @property
    def lines(self) -> list[str]:
        """The whole lines of its output, without those of others before it under its name."""
        own = self._said.read_bytes()[self._begin :].decode(errors="replace")
        return own.rpartition("\n")[0].splitlines()

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._process.kill()
        self._process.wait(30)

    def stop(self) -> int:
        """Ask it to end and wait until it has; return its code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self, within_s: float = PATIENCE_S) -> int:
        """Wait until it has ended by itself; return its code."""
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            message = f"{self.name} has not ended within {within_s:g} s; {self.tail()}"
            raise AssertionError(message) from None

    def tail(self) -> str:
        """The end of what it said, for a failing test."""
        warned = "\n    ".join(self.warnings.splitlines()[-25:])
        return f"{self.name} (exit code {self.code}): {self.lines[-1:]}\n    {warned}"


def door_of(folder: Path, name: str) -> Path:
    """The file by which a worker is told to be away."""
    return folder / f"{name}.away"


class Worker(Process):
    """A worker without a supervisor."""

    @property
    def told(self) -> Told:
        """What it last said of itself."""
        lines = self.lines
        return cast(Told, {**NOTHING, **(json.loads(lines[-1]) if lines else {})})

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        super().__init__(name, command, folder)
        self.door = door_of(folder, name)

    def come_or_go(self) -> None:
        """Leave the group, or join it again; how often and how soon does not matter."""
        if self.door.exists():
            self.door.unlink()
        else:
            self.door.touch()
        self.send(signal.SIGUSR1)

    @property
    def running(self) -> list[str]:
        """The tasks that it runs."""
        return self.told["running"]


AnyProcess = TypeVar("AnyProcess", bound=Process)


class Workers:
    """All processes of a test."""

    def __init__(self, job: Job, folder: Path) -> None:
        self.job, self.folder = job, folder
        self.all: list[Process] = []

    def start(self, name: str = "", *, folder: str = "state", **changes: Any) -> Worker:
        """Start a worker on a state folder; its job may differ in some things."""
        name = name or f"worker{len(self.all)}"
        door = str(door_of(self.folder, name))
        given = {"state_dir": str(self.folder / folder), "door": door, **changes}
        job = replace(self.job, **given)
        command = [sys.executable, "-m", "tests.broker.runner", json.dumps(job.as_dict())]
        return self._add(Worker(name, command, self.folder))

    def _add(self, process: AnyProcess) -> AnyProcess:
        self.all.append(process)
        return process

    def supervise(
        self, name: str, workers: int, *options: str, arguments: tuple[str, ...] = ()
    ) -> Process:
        """Start ``streamfn run --workers``."""
        job = self.job
        command = [sys.executable, "-m", "streamfn", "run", "tests.broker.supervised:app"]
        command += ["--state-dir", job.state_dir, "--broker", job.broker]
        command += ["--workers", str(workers), *arguments]
        for option in (*job.config, *options):
            command += ["-o", option]
        environment = {**os.environ, JOB: json.dumps(job.as_dict())}
        return self._add(Process(name, command, self.folder, environment))

    def wait(self, met: Callable[[], object], what: str, within_s: float = PATIENCE_S) -> None:
        """Wait until something is so; fail with what all processes have said."""
        deadline_s = time.monotonic() + within_s
        while not met():
            failed = any(process.has_failed for process in self.all)
            if failed or time.monotonic() > deadline_s:
                tails = "\n".join(process.tail() for process in self.all)
                why = "a process has failed" if failed else f"within {within_s:g} s"
                message = f"{why}: it did not come to this: {what}\n{tails}"
                raise AssertionError(message)
            time.sleep(0.02)

    def wait_running(self, tasks: int, *workers: Worker) -> None:
        """Wait until these workers run so many tasks between them, and each has some."""
        self.wait(
            lambda: (
                all(worker.running for worker in workers)
                and sum(len(worker.running) for worker in workers) == tasks
            ),
            f"{', '.join(worker.name for worker in workers)} run {tasks} tasks",
        )

    def stop(self) -> None:
        """Ask all to end; each that lives must end well."""
        living = [process for process in self.all if process.code is None]
        begun = [process for process in living if isinstance(process, Worker)]
        self.wait(
            lambda: all(worker.lines or worker.code is not None for worker in begun),
            "all workers can hear",
        )
        for process in living:
            process.send(signal.SIGCONT)
            process.send(signal.SIGTERM)
        for process in living:
            assert process.ended() == 0, process.tail()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self.all:
            if process.code is None:
                process.kill()
