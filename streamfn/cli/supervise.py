"""``streamfn run --broker B --workers N``: a supervisor in this process, the workers in others.

The first Ctrl-C, SIGTERM or SIGHUP has all workers commit and leave, the second one kills them.
Invariant: what ends this process, ends the workers: they notice that their stdin has ended.
"""

import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final

import typer

from streamfn.cli.children import Children
from streamfn.cli.console import notes
from streamfn.cli.display import warnings_on
from streamfn.cli.errors import Explanation, show
from streamfn.cli.job import job_of
from streamfn.cli.summary import Ends, Figures, print_summary
from streamfn.cli.view_of_workers import WorkersView
from streamfn.clock import SystemClock
from streamfn.engine.status import metrics_of
from streamfn.engine.supervisor import Supervisor
from streamfn.engine.topics import existing_partitions
from streamfn.graph.plan import Plan, plan
from streamfn.results import Results
from streamfn.run import opened_log, wait_for

if TYPE_CHECKING:
    from rich.console import Console

    from streamfn.app import App
    from streamfn.config import Config

ROUND_S: Final = 0.1
MARGIN_S: Final = 10.0
"""A child's own watchdog comes first by so much: it leaves a dump."""


def supervise(
    app: "App",
    target: str,
    config: "Config",
    *,
    workers: int,
    until_end: bool,
    create_topics: bool,
) -> None:
    """Run a topology in worker processes until stopped, or to the end of its inputs.

    Raises:
        LogError: the broker cannot be reached.
        TopologyError: the topology does not fit the topics that are there.
    """
    planned, before = _look_at_log(app, config, until_end=until_end)
    console = notes()
    children = Children(
        job_of(target, config, create_topics=create_topics),
        take_stdout=console.is_terminal and sys.stdout.isatty(),
    )
    silence_s = config.watchdog_ms / 1000 + MARGIN_S if config.watchdog_ms else 0.0
    supervisor = Supervisor(
        children.spawn, workers, SystemClock(),
        until_end=until_end, silence_s=silence_s,
        start_silence_s=silence_s and silence_s + config.connect_timeout_ms / 1000,
    )  # fmt: skip
    view = WorkersView(app.name, supervisor, console)
    supervisor.note = view.note
    try:
        with _signals(supervisor, console) as came, view:
            _go_round(supervisor, children, view, came)
    finally:
        children.close()
    _conclude(app, planned, config, before, supervisor, view.elapsed_s(), came, until_end=until_end)


def _look_at_log(app: "App", config: "Config", *, until_end: bool) -> tuple[Plan, Ends | None]:
    """See once, before N workers do, that the broker is there and the topology fits it."""
    topology = app.topology()
    with warnings_on(notes()), opened_log(app.name, config) as (log, _):
        wait_for(log, config, SystemClock())
        planned = plan(topology, existing_partitions(topology, log))
        return planned, Ends(log, planned) if until_end else None


def _go_round(
    supervisor: Supervisor, children: Children, view: WorkersView, came: list[int]
) -> None:
    passed_on = False
    while not supervisor.done:
        if came and not passed_on:  # here, not in the handler: a child may just be being born
            passed_on = True
            supervisor.stop()
        supervisor.step()
        view.tick()
        children.wait(ROUND_S)


def _conclude(
    app: "App",
    planned: Plan,
    config: "Config",
    before: Ends | None,
    supervisor: Supervisor,
    seconds: float,
    came: list[int],
    *,
    until_end: bool,
) -> None:
    """Say how it went; call the reports if it went to the end."""
    from streamfn.cli.run import call_reports, say_stopped

    if supervisor.failure is not None:
        failure = supervisor.failure
        raise typer.Exit(show(Explanation(failure.lines, failure.exit_code, failure.trace)))
    metrics, whole = metrics_of(supervisor.counts), supervisor.finishing
    figures = Figures(planned, config, metrics, seconds, _worker_lines(supervisor))
    if not whole or before is None:
        print_summary(figures)
        say_stopped(came[0] if came else signal.SIGTERM, before_end=until_end)
        return
    with opened_log(app.name, config) as (log, _):
        print_summary(figures, log, before)
        call_reports(app, Results(planned, log, metrics))


def _worker_lines(supervisor: Supervisor) -> tuple[str, ...]:
    """A line for each worker."""
    from streamfn.graph.describe import counted

    found: list[str] = []
    for worker in supervisor.workers:
        counts = worker.counts
        said = f"worker {worker.number}: {counted(counts['records'], 'record')}"
        said += f", {counted(counts['outputs'], 'output')}"
        said += f", {counted(worker.restarts, 'restart')}" if worker.restarts else ""
        found.append(said)
    return tuple(found)


@contextmanager
def _signals(supervisor: Supervisor, console: "Console") -> Generator[list[int]]:
    """Note the first signal that asks to stop; the second one ends all at once.

    SIGHUP stays ignored where it is (nohup).
    """
    came: list[int] = []
    terminals = [stream for stream in (1, 2) if os.isatty(stream)]

    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _forget(terminals)
        if came:
            supervisor.kill()
            console.show_cursor(True)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        came.append(number)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    handled = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield came
    finally:
        for number, old in handled.items():
            signal.signal(number, old)


def _forget(terminals: list[int]) -> None:
    """Write nowhere from now on: the terminal is gone, and the workers are still to be heard."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in terminals:
        os.dup2(nothing, stream)
    os.close(nothing)
