"""Replays of a Kafka where something is wrong: records are gone, nobody answers, Ctrl-C.

Each time there is one line that says what and where, and nothing half-written is left.
"""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.broker.client import Client
from tests.broker.feeder import Feeder
from tests.broker.replay_shell import (
    Verbs,
    interrupted,
    processes_about,
    wait_for,
    wait_for_text,
)
from tests.broker.workers import PATIENCE_S
from tests.kafka_settings import Address, free_port

PROGRAM = """
import os
import time
import streamfn as sf

app = sf.App("{name}")
records = app.topic("{name}-in", key=str, value={type}, partitions=2)
counts = app.topic("{name}-out", key=str, value=int, partitions=2)

@app.function(records, to=counts)
def count(value: {type}, total: sf.Value[int]) -> int:
    open("{folder}/begun", "a").close()
    while os.path.exists("{folder}/held"):
        time.sleep(0.01)
    time.sleep({pace_s})
    total.value += 1
    return total.value
"""
COUNT = 40
PACE_S = 0.02
SLOW_COUNT = 3_000


@pytest.fixture
def client(broker: Address) -> Iterator[Client]:
    """Kafka's administration."""
    made = Client(broker)
    yield made
    made.close()


@pytest.fixture
def verbs(broker: Address, tmp_path: Path) -> Iterator[Verbs]:
    """Verbs in a folder of their own."""
    made = Verbs(tmp_path, broker.bootstrap)
    yield made
    made.close()


def prepared(
    verbs: Verbs, client: Client, address: Address, name: str, kind: type = str, pace_s: float = 0
) -> tuple[str, Feeder]:
    """Write the program, make its topics, and a writer of its input."""
    program = verbs.folder / "program.py"
    text = PROGRAM.format(name=name, type=kind.__name__, pace_s=pace_s, folder=verbs.folder)
    program.write_text(text)
    for suffix in ("in", "out"):
        client.create(f"{name}-{suffix}", 2, {"retention.ms": "-1"})
    verbs.before |= {program, verbs.folder / "begun"}
    return str(program), Feeder(address, f"{name}-in", keys=6)


def ends(client: Client, name: str) -> dict[str, dict[int, int]]:
    """Where the topics of a test end."""
    return {topic: client.ends(topic) for topic in client.topics() if topic.startswith(name)}


def test_what_is_gone_is_told(broker: Address, name: str, verbs: Verbs, client: Client) -> None:
    """A range that lost its begin: topic, partition, what is gone; or a replay of the rest."""
    program, feeder = prepared(verbs, client, broker, name)
    feeder.write(COUNT)
    (end, other) = (client.ends(f"{name}-in")[number] for number in range(2))
    client.delete_records(f"{name}-in", 0, 7)
    out = verbs.folder / "out.jsonl"
    asked = ("replay", program, "--broker", verbs.broker, "--out", out)
    for begin in (f"{name}-in:0:3", "3"):
        error = verbs.fails(*asked, "--from", begin, code=7)
        assert f"records 3 to 7 of {name}-in[0] are gone; the first is at offset 7" in error
        assert "--on-gap skip" in error
        assert verbs.new() == set()
        assert verbs.leftovers() == []
    verbs(*asked, "--from", f"{name}-in:0:3", "--on-gap", "skip")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    origins = [row["from"] for row in rows if row.get("topic") == f"{name}-out"]
    whole = [[f"{name}-in", 0, offset] for offset in range(7, end)]
    assert sorted(origins) == whole + [[f"{name}-in", 1, offset] for offset in range(other)]


def test_what_goes_while_it_is_replayed_is_told(
    broker: Address, name: str, verbs: Verbs, client: Client
) -> None:
    """Records that were there at the begin and are gone when they are read: no half of a file."""
    program, feeder = prepared(verbs, client, broker, name, bytes)
    noise = random.Random(1)
    for number in range(250):  # more than a client fetches ahead of the first record
        feeder.say(f"k{number % 6}", noise.randbytes(900_000))
    feeder.flush()
    out, held = verbs.folder / "out.jsonl", verbs.folder / "held"
    held.touch()
    process = verbs.start("replaying", "replay", program, "--broker", verbs.broker, "--out", out)
    wait_for_text(process, "which is only read")
    for partition, end in client.ends(f"{name}-in").items():
        client.delete_records(f"{name}-in", partition, end)
    held.unlink()
    assert process.ended() == 7, process.tail()
    error = process.warnings.splitlines()[-1]
    assert error.startswith("error: "), process.tail()
    assert f"of {name}-in[" in error
    assert "are gone" in error
    assert verbs.new() == set()
    assert verbs.leftovers() == []


def test_a_broker_that_is_not_there(verbs: Verbs) -> None:
    """One line, and nothing is written."""
    program, broker = verbs.folder / "program.py", f"127.0.0.1:{free_port()}"
    program.write_text(PROGRAM.format(name="nobody", type="str", pace_s=0, folder=verbs.folder))
    verbs.before.add(program)
    out = verbs.folder / "out.jsonl"
    quick = ("-o", "connect_timeout_ms=1500")
    for more in (("--out", out), ("--diff",), ("--against", program)):
        error = verbs.fails("replay", program, "--broker", broker, *more, *quick, code=7)
        assert broker in error
    assert verbs.new() == set()
    assert verbs.leftovers() == []


@pytest.mark.parametrize("more", [("--out", "out.jsonl"), ("--out", "out.jsonl", "--workers", "3")])
def test_replay_is_interrupted(
    more: tuple[str, ...], broker: Address, name: str, verbs: Verbs, client: Client
) -> None:
    """Ctrl-C in the midst of a replay: exit 130, no file, no state, and the topics as before."""
    program, feeder = prepared(verbs, client, broker, name, pace_s=PACE_S)
    feeder.write(SLOW_COUNT)
    before = ends(client, name)
    words = [str(verbs.folder / word) if word.endswith(".jsonl") else word for word in more]
    process = verbs.start("replaying", "replay", program, "--broker", verbs.broker, *words)
    wait_for(process, (verbs.folder / "begun").exists)
    assert interrupted(process) == 130, process.tail()
    assert "Traceback" not in process.said
    assert verbs.new() == set()
    assert verbs.leftovers() == []
    assert ends(client, name) == before


@pytest.mark.parametrize("how", ["--diff", "--against"])
def test_comparison_is_interrupted(
    how: str, broker: Address, name: str, verbs: Verbs, client: Client
) -> None:
    """Ctrl-C in the midst of a comparison: its processes end with it."""
    program, feeder = prepared(verbs, client, broker, name, pace_s=PACE_S)
    feeder.write(SLOW_COUNT)
    words = [how] if how == "--diff" else [how, program]
    process = verbs.start("comparing", "replay", program, "--broker", verbs.broker, *words)
    wait_for(process, lambda: len(processes_about(str(verbs.temporary))) >= 3)
    assert interrupted(process) == 130, process.tail()
    assert "Traceback" not in process.said
    deadline_s = time.monotonic() + PATIENCE_S  # one that had just been started reads of the end
    while processes_about(str(verbs.temporary)):
        assert time.monotonic() < deadline_s, processes_about(str(verbs.temporary))
        time.sleep(0.05)
    assert verbs.new() == set()
    assert verbs.leftovers() == []


def open_transaction(address: Address, topic: str) -> Producer:
    """Begin a transaction with records in both partitions; nobody reads on before it ends."""
    producer = Producer(
        {**address.client(), "transactional.id": f"{topic}-open", "transaction.timeout.ms": 600_000}
    )
    producer.init_transactions()
    producer.begin_transaction()
    for partition in range(2):
        producer.produce(topic, b"open", partition=partition)
    assert producer.flush(PATIENCE_S) == 0
    return producer


@pytest.mark.parametrize("suffix", ["jsonl.zst", "avro"])
def test_recording_is_interrupted(
    suffix: str, broker: Address, name: str, verbs: Verbs, client: Client
) -> None:
    """Ctrl-C while a recording waits, and while it copies: exit 130 and no file."""
    program, feeder = prepared(verbs, client, broker, name, bytes)
    noise = random.Random(1)
    for number in range(120):
        feeder.say(f"k{number % 6}", noise.randbytes(900_000))
    feeder.flush()
    begun = open_transaction(broker, f"{name}-in")  # up to there it copies, and then it waits
    before = ends(client, name)
    asked = ("record", "--app", program, "--broker", verbs.broker, "--output")
    path = verbs.folder / f"recording.{suffix}"
    waiting = verbs.start("waiting", *asked, path, "--to", "+10m")
    wait_for_text(waiting, "waiting until")
    assert interrupted(waiting) == 130, waiting.tail()
    copying = verbs.start("copying", *asked, path)
    wait_for(copying, lambda: any("partial" in entry for entry in verbs.new()))
    assert interrupted(copying) == 130, copying.tail()
    for process in (waiting, copying):
        assert "nothing was recorded" in process.said
        assert "Traceback" not in process.said
    assert verbs.new() == set()
    assert verbs.leftovers() == []
    assert ends(client, name) == before
    begun.abort_transaction()
