"""The settings of the Kafka clients: our defaults, the user's over them, what must be over both.

The user's come as ``kafka.NAME`` (all clients), ``consumer.NAME``, ``producer.NAME``,
``admin.NAME``; ``client_settings`` makes of them what a client is made from. Invariant: no value of
a secret leaves here but into a client: not in an error, not when printed, not in a log line.
"""

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias, TypeVar

from confluent_kafka import KafkaError, KafkaException

from streamfn.config import CLIENTS, REFUSED, ClientSettings, is_secret
from streamfn.errors import ConfigError

ClientKind: TypeAlias = Literal["admin", "consumer", "reader", "producer"]
Client = TypeVar("Client")

LOGGER: Final = logging.getLogger("streamfn.kafka")

COMMON: Final = {
    "client.id": "streamfn",
    "socket.keepalive.enable": True,
    "reconnect.backoff.max.ms": 2_000,
    "log.connection.close": False,
}
READING: Final = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "allow.auto.create.topics": False,
    "check.crcs": True,
    # librdkafka waits a second after its queue was full: most of the time it would do nothing.
    "fetch.queue.backoff.ms": 20,
    "queued.max.messages.kbytes": 16_384,
    "fetch.wait.max.ms": 100,
    # Bounds what a compressed batch may claim to become.
    "receive.message.max.bytes": 100_000_000,
}
CONSUMER: Final = {
    **READING,
    "auto.offset.reset": "error",
    "partition.assignment.strategy": "cooperative-sticky",
    # New partitions of the token topic are shared out when they are seen.
    "topic.metadata.refresh.interval.ms": 10_000,
    "session.timeout.ms": 15_000,
    "heartbeat.interval.ms": 1_000,
}
RETRY_BACKOFF_MS: Final = 500
PRODUCER: Final = {
    "acks": "all",
    "enable.idempotence": True,
    "partitioner": "murmur2_random",
    "compression.type": "lz4",
    "linger.ms": 5,
    "retry.backoff.ms": RETRY_BACKOFF_MS,
    "queue.buffering.max.messages": 1_000_000,
    "queue.buffering.max.kbytes": 1_048_576,
    "topic.metadata.propagation.max.ms": 5_000,
    "allow.auto.create.topics": False,
}
DEFAULTS: Final[Mapping[ClientKind, Mapping[str, Any]]] = {
    "admin": {},
    "consumer": CONSUMER,
    "reader": {**READING, "auto.offset.reset": "earliest"},
    "producer": PRODUCER,
}
CLASSIC_ONLY: Final = (
    "partition.assignment.strategy",
    "session.timeout.ms",
    "heartbeat.interval.ms",
)
"""Under ``group.protocol=consumer`` (KIP-848) the broker decides these."""

_PROPERTY = re.compile(r'configuration property:? [`"]?([\w.]+)')
_OWN_NAMES = {"queue.buffering.max.ms": "linger.ms", "compression.codec": "compression.type"}


class Settings(dict[str, Any]):
    """What a client is made from; printing hides secrets."""

    def __repr__(self) -> str:
        return str({name: "***" if is_secret(name) else value for name, value in self.items()})

    __str__ = __repr__


class SettingsOfAll:
    """The settings of all clients of one log."""

    def __init__(self, broker: str, given: Mapping[str, str]) -> None:
        given = ClientSettings(given)
        self._broker, self._given = broker, given
        self._secrets = [value for name, value in given.items() if is_secret(name) and value]
        for name in given:
            _check(name)

    def __repr__(self) -> str:
        return f"SettingsOfAll({self._broker!r}, {self._given})"

    def of(self, kind: ClientKind) -> Settings:
        """Return the settings of one client."""
        given = self._for("kafka") | self._for("consumer" if kind == "reader" else kind)
        settings = Settings({**COMMON, **DEFAULTS[kind]})
        if given.get("group.protocol", "").lower() == "consumer" or kind == "reader":
            for name in CLASSIC_ONLY:
                settings.pop(name, None)
        if kind == "reader":
            given.pop("group.protocol", None)
        settings.update(given)
        settings["bootstrap.servers"] = self._broker
        return settings

    def retry_backoff_ms(self) -> int:
        """Return how long a producer waits before it sends a request again."""
        given = self._for("kafka") | self._for("producer")
        text = given.get("retry.backoff.ms", "")
        return int(text) if text.isdigit() else RETRY_BACKOFF_MS

    def _for(self, kind: str) -> dict[str, str]:
        prefix = f"{kind}."
        return {
            name.removeprefix(prefix): value
            for name, value in self._given.items()
            if name.startswith(prefix)
        }

    def make(self, client: Callable[[], Client]) -> Client:
        """Make a client.

        Raises:
            ConfigError: librdkafka does not know a setting or does not take its value.
        """
        made, refusal = self._tried(client)
        if made is None:
            raise ConfigError(refusal)
        return made

    def _tried(self, client: Callable[[], Client]) -> tuple[Client | None, str]:
        """Return a client, or why there is none; no traceback leads here, where values are."""
        try:
            return client(), ""
        except (KafkaException, TypeError, ValueError) as error:
            refusal = error.args[0]
            text = refusal.str() if isinstance(refusal, KafkaError) else str(refusal)
            return None, self._explained(text)

    def _explained(self, text: str) -> str:
        found = _PROPERTY.search(text)
        name = _OWN_NAMES.get(found[1], found[1]) if found else ""
        if name and "No such" in text:
            return f"option for Kafka {name!r} is unknown; look for it in librdkafka's settings"
        if name and "Invalid value" in text:
            return f"option for Kafka {name!r} does not fit; librdkafka refuses its value; mend it"
        reason = self.cleaned(text).partition(": ")[2] or self.cleaned(text)
        return f"options for Kafka do not fit; {reason}; mend them"

    def cleaned(self, text: str) -> str:
        """Return one line of text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return " ".join(text.split())


def _check(name: str) -> None:
    """The same check as in ``Config.parse``: settings may come from a program too."""
    client, _, rest = name.partition(".")
    if client not in CLIENTS or not rest:
        message = f"option {name!r} is for no client; begin it with one of {', '.join(CLIENTS)}"
        raise ConfigError(message)
    if rest in REFUSED:
        message = f"option {name!r} is refused; {REFUSED[rest]}; leave it out"
        raise ConfigError(message)


TOLD_OTHERWISE: Final = ("FAIL", "ERROR", "FATAL", "TXNERR", "GETPID", "PARTCNT", "REQTMOUT")
"""Lines about what ``Connection`` tells once, or an error of ours tells better."""


class ClientLogger:
    """Takes librdkafka's log lines into ``logging``, without secrets and at a level that fits."""

    def __init__(self, settings: SettingsOfAll) -> None:
        self._settings = settings

    def log(self, level: int, text: str, *arguments: object) -> None:
        """Pass a line on; a lost connection is told once by ``Connection``, not on each try."""
        line = text % arguments if arguments else text
        if line.startswith(TOLD_OTHERWISE):
            level = logging.DEBUG
        LOGGER.log(level, "%s", self._settings.cleaned(line))
