"""What tests ask a Kafka to do beside what they test: is it up, create topics, delete them.

Invariant: the client lives until its answer is there; a temporary one takes its answers with it.
"""

from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.kafka_jars import BrokerError
from tests.kafka_settings import Address

if TYPE_CHECKING:
    from confluent_kafka.admin._metadata import ClusterMetadata

ANSWER_WITHIN_S = 60.0


def admin(address: Address) -> AdminClient:
    """Make a client that tries again soon and says nothing meanwhile; keep it while it works."""
    quiet = {"log_level": 0, "reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 200}
    return AdminClient({**address.client(), **quiet})


def missing(client: AdminClient, timeout_s: float = 0.5, cluster: str = "") -> str:
    """Say what a broker, of this cluster if one is named, lacks to be up; empty if nothing."""
    try:
        metadata: ClusterMetadata = client.list_topics(timeout=timeout_s)
    except KafkaException as error:
        return str(error.args[0])
    if cluster and str(metadata.cluster_id) != cluster:
        return f"another one answers, of the cluster {metadata.cluster_id!r}"
    if not metadata.brokers:
        return "it names no broker"
    without = [
        f"{name}[{number}]"
        for name, topic in metadata.topics.items()
        for number, partition in topic.partitions.items()
        if partition.leader < 0
    ]
    return f"no leader for {', '.join(without)}" if without else ""


def check_answers(address: Address, within_s: float = ANSWER_WITHIN_S) -> None:
    """Raise ``BrokerError`` if nothing that others run is at this address."""
    client = admin(address)
    why = missing(client, within_s)
    if why:
        message = f"kafka at {address.bootstrap} does not serve: {why}; was it killed?"
        raise BrokerError(message)


def create_topics(
    address: Address, partitions: Mapping[str, int], config: Mapping[str, str] | None = None
) -> None:
    """Create topics, each with so many partitions, and return when they are there."""
    client: Any = admin(address)  # its stubs know no types of answers
    topics = [
        NewTopic(name, count, config=dict(config or {})) for name, count in partitions.items()
    ]
    wait_for(client.create_topics(topics))


def delete_topics(address: Address, prefix: str) -> None:
    """Delete the topics whose names begin so."""
    client: Any = admin(address)  # its stubs know no types of answers
    metadata: ClusterMetadata = client.list_topics(timeout=ANSWER_WITHIN_S)
    names = [name for name in metadata.topics if name.startswith(prefix)]
    if names:
        wait_for(client.delete_topics(names))


def wait_for(answers: Mapping[str, Future[None]]) -> None:
    """Wait until all is done; what failed raises its ``KafkaException``."""
    for answer in answers.values():
        answer.result(ANSWER_WITHIN_S)
