"""A decorated function: a stage, the stream of its answers, and still the plain function.

Invariant: calling it runs the user's function and nothing else, so that a unit test needs no
engine.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Generic, Literal, ParamSpec, TypeVar, cast

from streamfn.dsl.endpoints import KeyOut, Point, ValueOut
from streamfn.dsl.sinks import check_sink_types, own_topic
from streamfn.dsl.stream import Stream
from streamfn.function.annotations import said, underlying
from streamfn.function.parameters import Stage
from streamfn.function.signature import Signature, by_position, read_signature, read_timer
from streamfn.graph.places import function_place, user_frame
from streamfn.graph.topology import UNKNOWN, Policy, Timer, TopicSpec
from streamfn.graph.topology import Function as FunctionNode

P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., Any])
Answer = TypeVar("Answer", covariant=True)

Clock = Literal["stream", "wall"]


class Function(Stream[KeyOut, ValueOut], Generic[P, Answer, KeyOut, ValueOut]):
    """A function of the program: read on from its answers, call it in tests, give it timers."""

    def __init__(self, fn: Callable[P, Answer], point: Point) -> None:
        super().__init__(point)
        self._fn = fn
        functools.update_wrapper(cast("Any", self), fn)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Answer:
        """Call the user's function itself."""
        return self._fn(*args, **kwargs)

    @property
    def name(self) -> str:
        """The name of the stage."""
        return self._point.node

    def point(self, where: str) -> Point:
        """Return where its answers are; with several topics they are read from those."""
        node = _node(self._point)
        if len(node.sinks) > 1:
            self._point.builder.mistake(
                where,
                f"function {node.name!r} answers with records of several topics",
                "its use as one stream",
                f"read one of its topics: {', '.join(repr(t.name) for t in node.sinks)}",
            )
        return self._point

    def every(self, interval: timedelta, *, clock: Clock = "stream") -> Callable[[F], F]:
        """Call the decorated timer at each multiple of ``interval`` that the clock passes.

        A timer runs once a task and has no key: it may ask for a Context, and by its name for
        each store of the function, as ``sf.Store[K, V]``.
        """

        def decorate(fn: F) -> F:
            frame = user_frame()
            _add_timer(self._point, fn, interval, clock, {} if frame is None else frame.f_locals)
            return fn

        return decorate

    def __repr__(self) -> str:
        return f"Function({self.name!r})"


def _node(point: Point) -> FunctionNode:
    return cast("FunctionNode", point.builder.nodes[point.node])


def add_function(
    point: Point, fn: Callable[..., Any], to: object, name: str | None, policy: Policy
) -> Function[..., Any, Any, Any]:
    """Add a stage; read its signature against the records it will get."""
    builder = point.builder
    where = function_place(fn)
    if not callable(fn):
        builder.mistake(where, "a stage is a function", repr(fn), "put the decorator on a def")
    written = underlying(fn)
    own = getattr(written, "__name__", type(written).__name__)
    if own == "<lambda>" and name is None:
        cure = "say name=, or write it as a def"
        builder.mistake(where, "a stage needs a name", "a lambda", cure)
        own = "lambda"
    name = builder.claim(own, name, f"function {own!r}", where)
    stage = Stage(name, where, point.key, point.value, builder, builder.reporter(where))
    frame = user_frame()
    signature = read_signature(fn, {} if frame is None else frame.f_locals, stage)
    sinks = _sinks(point, to, signature, stage)
    value = signature.answers
    if value is UNKNOWN and len(sinks) == 1:
        value = sinks[0].value
    for parameter in signature.parameters:
        if parameter.store is not None and parameter.store.where == where:
            builder.claim_store(parameter.store)
    builder.add(
        FunctionNode(
            name=name,
            parents=(point.node,),
            key=point.key,
            value=value,
            where=where,
            fn=by_position(fn, signature.parameters),
            parameters=signature.parameters,
            sinks=sinks,
            generator=signature.generator,
            null_values=signature.null_values,
            outgoing=signature.outgoing,
            policy=policy,
        )
    )
    return Function(fn, Point(builder, name, point.key, value, name))


def _sinks(point: Point, to: object, signature: Signature, stage: Stage) -> tuple[TopicSpec, ...]:
    """The topics the answers go to; plain answers can only go to one."""
    if to is None:
        return ()
    listed = cast("tuple[object, ...]", to) if isinstance(to, tuple) else (to,)
    what = f"to= of function {stage.name!r}"
    found = [own_topic(point.builder, target, what, stage.where) for target in listed]
    sinks = tuple(spec for spec in found if spec is not None)
    if len(listed) == 1 and sinks:
        if not signature.outgoing or signature.answers is not UNKNOWN:
            given = (point.key, signature.answers)
            check_sink_types(point.builder, what, given, sinks[0], stage.where)
    elif signature.answers is not UNKNOWN:
        stage.report(
            f"function {stage.name!r} has several topics and answers plain values",
            f"an answer of type {said(signature.answers)}",
            "answer with records of those topics: topic.record(key=..., value=...)",
        )
    return sinks


def _add_timer(
    point: Point,
    fn: Callable[..., Any],
    interval: object,
    clock: object,
    names: Mapping[str, object],
) -> None:
    builder, node, where = point.builder, _node(point), function_place(fn)
    own = getattr(underlying(fn), "__name__", "timer")
    stage = Stage(own, where, point.key, point.value, builder, builder.reporter(where))
    if not node.parameters:
        stage.report(
            f"timer {own!r} has nothing to work on",
            f"function {node.name!r} without state and Context",
            "give the function a state or a Context parameter",
        )
    milliseconds = interval_ms(interval, f"timer {own!r}", stage)
    if clock not in ("stream", "wall"):
        stage.report(f"timer {own!r} has an unknown clock", repr(clock), "say 'stream' or 'wall'")
    name = f"{node.name}-{own}"
    if any(timer.name == name for timer in node.timers):
        stage.report(f"function {node.name!r} has another timer {own!r}", name, "rename one")
    read = read_timer(fn, names, stage, node.parameters)
    call = by_position(fn, read.parameters)
    timer = Timer(
        name, call, milliseconds, cast("Clock", clock), read.parameters, read.generator, where
    )
    outgoing = node.outgoing or read.outgoing
    builder.add(replace(node, timers=(*node.timers, timer), outgoing=outgoing))


def interval_ms(interval: object, what: str, stage: Stage) -> int:
    """A duration in whole milliseconds; report what is none or not positive."""
    if isinstance(interval, timedelta) and interval >= timedelta(milliseconds=1):
        return interval // timedelta(milliseconds=1)
    stage.report(
        f"{what} has no positive interval", repr(interval), "say a timedelta of at least 1 ms"
    )
    return 1
