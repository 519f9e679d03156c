"""Ops of streams without memory: sources, maps, filters, branches, merges, sinks.

Each takes the streams of its op's inputs and leaves its own. Invariant: the op's id is the name of
its stage, so that no two stages have one name.
"""

from collections.abc import Mapping
from typing import Any

from tests.conformance.cases import Op
from tests.conformance.functions import Text, mapper, of_record, predicate
from tests.conformance.made import Build, Made


def build_stream(made: Made, op: Op) -> None:
    """A topic as a stream."""
    made.streams[op.id] = made.app.stream(made.topic(op.topic))


def build_filter(made: Made, op: Op) -> None:
    """Keep what passes, or what does not."""
    stream = made.streams[op.in_]
    keep = stream.filter if op.op == "filter" else stream.filter_not
    made.streams[op.id] = keep(predicate(op.fn), name=op.id)


def build_map_values(made: Made, op: Op) -> None:
    """A function of the value."""
    apply = mapper(op.fn)
    made.streams[op.id] = made.streams[op.in_].map_values(apply, value=str, name=op.id)


def build_select_key(made: Made, op: Op) -> None:
    """A new key from key or value."""
    made.streams[op.id] = made.streams[op.in_].select_key(of_record(op.fn), key=str, name=op.id)


def build_map(made: Made, op: Op) -> None:
    """A function of the key, and one of the value."""
    of_key, of_value = mapper(op.key_fn), mapper(op.fn)

    def both(key: Text, value: Text) -> tuple[Any, Any]:
        return of_key(key), of_value(value)

    made.streams[op.id] = made.streams[op.in_].map(both, key=str, value=str, name=op.id)


def build_split_words(made: Made, op: Op) -> None:
    """A record a word."""

    def words(value: Text) -> list[str]:
        return [] if value is None else value.split(" ")

    stream = made.streams[op.in_].flat_map_values(words, value=str, name=op.id)
    made.streams[op.id] = stream


def build_words_to_keys(made: Made, op: Op) -> None:
    """A record a word, which is its key; the old key is its value."""

    def words(key: Any, value: Text) -> list[tuple[str, Any]]:
        return [] if value is None else [(word, key) for word in value.split(" ")]

    stream = made.streams[op.in_].flat_map(words, key=str, value=str, name=op.id)
    made.streams[op.id] = stream


def build_merge(made: Made, op: Op) -> None:
    """Several streams as one."""
    first, *others = (made.streams[name] for name in op.inputs)
    made.streams[op.id] = first.merge(*others, name=op.id)


def build_branch(made: Made, op: Op) -> None:
    """A stream a predicate, and one for the rest."""
    predicates: list[Any] = [predicate(name) for name in op.predicates]
    *ways, rest = made.streams[op.in_].split(*predicates, name=op.id)
    for number, way in enumerate(ways):
        made.streams[f"{op.id}-{number}"] = way
    if op.default:
        made.streams[f"{op.id}-default"] = rest


def build_repartition(made: Made, op: Op) -> None:
    """Through a topic."""
    made.streams[op.id] = made.streams[op.in_].repartition(name=op.id)


def build_to(made: Made, op: Op) -> None:
    """Into a topic, unless the op in front of it has written there already."""
    if op.in_ not in made.answered:
        made.streams[op.in_].to(made.topic(op.topic))


STREAMS: Mapping[str, Build] = {
    "stream": build_stream,
    "filter": build_filter,
    "filter_not": build_filter,
    "map_values": build_map_values,
    "select_key": build_select_key,
    "map": build_map,
    "split_words": build_split_words,
    "words_to_keys": build_words_to_keys,
    "merge": build_merge,
    "branch": build_branch,
    "repartition": build_repartition,
    "to": build_to,
}
