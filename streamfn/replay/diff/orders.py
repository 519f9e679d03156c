"""Pairs the rows of a topic as far as the order of the real run can be known.

Rows come in, of what was expected and of what was made, while both are still read; pairs go out.
``Ordered``: in order within a partition, or a key; ``Unordered``: whatever the order. Invariant:
memory holds what does not match, not what does, and of that no more than a bound.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from difflib import SequenceMatcher
from typing import Final

from streamfn.replay.diff.rows import Content, Pair, Row, Rows, align

WINDOW_ROWS: Final = 512
EDGE_ROWS_MAX: Final = 10_000
UNMATCHED_ROWS_MAX: Final = 200_000


class Sequences:
    """Two sequences that grow: of one partition, or of one key."""

    def __init__(self, window: int = WINDOW_ROWS) -> None:
        self._window = window
        self._expected: deque[Row] = deque()
        self._actual: deque[Row] = deque()

    @property
    def empty(self) -> bool:
        """True if all there was has been paired."""
        return not self._expected and not self._actual

    def add(self, expected: Iterable[Row], actual: Iterable[Row]) -> Iterator[Pair]:
        """Take more rows of both; yield what can be paired already."""
        left, right = self._expected, self._actual
        left.extend(expected)
        right.extend(actual)
        while True:
            while left and right and left[0].content == right[0].content:
                yield Pair(left.popleft(), right.popleft())
            if len(left) < self._window or len(right) < self._window:
                return
            yield from self._pair_window()

    def finish(self) -> Iterator[Pair]:
        """Pair what is left, when no more rows come."""
        while len(self._expected) >= self._window and len(self._actual) >= self._window:
            yield from self.add((), ())
        yield from align(tuple(self._expected), tuple(self._actual))
        self._expected.clear()
        self._actual.clear()

    def _pair_window(self) -> Iterator[Pair]:
        """Pair the windows up to the last place where both sides are together again."""
        left = [self._expected[index] for index in range(self._window)]
        right = [self._actual[index] for index in range(self._window)]
        blocks = SequenceMatcher(
            None, [row.content for row in left], [row.content for row in right], autojunk=False
        ).get_matching_blocks()
        together = [block for block in blocks if block.size]
        if together:
            at, to = together[-1].a + together[-1].size, together[-1].b + together[-1].size
        else:
            at, to = self._apart(left, right)
        yield from align(left[:at], right[:to])
        for rows, count in ((self._expected, at), (self._actual, to)):
            for _ in range(count):
                rows.popleft()

    def _apart(self, left: Rows, right: Rows) -> tuple[int, int]:
        """How much of each to let go when nothing is the same: of the side that is behind, more."""
        behind = [row.content.timestamp_ms for row in left]
        ahead = [row.content.timestamp_ms for row in right]
        if max(behind) < min(ahead):
            return self._window, 0
        if max(ahead) < min(behind):
            return 0, self._window
        half = self._window // 2
        limit = min(max(behind[:half]), max(ahead[:half]))
        at = max(1, sum(1 for time in behind if time <= limit))
        to = max(1, sum(1 for time in ahead if time <= limit))
        return at, to


class Ordered:
    """Rows of one topic, in order within each part: a partition, a key, or what else tells."""

    def __init__(self, part_of: Callable[[Row], Hashable], *, edges: bool = False) -> None:
        """``edges``: the rows that were recorded may begin or end elsewhere than those made."""
        self._part_of, self._edges = part_of, edges
        self._parts: dict[Hashable, Sequences] = {}
        self._begun: set[Hashable] = set()
        self._held: dict[Hashable, list[Pair]] = {}
        """Last rows that only one side has: if nothing follows them, they are an edge."""

    def add(self, expected: Rows, actual: Rows) -> Iterator[Pair]:
        """Take rows of both sides; yield what can be paired already."""
        left, right = self._split(expected), self._split(actual)
        for name in [*left, *(name for name in right if name not in left)]:
            part = self._parts.pop(name, None) or Sequences()
            yield from self._edged(name, part.add(left.get(name, ()), right.get(name, ())))
            if not part.empty:
                self._parts[name] = part

    def finish(self) -> Iterator[Pair]:
        """Pair what is left, when no more rows come."""
        for name, part in self._parts.items():
            yield from self._edged(name, part.finish())
        for held in self._held.values():
            yield from (pair._replace(edge=True) for pair in held)
        self._parts.clear()
        self._held.clear()

    def _split(self, rows: Rows) -> dict[Hashable, list[Row]]:
        parts: defaultdict[Hashable, list[Row]] = defaultdict(list)
        for row in rows:
            parts[self._part_of(row)].append(row)
        return parts

    def _edged(self, name: Hashable, pairs: Iterable[Pair]) -> Iterator[Pair]:
        """Mark what one side lacks before the first and behind the last row that both have."""
        for pair in pairs:
            if not self._edges:
                yield pair
            elif pair.expected is not None and pair.actual is not None:
                self._begun.add(name)
                yield from self._held.pop(name, ())
                yield pair
            elif name not in self._begun:
                yield pair._replace(edge=True)
            else:
                held = self._held.setdefault(name, [])
                held.append(pair)
                if len(held) > EDGE_ROWS_MAX:
                    yield from self._held.pop(name)


class Unordered:
    """Rows of one topic that several tasks write: what is the same is paired wherever it stands."""

    def __init__(self) -> None:
        self._sides: tuple[dict[Content, deque[Row]], dict[Content, deque[Row]]] = ({}, {})
        self._held = [0, 0]

    def add(self, expected: Rows, actual: Rows) -> Iterator[Pair]:
        """Take rows of both sides; yield what can be paired already."""
        for side, rows in enumerate((expected, actual)):
            own, other = self._sides[side], self._sides[1 - side]
            for row in rows:
                waiting = other.get(row.content)
                if waiting is None:
                    own.setdefault(row.content, deque()).append(row)
                    self._held[side] += 1
                    continue
                found = waiting.popleft()
                self._held[1 - side] -= 1
                if not waiting:
                    del other[row.content]
                yield Pair(row, found) if side == 0 else Pair(found, row)
        if min(self._held) > UNMATCHED_ROWS_MAX:
            yield from self._give_up()

    def finish(self) -> Iterator[Pair]:
        """Pair what is left, when no more rows come."""
        yield from self._give_up()

    def _give_up(self) -> Iterator[Pair]:
        """Pair rows of one key by their times."""
        parts: defaultdict[Hashable, tuple[list[Row], list[Row]]]
        parts = defaultdict(lambda: ([], []))
        for side, held in enumerate(self._sides):
            for content, rows in held.items():
                parts[content.key][side].extend(rows)
            held.clear()
        self._held = [0, 0]
        for key in sorted(parts, key=repr):
            both = Sequences()
            left, right = (sorted(rows, key=_time) for rows in parts[key])
            for pair in (*both.add(left, right), *both.finish()):
                yield pair._replace(moved=False)


def _time(row: Row) -> tuple[int, int, int]:
    return row.content.timestamp_ms, row.partition, row.offset
