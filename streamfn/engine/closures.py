"""The reference compiler.

Each node is a closure over the next ones, ``run(key, value, timestamp_ms)``.

A record goes depth first: a node calls its children in order of declaration, all the way to sinks
and stores, before the next record starts, so that the order per key survives branches and merges.
Invariant: a node's closure has its name as the name of its code object, so that a traceback tells
which stage failed at no cost per record.

``generate`` makes the same answers faster for linear chains; a property test runs both on the same
input.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from streamfn.engine.bindings import Bound
from streamfn.engine.keys import (
    OBJECT,
    KeyForm,
    checked_encode,
    exact_class,
    same,
    to_object,
    to_topic,
)
from streamfn.engine.operators.chosen import compile_chosen
from streamfn.engine.operators.families import FAMILIES
from streamfn.engine.operators.timed import Timed
from streamfn.engine.scope import Idle, Run, RunBatch, Scope
from streamfn.engine.steps import (
    STEPS,
    check_timestamp,
    checked_headers,
    event_time,
    fan_out,
    keyed_call,
    named,
    value_call,
)
from streamfn.errors import InternalError
from streamfn.function.state import Outgoing
from streamfn.graph.behind import topics_behind
from streamfn.graph.topology import (
    PLAIN_KINDS,
    AnyNode,
    Branch,
    Function,
    Merge,
    Sink,
    Source,
    Split,
    Step,
    StoreSpec,
    Timer,
    TopicSpec,
)
from streamfn.record import Columns
from streamfn.serde import Serde, as_key_serde
from streamfn.windowed import Windowed

T = TypeVar("T")

_OUTGOING: Any = Outgoing
"""Untyped, as a check against the generic class would make the record's types partly unknown."""


class Sender:
    """Sends records of a function's topics; ``timestamp_ms`` is for records without their own."""

    __slots__ = ("_stage", "_ways", "timestamp_ms")

    def __init__(self, stage: str, ways: dict[str, tuple[Run, Columns]]) -> None:
        self._stage, self._ways, self.timestamp_ms = stage, ways, 0

    def __call__(self, record: Any) -> None:
        """Send one; anything but a record of a declared topic is a failing record."""
        topic: str | None = record.topic if type(record) is _OUTGOING else None
        if topic not in self._ways:
            got = f"a record of topic {topic!r}" if topic else f"{type(record).__name__}"
            message = (
                f"{self._stage!r} sent {got}; its topics are {', '.join(self._ways) or 'none'}; "
                "send topic.record(key=..., value=...) of a topic in to=(...)"
            )
            raise TypeError(message)
        run, columns = self._ways[topic]
        timestamp = self.timestamp_ms if record.timestamp_ms is None else record.timestamp_ms
        check_timestamp(timestamp, f"a record of topic {topic!r}")
        headers = checked_headers(record.headers, topic)
        run(record.key, record.value, timestamp)
        if headers:
            columns.headers[len(columns) - 1] = headers


class Compiler:
    """Turns the nodes of one sub-topology into closures over one task's scope."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.bounds: list[Bound] = []
        self.source: str | None = None
        """The topic whose chain is being compiled; None behind an operator with several inputs."""
        self.idle: list[Idle] = []
        """What is to be done when nothing comes for a time."""
        self._made: dict[str, Any] = {}
        self.topic_keys = {
            store.name: self._key_serde(node, store)
            for node in scope.subtopology.nodes.values()
            for store in node.stores
            if store.kind not in PLAIN_KINDS
        }
        """By store: how the keys are written by which its partitions are chosen."""

    def _key_serde(self, node: AnyNode, store: StoreSpec) -> Serde[Any]:
        parents = [self.scope.subtopology.nodes.get(name) for name in node.parents]
        if parents and isinstance(parents[0], Source):
            return parents[0].topic.key
        return as_key_serde(Windowed[store.key] if store.window is not None else store.key)  # type: ignore[name-defined]  # a type made of a value

    def batch(self, source: Source) -> RunBatch:
        """Compile the chain of a source.

        Decode, run, and one ``try`` a record (free in Python 3.11).
        """
        self.source = source.topic.name
        then = self.children(source, KeyForm(source.topic.key))
        decode, failed, undo = source.topic.value.decode, self.scope.failed, self.scope.undo
        columns = self.outputs_behind(source)
        lengths = [output.values.__len__ for output in columns]
        topic, lowest_ms = source.topic, self.lowest_ms

        def plain(rows: Any) -> None:
            for key, raw, timestamp in rows:
                marks = [length() for length in lengths]
                try:
                    if timestamp < lowest_ms:
                        check_timestamp(timestamp, f"a record of topic {topic.name!r}")
                    then(key, None if raw is None else decode(raw), timestamp)
                    undo.clear()
                except BaseException as error:  # an exit too leaves nothing of the record
                    failed(error, marks)

        def timed(rows: Any) -> None:
            for key, raw, timestamp in rows:
                marks = [length() for length in lengths]
                try:
                    value = None if raw is None else decode(raw)
                    if raw is not None:
                        timestamp = event_time(topic, value)
                    elif timestamp < lowest_ms:
                        check_timestamp(timestamp, f"a record of topic {topic.name!r}")
                    then(key, value, timestamp)
                    undo.clear()
                except BaseException as error:  # an exit too leaves nothing of the record
                    failed(error, marks)

        return named(plain if topic.timestamp is None else timed, source.name)  # type: ignore[no-any-return]  # named keeps the type

    @property
    def lowest_ms(self) -> int:
        """Operators keep times from 1970 on; records of old clients of Kafka have none, so -1."""
        kinds = {store.kind for store in self.scope.subtopology.stores.values()}
        return -(1 << 63) if kinds <= PLAIN_KINDS else 0

    def outputs_behind(self, node: AnyNode) -> list[Columns]:
        """The output columns that may be written to behind a node, in the order of their marks."""
        topics = topics_behind(self.scope.subtopology, node)
        return [self.scope.output(topic) for topic in sorted(topics)]

    def children(self, node: AnyNode, form: KeyForm) -> Run:
        """Compile what follows a node; nothing, one, or several in order."""
        following = self.scope.subtopology.children(node.name)
        return fan_out([self.node(child, form, node.name) for child in following])

    def apart(self, node: AnyNode, then: Run) -> Run:
        """What hands on results of earlier records, which a record only brought the time for.

        Were one that fails the record's failure, every later record would fail by it again.
        """
        columns = self.outputs_behind(node)
        lengths = [output.values.__len__ for output in columns]
        undo, result_failed, name = self.scope.undo, self.scope.result_failed, node.name

        def run(key: Any, value: Any, timestamp: int) -> None:
            begun, marks = len(undo), [length() for length in lengths]
            try:
                then(key, value, timestamp)
            except BaseException as error:  # an exit too leaves nothing of the result
                result_failed(name, begun, columns, error, marks)

        return run

    def once(self, node: AnyNode, make: Callable[[], T]) -> T:
        """What all edges into a node share: made for the first of them."""
        if node.name not in self._made:
            self._made[node.name] = make()
        return self._made[node.name]  # type: ignore[no-any-return]  # made by ``make``

    def timed(self, spec: StoreSpec) -> Timed:
        """An operator's store."""
        return Timed(self.scope.levels[spec.name], spec)

    def node(self, node: AnyNode, form: KeyForm, parent: str) -> Run:
        """Compile a node for keys that arrive in ``form`` from a parent."""
        family = FAMILIES.get(type(node))
        if family is not None:
            return named(family(self, node, form, parent), node.name)  # type: ignore[no-any-return]  # named keeps the type
        match node:
            case Step():
                return self.step(node, form)
            case Function():
                return self.function(node, form)
            case Split():
                return self.split(node, form)
            case Merge() | Branch():
                return self.children(node, form)
            case Sink() if node.choose is not None:
                return named(compile_chosen(self, node, form), node.name)  # type: ignore[no-any-return]  # named keeps the type
            case Sink():
                run = fan_out([self.sink(topic, form, node.name, parent) for topic in node.topics])
                return self.with_key(run, node.name) if node.drops_null_keys else run
            case _:
                message = f"node {node.name!r} of kind {type(node).__name__} cannot be compiled"
                raise InternalError(message)

    def step(self, node: Step, form: KeyForm) -> Run:
        """Compile a stateless operator."""
        fn, key_of = node.fn, to_object(form)
        changes_key = node.kind in ("map", "flat_map", "key_by")
        then = self.children(node, OBJECT if changes_key else form)
        call = keyed_call(fn, key_of) if node.takes_key else value_call(fn)
        return named(STEPS[node.kind](call, then, node), node.name)  # type: ignore[no-any-return]  # named keeps the type

    def split(self, node: Split, form: KeyForm) -> Run:
        """Compile a split: the first branch whose predicate holds takes the record."""
        nodes, key_of = self.scope.subtopology.nodes, to_object(form)
        ways: list[tuple[Callable[[Any, Any], Any], Run]] = []
        for name, predicate, takes_key in node.branches:
            then = self.children(nodes[name], form) if name in nodes else fan_out([])
            if predicate is None:
                ways.append((lambda key, value: True, then))
            else:
                call = keyed_call(predicate, key_of) if takes_key else value_call(predicate)
                ways.append((call, then))

        def run(key: Any, value: Any, timestamp: int) -> None:
            for holds, then in ways:
                if holds(key, value):
                    then(key, value, timestamp)
                    return

        return named(run, node.name)  # type: ignore[no-any-return]  # named keeps the type

    def sink(self, topic: TopicSpec, form: KeyForm, stage: str, by: str = "") -> Run:
        """Compile a sink: encode first (it may raise), then append to the topic's columns.

        ``by`` is the stage that made what comes, if that is another than the sink's own.
        """
        by = by or stage
        columns = self.scope.output(topic.name)
        keys, values, times = columns.keys, columns.values, columns.timestamps
        encode, key_bytes = topic.value.encode, to_topic(form, topic.key)
        self.scope.note_keys(topic.name, self.source if key_bytes is same else None)
        exact, checked = (
            exact_class(topic.value),
            checked_encode(topic.value, f"topic {topic.name!r}"),
        )

        def run(key: Any, value: Any, timestamp: int) -> None:
            if value.__class__ is exact:
                data: bytes | None = encode(value)
            else:
                data = None if value is None else checked(value)
            keys.append(key_bytes(key))
            values.append(data)
            times.append(timestamp)

        return named(self.traced(run, columns, by), stage)  # type: ignore[no-any-return]  # named keeps the type

    def traced(self, send: Run, columns: Columns, stage: str) -> Run:
        """Where outputs are traced, note which record and stage each of them is of."""
        if not self.scope.traced:
            return send
        left, stages, cursor = columns.left, columns.stages, self.scope.cursor

        def run(key: Any, value: Any, timestamp: int) -> None:
            send(key, value, timestamp)
            left.append(cursor.left())
            stages.append(stage)

        return run

    def with_key(self, then: Run, stage: str) -> Run:
        """Drop what has no key, and count it: it has no partition."""
        drop = self.scope.metrics.drop

        def run(key: Any, value: Any, timestamp: int) -> None:
            if key is None:
                drop("null key", stage)
            else:
                then(key, value, timestamp)

        return named(run, stage)  # type: ignore[no-any-return]  # named keeps the type

    def sender(self, node: Function) -> "Sender":
        """Compile what sends a record of a topic, from an answer or from ``Context.emit``."""
        ways = {
            topic.name: (self.sink(topic, OBJECT, node.name), self.scope.output(topic.name))
            for topic in node.sinks
        }
        return Sender(node.name, ways)

    def function(self, node: Function, form: KeyForm) -> Run:
        """Compile a user's function with its injected parameters."""
        send = self.sender(node)
        bound = Bound(self.scope, node, form, send, self.topic_keys)
        self.bounds.append(bound)
        answer = self.answer(node, form, send)
        fn, arguments = node.fn, tuple(bound.arguments.values())
        bind, settle, drop, name = bound.bind, bound.settle, self.scope.metrics.drop, node.name
        keyed, null_values, generator = node.keyed, node.null_values, node.generator

        def run(key: Any, value: Any, timestamp: int) -> None:
            if key is None and keyed:
                drop("null key", name)
                return
            if value is None and not null_values:
                drop("null value", name)
                return
            bind(key, timestamp)
            send.timestamp_ms = timestamp
            result = fn(value, *arguments)
            if generator:
                answers = list(result)
                settle()
                for one in answers:
                    if one is not None:
                        answer(key, one, timestamp)
            else:
                settle()
                if result is not None:
                    answer(key, result, timestamp)

        return named(run, node.name)  # type: ignore[no-any-return]  # named keeps the type

    def answer(self, node: Function, form: KeyForm, send: Sender) -> Run:
        """Compile where answers go: records of topics there, others to sink and children."""
        several = len(node.sinks) > 1
        sinks = [] if several else [self.sink(topic, form, node.name) for topic in node.sinks]
        onward = fan_out([*sinks, self.children(node, form)])

        def run(key: Any, value: Any, timestamp: int) -> None:
            if type(value) is _OUTGOING:
                send(value)
            elif several:
                message = (
                    f"{node.name!r} has several sinks and answered with {type(value).__name__}; "
                    "answer with topic.record(key=..., value=...)"
                )
                raise TypeError(message)
            else:
                onward(key, value, timestamp)

        return named(run, node.name)  # type: ignore[no-any-return]  # named keeps the type

    def timer(self, node: Function, timer: Timer) -> Callable[[int], None]:
        """Compile a timer of a function.

        Called with its time, it has no key and sends records of topics.
        """
        send = self.sender(node)
        bound = Bound(self.scope, timer, OBJECT, send, self.topic_keys)

        def fire(timestamp: int) -> None:
            bound.bind(None, timestamp)
            send.timestamp_ms = timestamp
            result = timer.fn(*bound.arguments.values())
            for answer in list(result) if timer.generator else [result]:
                if answer is not None:
                    send(answer)

        return named(fire, node.name)  # type: ignore[no-any-return]  # named keeps the type
