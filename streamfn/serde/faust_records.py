"""Faust's records and codecs: bytes as a Faust application on the same topic writes and reads them.

Invariant: a record is written by Faust's own code, through the codec that its class names (JSON
without one); pickle is refused, since reading it runs whatever code the bytes name. Values come
from functions and go to topics and stores, and back.
"""

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from importlib import import_module
from typing import Any, TypeVar, cast, get_args, get_origin, overload

from streamfn.errors import SerdeError
from streamfn.serde.adapters import Adapter, Description, Node, adapter_of, without_sets
from streamfn.serde.base import Serde
from streamfn.serde.names import type_name

T = TypeVar("T")


@overload
def faust_codec(codec: str) -> Serde[Any]: ...
@overload
def faust_codec(codec: str, type_: type[T]) -> Serde[T]: ...
def faust_codec(codec: str, type_: Any = Any) -> Serde[Any]:
    """The serde of a Faust codec: ``faust_codec("json")``, ``faust_codec("json|binary", Order)``.

    ``type_`` is what Faust calls ``key_type`` or ``value_type``: a ``faust.Record``, ``str``,
    ``bytes``, ``int``, ``float`` or ``Decimal``; without it a value is what the codec gives.

    Raises:
        SerdeError: Faust has no such codec, or it is pickle, or it cannot carry the type.
    """
    coder = _codec(codec)
    if type_ in _SCALARS:
        return _scalar_serde(codec, coder, type_)
    adapter = adapter_of(type_)
    if adapter is None or not hasattr(type_, "to_representation"):
        message = (
            f"faust_codec({codec!r}) cannot carry {type_name(type_)}; use a faust.Record, str, "
            "bytes, int, float, Decimal or no type"
        )
        raise SerdeError(message)
    own = type_._options.serializer
    if own is not None and own != codec:
        message = (
            f"{type_name(type_)} names its own serializer {own!r}, which Faust writes it with; "
            f"got faust_codec({codec!r}, ...); let both be one"
        )
        raise SerdeError(message)
    records = _Records(type_, codec)
    return Serde(records.name, type_, records.encode, records.decode)


def _codec(name: Any) -> Any:
    """Faust's codec of a name.

    Raises:
        SerdeError: there is none, or it is pickle.
    """
    try:
        codecs: Any = import_module("faust.serializers.codecs")
    except ImportError as error:
        message = f"faust_codec({name!r}) needs Faust; install streamfn[faust]"
        raise SerdeError(message) from error
    named = isinstance(name, str)
    nodes = name.split("|") if named else [type(node).__name__ for node in name.nodes]
    if any("pickle" in node for node in nodes):
        message = (
            f"codec {name!r} cannot be used; it is pickle: reading it runs what code its bytes "
            "name, and who may write to a topic would run programs here; write the topic anew as "
            "JSON, with a Faust application that reads it"
        )
        raise SerdeError(message)
    if named:
        codecs.get_codec("json")  # finds the codecs of installed extensions
        unknown = [node for node in nodes if node not in codecs.codecs]
        if unknown:
            message = (
                f"Faust has no codec {unknown[0]!r}; got {name!r}; use one of "
                f"{', '.join(sorted(each for each in codecs.codecs if 'pickle' not in each))}, or "
                "register it before the program: faust.serializers.codecs.register(name, codec)"
            )
            raise SerdeError(message)
    return codecs.get_codec(name)


# text, bytes, numbers
def _scalar_serde(name: str, codec: Any, type_: Any) -> Serde[Any]:
    """A codec for what is no record; what Faust's own registry does with such types."""
    convert = _SCALARS[type_]
    return Serde(
        f"faust {name}[{type_name(type_)}]",
        type_,
        codec.dumps,
        codec.loads if convert is None else lambda raw: convert(codec.loads(raw)),
    )


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


_SCALARS: dict[Any, Callable[[Any], object] | None] = {
    Any: None,
    str: _text,
    bytes: _bytes,
    int: lambda value: int(_text(value)),
    float: lambda value: float(_text(value)),
    Decimal: lambda value: Decimal(_text(value)),
}


# records
def adapted(record: Any) -> Adapter:
    """Make the adapter of a ``faust.Record``.

    Raises:
        SerdeError: its fields would not come back, or its serializer is pickle.
    """
    if record.__is_abstract__:
        message = (
            f"record {type_name(record)} cannot be a key or value; it is abstract; name one that "
            "can be made"
        )
        raise SerdeError(message)
    _check(record)
    records = _Records(record, record._options.serializer or "json")
    return Adapter(
        records.name,
        records.encode,
        records.decode,
        records.encode,
        records.plain,
        records.of_plain,
        records.packed,
        records.of_plain,
        record,
        partial(_describe, record),
        required=_required(record),
        hides_nan=True,
    )


def _descriptors(record: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", record._options.descriptors)


def _required(record: Any) -> tuple[str, ...]:
    return tuple(name for name, field in _descriptors(record).items() if field.required)


def _check(record: Any) -> None:
    """Refuse fields that are not written, or not by the name they are read by."""
    for name, field in _descriptors(record).items():
        reason = ""
        if field.exclude and field.required:
            reason = "is excluded and has no default; give it one"
        elif not field.exclude and field.input_name != field.output_name:
            reason = (
                f"is written as {field.output_name!r}; it is read as {field.input_name!r}; let "
                "both be one"
            )
        if reason:
            message = (
                f"record {type_name(record)} cannot be a key or value; field {name!r} {reason}"
            )
            raise SerdeError(message)


class _Records:
    """One record class through one codec."""

    def __init__(self, record: Any, codec: object) -> None:
        self.name = f"faust {codec}[{type_name(record)}]"
        self._record, self._codec = record, _codec(codec)
        # Other codecs than JSON may tell a set from a list.
        self._ordered = str(codec).startswith("json") and _has_sets(record, set())

    def encode(self, value: Any) -> bytes:
        """Write what ``Record.dumps`` writes; a set in it as a sorted list."""
        plain = self.plain(value)
        try:
            return cast(bytes, self._codec.dumps(_whole(plain) if self._ordered else plain))
        except (TypeError, ValueError) as error:
            message = f"a value does not encode as {self.name}; {error}; got {value!r:.80}"
            raise SerdeError(message) from error

    def decode(self, raw: bytes) -> Any:
        """Read what Faust's own ``Registry.loads_value`` would."""
        try:
            plain = self._codec.loads(raw)
        except (TypeError, ValueError) as error:
            raise self._unread(raw, str(error)) from error
        return self.of_plain(plain)

    def plain(self, value: Any) -> Any:
        """Return the record's representation: a dict, in which other records may stand."""
        if not isinstance(value, self._record):
            message = (
                f"a value does not encode as {self.name}; got {value!r:.80}; "
                f"give a {type_name(self._record)}"
            )
            raise SerdeError(message)
        return value.to_representation()

    def packed(self, value: Any) -> object:
        """Return the representation without sets."""
        return without_sets(self.plain(value))

    def of_plain(self, plain: Any) -> Any:
        """Make a record of its representation."""
        if not isinstance(plain, dict):
            raise self._unread(plain, "it is no object with fields")
        given = cast("dict[str, Any]", plain)
        missing = [
            field.input_name
            for field in _descriptors(self._record).values()
            if field.required and field.input_name not in given
        ]
        if missing:
            raise self._unread(given, f"field {missing[0]!r} is missing")
        try:
            return self._record.from_data(given, preferred_type=self._record)
        except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise self._unread(given, self._reason(given, error)) from error

    def _reason(self, given: dict[str, Any], error: Exception) -> str:
        """Find the field that an error is about; Faust does not always say."""
        for name, field in _descriptors(self._record).items():
            try:
                field.to_python(given.get(name, field.default))
            except (TypeError, ValueError, ArithmeticError, AttributeError) as found:
                return f"field {name!r}: {type(found).__name__}: {found}"
        return f"{type(error).__name__}: {error}"

    def _unread(self, raw: object, reason: str) -> SerdeError:
        message = (
            f"a value does not decode as {self.name}; {reason}; got {raw!r:.80}; "
            "send what the record reads, or change the record"
        )
        return SerdeError(message)


def _whole(value: Any) -> Any:
    """A representation with those of the records inside it, without sets."""
    if hasattr(value, "to_representation"):
        value = value.to_representation()
    if isinstance(value, dict):
        return {key: _whole(inner) for key, inner in cast("dict[str, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_whole(inner) for inner in cast("list[Any]", value)]
    return without_sets(value)


def _has_sets(annotation: Any, seen: set[object]) -> bool:
    """True if a set may stand in a record or a type."""
    if (get_origin(annotation) or annotation) in (set, frozenset):
        return True
    options = getattr(annotation, "_options", None)
    if options is None or annotation in seen:
        return any(_has_sets(part, seen) for part in get_args(annotation))
    seen.add(annotation)
    return any(_has_sets(part, seen) for part in options.fields.values())


# its structure
def _describe(record: Any, description: Description) -> Node:
    build: Callable[[], Node] = lambda: {  # noqa: E731  # it is an argument
        "layout": "faust",
        "fields": [
            _field(name, field, description)
            for name, field in _descriptors(record).items()
            if not field.exclude
        ],
    }
    return description.named(record, type_name(record), build)


def _field(name: str, field: Any, description: Description) -> Node:
    node: Node = {
        "name": name,
        "type": _type(field.type, description),
        "required": bool(field.required),
    }
    return node if field.output_name == name else node | {"encoded": field.output_name}


def _type(annotation: Any, description: Description) -> Node:
    """Describe a field's type; Faust takes hints that no other serde knows."""
    try:
        return description.of(annotation)
    except SerdeError:
        return {"kind": "custom", "name": type_name(annotation)}
