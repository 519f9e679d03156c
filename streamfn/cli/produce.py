"""``streamfn produce``: loads the rows of a file into a topic of an application.

What the command line says goes to ``cli.loader``, which does it. Invariant: an application is never
guessed where there is none yet.
"""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from streamfn.cli.options import (
    STATE_DIR,
    ApplicationOption,
    AppOption,
    Broker,
    KafkaConfig,
    Settings,
    StateDir,
)
from streamfn.errors import ConfigError

if TYPE_CHECKING:
    from streamfn.cli.place import Place
    from streamfn.config import Config

STDIN = "-"

Topic = Annotated[str, typer.Argument(metavar="TOPIC", show_default=False)]
Source = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="FILE",
        help="CSV or JSON lines, plain or compressed; - reads JSON lines from stdin.",
        show_default=False,
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="The column that is the key; else there is none.",
        show_default=False,
    ),
]
Timestamp = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="The event time (ISO 8601 or milliseconds); else the time of loading.",
        show_default=False,
    ),
]
Format = Annotated[
    str, typer.Option(metavar="auto|csv|jsonl", help="What FILE is; auto goes by its name.")
]
Partitions = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Of a topic that is made now.  [default: as the program says, or 1]",
        show_default=False,
    ),
]
OnError = Annotated[
    str | None,
    typer.Option(
        metavar="fail|skip|dead_letter",
        help="What becomes of a senseless row.  [default: as the program says, or fail]",
        show_default=False,
    ),
]
Again = Annotated[
    bool,
    typer.Option("--again", help="Load a file once more that is already loaded, or has changed."),
]


def produce(
    topic: Topic,
    source: Source,
    app: AppOption = None,
    application: ApplicationOption = None,
    state_dir: StateDir = STATE_DIR,
    broker: Broker = None,
    kafka_config: KafkaConfig = None,
    options: Settings = None,
    key: Key = None,
    timestamp: Timestamp = None,
    format: Format = "auto",
    partitions: Partitions = None,
    on_error: OnError = None,
    again: Again = False,
) -> None:
    """Load the rows of a file into a topic; a killed load goes on where it stopped, no row twice.

    With --app rows must fit the topic's type; else each becomes a JSON object. A new log:
    --application NAME.
    """
    from streamfn.cli.loader import Loader, feed_name
    from streamfn.cli.settings import configured

    _check_choices(format, on_error)
    config = configured(state_dir, broker, kafka_config, options)
    place = _place(config, app, application)
    _check_topic(place.application, topic)
    with _readable(source) as path:
        loader = Loader(place, topic, path, key, timestamp, format, partitions, on_error)
        if source == STDIN:
            loader.shown = "stdin"
            loader.run(f"load-{topic[:60]}-stdin", config, anew=True)
        else:
            loader.load(feed_name(topic, path), config, again=again)


def _check_choices(format: str, on_error: str | None) -> None:
    for option, got, known in (
        ("--format", format, ("auto", "csv", "jsonl")),
        ("--on-error", on_error, ("fail", "skip", "dead_letter", None)),
    ):
        if got not in known:
            listed = ", ".join(word for word in known if word)
            message = f"option {option} does not fit; got {got!r}; give one of {listed}"
            raise ConfigError(message)


def _check_topic(application: str, topic: str) -> None:
    """Refuse a name that no topic may have, and a topic that only streamfn may write."""
    from streamfn.cli.place import purpose_of
    from streamfn.graph.naming import is_valid

    if not is_valid(topic):
        message = (
            f"topic {topic!r} cannot be made; got a name that does not fit; use 1 to 200 of "
            "A-Z a-z 0-9 . _ -, not '.' or '..'"
        )
        raise ConfigError(message)
    purpose = purpose_of(application, topic)
    if purpose != "user":
        message = (
            f"topic {topic!r} is internal to {application!r}; got one of purpose {purpose!r}, "
            "which streamfn alone writes; name a topic of your own"
        )
        raise ConfigError(message)


def _place(config: "Config", target: str | None, application: str | None) -> "Place":
    """The application; one that has nothing yet must be named."""
    from streamfn.cli.place import applications, find

    unnamed = target is None and application is None and not config.broker
    if unnamed and not applications(config.state_dir):
        message = (
            f"state folder {str(config.state_dir)!r} has no application yet; got neither --app nor "
            "--application; say for which the rows are: --app TARGET, or --application NAME"
        )
        raise ConfigError(message)
    return find(config, target, application)


@contextmanager
def _readable(source: str) -> Generator[str]:
    """The path to read; stdin is kept in a file first: a transaction may have to be made again."""
    import shutil
    import tempfile

    if source != STDIN:
        yield source
        return
    with tempfile.NamedTemporaryFile(prefix="streamfn-stdin-", suffix=".jsonl") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        if not file.tell():
            message = "stdin has no rows; got 0 bytes; pipe JSON lines into it"
            raise ConfigError(message)
        yield file.name
