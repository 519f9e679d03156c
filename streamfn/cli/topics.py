"""``streamfn topics list``: the topics of an application, in a log or on a Kafka.

Facts come from the log's administration and go to stdout. Invariant: looking changes nothing, and
on a Kafka only topics of this application are looked at.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from streamfn.cli.console import answers, say
from streamfn.cli.options import (
    STATE_DIR,
    ApplicationOption,
    AppOption,
    Broker,
    Json,
    KafkaConfig,
    StateDir,
)

if TYPE_CHECKING:
    from streamfn.cli.place import Place
    from streamfn.connectors.log import Log

WIDE_COLUMNS = 110
SHOWN = (
    *("cleanup.policy", "delete.retention.ms", "max.message.bytes", "message.timestamp.type"),
    *("min.insync.replicas", "retention.bytes", "retention.ms"),
)


def topics(
    context: typer.Context,
    app: AppOption = None,
    application: ApplicationOption = None,
    state_dir: StateDir = STATE_DIR,
    broker: Broker = None,
    kafka_config: KafkaConfig = None,
    as_json: Json = False,
) -> None:
    """Show the topics of an application, or create or verify those of a program.

    Alone it lists them, as topics list does.
    """
    if context.invoked_subcommand is None:
        list_topics(app, application, state_dir, broker, kafka_config, as_json)


def list_topics(
    app: AppOption = None,
    application: ApplicationOption = None,
    state_dir: StateDir = STATE_DIR,
    broker: Broker = None,
    kafka_config: KafkaConfig = None,
    as_json: Json = False,
) -> None:
    """List topics with their partitions, offsets, settings and purpose.

    Of a compacted topic, and on a Kafka of any, the records are at most so many: offsets of
    overwritten ones are gone, and ends of transactions take some.
    """
    from streamfn.cli.place import find, patiently
    from streamfn.cli.settings import configured

    place = find(configured(state_dir, broker, kafka_config), app, application)
    with place.log() as (log, directory):
        rows = patiently(lambda: _rows(place, log))
        size_bytes = None if place.config.broker else _size(directory.path / "log")
    if as_json:
        from streamfn.cli.values import to_json

        for row in rows:
            say(to_json(row))
        return
    _print(place, rows, size_bytes)


def _rows(place: "Place", log: "Log") -> list[dict[str, Any]]:
    from streamfn.cli.place import purpose_of
    from streamfn.graph.describe import topic_purposes
    from streamfn.record import TopicPartition

    planned = place.plan(log)
    purposes = topic_purposes(planned) if planned else {}
    rows: list[dict[str, Any]] = []
    for name, info in sorted(place.topics(log, planned).items()):
        sources = [TopicPartition(name, number) for number in range(info.partitions)]
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
                "config": _shown(info.config),
            }
        )
    return rows


def _shown(config: Mapping[str, str]) -> dict[str, str]:
    """The settings that say what is kept, and how safely; a Kafka has fifty."""
    return {name: value for name, value in config.items() if name in SHOWN}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _print(place: "Place", rows: list[dict[str, Any]], size_bytes: int | None) -> None:
    from rich.table import Table

    from streamfn.cli.display import size
    from streamfn.graph.describe import counted

    console = answers()
    wide = console.width >= WIDE_COLUMNS
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    table.add_column("topic", overflow="fold", ratio=1)
    table.add_column("purpose", no_wrap=True)
    for name in ("partitions", "begin", "end", "records") if wide else ("partitions", "records"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("kept", no_wrap=True)
    for row in rows:
        holes = size_bytes is None or "compact" in row["config"].get("cleanup.policy", "")
        most = "≤ " if holes and row["records_max"] else ""
        bounds = (f"{sum(row['begin']):,}", f"{sum(row['end']):,}") if wide else ()
        records = f"{most}{row['records_max']:,}"
        table.add_row(
            row["topic"], row["purpose"], str(row["partitions"]), *bounds, records,
            _kept(row["config"]),
        )  # fmt: skip
    console.print(table)
    where = place.shown if size_bytes is None else f"the log takes {size(size_bytes)}"
    say(f"{place.application}: {counted(len(rows), 'topic')}, {where}")


def _kept(config: dict[str, str]) -> str:
    """Say how long records stay; --json has the settings themselves."""
    if "compact" in config.get("cleanup.policy", ""):
        return "last of key"
    retention_ms = int(config.get("retention.ms", "-1"))
    return "all" if retention_ms < 0 else f"{retention_ms / 3_600_000:g} hours"
