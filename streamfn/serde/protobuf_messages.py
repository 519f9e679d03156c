"""Protobuf's generated messages as types: their wire bytes in topics and, as bytes, in MessagePack.

Invariant: equal messages give equal bytes (serialization is deterministic), and bytes of one class
are never written for another. Inside JSON stands Protobuf's own JSON form. Values come from
functions and go to topics and stores, and back.
"""

from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from typing import Any, Final, TypeVar, cast

from streamfn.errors import SerdeError
from streamfn.serde.adapters import Adapter, Description, Node, adapter_of
from streamfn.serde.base import Serde
from streamfn.serde.names import type_name

M = TypeVar("M")
_HEAD: Final = 5
"""How many bytes stand in front in Confluent's wire format: a 0, which begins no message, an id."""


def protobuf(message: type[M]) -> Serde[M]:
    """The serde of a generated message class: what ``value=Message`` means.

    Raises:
        SerdeError: it is no such class.
    """
    adapter = adapter_of(message) if hasattr(message, "DESCRIPTOR") else None
    if adapter is None:
        text = (
            f"protobuf() wants a message class; got {message!r:.80}; import it from the module "
            "that protoc made"
        )
        raise SerdeError(text)
    return Serde(adapter.name, message, adapter.encode, adapter.decode)


def adapted(message: Any) -> Adapter:
    """Make the adapter of a generated message class."""
    if getattr(message, "DESCRIPTOR", None) is None:
        text = f"type {type_name(message)} cannot be a key or value; it is no generated message"
        raise SerdeError(text)
    codec = _Codec(message)
    return Adapter(
        codec.name,
        codec.encode,
        codec.decode,
        codec.encode,
        codec.to_json,
        codec.from_json,
        codec.encode,
        codec.decode,
        message,
        partial(_message, message.DESCRIPTOR),
        sortable=True,
    )


class _Codec:
    """One message class and its bytes."""

    def __init__(self, message: Any) -> None:
        self.name = f"protobuf[{type_name(message)}]"
        self._message = message
        self._of_bytes: Callable[[bytes], Any] = message.FromString
        # Protobuf ships no types, and is imported here already: the class is made by it.
        self._errors: Any = import_module("google.protobuf.message")
        self._required = _has_required(message.DESCRIPTOR, set())

    def encode(self, value: Any) -> bytes:
        """Write wire bytes."""
        if type(value) is not self._message:
            raise self._unwritten(value, "it is of another class")
        try:
            return cast(bytes, value.SerializeToString(deterministic=True))
        except self._errors.EncodeError as error:
            raise self._unwritten(value, str(error)) from error

    def decode(self, raw: bytes) -> Any:
        """Read wire bytes."""
        try:
            value = self._of_bytes(raw)
        except (self._errors.DecodeError, TypeError) as error:
            raise self._unread(raw, str(error)) from error
        if self._required and not value.IsInitialized():
            missing = ", ".join(map(repr, value.FindInitializationErrors()))
            raise self._unread(raw, f"required fields are missing: {missing}")
        return value

    def to_json(self, value: Any) -> object:
        """Return Protobuf's JSON; entries of maps are sorted, as their order is nobody's."""
        if type(value) is not self._message:
            raise self._unwritten(value, "it is of another class")
        return _sorted(import_module("google.protobuf.json_format").MessageToDict(value))

    def from_json(self, plain: object) -> Any:
        """Read Protobuf's JSON."""
        json_format: Any = import_module("google.protobuf.json_format")
        try:
            return json_format.ParseDict(plain, self._message())
        except (json_format.ParseError, AttributeError, TypeError) as error:
            raise self._unread(plain, " ".join(str(error).split())) from error

    def _unwritten(self, value: object, reason: str) -> SerdeError:
        text = " ".join(repr(value).split())
        message = (
            f"a value does not encode as {self.name}; {reason}; got {text:.80}; "
            f"give a {type_name(self._message)} with all its required fields"
        )
        return SerdeError(message)

    def _unread(self, raw: object, reason: str) -> SerdeError:
        cure = "read the topic with the message that it was written with"
        if isinstance(raw, bytes) and raw[:1] == b"\0" and len(raw) > _HEAD:
            reason = (
                f"it is in Confluent's wire format, with schema id {int.from_bytes(raw[1:_HEAD])} "
                "of a registry in front"
            )
            cure = "have it written without a registry, or pass a sf.Serde that takes those bytes"
        message = f"a value does not decode as {self.name}; {reason}; got {raw!r:.80}; {cure}"
        return SerdeError(message)


def _sorted(plain: Any) -> Any:
    if isinstance(plain, dict):
        entries = cast("dict[str, Any]", plain)
        return {key: _sorted(entries[key]) for key in sorted(entries)}
    if isinstance(plain, list):
        return list(map(_sorted, cast("Iterable[object]", plain)))
    return plain


def _has_required(descriptor: Any, seen: set[str]) -> bool:
    """True if a message, or one inside it, has fields that must be there (proto2)."""
    if descriptor.full_name in seen:
        return False
    seen.add(descriptor.full_name)
    return any(
        _is(field, "required")
        or (field.message_type is not None and _has_required(field.message_type, seen))
        for field in descriptor.fields
    )


def _is(field: Any, what: str) -> bool:
    """Whether a field is ``required`` or ``repeated``; older releases have a label for it."""
    found = getattr(field, f"is_{what}", None)
    if found is None:
        found = field.label == getattr(field, f"LABEL_{what.upper()}")
    return bool(found)


# its structure
def _message(descriptor: Any, description: Description) -> Node:
    """Describe a message: on the wire a field is its number."""
    build: Callable[[], Node] = lambda: {  # noqa: E731  # it is an argument
        "layout": "protobuf",
        "fields": [_field(field, description) for field in descriptor.fields],
    }
    return description.named(descriptor, str(descriptor.name), build)


def _field(field: Any, description: Description) -> Node:
    node: Node = {
        "name": field.name,
        "encoded": str(field.number),
        "type": _type(field, description),
        "required": _is(field, "required"),
    }
    if field.has_default_value and not _is(field, "repeated"):
        node["omitted"] = repr(field.default_value)
    return node


def _type(field: Any, description: Description) -> Node:
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        key, value = (_single(inner.fields_by_name[part], description) for part in ("key", "value"))
        return {"kind": "dict", "key": key, "value": value}
    single = _single(field, description)
    return {"kind": "list", "item": single} if _is(field, "repeated") else single


def _single(field: Any, description: Description) -> Node:
    """Describe a field apart from how often it may be there."""
    if field.message_type is not None:
        return _message(field.message_type, description)
    if field.enum_type is not None:
        values = sorted(each.number for each in field.enum_type.values)
        return {"kind": "enum", "name": str(field.enum_type.name), "values": values}
    return {"kind": _KINDS[field.type]}


_KINDS = dict(
    enumerate(
        (
            "double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "str",
            "group", "message", "bytes", "uint32", "enum", "sfixed32", "sfixed64", "sint32",
            "sint64",
        ),
        start=1,
    )
)  # fmt: skip
"""The wire's types by their numbers in ``descriptor.proto``."""
