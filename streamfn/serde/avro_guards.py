"""What fastavro would do without a word, and what is done instead.

Invariant: the bytes are those of the schema itself. A guard refuses a value that would be cut or
shifted (a float for a long, a time without a zone) or that nobody could read (a text that is no
UUID); a default that is read is a value (a datetime, bytes) and not the JSON that fastavro would
give out. A guard raises nothing: it gives ``UNFIT``, which no schema takes, since fastavro asks it
of each branch of a union, and the next one may fit.
"""

import math
from collections.abc import Callable, Mapping
from datetime import datetime, time
from typing import Any, Final, cast
from uuid import UUID

from fastavro import read as reading
from fastavro import write as writing

from streamfn.serde.avro_parts import (
    GUARD,
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


class _Unfit:
    """What no schema takes: no text, no number, and neither true nor false."""

    def __bool__(self) -> bool:
        message = "it does not fit"
        raise TypeError(message)


UNFIT: Final = _Unfit()
"""Stands for a value that does not fit."""
FLOAT_END: Final = (2 - 2**-24) * 2.0**127
"""From here on a number is no longer near the greatest float of 32 bits."""


def guarded(definition: Definition, *, in_union: bool = False) -> Definition:
    """The same schema with a check at each leaf; fastavro checks whole numbers of a union."""
    if is_union(definition):
        return [guarded(each, in_union=True) for each in definition]
    if isinstance(definition, str):
        guard = _guard_of(definition, in_union=in_union)
        return definition if guard is None else {"type": definition, "logicalType": guard}
    found = dict(definition)
    kind, logical = definition["type"], definition.get("logicalType")
    if not isinstance(kind, str):
        found["type"] = guarded(kind, in_union=in_union)
    elif logical is None:
        guard = _guard_of(kind, in_union=in_union)
        found |= {} if guard is None else {"logicalType": guard}
    elif f"{kind}-{GUARD}{logical}" in WRITERS:
        found["logicalType"] = f"{GUARD}{logical}"
    for word in ("items", "values"):
        if word in definition:
            found[word] = guarded(definition[word])
    if "fields" in definition:
        found["fields"] = [
            {**field, "type": guarded(field["type"])} for field in definition["fields"]
        ]
    return found


def _guard_of(kind: str, *, in_union: bool) -> str | None:
    """The mark of a plain leaf's guard."""
    found = _IN_UNION if in_union else _PLAIN
    return f"{GUARD}{kind}" if kind in found else None


_IN_UNION: Final = ("float", "double")
_PLAIN: Final = ("int", "long", "boolean", *_IN_UNION)


def _guard_logical(kind: str, logical: str) -> Callable[[Any, Any], Any]:
    prepare = WRITERS[f"{kind}-{logical}"]
    fits = _FITS.get(logical)

    def guard(value: Any, schema: Any) -> Any:
        if fits is not None and not fits(value):
            return UNFIT
        try:
            return prepare(value, schema)
        except (TypeError, ValueError, ArithmeticError):
            return UNFIT

    return guard


def _is_no_datetime(value: Any) -> bool:
    return not isinstance(value, datetime)


def _is_instant(value: Any) -> bool:
    return not isinstance(value, datetime | time) or value.tzinfo is not None


def _is_local(value: Any) -> bool:
    return not isinstance(value, datetime | time) or value.tzinfo is None


def is_uuid(value: object) -> bool:
    """Tell a UUID, or a text that is read as one."""
    if not isinstance(value, str):
        return isinstance(value, UUID)
    try:
        UUID(value)
    except ValueError:
        return False
    return True


_FITS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "date": _is_no_datetime,
    "timestamp-millis": _is_instant,
    "timestamp-micros": _is_instant,
    "local-timestamp-millis": _is_local,
    "local-timestamp-micros": _is_local,
    "time-millis": _is_local,
    "time-micros": _is_local,
    "uuid": is_uuid,
}


def _guard_whole(bits: int) -> Callable[[Any, Any], Any]:
    lowest, end = -(1 << bits - 1), 1 << bits - 1

    def guard(value: Any, schema: Any) -> Any:
        if (value.__class__ is not int and not _is_whole(value)) or not lowest <= value < end:
            return UNFIT
        return value

    return guard


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _guard_boolean(value: Any, schema: Any) -> Any:
    return value if value is True or value is False else UNFIT


def _guard_double(value: Any, schema: Any) -> Any:
    return value if value.__class__ is float or is_double(value) else UNFIT


def _guard_float(value: Any, schema: Any) -> Any:
    return value if is_float(value) else UNFIT


def is_double(value: object) -> bool:
    """Tell a number that 64 bits hold as it is."""
    if isinstance(value, float):
        return True
    try:
        return _is_whole(value) and float(cast("int", value)) == value
    except OverflowError:
        return False


def is_float(value: object) -> bool:
    """Tell a number that 32 bits hold, with the digits that they have, or none at all."""
    if not is_double(value):
        return False
    number = float(cast("float", value))
    return -FLOAT_END < number < FLOAT_END or not math.isfinite(number)


WRITERS.update(
    {
        f"int-{GUARD}int": _guard_whole(32),
        f"long-{GUARD}long": _guard_whole(64),
        f"boolean-{GUARD}boolean": _guard_boolean,
        f"float-{GUARD}float": _guard_float,
        f"double-{GUARD}double": _guard_double,
        **{
            f"{kind}-{GUARD}{logical}": _guard_logical(kind, logical)
            for kind, _, logical in (each.partition("-") for each in tuple(WRITERS))
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
