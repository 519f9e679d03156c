"""What a program must have answered, worked out from its input alone.

Records come from plain readers; nothing here knows the engine. Invariant: a check compares whole
lists, so that one record missing, doubled or out of order in its key cannot hide.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from tests.broker.programs import TICK_MS
from tests.broker.reader import Reader, Seen


def by_key(records: Iterable[Seen]) -> dict[str, list[str]]:
    """The values of each key in the order of the log; a key must stay in one partition."""
    found, places = defaultdict[str, list[str]](list), dict[str, int]()
    for record in records:
        assert places.setdefault(record.key, record.partition) == record.partition, record
        found[record.key].append(str(record.value))
    return dict(found)


def check_same(found: Mapping[str, Sequence[str]], expected: Mapping[str, Sequence[str]]) -> None:
    """Compare lists by key, and say of the first that differs what is missing, twice or moved."""
    for key in sorted({*found, *expected}):
        have, want = list(found.get(key, ())), list(expected.get(key, ()))
        if have == want:
            continue
        missing, more = Counter(want) - Counter(have), Counter(have) - Counter(want)
        at = next((n for n, pair in enumerate(zip(have, want, strict=False)) if pair[0] != pair[1]),
                  min(len(have), len(want)))  # fmt: skip
        message = (
            f"key {key!r} has {len(have)} of {len(want)} answers; "
            f"missing {list(missing)[:5]} ({missing.total()}), "
            f"too many {list(more)[:5]} ({more.total()}); first difference at {at}: "
            f"{have[max(0, at - 2) : at + 3]} for {want[max(0, at - 2) : at + 3]}"
        )
        raise AssertionError(message)


def counted(inputs: Iterable[Seen]) -> dict[str, list[str]]:
    """What ``counting`` answers: how many, and the record."""
    return {
        key: [f"{number} {value}" for number, value in enumerate(values, 1)]
        for key, values in by_key(inputs).items()
    }


def check_counts(inputs: Iterable[Seen], outputs: Iterable[Seen]) -> None:
    """Each record is answered once, in the order of its key."""
    check_same(by_key(outputs), counted(inputs))


def check_at_least(inputs: Iterable[Seen], outputs: Iterable[Seen]) -> None:
    """Each record is answered at least once, and first answers come in the order of the key."""
    seen = {
        key: list(dict.fromkeys(value.partition(" ")[2] for value in values))
        for key, values in by_key(outputs).items()
    }
    check_same(seen, by_key(inputs))


def folded(changelog: Reader, *, of_table: bool = False) -> dict[str, Any]:
    """What a changelog holds at its end: the last value of each key, tombstones left out.

    A table's values stand behind the time of their record.
    """
    changelog.to_end()
    start = 8 if of_table else 0
    return {
        key.decode(): msgspec.msgpack.decode(value[start:])
        for entries in changelog.raw.values()
        for key, value in entries.items()
        if value is not None
    }


def check_regrouped(
    inputs: Sequence[Seen], outputs: Sequence[Seen], lists: Mapping[str, list[str]]
) -> None:
    """Behind a repartition: each record once; the order of each input partition is kept.

    The counts of a word rise by one, and the list that is kept for it is what was answered, record
    by record: each list ever committed was a prefix of it.
    """
    answered = by_key(outputs)
    for word, values in answered.items():
        heads = [int(value.partition(" ")[0]) for value in values]
        assert heads == list(range(1, len(values) + 1)), (word, heads[:50])
        assert lists[word] == [value.partition(" ")[2] for value in values], word
    assert lists.keys() == answered.keys()
    partition_of = {str(record.value): record.partition for record in inputs}
    expected, found = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for record in inputs:
        value = str(record.value)
        expected[f"{value.split()[0]} from {record.partition}"].append(value)
    for word, values in lists.items():
        for value in values:
            found[f"{word} from {partition_of[value]}"].append(value)
    check_same(found, expected)


def billed(prices: Sequence[Seen], orders: Sequence[Seen]) -> dict[str, list[str]]:
    """What ``looking_up`` answers: inputs merged by (timestamp, topic), prices' name first or not.

    Timestamps differ between the two topics, so the name does not matter.
    """
    answers = defaultdict[str, list[str]](list)
    merged = [(r.timestamp_ms, 0, r) for r in prices] + [(r.timestamp_ms, 1, r) for r in orders]
    table = dict[str, str | None]()
    for _, kind, record in sorted(merged, key=lambda each: each[:2]):
        if kind == 0:
            table[record.key] = record.value
        else:
            answers[record.key].append(f"{record.value} at {table.get(record.key)}")
    return dict(answers)


def ticked(inputs: Sequence[Seen]) -> dict[str, list[str]]:
    """What ``ticking`` answers: a sum each time that stream time passes a full second."""
    answers = defaultdict[str, list[str]](list)
    now, counts = dict[int, int](), Counter[int]()
    for record in inputs:
        partition, before = record.partition, now.get(record.partition, -1)
        counts[partition] += 1
        now[partition] = after = max(before, record.timestamp_ms)
        due = 0 if before < 0 else (before // TICK_MS + 1) * TICK_MS
        if after >= due:
            answers[f"p{partition}"].append(str(counts[partition]))
    return dict(answers)
