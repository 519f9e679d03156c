"""Ops that join: two streams, a stream and a table, two tables, a table by a foreign key.

Invariant: which join it is follows from what the two sides are.
"""

from collections.abc import Mapping
from typing import Any

import streamfn as sf
from tests.conformance.cases import Op
from tests.conformance.functions import joined, mapper, of_record
from tests.conformance.made import Build, Made, milliseconds


def build_join(made: Made, op: Op) -> None:
    """Any join."""
    left, right = op.inputs
    if right in made.global_tables:
        made.streams[op.id] = _with_global_table(made, op, right)
    elif left in made.streams and right in made.streams:
        made.streams[op.id] = _of_streams(made, op, right)
    elif left in made.streams:
        made.streams[op.id] = _with_table(made, op, right)
    elif op.foreign_key:
        made.keep(op, _by_foreign_key(made, op, right))
    else:
        made.keep(op, _of_tables(made, op, right))


def _of_streams(made: Made, op: Op, right: str) -> sf.Stream[Any, Any]:
    stream, grace = made.streams[op.in_], milliseconds(op.grace or 0)
    within = sf.JoinWindow(milliseconds(op.before), milliseconds(op.after), grace=grace)
    joins: dict[str, Any] = {
        "inner": stream.join, "left": stream.left_join, "outer": stream.outer_join,
    }  # fmt: skip
    made_of: sf.Stream[Any, Any] = joins[op.kind](
        made.streams[right], joined, within, value=str, name=op.id
    )
    return made_of


def _with_table(made: Made, op: Op, right: str) -> sf.Stream[Any, Any]:
    stream, grace = made.streams[op.in_], None if op.grace is None else milliseconds(op.grace)
    join = stream.join if op.kind == "inner" else stream.left_join
    return join(made.tables[right], joined, grace=grace, value=str, name=op.id)


def _with_global_table(made: Made, op: Op, right: str) -> sf.Stream[Any, Any]:
    stream, on = made.streams[op.in_], of_record(op.fn)
    join = stream.join if op.kind == "inner" else stream.left_join
    return join(made.global_tables[right], joined, on=on, value=str, name=op.id)


def _of_tables(made: Made, op: Op, right: str) -> sf.Table[Any, Any]:
    table, other = made.tables[op.in_], made.tables[right]
    joins: dict[str, Any] = {
        "inner": table.join, "left": table.left_join, "outer": table.outer_join,
    }  # fmt: skip
    made_of: sf.Table[Any, Any] = joins[op.kind](
        other, joined, store=op.store, value=str, name=op.id
    )
    return made_of


def _by_foreign_key(made: Made, op: Op, right: str) -> sf.Table[Any, Any]:
    table, other = made.tables[op.in_], made.tables[right]
    join = table.join if op.kind == "inner" else table.left_join
    return join(other, joined, on=mapper(op.fn), store=op.store, value=str, name=op.id)


JOINS: Mapping[str, Build] = {"join": build_join}
