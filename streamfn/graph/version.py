"""The version of a program's code: twelve digits that change when its answers may.

Nodes, with the functions and types that they hold, come from a ``Topology``; the digits go into
headers and to people. Invariant: the same program has the same version in each process and on each
machine; comments, layout and docstrings do not count. Of libraries only the release does, and what
an object of theirs holds does not.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import partial
from hashlib import blake2b
from importlib import import_module, util
from inspect import getattr_static
from operator import attrgetter, itemgetter, methodcaller
from pathlib import PurePath
from re import Pattern
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final, cast, get_args, get_origin
from uuid import UUID

import msgspec

from streamfn.config import Config
from streamfn.graph.code_names import Chain, code_text, imports_of, names_in, names_of
from streamfn.graph.code_owner import (
    file_of,
    is_library,
    packages_at,
    portable,
    release,
)
from streamfn.graph.code_tree import class_tree, function_tree, module_tree, tree_text
from streamfn.graph.plan import Plan
from streamfn.graph.topology import UNKNOWN, Topology
from streamfn.serde import Serde

DIGITS: Final = 12
_SAID_BY_REPR: Final = (
    bool, int, float, complex, bytes, type(None), type(Ellipsis), range, slice, date, datetime,
    time, timedelta, timezone, Decimal, Fraction, UUID, msgspec.Meta,
)  # fmt: skip
_GETTERS: Final = (attrgetter, itemgetter, methodcaller)
_UNSAID: Final = frozenset({"where", "doc", "config"})
"""Fields of a program's parts that decide no answer."""
_MISSING: Final = object()


def code_version(topology: Topology) -> str:
    """Return the version of a program's code."""
    files = {node.where.rpartition(":")[0] for node in topology.nodes.values()}
    code = _Code(packages_at(frozenset(files - {""})))
    code.tell("python", ".".join(map(str, sys.version_info[:2])), release("streamfn"))
    code.tell("policy", code.text(topology.policy))
    for name, node in topology.nodes.items():
        code.tell("node", name, type(node).__name__, code.text(node))
    for name, table in topology.global_tables.items():
        code.tell("global table", name, code.text(table))
    for name, topic in topology.topics.items():
        code.tell("topic", name, code.text(topic))
    return code.digits()


def told(plan: Plan, config: Config) -> Plan:
    """Have a plan's outputs say what made them, if that is asked for."""
    if not config.provenance:
        return plan
    return replace(plan, provenance=code_version(plan.topology))


class _Code:
    """Takes down what a program is made of; each function and class once, by its number."""

    def __init__(self, own: frozenset[str]) -> None:
        self._own = own
        self._hash = blake2b(digest_size=DIGITS // 2)
        self._numbers: dict[int, int] = {}
        self._kept: list[object] = []
        """So that no number is given twice."""
        self._waiting: list[Callable[[], Iterable[str]]] = []
        self._inside: set[int] = set()

    def tell(self, *parts: str) -> None:
        """Add some facts."""
        for part in parts:
            self._hash.update(f"{len(part)} {part}\n".encode("utf-8", "surrogatepass"))

    def digits(self) -> str:
        """Take down what was referred to so far, and what that refers to; return the version."""
        done = 0
        while done < len(self._waiting):
            self.tell(f"part {done}", *self._waiting[done]())
            done += 1
        return self._hash.hexdigest()

    def text(self, value: Any) -> str:
        """Write a value; what is large or refers to others is a number, and told later."""
        if isinstance(value, Enum):
            return f"{self.text(type(value))}.{value.name}"
        if value is UNKNOWN or _is(value, *_SAID_BY_REPR):
            return f"{type(value).__name__} {value!r}"
        if isinstance(value, str | PurePath):
            return f"{type(value).__name__} {portable(str(value))!r}"
        if get_origin(value) is not None and not isinstance(value, type):
            return f"{self.text(get_origin(value))}[{self._listed(get_args(value))}]"
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, ModuleType):
            return self._module(value)
        return self._callable(value) or self._held(value)

    def _listed(self, values: Iterable[object]) -> str:
        return ", ".join(map(self.text, values))

    def _later(self, what: object, make: Callable[[], Iterable[str]]) -> str:
        if id(what) not in self._numbers:
            self._numbers[id(what)] = len(self._waiting)
            self._kept.append(what)
            self._waiting.append(make)
        return f"@{self._numbers[id(what)]}"

    # functions
    def _callable(self, value: Any) -> str:
        if isinstance(value, FunctionType):
            return self._later(value, lambda: self._function(value))
        if isinstance(value, MethodType):
            return f"method {self.text(value.__func__)} of {self.text(value.__self__)}"
        if _is(value, partial):
            return f"partial {self.text(value.func)} {self._listed([value.args, value.keywords])}"
        if _is(value, *_GETTERS):
            return f"{type(value).__name__} {self.text(value.__reduce__()[1:])}"
        if _is(value, staticmethod, classmethod):
            return f"{type(value).__name__} {self.text(value.__func__)}"
        if isinstance(value, property):
            return f"property {self._listed([value.fget, value.fset, value.fdel])}"
        if isinstance(value, BuiltinFunctionType):
            owner = value.__self__
            return f"builtin {value.__qualname__} {'' if owner is None else self.text(owner)}"
        return ""

    def _function(self, fn: FunctionType) -> Iterable[str]:
        """What a function does, what it was made with, and what it refers to."""
        cells = [self._content(cell) for cell in fn.__closure__ or ()]
        with_it = self._listed([fn.__defaults__, fn.__kwdefaults__])
        module = fn.__module__ or ""
        if is_library(module, self._own):
            yield f"{module}.{fn.__qualname__} {release(module)}"
        else:
            tree = function_tree(fn.__code__, fn.__globals__)
            yield code_text(fn.__code__, fn.__doc__) if tree is None else tree_text(tree)
            yield from self._referred(names_of(fn.__code__), fn.__globals__)
            yield from self._imported(fn.__code__, fn.__globals__)
        yield f"{with_it} {', '.join(cells)}"
        if "__wrapped__" in vars(fn):
            yield self.text(vars(fn)["__wrapped__"])

    def _content(self, cell: Any) -> str:
        try:
            return self.text(cell.cell_contents)
        except ValueError:
            return "empty"

    def _referred(self, chains: Iterable[Chain], names: Mapping[str, Any]) -> Iterable[str]:
        for name, *attributes in dict.fromkeys(chains):
            value = names.get(name, _MISSING)
            while isinstance(value, ModuleType) and attributes and not self._is_library(value):
                value = getattr(value, attributes.pop(0), _MISSING)
            if value is not _MISSING:
                yield f"{name} is {self.text(value)}"

    def _imported(self, code: CodeType, names: Mapping[str, Any]) -> Iterable[str]:
        """What is imported while it runs: it may not be there yet."""
        for name, level, wanted in imports_of(code):
            package = str(names.get("__package__") or "")
            try:
                full = util.resolve_name("." * level + name, package) if level else name
                found = util.find_spec(full)
                library = found is None or is_library(full.partition(".")[0], self._own)
                module = None if library else import_module(full)
            except (ImportError, ValueError):
                module = None
            if module is None or self._is_library(module):
                yield f"imports {name} {release(name) if not level else ''}"
            elif wanted:
                yield from self._referred([(each,) for each in wanted], vars(module))
            else:
                yield self.text(module)

    # modules, classes, objects
    def _is_library(self, module: ModuleType) -> bool:
        return is_library(module.__name__, self._own)

    def _module(self, module: ModuleType) -> str:
        name = module.__name__
        if self._is_library(module):
            return f"module {name} {release(name)}"
        return self._later(module, lambda: self._whole(module))

    def _whole(self, module: ModuleType) -> Iterable[str]:
        """A module of which it is not known what is wanted."""
        tree = module_tree(file_of(module), vars(module))
        if tree is not None:
            yield tree_text(tree)
            yield from self._referred(names_in(tree), vars(module))

    def _class(self, cls: type) -> str:
        if is_library(cls.__module__, self._own):
            return f"{cls.__module__}.{cls.__qualname__} {release(cls.__module__)}"
        return self._later(cls, lambda: self._members(cls))

    def _members(self, cls: type) -> Iterable[str]:
        tree = class_tree(cls)
        if tree is not None:
            yield tree_text(tree)
            yield from self._referred(names_in(tree), vars(sys.modules[cls.__module__]))
        yield f"{cls.__qualname__.rpartition('.')[2]}({self._listed(cls.__bases__)})"
        for name, member in sorted(vars(cls).items()):
            if callable(member) or not name.startswith("__"):
                yield f"{name}: {self._member(member)}"
        hints = cast("dict[str, object]", vars(cls).get("__annotations__", {}))
        yield self._listed(hints.items())
        yield self.text(getattr(cls, "__struct_defaults__", ()))

    def _member(self, member: Any) -> str:
        """A member that Python or a decorator has made follows from the class itself."""
        if isinstance(member, FunctionType) and member.__code__.co_filename.startswith("<"):
            return "made"
        return self.text(member)

    def _held(self, value: Any) -> str:
        """An object: its class, and what it holds if that can be known."""
        if id(value) in self._inside:
            return "itself"
        self._inside.add(id(value))
        try:
            return f"{self._class(value.__class__)} {self._contents(value)}"
        finally:
            self._inside.discard(id(value))

    def _contents(self, value: Any) -> str:
        if _is(value, Serde):
            return self._serde(value)
        if _is(value, Mapping):
            return ", ".join(f"{self.text(key)}: {self.text(each)}" for key, each in value.items())
        if _is(value, list, tuple):
            return self._listed(value)
        if _is(value, set, frozenset):
            return self._listed(sorted(value, key=_place_in_set))
        if _is(value, Pattern):
            return f"{value.pattern!r} {value.flags}"
        wrapped = getattr_static(value, "__wrapped__", None)
        known = "" if wrapped is None else self.text(wrapped)
        return f"{known} {self._fields(value)}"

    def _serde(self, serde: "Serde[Any]") -> str:
        """A library's serde is known by its name and type, a user's by what its functions do."""
        functions = [serde.encode, serde.decode, serde.hashed]
        own = [each for each in functions if isinstance(each, FunctionType | MethodType)]
        users = [each for each in own if not is_library(each.__module__ or "", self._own)]
        return self._listed([serde.name, serde.type, serde.form, users])

    def _fields(self, value: Any) -> str:
        kind = value.__class__
        if isinstance(value, msgspec.Struct):
            names = kind.__struct_fields__
        elif is_dataclass(value):
            names = tuple(field.name for field in fields(value))
        elif is_library(kind.__module__, self._own):
            names = ("name", "spec") if kind.__module__.startswith("streamfn.") else ()
        else:
            names = tuple(sorted({*getattr(value, "__dict__", ()), *_slots(kind)}))
        found = [(name, getattr(value, name, _MISSING)) for name in names if name not in _UNSAID]
        return ", ".join(
            f"{name}={self.text(each)}" for name, each in found if each is not _MISSING
        )


def _slots(kind: Any) -> set[str]:
    named: list[Any] = [each.__dict__.get("__slots__", ()) for each in kind.__mro__]
    return {name for slots in named for name in ((slots,) if isinstance(slots, str) else slots)}


def _is(value: object, *kinds: Any) -> bool:
    """True if a value is of one of the classes; what they hold stays anything."""
    return isinstance(value, kinds)


def _place_in_set(value: Any) -> tuple[str, str]:
    """What a set is put in order by: never an address."""
    kind = str(type(value).__name__)
    if isinstance(value, Enum):
        return kind, value.name
    if _is(value, frozenset):
        return kind, str(sorted(map(_place_in_set, value)))
    if _is(value, tuple):
        return kind, str(list(map(_place_in_set, value)))
    if _is(value, str, *_SAID_BY_REPR):
        return kind, repr(value)
    return kind, str(getattr(value, "__qualname__", ""))
