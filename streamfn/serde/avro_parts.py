"""What an Avro schema is made of, as plain data: its kind, its parts, its names.

Invariant: a schema is never changed here. Schemas come from ``avro_schema`` parsed, with full
names, and every sibling looks into them through these functions.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeGuard

Definition: TypeAlias = Any
"""A schema as JSON has it: a name, a list (a union), or a dict."""

PRIMITIVES: Final = frozenset(
    ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
)
NAMED: Final = frozenset(("record", "error", "enum", "fixed"))
GUARD: Final = "streamfn-"
"""Begins the logical types that are ours: checks, which no schema of others names."""
_MEANING: Final = ("logicalType", "precision", "scale", "size")


def is_union(definition: Any) -> TypeGuard[list[Any]]:
    """Tell a union, or any list."""
    return isinstance(definition, list)


def is_object(definition: Any) -> TypeGuard[dict[str, Any]]:
    """Tell a schema with words of its own, or any dict."""
    return isinstance(definition, dict)


def is_mapping(value: Any) -> TypeGuard[Mapping[Any, Any]]:
    """Tell what can be a map or a record."""
    return isinstance(value, Mapping)


def is_sequence(value: Any) -> TypeGuard[Sequence[Any]]:
    """Tell what can be an array."""
    return isinstance(value, list | tuple)


def resolved(definition: Definition, names: Mapping[str, Definition]) -> Definition:
    """The schema that a name stands for; another one as it is."""
    return names.get(definition, definition) if isinstance(definition, str) else definition


def logical_of(definition: Definition) -> str:
    """The logical type of a schema, without our guard's mark; empty: none."""
    found = definition.get("logicalType", "") if is_object(definition) else ""
    return str(found).removeprefix(GUARD)


def kind_of(definition: Definition) -> str:
    """The type that a schema names: ``union``, ``record``, ``long`` or the name of another."""
    if is_object(definition):
        return kind_of(definition["type"])
    return "union" if is_union(definition) else str(definition)


def names_of(parsed: Definition) -> dict[str, Definition]:
    """All named types in a parsed schema, by full name."""
    found: dict[str, Definition] = {}
    if is_object(parsed):
        found |= parsed.get("__named_schemas", {})  # with those that stand elsewhere
    for each in walk_schema(parsed):
        if is_object(each) and each["type"] in NAMED:
            found[each["name"]] = each
    return found


def essence(definition: Definition, *, defaults: bool) -> Definition:
    """A schema without what does not matter: docs, aliases and order; with or without defaults."""
    if isinstance(definition, str):
        return definition
    if is_union(definition):
        return [essence(each, defaults=defaults) for each in definition]
    kind = definition["type"]
    if not isinstance(kind, str):
        return essence(kind, defaults=defaults)
    kept: dict[str, Any] = {"type": kind}
    kept |= {
        word: definition[word] for word in ("name", "symbols", *_MEANING) if word in definition
    }
    if defaults:
        kept |= {"default": definition["default"]} if "default" in definition else {}
        kept |= {"aliases": _full_aliases(definition)} if "aliases" in definition else {}
    for word in ("items", "values"):
        if word in definition:
            kept[word] = essence(definition[word], defaults=defaults)
    if "fields" in definition:
        kept["fields"] = [_field_essence(each, defaults=defaults) for each in definition["fields"]]
    return kind if kept.keys() == {"type"} else kept


def _full_aliases(definition: Definition) -> list[str]:
    """What a named type was called, with the namespace that such a name stands in."""
    namespace, dot, _ = definition["name"].rpartition(".")
    aliases: list[str] = definition["aliases"]
    return [each if "." in each else f"{namespace}{dot}{each}" for each in aliases]


def _field_essence(field: Definition, *, defaults: bool) -> Definition:
    kept = {"name": field["name"], "type": essence(field["type"], defaults=defaults)}
    if defaults:
        kept |= {word: field[word] for word in ("aliases", "default") if word in field}
    return kept


def walk_schema(definition: Definition) -> Iterator[Definition]:
    """Yield all schemas that stand in a parsed one; a name stands for one that came before."""
    yield definition
    inner: list[Definition] = []
    if is_union(definition):
        inner = definition
    elif is_object(definition):
        inner = [definition[word] for word in ("items", "values") if word in definition]
        inner += [field["type"] for field in definition.get("fields", ())]
    for each in inner:
        yield from walk_schema(each)
