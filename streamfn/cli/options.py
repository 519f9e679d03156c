"""Options that several verbs share, so that they mean the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

from streamfn.cli.load import TARGET_HELP

Target = Annotated[str, typer.Argument(metavar="TARGET", help=TARGET_HELP, show_default=False)]
StateDir = Annotated[
    Path,
    typer.Option(
        "--state-dir", metavar="D", help="Folder of log and state, shared by all applications."
    ),
]
AppOption = Annotated[
    str | None,
    typer.Option(
        "--app",
        metavar="TARGET",
        help=f"The program, for its types: {TARGET_HELP}.",
        show_default=False,
    ),
]
ApplicationOption = Annotated[
    str | None,
    typer.Option(
        "--application",
        metavar="NAME",
        help="Which application under --state-dir, by name.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")]
STATE_DIR = Path(".streamfn")
Broker = Annotated[
    str | None,
    typer.Option(
        "--broker",
        metavar="HOST:PORT",
        help="A Kafka that has the topics; without it the log is embedded.",
        show_default=False,
    ),
]
KafkaConfig = Annotated[
    Path | None,
    typer.Option(
        "--kafka-config",
        metavar="FILE",
        help="Properties of the Kafka clients, as librdkafka names them: name=value lines.",
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        "--option",
        metavar="KEY=VALUE",
        help="A setting, such as commit_interval_ms=500; run -o help lists them.",
    ),
]
