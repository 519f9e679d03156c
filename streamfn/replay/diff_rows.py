"""Puts the rows of two sides next to each other: which row is which on the other side.

Rows of one topic come in, of what was expected and of what was made, while both are still read;
pairs go out. Three ways: in order (one partition, written by one task), by key, and by the input
record that a row goes back to. Invariant: each row is in exactly one pair; a row that one side
lacks costs one pair, however many follow it; memory holds a window of what does not match, not
what does.
"""

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Final, NamedTuple, TypeAlias

from streamfn.record import Headers, TopicPartition
from streamfn.replay.effects import Effects

Root: TypeAlias = tuple[TopicPartition, int]

WINDOW_ROWS: Final = 512
EDGE_ROWS_MAX: Final = 10_000


class Content(NamedTuple):
    """What two rows are compared by."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: Headers = ()


class Row(NamedTuple):
    """A row and where it stands."""

    content: Content
    partition: int
    offset: int = -1
    rank: int = -1
    """Of the input record that it goes back to; -1 where that is not known."""
    root: Root | None = None
    stage: str = ""
    """Who made it, where that is known."""


class Pair(NamedTuple):
    """A row on both sides; None on the side that lacks it."""

    expected: Row | None
    actual: Row | None
    moved: bool = False
    """Both are the same, but stand elsewhere among their neighbours."""
    edge: bool = False
    """What one side lacks may lie outside of the range that was recorded."""

    @property
    def equal(self) -> bool:
        """True if nothing is to be said of it."""
        return (
            not self.moved
            and self.expected is not None
            and self.actual is not None
            and self.expected.content == self.actual.content
        )


Rows: TypeAlias = Sequence[Row]


def align(expected: Rows, actual: Rows) -> list[Pair]:
    """Pair the rows of two short sequences.

    First what is the same and in the same order, then what only stands elsewhere, then, between
    those, rows of one key and time, of one key, and of one time; what is left has no other side.
    """
    found: list[Pair] = []
    gaps = list(_anchored(expected, actual, lambda row: row.content, found))
    gaps = _moved(gaps, found)
    for by in (_key_and_time, _key):
        gaps = [gap for before in gaps for gap in _anchored(*before, by, found)]
    for left, right in gaps:
        found += _rest(left, right)
    return found


def _key_and_time(row: Row) -> Hashable:
    return row.content.key, row.content.timestamp_ms


def _key(row: Row) -> Hashable:
    return row.content.key


def _anchored(
    expected: Rows, actual: Rows, by: Callable[[Row], Hashable], found: list[Pair]
) -> Iterator[tuple[Rows, Rows]]:
    """Pair what is alike in order; yield the gaps in between."""
    if not expected or not actual:
        if expected or actual:
            yield expected, actual
        return
    left, right = [by(row) for row in expected], [by(row) for row in actual]
    at = to = 0
    for block in SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks():
        if block.a > at or block.b > to:
            yield expected[at : block.a], actual[to : block.b]
        at, to = block.a + block.size, block.b + block.size
        rows = zip(expected[block.a : at], actual[block.b : to], strict=True)
        found += [Pair(one, other) for one, other in rows]


def _moved(gaps: list[tuple[Rows, Rows]], found: list[Pair]) -> list[tuple[Rows, Rows]]:
    """Pair rows that are the same and stand in another place."""
    where: defaultdict[Content, deque[Row]] = defaultdict(deque)
    for _, right in gaps:
        for row in right:
            where[row.content].append(row)
    taken = set[int]()
    kept: list[tuple[Rows, Rows]] = []
    for left, right in gaps:
        rest: list[Row] = []
        for row in left:
            others = where.get(row.content)
            if others:
                other = others.popleft()
                taken.add(id(other))
                found.append(Pair(row, other, moved=True))
            else:
                rest.append(row)
        kept.append((rest, right))
    return [(left, [row for row in right if id(row) not in taken]) for left, right in kept]


def _rest(expected: Rows, actual: Rows) -> Iterator[Pair]:
    """Pair what is left by its time: its key has changed. The others have no other side."""
    times: defaultdict[int, deque[Row]] = defaultdict(deque)
    for row in actual:
        times[row.content.timestamp_ms].append(row)
    for row in expected:
        others = times.get(row.content.timestamp_ms)
        yield Pair(row, others.popleft() if others else None)
    for others in times.values():
        yield from (Pair(None, row) for row in others)


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
        yield from in_order(align(tuple(self._expected), tuple(self._actual)))
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
        yield from in_order(align(left[:at], right[:to]))
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


def in_order(pairs: list[Pair]) -> list[Pair]:
    """Sort pairs by where their rows stand."""

    def place(pair: Pair) -> tuple[int, int, bool]:
        row = pair.actual or pair.expected
        assert row is not None
        return row.rank, row.offset, pair.actual is None

    return sorted(pairs, key=place)


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


class ByRoot:
    """Rows of one topic, made by two replays of the same inputs."""

    def __init__(self, headers: Callable[[Headers], Headers] = lambda found: found) -> None:
        """``headers`` leaves those out that are not compared."""
        self._headers = headers
        self._sides: tuple[list[Effects], list[Effects]] = ([], [])

    def add(self, side: int, effects: Effects) -> None:
        """Take what one side (0 expected, 1 actual) has made; the ranks never go back."""
        self._sides[side].append(effects)

    def held(self, side: int) -> int:
        """How many rows of one side are not paired yet."""
        return sum(map(len, self._sides[side]))

    def settle(self, rank: int | None) -> tuple[int, list[Pair]]:
        """Pair all rows up to a rank that both sides have passed; None: all.

        Returns how many rows were the same, and the pairs of the others, in order of rank.
        """
        left, right = (self._taken(blocks, rank) for blocks in self._sides)
        if len(left) == len(right) and all(map(_alike, left, right)):
            return sum(map(len, left)), []
        pairs = self._paired(left, right)
        different = [pair for pair in pairs if not pair.equal]
        return len(pairs) - len(different), different

    def _taken(self, blocks: list[Effects], rank: int | None) -> list[Effects]:
        """Take the rows up to a rank out of the blocks, in order of partition."""
        taken: list[Effects] = []
        kept: list[Effects] = []
        for block in blocks:
            end = len(block) if rank is None else bisect_right(block.ranks, rank)
            if end:
                taken.append(block if end == len(block) else _part(block, 0, end))
            if end < len(block):
                kept.append(block if not end else _part(block, end, len(block)))
        blocks[:] = kept
        return sorted(taken, key=lambda block: (block.partition, block.first_offset))

    def _paired(self, left: list[Effects], right: list[Effects]) -> list[Pair]:
        roots: dict[int, tuple[list[Row], list[Row]]] = {}
        for side, blocks in enumerate((left, right)):
            for block in blocks:
                for row in rows_of(block, self._headers):
                    roots.setdefault(row.rank, ([], []))[side].append(row)
        found: list[Pair] = []
        for rank in sorted(roots):
            expected, actual = roots[rank]
            if [row.content for row in expected] == [row.content for row in actual]:
                found += [Pair(one, other) for one, other in zip(expected, actual, strict=True)]
            else:
                found += in_order(align(expected, actual))
        return found


def rows_of(effects: Effects, headers: Callable[[Headers], Headers]) -> Iterator[Row]:
    """Yield effects as rows."""
    columns = zip(
        effects.keys, effects.values, effects.timestamps, effects.ranks, effects.roots,
        effects.stages, strict=True,
    )  # fmt: skip
    for at, (key, value, timestamp_ms, rank, root, stage) in enumerate(columns):
        borne = effects.headers.get(at)
        content = Content(key, value, timestamp_ms, headers(borne) if borne else ())
        yield Row(content, effects.partition, effects.first_offset + at, rank, root, stage)


def _alike(left: Effects, right: Effects) -> bool:
    return (
        left.partition == right.partition
        and left.ranks == right.ranks
        and left.values == right.values
        and left.keys == right.keys
        and left.timestamps == right.timestamps
        and left.headers == right.headers
    )


def _part(effects: Effects, begin: int, end: int) -> Effects:
    return Effects(
        effects.topic, effects.partition, effects.first_offset + begin,
        effects.keys[begin:end], effects.values[begin:end], effects.timestamps[begin:end],
        {at - begin: found for at, found in effects.headers.items() if begin <= at < end},
        effects.ranks[begin:end], effects.roots[begin:end], effects.stages[begin:end],
    )  # fmt: skip
