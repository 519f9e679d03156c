"""What assertions say of lists of records, and what makes a line and a file name of a snapshot."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamfn as sf
from streamfn.errors import SerdeError
from streamfn.testing.explain import (
    Facts,
    compare,
    explain_records,
    explained,
    line_of,
    plain,
    summary,
    time_text,
)
from streamfn.testing.snapshot_files import NAME_LENGTH_MAX, safe
from streamfn.testing.snapshots import lines_of

TEXT = st.text(st.characters(exclude_categories=[]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def facts(number: int, partition: int = 0) -> Facts:
    """A record of its own."""
    return {
        "topic": "totals",
        "partition": partition,
        "time": time_text(1000 * number),
        "key": f"k{number}",
        "value": {"n": number, "legs": [{"of": number}]},
    }


@st.composite
def records(draw: st.DrawFn) -> list[Facts]:
    """Some records of two partitions, all different."""
    numbers = draw(st.lists(st.integers(0, 99), min_size=1, max_size=30, unique=True))
    return [facts(number, number % 2) for number in numbers]


@given(records(), st.data())
def test_one_change_is_one_difference(before: list[Facts], data: st.DataObject) -> None:
    """A record that is lacking, new or changed is named alone, from either side."""
    assert compare(before, before) == []
    at = data.draw(st.integers(0, len(before) - 1))
    lacking = [*before[:at], *before[at + 1 :]]
    (found,) = compare(before, lacking)
    assert (found.kind, found.expected, found.actual) == ("missing", at, None)
    (found,) = compare(lacking, before)
    assert (found.kind, found.expected, found.actual) == ("extra", None, at)
    changed = {**before[at], "value": {"n": 100, "legs": [{"of": -1}]}}
    (found,) = compare(before, [*before[:at], changed, *before[at + 1 :]])
    assert (found.kind, found.expected, found.actual) == ("changed", at, at)
    assert [field.path for field in found.fields] == ["value.n", "value.legs[0].of"]


def test_moved_record_is_out_of_order() -> None:
    """It is told where it was expected."""
    before = [facts(number) for number in range(4)]
    after = [before[0], before[2], before[3], before[1]]
    found = compare(before, after)
    assert summary(found) == "1 reordered"
    said = list(explained(found, before, after, noun="line", first=2))
    assert said[0].startswith('line 5, totals[0] key "k1" at 1970')
    assert said[0].endswith(": out of order, expected at 3")
    assert any("~    5" in line for line in said)


def test_long_values_and_many_fields_are_cut() -> None:
    """A message never becomes a wall."""
    before = {**facts(1), "value": {str(n): n for n in range(50)} | {"long": "x" * 500}}
    after = {**before, "value": {str(n): -n - 1 for n in range(50)} | {"long": "y" * 500}}
    said = list(explained(compare([before], [after]), [before], [after], noun="record"))
    assert said[-1].strip() == "… and 46 more fields"
    assert len(said) == 7
    gone = list(explained(compare([before], []), [before], [], noun="record"))
    assert all(len(line) <= 120 for line in said + gone)


@given(JSON)
def test_facts_are_one_line(value: Any) -> None:
    """A line holds all of it, can be written to a file, and is one line."""
    line = line_of({"value": plain(value)})
    assert "\n" not in line
    assert line.encode()
    assert json.loads(line) == {"value": value}


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_times_are_read_back(timestamp_ms: int) -> None:
    """To the millisecond, in UTC."""
    text = time_text(timestamp_ms)
    assert isinstance(text, str)
    moment = datetime.fromisoformat(text)
    assert moment.tzinfo == UTC
    assert round(moment.timestamp() * 1000) == timestamp_ms


def test_odd_times_stay_numbers() -> None:
    """Those that no calendar has; they can be compared too."""
    assert time_text(10**18) == 10**18
    before, after = {**facts(1), "time": 10**18}, {**facts(1), "time": "never"}
    (found,) = compare([before], [after])
    assert [field.path for field in found.fields] == ["time"]


def test_values_are_shown_the_same_each_time() -> None:
    """Sets in order, bytes as text or base64; what JSON has nothing for is refused."""
    assert plain({"b": {3, 1, 2}, "a": 1}) == {"a": 1, "b": [1, 2, 3]}
    assert list(plain({"b": 1, "a": 1})) == ["a", "b"]
    assert line_of([b"text", b"\xff"]) == '["text", {"base64": "/w=="}]'
    with pytest.raises(SerdeError, match="does not encode"):
        plain(object())


@given(TEXT | st.text("ab/ :[]", min_size=1, max_size=200), TEXT)
def test_file_names_are_safe_and_distinct(one: str, other: str) -> None:
    """Any name of a test makes a file's name, and no two the same."""
    assert re.fullmatch(r"[\w.,=+@\[\]-]*", safe(one), re.ASCII)
    assert len(safe(one)) <= NAME_LENGTH_MAX + 9
    assert (safe(one) == safe(other)) == (one == other)


@given(st.integers(0, 8), st.integers(0, 30))
def test_each_record_is_in_a_line_or_a_sum(first: int, count: int) -> None:
    """A change anywhere changes the lines."""
    rows = [facts(number) for number in range(count)]
    lines = list(lines_of([("topic", "totals", rows)], first))
    assert lines[:first] == [line_of(row) for row in rows[:first]]
    assert len(lines) == min(first, count) + (count > first)
    for at in range(count):
        changed = [*rows[:at], {**rows[at], "key": None}, *rows[at + 1 :]]
        assert list(lines_of([("topic", "totals", changed)], first)) != lines


class Spent(msgspec.Struct):
    """A value with fields."""

    amount: float
    orders: int = 1


def record(amount: float, offset: int = -1, **other: Any) -> sf.Record[str, Any]:
    """A record as a test writes it."""
    return sf.Record("ann", Spent(amount), int(amount), "totals", 0, offset, **other)


def test_records_are_explained() -> None:
    """Fields first; offsets only where nothing else differs, then types, then headers."""
    said = explain_records([record(1, 0), record(3, 1)], [record(1), record(2), record(3)])
    assert said[0] == "records differ: 1 missing (expected 3, got 2)"
    assert said[1].endswith('totals[0] key "ann" at 1970-01-01T00:00:00.002Z: missing')
    said = explain_records([record(1, 0)], [record(1, 4)])
    assert said[2:] == ["    offset: 4 → 0"]
    said = explain_records([record(1)], [record(1, headers=(("who", b"me"),))])
    assert said[2].startswith('    headers: [["who", "me"]] → (absent)')
    other = sf.Record("ann", {"amount": 1.0, "orders": 1}, 1, "totals")
    assert explain_records([record(1.0)], [other])[0].startswith(
        "records differ: in their types only"
    )
    strange = sf.Record("ann", object(), 1, "totals")
    assert "<object object" in "\n".join(explain_records([strange], [record(1)]))
