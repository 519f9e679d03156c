"""Watches one stage during a replay: each call for a key goes into a history.

A program comes in and goes out as the same program with stand-ins where the stage's functions were;
the engine calls them as it would the functions. Invariant: a watched replay gives the same answers
and state as one in which nobody looks.
"""

# pyright: reportPrivateUsage=false
# A context's root is the engine's own affair; here it is looked at.

import difflib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, Final, TypeAlias

from streamfn.engine.task import Task
from streamfn.errors import ConfigError
from streamfn.graph.operators import (
    Aggregate,
    ForeignKeySend,
    GlobalJoin,
    Join,
    Regroup,
    TableAggregate,
    TableStep,
)
from streamfn.graph.topology import (
    UNKNOWN,
    AnyNode,
    Function,
    Parameter,
    Policy,
    Sink,
    Source,
    Split,
    Step,
    Timer,
    Topology,
)
from streamfn.replay.history.calls import (
    WHOLE_MAX,
    Call,
    EntriesKept,
    History,
    Outcome,
    Place,
    answers_of,
    copied,
    failure_of,
)
from streamfn.replay.history.injected import Injected

Fn: TypeAlias = Callable[..., Any]

HIDDEN: Final = Parameter("streamfn watches", "context")
"""Given to functions without a context, so that their stand-in knows its record."""
_SPREAD: Final = frozenset({"flat_map", "flat_map_values"})


def watched(
    topology: Topology,
    stage: str,
    wanted: Callable[[Any], bool],
    *,
    calls_max: int | None = None,
) -> tuple[Topology, History]:
    """Return the program with one stage watched, and where its calls will be found.

    Args:
        topology: the program.
        stage: which stage; one with functions of the user's own.
        wanted: tells whether a decoded key is the one.
        calls_max: keep so many calls, the last ones.

    Raises:
        ConfigError: there is no such stage, or it calls nothing.
    """
    node = stage_named(topology, stage)
    history = History(stage, wanted)
    history.calls_max = calls_max or history.calls_max
    made = _with_stand_ins(node, history)
    if made is None:
        message = (
            f"stage {stage!r} ({node.what}) calls no function of yours; got its name; name one of "
            f"{', '.join(stages_to_watch(topology))}"
        )
        raise ConfigError(message)
    nodes: dict[str, AnyNode] = {}
    for name, each in topology.nodes.items():
        if each is node:
            nodes.update({one.name: one for one in made})
        else:
            nodes[name] = each
    return replace(topology, nodes=nodes), history


def stage_named(topology: Topology, stage: str) -> AnyNode:
    """Find a stage.

    Raises:
        ConfigError: there is none of this name.
    """
    found = topology.nodes.get(stage)
    if found is not None:
        return found
    names = stages_to_watch(topology)
    near = difflib.get_close_matches(stage, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "name one of them"
    message = (
        f"stage {stage!r} is not one of application {topology.application!r}; it has "
        f"{', '.join(names) or 'none'}; {hint}"
    )
    raise ConfigError(message)


def key_type(topology: Topology, stage: str) -> object:
    """Return the type of the keys that reach a stage, unknown if nobody has said."""
    node = stage_named(topology, stage)
    parents = [topology.nodes[name] for name in node.parents if name in topology.nodes]
    first = parents[0] if parents else node
    return first.topic.key.type if isinstance(first, Source) else first.key


def stages_to_watch(topology: Topology) -> list[str]:
    """The stages that can be watched."""
    probe = History("", lambda key: False)
    return [name for name, node in topology.nodes.items() if _with_stand_ins(node, probe)]


# --- the nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe(Function):
    """Stands beside an aggregate, before it, and tells its stand-ins for which record they run."""

    @property
    def keyed(self) -> bool:
        """As the aggregate is: a repartition in front of it is in front of this too."""
        return True


def _with_stand_ins(node: AnyNode, history: History) -> list[AnyNode] | None:
    """Return what is to stand in a node's place; None if it calls nothing."""
    match node:
        case Function():
            return [_function(node, history)]
        case Step():
            fn = _Keyed(history, node.fn, takes_key=node.takes_key, spread=node.kind in _SPREAD)
            return [replace(node, fn=fn, takes_key=True)]
        case TableStep() | Regroup():
            keyed = _Keyed(history, node.fn, takes_key=node.takes_key)
            return [replace(node, fn=keyed, takes_key=True)]
        case Join():
            return [_join(node, history)]
        case ForeignKeySend():
            keyed = _Keyed(history, node.on, takes_key=node.on_takes_key)
            return [replace(node, on=keyed, on_takes_key=True)]
        case Sink() if node.choose is not None:
            return [replace(node, choose=_Keyed(history, node.choose, takes_key=True))]
        case Split():
            return [replace(node, branches=tuple(_branches(node, history)))]
        case Aggregate(counts=False) | TableAggregate():
            return _aggregate(node, history)
        case _:
            return None


def _function(node: Function, history: History) -> Function:
    parameters = _with_context(node.parameters)
    fn = _Injecting(history, node.fn, node.parameters, spread=node.generator)
    timers = tuple(_timer(timer, history) for timer in node.timers)
    return replace(node, fn=fn, parameters=parameters, timers=timers)


def _timer(timer: Timer, history: History) -> Timer:
    fn = _Injecting(history, timer.fn, timer.parameters, spread=timer.generator, timer=timer.name)
    return replace(timer, fn=fn, parameters=_with_context(timer.parameters))


def _with_context(parameters: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
    has_one = any(parameter.kind == "context" for parameter in parameters)
    return parameters if has_one else (*parameters, HIDDEN)


def _join(node: Join, history: History) -> Join:
    keyed = _Keyed(history, node.fn, takes_key=node.takes_key)
    made = replace(node, fn=keyed, takes_key=True)
    if isinstance(made, GlobalJoin):
        on = _Keyed(history, made.on, takes_key=made.on_takes_key, part="on")
        return replace(made, on=on, on_takes_key=True)
    return made


def _branches(node: Split, history: History) -> Iterator[tuple[str, Fn | None, bool]]:
    for name, holds, takes_key in node.branches:
        if holds is None:
            yield name, None, takes_key
        else:
            yield name, _Keyed(history, holds, takes_key=takes_key, part=f"branch {name}"), True


def _aggregate(node: Aggregate | TableAggregate, history: History) -> list[AnyNode]:
    current = _Current()
    probe = Probe(
        name=f"{node.name} watched", parents=node.parents, key=node.key, value=UNKNOWN,
        fn=current, parameters=(HIDDEN,), null_values=True, policy=Policy("fail", 0, 0),
    )  # fmt: skip

    def stand_in(fn: Fn, part: str) -> Fn:
        return _Following(history, fn, current, part)

    if isinstance(node, TableAggregate):
        add, subtract = stand_in(node.add, "add"), stand_in(node.subtract, "subtract")
        return [probe, replace(node, add=add, subtract=subtract)]
    parts = ["" if len(node.fns) == 1 else f"part {name}" for name in node.parents]
    fns = tuple(stand_in(fn, part) for fn, part in zip(node.fns, parts, strict=True))
    merge = None if node.merge is None else stand_in(node.merge, "merge")
    return [probe, replace(node, fns=fns, merge=merge)]


# --- the stand-ins


class _Injecting:
    """Stands in for a function with injected parameters, or for a timer of it."""

    def __init__(
        self, history: History, fn: Fn, parameters: tuple[Parameter, ...], *,
        spread: bool, timer: str = "",
    ) -> None:  # fmt: skip
        self._history, self._fn, self._spread, self._timer = history, fn, spread, timer
        self._parameters = parameters
        kinds = [parameter.kind for parameter in _with_context(parameters)]
        self._context = kinds.index("context") - len(kinds)
        self._hidden = len(kinds) > len(parameters)

    def __call__(self, *arguments: Any) -> Any:
        context = arguments[self._context]
        given = arguments[:-1] if self._hidden else arguments
        if self._timer or self._history.wants(context.key):
            return self._kept(context, given)
        return self._fn(*given)

    def _kept(self, context: Any, arguments: tuple[Any, ...]) -> Any:
        count = len(arguments) - len(self._parameters)
        whole_max = 0 if self._timer else WHOLE_MAX
        injected = Injected(self._parameters, arguments[count:], whole_max)
        call = Call(
            _place_of(context), self._fn, f"timer {self._timer}" if self._timer else "",
            tuple(map(copied, arguments[:count])), self._spread, True, self._parameters,
            {}, Outcome([], [], {}),
        )  # fmt: skip
        end = injected.listen()
        try:
            result = self._fn(*arguments[:count], *injected.arguments.values())
            result = list(result) if self._spread else result
        except (Exception, SystemExit) as error:
            call.outcome = Outcome([], injected.sent, {}, failure_of(error))
            raise
        else:
            answers = answers_of(result, spread=self._spread, quiet=True)
            call.outcome = Outcome(answers, injected.sent, injected.after())
            return result
        finally:
            end()
            call.before = injected.before()
            if not self._timer or self._concerns(call):
                self._history.add(call)

    def _concerns(self, call: Call) -> bool:
        """A timer has no key: it belongs to the history if it wrote or sent something of the key's.

        One that raised, if it had looked at it.
        """
        wanted, out = self._history.wanted, call.outcome
        if any(wanted(each.key) for each in (*out.sent, *out.answers)):
            return True
        for parameter in self._parameters:
            before, after = call.before[parameter.name], out.after.get(parameter.name)
            held = before.entries if isinstance(before, EntriesKept) else {}
            left = after.entries if isinstance(after, EntriesKept) else {}
            of_map = parameter.store is not None and parameter.store.kind == "map"
            keys = [key for key in {**held, **left} if wanted(key[0] if of_map else key)]
            if out.raised is not None and keys:
                return True
            if any(held.get(key, self) != left.get(key, self) for key in keys):
                return True
        return False


class _Plain:
    """Stands in for a function without parameters: of a step, a join, an aggregate."""

    def __init__(self, history: History, fn: Fn, *, part: str = "", spread: bool = False) -> None:
        self._history, self._fn, self._part, self._spread = history, fn, part, spread

    def _kept(self, place: Place, given: tuple[Any, ...]) -> Any:
        call = Call(
            place, self._fn, self._part, tuple(map(copied, given)), self._spread, False, (), {},
            Outcome([], [], {}),
        )  # fmt: skip
        try:
            result = self._fn(*given)
            result = list(result) if self._spread else result
        except (Exception, SystemExit) as error:
            call.outcome = Outcome([], [], {}, failure_of(error))
            raise
        else:
            call.outcome = Outcome(answers_of(result, spread=self._spread, quiet=False), [], {})
            return result
        finally:
            self._history.add(call)


class _Keyed(_Plain):
    """Stands in for a function that can be given the key, whether it takes it or not."""

    def __init__(
        self, history: History, fn: Fn, *, takes_key: bool, part: str = "", spread: bool = False
    ) -> None:
        super().__init__(history, fn, part=part, spread=spread)
        self._takes_key = takes_key

    def __call__(self, key: Any, *values: Any) -> Any:
        given = (key, *values) if self._takes_key else values
        if self._history.wants(key):
            return self._kept(_running(key), given)
        return self._fn(*given)


class _Current:
    """The function of a probe: remembers the context of the record that is processed."""

    def __init__(self) -> None:
        self.context: Any = None

    def __call__(self, value: Any, context: Any) -> None:
        self.context = context


class _Following(_Plain):
    """Stands in for a function of an aggregate, called for the record that its probe has seen."""

    def __init__(self, history: History, fn: Fn, current: _Current, part: str) -> None:
        super().__init__(history, fn, part=part)
        self._current = current

    def __call__(self, *given: Any) -> Any:
        context = self._current.context
        if context is None or not self._history.wants(context.key):
            return self._fn(*given)
        return self._kept(_place_of(context), given)


def _place_of(context: Any) -> Place:
    return Place(
        copied(context.key), context.timestamp_ms, context.topic, context.partition,
        context.offset, context.headers, context._root(),
    )  # fmt: skip


def _running(key: Any) -> Place:
    """Find the record that is processed: the task that runs is on the stack, and its time."""
    frame: FrameType | None = inspect.currentframe()
    time_ms: int | None = None
    while frame is not None:
        held = frame.f_locals
        time_ms = held.get("timestamp") if time_ms is None else time_ms
        task = held.get("self")
        if isinstance(task, Task):
            return _place_in(task, key, time_ms)
        frame = frame.f_back
    return Place(key, time_ms or 0, "", 0, -1)


def _place_in(task: Task, key: Any, time_ms: int | None) -> Place:
    cursor = task.scope.cursor
    if cursor.offset < 0:  # a timer's answer comes by here
        at_ms = time_ms or 0
        return Place(key, at_ms, "", task.partition, -1)
    at_ms = cursor.raw[2] if time_ms is None else time_ms
    topic, partition = cursor.source
    return Place(key, at_ms, topic, partition, cursor.offset, cursor.headers, cursor.root)
