"""Names of types as a program writes them, for errors, ``describe`` and serdes: ``dict[str, int]``.

Invariant: any object has a name; naming never raises, so that an error about an odd type can be
told.
"""

import types
from typing import (
    Annotated,
    Any,
    ForwardRef,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
)

from streamfn.serde.base import Serde


def type_name(type_: object) -> str:
    """Name a type as it stands in code.

    >>> type_name(dict[str, list[int | None]])
    'dict[str, list[int | None]]'
    """
    if type_ is None or type_ is types.NoneType:
        return "None"
    if isinstance(type_, Serde):
        return type_.name
    if isinstance(type_, str | ForwardRef):
        return type_ if isinstance(type_, str) else type_.__forward_arg__
    if isinstance(type_, list):
        return f"[{', '.join(map(type_name, cast('list[object]', type_)))}]"
    if get_origin(type_) is not None:
        return _generic_name(type_)
    if type_ is Any:
        return "Any"
    if isinstance(type_, TypeVar):
        return type_.__name__
    return str(getattr(type_, "__name__", repr(type_)))


def _generic_name(type_: object) -> str:
    """Name what has arguments: a union, a literal, an annotated type, a container, a generic."""
    origin, arguments = get_origin(type_), get_args(type_)
    if origin is Annotated:
        return type_name(arguments[0])
    if origin is Union or origin is types.UnionType:
        return " | ".join(map(type_name, arguments))
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    inner = ", ".join("..." if item is Ellipsis else type_name(item) for item in arguments)
    return f"{type_name(origin)}[{inner}]" if inner else f"{type_name(origin)}[()]"
