"""Reads the functions given to operators: how many arguments, and what they answer.

Invariant: the number of arguments alone decides between ``fn(value)`` and ``fn(key, value)``, and
it is read when the program is built.
"""

import functools
import inspect
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias, cast, get_args, get_origin

from streamfn.function.annotations import (
    Unresolved,
    plain_type,
    resolved_hints,
    without_none,
)
from streamfn.graph.builder import Builder
from streamfn.graph.places import user_frame
from streamfn.graph.topology import UNKNOWN

Forms: TypeAlias = Mapping[int, str]
"""How a function may be called, by the number of its arguments."""

OF_VALUE: Final[Forms] = {1: "fn(value)"}
OF_PAIR: Final[Forms] = {2: "fn(key, value)"}
OF_RECORD: Final[Forms] = {**OF_VALUE, **OF_PAIR}
OF_AGGREGATE: Final[Forms] = {2: "fn(aggregate, value)"}
OF_SESSIONS: Final[Forms] = {2: "fn(one, other)"}
OF_SIDES: Final[Forms] = {2: "fn(left, right)", 3: "fn(key, left, right)"}
OF_NOTHING: Final[Forms] = {0: "fn()"}


def check_arguments(builder: Builder, fn: object, forms: Forms, kind: str, where: str) -> int:
    """Return how many arguments to call ``fn`` with, one of ``forms``; report what fits none."""
    allowed = tuple(forms)
    if not callable(fn):
        builder.mistake(where, f"{kind} needs a function", repr(fn), f"pass {_said(forms)}")
        return allowed[0]
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):  # a builtin without a signature counts as one argument
        return allowed[0]
    needed, most = _counts(parameters)
    wanted = max(needed, allowed[0])
    demanding = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if wanted in allowed and wanted <= most and not demanding:
        return wanted
    builder.mistake(
        where,
        f"the function of {kind} cannot be called as {_said(forms)}",
        f"{_called(fn)} with {_taken(parameters)}",
        f"write it as {_said(forms)}",
    )
    return allowed[0]


def _called(fn: object) -> str:
    """What a function is called in an error: its own name, if it has one."""
    name = getattr(fn, "__name__", type(fn).__name__)
    return "a lambda" if name == "<lambda>" else repr(name)


def _said(forms: Forms) -> str:
    return " or ".join(forms.values())


def _taken(parameters: Iterable[inspect.Parameter]) -> str:
    return ", ".join(str(parameter) for parameter in parameters) or "no parameters"


def _counts(parameters: Iterable[inspect.Parameter]) -> tuple[int, float]:
    """How many positional arguments a call needs, and how many it may have."""
    needed, most = 0, 0.0
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            most = float("inf")
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            most += 1
            needed += parameter.default is parameter.empty
    return needed, most


def answer_of(fn: object) -> object:
    """The type a named function says it answers, a class itself; else unknown."""
    if not callable(fn):
        return UNKNOWN
    if isinstance(fn, type):
        return cast("object", fn)
    if isinstance(fn, functools.partial):
        return answer_of(fn.func)
    frame = user_frame()
    answer = resolved_hints(fn, {} if frame is None else frame.f_locals).get("return", UNKNOWN)
    return UNKNOWN if isinstance(answer, Unresolved) else answer


def value_of(answer: object) -> object:
    """What a stream carries of values of a type: null values have no type."""
    return UNKNOWN if plain_type(answer) is UNKNOWN else without_none(answer)


def item_of(answer: object) -> object:
    """The items of an iterable type."""
    plain = plain_type(answer)
    if plain is str:
        return str
    origin, arguments = get_origin(plain), get_args(plain)
    if not arguments or not isinstance(origin, type) or not issubclass(origin, Iterable):
        return UNKNOWN
    if origin is tuple and arguments[-1] is not Ellipsis:
        return arguments[0] if len(set(arguments)) == 1 else UNKNOWN
    return arguments[0]


def pair_of(answer: object) -> tuple[object, object]:
    """Key and value of ``tuple[K, V]``."""
    plain = plain_type(answer)
    arguments = get_args(plain)
    if get_origin(plain) is tuple and len(arguments) == 2 and arguments[1] is not Ellipsis:
        return value_of(arguments[0]), value_of(arguments[1])
    return UNKNOWN, UNKNOWN
