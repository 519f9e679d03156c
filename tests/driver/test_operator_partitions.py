"""Operators over one partition and over several, on any commit interval: the same answers.

Invariant: without late records the answers to a key are the same over any number of partitions;
with late ones those of a partition are the answers to its own records alone.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any, Final

import pytest

from streamfn.connectors.partitioner import Partitioner
from streamfn.engine.operators import closing, join_sides, versioned
from streamfn.testing.driver import TestDriver
from tests.operator_families import FAMILIES, GRACES, Across, Family, Order, program
from tests.operator_models import MODELS, Answer
from tests.operator_records import (
    FLUSH,
    LEAP_FAR_MS,
    SECOND_MS,
    Sent,
    records_in_order,
    records_late,
    with_tombstones,
)

COUNT: Final = 30
WIDE: Final = 4
HUGE_MS: Final = 1_000_000
WAYS: Final = ((WIDE, 0, True), (WIDE, 50, False), (WIDE, HUGE_MS, True), (1, HUGE_MS, False))
"""Partitions, commit interval, generated or not."""

partition_of = Partitioner().partition_of


def answers(
    name: str,
    grace_s: int,
    sent: Iterable[Sent],
    way: tuple[int, int, bool] = (1, 0, True),
    *,
    flushed: bool = False,
) -> list[list[Answer]]:
    """Return the answers to these records, partition by partition."""
    partitions, interval_ms, generated = way
    ends = program(name, partitions, grace_s)
    with TestDriver(ends.app, commit_interval_ms=interval_ms, generated=generated) as driver:
        at_ms = 0
        for number, record in enumerate(sent):
            send(driver, record)
            at_ms = max(at_ms, record.at_ms)
            if interval_ms < HUGE_MS and number % 3 == 2:
                driver.advance(timedelta(milliseconds=interval_ms // 2))
        for record, partition in flushing(FAMILIES[name], at_ms, partitions) if flushed else ():
            send(driver, record, partition)
        for _ in range(6):  # as many commits as stages one behind the other, and more
            driver.advance(timedelta(milliseconds=interval_ms))
        found: list[list[Answer]] = [[] for _ in range(partitions)]
        for each in driver.read(ends.out):
            if not text_key(each.key).startswith(FLUSH):
                found[each.partition].append((each.key, each.value, each.timestamp_ms))
        return found


def send(driver: TestDriver, record: Sent, partition: int | None = None) -> None:
    """Send it, to its key's own partition if not said otherwise."""
    key, value, at_ms = record.raw
    driver.send_raw(record.topic, value, key=key, timestamp_ms=at_ms, partition=partition)


def flushing(family: Family, at_ms: int, partitions: int) -> Iterator[tuple[Sent, int]]:
    """Records that move the time of each partition on, so that nothing waits any more."""
    for _ in range(2):
        at_ms += LEAP_FAR_MS
        for topic in family.inputs:
            for partition in range(partitions):
                yield Sent(topic, f"{FLUSH}{partition}", 1, at_ms), partition


def text_key(key: Any) -> str:
    """The key without its window."""
    return str(getattr(key, "key", key))


def by_key(found: list[list[Answer]], across: Across) -> dict[Any, Any]:
    """What of the answers is the same over any number of partitions."""
    keys: dict[Any, Any] = defaultdict(list)
    for partition in found:
        for key, value, at_ms in partition:
            keys[key].append((value, at_ms))
    if across is Across.NOTHING:
        return {key: None for key in keys}
    if across is Across.LAST:
        last = {key: each[-1][0] for key, each in keys.items()}
        return {key: value for key, value in last.items() if value is not None}
    return {key: sorted(each, key=str) if across is Across.SET else each
            for key, each in keys.items()}  # fmt: skip


def chosen(name: str, seed: int, make: Callable[..., list[Sent]] = records_in_order) -> list[Sent]:
    """Choose records for a family."""
    choose = random.Random(f"{name} {seed}")
    found = make(choose, FAMILIES[name].inputs, COUNT)
    return with_tombstones(choose, found) if seed % 2 else found


@pytest.mark.parametrize("grace_s", GRACES)
@pytest.mark.parametrize("name", FAMILIES)
def test_partitions_and_commits_change_no_answer_to_a_key(name: str, grace_s: int) -> None:
    """None of the records is late; each way gives what one partition gives at once."""
    family, sent = FAMILIES[name], chosen(name, grace_s)
    flushed = family.order is Order.PARTITION
    run = partial(answers, name, grace_s, sent, flushed=flushed)
    expected = by_key(run(), family.across)
    assert expected or name == "late"
    for way in WAYS[1:]:
        assert by_key(run(way), family.across) == expected, way


BY_PARTITION: Final = [name for name, family in FAMILIES.items() if family.order is Order.PARTITION]


@pytest.mark.parametrize("grace_s", GRACES)
@pytest.mark.parametrize("name", BY_PARTITION)
def test_late_is_judged_by_the_records_of_the_partition(name: str, grace_s: int) -> None:
    """Each partition answers as if there were no other, in the same order and at the same times."""
    sent = chosen(name, grace_s, records_late)
    parts = split(sent)
    expected = [answers(name, grace_s, part)[0] if part else [] for part in parts]
    assert any(expected)
    for way in WAYS[:2]:
        assert answers(name, grace_s, sent, way) == expected, way


def split(sent: list[Sent]) -> list[list[Sent]]:
    """The records of each partition."""
    parts: list[list[Sent]] = [[] for _ in range(WIDE)]
    for record in sent:
        parts[partition_of(record.key.encode(), WIDE)].append(record)
    return parts


@pytest.mark.parametrize(("at_once", "step_ms"), [(1, 60_000), (1_000, 1)])
@pytest.mark.parametrize("name", BY_PARTITION)
def test_how_much_is_cleaned_away_changes_no_answer(
    name: str, at_once: int, step_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Little by little and late, or all that can be as soon as it can be."""
    sent = chosen(name, 3, records_late)
    expected = answers(name, 7, sent)
    monkeypatch.setattr(closing, "DELETES_MAX", at_once)
    monkeypatch.setattr(join_sides, "DELETES_MAX", at_once)
    monkeypatch.setattr(versioned, "FREED_MAX", at_once)
    if "cogroup" not in name:  # of several inputs, the steps say which windows are remembered
        monkeypatch.setattr(closing, "STEP_MS_MIN", step_ms)
    monkeypatch.setattr(join_sides, "SEGMENT_MS_MIN", step_ms)
    assert answers(name, 7, sent) == expected


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("grace_s", GRACES)
@pytest.mark.parametrize("name", MODELS)
def test_late_records_by_a_plain_model(name: str, grace_s: int, seed: int) -> None:
    """Each partition's answers are those of plain Python to its records."""
    sent = chosen(name, 2 * seed, records_late)
    expected = [[*MODELS[name](part, grace_s * SECOND_MS)] for part in split(sent)]
    assert answers(name, grace_s, sent, WAYS[seed % 3]) == expected
