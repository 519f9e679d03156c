"""A log that fails on command: a wrapper over any ``Log``, driven by a plan of faults.

Each port call asks the plan for a fault by the call's name. The wrapper also watches its user: a
producer that has failed, or whose outcome is unknown, must be replaced before it is used again.
Invariant: what a fault does to the log is what its name says, and nothing else.

    before / after      a retriable time-out; the effect did not happen / did happen
    unknown / applied   the outcome of a commit is unknown; it was lost / is in the log
    fenced              a newer producer has our id; the effect did not happen
    final               an error that trying again does not cure; the effect did not happen
    slow                the call takes a second
    stall               a read goes on giving nothing
    corrupt             a store finds a damaged block
    crash / crashed     the process dies before (a load: in the middle of) / after the effect
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

from streamfn.clock import ManualClock
from streamfn.connectors.log import Committed, Listener, Log, TopicInfo
from streamfn.errors import (
    FencedError,
    InternalError,
    LogError,
    RefusedError,
    UnknownOutcomeError,
)
from streamfn.record import Batch, Columns, TopicPartition

R = TypeVar("R")

NOTHING: Final = ""
SLOW_S: Final = 1.0

TRANSACTION: Final = ("begin", "emit", "flush", "send_offsets")
ASKING: Final = ("committed", "begin_offsets", "end_offsets", "topics", "open_producer")
MOVING: Final = ("poll", "read", "assign", "unassign", "pause", "resume", "seek", "delete_records")
CALLS: Final = (*TRANSACTION, "commit", *ASKING, *MOVING, "store_write", "store_load", "store_get")

Plan = Callable[[str], str]
"""Call → fault, or "" for none."""


class Crash(BaseException):
    """The process is gone: nothing behind the call is executed by it."""


def no_faults(call: str) -> str:
    """Let everything succeed."""
    return NOTHING


class Script:
    """A plan by hand: for each call the faults of its next uses; ``-`` is none."""

    def __init__(self, **faults: str) -> None:
        self._faults = {call: text.split() for call, text in faults.items()}

    def __call__(self, call: str) -> str:
        """Return the call's next fault."""
        waiting = self._faults.get(call)
        fault = waiting.pop(0) if waiting else "-"
        return NOTHING if fault == "-" else fault

    def then(self, **faults: str) -> None:
        """Say what is to happen from now on."""
        self._faults.update({call: text.split() for call, text in faults.items()})

    @property
    def done(self) -> bool:
        """True if all faults have happened."""
        return not any(self._faults.values())


class Chaos:
    """A plan by seed: each run has some kinds of faults and not others, and an end of them."""

    KINDS: Final[Mapping[str, Sequence[str]]] = {
        **dict.fromkeys(TRANSACTION, ("before", "after", "fenced", "final", "crash", "crashed")),
        "commit": (
            "before", "after", "after", "unknown", "unknown", "applied", "applied", "fenced",
            "final", "slow", "crash", "crashed",
        ),
        **dict.fromkeys(ASKING, ("before", "after", "crash", "crashed")),
        **dict.fromkeys(MOVING, ("before", "final", "crash", "crashed")),
        "send_offsets": ("before", "after", "fenced", "slow", "crash"),
        "read": ("before", "middle", "crash", "final"),
        "poll": ("before", "crash", "final"),
        "store_write": ("crash", "crashed"),
        "store_load": ("crash", "crashed"),
        "store_get": ("corrupt",),
    }  # fmt: skip

    def __init__(self, seed: int, faults_max: int = 8) -> None:
        self.random = random.Random(seed)
        self.left = self.random.randint(1, faults_max)
        self._rate = self.random.choice((0.02, 0.05, 0.15))
        calls = [call for call in CALLS if self.random.random() < 0.6] or ["commit"]
        self._kinds = {
            call: [k for k in self.KINDS[call] if self.random.random() < 0.7] for call in calls
        }
        self.log: list[str] = []
        self._worse = ""

    def __call__(self, call: str) -> str:
        """Choose, and keep a log of what was chosen."""
        if call == "commit" and self._worse:
            fault, self._worse = self._worse, ""
            self.log.append(f"{call}: {fault}")
            return fault
        fault = self._choose(call)
        if fault in ("before", "after") and call == "commit" and self.random.random() < 0.5:
            self._worse = self.random.choice(("fenced", "unknown", "final", "crash"))
        return fault

    def _choose(self, call: str) -> str:
        kinds = self._kinds.get(call)
        if not kinds or not self.left or self.random.random() >= self._rate * weight(call):
            return NOTHING
        self.left -= 1
        fault = self.random.choice(kinds)
        self.log.append(f"{call}: {fault}")
        return fault


def weight(call: str) -> float:
    """A start asks a lot, and a fault there teaches little; the commit is where it matters."""
    return 4 if call == "commit" else 0.15 if call in (*ASKING, "store_get") else 1


class FaultyLog:
    """The Log port over another log, with faults."""

    def __init__(self, inner: Log, plan: Plan, clock: ManualClock) -> None:
        self.inner, self.plan, self._clock = inner, plan, clock
        self.calls: list[str] = []
        """The names of all calls, in order."""
        self.offsets: list[dict[TopicPartition, Committed]] = []
        """What each ``send_offsets`` was given."""
        self.refuses: Callable[[str, bytes | None], bool] = lambda topic, value: False
        """Says of a row of a topic whether it can never be taken."""
        self.split = False
        """Whether reads give each record by itself."""
        self._refused = ""
        self._broken = ""
        self._applied = False

    def _do(self, call: str, effect: Callable[[], R]) -> R:
        return self._with(self.plan(call), call, effect)

    def _with(self, fault: str, call: str, effect: Callable[[], R]) -> R:
        self.calls.append(call)
        text = f"{call}: {fault}"
        if fault == "crash":
            raise Crash(text)
        if fault == "before":
            raise LogError(text, retriable=True)
        if fault == "final":
            raise LogError(text)
        if fault == "fenced":
            raise FencedError(text)
        if fault == "slow":
            self._clock.sleep(SLOW_S)
        result = effect()
        if fault == "crashed":
            raise Crash(text)
        if fault == "after":
            raise LogError(text, retriable=True)
        return result

    def _check_usable(self, call: str) -> None:
        if self._broken:
            message = f"{call} on a producer that has failed ({self._broken})"
            raise InternalError(message)

    def _transactional(self, call: str, effect: Callable[[], R]) -> R:
        """Do it with a producer that has not failed; from a failure on it is no good."""
        self._check_usable(call)
        try:
            return self._do(call, effect)
        except LogError as error:
            self._broken = str(error)
            raise

    # membership and input
    @property
    def cluster_id(self) -> str:
        """The inner log's."""
        return self.inner.cluster_id

    def join(self, group: str, tokens: int, listener: Listener) -> None:
        """Join."""
        self.inner.join(group, tokens, listener)

    def leave(self) -> None:
        """Leave."""
        self.inner.leave()

    def poll(self, timeout_s: float) -> list[Batch]:
        """Poll; a failing poll takes no records."""
        return self._do("poll", lambda: self.inner.poll(timeout_s))

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Assign."""
        self._do("assign", lambda: self.inner.assign(positions))

    def unassign(self, sources: Iterable[TopicPartition]) -> None:
        """Unassign."""
        self._do("unassign", lambda: self.inner.unassign(sources))

    def pause(self, sources: Iterable[TopicPartition]) -> None:
        """Pause."""
        self._do("pause", lambda: self.inner.pause(sources))

    def resume(self, sources: Iterable[TopicPartition]) -> None:
        """Resume."""
        self._do("resume", lambda: self.inner.resume(sources))

    def seek(self, source: TopicPartition, offset: int) -> None:
        """Seek."""
        self._do("seek", lambda: self.inner.seek(source, offset))

    def verify_membership(self) -> None:
        """Never fails: the embedded log has nothing to lose."""
        self.inner.verify_membership()

    def caught_up(self, source: TopicPartition, at_least: int = 0) -> bool:
        """Never fails: it is known without asking."""
        return self.inner.caught_up(source, at_least)

    def lag(self, source: TopicPartition) -> int:
        """Never fails."""
        return self.inner.lag(source)

    # reading apart from membership
    def committed(self, sources: Iterable[TopicPartition]) -> dict[TopicPartition, Committed]:
        """Committed positions."""
        return self._do("committed", lambda: self.inner.committed(sources))

    def positions_kept_ms(self) -> int | None:
        """Never fails."""
        return self.inner.positions_kept_ms()

    def begin_offsets(self, sources: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Begins."""
        return self._do("begin_offsets", lambda: self.inner.begin_offsets(sources))

    def end_offsets(self, sources: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Ends."""
        return self._do("end_offsets", lambda: self.inner.end_offsets(sources))

    def stable_ends(self, sources: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Never fails: only tools ask it."""
        return self.inner.stable_ends(sources)

    def read(self, source: TopicPartition, start: int, end: int) -> Iterator[Batch]:
        """Read; it may fail at once or in the middle, or stall for ever."""
        self.calls.append("read")
        fault = self.plan("read")
        if fault == "crash":
            raise Crash(fault)
        if fault in ("before", "final"):
            message = f"read: {fault}"
            raise LogError(message, retriable=fault == "before")
        while fault == "stall":
            self._clock.sleep(SLOW_S)
            yield Batch(source, [], [], [], range(0), start)
        for batch in self.inner.read(source, start, end):
            yield from rows_of(batch) if self.split else [batch]
            if fault == "middle":
                message = "read: middle"
                raise LogError(message, retriable=True)

    def offsets_at(
        self, sources: Iterable[TopicPartition], timestamp_ms: int
    ) -> dict[TopicPartition, int]:
        """Never fails: only tools ask it."""
        return self.inner.offsets_at(sources, timestamp_ms)

    def read_many(
        self, ranges: Mapping[TopicPartition, tuple[int, int]]
    ) -> dict[TopicPartition, Iterator[Batch]]:
        """Never fails: only tools ask it."""
        return self.inner.read_many(ranges)

    # transactions
    def open_producer(self) -> None:
        """Open; from here on the old producer's failures are history."""
        self._do("open_producer", self._open_producer)

    def _open_producer(self) -> None:
        self.inner.open_producer()
        self._broken = self._refused = ""
        self._applied = False

    def begin(self) -> None:
        """Begin."""
        self._transactional("begin", self.inner.begin)

    def emit(self, topic: str, partition: int | None, columns: Columns) -> None:
        """Emit, and note rows that the log will refuse."""
        for value in columns.values:
            if self.refuses(topic, value):
                self._refused = f"{topic} takes no such row"
        self._transactional("emit", lambda: self.inner.emit(topic, partition, columns))

    def flush(self) -> dict[TopicPartition, int]:
        """Flush; rows that are refused are refused here."""
        if self._refused:
            self.calls.append("flush")
            self._broken = self._refused
            raise RefusedError(self._refused)
        return self._transactional("flush", self.inner.flush)

    def send_offsets(self, offsets: Mapping[TopicPartition, Committed]) -> None:
        """Send offsets, and keep them to be looked at."""
        self.offsets.append(dict(offsets))
        self._transactional("send_offsets", lambda: self.inner.send_offsets(offsets))

    def commit(self) -> None:
        """Commit; after a retriable time-out it may be called again and does the rest, if any."""
        self._check_usable("commit")
        fault = self.plan("commit")
        try:
            if fault in ("unknown", "applied"):
                self._unknown(fault)
            self._with(fault, "commit", self._apply)
        except LogError as error:
            if not error.retriable:
                self._broken = str(error)
            raise
        self._applied = False

    def _unknown(self, fault: str) -> None:
        self.calls.append("commit")
        if fault == "applied":
            self._apply()
        message = f"commit: {fault}"
        raise UnknownOutcomeError(message)

    def _apply(self) -> None:
        if not self._applied:
            self.inner.commit()
        self._applied = True

    # administration
    def topic_names(self) -> set[str]:
        """Names of topics."""
        return self._do("topics", self.inner.topic_names)

    def topics(self, names: Iterable[str] | None = None) -> dict[str, TopicInfo]:
        """Topics."""
        return self._do("topics", lambda: self.inner.topics(names))

    def create_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> TopicInfo:
        """Create."""
        return self._do("create_topic", lambda: self.inner.create_topic(name, partitions, config))

    def delete_topic(self, name: str) -> None:
        """Delete."""
        self.inner.delete_topic(name)

    def delete_records(self, source: TopicPartition, before: int) -> None:
        """Trim."""
        self._do("delete_records", lambda: self.inner.delete_records(source, before))

    def close(self) -> None:
        """Close."""
        self.inner.close()


def rows_of(batch: Batch) -> Iterator[Batch]:
    """Cut a batch into batches of one record."""
    for row in range(len(batch)):
        at = slice(row, row + 1)
        headers = None if batch.headers is None else batch.headers[at]
        next_offset = batch.next_offset if row == len(batch) - 1 else batch.offsets[row] + 1
        yield Batch(
            batch.source, batch.keys[at], batch.values[at], batch.timestamps[at],
            batch.offsets[at], next_offset, headers,
        )  # fmt: skip
