"""The command ``streamfn``: its verbs, and the one place where errors become exit codes.

Invariant: this module and the verbs' import typer and little else, so that ``--help`` comes at
once; the engine is imported by the verb that needs it.
"""

import inspect
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from streamfn.cli.acls import acls
from streamfn.cli.consume import consume
from streamfn.cli.describe import describe
from streamfn.cli.errors import EXIT_CODES, explained
from streamfn.cli.produce import produce
from streamfn.cli.record import record
from streamfn.cli.replay import replay
from streamfn.cli.reset import reset
from streamfn.cli.run import run
from streamfn.cli.state import state
from streamfn.cli.topics import list_topics, topics
from streamfn.cli.trace import trace
from streamfn.cli.verify import create_topics, verify_topics
from streamfn.cli.version import version
from streamfn.cli.worker import worker

HELP = """Plain Python functions as event-driven stages, with local state, exactly once.

Write a topology in FILE.py, then run it: embedded, in one process, with nothing to install, its
log and its state kept under .streamfn/; or on a Kafka (--broker), in any number of processes.
"""

EXAMPLES = {
    "": (
        "streamfn describe flights.py        what the program is",
        "streamfn run flights.py             process all there is, and what comes",
        "streamfn topics                     what is in the log now",
        "streamfn consume carrier-delays     the records of a topic",
        "streamfn run flights.py --broker localhost:9092 --workers 4",
        "streamfn record --app flights.py -o week.jsonl.zst",
        "streamfn replay flights.py week.jsonl.zst --against HEAD   what a change would do",
    ),
    "run": (
        "streamfn run flights.py --until-end -o commit_interval_ms=500",
        "streamfn run flights.py --broker localhost:9092 --workers 4",
    ),
    "describe": ("streamfn describe flights.py --mermaid > flights.mmd",),
    "topics": ("streamfn topics", "streamfn topics create --app flights.py"),
    "topics list": ("streamfn topics list --state-dir .streamfn --json",),
    "topics create": (
        "streamfn topics create --app flights.py",
        "streamfn topics create --app flights.py --broker localhost:9092 -o replication_factor=3",
    ),
    "topics verify": ("streamfn topics verify --app flights.py --broker localhost:9092",),
    "acls": ("streamfn acls flights.py --principal User:flights --broker localhost:9092",),
    "produce": ("streamfn produce flights --from flights.csv.gz --key origin --app flights.py",),
    "consume": (
        "streamfn consume carrier-delays --offset -3",
        "streamfn consume flights-dead-letters --headers --max 10",
    ),
    "record": (
        "streamfn record --app flights.py -o flights.jsonl.zst",
        "streamfn record orders --broker localhost:9092 --from -2h --sample 1% -o orders.avro",
        "streamfn record --app flights.py --state all --to +10m -o later.jsonl.zst",
    ),
    "state": ("streamfn state", "streamfn state carrier_delay-total AA --app flights.py"),
    "replay": (
        "streamfn replay flights.py last-week.jsonl.zst --out made.jsonl",
        "streamfn replay flights.py --broker localhost:9092 --from -2h --show carrier-delays",
        "streamfn replay flights.py last-week.jsonl.zst --diff",
        "streamfn replay flights.py last-week.jsonl.zst --against HEAD~1 --tolerance 1e-9",
        "streamfn replay flights.py last-week.jsonl.zst --key AA --stage carrier_delay --break",
    ),
    "trace": (
        "streamfn trace carrier-delays 0 41 --app flights.py",
        "streamfn trace carrier-delays 0 41 --app flights.py --broker localhost:9092 --depth 1",
    ),
    "reset": ("streamfn reset flights", "streamfn reset --store carrier_delay-total"),
    "version": ("streamfn version",),
}
"""A verb without an example is a verb that nobody tries."""


SHORT = {
    "run": "Run a topology, embedded or on a Kafka",
    "describe": "Show what a program is",
    "topics": "List, create or verify topics",
    "list": "List topics with offsets and purpose",
    "create": "Create the topics that a program needs",
    "verify": "Say what is wrong with them",
    "acls": "Write the least rights on a Kafka",
    "produce": "Load the rows of a file into a topic",
    "consume": "Show the records of a topic",
    "record": "Copy topics into a file that can be replayed",
    "state": "Show the entries of a store",
    "replay": "Run a program again on recorded records",
    "trace": "Show what a record was made of",
    "reset": "Start anew from the inputs; asks first",
    "version": "Show versions, for a bug report",
}
"""One line each, for the list of verbs."""


def help_of(verb: str, text: str) -> str:
    """A verb's help: what it does, and an example."""
    lines = "\n".join(f"  {example}" for example in EXAMPLES[verb])
    return f"{inspect.cleandoc(text)}\n\n\b\nExample:\n{lines}"


def exit_codes() -> str:
    """The table of exit codes."""
    lines = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())
    return f"\b\nExit codes:\n{lines}"


class Verbs(TyperGroup):
    """All verbs; what they raise is shown in one line."""

    def invoke(self, ctx: Any) -> Any:
        """Run a verb."""
        with explained():
            return super().invoke(ctx)


app = typer.Typer(
    cls=Verbs,
    name="streamfn",
    help=help_of("", HELP),
    epilog=exit_codes(),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich takes a quarter of a second to frame a help text
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (run, describe, produce, consume, record, replay, state, trace, reset, acls, version):
    epilog = exit_codes() if verb in (run, replay) else None
    text = help_of(verb.__name__, verb.__doc__ or "")
    app.command(help=text, short_help=SHORT[verb.__name__], epilog=epilog)(verb)
app.command(hidden=True)(worker)
topics_app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})
topics_app.callback(invoke_without_command=True, help=help_of("topics", topics.__doc__ or ""))(
    topics
)
for name, part in (
    ("list", list_topics),
    ("create", create_topics),
    ("verify", verify_topics),
):
    text = help_of(f"topics {name}", part.__doc__ or "")
    topics_app.command(name, help=text, short_help=SHORT[name])(part)
app.add_typer(topics_app, name="topics", short_help=SHORT["topics"])


def main() -> None:
    """Run the command line and end the process."""
    fill_streams()
    app()


def fill_streams() -> None:
    """Have what the shell has closed (``>&-``) read and write nothing, as Python gives None."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  # as long as the process
