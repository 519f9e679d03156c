"""pydantic models as types: JSON by pydantic itself in topics, its plain data in MessagePack.

Invariant: what is written is what the model reads: fields go by the name that validation knows,
computed ones are left out, and a model whose fields would not come back is refused when the program
is built. Values come from functions and go to topics and stores, and back.
"""

from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final, Union, cast, get_args, get_origin
from uuid import UUID

import msgspec
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from streamfn.errors import SerdeError
from streamfn.serde.adapters import Adapter, Description, Node, without_sets
from streamfn.serde.names import type_name

_LIMITS: Final = ("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern")
_SECRETS: Final = {"Secret", "SecretStr", "SecretBytes"}
_STRANGE: Final = {
    "any", "complex", "callable", "function-plain", "function-wrap", "generator", "is-instance",
    "is-subclass", "multi-host-url", "url",
}  # fmt: skip
"""Schemas whose values may be what msgspec does not know, such as an IPv4Address."""
_UNSORTABLE: Final = {"any", "dict", "typed-dict", "function-plain", "function-wrap"}
_KNOWN: Final = (bytes, bytearray, date, datetime, time, timedelta, Decimal, UUID)
_WORDS: Final = {"title", "description", "examples"}


def adapted(model: Any) -> Adapter:
    """Make the adapter of a pydantic model.

    Raises:
        SerdeError: a field of it would not come back.
    """
    kinds = _schema_kinds(_completed(model))
    fields = _carried(model)
    _check_arbitrary(model)
    if "bytes" in kinds:
        _check_bytes(model)
    ordered = bool(kinds & {"set", "frozenset", "any"})
    codec = _Codec(model, ordered=ordered, kinds=kinds)
    types = {name: field.annotation for name, field in fields.items()}
    frozen = model.model_config.get("frozen", False) and not (
        model.__private_attributes__
        or len(fields) < len(model.model_fields)
        or model.model_config.get("extra") == "allow"
    )
    unsortable = bool(kinds & _UNSORTABLE) or model.model_config.get("extra") == "allow"
    return Adapter(
        codec.name,
        codec.encode,
        codec.decode,
        codec.encode_sorted if unsortable else codec.encode,
        codec.to_json,
        codec.from_json,
        codec.to_packed,
        codec.from_packed,
        model,
        partial(_describe, model),
        required=tuple(name for name, field in fields.items() if field.is_required()),
        parts=tuple(types.values()) if frozen else None,
        key_fields=types if frozen and not _has_aliases(fields) else None,
        hides_nan=ordered
        or unsortable
        or model.model_config.get("ser_json_inf_nan", "null") == "null",
        sortable=not unsortable,
    )


class _Codec:
    """A model's own serializer and validator, asked so that all that goes out comes in again."""

    def __init__(self, model: Any, *, ordered: bool, kinds: set[str]) -> None:
        self.name = f"json[{type_name(model)}]"
        self._model = model
        self._ordered, self._strange = ordered, bool(kinds & _STRANGE)
        self._dump_json = partial(
            model.__pydantic_serializer__.to_json, round_trip=True, by_alias=True, warnings="error"
        )
        self._dump = partial(
            model.__pydantic_serializer__.to_python,
            round_trip=True,
            by_alias=True,
            warnings="error",
        )
        self._read_json = model.__pydantic_validator__.validate_json
        # A strict model would refuse what MessagePack has no kind for, such as a tuple.
        self._read = partial(model.__pydantic_validator__.validate_python, strict=False)

    def encode(self, value: Any) -> bytes:
        """Write JSON."""
        if self._ordered:
            return msgspec.json.encode(self.to_json(value))
        try:
            return cast(bytes, self._dump_json(value))
        except (PydanticSerializationError, TypeError, UnicodeDecodeError) as error:
            raise self._unwritten(value, error) from error

    def encode_sorted(self, value: Any) -> bytes:
        """Write JSON in which also the entries of dicts are in order."""
        return msgspec.json.encode(self.to_json(value), order="deterministic")

    def decode(self, raw: bytes) -> object:
        """Read JSON."""
        try:
            return self._read_json(raw)
        except ValidationError as error:
            raise self._unread(error) from error

    def to_json(self, value: Any) -> object:
        """Return what JSON can hold; sets as sorted lists."""
        try:
            plain = self._dump(value, mode="json")
            return _sorted_sets(self._dump(value), plain) if self._ordered else plain
        except (PydanticSerializationError, TypeError, UnicodeDecodeError) as error:
            raise self._unwritten(value, error) from error

    def from_json(self, plain: object) -> object:
        """Read what JSON holds; as JSON, since a model may treat that apart from Python's data."""
        return self.decode(msgspec.json.encode(plain))

    def to_packed(self, value: Any) -> object:
        """Return Python's own data: MessagePack has bytes, times and NaN."""
        try:
            plain = self._dump(value)
        except (PydanticSerializationError, TypeError, UnicodeDecodeError) as error:
            raise self._unwritten(value, error) from error
        plain = without_sets(plain) if self._ordered else plain
        if self._strange:
            return msgspec.to_builtins(plain, builtin_types=_KNOWN, enc_hook=to_jsonable_python)
        return plain

    def from_packed(self, plain: object) -> object:
        """Validate Python's own data."""
        try:
            return self._read(plain)
        except ValidationError as error:
            raise self._unread(error) from error

    def _unwritten(self, value: object, error: Exception) -> SerdeError:
        reason = " ".join(str(error).removeprefix("Pydantic serializer warnings:").split())
        cure = f"give a {type_name(self._model)} whose fields have their types"
        if "utf-8" in reason:
            cure = "let the model say ser_json_bytes='base64' and val_json_bytes='base64'"
        message = f"a value does not encode as {self.name}; {reason}; got {value!r:.80}; {cure}"
        return SerdeError(message)

    def _unread(self, error: ValidationError) -> SerdeError:
        found = error.errors(include_url=False, include_context=False)
        where = ".".join(map(str, found[0]["loc"]))
        field = f"field {where!r}: " if where else ""
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        message = (
            f"a value does not decode as {self.name}; {field}{found[0]['msg']}{more}; "
            f"got {found[0]['input']!r:.80}; send what the model reads, or change the model"
        )
        return SerdeError(message)


def _sorted_sets(rich: object, plain: object) -> object:
    """Sort the lists in JSON's data that are sets in Python's; both were made of one value."""
    if isinstance(rich, dict) and isinstance(plain, dict):
        written = cast("dict[str, object]", plain)
        pairs = zip(cast("dict[object, object]", rich).values(), written.items(), strict=False)
        return {key: _sorted_sets(inner, of_json) for inner, (key, of_json) in pairs}
    if not isinstance(plain, list):
        return plain
    items = cast("list[object]", plain)
    if isinstance(rich, list | tuple):
        pairs_of_items = zip(cast("list[object]", rich), items, strict=False)
        return [_sorted_sets(inner, of_json) for inner, of_json in pairs_of_items]
    if isinstance(rich, set | frozenset):
        if any(isinstance(item, frozenset) for item in cast("set[object]", rich)):
            items = [sorted(cast("list[object]", item), key=_in_order) for item in items]
        return sorted(items, key=_in_order)
    return items


def _in_order(item: object) -> bytes:
    """What sorts items of JSON."""
    return msgspec.json.encode(item)


# what is refused
def _completed(model: Any) -> Any:
    """The model's schema, with all names in it resolved."""
    if not model.__pydantic_complete__:
        try:
            model.model_rebuild()
        except (PydanticUserError, NameError) as error:
            message = (
                f"model {type_name(model)} is not complete; {' '.join(str(error).split())}; "
                "define what its annotations name before the program, or call model_rebuild()"
            )
            raise SerdeError(message) from error
    return model.__pydantic_core_schema__


def _schema_kinds(schema: object) -> set[str]:
    """All kinds of schemas inside one."""
    found: set[str] = set()
    waiting: list[Any] = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            kind = cast("dict[str, object]", node).get("type")
            if isinstance(kind, str):
                found.add(kind)
            waiting.extend(cast("dict[str, object]", node).values())
        elif isinstance(node, list | tuple):
            waiting.extend(cast("list[object]", node))
    return found


def _carried(model: Any) -> dict[str, Any]:
    """The fields that are written, each checked to be read again."""
    for name, field in model.model_fields.items():
        reason = _lost(model, name, field)
        if reason:
            message = f"model {type_name(model)} cannot be a key or value; field {name!r} {reason}"
            raise SerdeError(message)
    return {name: field for name, field in model.model_fields.items() if not field.exclude}


def _lost(model: Any, name: str, field: Any) -> str | None:
    """Say why a field would not come back."""
    if field.exclude:
        return "is excluded and has no default; give it one" if field.is_required() else None
    written, read = _written(name, field), set(_read_as(model, name, field))
    if written not in read:
        names = ", ".join(map(repr, sorted(read))) or "what stands inside another field"
        return f"is written as {written!r}; it is read as {names}; let both be one alias"
    if _SECRETS & {type_name(part).partition("[")[0] for part in _parts(field.annotation)}:
        decorators = model.__pydantic_decorators__
        fields = {each for one in decorators.field_serializers.values() for each in one.info.fields}
        if name not in fields and not decorators.model_serializers:
            return "is secret: pydantic writes it as asterisks; give it a field_serializer"
    return None


def _has_aliases(fields: dict[str, Any]) -> bool:
    return any(field.alias or field.validation_alias for field in fields.values())


def _written(name: str, field: Any) -> str:
    """The field's name in what is written."""
    return str(field.serialization_alias or field.alias or name)


def _read_as(model: Any, name: str, field: Any) -> Iterator[str]:
    """The names that validation takes a field by."""
    config = model.model_config
    alias = field.validation_alias
    if alias is None or config.get("populate_by_name") or config.get("validate_by_name"):
        yield name
    for each in getattr(alias, "choices", [alias]):
        path = getattr(each, "path", [each])
        if len(path) == 1 and isinstance(path[0], str):
            yield path[0]


def _parts(annotation: object) -> Iterator[object]:
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def _check_arbitrary(model: Any) -> None:
    """Refuse classes that pydantic only lets pass: it cannot write or read them."""
    if model.model_config.get("arbitrary_types_allowed"):
        try:
            model.model_json_schema()
        except PydanticUserError as error:
            message = (
                f"model {type_name(model)} cannot be a key or value; {' '.join(str(error).split())}"
                "; use types that pydantic can write as JSON"
            )
            raise SerdeError(message) from error


def _check_bytes(model: Any) -> None:
    """Refuse a model that writes bytes in one way and reads them in another."""
    config = model.model_config
    written, read = (config.get(f"{way}_json_bytes", "utf8") for way in ("ser", "val"))
    if written != read:
        message = (
            f"model {type_name(model)} cannot be a key or value; it writes bytes as {written!r} "
            f"and reads them as {read!r}; let ser_json_bytes= and val_json_bytes= be one"
        )
        raise SerdeError(message)


# its structure
def _describe(model: Any, description: Description) -> Node:
    fields = _carried(model)
    if getattr(model, "__pydantic_root_model__", False):
        return _type(fields["root"].annotation, fields["root"].metadata, description)
    build: Callable[[], Node] = lambda: {  # noqa: E731  # it is an argument
        "layout": "map",
        "fields": [_field(name, field, description) for name, field in fields.items()],
    }
    return description.named(model, type_name(model), build)


def _field(name: str, field: Any, description: Description) -> Node:
    node: Node = {
        "name": name,
        "type": _type(field.annotation, field.metadata, description),
        "required": field.is_required(),
    }
    written = _written(name, field)
    return node if written == name else node | {"encoded": written}


def _type(annotation: Any, metadata: list[Any], description: Description) -> Node:
    """Describe a field's type with its limits; what only pydantic knows, by its JSON schema."""
    limits = {
        limit: value
        for each in metadata
        for limit in _LIMITS
        if isinstance(value := getattr(each, limit, None), int | float | str)
    }
    try:
        return description.of(annotation) | limits
    except SerdeError:
        if get_origin(annotation) is Union or type(annotation).__name__ == "UnionType":
            members = [_type(member, [], description) for member in get_args(annotation)]
            members.sort(key=lambda node: msgspec.json.encode(node, order="sorted"))
            return {"kind": "union", "members": members} | limits
        return {"kind": "custom", "name": type_name(annotation), **_schema(annotation)} | limits


def _schema(annotation: Any) -> Node:
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        return {"schema": _without_words(adapter.json_schema())}
    except PydanticUserError:
        return {}


def _without_words(schema: Any) -> Any:
    """Leave out of a schema what only people read."""
    if isinstance(schema, dict):
        entries = cast("dict[str, Any]", schema).items()
        return {key: _without_words(value) for key, value in entries if key not in _WORDS}
    if isinstance(schema, list):
        return [_without_words(value) for value in cast("list[object]", schema)]
    return schema
