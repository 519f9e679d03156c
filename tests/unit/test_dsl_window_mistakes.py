"""Mistakes in windows and suppression: at the user's line, with what to do about them."""

# Wrong programs are written against Any: else the type checkers would refuse them first.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

import streamfn as sf
from tests.unit.wrong_programs import Wrong, check

HOUR, MINUTE, NONE = timedelta(hours=1), timedelta(minutes=1), timedelta(0)

WINDOWS: list[tuple[Callable[[Wrong], Any], str, str, str]] = [
    (
        lambda p: p.grouped.window(sf.Tumbling(60)),  # type: ignore[arg-type]  # wrong  # here
        "size of Tumbling is no duration",
        "60",
        "say a timedelta",
    ),
    (
        lambda p: p.grouped.window(sf.Tumbling(NONE)),  # here
        "size of Tumbling is not positive",
        "timedelta(0)",
        "at least 1 ms",
    ),
    (
        lambda p: p.grouped.window(sf.Hopping(-HOUR, timedelta(milliseconds=1))),  # here
        "size of Hopping is not positive",
        "timedelta",
        "at least 1 ms",
    ),
    (
        lambda p: p.grouped.window(sf.Hopping(MINUTE, HOUR)),  # here
        "advance of Hopping is larger than its size",
        "3600",
        "at most the size",
    ),
    (
        lambda p: p.grouped.window(sf.Hopping(HOUR, NONE)),  # here
        "advance of Hopping is not positive",
        "timedelta(0)",
        "at least 1 ms",
    ),
    (
        lambda p: p.grouped.window(sf.Session(NONE)),  # here
        "gap of Session is not positive",
        "timedelta(0)",
        "at least 1 ms",
    ),
    (
        lambda p: p.grouped.window(sf.Sliding(-MINUTE)),  # here
        "difference of Sliding is negative",
        "timedelta",
        "timedelta(0), or more",
    ),
    (
        lambda p: p.grouped.window(sf.Tumbling(HOUR, grace=-MINUTE)),  # here
        "grace of Tumbling is negative",
        "timedelta",
        "timedelta(0), or more",
    ),
    (
        lambda p: p.grouped.window(sf.Tumbling(HOUR, idle_close=NONE)),  # here
        "idle_close of Tumbling is not positive",
        "timedelta(0)",
        "at least 1 ms",
    ),
    (
        lambda p: p.grouped.window(sf.Tumbling(HOUR, grace=MINUTE, retention=HOUR)),  # here
        "retention of Tumbling is shorter than its windows take records (size and grace)",
        "3600",
        "3660",
    ),
    (
        lambda p: p.grouped.window(sf.Sliding(HOUR, retention=HOUR)),  # here
        "retention of Sliding is shorter",
        "3600",
        "7200",
    ),
    (
        lambda p: p.grouped.window(sf.Session(HOUR, grace=MINUTE, retention=HOUR)),  # here
        "take records (gap and grace)",
        "3600",
        "3660",
    ),
    (
        lambda p: p.grouped.window(sf.Unlimited(datetime(2026, 1, 1))),  # noqa: DTZ001  # here
        "start of Unlimited is no time in a zone",
        "2026",
        "tzinfo=UTC",
    ),
    (
        lambda p: p.grouped.window(sf.Unlimited(), emit="close"),  # here
        "an unlimited window never closes",
        "emit='close'",
        "windows that close",
    ),
    (
        lambda p: p.grouped.window(sf.Unlimited()).late(),  # here
        "no record is late for an unlimited window",
        "late()",
        "windows that close",
    ),
    (
        lambda p: p.grouped.window(HOUR),  # here
        "window() needs a window",
        "3600",
        "say sf.Tumbling",
    ),
    (
        lambda p: p.grouped.window(sf.Tumbling(HOUR), emit="end"),  # here
        "emit= is unknown",
        "'end'",
        "'update'",
    ),
    (
        lambda p: p.counted(sf.Tumbling(HOUR)).suppress("end"),  # here
        "suppress does not know until when",
        "'end'",
        "'close'",
    ),
    (
        lambda p: p.table.suppress("close"),  # here
        "suppress('close') needs a table of windows",
        "'numbers-table' with keys of type str",
        "say a timedelta",
    ),
    (
        lambda p: p.grouped.window(sf.Unlimited()).count().suppress("close"),  # here
        "suppress('close') needs a table of windows",
        "Windowed[str]",
        "windows that close",
    ),
    (
        lambda p: p.counted(sf.Tumbling(HOUR)).suppress("close", max_records=5),  # here
        "would emit results that are not final",
        "when_full='emit'",
        "when_full='fail'",
    ),
    (
        lambda p: p.table.suppress(MINUTE, max_records=0),  # here
        "max_records= of suppress is no count",
        "0",
        "at least 1",
    ),
    (
        lambda p: p.table.suppress(MINUTE, when_full="drop"),  # here
        "when_full= of suppress is unknown",
        "'drop'",
        "'fail'",
    ),
    (
        lambda p: p.table.suppress(-MINUTE),  # here
        "the time of suppress is negative",
        "timedelta",
        "or more",
    ),
]


@pytest.mark.parametrize(("write", "wrong", "got", "cure"), WINDOWS)
def test_mistake(write: Callable[[Wrong], Any], wrong: str, got: str, cure: str) -> None:
    """A mistake is told at its own line, and it is the only one."""
    program = Wrong()
    write(program)
    check(program.app, wrong, got, cure)
