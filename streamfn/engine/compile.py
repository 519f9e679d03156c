"""The seam between a plan and what runs: a sub-topology and a scope in, one callable a source out.

Linear chains become generated functions (``generate``), all others closures (``closures``).
Invariant: which of the two ran can be told from speed only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from streamfn.engine.closures import Compiler
from streamfn.engine.generate import generate, linear
from streamfn.engine.scope import Idle, RunBatch, Scope
from streamfn.graph.plan import Subtopology
from streamfn.graph.topology import Function, Source, Timer
from streamfn.record import Columns


@dataclass(frozen=True, slots=True)
class CompiledChain:
    """What runs for one source; ``marked`` are the columns that its marks belong to."""

    source: Source
    run: RunBatch
    marked: tuple[Columns, ...]
    text: str
    """The generated code, or "" for closures."""


@dataclass(frozen=True, slots=True)
class CompiledTimer:
    """What runs when a timer is due."""

    stage: str
    timer: Timer
    fire: Callable[[int], None]
    marked: tuple[Columns, ...]


@dataclass(frozen=True, slots=True)
class CompiledIdle:
    """What runs when nothing has come for a time."""

    idle: Idle
    marked: tuple[Columns, ...]


@dataclass(frozen=True, slots=True)
class Compiled:
    """Everything that one task runs."""

    chains: dict[str, CompiledChain]
    timers: tuple[CompiledTimer, ...]
    idle: tuple[CompiledIdle, ...] = ()


def compile_task(scope: Scope, *, generated: bool = True) -> Compiled:
    """Compile all chains and timers of a task; ``generated`` False uses closures throughout."""
    compiler = Compiler(scope)
    chains = {
        source.topic.name: _chain(compiler, source, generated)
        for source in scope.subtopology.sources
    }
    timers = tuple(
        _timer(compiler, node, timer)
        for node in scope.subtopology.nodes.values()
        if isinstance(node, Function)
        for timer in node.timers
    )
    bounds = tuple(compiler.bounds)

    def reset() -> None:
        for bound in bounds:
            bound.reset()

    scope.reset = reset
    nodes = scope.subtopology.nodes
    idle = tuple(
        CompiledIdle(each, tuple(compiler.outputs_behind(nodes[each.stage])))
        for each in compiler.idle
    )
    return Compiled(chains, timers, idle)


def _chain(compiler: Compiler, source: Source, generated: bool) -> CompiledChain:
    made = generate(compiler, source) if generated else None
    run, text = made or (compiler.batch(source), "")
    return CompiledChain(source, run, tuple(compiler.outputs_behind(source)), text)


def _timer(compiler: Compiler, node: Function, timer: Timer) -> CompiledTimer:
    compiler.source = None
    fire = compiler.timer(node, timer)
    return CompiledTimer(node.name, timer, fire, tuple(compiler.outputs_behind(node)))


def explain(sub: Subtopology, source: Source) -> str:
    """Say how a source's chain is compiled and, for closures, why."""
    nodes, why = linear(sub, source)
    names = " → ".join(node.name for node in nodes)
    return f"generated: {names}" if not why else f"closures: {why}"


def stages_of(run: Any) -> dict[int, str]:
    """Line → stage of a generated chain."""
    found: dict[int, str] = getattr(run, "stages", {})
    return found
