"""Whether a new version of a schema may follow the older ones of its subject, and if not, why.

Invariant: the package ``avro`` decides; what is written here only finds the field to name.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, TypeAlias, cast, get_args

from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.schema import Schema

from streamfn.serde.avro_schema import AvroSchema

Level: TypeAlias = Literal[
    "NONE",
    "BACKWARD",
    "BACKWARD_TRANSITIVE",
    "FORWARD",
    "FORWARD_TRANSITIVE",
    "FULL",
    "FULL_TRANSITIVE",
]
"""What a subject asks of a new version: that it reads older ones, is read by them, or both."""

LEVELS: Final = get_args(Level)


def unreadable(reader: AvroSchema, writer: AvroSchema) -> str | None:
    """Say why what ``writer`` wrote cannot be read as ``reader``, or None."""
    found = differences(reader.compared(), writer.compared())
    return "; ".join(found) if found else None


def conflict(level: str, new: AvroSchema, old: AvroSchema, name: str) -> str | None:
    """Say why a new version may not follow an older one of that name, or None."""
    if level.startswith(("BACKWARD", "FULL")):
        why = unreadable(new, old)
        if why is not None:
            return f"it does not read values of {name}: {why}"
    if level.startswith(("FORWARD", "FULL")):
        why = unreadable(old, new)
        if why is not None:
            return f"{name} does not read its values: {why}"
    return None


def differences(reader: Any, writer: Any, path: str = "") -> list[str]:
    """The places that keep a reader from reading what a writer wrote; empty: it reads it."""
    if _reads(reader, writer):
        return []
    found = list(_inside(reader, writer, path))
    return found or [f"{_at(path)}{_word(writer)} cannot be read as {_word(reader)}"]


def _reads(reader: Schema, writer: Schema) -> bool:
    checker = cast("Any", ReaderWriterCompatibilityChecker)()
    result = checker.get_compatibility(reader, writer)
    return bool(result.compatibility is SchemaCompatibilityType.compatible)


def _inside(reader: Any, writer: Any, path: str) -> Iterator[str]:
    """Go where both have something; what is left to say is said of the pair itself."""
    if writer.type == "union" or reader.type == "union":
        yield from _unions(reader, writer, path)
    elif reader.type == writer.type:
        yield from _SAME.get(reader.type, _nothing)(reader, writer, path)


def _records(reader: Any, writer: Any, path: str) -> Iterator[str]:
    aliases = reader.props.get("aliases") or ()
    if reader.name != writer.name and writer.fullname not in aliases:
        yield f"{_at(path)}record {reader.name} was named {writer.name}"
        return
    for field in reader.fields:
        where = f"{path}.{field.name}" if path else field.name
        names = [field.name, *(field.props.get("aliases") or ())]
        found = next(
            (writer.fields_dict[name] for name in names if name in writer.fields_dict), None
        )
        if found is not None:
            yield from differences(field.type, found.type, where)
        elif not field.has_default:
            yield f"field {where!r} ({_word(field.type)}) is not in it and has no default"


def _enums(reader: Any, writer: Any, path: str) -> Iterator[str]:
    if reader.name != writer.name:
        yield f"{_at(path)}enum {reader.name} was named {writer.name}"
    gone = [symbol for symbol in writer.symbols if symbol not in reader.symbols]
    if gone:
        yield f"{_at(path)}enum {reader.name} has no symbol {', '.join(gone)}"


def _fixed(reader: Any, writer: Any, path: str) -> Iterator[str]:
    if reader.size != writer.size:
        yield f"{_at(path)}fixed {reader.name} had {writer.size} bytes, not {reader.size}"


def _unions(reader: Any, writer: Any, path: str) -> Iterator[str]:
    """Each branch of the writer must be read by the reader, or by one of its branches."""
    branches = writer.schemas if writer.type == "union" else [writer]
    own = reader.schemas if reader.type == "union" else [reader]
    for branch in branches:
        if any(_reads(each, branch) for each in own):
            continue
        alike = [each for each in own if each.type == branch.type]
        deeper = differences(alike[0], branch, path) if len(alike) == 1 else []
        yield from deeper or [f"{_at(path)}{_word(branch)} cannot be read as {_word(reader)}"]


def _items(reader: Any, writer: Any, path: str) -> Iterator[str]:
    yield from differences(reader.items, writer.items, f"{path}[]")


def _values(reader: Any, writer: Any, path: str) -> Iterator[str]:
    yield from differences(reader.values, writer.values, f"{path}[…]")


def _nothing(reader: Any, writer: Any, path: str) -> Iterator[str]:
    yield from ()


_SAME: Final[dict[str, Callable[[Any, Any, str], Iterator[str]]]] = {
    "record": _records,
    "enum": _enums,
    "fixed": _fixed,
    "array": _items,
    "map": _values,
}


def _at(path: str) -> str:
    return f"field {path!r}: " if path else ""


def _word(schema: Any) -> str:
    if schema.type == "union":
        return f"one of {', '.join(map(_word, schema.schemas))}"
    return str(getattr(schema, "name", None) or schema.type)
