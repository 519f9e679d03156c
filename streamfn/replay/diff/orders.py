"""Pairs the rows of a topic as far as the order of the real run can be known.

Rows come in, of what was expected and of what was made, while both are still read; pairs go out.
``Ordered``: in order within a partition, or a key; ``Unordered``: whatever the order. Invariant:
memory holds what does not match, not what does, and of that no more than a bound.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from difflib import SequenceMatcher
from itertools import accumulate, islice, takewhile
from typing import Final, TypeAlias

from streamfn.replay.diff.rows import (
    ANY_EDGE,
    AT_EDGE,
    BEGIN,
    MAYBE_BEGIN,
    MAYBE_END,
    Content,
    Edge,
    Pair,
    Row,
    Rows,
    align,
)

Contents: TypeAlias = dict[tuple[Hashable, Content], list[Edge]]

WINDOW_ROWS: Final = 512
EDGE_ROWS_MAX: Final = 10_000
UNMATCHED_ROWS_MAX: Final = 200_000


class Sequences:
    """Two sequences that grow: of one partition, or of one key."""

    def __init__(self, window: int = WINDOW_ROWS) -> None:
        self._window = window
        self._expected: deque[Row] = deque()
        self._actual: deque[Row] = deque()
        self._begun = False

    @property
    def empty(self) -> bool:
        """True if all there was has been paired."""
        return not self._expected and not self._actual

    def add(self, expected: Iterable[Row], actual: Iterable[Row]) -> Iterator[Pair]:
        """Take more rows of both; yield what can be paired already."""
        left, right = self._expected, self._actual
        left.extend(expected)
        right.extend(actual)
        if not self._begun:
            zone = self._doubtful()
            if zone == len(left) or zone > len(right):
                return
            yield from self._begin(zone)
        while True:
            while left and right and left[0].content == right[0].content:
                yield Pair(left.popleft(), right.popleft())
            if len(left) < self._window or len(right) < self._window:
                return
            yield from self._pair_window()

    def _doubtful(self) -> int:
        """How many of the first recorded rows may be of inputs before the recorded ones."""
        return sum(1 for _ in takewhile(lambda row: row.unsure & BEGIN, self._expected))

    def _begin(self, zone: int) -> Iterator[Pair]:
        """Let go of the first rows of which nothing was made: of inputs before the recorded ones.

        What was made is what the recorded ones made, from the first of them on, so the rows that
        are left are its begin. If they differ they still have keys and times in common.
        """
        self._begun = True
        rows, made = list(islice(self._expected, zone)), list(islice(self._actual, zone))
        at = _first_place(list(map(_content, rows)), list(map(_content, made)))
        if at == zone:
            at = _first_place(list(map(_key_and_time, rows)), list(map(_key_and_time, made)))
        for row in rows[:at]:
            self._expected.popleft()
            yield Pair(row, None)

    def finish(self) -> Iterator[Pair]:
        """Pair what is left, when no more rows come."""
        if not self._begun:
            yield from self._begin(self._doubtful())
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


class Spare:
    """Rows that may have no other side and were paired all the same, by what is in them.

    Where a content is there once too often on one side, it is not known which of its rows is the
    one without: then it is the one that may be.
    """

    def __init__(self) -> None:
        self._found: tuple[Contents, Contents] = {}, {}

    def told(self, part: Hashable, pair: Pair) -> Pair:
        """Take a pair; return it, of a row alone with an edge if another is as good as this one."""
        row = pair.alone
        if row is not None:
            if row.unsure & AT_EDGE:
                return pair
            waiting = self._found[pair.expected is None].get((part, row.content))
            return pair._replace(edge=waiting.pop()) if waiting else pair
        for found, one in zip(self._found, pair[:2], strict=True):
            if one is not None and one.unsure & AT_EDGE and pair.equal:
                found.setdefault((part, one.content), []).append(one.edge)
        return pair


class Ordered:
    """Rows of one topic, in order within each part: a partition, a key, or what else tells."""

    def __init__(self, part_of: Callable[[Row], Hashable]) -> None:
        self._part_of, self._spare = part_of, Spare()
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
            yield from (pair._replace(edge=_edge(pair)) for pair in held)
        self._parts.clear()
        self._held.clear()

    def _split(self, rows: Rows) -> dict[Hashable, list[Row]]:
        parts: defaultdict[Hashable, list[Row]] = defaultdict(list)
        for row in rows:
            parts[self._part_of(row)].append(row)
        return parts

    def _edged(self, name: Hashable, pairs: Iterable[Pair]) -> Iterator[Pair]:
        """Tell which of the rows that one side lacks cannot be judged.

        Where nothing is known of an edge, those are what one side lacks before the first and
        behind the last row that both have.
        """
        for pair in pairs:
            left, right = pair.expected, pair.actual
            if left is not None and right is not None:
                if left.unsure or right.unsure:
                    self._begun.add(name)
                    self._spare.told(name, pair)
                    yield from self._held.pop(name, ())
                    yield from pair.judged()
                else:
                    yield pair
                continue
            row = left or right
            assert row is not None
            if row.unsure & AT_EDGE or (row.unsure & MAYBE_BEGIN and name not in self._begun):
                yield pair._replace(edge=row.edge)
            elif row.unsure & MAYBE_END:
                held = self._held.setdefault(name, [])
                held.append(pair)
                if len(held) > EDGE_ROWS_MAX:
                    yield from self._held.pop(name)
            else:
                yield self._spare.told(name, pair)


class Unordered:
    """Rows of one topic that several tasks write: what is the same is paired wherever it stands."""

    def __init__(self) -> None:
        self._sides: tuple[dict[Content, deque[Row]], dict[Content, deque[Row]]] = ({}, {})
        self._held = [0, 0]
        self._spare = Spare()

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
                pair = Pair(row, found) if side == 0 else Pair(found, row)
                yield self._spare.told("", pair) if row.unsure or found.unsure else pair
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
                for row in rows:
                    alone = Pair(row, None) if side == 0 else Pair(None, row)
                    told = self._spare.told("", alone)
                    if told.edge:
                        yield told
                    else:
                        parts[content.key][side].append(row)
            held.clear()
        self._held = [0, 0]
        for key in sorted(parts, key=repr):
            both = Sequences()
            left, right = (sorted(rows, key=_time) for rows in parts[key])
            for pair in (*both.add(left, right), *both.finish()):
                if pair.alone is None:
                    yield from pair._replace(moved=False).judged(ANY_EDGE)
                else:
                    yield pair._replace(edge=_edge(pair))


def in_lanes(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """Let pass what has only changed places with rows of other partitions of the input.

    A partitioner puts a key into one partition. Where it is in several, after a topic has grown or
    by another producer's partitioner, nobody has recorded how the real run merged them.
    """
    found = list(pairs)
    if not any(pair.moved for pair in found):
        yield from found
        return
    lanes: defaultdict[Hashable, list[tuple[Row, Row]]] = defaultdict(list)
    for left, right, *_ in found:
        if left is not None and right is not None:
            lanes[_lane(left, right)].append((right, left))
    crossed = {row for lane in lanes.values() for row in _crossed(lane)}
    for pair in found:
        moved = pair.moved and pair.expected is not None and _place(pair.expected) in crossed
        yield pair._replace(moved=moved) if pair.moved else pair


def _crossed(lane: list[tuple[Row, Row]]) -> Iterator[tuple[int, int]]:
    """Yield the places of the rows that do not stand where they stood in their lane."""
    lane.sort(key=lambda both: (both[0].rank, both[0].partition, both[0].offset))
    offsets = [left.offset for _, left in lane]
    highest = list(accumulate(offsets, max))
    lowest = list(accumulate(reversed(offsets), min))[::-1]
    for (_, left), high, low in zip(lane, highest, lowest, strict=True):
        if high > left.offset or low < left.offset:
            yield _place(left)


def _lane(left: Row, right: Row) -> Hashable:
    return left.partition, left.content.key, right.root and right.root[0]


def _place(row: Row) -> tuple[int, int]:
    return row.partition, row.offset


def _first_place(rows: list[Hashable], made: list[Hashable]) -> int:
    """From where on rows are what was made, to the end of either; their number if from nowhere."""
    for place in range(len(rows) if made else 0):
        both = min(len(rows) - place, len(made))
        if rows[place] == made[0] and rows[place : place + both] == made[:both]:
            return place
    return len(rows)


def _edge(pair: Pair) -> Edge:
    row = pair.alone
    return "" if row is None else row.edge


def _content(row: Row) -> Hashable:
    return row.content


def _key_and_time(row: Row) -> Hashable:
    return row.content.key, row.content.timestamp_ms


def _time(row: Row) -> tuple[int, int, int]:
    return row.content.timestamp_ms, row.partition, row.offset
