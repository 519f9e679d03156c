"""What a type is made of, as msgspec sees it: the ground for every question about types.

Invariant: a shape is given only for a type that serdes can carry; every other one is refused by
name, when the program is built. Types come from annotations and ``key=``/``value=``; shapes go to
the sibling modules.
"""

import copy
from collections.abc import Callable, Iterator
from datetime import datetime, time
from typing import (
    Annotated,
    Any,
    Final,
    ForwardRef,
    Literal,
    NewType,
    TypeAlias,
    cast,
    get_args,
    get_origin,
)

import msgspec
from msgspec import inspect
from typing_extensions import TypeAliasType

from streamfn.errors import SerdeError
from streamfn.serde.adapters import Adapter, adapter_of
from streamfn.serde.hooks import CONTAINERS, empty_container
from streamfn.serde.names import type_name

Order: TypeAlias = Literal["deterministic"] | None
"""msgspec's name for sorted sets and dicts, or None for the order that is there."""

ObjectShape: TypeAlias = (
    inspect.StructType | inspect.DataclassType | inspect.NamedTupleType | inspect.TypedDictType
)
"""Shapes with named fields."""

ItemsShape: TypeAlias = (
    inspect.ListType | inspect.SetType | inspect.FrozenSetType | inspect.VarTupleType
)
"""Shapes with any number of items of one type."""


def unaliased(type_: object) -> object:
    """Return what a ``type`` statement's name stands for; msgspec wants that."""
    while isinstance(type_, TypeAliasType):
        type_ = type_.__value__
    return type_


def bare(type_: object) -> object:
    """Strip what only names or annotates a type: NewType, Annotated, Final, aliases."""
    while True:
        type_ = unaliased(type_)
        if isinstance(type_, NewType):
            type_ = type_.__supertype__
        elif get_origin(type_) in (Annotated, Final):
            type_ = get_args(type_)[0]
        else:
            return type_


def shape_of(type_: object) -> inspect.Type:
    """Return the shape of a type.

    Raises:
        SerdeError: no serde can carry the type, or a type inside it.
    """
    if isinstance(type_, str | ForwardRef):
        message = (
            f"type {type_name(type_)!r} is only a name; it could not be resolved; define or import "
            "it at the top level of its module"
        )
        raise SerdeError(message)
    type_ = unaliased(type_)
    try:
        shape = inspect.type_info(type_)
        # Building a decoder finds what the look at the type does not, e.g. an ambiguous union.
        msgspec.msgpack.Decoder(cast("type[Any]", type_))
    except (TypeError, NameError, AttributeError) as error:
        cure = _CURE_OF_UNIONS if "more than one custom type" in str(error) else _CURE
        message = f"type {type_name(type_)} cannot be a key or value; {error}; {cure}"
        raise SerdeError(message) from error
    for inner in walk(shape):
        known = not isinstance(inner, inspect.CustomType) or (
            inner.cls in (*CONTAINERS, object) or adapter_of(inner.cls) is not None
        )
        if not known:
            of = "" if inner is shape else f" of {type_name(type_)}"
            name = type_name(cast(inspect.CustomType, inner).cls)
            message = f"type {name}{of} cannot be a key or value; {_CURE}"
            raise SerdeError(message)
    if isinstance(shape, inspect.CustomType) and shape.cls in CONTAINERS:
        empty_container(bare(type_))
    return shape


_CURE = (
    "use builtin types, datetime, Decimal, UUID, an Enum, a msgspec.Struct, dataclass, NamedTuple "
    "or TypedDict of these, or pass a Serde"
)


_CURE_OF_UNIONS = (
    "wrap a union of pydantic models in one (RootModel), or give the classes a common one with a "
    "field for each"
)


def adapter_in(shape: inspect.Type) -> Adapter | None:
    """The adapter of a shape that is a class of another library, else None."""
    return adapter_of(shape.cls) if isinstance(shape, inspect.CustomType) else None


def not_none(shape: inspect.Type) -> list[inspect.Type]:
    """The members of a type that are not None."""
    members = shape.types if isinstance(shape, inspect.UnionType) else (shape,)
    return [member for member in members if not isinstance(member, inspect.NoneType)]


def adapter_of_whole(shape: inspect.Type) -> Adapter | None:
    """The adapter of a class of another library, optional or not."""
    plain = not_none(shape)
    return adapter_in(plain[0]) if len(plain) == 1 else None


def inner_shapes(shape: inspect.Type) -> tuple[inspect.Type, ...]:
    """The shapes directly inside a shape."""
    if isinstance(shape, ObjectShape):
        return tuple(field.type for field in shape.fields)
    if isinstance(shape, inspect.UnionType):
        return shape.types
    if isinstance(shape, inspect.TupleType):
        return shape.item_types
    if isinstance(shape, inspect.DictType):
        return (shape.key_type, shape.value_type)
    if isinstance(shape, ItemsShape):
        return (shape.item_type,)
    if isinstance(shape, inspect.Metadata):
        return (shape.type,)
    return ()


def walk(shape: inspect.Type) -> Iterator[inspect.Type]:
    """Yield a shape and all shapes inside it, each once: a type may contain itself."""
    seen: set[int] = set()
    waiting = [shape]
    while waiting:
        current = waiting.pop()
        if id(current) not in seen:
            seen.add(id(current))
            waiting.extend(inner_shapes(current))
            yield current


def holds(shape: inspect.Type, *kinds: type[inspect.Type]) -> bool:
    """True if a value of this shape may have one of these kinds inside it."""
    return any(isinstance(inner, kinds) for inner in walk(shape))


def allows_none(shape: inspect.Type) -> bool:
    """True if None is a value of the type."""
    if isinstance(shape, inspect.UnionType):
        return any(map(allows_none, shape.types))
    if isinstance(shape, inspect.LiteralType):
        return None in shape.values
    if isinstance(shape, inspect.CustomType):
        return shape.cls is object
    return isinstance(shape, inspect.AnyType | inspect.NoneType)


def has_text_keys(shape: inspect.DictType) -> bool:
    """False if msgspec cannot sort such a dict: it only compares keys that are ``str``."""
    return isinstance(shape.key_type, inspect.StrType | inspect.AnyType)


def order_of(shape: inspect.Type) -> Order:
    """How msgspec should order what it writes: only where there are sets, and where it can.

    A set of text comes in another order in each process; a dict keeps the order that the program
    gave it.
    """
    inner = list(walk(shape))
    if not any(isinstance(each, inspect.SetType | inspect.FrozenSetType) for each in inner):
        return None
    if any(isinstance(each, inspect.AnyType) or not _is_sortable(each) for each in inner):
        return None
    dicts = (each for each in inner if isinstance(each, inspect.DictType))
    return "deterministic" if all(map(has_text_keys, dicts)) else None


def _is_sortable(shape: inspect.Type) -> bool:
    """False for what may have keys that are no text without its shape telling."""
    adapter = adapter_in(shape)
    return not isinstance(shape, inspect.CustomType) or (adapter is not None and adapter.sortable)


def is_immutable(type_: object) -> bool:
    """True if one decoded object can stand in for its bytes: nothing in it can be changed.

    Not so a ``datetime`` or ``time``, though Python cannot change them either: bytes keep the
    instant, not the zone, so that the object from before a restart would show another hour than
    the one decoded after it.
    """
    try:
        return _is_immutable(shape_of(type_), set())
    except SerdeError:
        return False


def _is_immutable(shape: inspect.Type, seen: set[int]) -> bool:
    """The same of a shape; ``seen`` holds the classes of other libraries that are being asked."""
    for inner in walk(shape):
        adapter = adapter_in(inner)
        if adapter is None:
            if not _is_immutable_itself(inner):
                return False
        elif adapter.parts is None:
            return False
        elif id(adapter) not in seen:
            deeper = seen | {id(adapter)}
            if not all(_is_immutable(shape_of(part), deeper) for part in adapter.parts):
                return False
    return True


def _is_immutable_itself(shape: inspect.Type) -> bool:
    """True unless the shape, apart from what is inside it, can be changed."""
    if isinstance(shape, inspect.StructType):
        return bool(_origin(shape.cls).__struct_config__.frozen)
    if isinstance(shape, inspect.DataclassType):
        parameters = getattr(_origin(shape.cls), "__dataclass_params__", None)
        return parameters is not None and parameters.frozen
    return isinstance(shape, _IMMUTABLE)


_IMMUTABLE = (
    inspect.NoneType,
    inspect.BoolType,
    inspect.IntType,
    inspect.FloatType,
    inspect.StrType,
    inspect.BytesType,
    inspect.DateType,
    inspect.TimeDeltaType,
    inspect.DecimalType,
    inspect.UUIDType,
    inspect.EnumType,
    inspect.LiteralType,
    inspect.UnionType,
    inspect.TupleType,
    inspect.VarTupleType,
    inspect.FrozenSetType,
    inspect.NamedTupleType,
    inspect.Metadata,
)


def _origin(cls: object) -> Any:
    """The class of a class or of a generic one with arguments."""
    return get_origin(cls) or cls


def shares_defaults(shape: inspect.Type) -> bool:
    """True if decoding may give out an object that a class has as its default and that can change.

    msgspec does so for a field that the bytes do not have: ``names: list[str] = []`` of a
    NamedTuple is then one list for all that are decoded.
    """
    objects = (inner for inner in walk(shape) if isinstance(inner, ObjectShape))
    return any(_can_change(field.default) for each in objects for field in each.fields)


def _can_change(default: object) -> bool:
    fixed = default is msgspec.NODEFAULT or isinstance(default, datetime | time)
    return not fixed and copy.deepcopy(default) is not default


def constructor(shape: ObjectShape) -> Callable[..., object]:
    """The class whose call makes a value of the shape."""
    return cast("Callable[..., object]", _origin(shape.cls))
