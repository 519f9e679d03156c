"""Where in a value or in bytes an Avro schema is not kept to: the field's path, what was expected.

Invariant: nothing here runs for a record that is right; fastavro is fast and does not say where it
failed, so that what failed is looked through once more, slowly, for the error's text.
"""

from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final, NamedTuple, NoReturn

from streamfn.serde.avro_guards import is_double, is_float, is_uuid
from streamfn.serde.avro_parts import (
    Definition,
    is_mapping,
    is_sequence,
    is_union,
    kind_of,
    logical_of,
    resolved,
)


class Place(NamedTuple):
    """Where it is, what the schema says there, what was found."""

    path: str
    expected: str
    got: str

    def __str__(self) -> str:
        at = f"at {self.path}: " if self.path else ""
        return f"{at}expected {self.expected}, got {self.got}"


Names = Mapping[str, Definition]


def misfit(schema: Definition, value: Any, names: Names, path: str = "") -> Place | None:
    """The first place in plain data that does not fit a parsed schema."""
    schema = resolved(schema, names)
    if is_union(schema):
        return _misfit_of_union(schema, value, names, path)
    kind = kind_of(schema)
    if kind in ("record", "error"):
        return _misfit_of_record(schema, value, names, path)
    if kind == "array":
        if not is_sequence(value):
            return Place(path, expected(schema), shown(value))
        parts = [(schema["items"], each, f"{path}[{at}]") for at, each in enumerate(value)]
    elif kind == "map":
        if not is_mapping(value):
            return Place(path, expected(schema), shown(value))
        parts = [(schema["values"], each, f"{path}[{key!r}]") for key, each in value.items()]
        odd = next((key for key in value if not isinstance(key, str)), None)
        if odd is not None:
            return Place(path, "a map with keys of text", f"a key {shown(odd)}")
    else:
        return (
            None if _is_leaf(schema, kind, value) else Place(path, expected(schema), shown(value))
        )
    found = (misfit(part, each, names, at) for part, each, at in parts)
    return next((each for each in found if each is not None), None)


def _misfit_of_union(union: list[Definition], value: Any, names: Names, path: str) -> Place | None:
    places = [misfit(each, value, names, path) for each in union]
    if None in places:
        return None
    deeper = [each for each in places if each is not None and each.path != path]
    return deeper[0] if len(deeper) == 1 else Place(path, expected(union), shown(value))


def _misfit_of_record(schema: Definition, value: Any, names: Names, path: str) -> Place | None:
    if not is_mapping(value):
        return Place(path, expected(schema), shown(value))
    fields = {field["name"]: field for field in schema["fields"]}
    for name in value:
        if name not in fields:
            return Place(_inside(path, str(name)), f"a field of {expected(schema)}", "another name")
    for name, field in fields.items():
        at = _inside(path, name)
        if name not in value:
            if "default" in field:
                continue
            return Place(at, expected(field["type"]), "no such field")
        found = misfit(field["type"], value[name], names, at)
        if found is not None:
            return found
    return None


def _inside(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def expected(schema: Definition) -> str:
    """A schema in a few words."""
    if isinstance(schema, str):
        return schema.rpartition(".")[2]
    if is_union(schema):
        return f"one of {', '.join(map(expected, schema))}"
    kind = kind_of(schema)
    logical = logical_of(schema)
    if kind == "enum":
        return f"{expected(schema['name'])} ({', '.join(schema['symbols'])})"
    if logical == "decimal":
        return f"decimal({schema['precision']}, {schema.get('scale', 0)})"
    if "name" in schema:
        return f"{kind} {expected(schema['name'])}"
    if kind in ("array", "map"):
        return f"{kind} of {expected(schema['items' if kind == 'array' else 'values'])}"
    zone = " with a zone" if logical.startswith("timestamp") else ""
    zone = " without a zone" if logical.startswith(("local", "time-")) else zone
    return f"{kind} ({logical}{zone})" if logical and logical != kind else kind


def shown(value: object) -> str:
    """A value in a few words."""
    return "null" if value is None else f"{type(value).__name__} {value!r:.60}"


def _is_leaf(schema: Definition, kind: str, value: Any) -> bool:
    special = _LOGICAL.get(f"{kind}-{logical_of(schema)}")
    if special is not None and special(schema, value):
        return True
    if special is not None and isinstance(value, datetime | time | Decimal):
        return False
    if special is _is_uuid:
        return False
    match kind:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "int" | "long":
            end = 1 << (31 if kind == "int" else 63)
            return isinstance(value, int) and not isinstance(value, bool) and -end <= value < end
        case "float":
            return is_float(value)
        case "double":
            return is_double(value)
        case "string":
            return isinstance(value, str) and _is_text(value)
        case "bytes":
            return isinstance(value, bytes | bytearray)
        case "fixed":
            return isinstance(value, bytes | bytearray) and len(value) == schema["size"]
        case "enum":
            return value in schema["symbols"]
        case _:
            return True


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_decimal(schema: Definition, value: Any) -> bool:
    if not isinstance(value, Decimal) or not value.is_finite():
        return False
    _, digits, exponent = value.as_tuple()
    enough = isinstance(exponent, int) and -exponent <= schema.get("scale", 0)
    return enough and len(digits) <= schema["precision"]


def _is_time(schema: Definition, value: Any) -> bool:
    return isinstance(value, time) and value.tzinfo is None


def _is_instant(schema: Definition, value: Any) -> bool:
    return isinstance(value, datetime) and value.tzinfo is not None


def _is_local(schema: Definition, value: Any) -> bool:
    return isinstance(value, datetime) and value.tzinfo is None


def _is_date(schema: Definition, value: Any) -> bool:
    return isinstance(value, date) and not isinstance(value, datetime)


def _is_uuid(schema: Definition, value: Any) -> bool:
    return is_uuid(value)


_LOGICAL: Final = {
    "long-timestamp-millis": _is_instant,
    "long-timestamp-micros": _is_instant,
    "long-local-timestamp-millis": _is_local,
    "long-local-timestamp-micros": _is_local,
    "int-time-millis": _is_time,
    "long-time-micros": _is_time,
    "bytes-decimal": _is_decimal,
    "fixed-decimal": _is_decimal,
    "int-date": _is_date,
    "string-uuid": _is_uuid,
}


# bytes


class _BrokenError(Exception):
    """Where the bytes no longer fit; never leaves this module."""

    def __init__(self, place: Place) -> None:
        super().__init__(str(place))
        self.place = place


def break_in(schema: Definition, raw: bytes, names: Names) -> Place | None:
    """The first place at which bytes do not fit a parsed schema."""
    reader = _Reader(raw, names)
    try:
        reader.skip(schema, "")
    except _BrokenError as error:
        return error.place
    except RecursionError:
        return Place("", "values that end", "the same one in itself, again and again")
    left = len(raw) - reader.at
    return Place("", "the end", f"{left} more bytes after {reader.at}") if left else None


class _Reader:
    """Goes through bytes field by field."""

    def __init__(self, raw: bytes, names: Names) -> None:
        self._raw, self._names = raw, names
        self.at = 0

    def skip(self, schema: Definition, path: str) -> None:
        """Go past one value."""
        schema = resolved(schema, self._names)
        if is_union(schema):
            branch = self._number(schema, path)
            if not 0 <= branch < len(schema):
                self._break(path, schema, f"branch {branch} of {len(schema)}")
            self.skip(schema[branch], path)
            return
        kind = kind_of(schema)
        match kind:
            case "record" | "error":
                for field in schema["fields"]:
                    self.skip(field["type"], _inside(path, field["name"]))
            case "array" | "map":
                self._blocks(schema, kind, path)
            case "enum":
                number = self._number(schema, path)
                if not 0 <= number < len(schema["symbols"]):
                    self._break(path, schema, f"symbol {number} of {len(schema['symbols'])}")
            case "string":
                try:
                    self._take(self._length(schema, path), schema, path).decode()
                except UnicodeDecodeError as error:
                    self._break(path, schema, f"bytes that are no text ({error.reason})")
            case "bytes":
                self._take(self._length(schema, path), schema, path)
            case "fixed":
                self._take(schema["size"], schema, path)
            case "boolean":
                self._take(1, schema, path)
            case "int" | "long":
                self._number(schema, path)
            case "float" | "double":
                self._take(4 if kind == "float" else 8, schema, path)
            case _:
                pass

    def _blocks(self, schema: Definition, kind: str, path: str) -> None:
        inner, at = schema["items" if kind == "array" else "values"], 0
        while (count := self._number(schema, path)) != 0:
            if count < 0:
                count = -count
                self._number(schema, path)
            if count > len(self._raw) * 64:
                self._break(path, schema, f"a block of {count}")
            for _ in range(count):
                where = f"{path}[{at}]"
                if kind == "map":
                    name = self._take(self._length(schema, path), schema, path)
                    where = f"{path}[{name.decode(errors='replace')!r}]"
                self.skip(inner, where)
                at += 1

    def _length(self, schema: Definition, path: str) -> int:
        length = self._number(schema, path)
        if length < 0:
            self._break(path, schema, f"a length of {length}")
        return length

    def _number(self, schema: Definition, path: str) -> int:
        found = shift = 0
        while True:
            byte = self._take(1, schema, path)[0]
            found |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return (found >> 1) ^ -(found & 1)
            if shift > 63:
                self._break(path, schema, "a number of more than ten bytes")

    def _take(self, count: int, schema: Definition, path: str) -> bytes:
        found = self._raw[self.at : self.at + count]
        if len(found) < count:
            left = len(self._raw) - self.at
            what = f"{count} bytes wanted, {left} left" if count > 1 else "nothing left"
            self._break(path, schema, f"the end of the bytes ({what} at byte {self.at})")
        self.at += count
        return found

    def _break(self, path: str, schema: Definition, got: str) -> NoReturn:
        raise _BrokenError(Place(path, expected(schema), got))
