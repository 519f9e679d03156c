"""``streamfn topics``: lists the topics of an application's log, and makes a program's."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamfn.cli.console import answers, say
from streamfn.cli.options import STATE_DIR, ApplicationOption, AppOption, Json, StateDir

if TYPE_CHECKING:
    from streamfn.cli.place import Place
    from streamfn.connectors.embedded import EmbeddedLog

WIDE_COLUMNS = 110


def topics(
    context: typer.Context,
    app: AppOption = None,
    application: ApplicationOption = None,
    state_dir: StateDir = STATE_DIR,
    as_json: Json = False,
) -> None:
    """Show the topics of an application's log, or create those of a program.

    Alone it lists them, as topics list does.
    """
    if context.invoked_subcommand is None:
        list_topics(app, application, state_dir, as_json)


def list_topics(
    app: AppOption = None,
    application: ApplicationOption = None,
    state_dir: StateDir = STATE_DIR,
    as_json: Json = False,
) -> None:
    """List topics with their partitions, offsets, settings and purpose.

    Of a compacted topic the records are at most so many: offsets of overwritten ones are gone.
    """
    from streamfn.cli.place import find

    place = find(state_dir, app, application)
    with place.log() as (log, directory):
        rows = _rows(place, log)
        size_bytes = _size(directory.path / "log")
    if as_json:
        from streamfn.cli.values import to_json

        for row in rows:
            say(to_json(row))
        return
    _print(place.application, rows, size_bytes)


def _rows(place: "Place", log: "EmbeddedLog") -> list[dict[str, Any]]:
    from streamfn.cli.place import purpose_of
    from streamfn.graph.describe import topic_purposes
    from streamfn.results import partitions_of

    planned = place.plan(log)
    purposes = topic_purposes(planned) if planned else {}
    rows: list[dict[str, Any]] = []
    for name, info in sorted(log.topics().items()):
        sources = partitions_of(log, name)
        begins, ends = log.begin_offsets(sources), log.end_offsets(sources)
        committed = log.committed(sources)
        rows.append(
            {
                "topic": name,
                "purpose": purposes.get(name) or purpose_of(place.application, name),
                "partitions": info.partitions,
                "begin": [begins[source] for source in sources],
                "end": [ends[source] for source in sources],
                "committed": [committed[s].offset if s in committed else None for s in sources],
                "records_max": sum(ends[source] - begins[source] for source in sources),
                "config": dict(info.config),
            }
        )
    return rows


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _print(application: str, rows: list[dict[str, Any]], size_bytes: int) -> None:
    from rich.table import Table

    from streamfn.cli.display import size

    console = answers()
    wide = console.width >= WIDE_COLUMNS
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    table.add_column("topic", overflow="fold", ratio=1)
    table.add_column("purpose", no_wrap=True)
    for name in ("partitions", "begin", "end", "records") if wide else ("partitions", "records"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("kept", no_wrap=True)
    for row in rows:
        most = "≤ " if "compact" in row["config"].get("cleanup.policy", "") else ""
        bounds = (f"{sum(row['begin']):,}", f"{sum(row['end']):,}") if wide else ()
        records = f"{most}{row['records_max']:,}"
        table.add_row(
            row["topic"], row["purpose"], str(row["partitions"]), *bounds, records,
            _kept(row["config"]),
        )  # fmt: skip
    console.print(table)
    say(f"{application}: {len(rows)} topics, the log takes {size(size_bytes)}")


def _kept(config: dict[str, str]) -> str:
    """Say how long records stay; --json has the settings themselves."""
    if "compact" in config.get("cleanup.policy", ""):
        return "last of key"
    retention_ms = int(config.get("retention.ms", "-1"))
    return "all" if retention_ms < 0 else f"{retention_ms / 3_600_000:g} hours"


def create_topics(
    app: Annotated[
        str,
        typer.Option(
            "--app",
            metavar="TARGET",
            help="The program whose topics to create.",
            show_default=False,
        ),
    ],
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Create the topics of a program that are missing, its own and the internal ones.

    Those that are there are checked against it. Embedded, run does the same by itself.
    """
    from streamfn.cli.errors import cures_of
    from streamfn.cli.load import load_app
    from streamfn.config import Config
    from streamfn.engine.topics import ensure_topics
    from streamfn.run import embedded

    config = Config(state_dir=state_dir)
    topology = load_app(app).topology()
    with cures_of(topology.application, state_dir), embedded(topology, config) as run:
        before = set(run.log.topics())
        run.log.join(run.plan.application, 0, run.worker)
        ensure_topics(run.plan, run.log, config, create_user_topics=True)
        made = [name for name in run.log.topics() if name not in before]
    for name in made:
        say(f"created {name}, partitions {run.log.topics()[name].partitions}")
    if not made:
        say("all topics are there")
