"""The supervisor: starts workers, starts them again when they crash, stops them as one.

    spawned ──▶ starting ──▶ at work ──▶ ended ──▶ done              it was told to, or all stop
       ▲                                   │ ├──▶ all stop           on purpose: its exit code
       └──────── back-off 1 s … 30 s ◀─────┴─┘                       it crashed, or lost its broker

It sees no records, only what workers say of themselves (``engine.status``), and no process: a
``Child`` is one, and a test's child is none. Time is the clock's. Invariants: a worker that stopped
on purpose is never started again, and its exit code is that of the whole; every other end of a
worker is followed by a new start, until all are to stop.

**The end of the input.** One worker's "nothing more to do" proves nothing: another one may have
just committed records into a repartition topic that the first has not seen yet. So the end is
agreed on in two waves. First all workers say ``finished``: everything fetched is processed and
committed. After the last has said so, at a moment *t*, the supervisor sends each a check with a
number. A worker that gets it asks the log where its inputs end *now*, open transactions included,
and answers when it has read up to there and is finished. If between its two answers no worker has
processed a record, rewound, been given other tasks or been started again, then: whatever anybody
had sent before *t* lay before the ends that were asked for after *t*, was read, and there was
nothing; and nobody has sent anything since, as only processing sends. (Timers may send too, as
long as they like: they never end, and what they cause counts as records once it is read. Records
from outside that come after *t* belong to the next run.) So all are told to finish. If anything
did change, the check is void, and the next one has another number. All tasks must be among the
workers of this supervisor: of those elsewhere nothing is known, so it waits and says for whom.
"""

import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from streamfn.clock import Clock
from streamfn.engine.status import Failure, Message, Note, Status, Waiting

BACK_OFF_MAX_S: Final = 30.0
WORKED_WELL_S: Final = 60.0
"""Who has worked for so long is started again as if it had never crashed."""

REPEATED_S: Final = 60.0
"""A line that was said is not said again for so long, whichever worker says it."""

ELSEWHERE_S: Final = 10.0
"""Tasks that nobody has for so long are those of workers elsewhere, or of one that was killed."""

TERMINATED: Final = 128 + signal.SIGTERM
CLEAN_CODES: Final = frozenset(
    (0, TERMINATED, -signal.SIGTERM, 128 + signal.SIGINT, -signal.SIGINT)
)
ON_PURPOSE_CODES: Final = frozenset((2, 3, 4, 5, 6, 8))
LOG_CODE: Final = 7
FINISH: Final = "finish"
CHECK: Final = "check"

Mark: TypeAlias = tuple[object, ...]


class Child(Protocol):
    """A worker process."""

    @property
    def pid(self) -> int:
        """Its process number."""
        ...

    def exit_code(self) -> int | None:
        """What it ended with, negative for a signal; None while it lives."""
        ...

    def messages(self) -> list[Message]:
        """Return what it has said since the last call, without waiting."""
        ...

    def tell(self, words: str) -> None:
        """Send it a line; nothing happens if it has ended."""
        ...

    def terminate(self) -> None:
        """Ask it to commit and leave."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


@dataclass(slots=True)
class Supervised:
    """A worker by number, through all its processes."""

    number: int
    child: Child | None = None
    status: Status | None = None
    """What its loop said last; None until it has begun."""
    failure: Failure | None = None
    waits_for: str = ""
    restarts: int = 0
    ended: str = ""
    """How its last process ended."""
    past: Counter[str] = field(default_factory=Counter[str])
    """The counts of its processes that have ended."""
    spawned_s: float = 0.0
    heard_s: float = 0.0
    """When its loop spoke last, or when it was spawned."""
    due_s: float = 0.0
    crashes_in_a_row: int = 0
    killed: bool = False

    @property
    def counts(self) -> Counter[str]:
        """Its counts, of all its processes together."""
        return self.past + Counter(self.status.counts if self.status else {})

    def mark(self) -> Mark:
        """What must not change while the workers agree that all is done."""
        if self.child is None or self.status is None:
            return (None,)
        counts, tasks = self.status.counts, self.status.tasks
        names = ("records", "rewinds", "rebalances", "rows_loaded")
        return (
            self.child.pid,
            *(counts.get(name, 0) for name in names),
            *sorted(task.name for task in tasks),
        )


class Supervisor:
    """Workers as one; call ``step`` several times a second until ``done``."""

    def __init__(
        self,
        spawn: Callable[[int], Child],
        workers: int,
        clock: Clock,
        *,
        note: Callable[[int, Note], None] = lambda number, note: None,
        until_end: bool = False,
        silence_s: float = 0.0,
        start_silence_s: float = 0.0,
    ) -> None:
        """``note`` takes the workers' lines, each with a number; 0 is the supervisor's own.

        A loop silent for ``silence_s`` is killed (0 never), one that starts after
        ``start_silence_s``.
        """
        self._spawn_child, self._clock = spawn, clock
        self.note = note
        self._until_end = until_end
        self._silence_s, self._start_silence_s = silence_s, start_silence_s
        self.workers = [Supervised(number) for number in range(1, workers + 1)]
        self.stopping = False
        self.finishing = False
        """True once all have agreed that all is done."""
        self.failure: Failure | None = None
        """Why the whole stops, if a worker stopped on purpose."""
        self._ever_worked = False
        self._check = 0
        self._marks: list[Mark] | None = None
        self._missing = 0
        self._missing_since_s: float | None = None
        self._said_s: dict[tuple[str, str], float] = {}

    @property
    def done(self) -> bool:
        """True if all have ended and none is to start."""
        return self.stopping and all(worker.child is None for worker in self.workers)

    @property
    def counts(self) -> Counter[str]:
        """The sums of all workers."""
        return sum((worker.counts for worker in self.workers), Counter[str]())

    # commands
    def stop(self) -> None:
        """Have all commit and leave."""
        self.stopping = True
        for worker in self.workers:
            if worker.child is not None:
                worker.child.terminate()

    def kill(self) -> None:
        """End all at once."""
        self.stopping = True
        for worker in self.workers:
            if worker.child is not None:
                worker.child.kill()

    # the round
    def step(self) -> None:
        """Hear all, start who is due, see whether all is done."""
        for worker in self.workers:
            if worker.child is not None:
                self._hear(worker, worker.child)
            elif not self.stopping and self._clock.monotonic_s() >= worker.due_s:
                self._spawn(worker)
        if self._until_end and not self.stopping:
            self._agree()

    def _spawn(self, worker: Supervised) -> None:
        worker.child = self._spawn_child(worker.number)
        worker.status, worker.failure, worker.killed = None, None, False
        worker.waits_for = "its start"
        worker.spawned_s = worker.heard_s = self._clock.monotonic_s()

    def _hear(self, worker: Supervised, child: Child) -> None:
        code = child.exit_code()  # first: what it said before it ended is there to be read then
        for message in child.messages():
            self._take(worker, message)
        if code is not None:
            self._ended(worker, code)
        else:
            self._check_silence(worker, child)

    def _take(self, worker: Supervised, message: Message) -> None:
        match message:
            case Status():
                worker.status, worker.waits_for = message, message.waits_for
                worker.heard_s = self._clock.monotonic_s()
                self._ever_worked = True
            case Waiting():
                worker.waits_for = message.waits_for
                if message.alive:
                    worker.heard_s = self._clock.monotonic_s()
            case Failure():
                worker.failure = message
            case Note():
                self._note(worker.number, message)

    def _note(self, number: int, note: Note) -> None:
        """Pass a line on, once: what all workers see alike, each of them says."""
        if note.word in ("stdout", "stderr"):
            self.note(number, note)
            return
        now_s, said = self._clock.monotonic_s(), (note.word, note.text)
        if now_s - self._said_s.get(said, float("-inf")) >= REPEATED_S:
            self._said_s = {k: s for k, s in self._said_s.items() if now_s - s < REPEATED_S}
            self._said_s[said] = now_s
            self.note(number, note)

    def _check_silence(self, worker: Supervised, child: Child) -> None:
        """The child's own watchdog comes first and leaves a dump; this is for when it cannot."""
        limit_s = self._start_silence_s if worker.status is None else self._silence_s
        silent_s = self._clock.monotonic_s() - worker.heard_s
        if limit_s and silent_s >= limit_s and not worker.killed:
            worker.killed = True
            text = f"worker {worker.number} was silent for {silent_s:.0f} s and is killed"
            self.note(0, Note("warning", text))
            child.kill()

    # ends
    def _ended(self, worker: Supervised, code: int) -> None:
        now_s, worked = self._clock.monotonic_s(), worker.status is not None
        worker.past = worker.counts
        worker.child, worker.status = None, None
        worker.ended, worker.waits_for = how_ended(code, worker.failure), ""
        if self._is_on_purpose(code, worker.failure):
            self._stop_for(worker, code)
        elif self.stopping:
            if code not in CLEAN_CODES and not self.finishing and not worker.killed:
                self._say(
                    f"worker {worker.number} ended before its last commit ({worker.ended}); "
                    "what it had not committed is processed again in the next run"
                )
        elif code in CLEAN_CODES and worked:
            worker.crashes_in_a_row, worker.due_s = 0, now_s
            self._restarts(worker, "left", "starts again")
        else:
            well = worked and now_s - worker.spawned_s >= WORKED_WELL_S
            worker.crashes_in_a_row = 1 if well else worker.crashes_in_a_row + 1
            delay_s = min(BACK_OFF_MAX_S, 2.0 ** (worker.crashes_in_a_row - 1))
            worker.due_s = now_s + delay_s
            self._restarts(worker, "ended", f"starts again in {delay_s:.0f} s")

    def _is_on_purpose(self, code: int, failure: Failure | None) -> bool:
        """A worker that cannot connect is tried again, but not if none ever could."""
        if failure is not None and failure.retry:
            return code == LOG_CODE and not self._ever_worked
        return code in ON_PURPOSE_CODES or (code == LOG_CODE and not self._ever_worked)

    def _restarts(self, worker: Supervised, verb: str, then: str) -> None:
        if worker.failure is not None and worker.failure.trace:
            self.note(worker.number, Note("stderr", worker.failure.trace))
        worker.restarts += 1
        self._say(f"worker {worker.number} {verb} ({worker.ended}), {then}")

    def _say(self, text: str) -> None:
        self.note(0, Note("warning", text))

    def _stop_for(self, worker: Supervised, code: int) -> None:
        """One has stopped on purpose: none goes on, and the first reason is that of the whole."""
        if self.failure is None:
            said = f"worker {worker.number} ended with exit code {code} and said nothing"
            self.failure = worker.failure or Failure((said,), code)
        if not self.stopping:
            self.stop()

    # the end of the input
    def waits_for_others(self) -> str:
        """Say what keeps ``--until-end`` waiting though all here is finished, or ""."""
        since_s = self._missing_since_s
        if since_s is None or self._clock.monotonic_s() - since_s < ELSEWHERE_S:
            return ""
        return f"{self._missing} tasks that no worker of this supervisor has"

    def _agree(self) -> None:
        """Two waves, see above."""
        statuses = [worker.status for worker in self.workers if worker.status is not None]
        finished = len(statuses) == len(self.workers) and all(s.finished for s in statuses)
        marks = [worker.mark() for worker in self.workers]
        complete = finished and self._has_all_tasks(statuses)
        if not finished or complete:
            self._missing_since_s = None
        elif self._missing_since_s is None:
            self._missing_since_s = self._clock.monotonic_s()
        if not complete or self._marks not in (None, marks):
            self._marks = None
        elif self._marks is None:
            self._marks = marks
            self._check += 1
            self._tell_all(f"{CHECK} {self._check}")
        elif all(status.checked == self._check for status in statuses):
            self.finishing = self.stopping = True
            self._tell_all(FINISH)

    def _has_all_tasks(self, statuses: list[Status]) -> bool:
        names = [task.name for status in statuses for task in status.tasks]
        self._missing = max(status.tasks_planned for status in statuses) - len({*names})
        return not self._missing and len({*names}) == len(names)

    def _tell_all(self, words: str) -> None:
        for worker in self.workers:
            if worker.child is not None:
                worker.child.tell(words)


def how_ended(code: int, failure: Failure | None) -> str:
    """Say how a process ended.

    >>> how_ended(-9, None), how_ended(143, None)
    ('killed by SIGKILL', 'SIGTERM')
    """
    if failure is not None:
        return failure.lines[-1]
    if code < 0:
        return f"killed by {_signal_name(-code)}"
    if code > 128:
        return _signal_name(code - 128)
    return f"exit code {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
