"""The process that stands between a Kafka and those who use it, so that no Kafka is left over.

Everyone who uses the broker holds a shared lock on its lease file. The kernel drops a lock with
its process, also after ``kill -9``, and so the guard, which waits for the lock alone, gets it when
the last user is gone: then it ends the broker and removes its folder. It runs as a script with
one argument, a ``Job`` as JSON, and says on its output ``pid <number>`` and ``ended <code>``.

Invariant: the broker lives no longer than the guard (its parent), nor than its last user.
"""

import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, TypedDict

PR_SET_PDEATHSIG = 1


class Job(TypedDict):
    """What to run, and what to do when nobody uses it any more."""

    command: list[str]
    ending: list[str]
    folder: str
    log: str
    lease: str


def guard(job: Job) -> None:
    """Run the broker until it ends by itself or nobody holds the lease."""
    abandoned = threading.Event()
    with Path(job["log"]).open("ab") as log:
        broker = subprocess.Popen(
            job["command"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=job["folder"],
            preexec_fn=dying_with_parent(),
        )
        say(f"pid {broker.pid}")
        waiting = (job, broker, abandoned)
        threading.Thread(target=end_when_abandoned, args=waiting, daemon=True).start()
        code = broker.wait()
    if abandoned.is_set():
        shutil.rmtree(job["folder"], ignore_errors=True)
    say(f"ended {code}")


def end_when_abandoned(
    job: Job, broker: subprocess.Popen[bytes], abandoned: threading.Event
) -> None:
    """Wait until no user is left, and end the broker."""
    with Path(job["lease"]).open("rb") as lease:
        fcntl.flock(lease, fcntl.LOCK_EX)
        abandoned.set()
        if job["ending"]:
            subprocess.run(job["ending"], capture_output=True, check=False)
        broker.kill()
        broker.wait()


def dying_with_parent() -> Any:
    """Make what asks Linux, in the child, to kill it when its parent dies; elsewhere nothing."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def say(line: str) -> None:
    """Tell the starter, if it still listens."""
    try:
        os.write(1, f"{line}\n".encode())
    except BrokenPipeError:
        return


if __name__ == "__main__" and os.fork() == 0:  # so that the starter has no child to wait for
    guard(json.loads(sys.argv[1]))
