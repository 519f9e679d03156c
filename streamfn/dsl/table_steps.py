"""Builds what makes tables and what is done with them row by row.

Tables of topics and streams, their steps and groups, and the way back to a stream.
Invariant: only what has a ``store`` keeps anything; a step without one is worked out from its
parent when somebody asks.
"""

from datetime import timedelta
from typing import Any, Final, Literal

from streamfn.dsl.aggregates import aggregate_type, plus_one, starting, zero
from streamfn.dsl.durations import at_least
from streamfn.dsl.endpoints import Point
from streamfn.dsl.lambdas import (
    OF_AGGREGATE,
    OF_RECORD,
    answer_of,
    check_arguments,
    value_of,
)
from streamfn.dsl.steps import derived_name, key_type, said_type
from streamfn.dsl.stores import asked_store, store_of
from streamfn.graph.operators import Regroup, TableAggregate, TableStep, ToStream
from streamfn.graph.topology import UNKNOWN, StoreKind, TableStore
from streamfn.serde import as_serde, change_serde

TableStepKind = Literal["filter", "filter_not", "map_values", "transform_values"]


def add_table(
    point: Point,
    name: str | None,
    where: str,
    *,
    versioned: timedelta | None = None,
    store: str | None = None,
    kept: bool = True,
) -> Point:
    """Add the node that keeps the last value of each key."""
    builder = point.builder
    derived, said = f"{point.base}-table", name or store
    found, kept = builder.nodes.get(said or derived), kept or versioned is not None
    history_ms = None
    if versioned is not None:
        history_ms = at_least(builder, "versioned= of a table", versioned, 0, where)
    if (
        isinstance(found, TableStore)
        and found.parents == (point.node,)
        and (found.store.history_ms, found.kept) == (history_ms, kept)
    ):
        return Point(builder, found.name, point.key, point.value, found.name)
    name = builder.claim(derived, said, "table", where)
    kind: StoreKind = "table" if versioned is None else "versioned"
    if store in (None, said) or not builder.check_name(store, "a store", where):
        store = name
    spec = store_of(point, store, kind, f"table {name!r}", where, history_ms=history_ms)
    builder.add(
        TableStore(
            name=name,
            parents=(point.node,),
            key=point.key,
            value=point.value,
            where=where,
            store=spec,
            kept=kept,
        )
    )
    return Point(builder, name, point.key, point.value, name)


def add_table_step(
    point: Point,
    kind: TableStepKind,
    fn: Any,
    value: object,
    names: tuple[str | None, str | None],
    where: str,
) -> Point:
    """Add filter, filter_not, map_values or transform_values; ``names`` are (store, stage)."""
    builder, (store, name) = point.builder, names
    takes_key = check_arguments(builder, fn, OF_RECORD, f"{kind} of a table", where) == 2
    if kind in ("map_values", "transform_values"):
        value = said_type(builder, "value", value, value_of(answer_of(fn)), kind, where)
    else:
        value = point.value
    derived, salt = derived_name(point, kind, fn)
    said = name or store
    name = builder.claim(derived, said, kind, where, salt=salt)
    made = Point(builder, name, point.key, value, point.base)
    kept = asked_store(made, store, said, f"{kind} {name!r}", where)
    builder.add(
        TableStep(
            name=name,
            parents=(point.node,),
            key=point.key,
            value=value,
            where=where,
            kind=kind,
            fn=fn,
            takes_key=takes_key,
            store=kept,
        )
    )
    return made


def add_to_stream(point: Point, name: str | None, where: str) -> Point:
    """Add what hands on the new value of each change."""
    builder = point.builder
    name = builder.claim(f"{point.base}-stream", name, "to_stream", where, salt=point.node)
    builder.add(
        ToStream(name=name, parents=(point.node,), key=point.key, value=point.value, where=where)
    )
    return Point(builder, name, point.key, point.value, point.base)


def add_regroup(point: Point, fn: Any, key: object, name: str | None, where: str) -> Point:
    """Add what gives each row the key of its group; its changes go through a repartition topic."""
    builder = point.builder
    takes_key = check_arguments(builder, fn, OF_RECORD, "group_by of a table", where) == 2
    known, check_str = key_type(builder, fn, key, "group_by", where)
    derived, _ = derived_name(point, "key_by", fn)
    name = builder.claim(derived, name, "group_by of a table", where)
    changes = UNKNOWN if point.value is UNKNOWN else change_serde(as_serde(point.value))
    builder.add(
        Regroup(
            name=name,
            parents=(point.node,),
            key=known,
            value=changes,
            where=where,
            fn=fn,
            takes_key=takes_key,
            check_str=check_str,
        )
    )
    return Point(builder, name, known, point.value, name)


def add_table_aggregate(
    point: Point,
    what: str,
    initial: Any,
    fns: tuple[Any, Any],
    value: object,
    name: str | None,
    where: str,
) -> Point:
    """Add the aggregate of a regrouped table: it adds new rows and subtracts old ones.

    ``what`` count has functions of its own; reduce starts with the first row.
    """
    builder = point.builder
    start = None
    if what == "count":
        value, start = int, zero
    else:
        for fn in fns:
            check_arguments(builder, fn, OF_AGGREGATE, f"{what} of a table", where)
    if what == "reduce":
        value = point.value
    elif what == "aggregate":
        value = aggregate_type(builder, what, value, fns[0], initial, where)
        start = starting(builder, what, initial, value, where)
    name = builder.claim(f"{point.base}-{what}", name, what, where)
    made = Point(builder, name, point.key, value, name)
    builder.add(
        TableAggregate(
            name=name,
            parents=(point.node,),
            key=point.key,
            value=value,
            where=where,
            store=store_of(made, name, "table", f"{what} {name!r}", where),
            add=fns[0],
            subtract=fns[1],
            initial=start,
        )
    )
    return made


def minus_one(total: int, value: object) -> int:
    """Count one less."""
    return total - 1


COUNTING: Final = (plus_one, minus_one)
"""Adds and subtracts a row of a count."""
