"""Builds the aggregates of grouped streams: one node each, its functions, its store, its types.

A group is one or more streams of the same keys, maybe cut into windows. Invariant: a result of
windows has keys ``Windowed[K]``, while its store is of ``K``, for the window is in the store's
layout.
"""

import dataclasses
import inspect
import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, cast

import msgspec

from streamfn.dsl.endpoints import Point
from streamfn.dsl.lambdas import (
    OF_AGGREGATE,
    OF_NOTHING,
    OF_SESSIONS,
    answer_of,
    check_arguments,
    value_of,
)
from streamfn.dsl.steps import said_type
from streamfn.dsl.stores import store_of
from streamfn.dsl.windows import window_name, window_spec
from streamfn.errors import SerdeError
from streamfn.function.annotations import plain_type, said
from streamfn.graph.builder import Builder
from streamfn.graph.operators import Aggregate, LateRecords
from streamfn.graph.topology import UNKNOWN, StoreKind, WindowSpec
from streamfn.serde import start_from
from streamfn.windowed import Windowed

Emit = Literal["update", "close"]

_KINDS: Final[dict[str, StoreKind]] = {"sliding": "sliding", "session": "session"}
"""Store kinds by kind of window; all others are ``window``."""


@dataclass(frozen=True, slots=True)
class Group:
    """Streams grouped by key: what is aggregated, and in which windows."""

    points: tuple[Point, ...]
    window: WindowSpec | None = None
    emit: Emit = "update"

    @property
    def builder(self) -> Builder:
        """The program it belongs to."""
        return self.points[0].builder

    @property
    def base(self) -> str:
        """What the names of its aggregates begin with."""
        bases = dict.fromkeys(point.base for point in self.points)
        windows = () if self.window is None else (window_name(self.window),)
        return "-".join([*bases, *windows])

    def cut(self, window: object, emit: object, where: str) -> "Group":
        """The same group in windows."""
        builder = self.builder
        spec = window_spec(builder, window, where)
        if emit not in ("update", "close"):
            cure = "say 'update' (each change) or 'close' (each window once, when it is closed)"
            builder.mistake(where, "emit= is unknown", repr(emit), cure)
        if emit == "close" and spec.kind == "unlimited":
            cure = "leave emit= out, or say windows that close"
            builder.mistake(where, "an unlimited window never closes", "emit='close'", cure)
        return replace(self, window=spec, emit=cast("Emit", emit))


@dataclass(frozen=True, slots=True)
class Recipe:
    """How values become an aggregate."""

    what: str
    """count, reduce, aggregate or cogroup."""
    fns: tuple[Callable[[Any, Any], Any], ...]
    value: object
    initial: Callable[[], Any] | None = None
    counts: bool = False
    merge: Callable[[Any, Any], Any] | None = None


def plus_one(total: int, value: object) -> int:
    """Count one more."""
    return total + 1


def zero() -> int:
    """Where counting starts."""
    return 0


def counting(group: Group) -> Recipe:
    """Count the records."""
    return Recipe("count", (plus_one,), int, zero, counts=True, merge=_merged(group, operator.add))


def reducing(group: Group, fn: Any, where: str) -> Recipe:
    """Put the values of a key together; the first is what it starts with."""
    check_arguments(group.builder, fn, OF_AGGREGATE, "reduce", where)
    return Recipe("reduce", (fn,), group.points[0].value, merge=_merged(group, fn))


def aggregating(
    group: Group, what: str, initial: Any, fns: tuple[Any, ...], merge: Any, value: Any, where: str
) -> Recipe:
    """Aggregate from a start, a function a stream; of sessions, with what merges them."""
    builder = group.builder
    for fn in fns:
        check_arguments(builder, fn, OF_AGGREGATE, what, where)
    session = group.window is not None and group.window.kind == "session"
    if session:
        check_arguments(builder, merge, OF_SESSIONS, f"merge= of {what} of sessions", where)
    held = aggregate_type(builder, what, value, fns[0], initial, where)
    start = starting(builder, what, initial, held, where)
    return Recipe(what, fns, held, start, merge=merge if session else None)


def _merged(group: Group, fn: Any) -> Any:
    session = group.window is not None and group.window.kind == "session"
    return fn if session else None


def aggregate_type(
    builder: Builder, what: str, given: object, fn: object, initial: object, where: str
) -> object:
    """The type of an aggregate: said, annotated at its function, or that of its start."""
    annotated = value_of(answer_of(fn))
    found = said_type(builder, "value", given, annotated, what, where)
    return found if found is not UNKNOWN else _type_of_start(initial)


def _type_of_start(initial: object) -> object:
    """The type that a start evidently has; a container does not say what is in it."""
    if callable(initial):
        return _evident(value_of(answer_of(initial)))
    return _evident(type(initial))


def _evident(kind: object) -> object:
    if inspect.isclass(kind):
        plain = issubclass(kind, bool | int | float | str | bytes)
        record = issubclass(kind, msgspec.Struct) or dataclasses.is_dataclass(kind)
        told = plain or (record and not getattr(kind, "__parameters__", ()))
        return kind if told else UNKNOWN
    return kind  # an annotation, with what is in it


def starting(
    builder: Builder, what: str, initial: Any, held: object, where: str
) -> Callable[[], Any]:
    """What makes the aggregate of a new key: each gets its own."""
    if callable(initial):
        check_arguments(builder, initial, OF_NOTHING, f"initial= of {what}", where)
        return cast("Callable[[], Any]", initial)
    if initial is None:
        return _nothing
    if plain_type(held) is UNKNOWN:
        return _nothing  # that its type is unknown is a mistake of its own
    try:
        return start_from(plain_type(held), initial)
    except SerdeError as error:
        cure = f"start from a {said(held)}, or say value="
        builder.mistake(where, f"initial= of {what} is not of its type", str(error), cure)
        return _nothing


def _nothing() -> None:
    return None


def add_aggregate(group: Group, recipe: Recipe, name: str | None, where: str) -> Point:
    """Add the node and its store, which has the node's name."""
    builder, window, first = group.builder, group.window, group.points[0]
    name = builder.claim(f"{group.base}-{recipe.what}", name, recipe.what, where)
    stored = replace(first, value=recipe.value)
    kind: StoreKind = "table" if window is None else _KINDS.get(window.kind, "window")
    store = store_of(stored, name, kind, f"{recipe.what} {name!r}", where, window=window)
    builder.add(
        Aggregate(
            name=name,
            parents=tuple(point.node for point in group.points),
            key=windowed_key(first.key, window),
            value=recipe.value,
            where=where,
            store=store,
            fns=recipe.fns,
            initial=recipe.initial,
            counts=recipe.counts,
            merge=recipe.merge,
            window=window,
            emit=group.emit,
        )
    )
    return Point(builder, name, windowed_key(first.key, window), recipe.value, name)


def windowed_key(key: object, window: WindowSpec | None) -> object:
    """The type of the keys of an aggregate's results."""
    if window is None:
        return key
    plain: Any = plain_type(key)
    return UNKNOWN if plain is UNKNOWN else Windowed[plain]


def add_late(group: Group, name: str | None, where: str) -> Point:
    """Add what hands on the records that come too late for the windows."""
    (point,), window = group.points, group.window
    assert window is not None
    builder = point.builder
    if window.kind == "unlimited":
        cure = "leave it out, or say windows that close"
        builder.mistake(where, "no record is late for an unlimited window", "late()", cure)
    name = builder.claim(f"{group.base}-late", name, "late", where)
    timed = replace(point, value=int)  # it keeps its time only
    store = store_of(timed, name, "buffer", f"late {name!r}", where, window=window)
    builder.add(
        LateRecords(
            name=name,
            parents=(point.node,),
            key=point.key,
            value=point.value,
            where=where,
            store=store,
            window=window,
        )
    )
    return Point(builder, name, point.key, point.value, name)
