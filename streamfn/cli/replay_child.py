"""One version of a program in a process of its own: replays it and tells the parent all of it.

Started by ``replay.diff.child`` as ``python -m streamfn.cli.replay_child``; not for people. The job
comes as a line on stdin, frames go out by a pipe. Invariant: whatever fails is told as a frame, in
the words in which ``streamfn replay`` itself would have said it.
"""

import os
import sys
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from streamfn.replay.diff.child import Job


def main() -> int:
    """Read the job, do it, return the exit code."""
    from streamfn.cli.errors import explanation
    from streamfn.replay.diff.child import Job
    from streamfn.replay.diff.frames import Failed, written

    line = sys.stdin.buffer.readline()
    try:
        job = msgspec.json.decode(line, type=Job)
    except msgspec.MsgspecError:
        sys.stderr.write("this process is started by 'streamfn replay'; use that\n")
        return 2
    _leave_stdin()
    try:
        _work(job)
    except (BrokenPipeError, KeyboardInterrupt):
        return 1  # nobody listens any more
    except Exception as error:
        found = explanation(error)
        lines = list(found.lines)
        if found.trace:
            lines.append(found.trace.strip().splitlines()[-1].strip())
        _send(job.frames_fd, written(Failed(lines, found.exit_code)))
        return found.exit_code
    return 0


def _work(job: "Job") -> None:
    from streamfn.cli.load import load_app
    from streamfn.replay.diff.child import work
    from streamfn.replay.recordings.files import open_recording

    sys.path[:0] = [path for path in job.paths if path not in sys.path]
    topology = load_app(job.target).topology()
    inputs = open_recording(job.recording)
    try:
        work(job, topology, inputs, lambda data: _send(job.frames_fd, data))
    finally:
        inputs.close()


def _send(fd: int, data: bytes) -> None:
    """Write all of it, waiting for the reader."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _leave_stdin() -> None:
    """A program that reads from stdin gets nothing."""
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)


if __name__ == "__main__":
    sys.exit(main())
