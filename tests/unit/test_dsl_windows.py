"""Windows as a program says them: what the graph keeps, what they add to names."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamfn as sf
from streamfn.dsl.durations import duration_name
from streamfn.dsl.windows import Nearness, nearness, remembered_ms, window_name, window_spec
from streamfn.graph.builder import Builder
from streamfn.graph.topology import WindowSpec
from streamfn.windowed import FOREVER_MS

SECOND, MINUTE, HOUR, DAY = (
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
)


@pytest.mark.parametrize(
    ("window", "spec", "name", "remembered"),
    [
        (sf.Tumbling(HOUR), WindowSpec("tumbling", 3_600_000, 3_600_000), "tumbling-1h", 3_600_000),
        (
            sf.Tumbling(MINUTE, grace=SECOND, retention=DAY, idle_close=HOUR),
            WindowSpec("tumbling", 60_000, 60_000, 0, 1000, 86_400_000, 3_600_000),
            "tumbling-1m",
            61_000,
        ),
        (
            sf.Hopping(HOUR, MINUTE, grace=SECOND),
            WindowSpec("hopping", 3_600_000, 60_000, grace_ms=1000),
            "hopping-1h-1m",
            3_601_000,
        ),
        (
            sf.Sliding(MINUTE, grace=SECOND),
            WindowSpec("sliding", 60_000, grace_ms=1000),
            "sliding-1m",
            121_000,
        ),
        (sf.Sliding(timedelta(0)), WindowSpec("sliding", 0), "sliding-0ms", 0),
        (
            sf.Session(MINUTE, grace=SECOND, retention=timedelta(seconds=61)),
            WindowSpec("session", 60_000, grace_ms=1000, retention_ms=61_000),
            "session-1m",
            61_000,
        ),
        (
            sf.Unlimited(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
            WindowSpec("unlimited", FOREVER_MS, start_ms=1000),
            "unlimited",
            FOREVER_MS,
        ),
    ],
)
def test_window_spec(window: object, spec: WindowSpec, name: str, remembered: int) -> None:
    """Each kind of window, as the graph keeps it."""
    found = window_spec(Builder("app", "here:1"), window, "here:1")
    assert (found, window_name(found), remembered_ms(found)) == (spec, name, remembered)


@pytest.mark.parametrize(
    ("within", "expected"),
    [
        (MINUTE, Nearness(60_000, 60_000, 0)),
        (sf.JoinWindow(MINUTE), Nearness(60_000, 60_000, 0)),
        (sf.JoinWindow(MINUTE, SECOND, grace=HOUR), Nearness(60_000, 1000, 3_600_000)),
        (sf.JoinWindow(-SECOND, MINUTE), Nearness(-1000, 60_000, 0)),
        (sf.JoinWindow(timedelta(0)), Nearness(0, 0, 0)),
        (sf.JoinWindow(-SECOND, SECOND), Nearness(-1000, 1000, 0)),
    ],
)
def test_join_window(within: object, expected: Nearness) -> None:
    """How near records must be, said by a duration or a window."""
    assert nearness(Builder("app", "here:1"), within, "here:1") == expected


@given(st.integers(0, 10**12))
def test_duration_names_are_told_apart(duration_ms: int) -> None:
    """A name says the whole duration: it can be read back."""
    units = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
    left, text = 0, duration_name(duration_ms)
    number = unit = ""
    for at, letter in enumerate(text):
        if letter.isdigit():
            number += letter
            continue
        unit += letter
        if at + 1 == len(text) or text[at + 1].isdigit():
            left += int(number) * units[unit]
            number = unit = ""
    assert left == duration_ms


def test_windows_are_plain_values() -> None:
    """A window is data: equal ones are equal, and none can be changed."""
    assert sf.Tumbling(HOUR) == sf.Tumbling(timedelta(minutes=60))
    assert sf.Tumbling(HOUR) != sf.Tumbling(HOUR, grace=SECOND)
    with pytest.raises(AttributeError):
        sf.Session(HOUR).gap = SECOND  # type: ignore[misc]  # that it cannot be set is the test
