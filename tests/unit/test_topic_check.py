"""What is wrong with topics is found before a record is lost by it."""

# mypy: disable-error-code="untyped-decorator"
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

from typing import Any

import pytest

import streamfn as sf
from streamfn.config import Config
from streamfn.connectors.log import Log
from streamfn.engine.topic_check import TopicProblem, internal_topics, problems, retention_warnings
from streamfn.engine.topics import ensure_topics
from streamfn.graph.plan import Plan, plan
from streamfn.record import Columns
from tests.unit.embedded_world import World

DAY_MS = 86_400_000
CHANGELOG, REPARTITION = "app-total-sum-changelog", "app-by-repartition"
GOOD: dict[str, tuple[int, dict[str, str]]] = {
    CHANGELOG: (2, {"cleanup.policy": "compact", "delete.retention.ms": str(7 * DAY_MS)}),
    REPARTITION: (2, {"retention.ms": "-1"}),
    "numbers": (2, {}),
    "out": (1, {}),
}


@pytest.fixture
def planned() -> Plan:
    """A program with an input, a repartition topic, a store and an output."""
    app: Any = sf.App("app")
    numbers = app.topic("numbers", key=str, value=int, partitions=2)

    def total(number: int, sum: sf.Value[int]) -> int:
        return number

    stream = app.stream(numbers).key_by(lambda number: str(number), name="by")
    app.function(stream, to=app.topic("out", key=str, value=int))(total)
    return plan(app.topology())


def log_with(topics: dict[str, tuple[int, dict[str, str]]]) -> Log:
    """A log with topics."""
    log = World(None).log
    for name, (partitions, settings) in topics.items():
        log.create_topic(name, partitions, settings)
    return log


def found(
    planned: Plan, changed: dict[str, Any], config: Config | None = None
) -> list[TopicProblem]:
    """The problems with good topics of which some are changed or (None) missing."""
    topics = {name: topic for name, topic in {**GOOD, **changed}.items() if topic}
    return problems(planned, log_with(topics), config or Config())


def test_what_a_run_makes_is_right(planned: Plan) -> None:
    """Whatever ``ensure_topics`` creates passes the check."""
    log = World(None).log
    ensure_topics(planned, log, Config(), create_user_topics=True)
    assert problems(planned, log, Config()) == []
    assert found(planned, {}) == []


@pytest.mark.parametrize(
    ("changed", "kind", "said"),
    [
        ({CHANGELOG: None}, "missing", "create it: streamfn topics create"),
        ({"out": None}, "missing", "topic 'out' does not exist; got none; create it: streamfn "
         "topics create, or run with --create-topics"),
        ({CHANGELOG: (3, GOOD[CHANGELOG][1])}, "partitions",
         "has 3 partitions; the topology needs 2; restore the old partition count"),
        ({CHANGELOG: (2, {})}, "policy", "would lose state; got cleanup.policy=delete; set it: "),
        ({CHANGELOG: (2, {"cleanup.policy": "compact,delete"})}, "policy", "would lose state"),
        ({REPARTITION: (2, {"cleanup.policy": "compact"})}, "policy", "would lose unread records"),
        ({REPARTITION: (2, {"retention.ms": "5"})}, "retention",
         "would lose unread records; got retention.ms=5; set it: kafka-configs.sh --alter "
         f"--entity-type topics --entity-name {REPARTITION} --add-config retention.ms=-1"),
        ({REPARTITION: (2, {"retention.bytes": "5"})}, "retention", "got retention.bytes=5"),
        ({CHANGELOG: (2, {"cleanup.policy": "compact", "delete.retention.ms": "5"})}, "retention",
         f"would bring deleted keys back; got delete.retention.ms=5; set it: kafka-configs.sh "
         f"--alter --entity-type topics --entity-name {CHANGELOG} --add-config "
         f"delete.retention.ms={7 * DAY_MS}"),
    ],
)  # fmt: skip
def test_each_problem_is_found(
    planned: Plan, changed: dict[str, Any], kind: str, said: str
) -> None:
    """One problem for one mistake, with what was got and the cure."""
    (problem,) = found(planned, changed)
    assert (problem.kind, problem.severity) == (kind, "error")
    assert problem.topic in changed
    assert said in str(problem)


def test_on_kafka_tokens_belong_to_it_and_hidden_settings_are_told(planned: Plan) -> None:
    """More tokens than needed mean nothing; settings that may not be read are not guessed."""
    kafka = Config(broker="x:1")
    assert internal_topics(planned, kafka)[-1].name == "app-tasks"
    assert found(planned, {"app-tasks": (5, {})}, kafka) == []
    (problem,) = found(planned, {"app-tasks": (1, {})}, kafka)
    assert "'app-tasks' has 1 partition; the topology needs 2; add partitions" in str(problem)
    (problem,) = found(planned, {"app-tasks": (2, {}), CHANGELOG: (2, {})}, kafka)
    assert (problem.kind, problem.severity) == ("unreadable", "warning")
    assert "streamfn acls" in problem.cure


@pytest.mark.parametrize(
    ("settings", "age_days", "warned"),
    [
        ({"retention.ms": str(7 * DAY_MS)}, 8, True),
        ({"retention.ms": str(7 * DAY_MS)}, 6, False),
        ({"retention.ms": "-1"}, 1000, False),
        ({"retention.ms": "1", "cleanup.policy": "compact"}, 1000, False),
        ({"retention.ms": "1", "message.timestamp.type": "LogAppendTime"}, 1000, False),
        ({}, 1000, False),
    ],
)
def test_outputs_that_outlive_their_topic_are_warned_of(
    planned: Plan, settings: dict[str, str], age_days: int, warned: bool
) -> None:
    """A broker deletes by the records' own timestamps, while they are read."""
    log = log_with({**GOOD, "out": (1, settings)})
    now_ms = 2000 * DAY_MS
    assert retention_warnings(planned, log, now_ms) == []
    log.begin()
    log.emit("numbers", 1, Columns([b"k"], [b"1"], [now_ms - age_days * DAY_MS], {}))
    log.flush()
    log.commit()
    warnings = retention_warnings(planned, log, now_ms)
    assert len(warnings) == warned
    if warned:
        said = "'out' keeps records for 7 days only; got records of 1975-06-16 in 'numbers'"
        assert said in str(warnings[0])
        assert warnings[0].severity == "warning"
