"""Rows of a topic, and which row is which on the other side.

Short sequences of rows come in, pairs go out. Invariant: each row is in exactly one pair; a row
that one side lacks costs one pair, however many follow it.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Final, Literal, NamedTuple, TypeAlias

from streamfn.record import Headers, TopicPartition
from streamfn.replay.effects import Effects

Root: TypeAlias = tuple[TopicPartition, int]
Edge: TypeAlias = Literal["", "begin", "end", "begin or end", "wall clock"]
"""Where rows cannot be judged; the last is no edge, but as little known."""

BEGIN: Final = 1
"""Of a row: it may be of an input before the recorded ones, seen from where it stands."""
END: Final = 2
"""It may be of an input behind them; or, of a replay's, the real run had not come to its input."""
MAYBE_BEGIN: Final = 4
"""Nothing is known of the begin: only what follows may tell."""
MAYBE_END: Final = 8
AT_EDGE: Final = BEGIN | END
ANY_EDGE: Final = AT_EDGE | MAYBE_BEGIN | MAYBE_END


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
    unsure: int = 0
    """Why it may have no other side, although nothing differs: see ``BEGIN`` and the others."""

    @property
    def edge(self) -> Edge:
        """At which edge it may have no other side."""
        begin, end = self.unsure & (BEGIN | MAYBE_BEGIN), self.unsure & (END | MAYBE_END)
        return "begin or end" if begin and end else "begin" if begin else "end" if end else ""


class Pair(NamedTuple):
    """A row on both sides; None on the side that lacks it."""

    expected: Row | None
    actual: Row | None
    moved: bool = False
    """Both are the same, but stand elsewhere among their neighbours."""
    edge: Edge = ""
    """It cannot be judged: what one side lacks may lie outside of what was recorded, there."""

    @property
    def equal(self) -> bool:
        """True if nothing is to be said of it."""
        return (
            not self.moved
            and self.expected is not None
            and self.actual is not None
            and self.expected.content == self.actual.content
        )

    @property
    def alone(self) -> Row | None:
        """The row, if only one side has it."""
        if self.expected is None or self.actual is None:
            return self.expected or self.actual
        return None

    def judged(self, unsure: int = AT_EDGE) -> "Iterator[Pair]":
        """Yield it as far as it can be judged, where these marks say that rows are in doubt.

        Two rows that may both have no other side, and differ, are no pair, nor is one of those with
        a row of another key or time; and nothing is known of their order.
        """
        left, right = self.expected, self.actual
        if left is None or right is None or self.equal:
            yield self
            return
        doubts = left.unsure & unsure, right.unsure & unsure
        if not any(doubts):
            yield self
        elif self.moved:
            yield self._replace(edge=left.edge or right.edge)
        elif all(doubts) or _key_and_time(left) != _key_and_time(right):
            yield Pair(left, None, edge=left.edge if doubts[0] else "")
            yield Pair(None, right, edge=right.edge if doubts[1] else "")
        else:
            yield self


Rows: TypeAlias = Sequence[Row]


def align(expected: Rows, actual: Rows) -> list[Pair]:
    """Pair the rows of two short sequences.

    First what is the same and in the same order, then what only stands elsewhere, then, between
    those, rows of one key and time, of one key, and of one time; what is left has no other side.
    """
    if len(expected) == 1 and len(actual) == 1 and _related(expected[0], actual[0]):
        return [Pair(expected[0], actual[0])]
    found: list[Pair] = []
    gaps = list(_anchored(expected, actual, lambda row: row.content, found))
    gaps = _moved(gaps, found)
    for by in (_key_and_time, _key):
        gaps = [gap for before in gaps for gap in _anchored(*before, by, found)]
    for left, right in gaps:
        found += _rest(left, right)
    return _in_order(found, expected, actual)


def _related(expected: Row, actual: Row) -> bool:
    left, right = expected.content, actual.content
    return left.key == right.key or left.timestamp_ms == right.timestamp_ms


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


def _in_order(pairs: list[Pair], expected: Rows, actual: Rows) -> list[Pair]:
    """Sort pairs as the actual rows stand; what is missing stands where it would have stood."""
    place = {id(row): at for at, row in enumerate(actual)}
    other = {id(p.expected): place[id(p.actual)] for p in pairs if p.actual and not p.moved}
    places: dict[int, int] = {}
    following = len(actual)
    for row in reversed(expected):
        following = min(following, other.get(id(row), following))
        places[id(row)] = following

    def stands(pair: Pair) -> tuple[int, bool]:
        if pair.actual is not None:
            return place[id(pair.actual)], True
        return places[id(pair.expected)], False

    rank = {id(row): at for at, row in enumerate(expected)}
    return sorted(pairs, key=lambda pair: (*stands(pair), rank.get(id(pair.expected), -1)))


def row_of(effects: Effects, at: int, headers: Callable[[Headers], Headers]) -> Row:
    """Make a row of effects."""
    borne = effects.headers.get(at)
    content = Content(
        effects.keys[at], effects.values[at], effects.timestamps[at],
        headers(borne) if borne else (),
    )  # fmt: skip
    return Row(
        content, effects.partition, effects.first_offset + at, effects.ranks[at],
        effects.roots[at], effects.stages[at],
    )  # fmt: skip
