"""Builds the joins of a stream: with another stream, with a table, with a global table.

Invariant: a join's stores are named after the join (``-left``, ``-right``, ``-unmatched``,
``-buffer``), and the join after what it joins.
"""

from dataclasses import dataclass
from typing import Any, Final

from streamfn.dsl.durations import whole_ms
from streamfn.dsl.endpoints import Point
from streamfn.dsl.global_table import GlobalTable
from streamfn.dsl.lambdas import OF_RECORD, OF_SIDES, answer_of, check_arguments, value_of
from streamfn.dsl.steps import said_type
from streamfn.dsl.stores import store_of
from streamfn.dsl.windows import nearness
from streamfn.errors import SerdeError
from streamfn.function.annotations import fits, said
from streamfn.graph.builder import Builder
from streamfn.graph.operators import GlobalJoin, JoinKind, StreamJoin, StreamTableJoin, TableStep
from streamfn.graph.topology import StoreSpec, TableStore
from streamfn.serde import as_key_serde

WORDS: Final[dict[JoinKind, str]] = {
    "inner": "join",
    "left": "left_join",
    "outer": "outer_join",
}


@dataclass(frozen=True, slots=True)
class Joiner:
    """What is said of any join: its kind, its function, the type of its results, its name."""

    kind: JoinKind
    fn: Any
    value: object
    name: str | None
    where: str

    @property
    def word(self) -> str:
        """What the user wrote."""
        return WORDS[self.kind]

    def takes_key(self, builder: Builder) -> bool:
        """Tell whether the function takes the key; report one that takes something else."""
        return check_arguments(builder, self.fn, OF_SIDES, self.word, self.where) == 3

    def result(self, builder: Builder) -> object:
        """The type of the results: said or annotated."""
        annotated = value_of(answer_of(self.fn))
        return said_type(builder, "value", self.value, annotated, self.word, self.where)

    def claim(self, left: Point, right: str) -> str:
        """Claim the join's name."""
        derived = f"{left.base}-{self.word}-{right}"
        what = f"{self.word} with {right!r}"
        return left.builder.claim(derived, self.name, what, self.where)


def check_sides(left: Point, right: Point, word: str, where: str) -> bool:
    """Report what cannot be joined: parts of two apps, or of keys that differ."""
    builder = left.builder
    if right.builder is not builder:
        builder.mistake(
            where,
            f"{word} joins parts of two apps",
            f"{right.node!r} of {right.builder.application!r}",
            "join what is of one app; pass records on through a topic",
        )
        return False
    if not (fits(left.key, right.key) or fits(right.key, left.key)):
        builder.mistake(
            where,
            f"{word} joins keys that differ",
            f"{said(left.key)} of {left.node!r} and {said(right.key)} of {right.node!r}",
            "bring them to one key type first: key_by(..., key=...)",
        )
    elif _form(left.key) != _form(right.key):
        builder.mistake(
            where,
            f"{word} joins keys that are written differently, and so are in other partitions",
            f"{_form(left.key)} of {left.node!r} and {_form(right.key)} of {right.node!r}",
            f"write one anew: key_by(lambda key, value: key, key={said(left.key)})",
        )
    return True


def _form(key: object) -> str:
    """How keys are written, as far as it decides on their partition."""
    try:
        serde = as_key_serde(key)
    except SerdeError:
        return ""  # unknown, or a mistake of its own
    return serde.name.partition("[")[0] if serde.hashed is None else ""


def add_stream_join(left: Point, right: Point, within: object, joiner: Joiner) -> Point:
    """Join records of two streams whose keys are equal and whose times are near."""
    builder, where = left.builder, joiner.where
    window = nearness(builder, within, where)
    takes_key, value = joiner.takes_key(builder), joiner.result(builder)
    if not check_sides(left, right, joiner.word, where):
        right = left
    name = joiner.claim(left, right.base)
    what = f"{joiner.word} {name!r}"
    sides: list[StoreSpec] = []
    for side, point in (("left", left), ("right", right)):
        sides.append(store_of(point, f"{name}-{side}", "buffer", f"the {side} of {what}", where))
    unmatched = StoreSpec(f"{name}-unmatched", "buffer", sides[0].key, bytes, where)
    builder.add(
        StreamJoin(
            name=name,
            parents=(left.node, right.node),
            key=left.key,
            value=value,
            where=where,
            kind=joiner.kind,
            fn=joiner.fn,
            takes_key=takes_key,
            left=sides[0],
            right=sides[1],
            unmatched=unmatched if joiner.kind == "inner" else builder.claim_store(unmatched),
            before_ms=window.before_ms,
            after_ms=window.after_ms,
            grace_ms=window.grace_ms,
        )
    )
    return Point(builder, name, left.key, value, name)


def add_table_join(left: Point, table: Point, grace: object, joiner: Joiner) -> Point:
    """Look up a table for each record; with ``grace``, as it was at the record's time."""
    builder, where = left.builder, joiner.where
    takes_key, value = joiner.takes_key(builder), joiner.result(builder)
    own = check_sides(left, table, joiner.word, where)
    name = joiner.claim(left, table.base)
    grace_ms, buffer = None, None
    if grace is not None:
        grace_ms = _grace_ms(builder, table.node if own else None, grace, where)
        buffer = store_of(left, f"{name}-buffer", "buffer", f"{joiner.word} {name!r}", where)
    builder.add(
        StreamTableJoin(
            name=name,
            parents=(left.node, table.node) if own else (left.node, left.node),
            key=left.key,
            value=value,
            where=where,
            kind=joiner.kind,
            fn=joiner.fn,
            takes_key=takes_key,
            grace_ms=grace_ms,
            buffer=buffer,
        )
    )
    return Point(builder, name, left.key, value, name)


def _grace_ms(builder: Builder, table: str | None, grace: object, where: str) -> int:
    """How long records wait before they look up; only a versioned table knows what was then."""
    found = whole_ms(builder, "grace= of a join with a table", grace, where)
    if found < 0:
        cure = "say timedelta(0), or more"
        builder.mistake(where, "grace= of a join with a table is negative", repr(grace), cure)
    node = None if table is None else builder.nodes[table]
    while isinstance(node, TableStep) and node.store is None:
        node = builder.nodes[node.parents[0]]
    if node is None:
        return found
    history_ms = node.store.history_ms if isinstance(node, TableStore) else None
    if history_ms is None:
        builder.mistake(
            where,
            "grace= of a join needs a versioned table: only that knows what was before",
            f"{node.name!r}",
            "say app.table(topic, versioned=timedelta(...)), or leave grace= out",
        )
    elif found > history_ms:
        builder.mistake(
            where,
            f"grace= of a join is longer than the history of table {node.name!r}",
            f"{grace!r}, a history of {history_ms} ms",
            "say a longer versioned= at the table, or a shorter grace=",
        )
    return found


def add_global_join(left: Point, table: GlobalTable[Any, Any], on: Any, joiner: Joiner) -> Point:
    """Look up a global table for each record, by a key that ``on`` reads from it."""
    builder, where, store = left.builder, joiner.where, table.store
    if table.owner is not builder:
        cure = "make the global table with the same app"
        builder.mistake(where, f"{joiner.word} joins parts of two apps", repr(table.name), cure)
    takes_key, value = joiner.takes_key(builder), joiner.result(builder)
    by_key = check_arguments(builder, on, OF_RECORD, f"on= of {joiner.word}", where) == 2
    answered = value_of(answer_of(on))
    if not fits(answered, store.key):
        builder.mistake(
            where,
            f"on= of {joiner.word} gives keys that its table does not have",
            f"{said(answered)} for table {store.name!r} with keys of type {said(store.key)}",
            f"answer a {said(store.key)}",
        )
    name = joiner.claim(left, store.name)
    builder.add(
        GlobalJoin(
            name=name,
            parents=(left.node,),
            key=left.key,
            value=value,
            where=where,
            kind=joiner.kind,
            fn=joiner.fn,
            takes_key=takes_key,
            table=store,
            on=on,
            on_takes_key=by_key,
        )
    )
    return Point(builder, name, left.key, value, name)
