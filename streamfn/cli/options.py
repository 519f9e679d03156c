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
