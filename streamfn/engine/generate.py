"""The fast compiler: one generated function for a linear chain, with deferred effects.

In a linear chain (no branch, nothing that multiplies records) new state and outputs stay in local
variables and are written after the last call that can raise: a record that raises has changed
nothing, so it needs no journal. The text is what ``describe --code`` prints. Invariant: for every
input the generated chain and the closures give the same outputs, state and errors;
``tests/unit/test_compilers.py`` holds them to it.

What writes at once (a map, a whole store, ``Context.emit``) is journalled as in the closures, and
then the chain clears the journal after each record.
"""

import linecache
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from streamfn.engine.bindings import Bound, ValueBinding
from streamfn.engine.closures import Compiler, Sender
from streamfn.engine.generate_aggregates import aggregate, not_generated
from streamfn.engine.keys import (
    OBJECT,
    KeyForm,
    checked_encode,
    exact_class,
    same,
    to_object,
    to_store,
    to_topic,
)
from streamfn.engine.scope import RunBatch, Scope
from streamfn.engine.steps import check_key, check_timestamp, event_time
from streamfn.graph.operators import Aggregate, ToStream
from streamfn.graph.plan import Subtopology
from streamfn.graph.topology import AnyNode, Function, Merge, Sink, Source, Step, TopicSpec
from streamfn.state.levels import MISSING

FILE_PREFIX = "<chain "
_LINEAR_STEPS = frozenset({"map", "map_values", "filter", "filter_not", "peek", "key_by"})


def linear(sub: Subtopology, source: Source) -> tuple[list[AnyNode], str]:
    """Return the chain from a source, and why it is not linear ("" if it is)."""
    chain: list[AnyNode] = [source]
    topics: list[str] = []
    while True:
        node = chain[-1]
        children = sub.children(node.name)
        onward = [child for child in children if not isinstance(child, Sink)]
        topics += [t.name for c in children if isinstance(c, Sink) for t in c.topics]
        if any(isinstance(child, Sink) and child.choose for child in children):
            return chain, f"{node.name!r} chooses a topic for each record"
        if isinstance(node, Function):
            topics += [topic.name for topic in node.sinks]
        if len(onward) > 1:
            return chain, f"{node.name!r} has {len(onward)} stages behind it"
        if len(topics) != len(set(topics)):
            return chain, "a topic is written to in two places"
        if not onward:
            return chain, ""
        if onward[0] is not children[-1]:
            return chain, f"{children[-1].name!r} is declared behind {onward[0].name!r}"
        why = _not_linear(onward[0])
        if why:
            return chain, why
        chain.append(onward[0])


def _not_linear(node: AnyNode) -> str:
    if isinstance(node, Step):
        return "" if node.kind in _LINEAR_STEPS else f"{node.name!r} is a {node.kind}"
    if isinstance(node, Function):
        if node.generator:
            return f"{node.name!r} is a generator"
        if node.outgoing or len(node.sinks) > 1:
            return f"{node.name!r} may answer with records of topics"
        return ""
    if isinstance(node, Aggregate):
        return not_generated(node)
    known = isinstance(node, Merge | ToStream)
    return "" if known else f"{node.name!r} is a {type(node).__name__}"


@dataclass(slots=True)
class Chain:
    """The text of a chain being generated, and the objects that the text names."""

    scope: Scope
    compiler: Compiler
    environment: dict[str, Any] = field(default_factory=dict[str, Any])
    body: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """(line, stage)"""
    effects: list[str] = field(default_factory=list[str])
    before: list[str] = field(default_factory=list[str])
    """What stands in front of the loop."""
    after: list[str] = field(default_factory=list[str])
    """What is done after the loop, also if a record stops it."""
    resets: list[str] = field(default_factory=list[str])
    form: KeyForm = OBJECT
    stage: str = ""
    count: int = 0
    key: str = "key"
    """The variable that holds the key; a change of key makes a new one, as effects name the old."""
    time: str = "timestamp"
    """The variable that holds the record's time; an aggregate's result has another."""
    journalled: bool = False
    immediate: bool = False
    """A function may append outputs while it runs, so they must be marked for undoing."""
    objects: dict[str, str] = field(default_factory=dict[str, str])
    """Key forms already computed for this record: what → local variable."""

    def name(self, kind: str, value: Any) -> str:
        """Put an object into the environment under a fresh name."""
        self.count += 1
        self.environment[f"{kind}{self.count}"] = value
        return f"{kind}{self.count}"

    def fresh(self, kind: str) -> str:
        """A local variable that is nobody else's."""
        self.count += 1
        return f"{kind}{self.count}"

    def line(self, *texts: str) -> None:
        """Add lines to the body."""
        self.body.extend((text, self.stage) for text in texts)

    def leave_if(self, condition: str, *first: str) -> None:
        """End this record here: what was decided so far still takes effect."""
        self.line(f"if {condition}:", *[f"    {text}" for text in (*first, *self.effects)])
        self.line(*(["    undo.clear()"] if self.journalled else []), "    continue")

    def key_as(self, what: str, convert: Callable[[Any], Any]) -> str:
        """Return the local variable that holds the key in another form."""
        if convert is same:
            return self.key
        if what not in self.objects:
            self.count += 1
            self.objects[what] = variable = f"k{self.count}"
            self.line(f"{variable} = {self.name('convert', convert)}({self.key})")
        return self.objects[what]

    def key_object(self) -> str:
        """The variable that holds the decoded key."""
        return self.key_as("object", to_object(self.form))

    # nodes
    def source(self, node: Source) -> None:
        """Decode the value."""
        self.form = KeyForm(node.topic.key)
        decode = self.name("decode", node.topic.value.decode)
        self.line(f"value = None if raw is None else {decode}(raw)")
        if node.topic.timestamp is not None:
            timed, topic = self.name("event_time", event_time), self.name("topic", node.topic)
            self.line(f"if raw is not None: timestamp = {timed}({topic}, value)")
        if self.compiler.lowest_ms == 0:
            check = self.name("check_timestamp", check_timestamp)
            what = f"a record of topic {node.topic.name!r}"
            self.line(f"if timestamp < 0: {check}(timestamp, {what!r})")

    def step(self, node: Step) -> None:
        """Add a stateless operator."""
        fn = self.name("fn", node.fn)
        call = f"{fn}({self.key_object()}, value)" if node.takes_key else f"{fn}(value)"
        match node.kind:
            case "map":
                self.line(f"{self.new_key()}, value = {call}")
            case "map_values":
                self.line(f"value = {call}")
            case "filter":
                self.leave_if(f"not {call}")
            case "filter_not":
                self.leave_if(call)
            case "peek":
                self.line(call)
            case _:
                self.line(f"{self.new_key()} = {call}")
        if node.check_str:
            check, key = self.name("check_key", check_key), self.key
            self.line(
                f"if type({key}) is not str and {key} is not None: {check}({key}, {node.name!r})"
            )

    def new_key(self) -> str:
        """From here on the key is another, decoded one."""
        self.count += 1
        self.key, self.form = f"key{self.count}", OBJECT
        self.objects.clear()
        return self.key

    def function(self, node: Function) -> None:
        """A call between loading its values and settling them."""
        drop = self.name("drop", self.scope.metrics.drop)
        if node.keyed:
            self.leave_if(f"{self.key} is None", f"{drop}('null key', {node.name!r})")
        if not node.null_values:
            self.leave_if("value is None", f"{drop}('null value', {node.name!r})")
        emits = any(parameter.kind == "context" for parameter in node.parameters)
        send = self.compiler.sender(node) if emits else Sender(node.name, {})
        bound = Bound(self.scope, node, self.form, send, self.compiler.topic_keys)
        self.compiler.bounds.append(bound)
        loaded = [self.load(node, name, value) for name, value in bound.values.items()]
        self.bind_others(bound, send, node)
        self.line(f"value = {self.name('fn', node.fn)}({self.arguments(bound)})")
        for each in loaded:
            self.settle(*each)
        self.leave_if("value is None")
        for topic in node.sinks:
            self.sink(topic, node.name)

    def arguments(self, bound: Bound) -> str:
        """By position, as the signature was read: a keyword costs ten nanoseconds."""
        return ", ".join(["value", *(self.name("argument", a) for a in bound.arguments.values())])

    def bind_others(self, bound: Bound, send: Any, node: Function) -> None:
        """Point maps and the context at this record.

        They write at once, so the chain is journalled.
        """
        for made, prefix in bound.maps:
            under, of = self.name("under", made.under), self.name("prefix", prefix)
            self.line(f"{under}({of}({self.key}))")
        self.journalled |= any(p.kind in ("map", "store") for p in node.parameters)
        self.immediate |= bound.context is not None and bool(node.sinks)
        if bound.context is not None:
            context = self.name("context", bound.context)
            self.line(f"{context}.key = {self.key_object()}")
            self.line(f"{context}.timestamp_ms = {self.time}")
            self.line(f"{self.name('send', send)}.timestamp_ms = {self.time}")

    def load(self, node: Function, name: str, value: ValueBinding) -> tuple[str, str, ValueBinding]:
        """Load a value into its box; return what ``settle`` needs."""
        levels, box = value.levels, self.name("box", value.target)
        store = next(p.store for p in node.parameters if p.name == name and p.store)
        store_key = to_store(self.form, store.key)
        key = self.key_as(f"store {store.key!r}", store_key)
        cache, entry = self.name("cache", levels.cache), f"old{self.count}"
        load, start = self.name("load", levels.load), self.name("start", value.start)
        missing = self.name("MISSING", MISSING)
        present = f"{self.name('decode', levels.decoded)}({entry})" if levels.mutable else entry
        self.line(
            f"try: {entry} = {cache}[{key}]",
            f"except KeyError: {entry} = {load}({key})",
            f"if {entry} is {missing}: {box}.value = {box}._seed = {start}(); {box}._state = 1",
            f"else: {box}.value = {present}",
        )
        self.resets.append(f"{box}._state = 0")
        return key, entry, value

    def settle(self, key: str, entry: str, value: ValueBinding) -> None:
        """Work out the new entry now (it may raise), write it with the other effects."""
        levels, new = value.levels, f"new{entry[3:]}"
        outcome = self.name("outcome", value.outcome)
        box = self.name("box", value.target)
        if levels.mutable:
            self.line(f"{new} = {outcome}()")
        else:
            exact, fit = self.name("exact", levels.exact), self.name("fit", levels.fit)
            self.line(
                f"{new} = {outcome}() if {box}._state else {box}.value",
                f"if {new}.__class__ is not {exact} and {new} is not {entry}: {new} = {fit}({new})",
            )
        cache, dirty = self.name("cache", levels.cache), self.name("dirty", levels.dirty)
        changed = "!=" if levels.mutable else "is not"
        self.effects.append(
            f"if {new} {changed} {entry}: {cache}[{key}] = {new}; {dirty}[{key}] = {new}"
        )

    def sink(self, topic: TopicSpec, by: str, *, drops_null_keys: bool = False) -> None:
        """Encode now, append with the other effects."""
        columns = self.scope.output(topic.name)
        self.count += 1
        data, sent = f"data{self.count}", f"sent{self.count}"
        encode, exact = self.name("encode", topic.value.encode), exact_class(topic.value)
        checked = self.name("checked", checked_encode(topic.value, f"topic {topic.name!r}"))
        self.line(
            f"if value.__class__ is {self.name('exact', exact)}: {data} = {encode}(value)",
            f"else: {data} = None if value is None else {checked}(value)",
        )
        self.line(
            f"{sent} = {self.key_as(f'topic {topic.key.name}', to_topic(self.form, topic.key))}"
        )
        as_read = to_topic(self.form, topic.key) is same and self.key == "key"
        self.scope.note_keys(topic.name, self.compiler.source if as_read else None)
        keys, values = (
            self.name("keys", columns.keys.append),
            self.name("values", columns.values.append),
        )
        times = self.name("times", columns.timestamps.append)
        effect = f"{keys}({sent}); {values}({data}); {times}({self.time})"
        if self.scope.traced:
            left, cursor = self.name("left", columns.left.append), self.scope.cursor
            stages = self.name("stages", columns.stages.append)
            effect += f"; {left}({self.name('cursor', cursor)}.left()); {stages}({by!r})"
        if drops_null_keys:
            drop = self.name("drop", self.scope.metrics.drop)
            self.effects.append(f"if {sent} is None: {drop}('null key', {self.stage!r})")
            effect = f"else: {effect}"
        self.effects.append(effect)


def generate(compiler: Compiler, source: Source) -> tuple[RunBatch, str] | None:
    """Compile a source's chain to one function and its text; None if the chain is not linear."""
    nodes, why = linear(compiler.scope.subtopology, source)
    if why:
        return None
    compiler.source = source.topic.name
    chain = Chain(compiler.scope, compiler)
    for node in nodes:
        chain.stage = node.name
        if isinstance(node, Source):
            chain.source(node)
        elif isinstance(node, Step):
            chain.step(node)
        elif isinstance(node, Function):
            chain.function(node)
        elif isinstance(node, Aggregate):
            aggregate(chain, node)
        for child in compiler.scope.subtopology.children(node.name):
            if isinstance(child, Sink):
                chain.stage = child.name
                for topic in child.topics:
                    chain.sink(topic, node.name, drops_null_keys=child.drops_null_keys)
    return _assemble(chain, source)


def _assemble(chain: Chain, source: Source) -> tuple[RunBatch, str]:
    lengths = [columns.values for columns in chain.compiler.outputs_behind(source)]
    marked = [chain.name("lengths", values) for values in lengths] if chain.immediate else []
    marks = "".join(f"len({name}), " for name in marked)
    chain.environment.update(failed=chain.scope.failed, undo=chain.scope.undo)
    loop: list[tuple[str, str]] = [
        ("for key, raw, timestamp in rows:", ""),
        *([(f"    marks = ({marks})", "")] if marks else []),
        ("    try:", ""),
        *[(f"        {line}", stage) for line, stage in chain.body],
        ("    except BaseException as error:", ""),
        *[(f"        {line}", "") for line in chain.resets],
        (f"        failed(error, {'marks' if marks else '()'})", ""),
        ("        continue", ""),
        *[(f"    {line}", "") for line in chain.effects],
        *([("    undo.clear()", "")] if chain.journalled else []),
    ]
    if chain.after:
        ends = [(f"    {line}", "") for line in (*chain.after, "undo.clear()")]
        inner = [(f"    {line}", stage) for line, stage in loop]
        loop = [("try:", ""), *inner, ("finally:", ""), *ends]
    lines = [
        ("def batch(rows):", ""),
        *[(f"    {line}", "") for line in chain.before],
        *[(f"    {line}", stage) for line, stage in loop],
    ]
    return _define(lines, chain.environment, source)


def _define(
    lines: list[tuple[str, str]], environment: dict[str, Any], source: Source
) -> tuple[RunBatch, str]:
    """Make the function; its environment are arguments of an outer one, which makes them fast."""
    inner = "".join(f"    {line}\n" for line, _ in lines)
    text = f"def make({', '.join(environment)}):\n{inner}    return batch\n"
    filename = f"{FILE_PREFIX}{source.name}>"
    scope: dict[str, Any] = {}
    exec(compile(text, filename, "exec"), scope)
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    batch: RunBatch = scope["make"](**environment)
    stages = {number: stage for number, (_, stage) in enumerate(lines, 2) if stage}
    batch.stages = stages  # type: ignore[attr-defined]  # line → stage, for the error policy
    return batch, "".join(f"{line}\n" for line, _ in lines)
