"""Standard containers that msgspec does not decode: Counter, defaultdict, deque, OrderedDict.

Invariant: what ``ENCODERS`` of this package write for one of them, ``decode_hook`` reads back as
the same container. A hook is only called for a type that msgspec does not know.
"""

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast, get_args, get_origin

import msgspec

from streamfn.errors import SerdeError
from streamfn.serde.names import type_name

CONTAINERS: tuple[type, ...] = (Counter, OrderedDict, defaultdict, deque)
"""What the hooks know; ``object`` is known too and means Any."""


def encode_hook(value: object) -> object:
    """Return a deque as a list; the other containers are dicts, which msgspec encodes."""
    if isinstance(value, deque):
        return list(cast("deque[object]", value))
    message = (
        f"a value of type {type_name(type(value))} does not encode; got {value!r:.80}; "
        "use a msgspec.Struct, a dataclass or a builtin type"
    )
    raise SerdeError(message)


def decode_hook(type_: Any, decoded: object) -> object:
    """Make the container ``type_`` of a decoded list or dict."""
    return decoded if type_ is object else _maker(type_)(decoded)


def empty_container(type_: object) -> object:
    """An empty container of a type that ``CONTAINERS`` lists.

    Raises:
        SerdeError: a defaultdict whose values cannot be made without arguments.
    """
    return _maker(type_)([] if (get_origin(type_) or type_) is deque else {})


@lru_cache
def _maker(type_: Any) -> Callable[[object], object]:
    """How to make a container of its plain list or dict; found once a type."""
    container, arguments = get_origin(type_) or type_, get_args(type_)
    if container is deque:
        items = list[arguments[0]] if arguments else list[Any]  # type: ignore[valid-type]  # made at run time
        return lambda decoded: deque(_convert(decoded, items))
    if container is Counter:
        arguments = (*arguments, int) if arguments else (Any, int)
    key, value = arguments or (Any, Any)
    entries = dict[key, value]  # type: ignore[valid-type]  # made at run time
    if container is defaultdict:
        factory = _factory(value, type_)
        return lambda decoded: defaultdict(factory, _convert(decoded, entries))
    return lambda decoded: cast(object, container(_convert(decoded, entries)))


def _convert(decoded: object, type_: Any) -> Any:
    """Give what is inside a container its types; a container there is made here, too."""
    return msgspec.convert(decoded, type_, dec_hook=decode_hook)


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
