"""``streamfn topics create`` and ``verify``: the topics of a program, made or looked through.

What a program needs comes from its plan, what there is from the log, and what is wrong from
``engine.topic_check``. Invariant: ``verify`` changes nothing, and ``create`` only adds topics.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamfn.cli.console import say
from streamfn.cli.options import STATE_DIR, Broker, Json, KafkaConfig, Settings, StateDir

if TYPE_CHECKING:
    from streamfn.cli.place import Place
    from streamfn.connectors.log import Log, TopicInfo
    from streamfn.engine.topic_check import TopicProblem
    from streamfn.graph.plan import Plan

Program = Annotated[
    str,
    typer.Option(
        "--app", metavar="TARGET", help="The program whose topics are meant.", show_default=False
    ),
]
REPLICAS_SAFE = 3
"""With so many, one acknowledged write should be on two machines."""


def create_topics(
    app: Program,
    state_dir: StateDir = STATE_DIR,
    broker: Broker = None,
    kafka_config: KafkaConfig = None,
    options: Settings = None,
) -> None:
    """Create the topics of a program that are missing, its own and the internal ones.

    Those that are there are checked against it. Embedded, run does the same by itself; on a Kafka
    run makes the internal ones only. -o replication_factor=3 says how many copies.
    """
    from streamfn.cli.errors import cures_of
    from streamfn.cli.place import find
    from streamfn.cli.settings import configured

    place = find(configured(state_dir, broker, kafka_config, options), app, None)
    create = _create_on_kafka if place.config.broker else _create_embedded
    with cures_of(place.application, place.config, app):
        made = create(place)
    for name, partitions in made.items():
        say(f"created {name}, partitions {partitions}")
    if not made:
        say("all topics are there")


def verify_topics(
    app: Program,
    state_dir: StateDir = STATE_DIR,
    broker: Broker = None,
    kafka_config: KafkaConfig = None,
    options: Settings = None,
    as_json: Json = False,
) -> None:
    """Say what is right and what is wrong with the topics of a program; nothing is changed.

    Ends with 4 if there is an error: a run would refuse to start, or create what is missing.
    """
    from streamfn.cli.place import find, patiently
    from streamfn.cli.settings import configured

    place = find(configured(state_dir, broker, kafka_config, options), app, None)
    with place.log() as (log, _):
        rows = patiently(lambda: list(_verified(place, log)))
    errors = sum(row["severity"] == "error" for row in rows)
    (_say_json if as_json else _say)(rows)
    if not as_json:
        _sum_up(place, rows)
    if errors:
        raise typer.Exit(4)


def _verified(place: "Place", log: "Log") -> Iterator[dict[str, Any]]:
    """Yield a row for each topic that is right, and one for each thing that is not."""
    from streamfn.clock import SystemClock
    from streamfn.engine.topic_check import problems, retention_warnings

    planned, mistakes = _planned(place, log)
    for mistake in mistakes:
        yield {"topic": "", "severity": "error", "kind": "partitions", "said": mistake}
    if planned is None:
        return
    found = [
        *problems(planned, log, place.config),
        *retention_warnings(planned, log, SystemClock().now_ms()),
        *(_few_replicas(place, planned, log) if place.config.broker else []),
        *_left_over(place, planned, log),
    ]
    wrong = {problem.topic for problem in found}
    for name, facts in _needed(place, planned):
        if name not in wrong:
            yield {"topic": name, "severity": "ok", "kind": "", "said": facts}
    for problem in found:
        yield {
            "topic": problem.topic,
            "severity": problem.severity,
            "kind": problem.kind,
            "said": str(problem),
        }


def _planned(place: "Place", log: "Log") -> "tuple[Plan | None, list[str]]":
    """The plan over the topics that are there; where they do not fit, over those declared."""
    from streamfn.errors import TopologyError
    from streamfn.graph.plan import plan

    try:
        return place.plan(log), []
    except TopologyError as error:
        mistakes = [str(mistake) for mistake in error.mistakes]
    try:
        assert place.topology is not None
        return plan(place.topology), mistakes
    except TopologyError:
        return None, mistakes


def _needed(place: "Place", planned: "Plan") -> Iterator[tuple[str, str]]:
    """Yield name and purpose of all topics of a plan."""
    from streamfn.engine.topic_check import internal_topics
    from streamfn.graph.describe import counted, topic_purposes

    purposes = topic_purposes(planned)
    for name in planned.user_topics:
        yield name, f"{purposes[name]}, {counted(planned.partitions[name], 'partition')}"
    for topic in internal_topics(planned, place.config):
        yield topic.name, f"{topic.purpose}, {counted(topic.partitions, 'partition')}"


def _left_over(place: "Place", planned: "Plan", log: "Log") -> "list[TopicProblem]":
    """Internal topics that this version of the program does not know."""
    from streamfn.cli.place import purpose_of
    from streamfn.engine.topic_check import TopicProblem

    known = {name for name, _ in _needed(place, planned)}
    internal = ("changelog", "repartition")
    return [
        TopicProblem(
            "unknown", name, f"internal topic {name!r} is not used by this program",
            "got one of another version", f"if no version needs it: streamfn reset --topic {name}",
            "hint",
        )
        for name in sorted(place.topics(log))
        if name not in known and purpose_of(place.application, name) in internal
    ]  # fmt: skip


def _few_replicas(place: "Place", planned: "Plan", log: "Log") -> "list[TopicProblem]":
    """Topics of which a write is acknowledged as soon as one of many machines has it."""
    from streamfn.cli.cluster import Cluster
    from streamfn.engine.topic_check import TopicProblem, alter

    names = [name for name, _ in _needed(place, planned)]
    topics, copies = log.topics(names), Cluster(place.config).copies(names)
    made: list[TopicProblem] = []
    for name, info in topics.items():
        least = int(info.config.get("min.insync.replicas", REPLICAS_SAFE))
        if copies.get(name, 0) >= REPLICAS_SAFE and least < 2:
            made.append(
                TopicProblem(
                    "replicas", name, f"topic {name!r} may lose acknowledged records with a broker",
                    f"got min.insync.replicas={least} of {copies[name]} copies",
                    f"set it: {alter(name, 'min.insync.replicas', '2')}", "hint",
                )
            )  # fmt: skip
    return made


def _say(rows: list[dict[str, Any]]) -> None:
    from streamfn.graph.describe import aligned

    right = [("ok", row["topic"], row["said"]) for row in rows if row["severity"] == "ok"]
    for line in aligned(right) if right else []:
        say(line)
    styles = {"error": "red", "warning": "yellow", "hint": "dim"}
    for row in rows:
        if row["severity"] != "ok":
            say(f"{row['severity']}: {row['said']}", style=styles[row["severity"]])


def _say_json(rows: list[dict[str, Any]]) -> None:
    from streamfn.cli.values import to_json

    for row in rows:
        say(to_json(row))


def _sum_up(place: "Place", rows: list[dict[str, Any]]) -> None:
    from streamfn.graph.describe import counted

    count = {word: sum(row["severity"] == word for row in rows) for word in ("error", "warning")}
    right = sum(row["severity"] == "ok" for row in rows)
    words = [f"{counted(right, 'topic')} right"]
    words += [counted(number, word) for word, number in count.items() if number]
    say(f"{place.application} {place.shown}: {', '.join(words)}")


def _create_embedded(place: "Place") -> dict[str, int]:
    """Make an embedded log and all topics in it."""
    from streamfn.engine.topics import ensure_topics
    from streamfn.run import opened

    assert place.topology is not None
    with opened(place.topology, place.config) as run:
        before = run.log.topic_names()
        run.log.join(run.plan.application, 0, run.worker)
        ensure_topics(run.plan, run.log, place.config, create_user_topics=True)
        made = run.log.topics(sorted(run.log.topic_names() - before))
    return {name: info.partitions for name, info in made.items()}


class Bystander:
    """Has the token topic made, as a member has, and is given no token, as it never polls."""

    def assigned(self, tokens: list[int]) -> None:
        """Nothing is assigned."""

    def revoked(self, tokens: list[int]) -> None:
        """Nothing was ours."""

    def lost(self, tokens: list[int]) -> None:
        """Nothing was ours."""


def _create_on_kafka(place: "Place") -> dict[str, int]:
    """Make all topics; as nothing is polled, workers that run keep their tasks."""
    from streamfn.cli.place import patiently
    from streamfn.engine.topics import ensure_topics

    with place.log(place.config.connect_timeout_ms) as (log, _):
        before = patiently(log.topic_names)

        def create() -> "dict[str, TopicInfo]":
            planned = place.plan(log)
            assert planned is not None
            ensure_topics(planned, log, place.config, create_user_topics=True)
            log.join(planned.application, planned.tokens, Bystander())
            return log.topics(sorted(place.topics(log, planned).keys() - before))

        made = patiently(create)
    return {name: info.partitions for name, info in made.items()}
