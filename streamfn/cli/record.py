"""``streamfn record``: topics, or parts of them, into a file that can be replayed.

Records come from a log, embedded or a Kafka, in the order of a replay and go into a recording.
Invariant: nothing of the log changes, no group is joined and no position committed; a recording
that was not finished is not there.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamfn.cli.options import (
    STATE_DIR,
    ApplicationOption,
    AppOption,
    Broker,
    KafkaConfig,
    StateDir,
)
from streamfn.errors import ConfigError

if TYPE_CHECKING:
    from streamfn.cli.place import Place
    from streamfn.cli.recorder import Asked
    from streamfn.config import Config

NOBODY = "streamfn-record"
"""Who looks at a Kafka in the name of no application."""

Topics = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TOPIC]...", help="Left out: the topics of the --app.", show_default=False
    ),
]
Output = Annotated[
    Path,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="A name that ends in .jsonl, .jsonl.gz, .jsonl.zst or .avro.",
        show_default=False,
    ),
]
From = Annotated[
    list[str] | None,
    typer.Option(
        "--from",
        metavar="PLACE",
        help="A time (2013-01-31, 2013-01-31T12:30, UTC unless said; -2h), an offset (1200; -5: "
        "five before the end) or TOPIC:PARTITION:OFFSET.  [default: the beginning]",
        show_default=False,
    ),
]
To = Annotated[
    list[str] | None,
    typer.Option(
        "--to",
        metavar="PLACE",
        help="Likewise; that record is not recorded. +10m: wait and record what comes until then."
        "  [default: the end of now]",
        show_default=False,
    ),
]
Partitions = Annotated[
    list[int] | None,
    typer.Option("--partition", metavar="N", help="This one only.", show_default=False),
]
Keys = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        metavar="KEY",
        help="Only the records of this key, as plain text or JSON.",
        show_default=False,
    ),
]
Sample = Annotated[
    str | None,
    typer.Option(
        metavar="SHARE", help="Only a share of the keys, whole: 1% or 0.01.", show_default=False
    ),
]
WithOutputs = Annotated[
    bool | None,
    typer.Option(
        "--with-outputs/--inputs-only",
        help="With --app: also what the program writes.  [default: yes, but for samples]",
        show_default=False,
    ),
]
Repartitions = Annotated[
    bool | None,
    typer.Option(
        "--repartitions/--no-repartitions",
        help="With --app: also repartition topics.  [default: those that still hold all]",
        show_default=False,
    ),
]
States = Annotated[
    list[str] | None,
    typer.Option(
        "--state",
        metavar="STORE",
        help="Begin with what this store holds now ('all': each), at a commit boundary.",
        show_default=False,
    ),
]
OnGap = Annotated[
    str, typer.Option(metavar="fail|skip", help="What if records of the range are gone.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it exists.")]


def record(
    output: Output,
    topics: Topics = None,
    app: AppOption = None,
    application: ApplicationOption = None,
    state_dir: StateDir = STATE_DIR,
    broker: Broker = None,
    kafka_config: KafkaConfig = None,
    start: From = None,
    end: To = None,
    partition: Partitions = None,
    key: Keys = None,
    sample: Sample = None,
    with_outputs: WithOutputs = None,
    repartitions: Repartitions = None,
    state: States = None,
    on_gap: OnGap = "fail",
    overwrite: Overwrite = False,
) -> None:
    """Copy topics, or parts of them, into a file that can be replayed.

    Nothing is changed in the log: no group, no position, no record. With --app all topics of the
    program, each in its role. Ctrl-C leaves no file.
    """
    from streamfn.cli.interrupts import interruptible, stopped
    from streamfn.cli.recorder import Asked, Recorder
    from streamfn.cli.settings import configured
    from streamfn.clock import SystemClock
    from streamfn.replay.ranges import Span, bound_of
    from streamfn.replay.roles import Selection
    from streamfn.replay.sample import share_of

    if on_gap not in ("fail", "skip"):
        message = f"option --on-gap does not fit; got {on_gap!r}; give one of fail, skip"
        raise ConfigError(message)
    now_ms = SystemClock().now_ms()
    bounds = bound_of(start or (), now_ms), bound_of(end or (), now_ms)
    chosen = frozenset(partition) if partition else None
    thin = bool(key) or sample is not None
    outputs = with_outputs if with_outputs is not None else not thin
    between = False if repartitions is None and (thin or not outputs) else repartitions
    asked = Asked(
        Selection(tuple(dict.fromkeys(topics or ())), outputs, between),
        Span(*bounds, chosen, "skip" if on_gap == "skip" else "fail"),
        tuple(key or ()),
        None if sample is None else share_of(sample),
        tuple(dict.fromkeys(state or ())),
    )
    asked.check(app)
    place = _place(configured(state_dir, broker, kafka_config), app, application, asked)
    with interruptible(stopped(output, "recorded")):
        Recorder(place, asked, output, overwrite=overwrite).run()


def _place(
    config: "Config", target: str | None, application: str | None, asked: "Asked"
) -> "Place":
    """The application; topics of a Kafka may be recorded without one."""
    from streamfn.cli.place import Place, find

    if config.broker and target is None and application is None and asked.selection.topics:
        return Place(NOBODY, config, None)
    return find(config, target, application)
