"""Membership of a group by its token topic: partition *i* stands for task *i*.

The group subscribes to one internal, empty topic; which of its partitions are ours is told to the
listener. Token partitions are assigned at their end and paused: nothing is read of them. Invariant:
a callback of librdkafka never raises; what the listener raised is kept until ``check``.
"""

from collections.abc import Callable
from struct import Struct
from typing import Final

from confluent_kafka import OFFSET_END, Consumer, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from streamfn.clock import Clock
from streamfn.connectors.kafka_errors import Connection, kafka_error
from streamfn.connectors.kafka_settings import LOGGER
from streamfn.connectors.kafka_topics import Topics
from streamfn.connectors.log import Listener
from streamfn.errors import AbortedError, LogError, StopError

LEAVE_TIMEOUT_S: Final = 5.0
METADATA_VERSION: Final = b"CGMDv2:"
GENERATION: Final = Struct("=i")
"""How librdkafka writes down who a member is: version, generation, group, member."""
ANSWERS: Final = 3
ASK_AGAIN_S: Final = 0.5
CURE: Final = "stop all workers and start them again: they will make it anew"


class Tokens:
    """The token topic of a group."""

    def __init__(self, topics: Topics, group: str, tokens: int, *, create: bool) -> None:
        self.topic = f"{group}-tasks"
        self._topics, self._tokens, self._create = topics, tokens, create
        self._id = self._ensured()

    def _ensured(self) -> str:
        found = self._topics.describe([self.topic]).get(self.topic)
        count = 0 if found is None else len(found.partitions)
        if count < self._tokens and not self._create:
            message = (
                f"topic {self.topic!r} has {count} partitions; the tasks need {self._tokens}; "
                "create it ('streamfn topics create'), or run with -o internal_topics=create"
            )
            raise LogError(message)
        if found is None:
            try:
                return self._topics.create(self.topic, self._tokens, {}).id
            except LogError:
                if self.topic not in self._topics.describe([self.topic]):
                    raise  # else another worker, of another version, was faster
                return self._ensured()
        if count < self._tokens:
            self._topics.grow(self.topic, self._tokens)
        return str(found.topic_id)

    def raise_to(self, tokens: int) -> None:
        """See that there are at least so many tokens; the members are told of new ones soon."""
        if tokens > self._tokens:
            before, self._tokens = self._tokens, tokens
            try:
                self._id = self._ensured()
            except LogError:
                self._tokens = before
                raise

    def _wrong(self) -> str:
        found = self._topics.describe([self.topic]).get(self.topic)
        if found is None:
            return "is gone"
        if str(found.topic_id) != self._id:
            return f"was made anew; got id {found.topic_id} instead of {self._id}"
        if len(found.partitions) < self._tokens:
            return f"has {len(found.partitions)} partitions; the tasks need {self._tokens}"
        return ""

    def verify(self) -> bool:
        """See that the topic is the one that was joined; False if nobody could tell.

        Raises:
            StopError: it is gone, was made anew, or has lost partitions.
        """
        wrong = ""
        for _ in range(ANSWERS):  # a broker that has just come up may not know it yet
            try:
                wrong = self._wrong()
            except LogError as error:
                LOGGER.warning("token topic %r could not be checked: %s", self.topic, error)
                return False
            if not wrong:
                return True
            self._topics.wait(ASK_AGAIN_S)
        message = f"token topic {self.topic!r} {wrong}; tasks are no longer shared out; {CURE}"
        raise StopError(message)


class Membership:
    """One consumer's place in the group."""

    def __init__(
        self,
        consumer: Consumer,
        topic: str,
        listener: Listener,
        connection: Connection,
        clock: Clock,
    ) -> None:
        self._consumer, self._topic, self._listener = consumer, topic, listener
        self._connection, self._clock = connection, clock
        self._trouble: BaseException | None = None
        self._held: set[int] = set()
        self._subscribed = self._was_assigned = False

    def subscribe(self) -> None:
        """Join; called again it does nothing."""
        if self._subscribed:
            return
        self._subscribed = True
        self._consumer.subscribe(
            [self._topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def leave(self) -> None:
        """Give up all tokens while we are a member still, so that their work can be committed."""
        if not self._held:
            return
        self._consumer.unsubscribe()
        deadline_s = self._clock.monotonic_s() + LEAVE_TIMEOUT_S
        while self._held and self._clock.monotonic_s() < deadline_s:
            self._consumer.poll(0.05)  # what it reads is read again by who gets the token

    def check(self) -> None:
        """Raise what the listener raised in a callback."""
        trouble, self._trouble = self._trouble, None
        if trouble is not None:
            raise trouble

    def check_current(self, metadata: bytes) -> None:
        """See that we are a member still, if we have been one.

        Positions of one that names no member are taken in a transaction from anybody (seen on a
        Kafka 4.1), and the client names none once its membership has ended behind our back.

        Raises:
            AbortedError: the group has given us up; the next poll will tell so.
        """
        known = metadata.startswith(METADATA_VERSION)
        (generation,) = GENERATION.unpack_from(metadata, len(METADATA_VERSION)) if known else (1,)
        if self._was_assigned and generation < 1:
            message = (
                "positions are not committed; our membership of the group has ended; joining again"
            )
            raise AbortedError(message)

    def _on_assign(self, consumer: Consumer, found: list[KafkaPartition]) -> None:
        self._was_assigned = True

        def take() -> None:
            consumer.incremental_assign(
                [KafkaPartition(part.topic, part.partition, OFFSET_END) for part in found]
            )
            if found:
                consumer.pause(found)

        self._safely(take)
        self._held.update(part.partition for part in found)
        self._tell(self._listener.assigned, found)

    def _on_revoke(self, consumer: Consumer, found: list[KafkaPartition]) -> None:
        self._tell(self._listener.revoked, found)
        self._safely(lambda: consumer.incremental_unassign(found))
        self._held.difference_update(part.partition for part in found)

    def _on_lost(self, consumer: Consumer, found: list[KafkaPartition]) -> None:
        LOGGER.warning("membership is lost; its tasks are dropped; joining again")
        self._tell(self._listener.lost, found)
        self._safely(lambda: consumer.incremental_unassign(found))
        self._held.difference_update(part.partition for part in found)

    def _tell(self, call: Callable[[list[int]], None], found: list[KafkaPartition]) -> None:
        tokens = sorted(part.partition for part in found if part.topic == self._topic)
        if tokens:
            self._safely(lambda: call(tokens))

    def _safely(self, call: Callable[[], None]) -> None:
        try:
            call()
        except KafkaException as exception:
            wrong = "assignment of tokens cannot change"
            self._keep(self._connection.error(kafka_error(exception), wrong))
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            self._keep(error)

    def _keep(self, error: BaseException) -> None:
        self._trouble = self._trouble or error
