"""The benchmark on Kafka, without a broker: what it accepts as verified, and its ratios."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

from collections import Counter
from collections.abc import Callable

import msgspec
import pytest

from benchmarks.kafka_case import LOOP, STREAMFN, Case, Figures, key_of, orders
from benchmarks.kafka_report import markdown, missed, ratios, rows
from benchmarks.kafka_verify import Pair, compare, compare_state, expected, from_state

COUNT = Case("count", 10, 1)


def figures(records: int, cpu_s: float) -> Figures:
    """A run that took so much processor time."""
    return Figures(records, 1.0, cpu_s, 2.0, cpu_s * 2, 100, 5)


def inputs() -> list[Pair]:
    """Thirty orders of ten users."""
    return [(key, value) for key, value, _ in orders(10, 30)]


def counted() -> tuple[list[Pair], Counter[bytes]]:
    """The outputs that a count of the inputs must have, and the totals."""
    totals = Counter[bytes]()
    return list(expected("count", inputs(), totals)), totals


def test_orders_are_the_same_each_time() -> None:
    """Two fills give the same records, of one length."""
    assert list(orders(10, 30)) == list(orders(10, 30))
    assert {len(value) for _, value, _ in orders(200_000, 30)} == {101}


def test_count_is_checked_in_full() -> None:
    """Outputs that are as demanded pass, and their number is told."""
    wanted, totals = counted()
    assert compare("here", wanted, counted()[0]) == 30
    assert totals.total() == 30


@pytest.mark.parametrize(
    "spoil",
    [
        lambda found: found[:-1],
        lambda found: [*found, found[-1]],
        lambda found: [found[1], found[0], *found[2:]],
        lambda found: [(found[0][0], b"2"), *found[1:]],
    ],
    ids=["missing", "doubled", "out of order", "wrong"],
)
def test_spoilt_outputs_are_found(spoil: Callable[[list[Pair]], list[Pair]]) -> None:
    """One record missing, doubled, out of order or wrong is an error that says where."""
    wanted, _ = counted()
    with pytest.raises(AssertionError, match="here, output"):
        compare("here", wanted, spoil(wanted))


def test_map_and_passthrough_follow_from_the_input() -> None:
    """The map prices an order; the passthrough changes nothing."""
    assert list(expected("passthrough", inputs(), Counter())) == inputs()
    [(key, value)] = expected("map", inputs()[:1], Counter())
    assert key == inputs()[0][0]
    order = msgspec.json.decode(inputs()[0][1])
    assert msgspec.json.decode(value) == {"user": order["user"], "gross": order["amount"] * 1.2}


def test_changelog_must_fold_to_the_totals() -> None:
    """The last change of a key counts; a wrong one is named."""
    totals = Counter({key_of(1): 2})
    changes = [(key_of(1), msgspec.msgpack.encode(number)) for number in (1, 2)]
    compare_state(totals, changes, from_state)
    with pytest.raises(AssertionError, match="is 1 in the changelog, expected 2"):
        compare_state(totals, changes[:1], from_state)
    with pytest.raises(AssertionError, match="expected 0"):
        compare_state(Counter(), changes, from_state)


def test_ratios_are_of_runs_of_one_round() -> None:
    """Each round's own two runs are compared."""
    sides = {
        STREAMFN: [figures(100, 2.0), figures(100, 4.0)],
        LOOP: [figures(100, 1.0), figures(100, 3.0)],
    }
    assert ratios(sides) == [0.5, 0.75]


def test_missed_target_is_told() -> None:
    """A count under 0.6 of the loop is missed, one over it is not."""
    slow = {STREAMFN: [figures(100, 2.0)], LOOP: [figures(100, 1.0)]}
    fast = {STREAMFN: [figures(100, 1.5)], LOOP: [figures(100, 1.0)]}
    assert missed({COUNT: slow}) == ["count, 10 keys, 1 p: 0.50 of the loop, target 0.6"]
    assert missed({COUNT: fast}) == []
    assert missed({Case("map", 10, 1): slow}) == []


def test_tables_show_both_sides() -> None:
    """A row a side; the ratio stands in streamfn's."""
    sides = {STREAMFN: [figures(100, 0.002)], LOOP: [figures(100, 0.001)]}
    mine, other = rows({COUNT: sides})
    assert mine[3:] == [
        "streamfn",
        "50",
        "50 to 50",
        "0",
        "100",
        "0.50 MISSED",
        "0.50 to 0.50",
        "0.50",
    ]
    assert other[3:] == ["loop", "100", "100 to 100", "0", "100", "", "", ""]
    assert "| loop | 100 |" in markdown("title", ["a"], [other])
