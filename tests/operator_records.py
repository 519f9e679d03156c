"""Records for the programs of operators: in order of time or late, with tombstones or without.

They go to the inputs of ``operator_programs``. Invariant: the same choices give the same records.
"""

import random
from typing import Final, NamedTuple

SECOND_MS: Final = 1_000
KEYS: Final = "abcdef"
POISON: Final = 77_770_000
"""A number whose sums, lists and pairs cannot be shown."""
FLUSH: Final = "~"
"""Keys that begin so only move time on."""


class Sent(NamedTuple):
    """A record of an input."""

    topic: str
    key: str
    value: int | None
    at_ms: int

    @property
    def raw(self) -> tuple[bytes, bytes | None, int]:
        """As it stands in the topic."""
        raw = None if self.value is None else str(self.value).encode()
        return self.key.encode(), raw, self.at_ms


LEAPS_MS: Final = (0, 1, 400, 1_000, 3_000, 5_000, 6_000, 10_000, 10_001)
LEAP_FAR_MS: Final = 250_000
"""So far that windows are cleaned away."""


def records_in_order(choose: random.Random, inputs: tuple[str, ...], count: int) -> list[Sent]:
    """Choose records none of which is late."""
    sent: list[Sent] = []
    at_ms = choose.choice((0, 5_000))
    for _ in range(count):
        at_ms += LEAP_FAR_MS if choose.random() < 0.04 else choose.choice(LEAPS_MS) // 2
        sent.append(_record(choose, inputs, at_ms))
    return sent


def records_late(choose: random.Random, inputs: tuple[str, ...], count: int) -> list[Sent]:
    """Choose records some of which are late, a little or far too much."""
    return [
        record._replace(at_ms=max(0, record.at_ms - choose.choice((0, 0, 0, 4_000, 9_000, 30_000))))
        for record in records_in_order(choose, inputs, count)
    ]


def _record(choose: random.Random, inputs: tuple[str, ...], at_ms: int) -> Sent:
    topic, key = choose.choice(inputs), choose.choice(KEYS)
    return Sent(topic, key, choose.randrange(30), at_ms)


def with_tombstones(choose: random.Random, records: list[Sent], share: float = 0.15) -> list[Sent]:
    """Make some of the records tombstones."""
    return [
        record._replace(value=None) if choose.random() < share else record for record in records
    ]
