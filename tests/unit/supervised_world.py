"""A supervisor over children that are no processes, in virtual time: what the tests say happens."""

from typing import Any

from streamfn.clock import ManualClock
from streamfn.engine.status import Failure, Message, Note, Status, TaskStatus
from streamfn.engine.supervisor import Supervisor

PLANNED = 2


class ScriptedChild:
    """A child that does what a test says."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.code: int | None = None
        self.told: list[str] = []
        self.says: list[Message] = []
        self.leaves = True
        """Whether SIGTERM ends it."""

    def exit_code(self) -> int | None:
        """None while it lives."""
        return self.code

    def messages(self) -> list[Message]:
        """Return what it says, once."""
        said, self.says = self.says, []
        return said

    def tell(self, words: str) -> None:
        """Remember a command; ``finish`` is obeyed."""
        self.told.append(words)
        if words == "finish":
            self.code = 0

    def terminate(self) -> None:
        """Remember the signal, and obey."""
        self.told.append("SIGTERM")
        if self.leaves and self.code is None:
            self.code = 143

    def kill(self) -> None:
        """End."""
        self.told.append("SIGKILL")
        if self.code is None:
            self.code = -9


class Supervised:
    """A supervisor, its children in the order of their birth, its lines and its clock."""

    def __init__(self, workers: int = 2, **settings: Any) -> None:
        self.clock = ManualClock()
        self.born: list[ScriptedChild] = []
        self.lines: list[str] = []
        self.supervisor = Supervisor(self._spawn, workers, self.clock, note=self._note, **settings)
        self.step()

    def _spawn(self, number: int) -> ScriptedChild:
        self.born.append(ScriptedChild(pid=100 + len(self.born)))
        return self.born[-1]

    def _note(self, number: int, note: Note) -> None:
        self.lines.append(f"{number} {note.word} {note.text}")

    def child(self, number: int) -> ScriptedChild:
        """The process that a worker has now."""
        child = self.supervisor.workers[number - 1].child
        assert isinstance(child, ScriptedChild), f"worker {number} has no process"
        return child

    def step(self, seconds: float = 0.0) -> None:
        """Let time pass and go round."""
        self.clock.sleep(seconds)
        self.supervisor.step()

    def work(self) -> None:
        """All say that they work, each with a task."""
        for worker in self.supervisor.workers:
            if worker.child is not None:
                self.child(worker.number).says.append(status(f"t_{worker.number}"))
        self.step()

    def ends(self, number: int, code: int, failure: Failure | None = None) -> None:
        """A child ends."""
        child = self.child(number)
        if failure is not None:
            child.says.append(failure)
        child.code = code
        self.step()

    def seconds_to_the_next_start(self) -> float:
        """Go round until another process is born; return how long that took."""
        started_s, born = self.clock.monotonic_s(), len(self.born)
        while len(self.born) == born:
            self.step(0.5)
            assert self.clock.monotonic_s() - started_s <= 40, self.lines
        return self.clock.monotonic_s() - started_s


def status(
    *tasks: str,
    finished: bool = False,
    checked: int = 0,
    planned: int = PLANNED,
    **counts: int,
) -> Status:
    """Say what a loop would say."""
    own = tuple(TaskStatus(task, "running", 0) for task in tasks)
    return Status(counts, own, (), "", planned, finished, checked)
