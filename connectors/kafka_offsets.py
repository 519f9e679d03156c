"""Offsets in a Kafka: where partitions begin and end, and what a group has committed.

Invariant: a committed position that is told is stable: no open transaction can still change it.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from confluent_kafka import OFFSET_INVALID, Consumer, IsolationLevel, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from streamfn.connectors.kafka_errors import LEADER_MOVED, RIGHTS, kafka_error
from streamfn.connectors.kafka_requests import ADMIN, REQUEST_TIMEOUT_S, Requests
from streamfn.connectors.log import Committed
from streamfn.errors import LogError
from streamfn.record import TopicPartition

MISSING: Final = {
    KafkaError._NOENT,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
}


AGAIN: Final = {
    KafkaError.UNSTABLE_OFFSET_COMMIT,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
}
ASK_TIMEOUT_S: Final = 3.0


class Offsets:
    """Offsets, and the cluster that they are of."""

    def __init__(
        self,
        requests: Requests,
        width: Callable[[str], int],
        make_asker: Callable[[str], Consumer],
    ) -> None:
        self._requests, self._width, self._make_asker = requests, width, make_asker
        self._asker: Consumer | None = None
        self._asked_group = ""
        self._cluster_id = ""

    def cluster_id(self) -> str:
        """Return the cluster's id, asked once."""
        if not self._cluster_id:
            future = self._requests.client.describe_cluster(request_timeout=REQUEST_TIMEOUT_S)
            found = self._requests.all({"": future}, "the cluster cannot be described")[""]
            self._cluster_id = str(found.cluster_id)
        return self._cluster_id

    def begins(self, sources: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where the partitions begin."""
        return self._offsets(sources, ADMIN.OffsetSpec.earliest())

    def ends(self, sources: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where they end, open transactions included."""
        return self._offsets(sources, ADMIN.OffsetSpec.latest())

    def stable_ends(self, sources: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where they end, or the first record of a transaction that is open."""
        latest = ADMIN.OffsetSpec.latest()
        return self._offsets(sources, latest, IsolationLevel.READ_COMMITTED)

    def at(self, sources: Iterable[TopicPartition], timestamp_ms: int) -> dict[TopicPartition, int]:
        """Return the first offsets whose timestamps are this one or later; ends where none is."""
        found = self._offsets(sources, ADMIN.OffsetSpec.for_timestamp(timestamp_ms))
        late = self.ends(source for source, offset in found.items() if offset < 0)
        return found | late

    def _offsets(
        self,
        sources: Iterable[TopicPartition],
        spec: Any,
        isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
    ) -> dict[TopicPartition, int]:
        asked = {KafkaPartition(source.topic, source.partition): spec for source in sources}
        if not asked:
            return {}
        futures = self._requests.client.list_offsets(
            asked, isolation_level=isolation, request_timeout=REQUEST_TIMEOUT_S
        )
        found: dict[TopicPartition, int] = {}
        for where, answer in self._requests.answers(futures, "offsets cannot be read").items():
            source = TopicPartition(where.topic, where.partition)
            if isinstance(answer, KafkaError):
                raise self._unknown(source, answer)
            if answer.offset == OFFSET_INVALID:  # the broker died meanwhile; librdkafka 2.16 tells
                error = KafkaError(KafkaError._TRANSPORT)  # no error then
                raise self._requests.refused(error, f"offsets of {source} cannot be read")
            found[source] = answer.offset
        return found

    def _unknown(self, source: TopicPartition, error: KafkaError) -> LogError:
        """Tell a partition that is not there from one that nobody leads for the moment."""
        if error.code() in MISSING and self._width(source.topic) <= source.partition:
            message = (
                f"{source} does not exist; got a request for its offsets; create the topic with "
                "'streamfn topics create'"
            )
            return LogError(message)
        if error.code() in MISSING:
            error = KafkaError(KafkaError.LEADER_NOT_AVAILABLE)
        if error.code() in LEADER_MOVED:  # the client asks for leaders anew only if told to
            with suppress(KafkaException):
                self._requests.client.list_topics(source.topic, timeout=REQUEST_TIMEOUT_S)
        return self._requests.refused(error, f"offsets of {source} cannot be read")

    def positions_kept_ms(self) -> int | None:
        """Return how long the brokers keep a position, or None if they do not tell us."""
        future = self._requests.client.describe_cluster(request_timeout=REQUEST_TIMEOUT_S)
        wrong = "the brokers' settings cannot be read"
        nodes = self._requests.all({"": future}, wrong)[""].nodes
        resource = ADMIN.ConfigResource(ADMIN.ResourceType.BROKER, str(nodes[0].id))
        futures = self._requests.client.describe_configs(
            [resource], request_timeout=REQUEST_TIMEOUT_S
        )
        (answer,) = self._requests.answers(futures, wrong).values()
        entry = None if isinstance(answer, KafkaError) else answer.get("offsets.retention.minutes")
        return int(entry.value) * 60_000 if entry is not None and entry.value else None

    def committed(
        self, group: str, sources: Iterable[TopicPartition]
    ) -> dict[TopicPartition, Committed]:
        """Return the stable committed positions; pending transactions are waited for.

        They are asked for by a consumer that is no member: a member's own epoch may be stale. An
        admin client would end the process if a broker came back while it asks (2.16.1).
        """
        asked = [KafkaPartition(source.topic, source.partition) for source in sources]
        if not asked:
            return {}
        wrong = f"committed positions of {group!r} cannot be read"
        deadline_s = self._requests.clock.monotonic_s() + REQUEST_TIMEOUT_S
        while True:
            error, found = self._ask(group, asked)
            if error is None:
                return _positions(found)
            again = error.code() in AGAIN and self._requests.clock.monotonic_s() < deadline_s
            if not again:
                raise self._requests.refused(error, wrong)
            self._requests.clock.sleep(0.02)

    def _ask(
        self, group: str, asked: list[KafkaPartition]
    ) -> tuple[KafkaError | None, list[KafkaPartition]]:
        """Ask once, of a client that is replaced if it gets no answer."""
        if self._asker is None or self._asked_group != group:
            self.close()
            self._asker, self._asked_group = self._make_asker(group), group
        try:
            found: list[KafkaPartition] = self._asker.committed(asked, timeout=ASK_TIMEOUT_S)
        except KafkaException as exception:
            said = self._asker.poll(0)  # has errors of connections told, and missing rights
            self.close()
            reason = said.error() if said is not None else None
            error = kafka_error(exception)
            return (reason if reason is not None and reason.code() in RIGHTS else error), []
        self._requests.connection.answered()
        return next((where.error for where in found if where.error is not None), None), found

    def close(self) -> None:
        """Let go of the client that asks for positions."""
        if self._asker is not None:
            self._asker.close()
        self._asker = None


def _positions(found: Iterable[KafkaPartition]) -> dict[TopicPartition, Committed]:
    return {
        TopicPartition(where.topic, where.partition): Committed(where.offset, where.metadata or "")
        for where in found
        if where.offset >= 0
    }
