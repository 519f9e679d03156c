"""Builds what splits and joins the ways of records: split, merge, repartition, to.

Invariant: predicates are tried in the order written and a record goes one way only; a record
written to a topic goes on as well.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from typing_extensions import TypeIs

from streamfn.dsl.endpoints import Point, Topic
from streamfn.dsl.lambdas import check_arguments
from streamfn.dsl.steps import derived_name, usable_type
from streamfn.function.annotations import fits, members, said, union
from streamfn.graph.builder import Builder
from streamfn.graph.topology import (
    UNKNOWN,
    Branch,
    Merge,
    Repartition,
    Sink,
    Split,
    TopicSpec,
)
from streamfn.serde import as_key_serde, as_serde


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
            check_arguments(builder, predicate, (1, 2), "split", where) == 2
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


def add_sink(
    point: Point, to: object, types: tuple[object, object], name: str | None, where: str
) -> None:
    """Write records to a topic, several, or one named by a string."""
    listed = cast("tuple[object, ...]", to) if isinstance(to, tuple) else (to,)
    specs = [_sink_topic(point, target, types, where) for target in listed]
    topics = tuple(spec for spec in specs if spec is not None)
    if not topics:
        return
    derived = f"{point.base}-to-{'-'.join(topic.name for topic in topics)}"
    name = point.builder.claim(derived, name, "to", where, salt=point.node)
    point.builder.add(
        Sink(
            name=name,
            parents=(point.node,),
            key=point.key,
            value=point.value,
            where=where,
            topics=topics,
        )
    )


def _sink_topic(
    point: Point, target: object, types: tuple[object, object], where: str
) -> TopicSpec | None:
    if isinstance(target, str):
        return _named_topic(point, target, types, where)
    what = f"to of {point.node!r}"
    spec = own_topic(point.builder, target, what, where)
    if spec is not None:
        check_sink_types(point.builder, what, (point.key, point.value), spec, where)
    return spec


def is_topic(target: object) -> TypeIs[Topic[Any, Any]]:
    """Tell a topic of any types."""
    return isinstance(target, Topic)


def own_topic(builder: Builder, target: object, what: str, where: str) -> TopicSpec | None:
    """The topic's spec; report what is no topic of this app."""
    if not is_topic(target):
        cure = "pass a topic made by app.topic, or its name"
        builder.mistake(where, f"{what} is no topic", repr(target), cure)
        return None
    if target.builder is not builder:
        got = f"topic {target.name!r} of {target.builder.application!r}"
        builder.mistake(where, f"{what} is a topic of another app", got, "declare it in this app")
    return target.spec


def check_sink_types(
    builder: Builder, what: str, given: tuple[object, object], spec: TopicSpec, where: str
) -> None:
    """Report records that evidently do not fit a topic's types."""
    for part, mine, theirs in (("key", given[0], spec.key), ("value", given[1], spec.value)):
        if not fits(mine, theirs):
            builder.mistake(
                where,
                f"{what}: the {part} does not fit topic {spec.name!r}",
                f"{said(mine)} for a topic with {part}={said(theirs)}",
                f"declare the topic with {part}={said(mine)}, or convert before it",
            )


def _named_topic(
    point: Point, name: str, types: tuple[object, object], where: str
) -> TopicSpec | None:
    builder = point.builder
    found = builder.topics.get(name)
    if found is not None:
        check_sink_types(builder, f"to of {point.node!r}", (point.key, point.value), found, where)
        return found
    known = True
    chosen: list[object] = []
    for what, given, mine in zip(("key", "value"), types, (point.key, point.value), strict=True):
        wanted = mine if given is UNKNOWN else given
        chosen.append(wanted)
        if wanted is UNKNOWN:
            known = False
            builder.mistake(
                where,
                f"the {what} type of topic {name!r} is unknown",
                f"a stream whose {what} type nobody says",
                f"say {what}= in to(), or where the {what} is made",
            )
        elif not usable_type(builder, what, wanted, f"to({name!r})", where):
            known = False
    if not known or not builder.check_name(name, "a topic", where):
        return None
    key, value = as_key_serde(chosen[0]), as_serde(chosen[1])
    return builder.declare(TopicSpec(name, key, value, where=where))
