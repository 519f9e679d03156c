"""``streamfn worker``: one worker process of a supervisor; not for people, so not in the help.

The job comes as a line on stdin, commands after it; the status goes out by a pipe. Invariant: it
ends by itself when its supervisor is gone, however that went, and says why it ends in words.

A worker that gets SIGTERM commits, writes its stores, leaves its group and ends with 143: its
supervisor starts it again at once. That is how workers are restarted one by one.
"""

import os
import signal
import sys
from typing import TYPE_CHECKING, cast

import typer

from streamfn.errors import ConfigError

if TYPE_CHECKING:
    from io import TextIOWrapper

    from streamfn.cli.job import Job
    from streamfn.cli.link import Link
    from streamfn.engine.status import Failure

JOB_BYTES_MAX = 10_000_000


def worker() -> None:
    """Work for a supervisor: ``streamfn run --workers N`` starts these."""
    from streamfn.cli.link import Link, Outbox, notes_to

    stdin = _private_stdin()
    job = _read_job(stdin)
    outbox = Outbox(job.status_fd)
    link = Link(stdin, outbox)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda came, frame: link.signalled(came))
    try:
        with notes_to(outbox):
            code = _work(job, link)
    except Exception as error:
        failure = _failure_of(error)
        outbox.send(failure)
        code = failure.exit_code
    outbox.close()
    raise typer.Exit(code)


def _private_stdin() -> int:
    """Move the pipe away from stdin: a user's program that reads there must not get commands."""
    private = os.dup(0)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    # whole lines, as other workers write there too
    cast("TextIOWrapper", sys.stdout).reconfigure(line_buffering=True)
    return private


def _read_job(stdin: int) -> "Job":
    """Read the first line, byte by byte at its end: what follows are commands."""
    from streamfn.cli.job import job_on

    line = b""
    if not os.isatty(stdin):
        while len(line) < JOB_BYTES_MAX and (found := os.read(stdin, 1)) not in (b"", b"\n"):
            line += found
    job = job_on(line)
    if job is None:
        message = (
            "'streamfn worker' is started by a supervisor; got no job on stdin; "
            "use streamfn run TARGET --broker HOST:PORT --workers N"
        )
        raise ConfigError(message)
    return job


def _work(job: "Job", link: "Link") -> int:
    """Run until told to leave; return the exit code."""
    from streamfn.cli.errors import cures_of
    from streamfn.cli.load import load_app
    from streamfn.run import opened, work

    config, app = job.config(), load_app(job.target)
    with (
        cures_of(app.name, config, job.target),
        opened(app.topology(), config, create_user_topics=job.create_topics) as run,
    ):
        link.watch(run)
        try:
            work(run, each_round=link.tick)
        finally:
            link.close()
    return 128 + link.came[0] if link.came else 0


def _failure_of(error: Exception) -> "Failure":
    """Put an error into words."""
    from streamfn.cli.errors import explanation
    from streamfn.engine.status import Failure
    from streamfn.errors import LogError, StateCorruptedError, StateLockedError

    found = explanation(error)
    retry = isinstance(error, LogError | StateCorruptedError | StateLockedError)
    return Failure(found.lines, found.exit_code, found.trace, retry)
