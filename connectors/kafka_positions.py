"""Positions that are committed without a transaction: at least once.

The client's own commit waits for as long as a broker is silent, with nothing that could end it
(measured: minutes). So positions are sent without waiting and looked for in the group until they
are there. Invariant: ``commit`` returns when the group holds all of them, and ends in any case.
"""

from collections.abc import Callable, Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from streamfn.clock import Clock
from streamfn.connectors.kafka_errors import Connection, kafka_error
from streamfn.connectors.kafka_offsets import Offsets
from streamfn.connectors.log import Committed
from streamfn.errors import LogError, UnknownOutcomeError
from streamfn.record import TopicPartition

COMMIT_TIMEOUT_S: Final = 10.0
SEND_EVERY_S: Final = 0.5
"""A commit that met a rebalance is refused, and we are not told: it is sent again."""
LOOK_EVERY_S: Final = 0.005


class PlainPositions:
    """The positions of one transaction that is none."""

    def __init__(self, offsets: Offsets, connection: Connection, clock: Clock) -> None:
        self._offsets, self._connection, self._clock = offsets, connection, clock
        self._wanted: dict[TopicPartition, Committed] = {}

    def __len__(self) -> int:
        return len(self._wanted)

    def add(self, positions: Mapping[TopicPartition, Committed]) -> None:
        """Remember positions until ``commit``."""
        self._wanted.update(positions)

    def clear(self) -> None:
        """Forget them."""
        self._wanted.clear()

    def commit(self, group: str, member: Consumer, check: Callable[[], object]) -> None:
        """Commit what was added, in the name of a member; ``check`` raises if it is none any more.

        Raises:
            UnknownOutcomeError: if retriable, call again.
        """
        deadline_s = self._clock.monotonic_s() + COMMIT_TIMEOUT_S
        send_s = 0.0
        while self._wanted:
            check()
            now_s = self._clock.monotonic_s()
            if now_s >= send_s:
                self._send(member)
                send_s = now_s + SEND_EVERY_S
            if self._are_committed(group):
                self._wanted.clear()
            elif now_s > deadline_s:
                silence = self._connection.silence()
                message = f"positions are committed or not; {silence}; they are committed again"
                raise UnknownOutcomeError(message, retriable=True)
            else:
                self._clock.sleep(LOOK_EVERY_S)

    def _send(self, member: Consumer) -> None:
        try:
            member.commit(offsets=kafka_offsets(self._wanted), asynchronous=True)
        except KafkaException as exception:
            raise self._connection.of_group(kafka_error(exception)) from exception

    def _are_committed(self, group: str) -> bool:
        try:
            found = self._offsets.committed(group, self._wanted)
        except LogError as error:
            if error.retriable:
                message = f"positions are committed or not; {error}"
                raise UnknownOutcomeError(message, retriable=True) from error
            raise
        return found == self._wanted


def kafka_offsets(positions: Mapping[TopicPartition, Committed]) -> list[KafkaPartition]:
    """Positions as librdkafka takes them."""
    return [
        KafkaPartition(source.topic, source.partition, position.offset, position.metadata)
        for source, position in positions.items()
    ]
