"""What the names in a function are, as far as is known without running it.

Invariant: nothing is run but attribute look-ups on modules, classes and what a function already
holds. A name counts as what it is in the function's closure, globals or builtins; what only a call
tells is unknown, and of that nothing is said. ``determinism_source`` and ``determinism_bytecode``
ask here and give ``Sight``s.
"""

import builtins
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any, Final, cast, get_origin, get_type_hints

from streamfn.graph.determinism_names import Kind


class Nothing:
    """What is not known."""


NOTHING: Final = Nothing()


@dataclass(frozen=True, slots=True)
class Instance:
    """Some instance of a class, made in the function or given to it."""

    cls: type[Any]


@dataclass(frozen=True, slots=True)
class Method:
    """A method of some instance."""

    fn: Callable[..., Any]
    owner: Instance


@dataclass(frozen=True, slots=True)
class Unloaded:
    """A module that only the function imports, or what it would have: its name is all there is."""

    name: str


@dataclass(frozen=True, slots=True)
class Sight:
    """One thing that a function names or does, at a line of its file."""

    line: int
    said: str
    thing: Any = NOTHING
    arguments: int | None = None
    """With how many the thing is called, if it is."""
    kind: Kind | None = None
    """What is done, where that is not seen from a thing."""


class Scope:
    """What a function's names are; ``known`` are local ones of which something is known."""

    def __init__(self, fn: FunctionType, owner: object) -> None:
        self._globals: dict[str, Any] = fn.__globals__
        self._closure = dict(held(fn))
        self.hidden: set[str] = set(fn.__code__.co_varnames) | set(fn.__code__.co_cellvars)
        self.free = set(fn.__code__.co_freevars)
        self.known = dict(_given(fn, owner))

    def name(self, name: str) -> Any:
        """Return what a name is, or ``NOTHING``."""
        if name in self.known:
            return self.known[name]
        if name in self.hidden:
            return NOTHING
        found: Mapping[str, Any]
        for found in (self._closure, self._globals, vars(builtins)):
            if name in found:
                return found[name]
        return NOTHING


def held(fn: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield what a function has from around it, by name."""
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # bound later than this
            continue


def _given(fn: FunctionType, owner: object) -> Iterator[tuple[str, object]]:
    """Yield the parameters of which the class is known: the first of a method, annotated ones."""
    names = fn.__code__.co_varnames[: fn.__code__.co_argcount]
    try:
        hints = get_type_hints(fn)
    except (NameError, TypeError, AttributeError, SyntaxError):
        hints = {}
    for name in names:
        hint = hints.get(name)
        cls = get_origin(hint) or hint
        if isinstance(cls, type) and cls.__module__ != "builtins":
            yield name, Instance(cls)
    if owner is not NOTHING and names:
        yield names[0], owner


def attribute(base: Any, name: str) -> Any:
    """Return an attribute without running anything of the user's, or ``NOTHING``."""
    if isinstance(base, Nothing | Method):
        return NOTHING
    if isinstance(base, Unloaded):
        return Unloaded(f"{base.name}.{name}")
    if isinstance(base, Instance):
        found = inspect.getattr_static(base.cls, name, NOTHING)
        if isinstance(found, staticmethod | classmethod):
            return getattr(base.cls, name)
        found = found.fget if isinstance(found, property) else found
        if isinstance(found, FunctionType):
            return Method(found, base)
        return (
            NOTHING if hasattr(cast(Any, type(found)), "__set__") else found
        )  # each instance has its own
    if not isinstance(base, ModuleType | type):
        found = inspect.getattr_static(cast(Any, type(base)), name, NOTHING)
        if isinstance(found, property):
            return Method(found.fget, base) if found.fget else NOTHING
    try:
        return getattr(base, name, NOTHING)
    except Exception:  # a module or class may do anything there
        return NOTHING


def imported(module: str) -> Any:
    """A module that is there already, or Python's own; of others only the name."""
    if module in sys.modules:
        return sys.modules[module]
    if module.partition(".")[0] not in sys.stdlib_module_names:
        return Unloaded(module)
    return importlib.import_module(module)
