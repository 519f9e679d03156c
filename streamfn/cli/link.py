"""A worker process's side of the pipes to its supervisor.

Status lines go out, the loop's own a few times a second; commands come in, read by a thread that
does nothing else, so that a supervisor that is gone is noticed whatever the loop does. Invariant:
no write ever waits, but the last one: a supervisor that does not read holds up no record.
"""

import logging
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from select import select
from time import monotonic
from typing import TYPE_CHECKING, Final

from streamfn.engine.status import Message, Note, Status, Waiting, counts_of, line_of
from streamfn.engine.supervisor import CHECK, FINISH, TERMINATED

if TYPE_CHECKING:
    from streamfn.run import Run

STATUS_S: Final = 0.25
SILENT_S: Final = 1.0
LAST_WORDS_S: Final = 2.0
UNSENT_BYTES_MAX: Final = 1_000_000


class Outbox:
    """The writing end of the status pipe: what does not fit waits here, a status is dropped."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        os.set_inheritable(fd, False)
        self._fd, self._unsent = fd, b""
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        """Send a message, now or with the next one."""
        with self._lock:
            replaceable = isinstance(message, Status | Waiting)
            if not (self._unsent and replaceable) and len(self._unsent) < UNSENT_BYTES_MAX:
                self._unsent += line_of(message)
            self._write()

    def _write(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self._fd, self._unsent) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # the supervisor is gone: the end of stdin says so too
            self._unsent = b""

    def close(self) -> None:
        """Send what is left, if somebody reads it."""
        give_up_s = monotonic() + LAST_WORDS_S
        while self._unsent and (left_s := give_up_s - monotonic()) > 0:
            select([], [self._fd], [], left_s)
            with self._lock:
                self._write()


class _Notes(logging.Handler):
    """Sends the engine's warnings up."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__(logging.WARNING)
        self._outbox = outbox

    def emit(self, record: logging.LogRecord) -> None:
        self._outbox.send(Note(record.levelname.lower(), record.getMessage()))


@contextmanager
def notes_to(outbox: Outbox) -> Generator[None]:
    """Send the engine's warnings up."""
    logger, handler = logging.getLogger("streamfn"), _Notes(outbox)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class Link:
    """Ties a run to its supervisor; ``tick`` is called each round of the loop."""

    def __init__(self, stdin: int, outbox: Outbox) -> None:
        self._stdin, self._outbox = stdin, outbox
        self._run: Run | None = None
        self._asked = self._checking = self._checked = 0
        self._last_s = 0.0
        """When the loop has spoken last; 0 before it has begun."""
        self._over = False
        self.came: list[int] = []
        """The signals that have come."""
        threading.Thread(target=self._listen, name="supervisor", daemon=True).start()

    def watch(self, run: "Run") -> None:
        """Send the status of this run from now on."""
        self._run = run

    def signalled(self, number: int) -> None:
        """Leave because of a signal."""
        self.came.append(number)
        self.leave()

    def leave(self) -> None:
        """Have the loop end after its round; before it has begun the process ends at once."""
        if self._run is None or not self._last_s:
            os._exit(TERMINATED)
        self._run.worker.stop()

    # the loop's side
    def tick(self) -> None:
        """Send the status if it is time."""
        now_s = monotonic()
        passed = self._asked > self._checked and self._check()
        if passed or now_s - self._last_s >= STATUS_S:
            self._last_s = now_s
            self._send_status()

    def close(self) -> None:
        """Send the last figures; the run is closed."""
        self._over = True
        if self._run is not None:
            self._outbox.send(Status(counts_of(self._run.worker.metrics)))

    def _send_status(self) -> None:
        from streamfn.cli.snapshot import take

        if self._run is not None:
            finished = self._run.worker.finished
            self._outbox.send(take(self._run, finished=finished, checked=self._checked))

    def _check(self) -> bool:
        """See that we are finished by what the log holds after the check was asked for."""
        assert self._run is not None
        asked, worker = self._asked, self._run.worker
        if self._checking != asked:
            self._checking = asked
            worker.ask_ends_again()
        if worker.finished:
            self._checked = asked
        return self._checked == asked

    # the supervisor's side
    def _listen(self) -> None:
        """Obey until there is nobody to be obeyed; say in its place why the loop is silent."""
        rest = b""
        while True:
            if not select([self._stdin], [], [], SILENT_S)[0]:
                self._speak_for_the_loop()
                continue
            found = os.read(self._stdin, 4096)
            if not found:
                self.leave()
                return
            *lines, rest = (rest + found).split(b"\n")
            for line in lines:
                self._obey(line.decode())

    def _obey(self, words: str) -> None:
        if words == FINISH:
            self.leave()
        elif words.startswith(f"{CHECK} "):
            self._asked = int(words.split()[1])

    def _speak_for_the_loop(self) -> None:
        silent_s = monotonic() - self._last_s
        if silent_s < SILENT_S or self._over:
            return
        own = f"its loop, silent for {silent_s:.0f} s" if self._last_s else "its start"
        worker = self._run.worker if self._run else None
        waiting_for = worker.committer.waiting_for if worker is not None else ""
        if waiting_for:
            self._outbox.send(Waiting(waiting_for, alive=True))
        else:
            self._outbox.send(Waiting(own))
