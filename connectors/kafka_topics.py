"""The topics of a Kafka: named, described, created, grown, deleted.

Invariant: a topic that was created can be written at once, and one that was deleted is gone.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka import TopicPartition as KafkaPartition

from streamfn.connectors.kafka_errors import kafka_error
from streamfn.connectors.kafka_requests import ADMIN, REQUEST_TIMEOUT_S, Requests
from streamfn.connectors.log import TopicInfo
from streamfn.errors import LogError
from streamfn.record import TopicPartition

NEW_SETTINGS: Final = {"message.timestamp.after.max.ms"}
"""Older brokers (before 3.6) do not know them, and take any time."""
LIST_TIMEOUT_S: Final = 3.0
GONE: Final = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}


class Topics:
    """All topics that we may see."""

    def __init__(self, requests: Requests, replication_factor: int) -> None:
        self._requests, self._replication_factor = requests, replication_factor

    def names(self) -> set[str]:
        """Return the names of all topics but Kafka's own."""
        wrong = "topics cannot be listed"
        deadline_s = self._requests.clock.monotonic_s() + LIST_TIMEOUT_S
        while True:
            try:
                found = self._requests.client.list_topics(timeout=1.0)
            except KafkaException as exception:
                self._requests.hear()
                self._requests.connection.check()
                if self._requests.clock.monotonic_s() > deadline_s:
                    raise self._requests.refused(kafka_error(exception), wrong) from exception
            else:
                self._requests.connection.answered()
                return {name for name in found.topics if not name.startswith("__")}

    def wait(self, seconds: float) -> None:
        """Give the brokers a moment."""
        self._requests.clock.sleep(seconds)

    def describe(self, names: Iterable[str], *, rights: bool = False) -> dict[str, Any]:
        """Return what is known of those of the topics that exist; with our ``rights`` if asked."""
        names = sorted(set(names))
        if not names:
            return {}
        futures = self._requests.client.describe_topics(
            TopicCollection(names),
            include_authorized_operations=rights,
            request_timeout=REQUEST_TIMEOUT_S,
        )
        found: dict[str, Any] = {}
        for name, answer in self._requests.answers(
            futures, f"topics {_some(names)} cannot be read"
        ).items():
            if not isinstance(answer, KafkaError):
                found[name] = answer
            elif answer.code() not in GONE:
                raise self._requests.refused(answer, f"topic {name!r} cannot be described")
        return found

    def width(self, name: str) -> int:
        """Return how many partitions a topic has; 0 if there is none of that name."""
        found = self.describe([name]).get(name)
        return len(found.partitions) if found is not None else 0

    def denied(self, names: Iterable[str], right: str) -> list[str]:
        """Return those of the topics on which we do not have a right, as far as that is known."""
        found = self.topics(names)
        return [n for n, topic in found.items() if topic.may is not None and right not in topic.may]

    def topics(self, names: Iterable[str]) -> dict[str, TopicInfo]:
        """Return those of the topics that exist, with their settings as far as we may see them."""
        found = self.describe(names, rights=True)
        configs = self._configs(list(found))
        return {
            name: TopicInfo(
                name,
                len(topic.partitions),
                str(topic.topic_id),
                configs.get(name, {}),
                frozenset(operation.name for operation in topic.authorized_operations or ())
                or None,
            )
            for name, topic in found.items()
        }

    def _configs(self, names: list[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        resources = [ADMIN.ConfigResource(ADMIN.ResourceType.TOPIC, name) for name in names]
        futures = self._requests.client.describe_configs(
            resources, request_timeout=REQUEST_TIMEOUT_S
        )
        found = self._requests.answers(futures, "the settings of topics cannot be read")
        return {
            str(resource.name): {
                name: entry.value for name, entry in answer.items() if entry.value is not None
            }
            for resource, answer in found.items()
            if not isinstance(answer, KafkaError)
        }

    def create(self, name: str, partitions: int, config: Mapping[str, str]) -> TopicInfo:
        """Create a topic and wait until it can be written; the same partition count is no error."""
        wrong = f"topic {name!r} cannot be created"
        answer = self._create(name, partitions, config, wrong)
        if isinstance(answer, KafkaError) and answer.code() == KafkaError.INVALID_CONFIG:
            known = {key: value for key, value in config.items() if key not in NEW_SETTINGS}
            answer = self._create(name, partitions, known, wrong)
        if isinstance(answer, KafkaError) and answer.code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise self._requests.refused(answer, wrong)
        self._requests.until(lambda: self._has_leaders(name), f"topic {name!r} does not get ready")
        found = self.topics([name])[name]
        if found.partitions != partitions:
            message = (
                f"topic {name!r} exists with {found.partitions} partitions; got a request for "
                f"{partitions}; use the same number"
            )
            raise LogError(message)
        return found

    def _create(self, name: str, partitions: int, config: Mapping[str, str], wrong: str) -> Any:
        new = ADMIN.NewTopic(name, partitions, self._replication_factor, config=dict(config))
        futures = self._requests.client.create_topics([new], request_timeout=REQUEST_TIMEOUT_S)
        return self._requests.answers(futures, wrong)[name]

    def _has_leaders(self, name: str, partitions: int = 1) -> bool:
        topic = self.describe([name]).get(name)
        return (
            topic is not None
            and len(topic.partitions) >= partitions
            and all(part.leader is not None and part.leader.id >= 0 for part in topic.partitions)
        )

    def grow(self, name: str, partitions: int) -> None:
        """Add partitions up to a number; somebody else may do the same."""
        futures = self._requests.client.create_partitions(
            [ADMIN.NewPartitions(name, partitions)], request_timeout=REQUEST_TIMEOUT_S
        )
        wrong = f"topic {name!r} does not get its {partitions} partitions"
        answer = self._requests.answers(futures, wrong)[name]
        if isinstance(answer, KafkaError) and answer.code() != KafkaError.INVALID_PARTITIONS:
            raise self._requests.refused(answer, wrong)
        self._requests.until(lambda: self._has_leaders(name, partitions), wrong)

    def delete(self, name: str) -> None:
        """Delete a topic and wait until it is gone."""
        futures = self._requests.client.delete_topics([name], request_timeout=REQUEST_TIMEOUT_S)
        self._requests.all(futures, f"topic {name!r} cannot be deleted")
        self._requests.until(lambda: not self.describe([name]), f"topic {name!r} does not go away")

    def delete_records(self, source: TopicPartition, before: int) -> None:
        """Forget the records before an offset."""
        where = KafkaPartition(source.topic, source.partition, before)
        futures = self._requests.client.delete_records([where], request_timeout=REQUEST_TIMEOUT_S)
        self._requests.all(futures, f"records of {source} before {before} cannot be deleted")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
