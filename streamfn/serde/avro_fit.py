"""Whether a type and an Avro schema that a program names together fit each other.

Invariant: where None is answered, each value of the type can be written by the schema and each
value of the schema can be made one of the type, as far as types tell. Asked once, when the program
is built.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import inspect

from streamfn.serde.avro_errors import Names, expected
from streamfn.serde.avro_parts import Definition, is_union, kind_of, logical_of, resolved
from streamfn.serde.shapes import ItemsShape, ObjectShape

Shape = inspect.Type


def misfit_of_type(schema: Definition, shape: Shape, names: Names) -> str | None:
    """Say where a parsed schema and a shape differ, or None."""
    return _Comparison(names).differ(schema, shape, "")


class _Comparison:
    """Pairs that are being compared count as fitting: a type may contain itself."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._assumed: set[tuple[str, int]] = set()

    def differ(self, schema: Definition, shape: Shape, path: str) -> str | None:
        """Say where two differ, or None."""
        schema = resolved(schema, self._names)
        if isinstance(shape, inspect.Metadata):
            return self.differ(schema, shape.type, path)
        if isinstance(shape, inspect.AnyType):
            return None
        if is_union(schema) or isinstance(shape, inspect.UnionType):
            return self._unions(schema, shape, path)
        kind = kind_of(schema)
        if kind in ("record", "error") and isinstance(shape, ObjectShape):
            return self._records(schema, shape, path)
        if kind in ("record", "error") and _is_any_dict(shape):
            return None
        if kind == "array" and isinstance(shape, ItemsShape):
            return self.differ(schema["items"], shape.item_type, f"{path}[]")
        if kind == "map" and isinstance(shape, inspect.DictType):
            if not isinstance(shape.key_type, inspect.StrType | inspect.AnyType):
                return _said(path, schema, shape)
            return self.differ(schema["values"], shape.value_type, f"{path}[…]")
        return None if _leaves_fit(schema, kind, shape) else _said(path, schema, shape)

    def _unions(self, schema: Definition, shape: Shape, path: str) -> str | None:
        """Each branch must be one of the members, and each member one of the branches."""
        branches = schema if is_union(schema) else [schema]
        members = list(shape.types) if isinstance(shape, inspect.UnionType) else [shape]
        reasons = [[self.differ(branch, each, path) for each in members] for branch in branches]
        for branch, row in zip(branches, reasons, strict=True):
            if None not in row:
                pairs = [(member, why) for member, why in zip(members, row, strict=True) if why]
                named = [why for member, why in pairs if _word(member) == _name(branch)]
                deep = named or [why for _, why in pairs if not why.startswith(_at(path))]
                return deep[0] if len(deep) == 1 else _said(path, branch, shape)
        for at, member in enumerate(members):
            if all(row[at] is not None for row in reasons):
                return _said(path, schema, member)
        return None

    def _records(self, schema: Definition, shape: ObjectShape, path: str) -> str | None:
        pair = (str(schema["name"]), id(shape))
        if pair in self._assumed:
            return None
        self._assumed.add(pair)
        tag = getattr(shape, "tag_field", None)
        found = next(self._fields(schema, shape, tag, path), None)
        if found is not None:
            self._assumed.discard(pair)
        return found

    def _fields(
        self, schema: Definition, shape: ObjectShape, tag: str | None, path: str
    ) -> Iterator[str]:
        fields: Mapping[str, Any] = {field["name"]: field for field in schema["fields"]}
        if tag is not None and tag not in fields:
            where = f"{path}.{tag}" if path else tag
            yield f"{_at(where)}the schema has no such field, for the tag of {_word(shape)}"
        own = {field.encode_name: field for field in shape.fields}
        for name, field in own.items():
            where = f"{path}.{name}" if path else name
            if name not in fields:
                yield f"{_at(where)}the schema has no such field"
                continue
            why = self.differ(fields[name]["type"], field.type, where)
            if why is not None:
                yield why
        for name, field in fields.items():
            where = f"{path}.{name}" if path else name
            if name in own or name == tag:
                continue
            if "default" not in field:
                yield f"{_at(where)}the type has no such field, and it has no default"
            elif getattr(shape, "forbid_unknown_fields", False):
                yield f"{_at(where)}the type has no such field, and forbids unknown ones"


def _is_any_dict(shape: Shape) -> bool:
    """Tell a dict of text and anything: what a record is without a type."""
    return (
        isinstance(shape, inspect.DictType)
        and isinstance(shape.key_type, inspect.StrType | inspect.AnyType)
        and isinstance(shape.value_type, inspect.AnyType)
    )


def _at(path: str) -> str:
    return f"at {path}: " if path else ""


def _said(path: str, schema: Definition, shape: Shape) -> str:
    return f"{_at(path)}the schema has {expected(schema)}, the type {_word(shape)}"


def _name(schema: Definition) -> str:
    """The last name of a record; empty for what has none."""
    full = schema if isinstance(schema, str) else schema.get("name", "")
    return str(full).rpartition(".")[2]


def _word(shape: Shape) -> str:
    cls = getattr(shape, "cls", None)
    if cls is not None:
        return str(getattr(cls, "__name__", cls))
    if isinstance(shape, inspect.UnionType):
        return " | ".join(map(_word, shape.types))
    name = type(shape).__name__.removesuffix("Type")
    return name if name == "None" else name.lower()


_TEXT: Final = (inspect.StrType, inspect.TimeDeltaType)
_LEAVES: Final[Mapping[str, tuple[type[Shape], ...]]] = {
    "null": (inspect.NoneType,),
    "boolean": (inspect.BoolType,),
    "int": (inspect.IntType,),
    "long": (inspect.IntType,),
    "float": (inspect.FloatType,),
    "double": (inspect.FloatType,),
    "string": _TEXT,
    "bytes": (inspect.BytesType,),
    "fixed": (inspect.BytesType,),
}
_LOGICAL: Final[Mapping[str, tuple[type[Shape], ...]]] = {
    "date": (inspect.DateType,),
    "time-millis": (inspect.TimeType,),
    "time-micros": (inspect.TimeType,),
    "timestamp-millis": (inspect.DateTimeType,),
    "timestamp-micros": (inspect.DateTimeType,),
    "local-timestamp-millis": (inspect.DateTimeType,),
    "local-timestamp-micros": (inspect.DateTimeType,),
    "decimal": (inspect.DecimalType,),
    "uuid": (inspect.UUIDType,),
}


def _leaves_fit(schema: Definition, kind: str, shape: Shape) -> bool:
    logical = logical_of(schema)
    if logical in _LOGICAL and f"{kind}-{logical}" != "fixed-uuid":  # it is read as bytes
        if isinstance(shape, inspect.DateTimeType) and shape.tz is not None:
            return logical.startswith("local-") is not shape.tz
        return isinstance(shape, _LOGICAL[logical])
    if kind == "enum":
        values = _values(shape)
        return isinstance(shape, inspect.StrType) or values == set(schema["symbols"])
    if isinstance(shape, inspect.EnumType | inspect.LiteralType):
        wanted = str if kind == "string" else int if kind in ("int", "long") else None
        return wanted is not None and all(type(value) is wanted for value in _values(shape))
    return isinstance(shape, _LEAVES.get(kind, ()))


def _values(shape: Shape) -> set[object]:
    if isinstance(shape, inspect.EnumType):
        return {member.value for member in shape.cls}
    return set(shape.values) if isinstance(shape, inspect.LiteralType) else set()
