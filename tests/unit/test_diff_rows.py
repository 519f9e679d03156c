"""Rows put next to each other: every row in one pair, a missing one found as one."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.record import TopicPartition
from streamfn.replay.diff.orders import WINDOW_ROWS, Ordered, Unordered
from streamfn.replay.diff.roots import ByRoot
from streamfn.replay.diff.rows import (
    BEGIN,
    END,
    MAYBE_BEGIN,
    MAYBE_END,
    Content,
    Pair,
    Row,
    align,
)
from streamfn.replay.effects import Effects

CONTENTS = st.builds(
    Content,
    st.sampled_from([b"a", b"b", None]),
    st.sampled_from([b"1", b"2", b"3"]),
    st.integers(0, 3),
)
SIDES = st.lists(CONTENTS, max_size=12)


def rows(contents: Iterable[Content], partition: int = 0) -> list[Row]:
    """Rows of one partition."""
    return [Row(content, partition, at) for at, content in enumerate(contents)]


def numbered(count: int, *, key: str = "k{}", value: str = "v{}") -> list[Content]:
    """Rows that are all different."""
    return [
        Content(key.format(at % 7).encode(), value.format(at).encode(), at) for at in range(count)
    ]


def kinds(pairs: Iterable[Pair]) -> Counter[str]:
    """What the pairs are."""
    return Counter(
        "missing" if pair.actual is None
        else "extra" if pair.expected is None
        else "moved" if pair.moved
        else "equal" if pair.equal
        else "changed"
        for pair in pairs
    )  # fmt: skip


def check_each_once(pairs: Sequence[Pair], left: Sequence[Row], right: Sequence[Row]) -> None:
    """Each row is in one pair, and on its side."""
    assert Counter(p.expected for p in pairs if p.expected) == Counter(left)
    assert Counter(p.actual for p in pairs if p.actual) == Counter(right)


@given(SIDES, SIDES)
def test_align_has_each_row_once(left: list[Content], right: list[Content]) -> None:
    """Whatever the two sides are; what is said to have moved is the same."""
    one, other = rows(left), rows(right)
    pairs = align(one, other)
    check_each_once(pairs, one, other)
    assert all(p.expected and p.actual and p.expected.content == p.actual.content
               for p in pairs if p.moved)  # fmt: skip
    common = Counter(left) & Counter(right)
    assert kinds(pairs)["equal"] + kinds(pairs)["moved"] == common.total()


@given(st.lists(st.integers(0, 29), unique=True, max_size=8), st.booleans())
def test_align_finds_what_is_missing(gone: list[int], swap: bool) -> None:
    """Rows that one side lacks are missing or extra, and nothing else is said."""
    whole = numbered(30)
    part = [content for at, content in enumerate(whole) if at not in gone]
    pairs = align(*((rows(part), rows(whole)) if swap else (rows(whole), rows(part))))
    kind = "extra" if swap else "missing"
    assert kinds(pairs) == Counter({"equal": 30 - len(gone), kind: len(gone)})


def test_align_sums_behind_a_missing_row() -> None:
    """A running total that lacks one record: one missing, the others changed by their times."""
    whole = [Content(b"k", str(at).encode(), at) for at in range(10)]
    part = whole[:4] + [Content(b"k", str(at - 1).encode(), at) for at in range(5, 10)]
    assert kinds(align(rows(whole), rows(part))) == {"equal": 4, "missing": 1, "changed": 5}


def test_align_another_key() -> None:
    """A row whose key has changed is found by its time."""
    left, right = [Content(b"a", b"1", 5)], [Content(b"b", b"1", 5)]
    assert kinds(align(rows(left), rows(right))) == {"changed": 1}
    left, right = [Content(b"a", b"1", 5)] * 2, [Content(b"b", b"2", 6)] * 2
    assert kinds(align(rows(left), rows(right))) == {"missing": 2, "extra": 2}


def fed(
    way: Ordered | Unordered, left: Sequence[Row], right: Sequence[Row], step: int
) -> list[Pair]:
    """Feed both sides in pieces."""
    pairs: list[Pair] = []
    for at in range(0, max(len(left), len(right)), step):
        pairs += way.add(left[at : at + step], right[at : at + step])
    return [*pairs, *way.finish()]


@given(SIDES, SIDES, st.integers(1, 5))
def test_ordered_has_each_row_once(left: list[Content], right: list[Content], step: int) -> None:
    """In order of a partition or a key, and in any, whatever the pieces."""
    one, other = rows(left), rows(right)
    for way in (
        Ordered(lambda row: row.partition),
        Ordered(lambda row: row.content.key),
        Unordered(),
    ):
        pairs = fed(way, one, other, step)
        check_each_once(pairs, one, other)
        same = kinds(fed(way, one, one, step))
        assert same == ({"equal": len(one)} if one else {})


def test_long_sequences() -> None:
    """Far more rows than the window: gaps, changes and a stretch that nobody has."""
    whole = numbered(6 * WINDOW_ROWS)
    part = [
        content._replace(value=b"other") if at % 1000 == 3 else content
        for at, content in enumerate(whole)
        if at % 1000 != 7 and not 1500 < at <= 1500 + 2 * WINDOW_ROWS
    ]
    pairs = fed(Ordered(lambda row: row.partition), rows(whole), rows(part), 100)
    gone = sum(at % 1000 == 7 or 1500 < at <= 1500 + 2 * WINDOW_ROWS for at in range(len(whole)))
    found = kinds(pairs)
    assert found["missing"] - found["extra"] == gone
    assert found["extra"] <= 2
    assert found["changed"] <= 8
    check_each_once(pairs, rows(whole), rows(part))


def test_all_changed() -> None:
    """Where each row has changed, each is changed: none is missing."""
    whole, other = numbered(3 * WINDOW_ROWS), numbered(3 * WINDOW_ROWS, value="w{}")
    for way in (Ordered(lambda row: row.partition), Unordered()):
        assert kinds(fed(way, rows(whole), rows(other), 64)) == {"changed": len(whole)}


def test_moved() -> None:
    """A row in another place is one difference; where the order is not known, none."""
    whole = numbered(20)
    other = [*whole[1:], whole[0]]
    assert kinds(fed(Ordered(lambda row: row.partition), rows(whole), rows(other), 50)) == {
        "equal": 19,
        "moved": 1,
    }
    assert kinds(fed(Unordered(), rows(whole), rows(other), 50)) == {"equal": 20}


def marked(found: list[Row], unsure: int) -> list[Row]:
    """The rows with a mark."""
    return [row._replace(unsure=row.unsure | unsure) for row in found]


def by_partition() -> Ordered:
    """In order of partitions."""
    return Ordered(lambda row: row.partition)


WAYS: tuple[Callable[[], Ordered | Unordered], ...] = (by_partition, Unordered)


def test_edges() -> None:
    """Where nothing is known of them, they are what one side lacks at the begin and the end."""
    whole = numbered(20)
    maybe = MAYBE_BEGIN | MAYBE_END
    expected, actual = rows(whole[:15]), rows(whole[4:8] + whole[9:])
    pairs = fed(by_partition(), marked(expected, maybe), marked(actual, maybe), 4)
    lacking = [(p.edge, p.expected or p.actual) for p in pairs if not p.equal]
    assert [row.offset for edge, row in lacking if not edge and row] == [8]
    assert len(lacking) == 4 + 1 + 5
    pairs = fed(by_partition(), expected, actual, 4)
    assert not any(pair.edge for pair in pairs)


@pytest.mark.parametrize("step", [1, 3, 700])
@pytest.mark.parametrize("count", [3, 600])
def test_a_begin_in_doubt(count: int, step: int) -> None:
    """However many rows are in doubt, the first that was made shows from where on they count."""
    whole = numbered(1_500)
    expected = marked(rows(whole)[:count], BEGIN) + rows(whole)[count:]
    for first in (0, 1, count - 1, count):
        found = fed(by_partition(), expected, rows(whole[first:]), step)
        assert [pair.edge for pair in found if not pair.equal] == ["begin"] * first
    other = [row._replace(value=b"other") for row in whole[1:]]
    found = fed(by_partition(), expected, rows(other), step)
    assert [pair.edge for pair in found[:2]] == ["begin", ""]
    assert kinds(found)["changed"] == len(other)
    without = whole[1:2] + whole[3:]
    missing = [pair for pair in fed(by_partition(), expected, rows(without), step) if not pair.edge]
    assert kinds(missing)["missing"] + kinds(missing)["extra"] >= 1


def test_which_of_several_that_are_alike() -> None:
    """Of rows of one content it is the one in doubt that has no other side."""
    one, other = numbered(2)
    expected = marked(rows([one, one]), BEGIN) + rows([one, other])
    for way in WAYS:
        found = fed(way(), expected, rows([one, one, other]), 2)
        assert [pair.edge for pair in found if not pair.equal] == ["begin"]
        found = fed(way(), expected, rows([other]), 2)
        assert sorted(pair.edge for pair in found if not pair.equal) == ["", "begin", "begin"]


def test_two_in_doubt_are_no_pair() -> None:
    """What differs and may have no other side on both sides is not judged."""
    left, right = marked(rows(numbered(1)), END), marked(rows(numbered(1, value="w{}")), END)
    for way in WAYS:
        found = fed(way(), left, right, 1)
        assert [(pair.edge, pair.alone is None) for pair in found] == [("end", False)] * 2


def test_no_row_is_in_doubt_by_itself() -> None:
    """A row in doubt that has another side counts, and what differs from a sure one does, too."""
    left, right = rows(numbered(1)), marked(rows(numbered(1, value="w{}")), END)
    for way in WAYS:
        assert kinds(fed(way(), left, right, 1)) == {"changed": 1}
        assert kinds(fed(way(), left, marked(left, END), 1)) == {"equal": 1}


SOURCE = TopicPartition("in", 0)
MADE = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1), CONTENTS), max_size=14).map(
    lambda found: sorted(found, key=lambda one: one[0])
)


def effects(made: list[tuple[int, int, Content]]) -> list[Effects]:
    """Effects of some rows: rank, partition, content."""
    found: list[Effects] = []
    for partition in (0, 1):
        part = [(rank, content) for rank, where, content in made if where == partition]
        ranks, contents = [rank for rank, _ in part], [content for _, content in part]
        found.append(
            Effects(
                "out", partition, 0, [c.key for c in contents], [c.value for c in contents],
                [c.timestamp_ms for c in contents], {}, ranks, [(SOURCE, r) for r in ranks],
                ["s"] * len(ranks),
            )
        )  # fmt: skip
    return [one for one in found if len(one)]


@given(MADE, MADE, st.lists(st.integers(0, 9), max_size=4))
def test_by_root_does_not_depend_on_chunks(
    left: list[tuple[int, int, Content]], right: list[tuple[int, int, Content]], cuts: list[int]
) -> None:
    """Comparing as far as both sides are finds the same as comparing all at the end."""
    whole = ByRoot()
    for side, made in enumerate((left, right)):
        for one in effects(made):
            whole.add(side, one)
    expected = whole.settle(None)
    parts, same, pairs = ByRoot(), 0, list[Pair]()
    for begin, end in zip([-1, *sorted(cuts)], [*sorted(cuts), 9], strict=True):
        for side, made in enumerate((left, right)):
            for one in effects([row for row in made if begin < row[0] <= end]):
                parts.add(side, one)
        found = parts.settle(end)
        same, pairs = same + found[0], pairs + found[1]
    assert same == expected[0]
    assert kinds(pairs) == kinds(expected[1])
    assert parts.held(0) == parts.held(1) == 0
    assert same + sum(p.expected is not None for p in expected[1]) == len(left)
