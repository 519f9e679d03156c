"""Joins of streams told plainly: lists that forget nothing, walked through for each record.

It follows ``KStreamKStreamJoin`` line by line, with no interval between two looks at what waits.
Invariant: who is met is told from the times of records alone.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

FOREVER_MS = 1 << 63

Result: TypeAlias = "tuple[str | None, str, int]"
"""Key, value and time of a result."""


@dataclass(frozen=True, order=True)
class Waiting:
    """A record that waits: in order of time, right before left, then key and arrival."""

    at_ms: int
    is_left: bool
    key: str
    number: int
    value: str


@dataclass
class Model:
    """A join: ``process`` gives the results of a record."""

    kind: str
    before_ms: int
    after_ms: int
    grace_ms: int
    sides: dict[str, list[tuple[str, int, str]]] = field(
        default_factory=lambda: {"left": [], "right": []}
    )
    times: dict[str, int] = field(default_factory=lambda: {"left": -1, "right": -1})
    stream_time_ms: int = -1
    lowest_ms: int = FOREVER_MS
    waiting: list[Waiting] = field(default_factory=list[Waiting])
    records: int = 0

    def process(self, side: str, key: str | None, value: str | None, at_ms: int) -> list[Result]:
        """Join a record with those before it."""
        is_left = side == "left"
        outer = self.kind == "outer" or (self.kind == "left" and is_left)
        self.stream_time_ms = max(self.stream_time_ms, at_ms)
        self.records += 1
        if value is None or (key is None and not outer):
            return []
        alone = f"{value}+null" if is_left else f"null+{value}"
        if key is None:
            return [(None, alone, at_ms)]
        behind, ahead = self.before_ms, self.after_ms
        if not is_left:
            behind, ahead = ahead, behind
        results: list[Result] = []
        if self.kind != "inner" and at_ms == self.stream_time_ms:
            results += self._closed(ahead)
        other = "right" if is_left else "left"
        low_ms, high_ms = max(0, at_ms - behind), max(0, at_ms + ahead)
        low_ms = max(low_ms, self.times[other] - self._keep_ms + 1)
        found = [each for each in self.sides[other] if each[0] == key]
        found = [each for each in found if low_ms <= each[1] <= high_ms]
        for _, met_ms, met in sorted(found, key=lambda each: each[1]):
            gone = [
                w for w in self.waiting
                if (w.key, w.at_ms, w.is_left) == (key, met_ms, not is_left)
            ]  # fmt: skip
            self.waiting = [w for w in self.waiting if w not in gone]
            pair = f"{value}+{met}" if is_left else f"{met}+{value}"
            results.append((key, pair, max(at_ms, met_ms)))
        if outer and not found:
            if high_ms < self.stream_time_ms:
                results.append((key, alone, at_ms))
            else:
                self.lowest_ms = min(self.lowest_ms, at_ms)
                self.waiting.append(Waiting(at_ms, is_left, key, self.records, alone))
        self.times[side] = max(self.times[side], at_ms)
        if at_ms > self.times[side] - self._keep_ms:
            self.sides[side].append((key, at_ms, value))
        return results

    @property
    def _keep_ms(self) -> int:
        return self.before_ms + self.after_ms + self.grace_ms

    def _closed(self, ahead_ms: int) -> list[Result]:
        """What has waited long enough, and where the look at it ended."""
        if self.lowest_ms + ahead_ms + self.grace_ms >= self.stream_time_ms:
            return []
        self.lowest_ms = FOREVER_MS
        results: list[Result] = []
        open_sides: set[bool] = set()
        for each in sorted(self.waiting):
            self.lowest_ms = each.at_ms
            if len(open_sides) == 2:
                break
            ahead = self.after_ms if each.is_left else self.before_ms
            if each.at_ms + ahead + self.grace_ms >= self.stream_time_ms:
                open_sides.add(each.is_left)
                continue
            results.append((each.key, each.value, each.at_ms))
            self.waiting.remove(each)
        return results
