"""Builds suppression: a table whose changes wait until their window is closed, or for a time.

When a window closes is said where it is aggregated, so it is looked for upstream. Invariant: a
table made of several windowed ones closes when the last of them does, as in Kafka Streams
(``GraphGraceSearchUtil``).
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, cast, get_origin

from streamfn.dsl.durations import at_least
from streamfn.dsl.endpoints import Point
from streamfn.dsl.stores import store_of
from streamfn.function.annotations import said
from streamfn.graph.builder import Builder
from streamfn.graph.operators import Aggregate, Suppress
from streamfn.graph.topology import WindowSpec
from streamfn.windowed import Windowed

WhenFull = Literal["emit", "fail"]


@dataclass(frozen=True, slots=True)
class Closing:
    """When windows close: so long after their end."""

    after_ms: int = 0
    inclusive_end: bool = False
    idle_close_ms: int | None = None


def add_suppress(
    point: Point,
    until: object,
    records_max: object,
    when_full: object,
    name: str | None,
    where: str,
) -> Point:
    """Add what holds changes back until their window is closed, or for a time."""
    builder = point.builder
    limit_ms, closes = None, Closing()
    if until == "close":
        closes = _closing(point, where)
        if records_max is not None and when_full != "fail":
            builder.mistake(
                where,
                "suppress('close') with max_records= would emit results that are not final",
                f"when_full={when_full!r}",
                "say when_full='fail', or leave max_records= out",
            )
    elif isinstance(until, timedelta):
        limit_ms = at_least(builder, "the time of suppress", until, 0, where)
    else:
        cure = "say 'close', or a timedelta for how long"
        builder.mistake(where, "suppress does not know until when", repr(until), cure)
    _check_room(builder, records_max, when_full, where)
    name = builder.claim(f"{point.base}-suppress", name, "suppress of a table", where)
    builder.add(
        Suppress(
            name=name,
            parents=(point.node,),
            key=point.key,
            value=point.value,
            where=where,
            store=store_of(point, name, "buffer", f"suppress {name!r}", where),
            limit_ms=limit_ms,
            close_after_ms=closes.after_ms,
            inclusive_end=closes.inclusive_end,
            idle_close_ms=closes.idle_close_ms,
            records_max=cast("int | None", records_max),
            when_full=cast("WhenFull", when_full),
        )
    )
    return Point(builder, name, point.key, point.value, point.base)


def _check_room(builder: Builder, records_max: object, when_full: object, where: str) -> None:
    whole = isinstance(records_max, int) and not isinstance(records_max, bool)
    if records_max is not None and not (whole and cast("int", records_max) >= 1):
        cure = "say a number of at least 1, or leave it out"
        builder.mistake(where, "max_records= of suppress is no count", repr(records_max), cure)
    if when_full not in ("emit", "fail"):
        cure = "say 'emit' (hand on the oldest early) or 'fail'"
        builder.mistake(where, "when_full= of suppress is unknown", repr(when_full), cure)


def _closing(point: Point, where: str) -> Closing:
    """When the windows of a table close; report a table that has none."""
    windows = _windows(point.builder, point.node)
    if get_origin(point.key) is not Windowed or not windows:
        point.builder.mistake(
            where,
            "suppress('close') needs a table of windows",
            f"{point.node!r} with keys of type {said(point.key)}",
            "aggregate in windows that close: group_by(...).window(...); or say a timedelta",
        )
        return Closing()
    idle = [window.idle_close_ms for window in windows]
    idle_ms = max((each for each in idle if each is not None), default=None)
    return Closing(
        max(_after_ms(window) for window in windows),
        any(window.kind in ("sliding", "session") for window in windows),
        None if None in idle else idle_ms,
    )


def _after_ms(window: WindowSpec) -> int:
    return window.grace_ms + (window.size_ms if window.kind == "session" else 0)


def _windows(builder: Builder, name: str) -> list[WindowSpec]:
    """The windows that a node's rows come from; none if one of its parents has none."""
    node = builder.nodes[name]
    if isinstance(node, Aggregate) and node.window is not None:
        return [node.window] if node.window.kind != "unlimited" else []
    found = [_windows(builder, parent) for parent in node.parents]
    return [window for windows in found for window in windows] if all(found) else []
