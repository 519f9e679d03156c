"""The value that a new key starts with: None if its type allows None, else ``T()``.

Invariants: a start is given only after one was made, encoded and decoded, so that a type without
one is a mistake of the build and not of the first record; and a start that can be changed is
decoded anew for each key, so that it shares nothing, not even a default of its class. It comes from
the annotation of a ``Value``, or from its default, and goes to the store's first read.
"""

from collections.abc import Callable, Iterable
from datetime import timedelta
from decimal import Decimal

from msgspec import NODEFAULT, MsgspecError, inspect

from streamfn.errors import SerdeError
from streamfn.serde.hooks import empty_container
from streamfn.serde.names import type_name
from streamfn.serde.shapes import (
    ObjectShape,
    adapter_in,
    allows_none,
    bare,
    constructor,
    is_immutable,
    shape_of,
)
from streamfn.serde.state import state_serde

_BUILTINS: dict[type[inspect.Type], Callable[[], object]] = {
    inspect.BoolType: bool,
    inspect.IntType: int,
    inspect.FloatType: float,
    inspect.StrType: str,
    inspect.BytesType: bytes,
    inspect.ByteArrayType: bytearray,
    inspect.DecimalType: Decimal,
    inspect.TimeDeltaType: timedelta,
    inspect.ListType: list,
    inspect.SetType: set,
    inspect.FrozenSetType: frozenset,
    inspect.VarTupleType: tuple,
    inspect.DictType: dict,
}


def start_of(type_: object) -> Callable[[], object]:
    """Return what makes the start of a new key; immutable starts are one shared object.

    The shared one has been through its bytes, so that it is what a restored one would be: ``0.0``
    for a float field whose default says ``0``.

    Raises:
        SerdeError: the type has no start; the text says why.
    """
    shape = shape_of(type_)
    if allows_none(shape):
        return _none
    make = _maker(type_, shape)
    try:
        again = _copies(type_, make())
    except SerdeError:
        raise
    except Exception as error:
        raise _no_start(type_, _reason(error)) from error
    if not _runs_code(shape):
        return again
    serde = state_serde(type_)
    return lambda: serde.decode(serde.encode(make()))


def start_from(type_: object, start: object) -> Callable[[], object]:
    """Return what makes a start that the program gives: itself, or copies if it can be changed.

    Raises:
        SerdeError: a store of the type could not hold it.
    """
    try:
        again = _copies(type_, start)
        return (lambda: start) if is_immutable(type_) else again
    except SerdeError:
        raise
    except Exception as error:
        message = f"{start!r:.80} is no value of type {type_name(type_)}; {_reason(error)}"
        raise SerdeError(message) from error


def _copies(type_: object, start: object) -> Callable[[], object]:
    """What gives a value as its bytes have it: one object if nothing can change it."""
    serde = state_serde(type_)
    raw = serde.encode(start)
    decoded = serde.decode(raw)
    return (lambda: decoded) if is_immutable(type_) else (lambda: serde.decode(raw))


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, MsgspecError) else f"{type(error).__name__}: {error}"


def _none() -> object:
    return None


def _maker(type_: object, shape: inspect.Type) -> Callable[[], object]:
    """What makes a fresh ``T()``."""
    if type(shape) in _BUILTINS:
        return _BUILTINS[type(shape)]
    if isinstance(shape, ObjectShape):
        required = [field.name for field in shape.fields if field.required]
        if required:
            raise _no_defaults(type_, required)
        return dict if isinstance(shape, inspect.TypedDictType) else constructor(shape)
    adapter = adapter_in(shape)
    if adapter is not None:
        if adapter.required:
            raise _no_defaults(type_, adapter.required)
        return adapter.make
    if isinstance(shape, inspect.CustomType):
        return lambda: empty_container(bare(type_))
    if isinstance(shape, inspect.TupleType) and not shape.item_types:
        return tuple
    raise _no_start(type_, _REASONS.get(type(shape), "it cannot be made without arguments"))


_REASONS: dict[type[inspect.Type], str] = {
    inspect.TupleType: "a tuple of fixed length has no empty value",
    inspect.UnionType: "which member of the union to start with is not known",
    inspect.EnumType: "which member of the enum to start with is not known",
    inspect.LiteralType: "which of the literals to start with is not known",
}


def _no_defaults(type_: object, required: Iterable[str]) -> SerdeError:
    return _no_start(type_, f"these fields have no default: {', '.join(map(repr, required))}")


def _no_start(type_: object, reason: str) -> SerdeError:
    """The error about a type without a start."""
    name = type_name(type_)
    message = (
        f"type {name} has no value for a new key to start with; {reason}; give the fields "
        f"defaults, allow None ({name} | None), or bind a start: START = Value(...)"
    )
    return SerdeError(message)


def _runs_code(shape: inspect.Type) -> bool:
    """True if two calls may make two different values: a factory or ``__post_init__`` runs."""
    if not isinstance(shape, ObjectShape):
        return adapter_in(shape) is not None
    factories = any(field.default_factory is not NODEFAULT for field in shape.fields)
    return factories or hasattr(constructor(shape), "__post_init__")
