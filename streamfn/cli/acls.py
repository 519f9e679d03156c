"""``streamfn acls``: the least rights that a program needs on a Kafka, as commands to give them.

The program is planned, never run, and nothing is asked of a broker. Invariant: what is written is
what ``graph.rights`` has worked out, one command for each resource.
"""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from streamfn.cli.console import say
from streamfn.cli.options import Json, Target

if TYPE_CHECKING:
    from streamfn.graph.rights import Right
    from streamfn.graph.topology import Topology

Principal = Annotated[
    str,
    typer.Option(
        metavar="User:NAME", help="Who the workers are to the broker.", show_default=False
    ),
]
BrokerShown = Annotated[
    str,
    typer.Option("--broker", metavar="HOST:PORT", help="To write into the commands."),
]
CommandConfig = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="To write into the commands: the properties that let you in as administrator.",
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        "--option",
        metavar="KEY=VALUE",
        help="As for run; internal_topics=verify needs no right to create any.",
    ),
]
CreateTopics = Annotated[
    bool, typer.Option("--create-topics", help="The workers create topics of your own, too.")
]
Prefixed = Annotated[
    bool,
    typer.Option(
        "--prefixed", help="One right for all topics named <app>-…; fits later versions as well."
    ),
]


def acls(
    target: Target,
    principal: Principal,
    broker: BrokerShown = "$BROKER",
    command_config: CommandConfig = None,
    options: Settings = None,
    create_topics: CreateTopics = False,
    prefixed: Prefixed = False,
    as_json: Json = False,
) -> None:
    """Write the least rights that a program's workers need, as kafka-acls.sh commands.

    Nothing is changed and no broker is asked; pipe it into a shell as an administrator.
    """
    from streamfn.cli.load import load_app
    from streamfn.config import Config
    from streamfn.graph.plan import plan
    from streamfn.graph.rights import rights_of

    _check_principal(principal)
    config = Config.parse(options or [])
    topology = load_app(target).topology()
    planned = plan(topology, _widths(topology))
    rights = rights_of(
        planned,
        exactly_once=config.guarantee == "exactly_once",
        create_internal=config.internal_topics == "create",
        create_user_topics=create_topics,
        prefixed=prefixed,
    )
    if as_json:
        _write_json(rights, principal)
        return
    shown = broker if broker == "$BROKER" else shlex.quote(broker)
    start = f"kafka-acls.sh --bootstrap-server {shown}"
    start += f" --command-config {shlex.quote(command_config)}" if command_config else ""
    say(f"# what {principal} needs to run application {planned.application}, and nothing more")
    for right in rights:
        say(f"# {right.purpose}")
        say(f"{start} --add --allow-principal {shlex.quote(principal)} {_words(right)}")


def _widths(topology: "Topology") -> dict[str, int]:
    """Partition counts that fit: the true ones are the cluster's, and rights do not go by them."""
    from streamfn.graph.plan import user_topics

    declared = {name: topic.partitions for name, topic in user_topics(topology).items()}
    widest = max((count for count in declared.values() if count), default=1)
    return {name: count or widest for name, count in declared.items()}


def _words(right: "Right") -> str:
    """Resource and operations as options of kafka-acls.sh."""
    words = [f"--operation {operation}" for operation in right.operations]
    words.append(f"--{right.kind} {shlex.quote(right.name)}")
    words += ["--resource-pattern-type prefixed"] if right.prefixed else []
    return " ".join(words)


def _write_json(rights: "list[Right]", principal: str) -> None:
    from streamfn.cli.values import to_json

    for right in rights:
        say(
            to_json(
                {
                    "principal": principal,
                    "resource": right.kind,
                    "name": right.name,
                    "pattern": "prefixed" if right.prefixed else "literal",
                    "operations": list(right.operations),
                    "purpose": right.purpose,
                }
            )
        )


def _check_principal(principal: str) -> None:
    from streamfn.errors import ConfigError

    kind, colon, name = principal.partition(":")
    if not (kind and colon and name):
        message = f"principal {principal!r} does not fit; got no kind; write User:{principal}"
        raise ConfigError(message)
