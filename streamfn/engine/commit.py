"""The commit protocol: outputs, changed keys and positions become visible together or not at all.

    begin → produce outputs and changelog → flush → send offsets → commit     in one burst, after
    user code has run
                                                                     └─ unknown? → new producer →
                                                                     ask for the token

Each transaction puts a unique token into the offset metadata of every participant, so that an
outcome in doubt can be asked of the log: offsets alone cannot tell (protocol §1). Invariant: a
participant is told ``committed`` exactly once for each transaction that the log holds, and never
for one that it does not.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from streamfn.clock import Clock, Random
from streamfn.config import Config
from streamfn.connectors.log import Committed, Log
from streamfn.engine.marks import token_of
from streamfn.errors import (
    AbortedError,
    FencedError,
    InternalError,
    LogError,
    NotCommittedError,
    RefusedError,
    SerdeError,
)
from streamfn.metrics import Metrics
from streamfn.record import TopicPartition

log_ = logging.getLogger("streamfn")

R = TypeVar("R")

COMMIT_DEADLINE_S = 60.0
SAY_EVERY_S = 10.0
SUSPECT_AFTER_S = 0.35
"""0.7 of the client's retry back-off: a slower call may have been sent twice on the same epoch."""


class Participant(Protocol):
    """A task or a feed: something with outputs, positions and state in the transaction."""

    @property
    def dirty(self) -> bool:
        """True if there is anything to commit."""
        ...

    def emit(self, log: Log) -> None:
        """Put what is to be sent into the transaction."""
        ...

    def offsets(
        self, token: str, ends: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, Committed]:
        """Return the positions to commit, with the token; ``ends`` are those of what was written.

        They are known after the flush: metadata may tell where the state of this commit ends.
        """
        ...

    def committed(self, token: str, ends: dict[TopicPartition, int]) -> None:
        """The transaction is committed."""
        ...


class Rewind(Exception):  # a signal inside the engine
    """The transaction is not committed: all goes back to what is."""


class Refused(Exception):  # a signal inside the engine
    """The transaction holds a record that can never be sent; ``error`` says why."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Committer:
    """One worker's transactions."""

    def __init__(
        self,
        log: Log,
        clock: Clock,
        random: Random,
        metrics: Metrics,
        config: Config,
        *,
        beat: Callable[[float], None] = lambda now_s: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._log, self._clock, self._metrics = log, clock, metrics
        self._beat, self._stopping = beat, stopping
        given = config.client_settings
        text = given.get("producer.retry.backoff.ms", given.get("kafka.retry.backoff.ms", ""))
        self._suspect_after_s = 0.7 * int(text) / 1000 if text.isdigit() else SUSPECT_AFTER_S
        self._patience_s = float("inf") if config.broker else COMMIT_DEADLINE_S
        self._random = random
        self._incarnation = self._random.token()
        self._sequence = 0
        self.waiting_for = ""
        """What a call is being retried for; "" when nothing is."""
        self.waiting_since_s = 0.0

    def patiently(self, call: Callable[[], R], what: str, *, patience_s: float | None = None) -> R:
        """Call until it succeeds, backing off, while the log says that trying again helps.

        Whoever waits says for what and since when, and is not taken for one that hangs. A worker
        that is to stop waits no longer: what is not committed is processed again.
        """
        started_s = said_s = self._clock.monotonic_s()
        patience_s = self._patience_s if patience_s is None else patience_s
        delay_s = 0.05
        while True:
            try:
                result = call()
            except LogError as error:
                now_s = self._clock.monotonic_s()
                late = now_s - started_s >= patience_s or self._stopping()
                if not error.retriable or late:
                    raise
                self.waiting_for, self.waiting_since_s = f"{what}: {error}", started_s
                if now_s - said_s >= SAY_EVERY_S:
                    said_s = now_s
                    log_.warning("waiting since %.0f s for %s", now_s - started_s, self.waiting_for)
                self._beat(now_s)
                self._clock.sleep(delay_s)
                delay_s = min(2.0, delay_s * 2)
            else:
                self.waiting_for = ""
                return result

    def open(self, *, patience_s: float | None = None) -> None:
        """Start a new epoch."""
        self.patiently(self._log.open_producer, "a producer", patience_s=patience_s)

    def commit(self, participants: Sequence[Participant]) -> None:
        """Commit what the participants have.

        Raises:
            Rewind: not committed.
            Refused: not committed, and the same records never will be.
            LogError: not committed, and trying again makes no sense (a full disk).
        """
        started_s = self._clock.monotonic_s()
        self._sequence += 1
        token = f"{self._incarnation}:{self._sequence}"
        offsets: dict[TopicPartition, Committed] = {}
        ends, suspect = self._produce(token, participants, offsets)
        suspect |= self._finish(token, offsets)
        for participant in participants:
            participant.committed(token, ends)
        self._metrics.commits += 1
        self._metrics.commit_s += self._clock.monotonic_s() - started_s
        if suspect:
            self.open()

    def _produce(
        self,
        token: str,
        participants: Sequence[Participant],
        offsets: dict[TopicPartition, Committed],
    ) -> tuple[dict[TopicPartition, int], bool]:
        """Put all into the transaction; fill in the offsets, and return the ends of what it has."""
        try:
            self._log.begin()
            for participant in participants:
                participant.emit(self._log)
            ends = self._log.flush()
            for participant in participants:
                offsets.update(participant.offsets(token, ends))
            started_s = self._clock.monotonic_s()
            self._log.send_offsets(offsets)
        except (RefusedError, SerdeError) as error:
            raise Refused(error) from error
        except LogError as error:
            if not can_repeat(error):
                raise
            raise Rewind from error
        return ends, self._clock.monotonic_s() - started_s >= self._suspect_after_s

    def _finish(self, token: str, offsets: Mapping[TopicPartition, Committed]) -> bool:
        """Commit; only here can the outcome be unknown. Return True if the producer is suspect.

        Whatever the last call says (fenced, for one), an earlier one that timed out may have gone
        through: any failure is resolved.
        """
        started_s = self._clock.monotonic_s()
        try:
            self.patiently(self._log.commit, "a commit", patience_s=COMMIT_DEADLINE_S)
        except LogError as error:
            if self._resolve(token, offsets):
                return False
            if not can_repeat(error):
                message = f"{error.__cause__ or error}; run again: nothing is lost"
                raise NotCommittedError(message) from error
            raise Rewind from error
        return self._clock.monotonic_s() - started_s >= self._suspect_after_s

    def _resolve(self, token: str, offsets: Mapping[TopicPartition, Committed]) -> bool:
        """Ask the log whether it holds the transaction: a new epoch settles it, the token tells."""
        self.open()
        found = self.patiently(lambda: self._log.committed(offsets), "committed positions")
        tokens = {token_of(found.get(source)) for source in offsets}
        ours = {each for each in tokens if each.startswith(f"{self._incarnation}:")}
        if ours == {token}:  # others have gone on from it: the next poll tells that it is theirs
            return True
        if token in tokens:
            message = f"transaction {token} is committed in part; its participants hold {tokens}"
            raise InternalError(message)
        return False


def can_repeat(error: LogError) -> bool:
    """Tell whether the transaction's records can be processed again with a new producer."""
    return error.retriable or isinstance(error, AbortedError | FencedError)
