"""Classes of other libraries as types: pydantic models, Faust records, protobuf messages.

Invariant: none of these libraries is imported before the program has a class of it: one is known by
the names in its inheritance. An ``Adapter`` comes from a class; the hooks, topic serdes and
questions about types ask it.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Protocol, TypeAlias, cast

import msgspec

Node: TypeAlias = dict[str, Any]
"""One type as plain data; ``kind`` says which, the rest depends on it."""


class Description(Protocol):
    """A description of a type that is being written, as an adapter sees it."""

    def of(self, type_: object) -> Node:
        """Describe a type inside.

        Raises:
            SerdeError: no serde can carry the type.
        """
        ...

    def named(self, key: Hashable, name: str, build: Callable[[], Node]) -> Node:
        """Describe a class once, under its name; ``key`` tells it from others of that name."""
        ...


@dataclass(frozen=True, slots=True)
class Adapter:
    """How values of one class become bytes and plain data, and come back.

    All but ``make`` raise ``SerdeError`` with the field that is wrong.
    """

    name: str
    """How errors speak of its serde: ``json[Order]``."""
    encode: Callable[[Any], bytes]
    """A topic's whole value."""
    decode: Callable[[bytes], Any]
    encode_key: Callable[[Any], bytes]
    """A topic's whole key: equal keys give equal bytes."""
    to_json: Callable[[Any], object]
    """Inside other JSON: data that JSON can hold."""
    from_json: Callable[[Any], object]
    to_packed: Callable[[Any], object]
    """In MessagePack: data that msgspec knows, in an order that depends on no hash seed."""
    from_packed: Callable[[Any], object]
    make: Callable[[], object]
    """The value without arguments."""
    describe: Callable[[Description], Node]
    required: tuple[str, ...] = ()
    """The fields without which none can be made."""
    parts: tuple[object, ...] | None = None
    """The types of the fields if a value cannot be changed, else None."""
    key_fields: Mapping[str, object] | None = None
    """Its fields' types by name, if it cannot be changed and is made and compared by them."""
    hides_nan: bool = False
    """True if ``encode`` makes ``null`` of a NaN."""
    sortable: bool = False
    """True if msgspec can sort what ``to_packed`` and ``to_json`` give."""


def adapter_of(cls: object) -> Adapter | None:
    """Return the adapter of a class, None if there is none for it.

    Raises:
        SerdeError: the class is of a known library, but its values would not come back whole.
    """
    return _found(cls)


@cache
def _found(cls: object) -> Adapter | None:
    for base in getattr(cls, "__mro__", ())[1:]:
        make = _LIBRARIES.get(f"{base.__module__}.{base.__qualname__}")
        if make is not None:
            return make(cls)
    return None


def _of_pydantic(cls: Any) -> Adapter:
    from streamfn.serde.pydantic_models import adapted

    return adapted(cls)


def _of_faust(cls: Any) -> Adapter:
    from streamfn.serde.faust_records import adapted

    return adapted(cls)


def _of_protobuf(cls: Any) -> Adapter:
    from streamfn.serde.protobuf_messages import adapted

    return adapted(cls)


_LIBRARIES: Final[Mapping[str, Callable[[Any], Adapter]]] = {
    "pydantic.main.BaseModel": _of_pydantic,
    "faust.models.record.Record": _of_faust,
    "google.protobuf.message.Message": _of_protobuf,
}


def without_sets(value: object) -> object:
    """Make a sorted list of each set in plain data: sets come in another order in each process."""
    if isinstance(value, dict):
        entries = cast("dict[object, object]", value).items()
        return {key: without_sets(inner) for key, inner in entries}
    if isinstance(value, list | tuple):
        return [without_sets(inner) for inner in cast("list[object]", value)]
    if isinstance(value, set | frozenset):
        items = (without_sets(item) for item in cast("set[object]", value))
        return sorted(items, key=_bytes_of)
    return value


def _bytes_of(item: object) -> bytes:
    """What sorts items of any kind."""
    return msgspec.msgpack.encode(item, enc_hook=repr)
