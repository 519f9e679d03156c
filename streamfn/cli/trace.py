"""``streamfn trace``: from an output back to the records that it was made of.

Records come from a log and go to stdout as a tree, the output first, then what it was made of; what
topics no longer hold is said. Invariant: looking changes nothing, and nothing that is shown is
guessed.
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

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
    from collections.abc import Callable

    from streamfn.cli.place import Place
    from streamfn.connectors.log import Log
    from streamfn.graph.plan import Plan
    from streamfn.record import Record
    from streamfn.replay.trace import Found, Hop
    from streamfn.results import Raw

Topic = Annotated[str, typer.Argument(metavar="TOPIC", show_default=False)]
Partition = Annotated[int, typer.Argument(metavar="PARTITION", min=0, show_default=False)]
Offset = Annotated[int, typer.Argument(metavar="OFFSET", min=0, show_default=False)]
Depth = Annotated[
    int | None,
    typer.Option(
        "--depth", min=0, metavar="N", help="Go back so many records at most.", show_default=False
    ),
]
SWITCH = "streamfn run … -o provenance=true"


def trace(
    topic: Topic,
    partition: Partition,
    offset: Offset,
    app: AppOption = None,
    application: ApplicationOption = None,
    state_dir: StateDir = STATE_DIR,
    broker: Broker = None,
    kafka_config: KafkaConfig = None,
    depth: Depth = None,
    as_json: Json = False,
) -> None:
    """Show what a record was made of: the stage, the code, the input record, and so on.

    Outputs say so if the program runs with -o provenance=true. With --app keys and values are read
    by the program's types, and a version of the code that is not the program's own is told.
    """
    from streamfn.cli.console import say
    from streamfn.cli.place import check_topic, find, patiently
    from streamfn.cli.settings import configured
    from streamfn.cli.values import to_json
    from streamfn.clock import SystemClock
    from streamfn.record import TopicPartition
    from streamfn.replay.trace import Place as Where
    from streamfn.replay.trace import Reader, check_start, walk

    place = find(configured(state_dir, broker, kafka_config), app, application)
    with place.log() as (log, _):
        reader, where = Reader(log, SystemClock()), Where(TopicPartition(topic, partition), offset)
        patiently(lambda: check_topic(place, log, topic))
        start = patiently(lambda: reader.find(where))
        check_start(start)
        shown = _Shown(place, log)
        hops = walk(lambda onward: patiently(lambda: reader.find(onward)), start, depth)
        if as_json:
            say(to_json({"version": shown.version, "path": list(map(shown.facts, hops))}))
            return
        for level, hop in enumerate(hops):
            for line in shown.lines(hop, level):
                say(line)


class _Shown:
    """Writes hops with the types of the program, if that is known."""

    def __init__(self, place: "Place", log: "Log") -> None:
        from streamfn.cli.place import patiently

        self._place = place
        self._plan: Plan | None = patiently(lambda: place.plan(log))
        self.version = self._version()
        self._readers: dict[str, Callable[[Raw], Record[Any, Any]]] = {}

    def _version(self) -> str | None:
        from streamfn.graph.version import code_version

        return None if self._plan is None else code_version(self._plan.topology)

    def record(self, raw: "Raw") -> "tuple[Record[Any, Any], str]":
        """Decode a record; one that does not fit the types is shown as it looks, and why."""
        from streamfn.cli.place import reader_of
        from streamfn.errors import SerdeError

        if raw.topic not in self._readers:
            self._readers[raw.topic] = reader_of(self._place, self._plan, raw.topic)
        try:
            return self._readers[raw.topic](raw), ""
        except SerdeError as error:
            return reader_of(self._place, None, raw.topic)(raw), str(error)

    def notes(self, hop: "Hop") -> list[str]:
        """What is to be said of a hop besides what it is."""
        from streamfn.replay.trace import why_gone

        found, root = hop.found, hop.root
        onward = f"its root says {root.place}" if root and root.place.offset >= 0 else ""
        if root and root.place.offset < 0:
            onward = f"its root says that a timer of task {root.place.source.topic} made it"
        if hop.ended == "gone":
            return [_joined(f"gone: {why_gone(found)}", onward)]
        if hop.ended == "source":
            return [_joined(self._unsaid(hop), onward)]
        if hop.ended == "wall timer":
            return ["made by a timer of the wall clock: it goes back to no record"]
        if hop.ended == "deep":
            return ["not followed any further: --depth"]
        return ["it goes back to itself: headers of ours were written by others"] * (
            hop.ended == "ring"
        )

    def _unsaid(self, hop: "Hop") -> str:
        """Why a record may bear no provenance."""
        from streamfn.graph.roots import written_topics

        if self._plan is None:
            return f"it bears no provenance: it came in here, or without {SWITCH}"
        topics = [written_topics(sub) for sub in self._plan.subtopologies]
        letters = self._plan.dead_letter_topic
        topic = hop.found.place.source.topic
        if topic in {letters}.union(*topics):
            return f"it bears no provenance: written without it; switch it on: {SWITCH}"
        return "here it came in: it bears no provenance"

    def another(self, hop: "Hop") -> str:
        """Say so if a hop was made by another version of the program."""
        if hop.made is None or self._plan is None or self.version in (None, hop.made.version):
            return ""
        if hop.made.stage not in self._plan.topology.nodes:
            return "" if self._of_another(hop) else "a stage that the program has no more"
        return f"another version than the program's now, {self.version}"

    def _of_another(self, hop: "Hop") -> bool:
        """True if the record is of a topic that the program does not write."""
        return self._plan is not None and self._unsaid(hop).startswith("here it came in")

    def lines(self, hop: "Hop", level: int) -> list[str]:
        """A hop as lines for people; each is further in than what was made of it."""
        indent = "   " * level
        lines = [f"{indent}{self._head(hop.found)}"]
        inner = f"{indent}└─ "
        if hop.made is not None:
            other = self.another(hop)
            by = f"by {hop.made.stage}, version {hop.made.version}"
            lines.append(f"{inner}{by}{f' ({other})' if other else ''}")
        lines += [f"{inner}{note}" for note in self.notes(hop)]
        return lines

    def _head(self, found: "Found") -> str:
        from streamfn.cli.values import compact, plain, time_text

        if found.record is None:
            return str(found.place)
        record, why = self.record(found.record)
        key = "-" if record.key is None else compact(plain(record.key))
        value = "(tombstone)" if record.value is None else compact(plain(record.value))
        time = time_text(record.timestamp_ms)
        return f"{found.place}  {time}  {key}  {value}{f'  ({why})' if why else ''}"

    def facts(self, hop: "Hop") -> dict[str, Any]:
        """A hop as JSON; fields are only ever added to."""
        from streamfn.cli.values import plain, text_or_hex

        (topic, partition), offset = hop.found.place
        facts: dict[str, Any] = {"topic": topic, "partition": partition, "offset": offset}
        facts |= {"held": hop.found.record is not None, "by_root": hop.by_root}
        if hop.found.record is not None:
            record, _ = self.record(hop.found.record)
            facts |= {"timestamp_ms": record.timestamp_ms, "key": plain(record.key)}
            facts["value"] = plain(record.value)
            facts["headers"] = [[name, text_or_hex(value)] for name, value in record.headers]
        elif hop.found.gone == "trimmed":
            facts["first_offset"] = hop.found.first
        if hop.made is not None:
            facts |= {"stage": hop.made.stage, "version": hop.made.version}
        if hop.root is not None:
            (name, number), at = hop.root.place
            facts["root"] = {"topic": name, "partition": number, "offset": at}
        notes = [note for note in (*self.notes(hop), self.another(hop)) if note]
        return facts | {"ended": hop.ended or None, "notes": notes}


def _joined(first: str, second: str) -> str:
    return f"{first}; {second}" if second else first
