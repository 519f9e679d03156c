"""What a test asks of Kafka's administration, and does to it: one client for a test.

Invariant: confluent-kafka's untyped answers come no further than this module.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import confluent_kafka as kafka
import confluent_kafka.admin as administration

from tests.kafka_settings import Address

PATIENCE_S: Final = 60
ANSWER_S: Final = 5

T = TypeVar("T")


class Client:
    """Kafka's administration at one address."""

    def __init__(self, address: Address) -> None:
        quiet = {"log_level": 0, "reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 300}
        self._settings = {**address.client(), **quiet}
        self._onlookers: dict[str, Any] = {}
        self._renew()
        self._kafka: Any = kafka
        self._administration: Any = administration

    def _renew(self) -> None:
        """Make the clients anew: one that has once heard of no broker may ask none ever again.

        That is issue 5301 of librdkafka.
        """
        self.close()
        self._client: Any = administration.AdminClient(self._settings)

    def _patiently(self, call: Callable[[], T]) -> T:
        """Ask again as long as the brokers do not answer, or not yet."""
        deadline_s = time.monotonic() + PATIENCE_S
        renew_s = time.monotonic() + ANSWER_S
        while True:
            try:
                return call()
            except kafka.KafkaException:
                now_s = time.monotonic()
                if now_s > deadline_s:
                    raise
                if now_s > renew_s:
                    self._renew()
                    renew_s = now_s + ANSWER_S
                time.sleep(0.1)

    def create(self, topic: str, partitions: int, config: Mapping[str, str]) -> None:
        """Create a topic and wait until the broker tells of it."""
        made = self._administration.NewTopic(topic, partitions, config=dict(config))
        self._client.create_topics([made])[topic].result(PATIENCE_S)
        deadline_s = time.monotonic() + PATIENCE_S
        while self.topics().get(topic) != partitions:
            assert time.monotonic() < deadline_s, f"{topic} does not appear"
            time.sleep(0.02)

    def grow(self, topic: str, partitions: int) -> None:
        """Give a topic more partitions."""
        wanted = self._administration.NewPartitions(topic, partitions)
        self._client.create_partitions([wanted])[topic].result(PATIENCE_S)

    def delete(self, topic: str) -> None:
        """Delete a topic."""
        self._client.delete_topics([topic])[topic].result(PATIENCE_S)

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Delete the records before an offset."""
        place = self._kafka.TopicPartition(topic, partition, before)
        self._client.delete_records([place])[place].result(PATIENCE_S)

    def delete_group(self, group: str) -> None:
        """Delete a group without members, and its positions."""
        self._patiently(
            lambda: self._client.delete_consumer_groups([group])[group].result(ANSWER_S)
        )

    def topics(self) -> dict[str, int]:
        """All topics with their partition counts."""
        found = self._patiently(lambda: self._client.list_topics(timeout=ANSWER_S).topics)
        return {name: len(topic.partitions) for name, topic in found.items()}

    def partitions(self, topic: str) -> list[int]:
        """The partitions of a topic."""
        return list(range(self.topics()[topic]))

    def ends(self, topic: str) -> dict[int, int]:
        """Where each partition ends, open transactions included."""
        return self._patiently(lambda: self._ends(topic))

    def _ends(self, topic: str, group: str = "") -> dict[int, int]:
        ends: dict[int, int] = {}
        for number in self.partitions(topic):
            place = self._kafka.TopicPartition(topic, number)
            ends[number] = self._onlooker(group).get_watermark_offsets(place, timeout=ANSWER_S)[1]
        return ends

    def wait_settled(self, topics: Iterable[str]) -> None:
        """Wait until no transaction is open: the mark at its end follows the commit."""
        waiting, deadline_s = list(topics), time.monotonic() + PATIENCE_S
        while waiting := [topic for topic in waiting if not self._settled(topic)]:
            assert time.monotonic() < deadline_s, f"transactions are open in {waiting}"
            time.sleep(0.05)

    def _settled(self, topic: str) -> bool:
        return self.ends(topic) == self._patiently(lambda: self._ends(topic, "onlooker"))

    def committed(self, group: str, topics: Iterable[str]) -> dict[str, int]:
        """The stable committed positions of a group, by ``topic[partition]``; -1 without one."""
        return self._patiently(lambda: self._committed(group, topics))

    def _committed(self, group: str, topics: Iterable[str]) -> dict[str, int]:
        places = [
            self._kafka.TopicPartition(topic, number)
            for topic in topics
            for number in self.partitions(topic)
        ]
        found = self._onlooker(group).committed(places, timeout=ANSWER_S)
        assert not [place for place in found if place.error is not None], found
        return {f"{place.topic}[{place.partition}]": max(place.offset, -1) for place in found}

    def _onlooker(self, group: str) -> Any:
        """A consumer that joins nothing; with a group it reads positions, without one true ends.

        An AdminClient could tell both, but librdkafka 2.16 fails an assertion if its broker comes
        back while it waits.
        """
        if group not in self._onlookers:
            settings = {
                "group.id": group or "onlooker",
                "isolation.level": "read_committed" if group else "read_uncommitted",
                "enable.auto.commit": False,
            }
            self._onlookers[group] = self._kafka.Consumer({**self._settings, **settings})
        return self._onlookers[group]

    def close(self) -> None:
        """Let all clients go."""
        for onlooker in self._onlookers.values():
            onlooker.close()
        self._onlookers.clear()

    def commit(self, group: str, topic: str, partition: int, offset: int) -> None:
        """Commit a position of a group that has no members."""
        place = self._kafka.TopicPartition(topic, partition, offset)
        wanted = self._kafka.ConsumerGroupTopicPartitions(group, [place])
        self._client.alter_consumer_group_offsets([wanted])[group].result(PATIENCE_S)

    def configure_group(self, group: str, settings: Mapping[str, str]) -> None:
        """Set what the broker keeps for a group of the new protocol."""
        entries = [
            self._administration.ConfigEntry(
                name, value, incremental_operation=self._administration.AlterConfigOpType.SET
            )
            for name, value in settings.items()
        ]
        resource = self._administration.ConfigResource(
            self._administration.ResourceType.GROUP, group, incremental_configs=entries
        )
        self._client.incremental_alter_configs([resource])[resource].result(PATIENCE_S)

    def grant(self, user: str, rights: Iterable[tuple[str, str, bool, str]]) -> None:
        """Allow a user things: (kind, name, whether it is a prefix, operation)."""
        a = self._administration
        bindings = [
            a.AclBinding(
                a.ResourceType[kind], name,
                a.ResourcePatternType.PREFIXED if prefix else a.ResourcePatternType.LITERAL,
                f"User:{user}", "*", a.AclOperation[operation], a.AclPermissionType.ALLOW,
            )
            for kind, name, prefix, operation in rights
        ]  # fmt: skip
        for future in self._client.create_acls(bindings).values():
            future.result(PATIENCE_S)
