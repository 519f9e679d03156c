"""``streamfn run``: a topology at work in this process, until stopped or to the end of its inputs.

Invariant: the first Ctrl-C or SIGTERM only asks the worker to stop; it commits, writes its stores
and leaves. The second one ends the process at once, which loses nothing but time.
"""

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from streamfn.cli.console import say
from streamfn.cli.errors import ReportError, cures_of
from streamfn.cli.options import STATE_DIR, StateDir, Target
from streamfn.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from streamfn.app import App
    from streamfn.config import Config
    from streamfn.engine.worker import Worker
    from streamfn.run import EmbeddedRun

UntilEnd = Annotated[
    bool,
    typer.Option(
        "--until-end",
        help="Stop when all input is processed; show a summary and the app's reports.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        "--option",
        metavar="KEY=VALUE",
        help="A setting, such as commit_interval_ms=500; -o help lists them.",
    ),
]
OnGap = Annotated[
    str | None,
    typer.Option(
        metavar="fail|skip",
        help="What to do if unread records are gone from a topic.  [default: fail]",
        show_default=False,
    ),
]
CreateTopics = Annotated[
    bool,
    typer.Option(
        "--create-topics",
        help="Create missing topics of your own; embedded, that is always done.",
    ),
]
Workers = Annotated[
    int, typer.Option(min=1, metavar="N", help="Worker processes; more than one needs Kafka.")
]
Broker = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="A Kafka to run on; this version runs embedded only.",
        show_default=False,
    ),
]


def run(
    target: Target,
    state_dir: StateDir = STATE_DIR,
    until_end: UntilEnd = False,
    options: Settings = None,
    on_gap: OnGap = None,
    create_topics: CreateTopics = False,
    workers: Workers = 1,
    broker: Broker = None,
) -> None:
    """Run a topology: embedded, in this one process, exactly once.

    It goes on where it stopped, however it was stopped. Ctrl-C commits and leaves; a second one
    kills.
    """
    _check_embedded(workers, broker)
    if options and "help" in options:
        _list_settings()
        return
    from streamfn.cli.load import load_app
    from streamfn.config import Config

    given = {"state_dir": state_dir, **({"on_gap": on_gap} if on_gap else {})}
    config = Config.parse(options or [], **given)
    app = load_app(target)
    with cures_of(app.name, state_dir):
        _run(app, config, until_end=until_end)


def _check_embedded(workers: int, broker: str | None) -> None:
    if broker is not None:
        message = (
            "--broker cannot be used yet; this version of streamfn runs embedded only; leave it out"
        )
        raise ConfigError(message)
    if workers > 1:
        message = (
            f"--workers {workers} needs a Kafka (--broker), which this version cannot use yet; "
            "embedded, one "
            "process holds the log; leave --workers out"
        )
        raise ConfigError(message)


def _list_settings() -> None:
    from dataclasses import fields

    from streamfn.config import Config

    for field in fields(Config):
        say(f"{field.name}={field.default}")


def _run(app: "App", config: "Config", *, until_end: bool) -> None:
    from streamfn.cli.console import notes
    from streamfn.cli.display import Display, warnings_on
    from streamfn.cli.summary import Ends, print_summary
    from streamfn.run import embedded, work

    console = notes()
    with warnings_on(console), embedded(app.topology(), config) as run:
        before = Ends(run.log)
        display = Display(run, console)
        with stop_on_signals(run.worker, console) as stopped_by, display:
            work(run, until_end=until_end, each_round=display.tick)
        print_summary(run, before, display.elapsed_s(), whole=until_end and not stopped_by)
        if stopped_by:
            say_stopped(stopped_by[0], before_end=until_end)
        elif until_end:
            _report(app, run)


def say_stopped(number: int, *, before_end: bool) -> None:
    """Scripts that asked for the end must not take a stop before it for that."""
    if before_end:
        say("stopped before the end; committed up to here, run it again to go on", stderr=True)
        raise typer.Exit(128 + number)
    say("stopped; committed up to here", stderr=True)


def _report(app: "App", run: "EmbeddedRun") -> None:
    """Call the user's reports with what the run has left."""
    for fn in app.reports:
        try:
            fn(run.results())
        except Exception as error:
            name = getattr(fn, "__name__", repr(fn))
            message = (
                f"report {name!r} failed; got {type(error).__name__}: {error}; the run itself is "
                "done and committed: mend the report and run again"
            )
            raise ReportError(message) from error


@contextmanager
def stop_on_signals(worker: "Worker", console: "Console") -> Generator[list[int]]:
    """Have Ctrl-C and SIGTERM stop the worker at the end of its round; yield what came."""
    came: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if came:
            _die(number, console)
        came.append(number)
        worker.stop()

    handled = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, old in handled.items():
            signal.signal(number, old)


def _die(number: int, console: "Console") -> None:
    """End at once, as if the signal were not handled; what is uncommitted is processed again."""
    console.show_cursor(True)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
