"""Value, Map, Store and Context as a unit test uses them; maps against a plain sorted dict."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamfn as sf

KEYS = st.text("abc", max_size=2)
ENTRIES = st.dictionaries(KEYS, st.integers(), max_size=8)


def started(start: Callable[[], Any]) -> sf.Value[Any]:
    """A value as the engine hands it to a function for a new key."""
    box = sf.Value(None)
    box._start = start  # pyright: ignore[reportPrivateUsage]
    box.value = box._seed = start()  # pyright: ignore[reportPrivateUsage]
    box._state = 1  # pyright: ignore[reportPrivateUsage]
    return box


def test_value_that_exists() -> None:
    """A value made by hand is there."""
    box = sf.Value(2.5)
    box.value += 1
    assert (box.value, box.exists) == (3.5, True)
    assert repr(box) == "Value(3.5)"


def test_value_of_a_new_key() -> None:
    """A new key has its start and no entry, until it is given one."""
    box = started(lambda: 1000)
    assert (box.value, box.exists) == (1000, False)
    box.value += 1
    assert box.exists


def test_value_changed_in_place() -> None:
    """A mutable start that is changed in place is an entry too."""
    box = started(list[int])
    assert not box.exists
    box.value.append(1)
    assert box.exists


def test_value_without_equality() -> None:
    """A start that equals nothing else says nothing by being unequal."""
    assert not started(object).exists


def test_deleted_value() -> None:
    """A deleted value reads as for a new key again, and can be set again."""
    box = started(lambda: 1000)
    box.value = 1
    box.delete()
    assert (box.value, box.exists) == (1000, False)
    box.value = 2
    assert box.exists


def test_deleted_value_alone() -> None:
    """A value made by hand has no start to go back to."""
    box = sf.Value(2.5)
    box.delete()
    assert box.value is None
    assert not box.exists


@given(ENTRIES, st.none() | KEYS, st.none() | KEYS, st.booleans())
def test_ranges(entries: dict[str, int], start: str | None, end: str | None, reverse: bool) -> None:
    """Keys, values and entries of a range, in the order of the keys."""
    expected = [
        (key, entries[key])
        for key in sorted(entries, reverse=reverse)
        if (start is None or start <= key) and (end is None or key < end)
    ]
    held = sf.Map(entries)
    assert list(held.items(start=start, end=end, reverse=reverse)) == expected
    assert list(held.keys(start=start, end=end, reverse=reverse)) == [key for key, _ in expected]
    assert list(held.values(start=start, end=end, reverse=reverse)) == [v for _, v in expected]


OPERATIONS: dict[str, Callable[[Any, str, int], object]] = {
    "get": lambda held, key, value: held.get(key, value),
    "set": lambda held, key, value: held.__setitem__(key, value),
    "delete": lambda held, key, value: held.__delitem__(key) if key in held else None,
    "pop": lambda held, key, value: held.pop(key, value),
    "setdefault": lambda held, key, value: held.setdefault(key, value),
    "update": lambda held, key, value: held.update({key: value, "z": value}),
    "in": lambda held, key, value: key in held,
    "clear": lambda held, key, value: held.clear() if value == 0 else None,
}
STEPS = st.lists(st.tuples(st.sampled_from(sorted(OPERATIONS)), KEYS, st.integers(0, 9)))


@given(STEPS, st.sampled_from([sf.Map, sf.Store]))
def test_operations(steps: list[tuple[str, str, int]], kind: type[Any]) -> None:
    """A map and a store answer as a dict does."""
    held, model = kind(), dict[str, int]()
    for name, key, value in steps:
        assert OPERATIONS[name](held, key, value) == OPERATIONS[name](model, key, value)
        assert dict(held) == model
        assert list(held) == sorted(model)
        assert (len(held), bool(held)) == (len(model), bool(model))


def test_missing_keys() -> None:
    """A missing key raises as in a dict; None is a value like any other."""
    held: sf.Map[str, int | None] = sf.Map({"a": None})
    assert held.pop("a") is None
    for call in (held.pop, held.__getitem__, held.__delitem__):
        with pytest.raises(KeyError, match="a"):
            call("a")
    assert repr(held) == "Map({})"


def test_context() -> None:
    """A context made by hand has what it is given, and collects what is emitted."""
    context = sf.Context(key="AA", timestamp_ms=5, topic="flights", headers=(("a", b"b"),))
    assert (context.key, context.timestamp_ms, context.stream_time_ms) == ("AA", 5, 5)
    assert (context.topic, context.partition, context.offset) == ("flights", 0, 0)
    assert (context.headers, context.now_ms) == ((("a", b"b"),), 0)
    assert sf.Context(now_ms=3, stream_time_ms=9).stream_time_ms == 9
    assert sf.Context(now_ms=3).now_ms == 3
    context.emit(record := sf.Outgoing("delays", "AA", 1))
    assert context.emitted == [record]


def test_a_dict_is_a_lookup() -> None:
    """What a function looks up in can be a dict, a map or a store."""

    def found(lookup: sf.Lookup[str, int]) -> int | None:
        return lookup.get("a")

    assert found({"a": 1}) == found(sf.Map({"a": 1})) == found(sf.Store({"a": 1})) == 1
