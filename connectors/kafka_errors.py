"""What librdkafka's errors mean here: one line each, and the class that says what can be done.

``Connection`` remembers since when the brokers do not answer; the functions below turn a
``KafkaError`` into an error of our tree. Invariant: ``RefusedError`` only for what can be one
record's fault, and ``retriable`` only where the same call may succeed later.
"""

import re
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from streamfn.clock import Clock
from streamfn.connectors.kafka_settings import LOGGER, SettingsOfAll
from streamfn.errors import AbortedError, FencedError, LogError, RefusedError, UnknownOutcomeError

REFUSED: Final = {
    KafkaError.MSG_SIZE_TOO_LARGE: "make the record smaller, or raise the topic's "
    "max.message.bytes and producer.message.max.bytes",
    KafkaError.INVALID_MSG_SIZE: "make the record smaller",
    KafkaError.RECORD_LIST_TOO_LARGE: "make the record smaller",
    KafkaError.INVALID_TIMESTAMP: "the broker takes times up to an hour ahead and none before "
    "1970: mend the timestamp",
    KafkaError.INVALID_RECORD: "a compacted topic takes no record without a key: give it one",
    KafkaError.INVALID_MSG: "mend the record",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "grant this user Write on it ('streamfn acls' prints "
    "how)",
    KafkaError.TOPIC_EXCEPTION: "mend the topic's name",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "create the topic with 'streamfn topics create'",
    KafkaError._UNKNOWN_TOPIC: "create the topic with 'streamfn topics create'",
    KafkaError._UNKNOWN_PARTITION: "choose a partition that the topic has",
    KafkaError._INVALID_ARG: "mend the record",
}
"""Errors of a record and their cures: the log will never take it as it is."""

RIGHTS: Final = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "the topics",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "the consumer group",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "the transactional id",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "the cluster",
    KafkaError.DELEGATION_TOKEN_AUTHORIZATION_FAILED: "the delegation token",
}
HOPELESS: Final = {
    KafkaError._AUTHENTICATION: "check kafka.sasl.* (mechanism, username, password)",
    KafkaError.SASL_AUTHENTICATION_FAILED: "check kafka.sasl.* (mechanism, username, password)",
    KafkaError._SSL: "check kafka.security.protocol and kafka.ssl.*",
    KafkaError._RESOLVE: "check the address given with --broker",
}
"""Errors of a connection that come again however often it is tried."""

FENCED: Final = {
    KafkaError._FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
}
STALE: Final = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.STALE_MEMBER_EPOCH,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
}
"""The group has moved on: what a member wants to commit is refused, and nothing else is wrong."""

LEADER_MOVED: Final = {
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.KAFKA_STORAGE_ERROR,
}
"""What a client knows of a partition's leader is of before a broker's restart."""

NO_ANSWER: Final = {
    *LEADER_MOVED,
    KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._WAIT_COORD,
    KafkaError._IN_PROGRESS,
    KafkaError._PREV_IN_PROGRESS,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.NOT_CONTROLLER,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.CONCURRENT_TRANSACTIONS,
    KafkaError.UNSTABLE_OFFSET_COMMIT,
    KafkaError.THROTTLING_QUOTA_EXCEEDED,
}

SILENT: Final = {
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._WAIT_COORD,
}
"""Nobody has answered: why, the last broken connection tells better."""

SAME_OUTAGE_S: Final = 3.0
"""Longer than between two tries to connect."""
WARN_EVERY_S: Final = 30.0
_HOST = re.compile(r"^(?:\w+://)?([^/\s]+)/[\w-]+: ")
_TAIL = re.compile(r" \(after .*\)$")


class Connection:
    """Whether the brokers answer: all clients of a log tell it of their errors and answers."""

    def __init__(self, broker: str, settings: SettingsOfAll, clock: Clock) -> None:
        self._broker, self._settings, self._clock = broker, settings, clock
        self._since_s: float | None = None
        self._warned_s = float("-inf")
        self._last = ""
        self._hopeless: dict[str, str] = {}
        self._has_answered = False
        self.failures = 0
        """How often a broker was lost; one that stays away counts once."""
        self._failed_s: dict[str, float] = {}

    def failed(self, error: KafkaError) -> None:
        """Remember an error of a connection: a client's ``error_cb``."""
        all_down = error.code() == KafkaError._ALL_BROKERS_DOWN
        if all_down and self._last:
            self._count(self._broker)
            return
        text = "no broker can be reached" if all_down else self._settings.cleaned(error.str())
        found = _HOST.match(text)
        host = found[1] if found else self._broker
        self._count(host)
        reason = _TAIL.sub("", text[found.end() :] if found else text).rpartition(" failed: ")[2]
        now_s = self._clock.monotonic_s()
        self._since_s = now_s if self._since_s is None else self._since_s
        self._last = f"{host}: {reason}"
        if error.code() in HOPELESS:
            self._hopeless[host] = f"{reason}; {HOPELESS[error.code()]}"
        if self._has_answered and now_s - self._warned_s >= WARN_EVERY_S:
            self._warned_s = now_s
            LOGGER.warning("%s", self.silence())

    def _count(self, host: str) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._failed_s.get(host, float("-inf")) > SAME_OUTAGE_S:
            self.failures += 1
        self._failed_s[host] = now_s

    def answered(self) -> None:
        """A broker has answered."""
        if self._since_s is not None:
            if self._warned_s > float("-inf"):
                LOGGER.info("broker %s answers again", self._broker)
            self._since_s, self._warned_s, self._last = None, float("-inf"), ""
            self._hopeless.clear()
        self._has_answered = True

    def silence(self) -> str:
        """Say who does not answer, since when and why."""
        if self._since_s is None:
            return f"broker {self._broker} does not answer in time"
        waited_s = self._clock.monotonic_s() - self._since_s
        host, _, reason = self._last.partition(": ")
        return f"broker {host} does not answer since {waited_s:.0f} s: {reason}"

    def check(self) -> None:
        """See that trying on makes sense; once it has worked, it always does.

        Raises:
            LogError: every address we were given is wrong, or refuses us.
        """
        if self._has_answered or len(self._hopeless) < len(self._broker.split(",")):
            return
        host, reason = next(iter(self._hopeless.items()))
        message = f"broker {host} cannot be used; {reason}"
        raise LogError(message)

    def error(self, error: KafkaError, wrong: str) -> LogError:
        """Return our error for a failed request; ``wrong`` says what did not succeed."""
        code = error.code()
        if code in NO_ANSWER or error.retriable():
            silent = code in SILENT and self._since_s is not None
            reason = self.silence() if silent else self.text(error)
            message = f"{wrong}; {reason}; check the address and the brokers"
            return LogError(message, retriable=True)
        if code in RIGHTS:
            message = f"{wrong}; {self.text(error)}; grant this user its rights on {RIGHTS[code]}"
            return LogError(f"{message} ('streamfn acls' prints how)")
        if code in HOPELESS:
            return LogError(f"{wrong}; {self.text(error)}; {HOPELESS[code]}")
        return LogError(f"{wrong}; {self.text(error)}; see the broker's log")

    def text(self, error: KafkaError) -> str:
        """What librdkafka says, in one line and without secrets."""
        return self._settings.cleaned(error.str())

    def of_producer(self, error: KafkaError, wrong: str) -> LogError:
        """Return our error for a failed call of the producer before ``commit``."""
        code = error.code()
        if code in FENCED:
            message = f"{wrong}; {self.text(error)}; another producer has our id, or we were silent"
            return FencedError(f"{message} for too long")
        if code in RIGHTS and code not in REFUSED:
            return self.error(error, wrong)
        if code in REFUSED:
            return RefusedError(f"{wrong}; {self.text(error)}; {REFUSED[code]}")
        if error.txn_requires_abort() or error.fatal():
            return AbortedError(f"{wrong}; {self.text(error)}; it is processed again")
        found = self.error(error, wrong)
        if found.retriable or code in HOPELESS:
            return found
        return AbortedError(f"{wrong}; {self.text(error)}; it is processed again")

    def of_group(self, error: KafkaError) -> LogError:
        """Return our error for positions that were to be committed without a transaction."""
        code = error.code()
        if code in NO_ANSWER or error.retriable():
            message = f"positions are committed or not; {self.silence()}; they are committed again"
            return UnknownOutcomeError(message, retriable=True)
        if code not in RIGHTS:
            text = self.text(error)
            return AbortedError(f"positions are not committed; {text}; it is processed again")
        return self.error(error, "positions are not committed")

    def of_commit(self, error: KafkaError) -> LogError:
        """Return our error for a failed commit."""
        wrong, code = "transaction has an unknown outcome", error.code()
        if not error.txn_requires_abort() and (code in NO_ANSWER or error.retriable()):
            reason = self.silence() if self._since_s is not None else self.text(error)
            message = f"{wrong}; {reason}; it is asked again, then the committed token tells"
            return UnknownOutcomeError(message, retriable=True)
        if code in FENCED:
            return self.of_producer(error, "transaction is not committed")
        if error.txn_requires_abort():
            message = f"transaction is aborted; {self.text(error)}; it is processed again"
            return AbortedError(message)
        message = f"{wrong}; {self.text(error)}; the committed token tells"
        return UnknownOutcomeError(message)


def kafka_error(exception: KafkaException) -> KafkaError:
    """Return the error inside an exception."""
    error = exception.args[0]
    return error if isinstance(error, KafkaError) else KafkaError(KafkaError._FAIL, str(error))
