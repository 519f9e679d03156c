"""Records that cannot be borne or cannot be sent: each under each policy, and nothing around it."""

import json
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.broker.feeder import Feeder
from tests.broker.programs import BAD, BIG
from tests.broker.truth import by_key, check_regrouped
from tests.broker.world import World, world_of
from tests.kafka_settings import Address

HOURS_MS = 3_600_000
ANY_TIME = {"message.timestamp.after.max.ms": str(1 << 62)}
SMALL = {"max.message.bytes": "5000"}


def make_topics(world: World) -> None:
    """An input that takes any time, and outputs that take neither that nor large records."""
    world.create("in", 1, ANY_TIME)
    world.create("out", 1, SMALL)
    world.create("guarded", 1)


def write(feeder: Feeder, kind: str, number: int) -> None:
    """Write one record: a good one, or one of the kinds that fail."""
    ahead_ms = int(time.time() * 1000) + 2 * HOURS_MS
    feeder.say("k", f"{kind} {number}", ahead_ms if kind == "ahead" else None)


def expected(kinds: Iterable[str]) -> list[str]:
    """The answers when all that fails is left out and leaves no trace in the state."""
    good = [f"{kind} {n}" for n, kind in enumerate(kinds) if kind == "good"]
    return [f"{number} {value}" for number, value in enumerate(good, 1)]


@pytest.mark.parametrize("policy", ["skip", "dead_letter"])
def test_records_that_are_left_out(broker: Address, name: str, tmp_path: Path, policy: str) -> None:
    """What raises, is too large or too far ahead is left out as a whole; all others are there."""
    kinds = ["good", BAD, "good", "ahead", "good", "good", BIG, "good", BIG, BAD, "ahead", "good"]
    with world_of(broker, name, tmp_path, "splitting", topics=(), on_error=policy) as world:
        make_topics(world)
        feeder = world.feeder()
        for number, kind in enumerate(kinds):
            write(feeder, kind, number)
        feeder.flush()
        world.start()
        world.finish(len(expected(kinds)))
        assert by_key(world.seen()) == {"k": expected(kinds)}
        assert world.changelog("count-total") == {"k": kinds.count("good")}
        if policy == "dead_letter":
            check_letters(world, [n for n, kind in enumerate(kinds) if kind != "good"], kinds)


def check_letters(world: World, numbers: list[int], kinds: list[str]) -> None:
    """Each dead letter holds the record's bytes, and says where it was and why."""
    letters = world.seen("dead-letters")
    assert [letter.value for letter in letters] == [f"{kinds[n]} {n}" for n in numbers]
    for number, letter in zip(numbers, letters, strict=True):
        assert letter.key == "k"
        assert letter.headers["streamfn.topic"] == world.job.topic("in")
        assert letter.headers["streamfn.offset"] == str(number)
        assert letter.headers["streamfn.message"], letter


@pytest.mark.parametrize("kind", [BAD, "ahead", BIG])
def test_record_that_stops_the_worker(
    broker: Address, name: str, tmp_path: Path, kind: str
) -> None:
    """Under ``fail`` all before the record is committed and nothing after it; then it goes on."""
    kinds = ["good", "good", kind, "good"]
    with world_of(broker, name, tmp_path, "splitting", topics=()) as world:
        make_topics(world)
        feeder = world.feeder()
        for number, each in enumerate(kinds):
            write(feeder, each, number)
        feeder.flush()
        for _ in range(2 if kind == BAD else 1):  # it stops there each time
            worker = world.start()
            worker.may_fail = True
            assert worker.ended() == 5, worker.tail()
            assert f"{name}-in[0] at offset 2" in worker.warnings
            assert by_key(world.seen()) == {"k": ["1 good 0", "2 good 1"]}
        world.start("skipping", on_error="skip")
        world.finish(3)
        assert by_key(world.seen()) == {"k": expected(kinds)}


def test_times_ahead_where_topics_allow_them(broker: Address, name: str, tmp_path: Path) -> None:
    """What the user's topics allow, repartition topics and changelogs allow as well."""
    with world_of(broker, name, tmp_path, "regrouping", topics=()) as world:
        world.create("in", 2, ANY_TIME)
        world.create("out", 2, ANY_TIME)
        feeder = world.feeder()
        for number in range(10):
            write(feeder, "ahead" if number % 3 else "good", number)
        feeder.flush()
        world.start()
        inputs = world.finish()
        check_regrouped(inputs, world.seen(), world.changelog("count-seen"))


def rights_of(name: str) -> list[tuple[str, str, bool, str]]:
    """Everything that the program needs, but to write into its topic ``guarded``."""
    rights = [("TOPIC", f"{name}-{topic}", False, "READ") for topic in ("in",)]
    rights += [("TOPIC", f"{name}-in", False, "DESCRIBE")]
    for topic in ("out", "guarded"):
        rights.append(("TOPIC", f"{name}-{topic}", False, "DESCRIBE"))
    rights.append(("TOPIC", f"{name}-out", False, "WRITE"))
    for topic in ("tasks", "dead-letters", "count-total-changelog"):
        rights += [
            ("TOPIC", f"{name}-{topic}", False, operation)
            for operation in ("READ", "WRITE", "DESCRIBE", "CREATE", "DESCRIBE_CONFIGS")
        ]
    rights += [("GROUP", name, False, operation) for operation in ("READ", "DESCRIBE")]
    rights += [("TRANSACTIONAL_ID", name, True, operation) for operation in ("WRITE", "DESCRIBE")]
    return rights


@pytest.mark.parametrize("policy", ["fail", "skip", "dead_letter"])
def test_topic_without_rights(
    authorized_broker: Address, name: str, tmp_path: Path, policy: str
) -> None:
    """A record whose answer may not be written fails, alone, under its policy."""
    values = ["good 0", "x 1", "good 2"]
    settings = [
        f"kafka.{key}={value}" for key, value in authorized_broker.settings("worker").items()
    ]
    with world_of(
        authorized_broker, name, tmp_path, "splitting",
        topics=("in", "out", "guarded"), partitions=1, config=tuple(settings), on_error=policy,
    ) as world:  # fmt: skip
        world.client.grant("worker", rights_of(name))
        feeder = world.feeder()
        for value in values:
            feeder.say("k", value)
        feeder.flush()
        worker = world.start()
        if policy == "fail":
            worker.may_fail = True
            assert worker.ended() == 5, worker.tail()
            assert "guarded" in worker.warnings.splitlines()[-1]
        else:
            world.finish(2)
        assert by_key(world.seen())["k"] == ["1 good 0", "2 good 2"][: 1 if policy == "fail" else 2]
        assert world.seen("guarded") == []
        if policy == "dead_letter":
            assert [letter.value for letter in world.seen("dead-letters")] == ["x 1"]
        assert json.dumps(authorized_broker.passwords["worker"])[1:-1] not in worker.said
