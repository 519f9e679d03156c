"""Foreign-key joins: a row of the left table asks for the row of the right one that it names.

The left table sends subscriptions to the partition of the foreign key; there they are kept, and
answered whenever either side changes; answers come back to the left row. Invariant: an answer to a
left row that has changed since is dropped, as the row has asked again (``KTableImpl``,
``foreignkeyjoin``).

    left change → ForeignKeySend → (repartition) → ForeignKeyLookup → (repartition) →
    ForeignKeyJoin → TableStore

Kafka Streams says nothing to a left row that asks again for a right row that has gone meanwhile; if
the answer that it went crosses the change on its way, it is dropped, and the result stays for ever.
Here such a row is told that the right one is gone, and a result that is still there goes.

Subscriptions are kept as ``02 foreign key left key → (hash of the left value, its time)``.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from streamfn.engine.keys import OBJECT, KeyForm, to_object
from streamfn.engine.operators.getters import compiler_getter
from streamfn.engine.scope import Run
from streamfn.engine.steps import nothing
from streamfn.function.annotations import plain_type
from streamfn.graph.operators import ForeignKeyJoin, ForeignKeyLookup, ForeignKeySend
from streamfn.graph.stores import ENTRY
from streamfn.serde import as_key_serde
from streamfn.serde.foreign_keys import GONE, Instruction, Subscription, value_hash
from streamfn.state.keys import component, prefix_end

if TYPE_CHECKING:
    from streamfn.engine.closures import Compiler


def compile_send(compiler: "Compiler", node: ForeignKeySend, form: KeyForm, parent: str) -> Run:
    """Tell the right side which key a changed row asks for, and which no more."""
    drop, then, name = compiler.scope.metrics.drop, compiler.children(node, OBJECT), node.name
    key_of, hash_of, on, takes_key = (
        to_object(form),
        value_hash(node.left_value),
        node.on,
        node.on_takes_key,
    )
    requests = _left_requests if node.kind == "left" else _inner_requests
    written = as_key_serde(node.key).encode

    def differ(one: Any, other: Any) -> bool:
        return written(one) != written(other)

    def run(key: Any, change: Any, timestamp: int) -> None:
        new, old, latest = change
        if not latest:
            drop("late record", name)
            return
        left = key_of(key)
        before, after = (
            None if value is None else on(left, value) if takes_key else on(value)
            for value in (old, new)
        )
        if before is None and after is None and node.kind == "inner":
            if old is not None or new is not None:
                drop("null foreign key", name)
            return
        digest = None if new is None else hash_of(new)
        for foreign, instruction in requests(old, new, before, after, differ):
            then(foreign, (left, instruction, digest), timestamp)

    return run


Requests = Iterator[tuple[Any, Instruction]]


def _inner_requests(
    old: Any, new: Any, before: Any, after: Any, differ: Callable[[Any, Any], bool]
) -> Requests:
    """An inner join's (``defaultJoinInstructions``); a row that leaves is told so once."""
    if before is None:
        yield after, Instruction.ASK_IF_THERE
    elif after is None:
        yield before, Instruction.LEAVE_AND_TELL
    elif differ(before, after):
        yield before, Instruction.LEAVE
        yield after, Instruction.ASK  # if nothing is there, what the old key had given must go
    else:
        yield after, Instruction.ASK_IF_THERE


def _left_requests(
    old: Any, new: Any, before: Any, after: Any, differ: Callable[[Any, Any], bool]
) -> Requests:
    """A left join's (``leftJoinInstructions``): it always wants an answer."""
    if before is not None and (after is None or differ(before, after)):
        yield before, Instruction.LEAVE
    if old is not None or new is not None:
        yield after, Instruction.ASK


def compile_lookup(compiler: "Compiler", node: ForeignKeyLookup, form: KeyForm, parent: str) -> Run:
    """Keep subscriptions, answer them when they come, and again when the right row changes."""
    compiler.source = None
    then = compiler.once(node, lambda: compiler.children(node, OBJECT))
    asks = parent == node.parents[0]
    return (_subscribed if asks else _changed)(compiler, node, form, then)


def _keys(
    compiler: "Compiler", node: ForeignKeyLookup, form: KeyForm
) -> tuple[Callable[[Any], bytes], Callable[[Any], bytes], Callable[[bytes, int], Any]]:
    """What makes the key of a subscription: prefix of a foreign key, the left key, and back."""
    right = compiler.scope.subtopology.nodes[node.parents[1]]
    foreign, left, key_of = (
        component(plain_type(right.key)),
        component(plain_type(node.left_key)),
        to_object(form),
    )
    encode = foreign.encode
    return lambda key: ENTRY + encode(key_of(key)), left.encode, left.decode


def _subscribed(compiler: "Compiler", node: ForeignKeyLookup, form: KeyForm, then: Run) -> Run:
    store, drop, name = compiler.timed(node.store), compiler.scope.metrics.drop, node.name
    prefix, encode_left, _ = _keys(compiler, node, form)
    right_row = compiler_getter(compiler, node.parents[1], form)

    def run(key: Any, subscription: Subscription, timestamp: int) -> None:
        left, instruction, digest = subscription
        if key is None:
            if instruction is Instruction.ASK:
                then(left, (digest, None), timestamp)
            else:
                drop("null foreign key", name)
            return
        at = prefix(key) + encode_left(left)
        if instruction <= Instruction.LEAVE_AND_TELL:
            store.delete(at)
            if instruction is Instruction.LEAVE:
                return
        else:
            store.put(at, digest, timestamp)
        row, value = right_row(key), None
        if row is not None:
            timestamp = max(timestamp, row[1])
            if instruction is not Instruction.LEAVE_AND_TELL:
                value = row[0]
        elif instruction is Instruction.ASK_IF_THERE:
            value = GONE
        then(left, (digest, value), timestamp)

    return run


def _changed(compiler: "Compiler", node: ForeignKeyLookup, form: KeyForm, then: Run) -> Run:
    store, drop, name = compiler.timed(node.store), compiler.scope.metrics.drop, node.name
    prefix, _, decode_left = _keys(compiler, node, form)

    def run(key: Any, change: Any, timestamp: int) -> None:
        if not change[2]:
            drop("late record", name)
            return
        start = prefix(key)
        for at, (digest, _) in store.scan(start, prefix_end(start)):
            then(decode_left(at, len(start))[0], (digest, change[0]), timestamp)

    return run


def compile_answers(compiler: "Compiler", node: ForeignKeyJoin, form: KeyForm, parent: str) -> Run:
    """Join each answer with the left row, if the row is still the one that asked."""
    if parent != node.parents[0]:
        return nothing  # a changed row asks anew; its answer comes back here
    source = compiler.scope.subtopology.nodes[node.parents[1]]
    left_row = compiler_getter(compiler, source.name, form)
    hash_of, then = value_hash(plain_type(source.value)), compiler.children(node, form)
    (result,) = compiler.scope.subtopology.children(node.name)
    result_row = compiler_getter(compiler, result.name, form)
    fn, takes_key, key_of, inner = node.fn, node.takes_key, to_object(form), node.kind == "inner"

    def run(key: Any, answer: Any, timestamp: int) -> None:
        digest, right = answer
        row = left_row(key)
        left = None if row is None else row[0]
        if digest != (None if left is None else hash_of(left)):
            return
        if right is GONE:
            if result_row(key) is not None:
                then(key, None, timestamp)
        elif left is None or (right is None and inner):
            then(key, None, timestamp)
        elif takes_key:
            then(key, fn(key_of(key), left, right), timestamp)
        else:
            then(key, fn(left, right), timestamp)

    return run
