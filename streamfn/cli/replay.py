"""``streamfn replay``: a program run again on recorded records, apart from production.

Records come from a recording or straight from a log's topics; what the program makes of them goes
to a file, a table or a comparison. Invariant: a log is only read: no group, no commit, no record
written; state lives in a temporary folder and goes with the replay.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamfn.cli.options import (
    STATE_DIR,
    Broker,
    Json,
    KafkaConfig,
    Settings,
    StateDir,
    Target,
)
from streamfn.errors import ConfigError

if TYPE_CHECKING:
    from streamfn.config import Config
    from streamfn.replay.opening import Wanted

Recording = Annotated[
    Path | None,
    typer.Argument(
        metavar="[RECORDING]",
        help="A file that streamfn record has written; left out: straight from the topics.",
        show_default=False,
    ),
]
From = Annotated[
    list[str] | None,
    typer.Option(
        "--from",
        metavar="T|OFFSET",
        help="Of topics: begin there: 2013-01-31, -2h, an offset, TOPIC:PARTITION:OFFSET.",
        show_default=False,
    ),
]
To = Annotated[
    list[str] | None,
    typer.Option("--to", metavar="T|OFFSET", help="Of topics: end there.", show_default=False),
]
OnGap = Annotated[
    str,
    typer.Option(metavar="fail|skip", help="Of topics: what to do if records of it are gone."),
]
Workers = Annotated[
    int, typer.Option(min=1, metavar="N", help="Share the tasks so: the answers are the same.")
]
EndToEnd = Annotated[
    bool,
    typer.Option(
        "--end-to-end",
        help="Feed topics that the program itself writes from the replay, not the recording.",
    ),
]
Repartitions = Annotated[
    bool,
    typer.Option(
        "--repartitions",
        help="Feed repartition topics from the recording too: the order of the live run.",
    ),
]
FailFast = Annotated[
    bool, typer.Option("--fail-fast", help="Stop at the first record that fails, as a run does.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Write outputs, failures and the final state there, as JSON lines (.gz, .zst).",
        show_default=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it is there.")]
Show = Annotated[
    list[str] | None,
    typer.Option(
        "--show",
        metavar="TOPIC|STORE",
        help="Print what the replay has made of it.",
        show_default=False,
    ),
]


Diff = Annotated[
    bool,
    typer.Option("--diff", help="Compare with what the real run wrote; exit code 1: it differs."),
]
Against = Annotated[
    str | None,
    typer.Option(
        metavar="OTHER",
        help="Compare with another version: OTHER.py[:app], or a git revision such as HEAD~1.",
        show_default=False,
    ),
]
Ignore = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FIELD",
        help="Leave a field out of the comparison: price, legs[].at, <timestamp>.",
        show_default=False,
    ),
]
Tolerance = Annotated[
    list[str] | None,
    typer.Option(
        metavar="N|FIELD=N",
        help="Numbers that are so near are equal: 1e-9, price=0.01.",
        show_default=False,
    ),
]
Examples = Annotated[
    int, typer.Option(min=0, metavar="N", help="Of each kind of difference, show so many.")
]
NoSelfCheck = Annotated[
    bool,
    typer.Option("--no-self-check", help="Compare at once, not first the program with itself."),
]
Key = Annotated[
    str | None,
    typer.Option(metavar="K", help="With --stage: the calls for this key.", show_default=False),
]
Stage = Annotated[
    str | None, typer.Option(metavar="S", help="With --key: at this stage.", show_default=False)
]
Break = Annotated[
    bool, typer.Option("--break", help="With --key and --stage: stop in the debugger at each call.")
]
At = Annotated[
    str | None,
    typer.Option(metavar="T", help="With --break: begin at this time.", show_default=False),
]


def replay(
    target: Target,
    recording: Recording = None,
    begin: From = None,
    end: To = None,
    on_gap: OnGap = "fail",
    state_dir: StateDir = STATE_DIR,
    broker: Broker = None,
    kafka_config: KafkaConfig = None,
    options: Settings = None,
    workers: Workers = 1,
    end_to_end: EndToEnd = False,
    repartitions: Repartitions = False,
    fail_fast: FailFast = False,
    out: Out = None,
    overwrite: Overwrite = False,
    show: Show = None,
    diff: Diff = False,
    against: Against = None,
    ignore: Ignore = None,
    tolerance: Tolerance = None,
    examples: Examples = 3,
    no_self_check: NoSelfCheck = False,
    as_json: Json = False,
    key: Key = None,
    stage: Stage = None,
    debugger: Break = False,
    at: At = None,
) -> None:
    """Run a program again on a recording, or on topics as they are, apart from production.

    The log is only read: no group, no commits, nothing is written to any topic. Time is that of the
    records; state is kept in a temporary folder. A record that fails is told of and the rest goes
    on. Two replays of the same records write the same bytes.
    """
    from streamfn.cli.replaying import Asked, Manner, go
    from streamfn.replay.diff.compare import Options, rules

    config, wanted = _wanted(
        recording, begin, end, on_gap, state_dir, broker, kafka_config, options
    )
    asked = Asked(
        target, wanted, config, Manner(workers, end_to_end, repartitions, fail_fast),
        out=out, overwrite=overwrite, show=tuple(show or ()), diff=diff, against=against,
        options=Options(rules(ignore or (), tolerance or ()), examples, not no_self_check),
        as_json=as_json, key=key, stage=stage, debugger=debugger, at=at,
    )  # fmt: skip
    go(asked)


def _wanted(
    recording: Path | None,
    begin: list[str] | None,
    end: list[str] | None,
    on_gap: str,
    state_dir: Path,
    broker: str | None,
    kafka_config: Path | None,
    options: list[str] | None,
) -> "tuple[Config, Wanted]":
    """Say which records are meant, and with which settings.

    Raises:
        ConfigError: a recording and a place in a log were both named, or a bound is none.
    """
    from streamfn.cli.settings import configured
    from streamfn.clock import SystemClock
    from streamfn.replay.opening import Wanted
    from streamfn.replay.ranges import Span, bound_of

    config = configured(state_dir, broker, kafka_config, options, on_gap=on_gap)
    if recording is not None:
        given = {"--from": begin, "--to": end, "--broker": broker}
        named = [name for name, value in given.items() if value]
        if named:
            message = (
                f"{named[0]} is for topics; got a recording, {str(recording)!r}, which is replayed "
                "whole; leave one of them out, or record less"
            )
            raise ConfigError(message)
        return config, Wanted(recording, config)
    now_ms = SystemClock().now_ms()
    span = Span(
        bound_of(begin or (), now_ms), bound_of(end or (), now_ms),
        on_gap="skip" if config.on_gap == "skip" else "fail",
    )  # fmt: skip
    return config, Wanted(None, config, span)
