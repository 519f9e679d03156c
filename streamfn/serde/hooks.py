"""What msgspec does not know: standard containers, and the classes that ``adapters`` knows.

Counter, defaultdict, deque and OrderedDict are read back as what they were; a pydantic model, a
Faust record or a protobuf message, as its adapter says, which differs between JSON and MessagePack.
Invariant: what the encoders of this package write, the decode hook of the same format reads back. A
hook is only called for a type that msgspec does not know.
"""

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, TypeAlias, cast, get_args, get_origin

import msgspec

from streamfn.errors import SerdeError
from streamfn.serde.adapters import adapter_of
from streamfn.serde.names import type_name

Hook: TypeAlias = Callable[[Any, Any], object]
"""What msgspec asks to make a value of a type out of plain data."""

CONTAINERS: tuple[type, ...] = (Counter, OrderedDict, defaultdict, deque)
"""The containers that the hooks know; ``object`` is known too and means Any."""


def encode_hook(value: object) -> object:
    """Return what JSON has for a value; of containers only a deque is no dict."""
    if isinstance(value, deque):
        return list(cast("deque[object]", value))
    adapter = adapter_of(type(value))
    return _refuse(value) if adapter is None else adapter.to_json(value)


def pack_hook(value: object) -> object:
    """Return what MessagePack has for a value."""
    if isinstance(value, deque):
        return list(cast("deque[object]", value))
    adapter = adapter_of(type(value))
    return _refuse(value) if adapter is None else adapter.to_packed(value)


def _refuse(value: object) -> object:
    message = (
        f"a value of type {type_name(type(value))} does not encode; got {value!r:.80}; "
        "use a msgspec.Struct, a dataclass or a builtin type"
    )
    raise SerdeError(message)


def decode_hook(type_: Any, decoded: object) -> object:
    """Make a value of ``type_`` of what JSON has for it."""
    return _made(type_, decoded, "from_json", decode_hook)


def unpack_hook(type_: Any, decoded: object) -> object:
    """Make a value of ``type_`` of what MessagePack has for it."""
    return _made(type_, decoded, "from_packed", unpack_hook)


def _made(
    type_: Any, decoded: object, reading: Literal["from_json", "from_packed"], hook: Hook
) -> object:
    if type_ is object:
        return decoded
    adapter = adapter_of(type_)
    if adapter is None:
        return _maker(type_, hook)(decoded)
    try:
        return cast(object, getattr(adapter, reading)(decoded))
    except SerdeError as error:
        # msgspec adds to a ValueError where in the whole it is.
        raise ValueError(str(error)) from error


def empty_container(type_: object) -> object:
    """An empty container of a type that ``CONTAINERS`` lists.

    Raises:
        SerdeError: a defaultdict whose values cannot be made without arguments.
    """
    return _maker(type_, decode_hook)([] if (get_origin(type_) or type_) is deque else {})


@lru_cache
def _maker(type_: Any, hook: Hook) -> Callable[[object], object]:
    """How to make a container of its plain list or dict; found once a type."""
    container, arguments = get_origin(type_) or type_, get_args(type_)
    if container is deque:
        items = list[arguments[0]] if arguments else list[Any]  # type: ignore[valid-type]  # made at run time
        return lambda decoded: deque(_convert(decoded, items, hook))
    if container is Counter:
        arguments = (*arguments, int) if arguments else (Any, int)
    key, value = arguments or (Any, Any)
    entries = dict[key, value]  # type: ignore[valid-type]  # made at run time
    if container is defaultdict:
        factory = _factory(value, type_)
        return lambda decoded: defaultdict(factory, _convert(decoded, entries, hook))
    return lambda decoded: cast(object, container(_convert(decoded, entries, hook)))


def _convert(decoded: object, type_: Any, hook: Hook) -> Any:
    """Give what is inside a container its types; a container there is made here, too."""
    return msgspec.convert(decoded, type_, dec_hook=hook)


def _factory(value: object, container: object) -> Callable[[], object]:
    """What a defaultdict calls for a missing key."""
    origin = get_origin(value) or value
    if origin in CONTAINERS:
        return lambda: empty_container(value)
    try:
        cast("Callable[[], object]", origin)()
    except TypeError as error:
        message = (
            f"type {type_name(container)} has no value for a missing key; got "
            f"{type_name(value)}; name a class that needs no arguments, or use dict"
        )
        raise SerdeError(message) from error
    return cast("Callable[[], object]", origin)
