"""``streamfn consume``: the records of a topic, one a line.

Records come from a log and go to stdout: embedded, of an application that is not running; on a
Kafka, committed records up to where the topic ended when the verb began. Invariant: each line
stands for one record, in the order of its partition; partitions are merged by timestamp.
"""

import sys
from collections.abc import Iterator
from itertools import islice
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
    from streamfn.connectors.log import Log
    from streamfn.record import TopicPartition
    from streamfn.results import Raw

Topic = Annotated[str, typer.Argument(metavar="TOPIC", show_default=False)]
Partition = Annotated[
    int | None, typer.Option(metavar="N", help="This partition only.", show_default=False)
]
Offset = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Begin there in each partition; -5: its last 5.  [default: the beginning]",
        show_default=False,
    ),
]
Most = Annotated[
    int | None,
    typer.Option("--max", min=0, metavar="N", help="Stop after so many.", show_default=False),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Write JSON lines; in a pipe they always are.")
]
FromBeginning = Annotated[
    bool, typer.Option("--from-beginning", help="As without it: begin at the beginning.")
]
Headers = Annotated[bool, typer.Option("--headers", help="Write headers too.")]


def consume(
    topic: Topic,
    app: AppOption = None,
    application: ApplicationOption = None,
    state_dir: StateDir = STATE_DIR,
    broker: Broker = None,
    kafka_config: KafkaConfig = None,
    partition: Partition = None,
    offset: Offset = None,
    from_beginning: FromBeginning = False,
    most: Most = None,
    as_json: AsJson = False,
    headers: Headers = False,
) -> None:
    """Show the records of a topic: partition and offset, time, key and value.

    With --app values are read by the program's types; else as JSON or text, and other bytes as 0x…
    """
    from streamfn.cli.place import find, patiently, reader_of
    from streamfn.cli.settings import configured
    from streamfn.cli.values import record_json, record_text

    write = record_json if as_json or not sys.stdout.isatty() else record_text
    place = find(configured(state_dir, broker, kafka_config), app, application)
    with place.log() as (log, _):
        wanted = patiently(lambda: _select(place, log, topic, partition, offset))
        read = reader_of(place, place.plan(log), topic)
        for record in map(read, islice(wanted, most)):
            sys.stdout.write(write(record, headers=headers) + "\n")
        sys.stdout.flush()


def _select(
    place: "Place", log: "Log", topic: str, partition: int | None, offset: int | None
) -> "Iterator[Raw]":
    """The wanted records, as bytes."""
    from streamfn.cli.place import check_topic
    from streamfn.record import TopicPartition
    from streamfn.results import merged, read_partition

    count = check_topic(place, log, topic).partitions
    wanted_ones = range(count) if partition is None else {partition} & {*range(count)}
    sources = [TopicPartition(topic, number) for number in wanted_ones]
    if not sources:
        message = (
            f"topic {topic!r} has no partition {partition}; it has {count}; name 0 to {count - 1}"
        )
        raise ConfigError(message)
    begins, ends = log.begin_offsets(sources), log.end_offsets(sources)
    parts: list[Iterator[Raw]] = []
    for source in sources:
        first, end = begins[source], ends[source]
        if offset is not None and offset < 0:
            parts.append(iter(_last(log, source, first, end, -offset)))
        else:
            parts.append(read_partition(log, source, max(first, offset or 0), end))
    return merged(parts)


def _last(log: "Log", source: "TopicPartition", first: int, end: int, count: int) -> "list[Raw]":
    """The last records of a partition; not every offset is one, so it may look back further."""
    from streamfn.results import read_partition

    back = count
    while True:
        start = max(first, end - back)
        found = list(read_partition(log, source, start, end))
        if len(found) >= count or start == first:
            return found[-count:]
        back *= 4
