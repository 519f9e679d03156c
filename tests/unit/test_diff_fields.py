"""Values compared field by field: against themselves, with one change, with what is let pass."""

import copy
import math
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.errors import ConfigError
from streamfn.replay.diff.fields import (
    ABSENT,
    Rules,
    differences,
    general,
    read_json,
    read_state,
    rules,
    same,
)

NAMES = st.text("abc", min_size=1, max_size=3)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def paths(expected: object, actual: object, allowed: Rules | None = None) -> list[str]:
    """The fields that differ."""
    return [found.path for found in differences(expected, actual, allowed or Rules())]


def places(value: Any, path: str = "") -> list[tuple[str, list[Any]]]:
    """All leaves of a value: their paths as the comparison writes them, and as steps."""
    inner: list[tuple[str, Any, Any]] = []
    if isinstance(value, dict):
        named = cast("dict[str, Any]", value).items()
        inner = [(f"{path}.{name}" if path else name, name, one) for name, one in named]
    elif isinstance(value, list):
        items = enumerate(cast("Sequence[Any]", value))
        inner = [(f"{path}[{at}]", at, one) for at, one in items]
    if not inner:
        return [(path or "<value>", [])]
    return [
        (where, [step, *steps]) for way, step, one in inner for where, steps in places(one, way)
    ]


@given(VALUES)
def test_a_value_equals_itself(value: object) -> None:
    """Also with NaN in it."""
    assert paths(value, copy.deepcopy(value)) == []


@given(VALUES, st.data())
def test_one_change_is_one_field(value: Any, data: st.DataObject) -> None:
    """A leaf that is put in place of another one is found at its path, and nothing else is."""
    path, steps = data.draw(st.sampled_from(places(value)))
    changed = holder = {"value": copy.deepcopy(value)}
    at: Any = "value"
    for step in steps:
        holder, at = holder[at], step
    before, holder[at] = holder[at], "changed"
    assert paths(value, changed["value"]) == [path]
    assert paths(value, changed["value"], rules(ignore=[path])) == []
    assert before != holder[at]


@pytest.mark.parametrize(
    ("expected", "actual", "found"),
    [
        (1, 1.0, ["<value>"]),
        (True, 1, ["<value>"]),
        ({"a": None}, {}, ["a"]),
        ({"a": 1}, {"a": 1, "b": 2}, ["b"]),
        ([1, 2, 3], [1, 3], ["[1]"]),
        ([1, 3], [1, 2, 3], ["[1]"]),
        ([], [1, 2], ["[0]", "[1]"]),
        ({"legs": [{"to": "JFK"}]}, {"legs": [{"to": "EWR"}]}, ["legs[0].to"]),
        ({"a": {"b": 1}}, {"a": 1}, ["a"]),
        (-0.0, 0.0, []),
        ("1", 1, ["<value>"]),
        (ABSENT, "(absent)", ["<value>"]),
    ],
)
def test_paths(expected: object, actual: object, found: list[str]) -> None:
    """Types count, a field that is not there is no null, and lists align at both ends."""
    assert paths(expected, actual) == found


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(0, 1e3),
    st.floats(0, 1e3),
)
def test_tolerance(number: float, off: float, allowed: float) -> None:
    """Numbers count as equal exactly up to the tolerance."""
    other = number + off
    near = abs(number - other) <= allowed or number == other
    assert (paths({"x": number}, {"x": other}, rules(tolerance=[str(allowed)])) == []) == near


def test_tolerance_of_one_field() -> None:
    """A field's own tolerance comes before that for all; texts and booleans have none."""
    allowed = rules(tolerance=["0.5", "legs[].price=5"])
    before = {"price": 1.0, "legs": [{"price": 1}, {"price": 1}], "name": "a", "left": True}
    after = {"price": 2.0, "legs": [{"price": 6}, {"price": 7.0}], "name": "b", "left": 1}
    assert paths(before, after, allowed) == ["price", "legs[1].price", "name", "left"]
    assert paths(math.inf, math.inf, allowed) == []
    assert paths(math.nan, 1.0, allowed) == ["<value>"]


@pytest.mark.parametrize(
    ("pattern", "path", "scope", "holds"),
    [
        ("price", "price", "", True),
        ("price", "price.net", "", True),
        ("price", "prices", "", False),
        ("price", "offer.price", "", False),
        ("*.price", "offer.price", "", True),
        ("*.price", "price", "", True),
        ("*.price", "legs[2].price.net", "", True),
        ("*.price", "reprice", "", False),
        ("legs[].price", "legs[7].price", "", True),
        ("legs[0].price", "legs[7].price", "", True),
        ("legs", "legs[7].price", "", True),
        ("totals:price", "price", "totals", True),
        ("totals:price", "price", "other", False),
        ("<header:trace>", "<header:trace>", "", True),
        ("<timestamp>", "<timestamp>", "totals", True),
        ("a.c", "abc", "", False),
    ],
)
def test_ignored(pattern: str, path: str, scope: str, *, holds: bool) -> None:
    """A pattern means a field and what is below it, of all stages or of one."""
    assert rules(ignore=[pattern]).ignores(path, (scope,)) == holds


@pytest.mark.parametrize("text", ["much", "price=", "price=-1", "nan", "-1e-9"])
def test_no_tolerance(text: str) -> None:
    """What is no tolerance is refused with its text."""
    with pytest.raises(ConfigError, match=r"tolerance .* is no number; got .*; write 1e-9"):
        rules(tolerance=[text])


def test_no_pattern() -> None:
    """A pattern without a field is refused."""
    with pytest.raises(ConfigError, match="a field pattern is empty"):
        rules(ignore=["totals:"])


def test_bytes_are_read() -> None:
    """JSON is read as such, text as text, the rest as hexadecimal; state with its time or not."""
    assert read_json(b'{"a": 1}') == {"a": 1}
    assert read_json(b"AA") == "AA"
    assert read_json(b"\xff") == "0xff"
    assert read_state(b"\x2a") == 42
    assert read_state(b"\0\0\0\0\0\0\0\1\x2a") == 42
    assert general("a[3].b[12]") == "a[].b[]"
    assert same(float("nan"), float("nan"))
