"""Kafka as a Log: a member's input, a producer's transactions and administration, as one.

Records come in through ``poll`` and ``read`` and leave through ``emit``; the parts stand in the
``kafka_*`` modules beside this one. Invariant: one thread makes every call, every wait has an end,
and no setting or error shows a secret.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Final

from confluent_kafka import Consumer, KafkaException

from streamfn.clock import Clock
from streamfn.config import ClientSettings
from streamfn.connectors.kafka_clients import Clients
from streamfn.connectors.kafka_errors import kafka_error
from streamfn.connectors.kafka_input import Input
from streamfn.connectors.kafka_membership import Membership, Tokens
from streamfn.connectors.kafka_offsets import Offsets
from streamfn.connectors.kafka_output import Output
from streamfn.connectors.kafka_positions import PlainPositions
from streamfn.connectors.kafka_reader import Reader
from streamfn.connectors.kafka_requests import Requests
from streamfn.connectors.kafka_settings import LOGGER
from streamfn.connectors.kafka_topics import Topics
from streamfn.connectors.log import Committed, Listener, TopicInfo
from streamfn.errors import AbortedError, InternalError, LogError
from streamfn.record import Batch, Columns, TopicPartition

HEAR_TIMEOUT_S: Final = 3.0
DEAF_MAX: Final = 3
"""So many looks in a row without an answer, and the consumer is given up."""


class KafkaLog:
    """The Log port over confluent-kafka."""

    def __init__(
        self,
        broker: str,
        settings: Mapping[str, str],
        *,
        transactional_id: str,
        clock: Clock,
        exactly_once: bool = True,
        replication_factor: int = -1,
        create_token_topic: bool = True,
    ) -> None:
        """Make the clients; nothing is asked of the brokers yet.

        Raises:
            ConfigError: librdkafka does not know a setting or does not take its value.
        """
        settings = ClientSettings(settings)  # a traceback that shows it shows no secret
        self._clients = Clients(broker, settings, clock)
        self._connection, self._clock = self._clients.connection, clock
        self._exactly_once, self._create_tokens = exactly_once, create_token_topic
        requests = Requests(self._clients.admin(), self._connection, clock)
        self._topics = Topics(requests, replication_factor)
        self._offsets = Offsets(requests, self._topics.width, self._clients.asker)
        make = partial(self._clients.transactional, transactional_id) if exactly_once else None
        self._output = Output(
            make, self._clients.plain, self._topics.width, self._topics.denied,
            self._offsets.ends, self._connection,
            clock, prompt_s=self._clients.prompt_s,
        )  # fmt: skip
        self._readers: list[Reader] = []
        self._deaf = 0
        self._group = ""
        self._consumer: Consumer | None = None
        self._input: Input | None = None
        self._tokens: Tokens | None = None
        self._membership: Membership | None = None
        self._positions = PlainPositions(self._offsets, self._connection, clock)

    @property
    def cluster_id(self) -> str:
        """Identifies the cluster for ever."""
        return self._offsets.cluster_id()

    # membership and input
    def join(self, group: str, tokens: int, listener: Listener) -> None:
        """Become a member of ``group``; with no tokens look on only: read its positions.

        Raises:
            LogError: the token topic is not there and may not be created.
        """
        if self._tokens is not None:
            self._tokens.raise_to(tokens)
            return
        self._group = group
        if tokens:
            self._tokens = Tokens(self._topics, group, tokens, create=self._create_tokens)
            self._membership = Membership(
                self._member(), self._tokens.topic, listener, self._connection, self._clock
            )

    def _member(self) -> Consumer:
        """Return the consumer of the group, made when it is first needed."""
        if self._consumer is None:
            self._consumer = self._clients.member(self._joined())
            self._input = Input(self._consumer, self._connection, self._clock)
        return self._consumer

    def _joined(self) -> str:
        if not self._group:
            message = "no group is known; got a call about its positions; join it first"
            raise InternalError(message)
        return self._group

    def _inputs(self) -> Input:
        self._member()
        assert self._input is not None
        return self._input

    def leave(self) -> None:
        """Leave the group; ``revoked`` is called for what is still ours."""
        consumer, membership = self._consumer, self._membership
        self._tokens = None
        try:
            if membership is not None:
                membership.leave()
            if consumer is not None:
                consumer.close()
        finally:
            self._consumer = self._input = self._membership = None
        if membership is not None:
            membership.check()

    def verify_membership(self) -> None:
        """See that the token topic is still the one that was joined, and that we hear of it.

        Raises:
            LogError: our consumer gets no answers, again and again, while other clients do: what
                librdkafka knows of the brokers can be lost for good (its issue 5301).
        """
        if self._tokens is None or not self._tokens.verify():
            return
        try:
            self._member().list_topics(self._tokens.topic, timeout=HEAR_TIMEOUT_S)
        except KafkaException as exception:
            self._deaf += 1
            text = self._connection.text(kafka_error(exception))
            if self._deaf >= DEAF_MAX:
                message = f"consumer gets no answer, while other clients do; {text}; start it again"
                raise LogError(message) from exception
            LOGGER.warning("consumer gets no answer, while other clients do: %s", text)
        else:
            self._deaf = 0

    def poll(self, timeout_s: float) -> list[Batch]:
        """Return records of assigned, unpaused partitions; tell the listener of changes."""
        if self._membership is None:
            self._clock.sleep(timeout_s)
            return []
        self._membership.subscribe()
        inputs = self._inputs()
        batches = inputs.poll(timeout_s, self._membership.check)
        if inputs.has_strays:
            inputs.has_strays = False
            self.verify_membership()
        return batches

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Add partitions to read, each from its position; they start unpaused."""
        self._inputs().assign(positions)

    def unassign(self, sources: Iterable[TopicPartition]) -> None:
        """Read these partitions no more; those not assigned do not matter."""
        if self._input is not None:
            self._input.unassign(sources)

    def pause(self, sources: Iterable[TopicPartition]) -> None:
        """Give no records of these partitions until ``resume``."""
        self._inputs().pause(sources)

    def resume(self, sources: Iterable[TopicPartition]) -> None:
        """Give records of these partitions again."""
        self._inputs().resume(sources)

    def seek(self, source: TopicPartition, offset: int) -> None:
        """Read on from another offset."""
        self._inputs().seek(source, offset)

    def caught_up(self, source: TopicPartition, at_least: int = 0) -> bool:
        """Tell whether the end was reached since the last record, assign, resume or seek."""
        return self._input is not None and self._input.caught_up(source, at_least)

    def lag(self, source: TopicPartition) -> int:
        """Offsets between the position and the end, as far as known."""
        return self._input.lag(source) if self._input is not None else 0

    # reading apart from membership
    def committed(self, sources: Iterable[TopicPartition]) -> dict[TopicPartition, Committed]:
        """The stable committed positions of the group; partitions without one are missing."""
        return self._offsets.committed(self._joined(), sources)

    def positions_kept_ms(self) -> int | None:
        """How long the brokers keep a position that is not committed again, if they tell."""
        return self._offsets.positions_kept_ms()

    def begin_offsets(self, sources: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Where the partitions begin."""
        return self._offsets.begins(sources)

    def end_offsets(self, sources: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Where the partitions end, open transactions included."""
        return self._offsets.ends(sources)

    def stable_ends(self, sources: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Where the partitions end, or the first record of a transaction that is open."""
        return self._offsets.stable_ends(sources)

    def offsets_at(
        self, sources: Iterable[TopicPartition], timestamp_ms: int
    ) -> dict[TopicPartition, int]:
        """Each partition's first offset whose timestamp is this one or later; its end if none."""
        return self._offsets.at(sources, timestamp_ms)

    def read(self, source: TopicPartition, start: int, end: int) -> Iterator[Batch]:
        """Yield committed records from ``start`` until the position is ``end``."""
        free = [reader for reader in self._readers if not reader.reads(source)]
        if not free:
            free = [Reader(self._clients.reader, self._connection)]
            self._readers += free
        yield from free[0].read(source, start, end)

    def read_many(
        self, ranges: Mapping[TopicPartition, tuple[int, int]]
    ) -> dict[TopicPartition, Iterator[Batch]]:
        """Read ranges side by side over one consumer without a group, nothing missing."""
        reader = Reader(self._clients.strict_reader, self._connection, begins=self._offsets.begins)
        self._readers = [*(each for each in self._readers if not each.closed), reader]
        return reader.read_many(ranges)

    # transactions
    def open_producer(self) -> None:
        """Start a new epoch: what an older one left open is aborted."""
        self._positions.clear()
        self._output.open()

    def begin(self) -> None:
        """Start a transaction."""
        self._positions.clear()
        self._output.begin()

    def emit(self, topic: str, partition: int | None, columns: Columns) -> None:
        """Add rows to the transaction; without a partition each row goes by its key (murmur2).

        A timestamp of 0 becomes 1: librdkafka takes 0 for the time of sending.

        Raises:
            RefusedError: the topic or partition does not exist, or a row can never be sent.
        """
        self._output.emit(topic, partition, columns)

    def flush(self) -> dict[TopicPartition, int]:
        """Have all rows taken; return the ends of the partitions that were named in ``emit``."""
        return self._output.flush()

    def send_offsets(self, offsets: Mapping[TopicPartition, Committed]) -> None:
        """Add committed positions to the transaction, in the name of our membership as it is."""
        self._output.producer("send_offsets")
        if not offsets:
            return
        if self._exactly_once:
            self._output.send_offsets(offsets, self._group_metadata)
        else:
            self._positions.add(offsets)

    def _group_metadata(self) -> bytes:
        """Say who we are in the group, at the time of the call."""
        try:
            metadata: bytes = self._member().consumer_group_metadata()
        except RuntimeError as error:
            message = "positions are not committed; we are leaving the group"
            raise AbortedError(message) from error
        if self._membership is not None:
            self._membership.check_current(metadata)
        return metadata

    def commit(self) -> None:
        """Make rows and offsets visible together; at least once: the rows are, now the offsets."""
        self._output.producer("commit")
        if not self._exactly_once:
            self._output.flush()
            if self._positions:
                self._positions.commit(self._joined(), self._member(), self._group_metadata)
        self._output.commit()

    # administration
    def topic_names(self) -> set[str]:
        """The names of all topics that we may see, Kafka's own left out."""
        return self._topics.names()

    def topics(self, names: Iterable[str] | None = None) -> dict[str, TopicInfo]:
        """Topics by name: all, or those of ``names`` that exist."""
        return self._topics.topics(self._topics.names() if names is None else names)

    def create_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> TopicInfo:
        """Create a topic; the same name with the same partition count is not an error."""
        return self._topics.create(name, partitions, config)

    def delete_topic(self, name: str) -> None:
        """Delete a topic and its records, and wait until it is gone."""
        self._output.forget(name)
        self._topics.delete(name)

    def delete_records(self, source: TopicPartition, before: int) -> None:
        """Forget all records before an offset; the end stays."""
        self._topics.delete_records(source, before)

    def close(self) -> None:
        """Leave the group and let all clients go; a second call does nothing."""
        self._output.close()
        try:
            self.leave()
        finally:
            self._offsets.close()
            for reader in self._readers:
                reader.close()
            self._readers.clear()
