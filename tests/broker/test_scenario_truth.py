"""The checks of the scenarios see what they must see: each kind of damage fails them."""

from collections.abc import Callable

import pytest

from tests.broker.reader import Seen
from tests.broker.truth import (
    billed,
    by_key,
    check_at_least,
    check_counts,
    check_regrouped,
    check_same,
    counted,
    ticked,
)

INPUTS = [
    Seen(number % 2, number // 2, f"k{number % 2}", f"{'red' if number % 3 else 'blue'} {number}",
         1_000 + 400 * number, {})
    for number in range(12)
]  # fmt: skip


def answers(values: dict[str, list[str]]) -> list[Seen]:
    """Make records of answers, key by key."""
    return [
        Seen(0, offset, key, value, 0, {})
        for key, each in values.items()
        for offset, value in enumerate(each)
    ]


def lost(records: list[Seen]) -> list[Seen]:
    """One record less."""
    return records[:3] + records[4:]


def doubled(records: list[Seen]) -> list[Seen]:
    """One record twice."""
    return [*records[:4], records[3], *records[4:]]


def swapped(records: list[Seen]) -> list[Seen]:
    """Two records of a key out of order."""
    return [records[1], records[0], *records[2:]]


def moved(records: list[Seen]) -> list[Seen]:
    """A record in another partition than the rest of its key."""
    return [*records[:-1], records[-1]._replace(partition=1)]


DAMAGES = [lost, doubled, swapped, moved]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_of_counts_is_seen(damage: Callable[[list[Seen]], list[Seen]]) -> None:
    """What is whole passes; what is lost, doubled or out of order does not."""
    outputs = answers(counted(INPUTS))
    check_counts(INPUTS, outputs)
    with pytest.raises(AssertionError):
        check_counts(INPUTS, damage(outputs))


def test_at_least_once_may_double_and_not_lose() -> None:
    """A double is allowed there, a loss is not."""
    outputs = answers(counted(INPUTS))
    check_at_least(INPUTS, doubled(outputs))
    with pytest.raises(AssertionError):
        check_at_least(INPUTS, lost(outputs))


def regrouped() -> tuple[list[Seen], dict[str, list[str]]]:
    """What a right run behind a repartition leaves."""
    lists: dict[str, list[str]] = {}
    for record in INPUTS:
        lists.setdefault(str(record.value).split()[0], []).append(str(record.value))
    made = {
        word: [f"{number} {value}" for number, value in enumerate(values, 1)]
        for word, values in lists.items()
    }
    return answers(made), lists


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_behind_a_repartition_is_seen(damage: Callable[[list[Seen]], list[Seen]]) -> None:
    """Also if the lists in the state are damaged with the answers."""
    outputs, lists = regrouped()
    check_regrouped(INPUTS, outputs, lists)
    with pytest.raises(AssertionError):
        check_regrouped(INPUTS, damage(outputs), lists)
    values = {word: lists[word][::-1] for word in lists}
    renumbered = {
        word: [f"{n} {value}" for n, value in enumerate(values[word], 1)] for word in values
    }
    with pytest.raises(AssertionError):
        check_regrouped(INPUTS, answers(renumbered), values)


def test_prices_are_those_of_the_time() -> None:
    """A price counts from its time on, until the next or its deletion."""
    prices = [
        Seen(0, 0, "k0", "10", 1_500, {}),
        Seen(0, 1, "k0", None, 2_500, {}),
    ]
    found = billed(prices, [record for record in INPUTS if record.key == "k0"])["k0"]
    assert [bill.partition(" at ")[2] for bill in found[:4]] == ["None", "10", "None", "None"]


def test_ticks_come_with_the_records_that_pass_a_second() -> None:
    """First at the first record, then once for whatever leap."""
    inputs = [
        Seen(0, n, "k", "n", at_ms, {}) for n, at_ms in enumerate((10, 20, 1_000, 900, 5_500))
    ]
    assert ticked(inputs) == {"p0": ["1", "3", "5"]}


def test_keys_are_compared_whole() -> None:
    """A key too many or too few is seen as well."""
    assert by_key(INPUTS).keys() == {"k0", "k1"}
    for found in ({"a": ["1"]}, {"a": ["1"], "b": ["1"], "c": ["1"]}):
        with pytest.raises(AssertionError):
            check_same(found, {"a": ["1"], "b": ["1"]})
