"""The fixtures really give a Kafka: transactions, rights, data that outlives a kill."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin._config import ConfigResource

from tests.kafka_admin import admin, create_topics, missing
from tests.kafka_broker import OwnBroker, shared
from tests.kafka_jars import ROOT
from tests.kafka_settings import Address

STARTER = """\
from tests.kafka_broker import Broker
broker = Broker()
broker.start(wait=False)
print(broker.pid, flush=True)
input()
"""


def transact(
    address: Address, topic: str, values: list[str], end: Callable[[Producer], None]
) -> None:
    """Send values in one transaction of a new producer, and end it so."""
    producer = Producer({**address.client(), "transactional.id": f"{topic}-{values[0]}"})
    producer.init_transactions(30)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value)
    producer.flush(30)
    end(producer)


def commit(producer: Producer) -> None:
    """End with a commit."""
    producer.commit_transaction(30)


def abort(producer: Producer) -> None:
    """End with an abort."""
    producer.abort_transaction(30)


def committed(address: Address, topic: str, count: int) -> list[str]:
    """Read so many values from the start, committed ones only."""
    consumer = Consumer(
        {
            **address.client(),
            "group.id": topic,  # has to be said, and is not joined
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        return [value_of(message) for message in consumer.consume(count, 30)]
    finally:
        consumer.close()


def value_of(message: Message) -> str:
    """Take the value of a message that is no error."""
    value = message.value()
    assert value is not None, message.error()
    return value.decode()


def property_of(address: Address, name: str) -> object:
    """Ask the broker for one of its properties."""
    client: Any = admin(address)  # its stubs know no types of answers
    resource = ConfigResource(ConfigResource.Type.BROKER, "1")
    return client.describe_configs([resource])[resource].result(30)[name].value


def test_broker_has_transactions(broker: Address, name: str) -> None:
    """What was aborted is not seen, what was committed is, in order."""
    create_topics(broker, {name: 1})
    transact(broker, name, ["lost"], abort)
    transact(broker, name, ["a", "b"], commit)
    assert committed(broker, name, 2) == ["a", "b"]


def test_broker_creates_no_topics_by_itself(broker: Address, name: str) -> None:
    """A topic is there because somebody created it."""
    if not os.environ.get("STREAMFN_TEST_BROKER"):
        client = admin(broker)
        topic = client.list_topics(name, timeout=30).topics[name]
        assert topic.error is not None
        assert topic.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_another_process_joins_the_same_broker(broker: Address, run_folder: Path) -> None:
    """Whoever comes later gets the broker that runs."""
    if not os.environ.get("STREAMFN_TEST_BROKER"):
        with shared(run_folder / "broker") as joined:
            assert joined == broker


def test_own_broker_can_be_suspended_and_killed(own_broker: OwnBroker) -> None:
    """Suspended it answers nothing; after kill -9 it comes back at its address, with its data."""
    broker = own_broker(properties={"offsets.retention.minutes": "1"})
    assert property_of(broker.address, "offsets.retention.minutes") == "1"
    create_topics(broker.address, {"kept": 1})
    transact(broker.address, "kept", ["a", "b"], commit)
    broker.suspend()
    client = admin(broker.address)
    assert missing(client)
    broker.kill()
    assert not broker.running
    broker.restart()
    assert committed(broker.address, "kept", 2) == ["a", "b"]


@pytest.mark.skipif(sys.platform != "linux", reason="watches a process that is not its child")
@pytest.mark.usefixtures("startable")
def test_broker_ends_with_a_killed_starter() -> None:
    """Killing whoever uses a broker with -9 ends the broker too."""
    with subprocess.Popen(
        [sys.executable, "-c", STARTER],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as starter:
        assert starter.stdout is not None
        watched = select.poll()
        broker = os.pidfd_open(int(starter.stdout.readline()))
        watched.register(broker, select.POLLIN)
        try:
            assert not watched.poll(0)
            starter.send_signal(signal.SIGKILL)
            assert watched.poll(30_000)
        finally:
            os.close(broker)


def test_authorized_broker_refuses(authorized_broker: Address, name: str) -> None:
    """The admin may create and write; a user without rights sees no topic and writes none."""
    create_topics(authorized_broker, {name: 1})
    transact(authorized_broker, name, ["a"], commit)
    refused: list[KafkaError | None] = []
    guest = Producer(authorized_broker.client("guest"))
    guest.produce(name, "b", on_delivery=lambda error, _: refused.append(error))
    assert guest.flush(30) == 0
    assert [error and error.code() for error in refused] == [KafkaError.TOPIC_AUTHORIZATION_FAILED]
    assert committed(authorized_broker, name, 1) == ["a"]


def test_authorized_broker_asks_for_a_password(authorized_broker: Address) -> None:
    """A wrong password gets nowhere."""
    client = admin(Address(authorized_broker.bootstrap, {"admin": "wrong"}))
    with pytest.raises(KafkaException):
        client.list_topics(timeout=1)
