"""Annotations as data: resolved to types, taken apart, and compared.

Invariant: only an *evident* mismatch counts as one. What cannot be known (Any, type variables,
protocols, a name that exists only for the type checker) fits everything: mypy and pyright judge it,
not the build.
"""

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import typing_extensions

from streamfn.graph.topology import UNKNOWN
from streamfn.serde import Serde, type_name


@dataclass(frozen=True, slots=True)
class Unresolved:
    """An annotation written as text that names something which cannot be found."""

    text: str
    reason: str


def underlying(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function that was written: behind decorators and what ``partial`` has bound."""
    plain: Callable[..., Any] = inspect.unwrap(fn)
    return underlying(plain.func) if isinstance(plain, functools.partial) else plain


def resolved_hints(fn: Callable[..., Any], names: Mapping[str, object]) -> dict[str, object]:
    """Resolve a function's annotations; ``names`` holds the caller's local ones."""
    plain = underlying(fn)
    if not inspect.isroutine(plain):
        plain = getattr(plain, "__call__", plain)  # noqa: B004  # the method is wanted, not a test
    scope = {**names, **_closure(plain)}
    found = getattr(plain, "__annotations__", {})
    outer = getattr(plain, "__globals__", {})
    return {name: _resolved(annotation, outer, scope) for name, annotation in found.items()}


def _closure(fn: Callable[..., Any]) -> dict[str, object]:
    """The names a function has from around it; PEP 563 keeps only those that its body uses."""
    found: dict[str, object] = {}
    code = getattr(fn, "__code__", None)
    for name, cell in zip(
        getattr(code, "co_freevars", ()), getattr(fn, "__closure__", None) or (), strict=False
    ):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # bound later than this
            continue
    return found


def _resolved(annotation: object, outer: dict[str, Any], scope: dict[str, object]) -> object:
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        hints = typing.get_type_hints(holder, outer, scope, include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        return Unresolved(str(annotation), str(error))
    return hints["it"]


def plain_type(annotation: object) -> object:
    """Strip what says nothing about the values: Serde, Annotated, NewType, aliases, Literal."""
    if isinstance(annotation, Serde):
        return plain_type(typing.cast("Serde[object]", annotation).type)
    if isinstance(annotation, (typing.TypeVar, Unresolved)) or annotation is Any:
        return UNKNOWN
    if isinstance(annotation, typing.NewType):
        return plain_type(annotation.__supertype__)
    if isinstance(annotation, typing_extensions.TypeAliasType):
        return plain_type(annotation.__value__)
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return plain_type(typing.get_args(annotation)[0])
    if origin is typing.Literal:
        kinds: list[object] = [type(value) for value in typing.get_args(annotation)]
        return kinds[0] if len(set(kinds)) == 1 else UNKNOWN
    return type(None) if annotation is None else annotation


def members(annotation: object) -> list[object]:
    """The members of a union, each plain; of another type, itself."""
    plain = plain_type(annotation)
    if typing.get_origin(plain) in {typing.Union, types.UnionType}:
        return [inner for part in typing.get_args(plain) for inner in members(part)]
    return [plain]


def allows_none(annotation: object) -> bool:
    """Tell whether None is one of its values, as far as can be known."""
    return any(member in (UNKNOWN, type(None), object) for member in members(annotation))


def without_none(annotation: object) -> object:
    """Take None out of a union; None alone stays."""
    plain = plain_type(annotation)
    if typing.get_origin(plain) not in {typing.Union, types.UnionType}:
        return annotation
    return union([part for part in typing.get_args(plain) if part is not type(None)])


def union(parts: list[Any]) -> object:
    """Make one type of several; unknown of none."""
    return functools.reduce(lambda one, other: one | other, parts) if parts else UNKNOWN


def mentions(annotation: object, wanted: type) -> bool:
    """Tell whether a type stands anywhere in an annotation."""
    return wanted in _parts(annotation)


def _parts(annotation: object) -> Iterator[object]:
    yield typing.get_origin(annotation) or annotation
    for part in typing.get_args(annotation):
        yield from _parts(part)


def fits(given: object, wanted: object) -> bool:
    """Answer False only where a ``given`` evidently is no ``wanted``; None is left out of it."""
    options = members(wanted)
    for member in members(given):
        if member is type(None) and len(members(given)) > 1:
            continue
        if not any(_fits_one(member, option) for option in options):
            return False
    return True


def _fits_one(given: object, wanted: object) -> bool:
    if UNKNOWN in (given, wanted):
        return True
    kind, other = typing.get_origin(given) or given, typing.get_origin(wanted) or wanted
    if not (isinstance(kind, type) and isinstance(other, type)):
        return True
    if getattr(other, "_is_protocol", False):
        return True
    if kind is int and other in (float, complex):
        return True  # as in the type checkers' numeric tower
    try:
        if not issubclass(kind, other):
            return False
    except TypeError:  # a TypedDict, for one
        return True
    return kind is not other or _arguments_fit(typing.get_args(given), typing.get_args(wanted))


def _arguments_fit(given: tuple[object, ...], wanted: tuple[object, ...]) -> bool:
    if len(given) != len(wanted) or Ellipsis in (*given, *wanted):
        return not given or not wanted or Ellipsis in (*given, *wanted)
    return all(fits(mine, yours) for mine, yours in zip(given, wanted, strict=True))


def said(annotation: object) -> str:
    """Write a type for people."""
    if isinstance(annotation, Serde):
        return said(typing.cast("Serde[object]", annotation).type)
    if isinstance(annotation, Unresolved):
        return annotation.text
    return "an unknown type" if annotation is UNKNOWN else type_name(annotation)
