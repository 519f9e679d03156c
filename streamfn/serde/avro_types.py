"""The Avro schema of a Python type, by what msgspec knows of it.

Invariant: each value of the type can be written by the schema and comes back equal; a type of which
that cannot be said is refused when the program is built, with the field and a cure. The schema has
no docs, so that a changed comment is no new version of it.

    bool int float str bytes    boolean long double string bytes
    datetime                    long, timestamp-micros; with Meta(tz=False) local-timestamp-micros
    date, time                  int, date; long, time-micros
    Decimal                     bytes, decimal, with Meta(extra={"precision": 12, "scale": 2})
    UUID, timedelta             string, uuid; string (ISO 8601)
    Enum                        an enum of its values; whole numbers are long, other texts string
    list set frozenset tuple    array (of one type)
    dict[str, T]                map
    T | None                    a union with null, which is the default unless another one is given
    Struct dataclass ...        a record; so are NamedTuple and TypedDict
"""

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NoReturn, cast

import fastavro
import msgspec
from msgspec import NODEFAULT, inspect

from streamfn.errors import SerdeError
from streamfn.serde.avro_guards import WRITERS
from streamfn.serde.avro_layout import is_array, plain_data, to_records
from streamfn.serde.avro_parts import Definition, is_union, kind_of, logical_of
from streamfn.serde.avro_schema import AvroSchema, checked_schema
from streamfn.serde.names import type_name
from streamfn.serde.shapes import ItemsShape, ObjectShape, shape_of

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN: Final[Mapping[type[inspect.Type], Definition]] = {
    inspect.NoneType: "null",
    inspect.BoolType: "boolean",
    inspect.IntType: "long",
    inspect.FloatType: "double",
    inspect.StrType: "string",
    inspect.BytesType: "bytes",
    inspect.TimeDeltaType: "string",
    inspect.DateType: {"type": "int", "logicalType": "date"},
    inspect.TimeType: {"type": "long", "logicalType": "time-micros"},
    inspect.UUIDType: {"type": "string", "logicalType": "uuid"},
}
_CURES: Final[Mapping[type[inspect.Type], str]] = {
    inspect.AnyType: "say the type, or pass a schema: sf.avro('file.avsc')",
    inspect.RawType: "say the type of what is in it",
    inspect.TupleType: "use a NamedTuple, or tuple[T, ...]",
    inspect.CustomType: "use list or dict, a msgspec.Struct or a dataclass",
    inspect.ByteArrayType: "use bytes",
    inspect.MemoryViewType: "use bytes",
}


def without_null(shape: inspect.Type) -> inspect.Type:
    """The shape of what goes through a serde: ``T | None`` is T, null is a tombstone."""
    if isinstance(shape, inspect.UnionType):
        rest = tuple(each for each in shape.types if not isinstance(each, inspect.NoneType))
        return rest[0] if len(rest) == 1 else inspect.UnionType(rest)
    return shape


def schema_of(type_: object, namespace: str = "") -> AvroSchema:
    """The schema of a type.

    Raises:
        SerdeError: Avro has nothing for the type, or for a type in it.
    """
    types = _Types(type_, namespace)
    definition = types.node(without_null(shape_of(type_)), "")
    return checked_schema(definition, f"what Avro makes of type {type_name(type_)}")


class _Types:
    """A schema being written: names are given once and then referred to."""

    def __init__(self, root: object, namespace: str) -> None:
        self._root, self._namespace = root, namespace
        self._owners: dict[str, object] = {}
        self._definitions: dict[str, Definition] = {}

    def node(self, shape: inspect.Type, path: str) -> Definition:
        """The schema of one shape."""
        if isinstance(shape, inspect.Metadata):
            if isinstance(shape.type, inspect.DecimalType):
                return self._decimal(cast("Any", shape).extra or {}, path)
            return self.node(shape.type, path)
        if type(shape) in _PLAIN:
            return _PLAIN[type(shape)]
        if isinstance(shape, inspect.DateTimeType):
            local = "local-" if shape.tz is False else ""
            return {"type": "long", "logicalType": f"{local}timestamp-micros"}
        if isinstance(shape, inspect.DecimalType):
            return self._decimal({}, path)
        if isinstance(shape, ItemsShape):
            return {"type": "array", "items": self.node(shape.item_type, f"{path}[]")}
        if isinstance(shape, inspect.DictType):
            return self._map(shape, path)
        if isinstance(shape, inspect.EnumType):
            return self._enum(shape.cls, path)
        if isinstance(shape, inspect.LiteralType):
            return self._literal(shape.values, path)
        if isinstance(shape, inspect.UnionType):
            return self._union(shape, path)
        if isinstance(shape, ObjectShape):
            return self._record(shape, path)
        kind = type(shape).__name__.removesuffix("Type").lower()
        if isinstance(shape, inspect.CustomType):
            kind = type_name(shape.cls)
        self._refuse(path, f"Avro has nothing for {kind}", _CURES.get(type(shape), "use another"))

    def _decimal(self, extra: Mapping[str, Any], path: str) -> Definition:
        precision, scale = extra.get("precision"), extra.get("scale")
        if not (type(precision) is int and type(scale) is int and 0 <= scale <= precision):
            why = f"a Decimal needs precision and scale, got {extra or 'none'}"
            cure = 'say Annotated[Decimal, msgspec.Meta(extra={"precision": 12, "scale": 2})]'
            self._refuse(path, why, cure)
        return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}

    def _map(self, shape: inspect.DictType, path: str) -> Definition:
        if not isinstance(shape.key_type, inspect.StrType):
            cure = "use dict[str, ...], or a list of NamedTuples"
            self._refuse(path, "keys of a map are text in Avro", cure)
        return {"type": "map", "values": self.node(shape.value_type, f"{path}[…]")}

    def _enum(self, cls: type[Enum], path: str) -> Definition:
        values: list[object] = [member.value for member in cls]
        if not all(isinstance(value, str) and _NAME.fullmatch(value) for value in values):
            return self._literal(values, path)
        taken = self._named(cls, cls.__name__, path)
        if taken is not None:
            return taken
        name = self._name(cls.__name__)
        return self._define(name, {"type": "enum", "name": name, "symbols": values})

    def _literal(self, values: Any, path: str) -> Definition:
        some = [value for value in values if value is not None]
        kinds: set[object] = {type(value) for value in some}
        found = "string" if kinds == {str} else "long" if kinds == {int} else ""
        if not found:
            self._refuse(path, "values of several types", "use texts only, or whole numbers only")
        return found if len(some) == len(values) else ["null", found]

    def _union(self, shape: inspect.UnionType, path: str) -> Definition:
        """A union: null first; whole numbers before others, which would take them too."""
        found: list[Definition] = []
        for member in shape.types:
            node = self.node(member, path)
            found += node if is_union(node) else [node]
        kinds = [kind_of(each) for each in found]
        order = {"null": 0, "boolean": 1, "long": 2}
        ranked = sorted(zip(kinds, found, strict=True), key=lambda each: order.get(each[0], 3))
        unnamed = [kind for kind in kinds if kind in ("string", "bytes", "long", "array", "map")]
        twice = next((kind for kind in unnamed if unnamed.count(kind) > 1), None)
        if twice is not None:
            cure = "use one of them, or a class with a field for each"
            self._refuse(path, f"two members of the union are both {twice} in Avro", cure)
        return [node for _, node in ranked]

    def _record(self, shape: ObjectShape, path: str) -> Definition:
        wanted = re.sub(r"\W+", "_", type_name(shape.cls)).strip("_")
        taken = self._named(shape.cls, wanted, path)
        if taken is not None:
            return taken
        name = self._name(wanted)
        record: dict[str, Any] = {"type": "record", "name": name, "fields": []}
        self._define(name, record)
        tag, word = getattr(shape, "tag", None), getattr(shape, "tag_field", None)
        if tag is not None and word is not None:
            record["fields"].append(self._tag(shape, name, word, tag, path))
        for field in shape.fields:
            record["fields"].append(self._field(field, path))
        return record

    def _tag(self, shape: ObjectShape, name: str, word: str, tag: object, path: str) -> Definition:
        """The tag of a class: an enum of one, by which a union's branch is found."""
        if not (isinstance(tag, str) and _NAME.fullmatch(tag)) or is_array(shape):
            cure = "give the class a tag of letters, and no array_like"
            self._refuse(path, f"tag {tag!r} of {type_name(shape.cls)} is no name", cure)
        return {
            "name": word,
            "type": {"type": "enum", "name": f"{name}_{word}", "symbols": [tag]},
            "default": tag,
        }

    def _field(self, field: inspect.Field, path: str) -> Definition:
        name = field.encode_name
        where = f"{path}.{name}" if path else name
        if not _NAME.fullmatch(name):
            cure = "rename it, e.g. msgspec.field(name=...)"
            self._refuse(where, "a field's name is letters, digits and _ in Avro", cure)
        schema = self.node(field.type, where)
        nullable = is_union(schema) and "null" in schema
        if not field.required and field.default is field.default_factory is NODEFAULT:
            cure = "make it required, of type T | None"
            self._refuse(where, "a field that may be missing has nothing like it in Avro", cure)
        if field.required:
            return {"name": name, "type": schema} | ({"default": None} if nullable else {})
        value = _default(field)
        if value is None and nullable:
            return {"name": name, "type": schema, "default": None}
        try:
            schema, default = self._with_default(schema, field, value)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            return {"name": name, "type": schema}  # a default that no schema can tell
        return {"name": name, "type": schema, "default": default}

    def _with_default(
        self, schema: Definition, field: inspect.Field, value: object
    ) -> tuple[Definition, Definition]:
        """A schema and its default; that of a union is of its first branch."""
        plain = plain_data(value)
        change = to_records(field.type)
        plain = plain if change is None else change(plain)
        if is_union(schema):
            whole = [each for each in schema if each == "long"]
            for branch in whole or schema:  # whole numbers stand before others
                rest = [each for each in schema if each is not branch]
                if branch != "null" and fastavro.validate(
                    plain, self._whole(branch), raise_errors=False
                ):
                    return [branch, *rest], self._json(branch, plain)
            raise ValueError
        return schema, self._json(schema, plain)

    def _whole(self, schema: Definition) -> Definition:
        named: dict[str, Any] = {}
        for name, each in self._definitions.items():
            if name not in named and schema != each:
                fastavro.parse_schema(each, named_schemas=named)
        return fastavro.parse_schema(schema, named_schemas=named)

    def _json(self, schema: Definition, value: Any) -> Definition:
        """Plain data as a default in JSON has it."""
        if isinstance(schema, str):
            schema = self._definitions.get(schema, schema)
        if is_union(schema):
            if (value is None) != (schema[0] == "null"):
                raise ValueError
            return self._json(schema[0], value)
        kind = kind_of(schema)
        if kind in ("record", "error"):
            fields = schema["fields"]
            return {each["name"]: self._json(each["type"], value[each["name"]]) for each in fields}
        if kind == "array":
            return [self._json(schema["items"], each) for each in value]
        if kind == "map":
            return {key: self._json(schema["values"], each) for key, each in value.items()}
        prepare = WRITERS.get(f"{kind}-{logical_of(schema)}")
        value = value if prepare is None else prepare(value, schema)
        if isinstance(value, float) and value - value != 0.0:
            raise ValueError
        return value.decode("latin-1") if isinstance(value, bytes) else value

    def _name(self, name: str) -> str:
        return f"{self._namespace}.{name}" if self._namespace else name

    def _named(self, cls: object, name: str, path: str) -> str | None:
        """The name of a class that is defined already; None: it is not."""
        full = self._name(name)
        if full not in self._owners:
            self._owners[full] = cls
            return None
        if self._owners[full] != cls:
            self._refuse(path, f"two classes are named {name}", "rename one of them")
        return full

    def _define(self, name: str, definition: Definition) -> Definition:
        self._definitions[name] = definition
        return definition

    def _refuse(self, path: str, why: str, cure: str) -> NoReturn:
        at = f"field {path!r}" if path else "its root"
        message = f"type {type_name(self._root)} cannot be Avro; at {at}: {why}; {cure}"
        raise SerdeError(message)


def _default(field: inspect.Field) -> object:
    """The default of a field; one that is another at each call is none."""
    if field.default is not NODEFAULT:
        return field.default
    one, other = field.default_factory(), field.default_factory()
    try:
        same = plain_data(one) == plain_data(other)
    except (TypeError, ValueError, SerdeError, msgspec.MsgspecError):
        same = False
    return one if same else cast("object", NODEFAULT)
