"""Worker processes and the pipes to them: what the supervisor's ``Child`` is outside of tests.

Each is spawned, never forked, into a session of its own, so that Ctrl-C on the terminal reaches the
supervisor only. Its stdin brings the job, then a command a line, and by its end tells that the
supervisor is gone, however it went; a pipe of its own brings back its status; stderr, and on a
terminal stdout, come back as lines. Invariant: no pipe is ever waited for, and none is left open.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from select import select

from streamfn.cli.job import Job, line_of
from streamfn.engine.status import Message, Note, message_of

READ_BYTES = 65_536
LINE_BYTES_MAX = 1_000_000
PATIENCE_S = 5.0


class Lines:
    """The reading end of a pipe: what is there, cut into lines."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd, self._rest = fd, b""

    def read(self) -> list[bytes]:
        """Return the lines that have come; at the end also what has no line end."""
        while self.fd >= 0:
            try:
                found = os.read(self.fd, READ_BYTES)
            except BlockingIOError:
                break
            self._rest += found
            if not found:
                self.close()
                self._rest += b"\n" if self._rest else b""
            if len(self._rest) >= LINE_BYTES_MAX:
                break
        *lines, self._rest = self._rest.split(b"\n")
        if len(self._rest) >= LINE_BYTES_MAX:
            lines.append(self._rest)
            self._rest = b""
        return lines

    def close(self) -> None:
        """Give the pipe back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class ProcessChild:
    """A worker process."""

    def __init__(
        self, command: list[str], feed: Callable[[int], bytes], *, take_stdout: bool = False
    ) -> None:
        """``feed`` makes the first line on its stdin of the descriptor that it is to write to."""
        reading, writing = os.pipe()
        try:
            self._process = subprocess.Popen(
                command, bufsize=0, start_new_session=True, pass_fds=(writing,),
                stdin=subprocess.PIPE, stderr=subprocess.PIPE,
                stdout=subprocess.PIPE if take_stdout else None,
            )  # fmt: skip
        except OSError:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._pipes: list[tuple[Lines, Callable[[bytes], Message]]] = [(Lines(reading), message_of)]
        for word in ("stdout", "stderr"):
            stream = getattr(self._process, word)
            if stream is not None:
                self._pipes.append((Lines(os.dup(stream.fileno())), partial(_written, word)))
                stream.close()
        self._send(feed(writing))

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def fds(self) -> list[int]:
        """The descriptors on which it may have said something."""
        return [lines.fd for lines, _ in self._pipes if lines.fd >= 0]

    def exit_code(self) -> int | None:
        """What it ended with, negative for a signal; None while it lives."""
        return self._process.poll()

    def messages(self) -> list[Message]:
        """Return what it has said since the last call, without waiting."""
        return [read(line) for lines, read in self._pipes for line in lines.read()]

    def tell(self, words: str) -> None:
        """Send it a line; nothing happens if it has ended."""
        self._send(f"{words}\n".encode())

    def _send(self, line: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            if not self._process.stdin.closed:
                self._process.stdin.write(line)

    def terminate(self) -> None:
        """Ask it to commit and leave."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once, and what it may have started."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Have it stop if it still lives: its stdin ends; then give everything back."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        for lines, _ in self._pipes:
            lines.close()


def _written(word: str, line: bytes) -> Note:
    return Note(word, line.decode(errors="replace").rstrip("\r"))


class Children:
    """All processes of one supervisor, over all its restarts."""

    def __init__(self, job: Job, *, take_stdout: bool) -> None:
        self._job, self._take_stdout = job, take_stdout
        self._command = worker_command(sys.orig_argv)
        self._alive: dict[int, ProcessChild] = {}

    def spawn(self, number: int) -> ProcessChild:
        """Start the process of a worker, after the one before it has ended."""
        if number in self._alive:
            self._alive.pop(number).close()
        child = ProcessChild(self._command, self._feed, take_stdout=self._take_stdout)
        self._alive[number] = child
        return child

    def _feed(self, status_fd: int) -> bytes:
        job = self._job
        return line_of(Job(job.target, job.settings, job.create_topics, status_fd))

    def wait(self, seconds: float) -> None:
        """Wait until one of them says something, but not for long."""
        wait_for([fd for child in self._alive.values() for fd in child.fds()], seconds)

    def close(self) -> None:
        """Have all stop that still live; whoever does not within seconds is killed."""
        for child in self._alive.values():
            child.terminate()
        for child in self._alive.values():
            child.close()
        self._alive.clear()


def wait_for(fds: Iterable[int], seconds: float) -> None:
    """Wait until there is something to read."""
    select(list(fds), [], [], seconds)


def worker_command(started_as: list[str]) -> list[str]:
    """The command of a worker process: as this process was started, with -m or without.

    Python puts the working folder in front of all modules for -m; if it did not do so here, a file
    of the user's that is named like a module must not come first there either.

    >>> worker_command(["python", "-m", "streamfn", "run"])[1:]
    ['-m', 'streamfn', 'worker']
    >>> worker_command(["python", "bin/streamfn", "run", "-m"])[1:]
    ['-P', '-m', 'streamfn', 'worker']
    """
    options = ["-m"] if "-m" in started_as[1:3] else ["-P", "-m"]
    return [sys.executable, *options, "streamfn", "worker"]
