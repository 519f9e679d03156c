"""``streamfn reset``: drops what an application has worked out: it starts anew from its inputs.

Invariant: nothing is deleted before it was said and agreed to; inputs are never deleted. A mark
stands in the folder while a whole application is reset, and the application does not run until the
reset is finished. On a Kafka the program itself says which topics are its own: a name that begins
alike may be another application's.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from streamfn.cli.console import say
from streamfn.cli.options import STATE_DIR, AppOption, Broker, KafkaConfig, StateDir
from streamfn.errors import ConfigError, LogError

if TYPE_CHECKING:
    from streamfn.cli.place import Place
    from streamfn.connectors.log import Log
    from streamfn.graph.plan import Plan
    from streamfn.record import TopicPartition
    from streamfn.state.directory import StateDirectory

Application = Annotated[
    str | None,
    typer.Argument(
        metavar="[APPLICATION]",
        help="Its name; left out: the only one under --state-dir.",
        show_default=False,
    ),
]
Store = Annotated[
    str | None,
    typer.Option(
        metavar="STORE", help="Empty this store only; positions stay.", show_default=False
    ),
]
Topic = Annotated[
    str | None,
    typer.Option(metavar="TOPIC", help="Delete this internal topic only.", show_default=False),
]
Outputs = Annotated[
    bool, typer.Option("--outputs", help="Delete the output topics as well; needs --app.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def reset(
    application: Application = None,
    app: AppOption = None,
    state_dir: StateDir = STATE_DIR,
    broker: Broker = None,
    kafka_config: KafkaConfig = None,
    store: Store = None,
    topic: Topic = None,
    outputs: Outputs = False,
    yes: Yes = False,
) -> None:
    """Drop what an application, not running, has worked out: it starts anew from its inputs.

    Deleted are its stores, changelogs, repartition topics, dead letters and positions; inputs stay,
    and so do outputs without --outputs: a new run appends to them. On a Kafka it needs --app.
    """
    from streamfn.cli.place import find, patiently
    from streamfn.cli.settings import configured

    if store and topic:
        message = "--store and --topic exclude each other"
        raise typer.BadParameter(message)
    place = find(configured(state_dir, broker, kafka_config), app, application)
    if place.config.broker:
        _check_kafka(place, whole=not (store or topic))
    with place.log() as (log, directory):
        planned = patiently(lambda: place.plan(log))
        if store or topic:
            _one_topic(place, log, _topic_of(place, planned, log, store, topic), yes=yes)
        else:
            work = patiently(lambda: _work(place, log, planned, outputs=outputs))
            _whole(place, log, directory, work, yes=yes)


def _check_kafka(place: "Place", *, whole: bool) -> None:
    """Refuse where workers run, and where nobody says which topics are meant."""
    from streamfn.cli.cluster import check_idle
    from streamfn.cli.place import patiently

    if whole and place.topology is None:
        message = (
            f"reset of {place.application!r} on a Kafka needs the program; got its name alone, and "
            "topics that begin with it may be another application's; give --app TARGET"
        )
        raise ConfigError(message)
    patiently(lambda: check_idle(place.config, place.application))


@dataclass(slots=True)
class Work:
    """What a reset of a whole application will do."""

    deleted: list[str] = field(default_factory=list[str])
    kept: list[str] = field(default_factory=list[str])
    positions: "dict[TopicPartition, int]" = field(default_factory=dict["TopicPartition", int])


def _work(place: "Place", log: "Log", planned: "Plan | None", *, outputs: bool) -> Work:
    """Sort the topics, and find where to begin in those that stay."""
    from streamfn.graph.describe import topic_purposes
    from streamfn.record import TopicPartition

    if outputs and planned is None:
        message = "--outputs needs --app; only the program tells outputs from inputs; give both"
        raise ConfigError(message)
    purposes = topic_purposes(planned) if planned else {}
    work = Work()
    for name, info in sorted(place.topics(log, planned).items()):
        purpose = _purpose(place, planned, name)
        written = purposes.get(name, "") in ("sink", "source and sink")
        if purpose in ("changelog", "repartition", "dead letters") or (outputs and written):
            work.deleted.append(name)
            continue
        work.kept.append(name)
        if purpose in ("position", "tokens", "left over"):
            continue
        sources = [TopicPartition(name, number) for number in range(info.partitions)]
        begins, ends = log.begin_offsets(sources), log.end_offsets(sources)
        starts = ends if purposes.get(name) == "source and sink" else begins
        work.positions.update({source: starts[source] for source in log.committed(sources)})
    return work


def _purpose(place: "Place", planned: "Plan | None", name: str) -> str:
    """What a topic is for; on a Kafka, internal is what the plan knows, and the rest is kept."""
    from streamfn.cli.place import purpose_of

    purpose = purpose_of(place.application, name)
    if place.config.broker and planned is not None and purpose not in ("user", "tokens"):
        known = {topic.name for topic in planned.internal_topics}
        return purpose if name in known else "left over"
    return purpose


def _whole(
    place: "Place", log: "Log", directory: "StateDirectory", work: Work, *, yes: bool
) -> None:
    from streamfn.graph.describe import counted

    directory.check_removable()
    tasks = directory.list_tasks()
    say(f"reset of application {place.application!r} {place.shown} deletes")
    say(f"  the stores of {counted(len(tasks), 'task')}: {', '.join(tasks) or 'none'}")
    say(f"  {counted(len(work.deleted), 'topic')}: {', '.join(work.deleted) or 'none'}")
    read = len({source.topic for source in work.positions})
    say(f"  the positions in {counted(read, 'topic')}")
    say(f"and keeps {counted(len(work.kept), 'topic')}: {', '.join(work.kept) or 'none'}")
    _ask(yes)
    _carry_out(place, log, directory, work)
    say(f"application {place.application!r} is reset; it starts anew from its inputs")
    if place.config.broker:
        say("stores on other machines are dropped when a worker starts there: their topics are new")


def _carry_out(place: "Place", log: "Log", directory: "StateDirectory", work: Work) -> None:
    """Delete, with a mark in the folder that keeps the application from running on half of it."""
    from streamfn.connectors.log import Committed
    from streamfn.run import RESETTING
    from streamfn.state.folders import make_folder, write_file

    mark = directory.path / RESETTING
    make_folder(directory.path)
    write_file(mark, "streamfn reset is at work; if it died, run it again\n")
    directory.wipe_all()
    for number, name in enumerate(work.deleted):
        try:
            log.delete_topic(name)
        except LogError as error:
            if number == 0 and not error.retriable:  # no right to it: nothing is half done
                mark.unlink()
            raise
    log.open_producer()
    log.begin()
    log.send_offsets({source: Committed(at, "") for source, at in work.positions.items()})
    log.commit()
    mark.unlink()


def _topic_of(
    place: "Place",
    planned: "Plan | None",
    log: "Log",
    store: str | None,
    topic: str | None,
) -> str:
    """The internal topic that --store or --topic means."""
    from streamfn.cli.place import check_topic, purpose_of
    from streamfn.graph.naming import changelog_topic

    if topic is None:
        topic = changelog_topic(place.application, store or "")
        known_topics = place.topics(log, planned)
        if topic not in known_topics:
            stores = [
                name.removeprefix(f"{place.application}-").removesuffix("-changelog")
                for name in known_topics
                if purpose_of(place.application, name) == "changelog"
            ]
            known = ", ".join(sorted(stores)) or "none"
            message = (
                f"store {store!r} is not one of application {place.application!r}; it has {known}; "
                "name one of them"
            )
            raise ConfigError(message)
    check_topic(place, log, topic)
    if topic not in place.topics(log, planned) or purpose_of(place.application, topic) == "user":
        message = (
            f"topic {topic!r} is not internal to {place.application!r}; got one of your own; "
            "reset deletes no inputs: leave --topic out to reset the application"
        )
        raise ConfigError(message)
    return topic


def _one_topic(place: "Place", log: "Log", topic: str, *, yes: bool) -> None:
    """Delete one internal topic; a store's data goes with its changelog, as they no longer fit."""
    from streamfn.cli.place import purpose_of

    means = {
        "changelog": "its store is empty from then on; inputs already processed are not read again",
        "repartition": "records in it that were not processed are lost",
        "position": "its file is loaded again from the beginning",
        "dead letters": "its records are gone",
        "tokens": "the next run makes it anew",
    }
    say(f"reset deletes topic {topic}: {means[purpose_of(place.application, topic)]}")
    _ask(yes)
    if purpose_of(place.application, topic) == "changelog":
        _forget_changelog(place, log, topic)
    log.delete_topic(topic)
    say(f"topic {topic} is deleted; the next run makes it anew")


def _forget_changelog(place: "Place", log: "Log", topic: str) -> None:
    """Have the committed positions know no more of a store: else the next run stops, as for loss.

    They stay where they are; what else they know stays too.
    """
    from streamfn.connectors.log import Committed
    from streamfn.engine.marks import mark_of, without, written
    from streamfn.results import partitions_of

    planned = place.plan(log)
    if planned is None and place.config.broker:
        message = (
            "reset of a store on a Kafka needs --app; only the program tells which inputs go with "
            "it; give it too"
        )
        raise ConfigError(message)
    store = topic.removeprefix(f"{place.application}-").removesuffix("-changelog")
    sources = [s for name in place.topics(log, planned) for s in partitions_of(log, name)]
    found = log.committed(sources)
    log.open_producer()
    log.begin()
    log.send_offsets(
        {
            source: Committed(at.offset, written(without(mark_of(at), store)))
            for source, at in found.items()
            if at.metadata
        }
    )
    log.commit()


def _ask(yes: bool) -> None:
    """Have it agreed to."""
    try:
        if yes or typer.confirm("Delete?"):
            return
        said = "nothing was deleted"
    except typer.Abort:  # behind the question
        said = "\nnothing was deleted; got no answer; where nobody answers, give --yes"
    say(said)
    raise typer.Exit(1)
