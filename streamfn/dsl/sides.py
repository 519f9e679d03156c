"""Which join is meant: told by what the other side is, and checked against what was said of it.

Invariant: an argument that another kind of join has is reported, never ignored.
"""

from dataclasses import dataclass
from typing import Any

from typing_extensions import TypeIs

from streamfn.dsl.endpoints import Point, Source
from streamfn.dsl.global_table import GlobalTable
from streamfn.dsl.joinable_table import is_table
from streamfn.dsl.joins import Joiner, add_global_join, add_stream_join, add_table_join


@dataclass(frozen=True, slots=True)
class Sides:
    """The other side of a join, and what was said of how to join it."""

    other: object
    within: object = None
    on: Any = None
    grace: object = None


def add_join(point: Point, sides: Sides, joiner: Joiner) -> Point:
    """Join a stream with a table, a global table or another stream."""
    other = sides.other
    if is_table(other):
        _refuse(point, joiner, "a table", within=sides.within, on=sides.on)
        return add_table_join(point, other.place, sides.grace, joiner)
    if _is_global(other):
        _refuse(point, joiner, "a global table", within=sides.within, grace=sides.grace)
        return add_global_join(point, other, sides.on, joiner)
    if _is_source(other):
        _refuse(point, joiner, "another stream", on=sides.on, grace=sides.grace)
        return add_stream_join(point, other.point(joiner.where), sides.within, joiner)
    cure = "pass a table, a global table, a stream or a topic"
    point.builder.mistake(joiner.where, f"{joiner.word} has no other side", repr(other), cure)
    return point


def _is_global(other: object) -> TypeIs[GlobalTable[Any, Any]]:
    return isinstance(other, GlobalTable)


def _is_source(other: object) -> TypeIs[Source[Any, Any]]:
    return isinstance(other, Source)


def _refuse(point: Point, joiner: Joiner, side: str, **said: object) -> None:
    """Report arguments that this kind of join does not have."""
    for name, value in said.items():
        if value is not None:
            point.builder.mistake(
                joiner.where,
                f"{joiner.word} with {side} has no {name}=",
                repr(value),
                "leave it out",
            )
