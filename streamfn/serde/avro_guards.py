"""What fastavro would do without a word, and what is done instead.

Invariant: the bytes are those of the schema itself. A guard refuses a value that would be cut or
shifted (a float for a long, a time without a zone); a default that is read is a value (a datetime,
bytes) and not the JSON that fastavro would give out.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, time
from typing import Any, Final, cast

from fastavro import read as reading
from fastavro import write as writing

from streamfn.serde.avro_parts import (
    GUARD,
    PRIMITIVES,
    Definition,
    is_object,
    is_union,
    kind_of,
    logical_of,
    names_of,
    resolved,
    walk_schema,
)

# fastavro's own types leave out what a schema is.
_READERS: dict[str, Callable[[Any, Any, Any], Any]] = cast("Any", reading).LOGICAL_READERS
WRITERS: dict[str, Callable[[Any, Any], Any]] = cast("Any", writing).LOGICAL_WRITERS
"""What fastavro does with logical types before it writes."""


def guarded(definition: Definition, *, in_union: bool = False) -> Definition:
    """The same schema with a check at each leaf; fastavro itself checks the members of a union."""
    if is_union(definition):
        return [guarded(each, in_union=True) for each in definition]
    if isinstance(definition, str):
        guard = None if in_union else _GUARDED.get(definition)
        return definition if guard is None else {"type": definition, "logicalType": guard}
    found = dict(definition)
    logical = definition.get("logicalType")
    if definition["type"] not in PRIMITIVES and not isinstance(definition["type"], str):
        found["type"] = guarded(definition["type"], in_union=in_union)
    elif logical in _TIMES or (logical is None and definition["type"] in _GUARDED and not in_union):
        found["logicalType"] = _TIMES.get(logical or "") or _GUARDED[definition["type"]]
    for word in ("items", "values"):
        if word in definition:
            found[word] = guarded(definition[word])
    if "fields" in definition:
        found["fields"] = [
            {**field, "type": guarded(field["type"])} for field in definition["fields"]
        ]
    return found


_TIMES: Final = {
    word: f"{GUARD}{word}"
    for word in ("timestamp-millis", "timestamp-micros", "time-millis", "time-micros",
                 "local-timestamp-millis", "local-timestamp-micros", "date")
}  # fmt: skip
_GUARDED: Final = {word: f"{GUARD}{word}" for word in ("int", "long", "boolean", "float", "double")}


def _guard_time(kind: str, logical: str) -> Callable[[Any, Any], Any]:
    prepare = WRITERS[f"{kind}-{logical}"]
    local = not logical.startswith("timestamp")

    def guard(value: Any, schema: Any) -> Any:
        if logical == "date" and isinstance(value, datetime):
            raise TypeError
        if isinstance(value, datetime | time) and (value.tzinfo is None) is not local:
            message = "has a zone" if local else "has no zone"
            raise ValueError(message)
        return prepare(value, schema)

    return guard


def _guard_whole(bits: int) -> Callable[[Any, Any], Any]:
    lowest, end = -(1 << bits - 1), 1 << bits - 1

    def guard(value: Any, schema: Any) -> Any:
        if (value.__class__ is not int and not _is_whole(value)) or not lowest <= value < end:
            raise TypeError
        return value

    return guard


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _guard_boolean(value: Any, schema: Any) -> Any:
    if value is not True and value is not False:
        raise TypeError
    return value


def _guard_float(value: Any, schema: Any) -> Any:
    if value.__class__ is not float and not (_is_whole(value) or isinstance(value, float)):
        raise TypeError
    return value


WRITERS.update(
    {
        "int-streamfn-int": _guard_whole(32),
        "long-streamfn-long": _guard_whole(64),
        "boolean-streamfn-boolean": _guard_boolean,
        "float-streamfn-float": _guard_float,
        "double-streamfn-double": _guard_float,
        **{
            f"{kind}-{_TIMES[word]}": _guard_time(kind, word)
            for word, kind in dict.fromkeys(_TIMES, "long").items()
            | {("time-millis", "int"), ("date", "int")}
            if f"{kind}-{word}" in WRITERS
        },
    }
)
"""Names of our own in fastavro's table: no schema of others has them."""


def settle_defaults(parsed: Definition) -> Definition:
    """Put the values of defaults in the place of their JSON, and return the schema."""
    names = names_of(parsed)
    for each in list(walk_schema(parsed)):
        for field in each.get("fields", ()) if is_object(each) else ():
            if "default" in field:
                field["default"] = default_value(field["type"], field["default"], names)
    return parsed


def default_value(schema: Definition, given: Any, names: Mapping[str, Definition]) -> Any:
    """The value that a default in a schema stands for."""
    schema = resolved(schema, names)
    if is_union(schema):
        return default_value(_branch_of(schema, given, names), given, names)
    kind = kind_of(schema)
    if kind in ("bytes", "fixed"):
        given = given.encode("latin-1") if isinstance(given, str) else given
    if kind == "array":
        return [default_value(schema["items"], each, names) for each in given]
    if kind == "map":
        return {key: default_value(schema["values"], each, names) for key, each in given.items()}
    if kind in ("record", "error"):
        return {
            field["name"]: default_value(field["type"], given[field["name"]], names)
            if field["name"] in given
            else default_value(field["type"], field["default"], names)
            for field in schema["fields"]
        }
    read = _READERS.get(f"{kind}-{logical_of(schema)}")
    return given if read is None else read(given, schema, None)


def _branch_of(union: list[Definition], given: Any, names: Mapping[str, Definition]) -> Definition:
    """The branch that a default is of; by the specification the first, today any."""
    if given is None:
        return "null"
    branches = [each for each in union if each != "null"]
    for each in branches:
        found = resolved(each, names)
        if isinstance(given, _JSON_OF.get(kind_of(found), str)) and _is_whole(given) == (
            kind_of(found) in ("int", "long")
        ):
            return each
    return branches[0]


_JSON_OF: Final[dict[str, type]] = {
    "boolean": bool, "int": int, "long": int, "float": float, "double": float, "array": list,
    "map": dict, "record": dict, "error": dict,
}  # fmt: skip
