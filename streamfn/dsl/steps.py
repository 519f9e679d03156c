"""Builds the stateless operators of a stream: one ``Step`` node each, its types and its name.

Invariant: a step that changes the key has a name that only the user can change (it names a
repartition topic); the others may be told apart by a hash, since nothing outlives them.
"""

from collections.abc import Callable
from typing import Any

from streamfn.dsl.endpoints import Point
from streamfn.dsl.lambdas import (
    OF_PAIR,
    OF_RECORD,
    answer_of,
    check_arguments,
    item_of,
    pair_of,
    value_of,
)
from streamfn.errors import SerdeError
from streamfn.function.annotations import fits, said
from streamfn.graph.builder import Builder
from streamfn.graph.naming import fingerprint, touched
from streamfn.graph.topology import KEY_CHANGING, UNKNOWN, Step, StepKind
from streamfn.serde import as_key_serde, as_serde


def keeping_step(point: Point, kind: StepKind, fn: Any, name: str | None, where: str) -> Point:
    """Add filter, filter_not or peek: key and value stay as they are."""
    takes_key = check_arguments(point.builder, fn, OF_RECORD, kind, where) == 2
    return _add(point, kind, fn, name, where, takes_key=takes_key)


def value_step(
    point: Point, kind: StepKind, fn: Any, value: object, name: str | None, where: str
) -> Point:
    """Add map_values or flat_map_values: the key stays, the value's type is said or annotated."""
    takes_key = check_arguments(point.builder, fn, OF_RECORD, kind, where) == 2
    annotated = answer_of(fn)
    annotated = value_of(item_of(annotated) if kind == "flat_map_values" else annotated)
    value = said_type(point.builder, "value", value, annotated, kind, where)
    return _add(point, kind, fn, name, where, value=value, takes_key=takes_key)


def pair_step(
    point: Point,
    kind: StepKind,
    fn: Any,
    types: tuple[object, object],
    name: str | None,
    where: str,
) -> Point:
    """Add map or flat_map: both types are said, or annotated as tuple[K, V]."""
    check_arguments(point.builder, fn, OF_PAIR, kind, where)
    answer = answer_of(fn)
    annotated = pair_of(item_of(answer) if kind == "flat_map" else answer)
    key = said_type(point.builder, "key", types[0], annotated[0], kind, where)
    value = said_type(point.builder, "value", types[1], annotated[1], kind, where)
    return _add(point, kind, fn, name, where, key=key, value=value, takes_key=True)


def key_step(
    point: Point, fn: Any, key: object, name: str | None, where: str, called: str = "key_by"
) -> Point:
    """Add key_by, or group_by: they give the record a key."""
    takes_key = check_arguments(point.builder, fn, OF_RECORD, called, where) == 2
    known, check_str = key_type(point.builder, fn, key, called, where)
    return _add(
        point, "key_by", fn, name, where, key=known, takes_key=takes_key, check_str=check_str
    )


def key_type(
    builder: Builder, fn: object, key: object, called: str, where: str
) -> tuple[object, bool]:
    """The type of the keys that a function gives: said or annotated, else str, to be checked."""
    annotated = value_of(answer_of(fn))
    if key is UNKNOWN and annotated is UNKNOWN:
        return str, True
    return said_type(builder, "key", key, annotated, called, where), False


def said_type(
    builder: Builder, what: str, given: object, annotated: object, kind: str, where: str
) -> object:
    """The type given by key= or value=, else the annotated one; report what contradicts."""
    if given is UNKNOWN:
        return annotated
    if not usable_type(builder, what, given, kind, where):
        return UNKNOWN
    if not fits(annotated, given):
        builder.mistake(
            where,
            f"{what}= of {kind} contradicts its function's annotation",
            f"{what}={said(given)}, a function that answers {said(annotated)}",
            "say the same type in both, or leave one out",
        )
    return given


def usable_type(builder: Builder, what: str, given: object, kind: str, where: str) -> bool:
    """Report a type that no serde can carry."""
    try:
        (as_key_serde if what == "key" else as_serde)(given)
    except SerdeError as error:
        builder.mistake(
            where, f"{what}= of {kind} cannot go through a topic", str(error), "say another type"
        )
        return False
    return True


def _add(
    point: Point,
    kind: StepKind,
    fn: Callable[..., Any],
    name: str | None,
    where: str,
    *,
    key: object = None,
    value: object = None,
    takes_key: bool = False,
    check_str: bool = False,
) -> Point:
    """Add the node; a type of None is the upstream's."""
    changes_key = kind in KEY_CHANGING
    key = point.key if key is None else key
    value = point.value if value is None else value
    derived, salt = derived_name(point, kind, fn)
    name = point.builder.claim(derived, name, kind, where, salt=None if changes_key else salt)
    point.builder.add(
        Step(
            name=name,
            parents=(point.node,),
            key=key,
            value=value,
            where=where,
            kind=kind,
            fn=fn,
            takes_key=takes_key,
            check_str=check_str,
        )
    )
    return Point(point.builder, name, key, value, name if changes_key else point.base)


def derived_name(point: Point, kind: str, fn: object) -> tuple[str, str]:
    """The name a step derives from its function, and what tells it apart from one like it."""
    if not callable(fn):
        return f"{point.base}-{kind}", point.node
    joint = "by" if kind == "key_by" else kind
    return f"{point.base}-{joint}-{touched(fn)}", f"{point.node} {fingerprint(fn)}"
