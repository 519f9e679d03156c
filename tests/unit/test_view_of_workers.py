"""How workers look as one: what stands in the view, and what is said where there is no terminal."""

import io

import pytest
from rich.console import Console

from streamfn.cli import view_of_workers
from streamfn.cli.view_of_workers import WorkersView
from streamfn.engine.status import FeedStatus, Note, Status, TaskStatus, Waiting
from tests.unit.supervised_world import Supervised, status


class Screen:
    """A view on a console that writes to memory, in time that moves when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> None:
        self.now_s = 1_000.0
        monkeypatch.setattr(view_of_workers, "monotonic", lambda: self.now_s)
        self.world = Supervised(2)
        self.world.work()
        self._written = io.StringIO()
        console = Console(
            file=self._written, force_terminal=terminal, width=100, height=30, highlight=False,
            markup=False, color_system=None,
        )  # fmt: skip
        self.view = WorkersView("words", self.world.supervisor, console)

    def shown(self, seconds: float = 4.0) -> str:
        """Let time pass; return what is written then."""
        self.now_s += seconds
        self._written.seek(0)
        self._written.truncate()
        self.view.tick()
        return self.written()

    def written(self) -> str:
        """All that was written since."""
        return self._written.getvalue()


def test_the_view_shows_all_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums on top, a row for each; what waits says for what, and for how long."""
    screen = Screen(monkeypatch, terminal=True)
    world = screen.world
    tasks = (TaskStatus("t_1", "restoring", 500),)
    feeds = (FeedStatus("lines", 50, 100),)
    world.child(1).says.append(Status({"records": 1_200, "outputs": 7}, tasks, feeds))
    world.child(2).says.append(status("t_2", records=34, rebalances=3))
    world.step()
    world.child(2).says.append(Waiting("its loop, silent for 3 s"))
    world.ends(1, -9)
    with screen.view:
        shown = screen.shown()
        assert "words  1,234 records" in shown
        assert "crashed" in shown
        assert "worker 1 waits for its next start: killed by SIGKILL" in shown
        assert "worker 2 waits for its loop, silent for 3 s" in shown
        assert "killed by SIGKILL (since 5 s)" in screen.shown(5)
        world.step(2)
        world.child(1).says.append(Status({"records": 3}, tasks, feeds, tasks_planned=2))
        world.step()
        shown = screen.shown()
        assert "restoring, 500 changelog records to go" in shown
        assert "loading lines" in shown
        rows = [line.split() for line in shown.splitlines() if "restoring  " in line]
        assert rows == [["1", "102", "restoring", "1", "1", "0", "0", "1"]]


def test_a_line_says_the_same_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """One every few seconds, while something changes or somebody waits."""
    screen = Screen(monkeypatch, terminal=False)
    world = screen.world
    for number in (1, 2):
        world.child(number).says.append(status(f"t_{number}", records=10))
    world.step()
    screen.shown()
    assert screen.shown(1) == ""
    assert screen.shown() == "words: 20 records, 0 a second, 2 of 2 workers at work, 2 tasks\n"
    assert screen.shown() == ""
    assert screen.shown(600) == ""
    world.child(2).says.append(Waiting("the broker", alive=True))
    world.step()
    assert screen.shown().endswith("2 tasks, worker 2 waits for the broker\n")
    assert screen.shown() == ""
    assert screen.shown(30).endswith("worker 2 waits for the broker (since 34 s)\n")


def test_notes_stand_above_with_the_workers_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a program prints is an answer and stays as it is."""
    screen = Screen(monkeypatch, terminal=False)
    screen.view.note(2, Note("warning", "a topic is\nshort"))
    screen.view.note(0, Note("warning", "worker 1 ended"))
    screen.view.note(1, Note("stderr", "[red]as it is[/]"))
    screen.view.note(1, Note("stdout", "printed"))
    assert screen.written() == (
        "warning: worker 2: a topic is short\nwarning: worker 1 ended\nworker 1: [red]as it is[/]\n"
    )
    assert capsys.readouterr().out == "printed\n"


def test_a_spare_worker_is_no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only tasks that nobody has are told of."""
    screen = Screen(monkeypatch, terminal=False)
    world = screen.world
    world.child(1).says.append(status("t_1", "t_2"))
    world.child(2).says.append(Status({}, waits_for="tasks to be assigned", tasks_planned=2))
    world.step()
    assert "wait" not in screen.shown()
    world.child(1).says.append(status("t_1"))
    world.step()
    assert screen.shown().endswith(
        "worker 2 waits for tasks to be assigned, 1 of 2 tasks are with no worker here\n"
    )
