"""Ops that group and aggregate: of streams, of windows, of tables, of several streams at once.

Invariant: an aggregate is a text, save a count that only goes to a stream: that one is counted by
``count()`` and becomes a text there.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

import streamfn as sf
from tests.conformance.cases import Op, Window
from tests.conformance.functions import REDUCERS, of_record
from tests.conformance.made import Build, Made, key_text, milliseconds


def build_group_by_key(made: Made, op: Op) -> None:
    """By the key as it is."""
    made.grouped[op.id] = made.streams[op.in_].group_by_key()


def build_group_by(made: Made, op: Op) -> None:
    """By a new key; of a table too."""
    group_of = of_record(op.fn)
    if op.in_ in made.streams:
        made.grouped[op.id] = made.streams[op.in_].group_by(group_of, key=str, name=op.id)
        return

    def group(key: Any, value: str) -> Any:
        return group_of(key_text(key), value)

    made.regrouped[op.id] = made.tables[op.in_].group_by(group, key=str, name=op.id)


def build_window(made: Made, op: Op) -> None:
    """Windows are put on the group where it is aggregated."""
    made.windows[op.id] = op


def build_aggregate(made: Made, op: Op) -> None:
    """count, reduce or aggregate, of whatever was grouped."""
    op = op if op.op != "count" or _is_only_shown(made, op.id) else _as_aggregate(op)
    if op.in_ in made.regrouped:
        made.keep(op, _of_table(made.regrouped[op.in_], op))
    elif op.in_ in made.grouped:
        made.keep(op, _of_stream(made.grouped[op.in_], op))
    elif made.windows[op.in_].kind == "session":
        made.keep(op, _of_sessions(made, op))
    else:
        window = made.windows[op.in_]
        made.keep(op, _of_windows(made.grouped[window.in_], window, op))


def _is_only_shown(made: Made, name: str) -> bool:
    """Tell whether a count goes to streams only, so that it may be a number on the way."""
    shown = {user.id: user.op for user in made.case.users(name)}
    shared = any(op.store and op.id == name for op in made.case.ops)
    return not shared and all(
        kind == "to_stream" or (kind == "suppress" and _is_only_shown(made, user))
        for user, kind in shown.items()
    )


def _as_aggregate(op: Op) -> Op:
    """A count as an aggregate of texts."""
    return replace(op, op="aggregate", init="0", fn="count", sub_fn="uncount", merge_fn="sum")


def _of_table(group: sf.GroupedTable[Any, Any], op: Op) -> sf.Table[Any, Any]:
    if op.op == "count":
        return group.count(name=op.id)
    add, subtract = REDUCERS[op.fn], REDUCERS[op.sub_fn]
    if op.op == "reduce":
        return group.reduce(add, subtract, name=op.id)
    return group.aggregate(lambda: op.init, add, subtract, value=str, name=op.id)


def _of_stream(group: sf.Grouped[Any, Any], op: Op) -> sf.Table[Any, Any]:
    if op.op == "count":
        return group.count(name=op.id)
    if op.op == "reduce":
        return group.reduce(REDUCERS[op.fn], name=op.id)
    return group.aggregate(lambda: op.init, REDUCERS[op.fn], value=str, name=op.id)


def _of_windows(group: sf.Grouped[Any, Any], window: Op, op: Op) -> sf.Table[Any, Any]:
    windows = group.window(time_windows(window), emit=window.emit)
    if op.op == "count":
        return windows.count(name=op.id)
    if op.op == "reduce":
        return windows.reduce(REDUCERS[op.fn], name=op.id)
    return windows.aggregate(lambda: op.init, REDUCERS[op.fn], value=str, name=op.id)


def _of_sessions(made: Made, op: Op) -> sf.Table[Any, Any]:
    window = made.windows[op.in_]
    sessions = made.grouped[window.in_].window(session(window), emit=window.emit)
    if op.op == "count":
        return sessions.count(name=op.id)
    if op.op == "reduce":
        return sessions.reduce(REDUCERS[op.fn], name=op.id)
    add, merge = REDUCERS[op.fn], REDUCERS[op.merge_fn]
    return sessions.aggregate(lambda: op.init, add, merge, value=str, name=op.id)


def time_windows(
    said: Op | Window,
) -> sf.Tumbling | sf.Hopping | sf.Sliding | sf.Unlimited:
    """The windows of fixed size that a case asks for."""
    grace, size = milliseconds(said.grace or 0), milliseconds(said.size)
    kept = None if said.retention is None else milliseconds(said.retention)
    match said.kind:
        case "tumbling":
            return sf.Tumbling(size, grace=grace, retention=kept)
        case "hopping":
            advance = milliseconds(said.advance)
            return sf.Hopping(size, advance, grace=grace, retention=kept)
        case "sliding":
            return sf.Sliding(size, grace=grace, retention=kept)
        case _:
            return sf.Unlimited(datetime(1970, 1, 1, tzinfo=UTC) + milliseconds(said.start))


def session(said: Op | Window) -> sf.Session:
    """The sessions that a case asks for."""
    kept = None if said.retention is None else milliseconds(said.retention)
    grace = milliseconds(said.grace or 0)
    return sf.Session(milliseconds(said.gap), grace=grace, retention=kept)


def build_cogroup(made: Made, op: Op) -> None:
    """Several grouped streams into one aggregate."""
    first, *others = op.parts
    together = made.grouped[first.in_].cogroup(REDUCERS[first.fn])
    for part in others:
        together = together.cogroup(made.grouped[part.in_], REDUCERS[part.fn])
    if op.window is None:
        made.keep(op, together.aggregate(lambda: op.init, value=str, name=op.id))
    elif op.window.kind == "session":
        sessions, merge = together.window(session(op.window)), REDUCERS[op.merge_fn]
        made.keep(op, sessions.aggregate(lambda: op.init, merge, value=str, name=op.id))
    else:
        windows = together.window(time_windows(op.window))
        made.keep(op, windows.aggregate(lambda: op.init, value=str, name=op.id))


AGGREGATES: Mapping[str, Build] = {
    "group_by_key": build_group_by_key,
    "group_by": build_group_by,
    "window": build_window,
    "count": build_aggregate,
    "reduce": build_aggregate,
    "aggregate": build_aggregate,
    "cogroup": build_cogroup,
}
