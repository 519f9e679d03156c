"""Values of Python types as Avro has them, and back: tuples with names are records there too.

Invariant: a type that needs no change costs nothing: its function is None. msgspec makes plain data
of a value (a NamedTuple becomes a list, a field at its default may be left out), these functions
make dicts with all fields of it, and lists again of what was read.
"""

from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import NODEFAULT, inspect

from streamfn.serde.avro_parts import is_object
from streamfn.serde.hooks import encode_hook
from streamfn.serde.shapes import ItemsShape, ObjectShape, constructor, walk

Change: TypeAlias = Callable[[Any], Any]

BUILTIN: Final = (bytes, datetime, date, time, Decimal)
"""What Avro has types of its own for; everything else becomes text, numbers, lists and dicts."""


def to_records(shape: inspect.Type) -> Change | None:
    """What makes plain data of msgspec into what Avro writes."""
    return _Changes(to_avro=True).of(shape)


def from_records(shape: inspect.Type) -> Change | None:
    """What makes what Avro read into what msgspec converts."""
    return _Changes(to_avro=False).of(shape)


def is_array(shape: ObjectShape) -> bool:
    """True if msgspec writes the fields without their names."""
    return isinstance(shape, inspect.NamedTupleType) or getattr(shape, "array_like", False)


def omitted(shape: ObjectShape) -> bool:
    """True if msgspec leaves out fields at their defaults."""
    config = getattr(constructor(shape), "__struct_config__", None)
    return config is not None and bool(config.omit_defaults)


class _Changes:
    """Functions by shape; a type may contain itself."""

    def __init__(self, *, to_avro: bool) -> None:
        self._to_avro = to_avro
        self._made: dict[int, Change] = {}

    def of(self, shape: inspect.Type) -> Change | None:
        """The function for a shape, or None if nothing in it changes."""
        if not any(self._matters(inner) for inner in walk(shape)):
            return None
        known = id(shape)
        if known in self._made:
            return lambda value: self._made[known](value)
        self._made[known] = lambda value: value
        self._made[known] = made = self._make(shape)
        return made

    def _matters(self, shape: inspect.Type) -> bool:
        if not isinstance(shape, ObjectShape):
            return False
        return is_array(shape) or (self._to_avro and omitted(shape))

    def _make(self, shape: inspect.Type) -> Change:
        if isinstance(shape, inspect.Metadata):
            return self.of(shape.type) or _same
        if isinstance(shape, inspect.UnionType):
            return self._union(shape)
        if isinstance(shape, inspect.DictType):
            change = self.of(shape.value_type) or _same
            return lambda found: {key: change(value) for key, value in found.items()}
        if isinstance(shape, ItemsShape):
            change = self.of(shape.item_type) or _same
            return lambda found: [change(value) for value in found]
        return self._object(shape) if isinstance(shape, ObjectShape) else _same

    def _object(self, shape: ObjectShape) -> Change:
        parts = [(field.encode_name, self.of(field.type)) for field in shape.fields]
        if is_array(shape):
            whole = [(name, change or _same) for name, change in parts]
            if self._to_avro:
                return lambda found: {
                    name: change(value) for (name, change), value in zip(whole, found, strict=True)
                }
            return lambda found: [change(found[name]) for name, change in whole]
        changes = [(name, change) for name, change in parts if change is not None]
        defaults = _defaults(shape) if self._to_avro and omitted(shape) else {}

        def change_object(found: dict[str, Any]) -> dict[str, Any]:
            for name, make in defaults.items():
                if name not in found:
                    found[name] = make()
            for name, change in changes:
                if name in found:
                    found[name] = change(found[name])
            return found

        return change_object

    def _union(self, shape: inspect.UnionType) -> Change:
        """Change the member that a value is of: a class by its tag, else by what it is."""
        members = [(member, self.of(member)) for member in shape.types]
        changes = [(_test(m, to_avro=self._to_avro), change) for m, change in members if change]

        def change_member(found: Any) -> Any:
            for is_it, change in changes:
                if is_it(found):
                    return change(found)
            return found

        return change_member


def _same(value: Any) -> Any:
    return value


def _test(shape: inspect.Type, *, to_avro: bool) -> Callable[[Any], bool]:
    tag = getattr(shape, "tag", None)
    if tag is not None:
        word = getattr(shape, "tag_field", "")
        return lambda found: is_object(found) and found.get(word) == tag
    listed = isinstance(shape, ItemsShape) or (
        to_avro and isinstance(shape, ObjectShape) and is_array(shape)
    )
    kinds: tuple[type, ...] = (list, tuple) if listed else (dict,)
    return lambda found: isinstance(found, kinds)


def _defaults(shape: ObjectShape) -> dict[str, Callable[[], Any]]:
    """What makes the plain data of each default of a class."""
    made: dict[str, Callable[[], Any]] = {}
    for field in shape.fields:
        if field.default is not NODEFAULT:
            made[field.encode_name] = _constant(field.default)
        elif field.default_factory is not NODEFAULT:
            made[field.encode_name] = _fresh(field.default_factory)
    return made


def _constant(value: object) -> Callable[[], Any]:
    return lambda: plain_data(value)


def _fresh(factory: Callable[[], object]) -> Callable[[], Any]:
    return lambda: plain_data(factory())


def plain_data(value: object) -> Any:
    """Plain data of a value, with what Avro has types of its own for."""
    return msgspec.to_builtins(value, builtin_types=BUILTIN, enc_hook=encode_hook)
