"""The lint of ``streamfn describe --check``: what a replay of a program would do differently.

Each function of a stage is read, and each function of the user's own that it names, and so on.
Invariant: only what a stage can reach is judged, and only what is certain is told: a name that is
the wall clock, not one that looks like it. A topology comes from the program, findings go to the
command line.
"""

import dataclasses
import functools
import inspect
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any, Final, TypeAlias, cast

import msgspec

from streamfn.errors import Mistake
from streamfn.graph.determinism_names import Kind, by_name, qualified, verdict
from streamfn.graph.determinism_scope import (
    NOTHING,
    Instance,
    Method,
    Sight,
    Unloaded,
    held,
)
from streamfn.graph.determinism_source import SILENCE, sights
from streamfn.graph.places import place
from streamfn.graph.topology import Node, Source, Timer, Topology

Reached: TypeAlias = tuple[FunctionType, object]
"""A function, and the instance that it is called on, ``NOTHING`` for a plain one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that may differ in a replay; ``path`` goes from the stage's function to it."""

    where: str
    stage: str
    path: tuple[str, ...]
    wrong: str
    got: str
    cure: str

    @property
    def mistake(self) -> Mistake:
        """The finding as mistakes are told."""
        wrong = f"stage {self.stage!r} {self.wrong} (in {' → '.join(self.path)})"
        cure = f"{self.cure}, or end the line with {SILENCE!r} if it is meant"
        return Mistake(self.where, wrong, self.got, cure)


def findings(topology: Topology) -> list[Finding]:
    """Judge all functions of a program's stages, in order of the stages; each place once a stage.

    >>> findings(Topology("app", {}))
    []
    """
    found: dict[Finding, None] = {}
    for node in topology.nodes.values():
        walk = _Walk(node.name, node.where)
        for fn in _functions_of(node):
            walk.look(fn)
        found.update(dict.fromkeys(walk.found))
    return list(found)


class _Walk:
    """What one stage reaches, each function once."""

    def __init__(self, stage: str, where: str) -> None:
        self.found: list[Finding] = []
        self._stage, self._where = stage, where
        self._seen: set[object] = set()
        self._places: set[tuple[str, Kind]] = set()

    def look(self, thing: object) -> None:
        """Judge what a stage calls: the user's own, or what streamfn has made of it."""
        kind = verdict(thing, None)
        if kind is not None:
            self._add(self._where, kind, _called(thing), (_called(thing),))
            return
        waiting: list[tuple[FunctionType, object, tuple[str, ...]]] = [
            (fn, owner, (_name(fn),)) for fn, owner in _behind(thing)
        ]
        while waiting:
            fn, owner, path = waiting.pop(0)
            if fn.__code__ in self._seen:
                continue
            self._seen.add(fn.__code__)
            for sight in sights(fn, owner):
                kind = sight.kind or _judged(sight)
                where = place(fn.__code__.co_filename, sight.line)
                if kind is not None:
                    self._add(where, kind, sight.said, path)
                    continue
                waiting += [(f, o, (*path, _name(f))) for f, o in reached(sight.thing)]
                for field, factory in _factories(sight.thing):
                    made = verdict(factory, 0)
                    if made is not None:
                        said = f"{sight.said}(), whose field {field!r} is {_called(factory)}()"
                        self._add(where, made, said, path)

    def _add(self, where: str, kind: Kind, said: str, path: tuple[str, ...]) -> None:
        if (where, kind) not in self._places:
            self._places.add((where, kind))
            self.found.append(Finding(where, self._stage, path, kind.wrong, said, kind.cure))


def _name(fn: FunctionType) -> str:
    return fn.__qualname__.rpartition("<locals>.")[2]


def _judged(sight: Sight) -> Kind | None:
    if isinstance(sight.thing, Unloaded):
        return by_name(sight.thing.name, sight.arguments)
    thing = sight.thing.fn if isinstance(sight.thing, Method) else sight.thing
    return verdict(thing, sight.arguments)


def _called(thing: object) -> str:
    return qualified(thing).removeprefix("builtins.")


def _factories(cls: object) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what makes the defaults of a class's fields, by their names."""
    if not isinstance(cls, type):
        return
    if dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            if field.default_factory is not dataclasses.MISSING:
                yield field.name, field.default_factory
    elif issubclass(cls, msgspec.Struct):
        for each in msgspec.structs.fields(cls):
            if each.default_factory is not msgspec.NODEFAULT:
                yield each.name, each.default_factory


# what a stage calls
def _functions_of(node: Node) -> Iterator[object]:
    """Yield what a node calls: all callables among its fields, its timers' too."""
    for field in dataclasses.fields(node):
        if field.name not in ("parameters", "stores"):
            yield from _callables(getattr(node, field.name))
    if isinstance(node, Source) and node.topic.timestamp is not None:
        yield node.topic.timestamp


def _callables(value: object) -> Iterator[object]:
    if isinstance(value, tuple):
        for item in cast("tuple[object, ...]", value):
            yield from _callables(item)
    elif isinstance(value, Timer):
        yield value.fn
    elif callable(value) and not isinstance(value, type):
        yield value


def _behind(thing: object, depth: int = 0) -> Iterator[Reached]:
    """Yield the user's functions in a callable: itself, or what streamfn's own function holds."""
    found = list(reached(thing))
    if found or depth > _DEPTH_MAX:
        yield from found
        return
    if isinstance(thing, functools.partial):
        inner: list[Any] = [thing.func, *thing.args, *thing.keywords.values()]
    elif isinstance(thing, FunctionType):
        inner = [value for _, value in held(thing)] + list(thing.__defaults__ or ())
    else:
        return
    for value in inner:
        if callable(value):
            yield from _behind(value, depth + 1)


_DEPTH_MAX: Final = 5


# what is the user's own
def reached(thing: Any) -> Iterator[Reached]:
    """Yield the functions of the user's own that a call of a thing would run."""
    if isinstance(thing, Method):
        yield from _plain(thing.fn, thing.owner)
    elif isinstance(thing, MethodType):
        owner = thing.__self__
        yield from _plain(thing.__func__, owner)
    elif isinstance(thing, functools.partial):
        for part in (thing.func, *thing.args, *thing.keywords.values()):
            yield from reached(part)
    elif isinstance(thing, property):
        yield from _plain(thing.fget, NOTHING)
    elif isinstance(thing, type):
        for name in ("__new__", "__init__", "__post_init__"):
            yield from _plain(inspect.getattr_static(thing, name, None), Instance(thing))
    elif isinstance(thing, FunctionType):
        yield from _plain(thing, NOTHING)
    elif hasattr(thing, "__wrapped__"):
        yield from reached(thing.__wrapped__)
    elif not isinstance(thing, Instance) and callable(thing):
        yield from _plain(inspect.getattr_static(type(thing), "__call__", None), thing)


def _plain(fn: object, owner: object) -> Iterator[Reached]:
    if isinstance(fn, FunctionType):
        if is_users(fn):
            yield fn, owner
        wrapped = getattr(fn, "__wrapped__", None)
        if wrapped is not None:
            yield from reached(wrapped)


def is_users(fn: Callable[..., Any]) -> bool:
    """True for a function of the program: not Python's, not an installed package's, not ours."""
    module = str(getattr(fn, "__module__", ""))
    file = fn.__code__.co_filename
    if module.partition(".")[0] == "streamfn" and not module.startswith("streamfn.topologies"):
        return False
    if file.startswith("<"):
        return not file.startswith(("<frozen", "<attrs")) and file != "<string>"
    path = Path(file)
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return not any(path.is_relative_to(folder) for folder in _python_folders())


@functools.cache
def _python_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple({paths[name] for name in ("stdlib", "platstdlib")})
