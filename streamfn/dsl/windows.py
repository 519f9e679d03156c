"""The windows that a program can say, and what the graph keeps of them.

A window object is plain data, checked when something is windowed by it. Invariant: a mistake in one
is told at the line that uses it, and a usable ``WindowSpec`` comes out all the same, so that the
rest of the program is checked too.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from streamfn.dsl.durations import at_least, duration_name, whole_ms
from streamfn.graph.builder import Builder
from streamfn.graph.topology import WindowSpec
from streamfn.windowed import FOREVER_MS

_NONE = timedelta(0)


@dataclass(frozen=True, slots=True)
class Tumbling:
    """Windows of one size, side by side: a record is in one of them.

    ``sf.Tumbling(timedelta(hours=1))`` has the windows [0:00, 1:00), [1:00, 2:00) and so on.

    Attributes:
        size: how long each window is; its end belongs to the next one.
        grace: how much later than the newest record one may come and still be counted.
        retention: how long windows are remembered at least; else as long as they take records.
        idle_close: close windows when no record has come for so long on the wall clock; else they
            wait for the next record, as in Kafka Streams.
    """

    size: timedelta
    _: KW_ONLY
    grace: timedelta = _NONE
    retention: timedelta | None = None
    idle_close: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Hopping:
    """Windows of one size that begin at each multiple of ``advance``: they overlap.

    ``sf.Hopping(timedelta(hours=1), timedelta(minutes=15))``: each record is in four windows.
    """

    size: timedelta
    advance: timedelta
    _: KW_ONLY
    grace: timedelta = _NONE
    retention: timedelta | None = None
    idle_close: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Sliding:
    """Windows around records: all that lie at most ``difference`` apart are in one together.

    Both ends belong to a window, and there is one for each different set of records.
    """

    difference: timedelta
    _: KW_ONLY
    grace: timedelta = _NONE
    retention: timedelta | None = None
    idle_close: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """Windows of activity: records of a key at most ``gap`` apart are of one session.

    A record between two sessions makes one of them. Both ends belong to a session.
    """

    gap: timedelta
    _: KW_ONLY
    grace: timedelta = _NONE
    retention: timedelta | None = None
    idle_close: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Unlimited:
    """One window for all records from ``start`` on (else from 1970); it never closes."""

    start: datetime | None = None


@dataclass(frozen=True, slots=True)
class JoinWindow:
    """How near in time two records must be to be joined, seen from the left one.

    ``sf.JoinWindow(timedelta(minutes=5))`` is five minutes either way; with ``after`` the two sides
    differ. Either may be negative, so that the right record must lie wholly before or after.

    Attributes:
        before: how much earlier the right record may be.
        after: how much later it may be; else as much as ``before``.
        grace: how much longer an unmatched record waits for one that comes late.
    """

    before: timedelta
    after: timedelta | None = None
    _: KW_ONLY
    grace: timedelta = _NONE


Window: TypeAlias = Tumbling | Hopping | Sliding | Unlimited
"""The windows that are known before a record comes; a ``Session`` is not."""


def window_spec(builder: Builder, window: object, where: str) -> WindowSpec:
    """What the graph keeps of a window; report what is wrong with it."""
    match window:
        case Tumbling():
            size = at_least(builder, "size of Tumbling", window.size, 1, where)
            return _spec(builder, window, WindowSpec("tumbling", size, size), where)
        case Hopping():
            size = at_least(builder, "size of Hopping", window.size, 1, where)
            advance = at_least(builder, "advance of Hopping", window.advance, 1, where)
            if advance > size:
                builder.mistake(
                    where,
                    "advance of Hopping is larger than its size: records would be in no window",
                    f"{window.advance!r} and {window.size!r}",
                    "say an advance of at most the size",
                )
            return _spec(builder, window, WindowSpec("hopping", size, advance), where)
        case Sliding():
            size = at_least(builder, "difference of Sliding", window.difference, 0, where)
            return _spec(builder, window, WindowSpec("sliding", size), where)
        case Session():
            size = at_least(builder, "gap of Session", window.gap, 1, where)
            return _spec(builder, window, WindowSpec("session", size), where)
        case Unlimited():
            start_ms = _start_ms(builder, window.start, where)
            return WindowSpec("unlimited", FOREVER_MS, start_ms=start_ms)
        case _:
            builder.mistake(
                where,
                "window() needs a window",
                repr(window),
                "say sf.Tumbling, sf.Hopping, sf.Sliding, sf.Session or sf.Unlimited",
            )
            return WindowSpec("tumbling", 1, 1)


def _spec(builder: Builder, window: Any, spec: WindowSpec, where: str) -> WindowSpec:
    """Add grace, retention and idle_close, which all windows of a size have."""
    kind = type(window).__name__
    grace = at_least(builder, f"grace of {kind}", window.grace, 0, where)
    idle = window.idle_close
    idle_ms = None if idle is None else at_least(builder, f"idle_close of {kind}", idle, 1, where)
    spec = WindowSpec(
        spec.kind, spec.size_ms, spec.advance_ms, grace_ms=grace, idle_close_ms=idle_ms
    )
    if window.retention is None:
        return spec
    kept = at_least(builder, f"retention of {kind}", window.retention, 1, where)
    if kept < remembered_ms(spec):
        builder.mistake(
            where,
            f"retention of {kind} is shorter than its windows take records ({_sum(spec)})",
            repr(window.retention),
            f"say at least {timedelta(milliseconds=remembered_ms(spec))!r}, or leave it out",
        )
    return WindowSpec(
        spec.kind,
        spec.size_ms,
        spec.advance_ms,
        grace_ms=grace,
        retention_ms=kept,
        idle_close_ms=idle_ms,
    )


def remembered_ms(window: WindowSpec) -> int:
    """How long a window must be remembered because it still takes records."""
    times = 2 if window.kind == "sliding" else 1
    return times * window.size_ms + window.grace_ms


def _sum(window: WindowSpec) -> str:
    own = {"sliding": "twice the difference", "session": "gap"}.get(window.kind, "size")
    return f"{own} and grace"


def _start_ms(builder: Builder, start: object, where: str) -> int:
    if start is None:
        return 0
    if not isinstance(start, datetime) or start.tzinfo is None:
        cure = "say a datetime with a timezone: datetime(2026, 1, 1, tzinfo=UTC)"
        builder.mistake(where, "start of Unlimited is no time in a zone", repr(start), cure)
        return 0
    start_ms = (start - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    if start_ms < 0:
        cure = "say one from 1970 on"
        builder.mistake(where, "start of Unlimited is before 1970", repr(start), cure)
    return max(start_ms, 0)


def window_name(window: WindowSpec) -> str:
    """What a window adds to the names of what is made of it: ``tumbling-1h``."""
    if window.kind == "unlimited":
        return "unlimited"
    sizes = [duration_name(window.size_ms)]
    if window.kind == "hopping":
        sizes.append(duration_name(window.advance_ms))
    return "-".join([window.kind, *sizes])


@dataclass(frozen=True, slots=True)
class Nearness:
    """A ``JoinWindow`` in milliseconds."""

    before_ms: int
    after_ms: int
    grace_ms: int


def nearness(builder: Builder, within: object, where: str) -> Nearness:
    """How near joined records are; report what is wrong with it."""
    if isinstance(within, timedelta):
        within = JoinWindow(within)
    if not isinstance(within, JoinWindow):
        cure = "say within=sf.JoinWindow(...), or a timedelta for both directions"
        builder.mistake(where, "a join of two streams needs a window", repr(within), cure)
        return Nearness(0, 0, 0)
    before = whole_ms(builder, "before of JoinWindow", within.before, where)
    said = within.before if within.after is None else within.after
    after = whole_ms(builder, "after of JoinWindow", said, where)
    grace = at_least(builder, "grace of JoinWindow", within.grace, 0, where)
    if -before > after:
        builder.mistake(
            where,
            "JoinWindow ends before it begins",
            f"before={within.before!r}, after={said!r}",
            "say -before <= after, so that some record is in it",
        )
        return Nearness(0, 0, grace)
    return Nearness(before, after, grace)
