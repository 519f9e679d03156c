"""Requests to the brokers' administration, each with an end to its wait.

``Topics`` and ``Offsets`` ask through here. Invariant: nothing here waits longer than some seconds,
and what a broker or a connection says against a request becomes one of our errors.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Any, Final, TypeVar

import confluent_kafka.admin
from confluent_kafka import KafkaError, KafkaException

from streamfn.clock import Clock
from streamfn.connectors.kafka_errors import Connection, kafka_error
from streamfn.errors import LogError

Key = TypeVar("Key")

ADMIN: Final[Any] = confluent_kafka.admin
"""Its types are there when it runs; it does not export them to those who read."""

REQUEST_TIMEOUT_S: Final = 10.0
TOPIC_TIMEOUT_S: Final = 30.0
"""How long a topic may take to appear on the brokers, or to go."""
SLICE_S: Final = 0.1


class Requests:
    """Requests of an admin client, which lives as long as the log.

    It is not replaced while a request is pending: librdkafka 2.16.0 then crashes the process.
    """

    def __init__(self, client: Any, connection: Connection, clock: Clock) -> None:
        self.client, self.connection, self.clock = client, connection, clock

    def answers(self, futures: Mapping[Key, "Future[Any]"], wrong: str) -> dict[Key, Any]:
        """Wait for all answers; an error of one key is its answer.

        Raises:
            LogError: no answer in time (retriable), or no broker that could give one.
        """
        pending = set(futures.values())
        deadline_s = self.clock.monotonic_s() + REQUEST_TIMEOUT_S + 1
        while pending:
            pending = wait(pending, timeout=SLICE_S).not_done
            self.hear()
            if pending:
                self.connection.check()
            if pending and self.clock.monotonic_s() > deadline_s:
                raise self.connection.error(KafkaError(KafkaError._TIMED_OUT), wrong)
        found: dict[Key, Any] = {}
        for key, future in futures.items():
            exception = future.exception()
            if isinstance(exception, KafkaException):
                found[key] = kafka_error(exception)
            elif exception is not None:
                raise exception
            else:
                found[key] = future.result()
        if any(not isinstance(answer, KafkaError) for answer in found.values()):
            self.connection.answered()
        return found

    def all(self, futures: Mapping[Key, "Future[Any]"], wrong: str) -> dict[Key, Any]:
        """Wait for all answers; any error is raised."""
        found = self.answers(futures, wrong)
        for answer in found.values():
            if isinstance(answer, KafkaError):
                raise self.refused(answer, wrong)
        return found

    def hear(self) -> None:
        """Have errors of connections told to ``Connection``."""
        self.client.poll(0)

    def refused(self, error: KafkaError, wrong: str) -> LogError:
        """Return our error for an answer that is an error, unless no broker is of use at all."""
        self.connection.check()
        return self.connection.error(error, wrong)

    def until(self, done: Callable[[], bool], wrong: str) -> None:
        """Wait until something is so.

        Raises:
            LogError: it does not get so in time.
        """
        deadline_s = self.clock.monotonic_s() + TOPIC_TIMEOUT_S
        while not done():
            if self.clock.monotonic_s() > deadline_s:
                message = f"{wrong}; waited {TOPIC_TIMEOUT_S:.0f} s; see the broker's log"
                raise LogError(message, retriable=True)
            self.clock.sleep(0.05)
