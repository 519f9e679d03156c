"""Builds the joins of a table with another one: by the same key, or by a foreign key.

A foreign-key join is a round trip. Each left row subscribes to the right row it names, over a
repartition to the right table's key; the right side answers, now and whenever its row changes, over
a repartition back to the left key; there the answer meets the left row as it is by then. Invariant:
each of the two repartitions has a name of its own, so that changing one join renames no other.
"""

from dataclasses import replace
from types import GenericAlias
from typing import Any

from streamfn.dsl.endpoints import Point
from streamfn.dsl.joins import Joiner, check_sides
from streamfn.dsl.lambdas import OF_RECORD, answer_of, check_arguments, value_of
from streamfn.dsl.stores import asked_store
from streamfn.dsl.table_steps import add_table
from streamfn.errors import SerdeError
from streamfn.function.annotations import fits, plain_type, said
from streamfn.graph.operators import (
    ForeignKeyJoin,
    ForeignKeyLookup,
    ForeignKeySend,
    TableJoin,
)
from streamfn.graph.topology import UNKNOWN, StoreSpec
from streamfn.serde import BYTES
from streamfn.serde.foreign_keys import answer_serde, subscription_serde
from streamfn.state.keys import key_codec


def add_join(left: Point, right: object, on: Any, store: str | None, joiner: Joiner) -> Point:
    """Join a table with another one, by its key or by what ``on`` reads from its rows."""
    if not isinstance(right, Point):
        wrong, cure = f"{joiner.word} of a table joins a table", "pass a table"
        left.builder.mistake(joiner.where, wrong, repr(right), cure)
        return left
    if on is None:
        return add_key_join(left, right, store, joiner)
    return add_foreign_key_join(left, right, on, store, joiner)


def add_key_join(left: Point, right: Point, store: str | None, joiner: Joiner) -> Point:
    """Join two tables key by key."""
    builder, where = left.builder, joiner.where
    takes_key, value = joiner.takes_key(builder), joiner.result(builder)
    if not check_sides(left, right, joiner.word, where):
        right = left
    named = joiner if store is None or joiner.name else replace(joiner, name=store)
    name = named.claim(left, right.base)
    made = Point(builder, name, left.key, value, name)
    kept = asked_store(made, store, named.name, f"{joiner.word} {name!r}", where)
    builder.add(
        TableJoin(
            name=name,
            parents=(left.node, right.node),
            key=left.key,
            value=value,
            where=where,
            kind=joiner.kind,
            fn=joiner.fn,
            takes_key=takes_key,
            store=kept,
        )
    )
    return made


def add_foreign_key_join(
    left: Point, right: Point, on: Any, store: str | None, joiner: Joiner
) -> Point:
    """Join each left row with the right row that ``on`` of it names.

    The joined rows are always kept; with ``store=`` filters behind know what they were before.
    """
    builder, where = left.builder, joiner.where
    takes_key, value = joiner.takes_key(builder), joiner.result(builder)
    if right.builder is not builder:
        check_sides(left, right, joiner.word, where)
        right = left
    name = joiner.claim(left, right.base)
    known = _check_foreign(left, right, on, joiner)
    sent = _send(left, right, on, joiner, name, known)
    answers = _look_up(left, right, sent, joiner, name, known)
    builder.add(
        ForeignKeyJoin(
            name=f"{name}-joined",
            parents=(answers.node, left.node),
            key=left.key,
            value=value,
            where=where,
            kind=joiner.kind,
            fn=joiner.fn,
            takes_key=takes_key,
        )
    )
    joined = Point(builder, f"{name}-joined", left.key, value, name)
    return add_table(joined, name, where, store=store, kept=store is not None)


def _check_foreign(left: Point, right: Point, on: Any, joiner: Joiner) -> bool:
    """Report unknown or unfit types: both go through topics."""
    builder, where, word = left.builder, joiner.where, joiner.word
    answered = value_of(answer_of(on))
    if callable(on) and not fits(answered, right.key):
        builder.mistake(
            where,
            f"on= of {word} gives keys that its table does not have",
            f"{said(answered)} for {right.node!r} with keys of type {said(right.key)}",
            f"answer a {said(right.key)}",
        )
    sides = (("left", left), ("right", right))
    known = True
    for side, point in sides:
        for what, kind in (("key", point.key), ("value", point.value)):
            if plain_type(kind) is UNKNOWN:
                known = False
                builder.mistake(
                    where,
                    f"a foreign-key {word} needs to know the {what} type of its {side} table",
                    f"{point.node!r}, whose {what} type nobody says",
                    f"say {what}= where it is made",
                )
        try:
            if plain_type(point.key) is not UNKNOWN:
                key_codec(plain_type(point.key))
        except SerdeError as error:
            known = False
            cure = "use keys that a store can have"
            builder.mistake(where, f"the {side} keys of {word} cannot be stored", str(error), cure)
    return known


def _send(left: Point, right: Point, on: Any, joiner: Joiner, name: str, known: bool) -> Point:
    """Add what subscribes: foreign key → subscription."""
    builder, where = left.builder, joiner.where
    takes_key = check_arguments(builder, on, OF_RECORD, f"on= of {joiner.word}", where) == 2
    serde = subscription_serde(plain_type(left.key)) if known else BYTES
    mine = builder.claim(f"{name}-subscriptions", None, joiner.word, where)
    builder.add(
        ForeignKeySend(
            name=mine,
            parents=(left.node,),
            key=right.key,
            value=serde,
            where=where,
            on=on,
            on_takes_key=takes_key,
            kind=joiner.kind,
            left_key=plain_type(left.key),
            left_value=plain_type(left.value),
        )
    )
    return Point(builder, mine, right.key, serde, mine)


def _look_up(
    left: Point, right: Point, sent: Point, joiner: Joiner, name: str, known: bool
) -> Point:
    """Add what answers: left key → answer. It keeps who asked: (foreign key, left key)."""
    builder, where = left.builder, joiner.where
    foreign, own = plain_type(right.key), plain_type(left.key)
    pair = GenericAlias(tuple, (foreign, own))
    spec = StoreSpec(f"{name}-subscriptions", "buffer", pair, bytes, where)
    serde = answer_serde(plain_type(right.value)) if known else BYTES
    mine = builder.claim(f"{name}-answers", None, joiner.word, where)
    builder.add(
        ForeignKeyLookup(
            name=mine,
            parents=(sent.node, right.node),
            key=left.key,
            value=serde,
            where=where,
            kind=joiner.kind,
            store=builder.claim_store(spec),
            left_key=plain_type(left.key),
        )
    )
    return Point(builder, mine, left.key, serde, mine)
