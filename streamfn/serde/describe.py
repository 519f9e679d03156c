"""The structure of a type as plain data, and as one canonical text: its fingerprint.

Invariant: equal fingerprints mean that bytes of one type read as the other. A fingerprint goes to
the ``__meta`` of a store; ``compatibility`` compares the stored one with the program's. Classes
stand in a table of their own, so that a type may contain itself.
"""

from collections.abc import Callable, Hashable

import msgspec
from msgspec import NODEFAULT, inspect

from streamfn.serde.adapters import Node
from streamfn.serde.names import type_name
from streamfn.serde.shapes import ObjectShape, adapter_in, constructor, shape_of

LIMITS = ("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern", "tz")
"""The constraints that ``msgspec.Meta`` puts on a type."""


def describe_type(type_: object) -> Node:
    """Describe a type: its ``root``, and all ``objects`` (classes with fields) in it by name.

    Raises:
        SerdeError: no serde can carry the type.
    """
    description = _Description()
    root = description.of(type_)
    return {"root": root, "objects": description.objects}


def fingerprint(type_: object) -> str:
    """The canonical text of a type's structure; a renamed class changes it, too.

    Arguments of a Counter, deque, defaultdict or OrderedDict are not part of it: msgspec does not
    tell them.

    Raises:
        SerdeError: no serde can carry the type.
    """
    return canonical(describe_type(type_))


def canonical(data: object) -> str:
    """One text for equal plain data."""
    return msgspec.json.encode(data, order="sorted").decode()


class _Description:
    """A description being written: the table of classes grows as they are met."""

    def __init__(self) -> None:
        self.objects: dict[str, Node] = {}
        self._names: dict[Hashable, str] = {}
        # Keeps the shapes alive, since their identities are the keys above.
        self._shapes: list[inspect.Type] = []

    def of(self, type_: object) -> Node:
        """Describe a type."""
        return self.node(shape_of(type_))

    def node(self, shape: inspect.Type) -> Node:
        """Describe one shape."""
        if isinstance(shape, inspect.Metadata):
            return self.node(shape.type)
        if isinstance(shape, ObjectShape):
            self._shapes.append(shape)
            return self.named(id(shape), type_name(shape.cls), lambda: self._class(shape))
        adapter = adapter_in(shape)
        if adapter is not None:
            return adapter.describe(self)
        node: Node = {"kind": _KINDS.get(type(shape), "unknown")}
        for limit in LIMITS:
            value = getattr(shape, limit, None)
            if value is not None:
                node[limit] = value
        return node | self._inside(shape)

    def _inside(self, shape: inspect.Type) -> Node:
        """What distinguishes shapes of one kind."""
        if isinstance(shape, inspect.UnionType):
            return {"members": sorted(map(self.node, shape.types), key=canonical)}
        if isinstance(shape, inspect.TupleType):
            return {"items": [self.node(item) for item in shape.item_types]}
        if isinstance(shape, inspect.DictType):
            return {"key": self.node(shape.key_type), "value": self.node(shape.value_type)}
        if isinstance(shape, inspect.LiteralType):
            return {"values": sorted(shape.values, key=canonical)}
        if isinstance(shape, inspect.EnumType):
            values = sorted((member.value for member in shape.cls), key=canonical)
            return {"name": type_name(shape.cls), "values": values}
        if isinstance(shape, inspect.CustomType):
            return {"name": type_name(shape.cls)}
        item = getattr(shape, "item_type", None)
        return {} if item is None else {"item": self.node(item)}

    def named(self, key: Hashable, name: str, build: Callable[[], Node]) -> Node:
        """Put a class into the table, once, and refer to it; it may contain itself."""
        if key not in self._names:
            unique, count = name, 1
            while unique in self.objects:
                count += 1
                unique = f"{name}#{count}"
            self._names[key] = unique
            self.objects[unique] = {}
            self.objects[unique].update(build())
        return {"kind": "object", "name": self._names[key]}

    def _class(self, shape: ObjectShape) -> Node:
        """Describe a class: how it is laid out, its tag, its fields in order."""
        array = isinstance(shape, inspect.NamedTupleType) or getattr(shape, "array_like", False)
        node: Node = {"layout": "array" if array else "map"}
        if getattr(shape, "tag", None) is not None:
            node["tag"] = [getattr(shape, "tag_field", None), getattr(shape, "tag", None)]
        config = getattr(constructor(shape), "__struct_config__", None)
        omits = config is not None and config.omit_defaults
        node["fields"] = [self._field(field, omits=omits) for field in shape.fields]
        return node

    def _field(self, field: inspect.Field, *, omits: bool) -> Node:
        """Describe a field; its default matters only if bytes leave it out."""
        node: Node = {"name": field.name, "type": self.node(field.type), "required": field.required}
        if field.encode_name != field.name:
            node["encoded"] = field.encode_name
        if omits and not field.required:
            by_value = field.default is not NODEFAULT
            node["omitted"] = repr(field.default) if by_value else type_name(field.default_factory)
        return node


_KINDS: dict[type[inspect.Type], str] = {
    inspect.AnyType: "Any",
    inspect.NoneType: "None",
    inspect.BoolType: "bool",
    inspect.IntType: "int",
    inspect.FloatType: "float",
    inspect.StrType: "str",
    inspect.BytesType: "bytes",
    inspect.ByteArrayType: "bytearray",
    inspect.MemoryViewType: "memoryview",
    inspect.DateTimeType: "datetime",
    inspect.DateType: "date",
    inspect.TimeType: "time",
    inspect.TimeDeltaType: "timedelta",
    inspect.UUIDType: "UUID",
    inspect.DecimalType: "Decimal",
    inspect.EnumType: "enum",
    inspect.LiteralType: "literal",
    inspect.UnionType: "union",
    inspect.ListType: "list",
    inspect.SetType: "set",
    inspect.FrozenSetType: "frozenset",
    inspect.VarTupleType: "tuple...",
    inspect.TupleType: "tuple",
    inspect.DictType: "dict",
    inspect.CustomType: "custom",
    inspect.RawType: "Raw",
    inspect.ExtType: "Ext",
}


def node_name(node: Node) -> str:
    """Name a described type as it stands in code."""
    kind = str(node["kind"])
    if kind in ("object", "enum", "custom"):
        return str(node["name"])
    if kind == "union":
        return " | ".join(map(node_name, node["members"]))
    if kind == "literal":
        return f"Literal[{', '.join(map(repr, node['values']))}]"
    if kind == "dict":
        return f"dict[{node_name(node['key'])}, {node_name(node['value'])}]"
    if kind == "tuple":
        return f"tuple[{', '.join(map(node_name, node['items'])) or '()'}]"
    if kind == "tuple...":
        return f"tuple[{node_name(node['item'])}, ...]"
    return f"{kind}[{node_name(node['item'])}]" if "item" in node else kind
