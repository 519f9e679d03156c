"""Recordings from a real Kafka: what is read, state at a live boundary, that nothing changes."""

import json
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from streamfn.clock import SystemClock
from streamfn.config import Config
from streamfn.connectors.log import Log
from streamfn.engine.topics import existing_partitions
from streamfn.errors import LogError
from streamfn.graph.plan import Plan, plan
from streamfn.record import TopicPartition
from streamfn.replay.boundary import Boundary, Copier
from streamfn.replay.ranges import Span, resolve
from streamfn.replay.recording import Header
from streamfn.replay.roles import Selection, header_of, roles_of, select, source_of
from streamfn.run import opened_log
from streamfn.serde import as_key_serde, state_serde
from tests.broker.client import Client
from tests.broker.reader import Reader
from tests.broker.world import QUICK, World, world_of
from tests.kafka_settings import Address
from tests.unit.cli_shell import Shell, open_shell
from tests.unit.log_world import in_order, inputs_of

KEEP = "repartition_trim_interval_ms=3600000"
ROUNDS = 5
PROGRAM = """
import streamfn as sf

app = sf.App("{name}")
records = app.topic("{name}-in", key=str, value=str)
counts = app.topic("{name}-out", key=str, value=str)

@app.function(app.stream(records).key_by(lambda value: value.split()[0]), to=counts)
def count(value: str, total: sf.Value[int]) -> str:
    total.value += 1
    return f"{{total.value}} {{value}}"
"""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A shell in an empty folder."""
    with open_shell(tmp_path, monkeypatch) as opened:
        yield opened


class Onlooker:
    """The log and the plan of a world's program, as a recording sees them."""

    def __init__(self, world: World, stack: ExitStack) -> None:
        topology = world.job.app().topology()
        config = Config(broker=world.address.bootstrap, state_dir=Path(world.job.state_dir))
        self.log: Log
        self.log, _ = stack.enter_context(opened_log(world.job.name, config))
        self.plan: Plan = plan(topology, existing_partitions(topology, self.log))

    def copy(self, *stores: str) -> Boundary:
        """Copy stores at a boundary of now."""
        return Copier(self.log, self.plan, stores, SystemClock()).copy()


def totals(boundary: Boundary, store: str) -> dict[tuple[int, str], Any]:
    """The entries of a store of numbers by partition and key."""
    key, value = as_key_serde(str), state_serde(int)
    return {
        (entry.partition, key.decode(entry.key)): value.decode(entry.value)
        for entry in boundary.entries()
        if entry.store == store
    }


def test_state_of_a_running_application(broker: Address, name: str, tmp_path: Path) -> None:
    """What is copied while it commits on and on is exactly what lies before the positions."""
    settings = (*QUICK, KEEP)
    words = tuple(f"w{number}" for number in range(30))
    with (
        world_of(broker, name, tmp_path, "regrouping", settings=settings) as world,
        ExitStack() as stack,
    ):
        workers = world.start("one"), world.start("two")
        copies: list[tuple[dict[TopicPartition, int], dict[tuple[int, str], Any]]] = []
        with world.feeder(rate=1_500, words=words):
            world.wait_running(8, *workers)
            world.wait_answers(500)
            onlooker = Onlooker(world, stack)
            for _ in range(ROUNDS):
                world.wait_answers(len(world.seen()) + 200)
                boundary = onlooker.copy("count-total")
                starts = {source: part.start for source, part in boundary.starts.items()}
                copies.append((starts, totals(boundary, "count-total")))
                boundary.close()
        world.finish()
        (repartition,) = (
            topic.name for topic in onlooker.plan.internal_topics if topic.purpose == "repartition"
        )
        seen = world.seen(repartition.removeprefix(f"{name}-"))
        for starts, found in copies:
            expected: dict[tuple[int, str], int] = {}
            for record in seen:
                if record.offset < starts[TopicPartition(repartition, record.partition)]:
                    at = record.partition, record.key
                    expected[at] = expected.get(at, 0) + 1
            assert found == expected
        assert len({sum(starts.values()) for starts, _ in copies}) == ROUNDS


def test_a_recording_with_state_goes_on_from_the_boundary(
    broker: Address, name: str, tmp_path: Path
) -> None:
    """Inputs and repartition topics begin at the positions; state and records make the whole."""
    settings = (*QUICK, KEEP)
    with (
        world_of(broker, name, tmp_path, "regrouping", settings=settings) as world,
        ExitStack() as stack,
    ):
        workers = world.start("one"), world.start("two")
        with world.feeder(rate=1_000, words=("a", "b", "c")):
            world.wait_running(8, *workers)
            world.wait_answers(500)
            onlooker = Onlooker(world, stack)
            boundary = onlooker.copy("count-total")
            world.wait_answers(len(world.seen()) + 1_000)
            header = selected_header(onlooker, boundary)
        by_role = {topic.role: topic for topic in header.topics}
        between = by_role["repartition"]
        counted: dict[tuple[int, str], int] = totals(boundary, "count-total")
        ranges = {topic.name: topic.ranges for topic in header.topics}
        log = onlooker.log
        for source, _, key, _ in in_order(inputs_of(log, ranges).chunks({between.name})):
            at = source.partition, (key or b"").decode()
            counted[at] = counted.get(at, 0) + 1
        assert all(part.stream_time_ms > 0 for part in between.ranges.values() if part.start)
        assert sum(part.end - part.start for part in by_role["input"].ranges.values()) > 0
        boundary.close()
        world.finish()
        expected: dict[tuple[int, str], int] = {}
        for record in world.seen(between.name.removeprefix(f"{name}-")):
            if record.offset < between.ranges[record.partition].end:
                at = record.partition, record.key
                expected[at] = expected.get(at, 0) + 1
        assert counted == expected


def selected_header(onlooker: Onlooker, boundary: Boundary) -> Header:
    """Choose all topics from a boundary up to now."""
    now_ms, log = SystemClock().now_ms(), onlooker.log
    selected = select(log, onlooker.plan, Selection(), Span(), now_ms, boundary)
    assert selected.roles == roles_of(onlooker.plan)
    return header_of(
        log, selected, application="", source=source_of(log, "broker"), now_ms=now_ms,
        plan=onlooker.plan, boundary=boundary,
    )  # fmt: skip


def everything_about(client: Client, name: str) -> dict[str, Any]:
    """All that a recording must leave as it is."""
    topics = sorted(topic for topic in client.topics() if topic.startswith(name))
    client.wait_settled(topics)
    return {
        "topics": topics,
        "ends": {topic: client.ends(topic) for topic in topics},
        "positions": client.committed(name, topics),
        "of readers": client.committed("streamfn-read", topics),
        "of recorders": client.committed("streamfn-record", topics),
    }


def write_undone(address: Address, topic: str) -> None:
    """Leave aborted and committed transactions in a topic: offsets with no record."""
    producer = Producer({**address.client(), "transactional.id": f"{topic}-undone"})
    producer.init_transactions()
    for round_number in range(6):
        producer.begin_transaction()
        for number in range(5):
            at = 1_700_000_000_000 + round_number
            producer.produce(topic, f"a {round_number} {number}", f"k{number}", timestamp=at)
        producer.flush()
        if round_number % 2:
            producer.abort_transaction()
        else:
            producer.commit_transaction()


def test_a_recording_is_the_topics_and_changes_nothing(
    broker: Address, name: str, shell: Shell
) -> None:
    """Each committed record once, in each format; positions, ends and topics stay as they were."""
    Path("words.py").write_text(PROGRAM.format(name=name))
    client = Client(broker)
    config = {"retention.ms": "-1"}
    client.create(f"{name}-in", 2, config)
    client.create(f"{name}-out", 2, config)
    write_undone(broker, f"{name}-in")
    at = ("--broker", broker.bootstrap)
    quick = ("-o", "consumer.session.timeout.ms=6000", "-o", KEEP)
    shell("run", "words.py", *at, "--until-end", *quick)
    before = everything_about(client, name)
    shell("record", "--app", "words.py", *at, "-o", "all.jsonl")
    shell("record", f"{name}-in", *at, "-o", "in.jsonl.zst")
    shell("record", "--app", "words.py", *at, "--state", "all", "-o", "state.jsonl")
    assert everything_about(client, name) == before
    lines = [json.loads(line) for line in Path("all.jsonl").read_text().splitlines()]
    rows = [line for line in lines if "timestamp_ms" in line]
    for topic in before["topics"]:
        role = next((t for t in lines[0]["topics"] if t["name"] == topic), None)
        assert (role is None) == topic.endswith(("-changelog", "-tasks"))
        if role is None:
            continue
        reader = Reader(broker, client, topic)
        found = [
            (r["partition"], r["offset"], r["key"], r["value"]) for r in rows if r["topic"] == topic
        ]
        seen = [(r.partition, r.offset, r.key, r.value) for r in reader.to_end()]
        assert sorted(found) == sorted(seen)
        assert len(found) == 15
        reader.close()
    state = [json.loads(line) for line in Path("state.jsonl").read_text().splitlines()]
    assert [line["key"] for line in state if "store" in line] == ["a"]
    client.close()


def test_what_is_gone_is_told(broker: Address, name: str, shell: Shell) -> None:
    """A range that lost its begin: an error with its place and no file, or what is left."""
    client = Client(broker)
    client.create(f"{name}-in", 1, {"retention.ms": "-1"})
    write_undone(broker, f"{name}-in")
    client.delete_records(f"{name}-in", 0, 12)
    asked = ("record", f"{name}-in", "--broker", broker.bootstrap, "-o", "r.jsonl", "--from", "3")
    said = shell.fails(*asked, code=7)
    assert f"records 3 to 12 of {name}-in[0] are gone; the first is at offset 12" in said
    assert not list(Path().glob("r.*"))
    shell(*asked, "--on-gap", "skip")
    offsets = [
        json.loads(line)["offset"]
        for line in Path("r.jsonl").read_text().splitlines()
        if '"offset"' in line
    ]
    assert offsets == [*range(12, 17), *range(24, 29)]
    client.close()


def test_what_goes_while_it_is_read_is_told(broker: Address, name: str, tmp_path: Path) -> None:
    """More than the client has fetched: nothing is left out without a word."""
    with world_of(broker, name, tmp_path, partitions=1) as world, ExitStack() as stack:
        feeder = world.feeder()
        noise = random.Random(1)
        for number in range(150):
            feeder.say(f"k{number}", noise.randbytes(900_000))
        feeder.flush()
        onlooker = Onlooker(world, stack)
        topic = world.job.topic("in")
        ranges = resolve(onlooker.log, [topic], Span(), SystemClock().now_ms())
        chunks = inputs_of(onlooker.log, ranges).chunks()
        assert sum(map(len, next(chunks))) > 0
        world.client.delete_records(topic, 0, 149)
        with pytest.raises(LogError, match="are gone; it begins at 149 now"):
            list(chunks)
