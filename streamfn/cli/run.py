"""``streamfn run``: a topology at work, until stopped or to the end of its inputs.

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
from streamfn.cli.options import STATE_DIR, Broker, KafkaConfig, Settings, StateDir, Target
from streamfn.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from streamfn.app import App
    from streamfn.config import Config
    from streamfn.engine.worker import Worker
    from streamfn.results import Results

UntilEnd = Annotated[
    bool,
    typer.Option(
        "--until-end",
        help="Stop when all input is processed; show a summary and the app's reports.",
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
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="On a Kafka: so many worker processes, started again if they crash.  [default: "
        "work in this process]",
        show_default=False,
    ),
]


def run(
    target: Target,
    state_dir: StateDir = STATE_DIR,
    broker: Broker = None,
    workers: Workers = None,
    kafka_config: KafkaConfig = None,
    options: Settings = None,
    create_topics: CreateTopics = False,
    until_end: UntilEnd = False,
    on_gap: OnGap = None,
) -> None:
    """Run a topology, exactly once: embedded, or on a Kafka with any number of workers.

    It goes on where it stopped, however it was stopped. Ctrl-C commits and leaves; a second one
    kills. A worker process that gets SIGTERM leaves, and is started again at once: so workers can
    be restarted one by one.
    """
    if options and "help" in options:
        _list_settings()
        return
    from streamfn.cli.load import load_app
    from streamfn.cli.settings import configured

    given = {"on_gap": on_gap} if on_gap else {}
    config = configured(state_dir, broker, kafka_config, options, **given)
    _check_embedded(config, workers)
    app = load_app(target)
    with cures_of(app.name, config, target):
        if workers is None or not config.broker:
            _run(app, config, until_end=until_end, create_topics=create_topics)
        else:
            from streamfn.cli.supervise import supervise

            supervise(
                app, target, config, workers=workers, until_end=until_end,
                create_topics=create_topics,
            )  # fmt: skip


def _check_embedded(config: "Config", workers: int | None) -> None:
    if not config.broker and (workers or 1) > 1:
        message = (
            f"--workers {workers} needs a Kafka; got no --broker, and embedded, one process holds "
            "the log; add --broker HOST:PORT, or leave --workers out"
        )
        raise ConfigError(message)


def _list_settings() -> None:
    from streamfn.cli.console import answers
    from streamfn.cli.settings_help import settings_table

    answers().print(settings_table())


def _run(app: "App", config: "Config", *, until_end: bool, create_topics: bool) -> None:
    """Run in this process."""
    from streamfn.cli.console import notes
    from streamfn.cli.display import Display, warnings_on
    from streamfn.cli.summary import Ends, Figures, print_summary
    from streamfn.run import opened, work

    console, topology = notes(), app.topology()
    with (
        warnings_on(console),
        opened(topology, config, create_user_topics=create_topics) as run,
    ):
        before = Ends(run.log, run.plan) if until_end else None
        display = Display(run, console)
        with stop_on_signals(run.worker, console) as stopped_by, display:
            work(run, until_end=until_end, each_round=display.tick)
        figures = Figures(run.plan, config, run.worker.metrics, display.elapsed_s())
        whole = until_end and not stopped_by
        print_summary(figures, run.log if whole else None, before)
        if stopped_by:
            say_stopped(stopped_by[0], before_end=until_end)
        elif until_end:
            call_reports(app, run.results())


def say_stopped(number: int, *, before_end: bool) -> None:
    """Scripts that asked for the end must not take a stop before it for that."""
    if before_end:
        say("stopped before the end; committed up to here, run it again to go on", stderr=True)
        raise typer.Exit(128 + number)
    say("stopped; committed up to here", stderr=True)


def call_reports(app: "App", results: "Results") -> None:
    """Call the user's reports with what a run has left."""
    for fn in app.reports:
        try:
            fn(results)
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
