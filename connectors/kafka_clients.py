"""The clients of one log: made from the settings, watched for errors, heard in our log.

Here alone clients of confluent-kafka are made. Invariant: each has an ``error_cb`` and a logger, so
that nothing of librdkafka goes to stderr and no lost connection stays unknown.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka.admin import AdminClient

from streamfn.clock import Clock
from streamfn.config import ClientSettings
from streamfn.connectors.kafka_errors import Connection
from streamfn.connectors.kafka_settings import ClientLogger, Settings, SettingsOfAll

TRANSACTION_TIMEOUT_MS: Final = 15_000


class Clients:
    """Makes the clients of one log."""

    def __init__(self, broker: str, settings: Mapping[str, str], clock: Clock) -> None:
        settings = ClientSettings(settings)  # a traceback that shows it shows no secret
        self._settings = SettingsOfAll(broker, settings)
        self._logger = ClientLogger(self._settings)
        self.connection = Connection(broker, self._settings, clock)

    @property
    def prompt_s(self) -> float:
        """A call of the producer that took less was not sent a second time."""
        return 0.7 * self._settings.retry_backoff_ms() / 1000

    def _watched(self, settings: Settings, **more: Any) -> Settings:
        return Settings({**settings, **more, "error_cb": self.connection.failed})

    def admin(self) -> AdminClient:
        """Make an admin client."""
        settings = self._watched(self._settings.of("admin"))
        return self._settings.make(lambda: AdminClient(settings, logger=self._logger))

    def member(self, group: str) -> Consumer:
        """Make a consumer that can be a member of a group."""
        settings = self._watched(self._settings.of("consumer"), **{"group.id": group})
        return self._settings.make(lambda: Consumer(settings, logger=self._logger))

    def reader(self) -> Consumer:
        """Make a consumer that reads what it is told; its group is a name only."""
        settings = self._watched(self._settings.of("reader"), **{"group.id": "streamfn-read"})
        return self._settings.make(lambda: Consumer(settings, logger=self._logger))

    def strict_reader(self) -> Consumer:
        """Make a reader for which it is an error that a record is gone."""
        strict = {"group.id": "streamfn-read", "auto.offset.reset": "error"}
        settings = self._watched(self._settings.of("reader"), **strict)
        return self._settings.make(lambda: Consumer(settings, logger=self._logger))

    def asker(self, group: str) -> Consumer:
        """Make a consumer that asks for a group's positions and is no member of it."""
        settings = self._watched(self._settings.of("reader"), **{"group.id": group})
        return self._settings.make(lambda: Consumer(settings, logger=self._logger))

    def transactional(self, transactional_id: str) -> Producer:
        """Make a producer with transactions."""
        settings = self._watched(
            self._settings.of("producer"), **{"transactional.id": transactional_id}
        )
        settings.setdefault("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS)
        return self._settings.make(lambda: Producer(settings, logger=self._logger))

    def plain(self, failed: Callable[[KafkaError | None, Any], None]) -> Producer:
        """Make a producer without transactions, which reports what was not delivered."""
        reports = {"on_delivery": failed, "delivery.report.only.error": True}
        settings = self._watched(self._settings.of("producer"), **reports)
        settings.setdefault("message.timeout.ms", TRANSACTION_TIMEOUT_MS)
        return self._settings.make(lambda: Producer(settings, logger=self._logger))
