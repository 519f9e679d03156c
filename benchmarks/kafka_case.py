"""What is measured on Kafka: the cases, their input, and one run's figures.

    passthrough   bytes in, bytes out
    map           JSON decode → a function of the value → JSON encode
    count         JSON decode → count per key, with a changelog → encode → an output each
    tumbling      JSON decode → sum per key and 10 s, with a changelog → encode → an output each

Each case is run by two sides: ``streamfn``, and ``loop``, a hand-written loop over the same client
library. This module knows neither, so that no side's process holds the other's modules. Invariant:
a record's key and value follow from the case and its number alone.
"""

import random
import resource
import time
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

COMMIT_INTERVAL_MS = 100
FIRST_TIMESTAMP_MS = 1_700_000_000_000

STREAMFN, LOOP = "streamfn", "loop"
SIDES = (STREAMFN, LOOP)


class Case(NamedTuple):
    """A job over one input."""

    job: str
    keys: int
    partitions: int

    def __str__(self) -> str:
        return f"{self.job}, {self.keys:,} keys, {self.partitions} p"


CASES = (
    Case("passthrough", 1_000, 1),
    Case("map", 1_000, 1),
    Case("count", 1_000, 1),
    Case("count", 200_000, 4),
    Case("tumbling", 1_000, 1),
)
WINDOW_MS = 10_000


class Order(msgspec.Struct, gc=False):
    """What a function of the value asks for of a 100-byte JSON value."""

    user: str
    amount: float


class Priced(msgspec.Struct, gc=False):
    """What the map makes of it."""

    user: str
    gross: float


class Task(msgspec.Struct, frozen=True):
    """What a process of its own is told to do; ``id`` begins the name of all that it makes."""

    broker: str
    id: str
    side: str
    case: Case
    records: int
    source: str
    commit_interval_ms: int = COMMIT_INTERVAL_MS
    verify: bool = True

    @property
    def sink(self) -> str:
        """The topic of the outputs."""
        return f"{self.id}-out"


class Figures(msgspec.Struct, frozen=True):
    """One run, from its first record to its last commit; ``life`` is all of it."""

    records: int
    wall_s: float
    cpu_s: float
    life_wall_s: float
    life_cpu_s: float
    peak_mb: int
    commits: int
    changes: int = 0
    """Changelog records."""

    @classmethod
    def of(
        cls, records: int, span: "Span", life: "Span", *, commits: int, changes: int
    ) -> "Figures":
        """Put the figures of this process together, before it does anything else."""
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        return cls(
            records, span.wall_s, span.cpu_s, life.wall_s, life.cpu_s, peak_mb, commits, changes
        )

    @property
    def per_cpu_s(self) -> float:
        """Records per second of processor time, user and system, of the whole process."""
        return self.records / self.cpu_s

    @property
    def per_wall_s(self) -> float:
        """Records per second of wall-clock time."""
        return self.records / self.wall_s

    @property
    def per_life_cpu_s(self) -> float:
        """Records per second of processor time from before the first client to the last close."""
        return self.records / self.life_cpu_s


class Span:
    """The time that is measured; both sides mark it at the same points.

    It begins before the poll that gave the first record, and ends with the last commit. Processor
    time is that of all threads of the process, those of librdkafka and RocksDB included.
    """

    def __init__(self) -> None:
        self.start = self.end = self._now()

    def waiting(self) -> None:
        """Nothing has come yet."""
        self.start = self._now()

    def committed(self) -> None:
        """A transaction was committed just now."""
        self.end = self._now()

    @property
    def wall_s(self) -> float:
        """Wall-clock time."""
        return self.end[0] - self.start[0]

    @property
    def cpu_s(self) -> float:
        """Processor time."""
        return self.end[1] - self.start[1]

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()


def orders(keys: int, records: int) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield key, value and timestamp of each order; users are drawn evenly, the same each time."""
    chance = random.Random(1)
    for number in range(records):
        user, timestamp_ms = chance.randrange(keys), FIRST_TIMESTAMP_MS + number
        yield key_of(user), value_of(user, number, timestamp_ms), timestamp_ms


def key_of(user: int) -> bytes:
    """Sixteen bytes."""
    return b"user-%011d" % user


def value_of(user: int, number: int, timestamp_ms: int) -> bytes:
    """A hundred bytes of JSON, six fields."""
    return (
        b'{"user":"u%06d","item":"i%04d","amount":%d.%02d,"ts":%d,"country":"DE","pad":"0123456789"}'
        % (user, number % 10_000, number % 90 + 10, number % 100, timestamp_ms)
    )
