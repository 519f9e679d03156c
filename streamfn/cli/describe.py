"""``streamfn describe``: what a program is, before it runs: text, JSON, flowchart, code or a check.

The program is planned and compiled, never run. Invariant: partition counts are the declared ones;
nothing is opened.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from streamfn.cli.options import Json, Target

if TYPE_CHECKING:
    from streamfn.graph.plan import Plan, Subtopology

Mermaid = Annotated[bool, typer.Option("--mermaid", help="A flowchart, as Mermaid text.")]
Code = Annotated[
    bool,
    typer.Option("--code", help="The code generated for each source, or why it runs as closures."),
]
Check = Annotated[
    bool,
    typer.Option(
        "--check",
        help="Name what a replay would do differently: clock, chance, I/O, shared variables. "
        "Exit code 1 if there is any. With --json: a list.",
    ),
]


def describe(
    target: Target,
    as_json: Json = False,
    mermaid: Mermaid = False,
    code: Code = False,
    check: Check = False,
) -> None:
    """Show what a program is: sub-topologies, tasks, stages, stores, topics, types, file and line.

    All mistakes of the program are shown together, each with file:line and cure; nothing runs.
    """
    if as_json + mermaid + code > 1 or check + mermaid + code > 1:
        message = "--json, --mermaid, --code and --check exclude each other, but for --check --json"
        raise typer.BadParameter(message)
    from streamfn.cli.load import load_app
    from streamfn.graph.describe import describe as facts_of
    from streamfn.graph.describe import to_text
    from streamfn.graph.mermaid import to_mermaid
    from streamfn.graph.plan import plan

    planned = plan(load_app(target).topology())
    if check:
        _check(planned, as_json=as_json)
    elif code:
        for text in _codes(planned):
            typer.echo(text)
    elif as_json:
        import msgspec

        facts = msgspec.json.encode(facts_of(planned))
        typer.echo(msgspec.json.format(facts, indent=2).decode())
    else:
        typer.echo((to_mermaid if mermaid else to_text)(facts_of(planned)))


def _check(planned: "Plan", *, as_json: bool) -> None:
    """Tell what in the program's functions is not deterministic, and end with 1 if there is any."""
    from streamfn.cli.console import line_of
    from streamfn.graph.determinism import findings

    found = findings(planned.topology)
    if as_json:
        import msgspec

        typer.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    elif not found:
        typer.echo(f"application {planned.application}: nothing found that a replay would change")
    for finding in () if as_json else found:
        line_of("error", str(finding.mistake), "bold red")
    if found:
        raise typer.Exit(1)


def _codes(planned: "Plan") -> Iterator[str]:
    """Compile each sub-topology over stores in memory; yield the text of each source's chain."""
    for sub in planned.subtopologies:
        yield from _code(planned, sub)


def _code(planned: "Plan", sub: "Subtopology") -> Iterator[str]:
    from streamfn.clock import SystemClock
    from streamfn.config import Config
    from streamfn.connectors.partitioner import Partitioner
    from streamfn.engine.compile import explain
    from streamfn.engine.task import Task
    from streamfn.metrics import Metrics
    from streamfn.state.home import MemoryHomes

    home = MemoryHomes().open(sub.name, sub.stores)
    task = Task(
        planned, sub, 0, home, SystemClock(), Metrics(), Partitioner().partition_of, Config()
    )
    for source in sub.sources:
        yield f"# sub-topology {sub.name}, source {source.topic.name}: {explain(sub, source)}"
        yield task.compiled.chains[source.topic.name].text
    task.close()
