"""A worker as a process of its own: ``python -m tests.broker.runner JOB`` (a ``Job`` as JSON).

It tells on its output, a line of JSON each time, what it does by then. SIGTERM has it stop,
SIGUSR1 look at its door, to leave the group and wait or to join again. Invariant: it ends with its
test, and with the exit code of what stopped it.
"""

import ctypes
import json
import logging
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from streamfn.config import Config
from streamfn.errors import StreamfnError
from streamfn.run import Run, opened, work
from tests.broker.programs import Job

PR_SET_PDEATHSIG: Final = 1
EACH_S: Final = 0.05


class Runner:
    """One process that joins, works, leaves and joins again as it is told."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._run: Run | None = None
        self._ending = self._away = False
        self._told, self._told_s = "", 0.0
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._hear)

    def _hear(self, number: int, _frame: object) -> None:
        self._ending = self._ending or number == signal.SIGTERM
        self._away = bool(self._job.door) and Path(self._job.door).exists()
        if (self._away or self._ending) and self._run is not None:
            self._run.worker.stop()

    def go(self) -> None:
        """Work until told to end."""
        self._tell({"away": False})  # signals are heard from now on
        while not self._ending:
            if self._away:
                self._tell({"away": True})
                time.sleep(0.02)
            else:
                self._work()

    def _work(self) -> None:
        job = self._job
        config = Config.parse(job.config, broker=job.broker, state_dir=Path(job.state_dir))
        with opened(job.app().topology(), config) as run:
            self._run = run
            if not self._away and not self._ending:
                work(run, each_round=self._each_round(run))
            self._run = None

    def _each_round(self, run: Run) -> Callable[[], None]:
        def each_round() -> None:
            now_s = time.monotonic()
            if now_s - self._told_s > EACH_S:
                self._told_s = now_s
                self._tell(state_of(run))

        return each_round

    def _tell(self, facts: dict[str, object]) -> None:
        """Say how it stands, if that is news."""
        line = json.dumps(facts)
        if line != self._told:
            self._told = line
            print(line, flush=True)


def state_of(run: Run) -> dict[str, object]:
    """What the worker does by now."""
    worker, metrics = run.worker, run.worker.metrics
    return {
        "running": sorted(task.name for task in worker.assignment.running),
        "restoring": sorted(worker.restores),
        "records": metrics.records,
        "commits": metrics.commits,
        "rewinds": metrics.rewinds,
        "restored": metrics.restored_records,
    }


def main() -> int:
    """Run the job in the argument."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("streamfn").setLevel(logging.INFO)
    try:
        Runner(Job(**json.loads(sys.argv[1]))).go()
    except StreamfnError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
