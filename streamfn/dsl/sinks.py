"""Builds what writes records to topics: one, several, one named by text, or one chosen by record.

Invariant: a record written to a topic goes on as well, and what evidently does not fit its topic is
told at the line that writes it.
"""

from collections.abc import Callable
from typing import Any, cast

from typing_extensions import TypeIs

from streamfn.dsl.endpoints import Point, Topic
from streamfn.dsl.lambdas import OF_RECORD, check_arguments
from streamfn.dsl.steps import derived_name, usable_type
from streamfn.function.annotations import fits, said
from streamfn.graph.builder import Builder
from streamfn.graph.topology import UNKNOWN, Sink, TopicSpec
from streamfn.serde import as_key_serde, as_serde, bound


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
    key, value = (
        bound(as_key_serde(chosen[0]), name, key=True),
        bound(as_serde(chosen[1]), name, key=False),
    )
    return builder.declare(TopicSpec(name, key, value, where=where))


def add_chosen_sink(
    point: Point, choose: Any, topics: object, name: str | None, where: str
) -> None:
    """Write each record to the topic that a function answers, or names, for it.

    Without ``topics`` it may be any; one that is not declared has the types of the stream.
    """
    builder = point.builder
    takes_key = check_arguments(builder, choose, OF_RECORD, "to", where) == 2
    listed = cast("tuple[object, ...]", topics) if isinstance(topics, tuple) else ()
    if topics is not None and not listed:
        got, cure = f"{topics!r}", "say topics=(one, other), or leave it out"
        builder.mistake(where, "topics= of to() is no tuple of topics", got, cure)
    specs = [_sink_topic(point, target, (UNKNOWN, UNKNOWN), where) for target in listed]
    derived, salt = derived_name(point, "to", choose)
    name = builder.claim(derived, name, "to", where, salt=salt)
    builder.add(
        Sink(
            name=name,
            parents=(point.node,),
            key=point.key,
            value=point.value,
            where=where,
            topics=tuple(spec for spec in specs if spec is not None),
            choose=choose if takes_key else _of_value(choose),
        )
    )


def _of_value(choose: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda key, value: choose(value)
