"""Builds what splits and joins the ways of records: split, merge, repartition.

Invariant: predicates are tried in the order written and a record goes one way only.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

from streamfn.dsl.endpoints import Point
from streamfn.dsl.lambdas import OF_RECORD, check_arguments
from streamfn.dsl.steps import derived_name
from streamfn.function.annotations import fits, members, said, union
from streamfn.graph.builder import Builder
from streamfn.graph.topology import (
    UNKNOWN,
    Branch,
    Merge,
    Repartition,
    Split,
)


def add_split(
    point: Point, predicates: Sequence[Callable[..., bool]], name: str | None, where: str
) -> tuple[Point, ...]:
    """Add a split with a branch a predicate and one for the rest."""
    builder = point.builder
    if not predicates:
        builder.mistake(
            where, "split has nothing to decide by", "no predicate", "pass one predicate a branch"
        )
    split = builder.claim(f"{point.base}-split", name, "split", where, salt=point.node)
    node = Split(
        name=split,
        parents=(point.node,),
        key=point.key,
        value=point.value,
        where=where,
        branches=(),
    )
    builder.add(node)
    inside = Point(builder, split, point.key, point.value, split)
    ways: list[tuple[str, Callable[..., bool] | None, bool]] = []
    points: list[Point] = []
    for predicate in (*predicates, None):
        way = _add_branch(inside, predicate, where)
        takes_key = predicate is not None and (
            check_arguments(builder, predicate, OF_RECORD, "split", where) == 2
        )
        ways.append((way, predicate, takes_key))
        points.append(Point(builder, way, point.key, point.value, point.base))
    builder.add(replace(node, branches=tuple(ways)))
    return tuple(points)


def _add_branch(inside: Point, predicate: Callable[..., bool] | None, where: str) -> str:
    derived, salt = f"{inside.base}-rest", "rest"
    if predicate is not None:
        derived, salt = derived_name(inside, "if", predicate)
    name = inside.builder.claim(derived, None, "split", where, salt=salt)
    inside.builder.add(
        Branch(name=name, parents=(inside.node,), key=inside.key, value=inside.value, where=where)
    )
    return name


def add_merge(points: Sequence[Point], name: str | None, where: str) -> Point:
    """Add a merge; its value is of any of the parents' types."""
    first, builder = points[0], points[0].builder
    keys = [point.key for point in points]
    for point in points[1:]:
        if point.builder is not builder:
            builder.mistake(
                where,
                "merge joins streams of two apps",
                f"{point.node!r} of {point.builder.application!r}",
                "merge streams of one app; pass records on through a topic",
            )
        elif not (fits(point.key, first.key) or fits(first.key, point.key)):
            builder.mistake(
                where,
                "merge joins streams whose keys differ",
                f"{said(first.key)} of {first.node!r} and {said(point.key)} of {point.node!r}",
                "bring them to one key type first: key_by(..., key=...)",
            )
    counts = Counter(point.node for point in points if point.builder is builder)
    for node, count in counts.items():
        if count > 1:
            builder.mistake(
                where,
                "merge joins a stream with itself",
                f"{node!r} {count} times",
                "pass each stream once; for copies of each record, use flat_map_values",
            )
    own = tuple(counts)
    key = UNKNOWN if UNKNOWN in keys else first.key
    value = _either([point.value for point in points])
    salt = " ".join(own)
    name = builder.claim(f"{first.base}-merge", name, "merge", where, salt=salt)
    builder.add(Merge(name=name, parents=own, key=key, value=value, where=where))
    return Point(builder, name, key, value, first.base)


def _either(values: list[object]) -> object:
    """One type for values of several; a serde stays only where it is the only one."""
    if UNKNOWN in values or all(value == values[0] for value in values):
        return UNKNOWN if UNKNOWN in values else values[0]
    return union(list(dict.fromkeys(part for value in values for part in members(value))))


def add_repartition(point: Point, partitions: int | None, name: str | None, where: str) -> Point:
    """Add a repartition."""
    check_partitions(point.builder, partitions, "repartition", where)
    name = point.builder.claim(f"{point.base}-repartition", name, "repartition", where)
    point.builder.add(
        Repartition(
            name=name,
            parents=(point.node,),
            key=point.key,
            value=point.value,
            where=where,
            partitions=partitions,
        )
    )
    return Point(point.builder, name, point.key, point.value, point.base)


def check_partitions(builder: Builder, partitions: object, what: str, where: str) -> None:
    """Report what is no count of partitions."""
    whole = isinstance(partitions, int) and not isinstance(partitions, bool)
    if partitions is not None and not (whole and cast("int", partitions) > 0):
        builder.mistake(
            where,
            f"partitions= of {what} is no count",
            repr(partitions),
            "say a number of at least 1, or leave it out",
        )
