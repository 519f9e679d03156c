"""Values to Avro bytes and back, as fast as fastavro does it: schemas are ready, types are known.

Invariant: bytes are taken whole, and what does not fit raises a ``SerdeError`` with the field.
Values come from functions and go as bytes to topics; ``avro_wire`` puts a registry's id in front.
"""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast

import fastavro
import msgspec
from msgspec import inspect

from streamfn.errors import SerdeError
from streamfn.serde.avro_errors import break_in, misfit
from streamfn.serde.avro_layout import BUILTIN, from_records, to_records
from streamfn.serde.avro_parts import is_object, is_union, names_of
from streamfn.serde.avro_schema import AvroSchema
from streamfn.serde.hooks import decode_hook, encode_hook
from streamfn.serde.shapes import Order, order_of, unaliased, walk

Plain = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Values:
    """What a serde's values are: plain data of the schema, or of a type."""

    plain: Plain | None
    """Makes plain data of a value; None: it is that already."""
    typed: Plain | None
    """Makes a value of plain data; None: it is that already."""


PLAIN = Values(None, None)


def values_of(type_: object, shape: inspect.Type) -> Values:
    """What values of a type are."""
    if isinstance(shape, _ITSELF) and not isinstance(shape, inspect.DateTimeType):
        return PLAIN
    kind = cast("type[Any]", unaliased(type_))
    to_avro, from_avro = to_records(shape), from_records(shape)
    maps = any(isinstance(inner, inspect.DictType) for inner in walk(shape))
    order: Order = "deterministic" if maps else order_of(shape)

    def plain(value: Any) -> Any:
        return msgspec.to_builtins(value, builtin_types=BUILTIN, enc_hook=encode_hook, order=order)

    def typed(found: Any) -> Any:
        return msgspec.convert(found, kind, dec_hook=decode_hook)

    return Values(
        plain if to_avro is None else lambda value: to_avro(plain(value)),
        typed if from_avro is None else lambda found: typed(from_avro(found)),
    )


_ITSELF = (
    inspect.StrType, inspect.IntType, inspect.BoolType, inspect.FloatType, inspect.BytesType,
    inspect.DateTimeType,
)  # fmt: skip


def encoder(
    schema: AvroSchema, values: Values, name: str, prefix: bytes = b""
) -> Callable[[Any], bytes]:
    """Return what writes a value, behind ``prefix``."""
    writer, wrapped, plain = schema.writer(), not schema.is_record, values.plain
    write = cast("Any", fastavro).schemaless_writer  # its types leave out what a schema is

    def encode(value: Any) -> bytes:
        out = BytesIO(prefix)
        out.seek(len(prefix))
        found = value
        try:
            if plain is not None:
                found = plain(value)
            given = {"value": found} if wrapped else found
            write(out, writer, given, strict_allow_default=True)
        except Exception as error:  # fastavro raises what Python does: anything
            raise _unwritable(schema, found, name, error) from error
        return out.getvalue()

    return encode


def decoder(
    schema: AvroSchema, values: Values, name: str, start: int = 0, writer: AvroSchema | None = None
) -> Callable[[bytes], Any]:
    """Return what reads a value from byte ``start`` on, written by ``writer`` if that is another.

    Args:
        schema: what values are read as.
        values: what they are made into.
        name: how errors call the serde.
        start: where the schema's bytes begin.
        writer: the schema of the bytes.
    """
    by = schema if writer is None else writer
    wrapped = not (schema.is_record and by.is_record)
    written = by.written(wrapped=wrapped)
    wanted = None if writer is None else schema.reader(wrapped=wrapped)
    read = cast("Any", fastavro).schemaless_reader
    typed = values.typed
    shares = wanted is not None and typed is None

    def decode(raw: bytes) -> Any:
        source = BytesIO(raw)
        source.seek(start)
        try:
            found = read(source, written, wanted)
        except Exception as error:  # fastavro raises what Python does: anything
            raise _unreadable(by, raw[start:], name, error) from error
        if source.tell() != len(raw):
            raise _unreadable(by, raw[start:], name, None)
        if wrapped:
            found = found["value"]
        if typed is None:
            return _apart(found) if shares else found
        try:
            return typed(found)
        except Exception as error:  # a hook may be a user's own
            raise _unconverted(name, error) from error

    return decode


def _apart(found: Any) -> Any:
    """Copy lists and dicts: fastavro gives out the one default that the schema has."""
    if is_object(found):
        return {key: _apart(value) for key, value in found.items()}
    return [_apart(value) for value in found] if is_union(found) else found


def _unwritable(schema: AvroSchema, found: Any, name: str, error: Exception) -> SerdeError:
    parsed = schema.parsed()
    place = misfit(parsed, found, names_of(parsed))
    got = str(place) if place else f"got {type(error).__name__}: {error}"
    message = f"a value does not encode as {name}; {got}; mend the value, or change the schema"
    return SerdeError(message)


def _unreadable(schema: AvroSchema, raw: bytes, name: str, error: Exception | None) -> SerdeError:
    parsed = schema.parsed()
    place = break_in(parsed, raw, names_of(parsed))
    got = str(place) if place else f"got {type(error).__name__}: {error}"
    message = (
        f"{len(raw)} bytes do not decode as {name}; {got}; read them with the schema that they "
        "were written with"
    )
    return SerdeError(message)


def _unconverted(name: str, error: Exception) -> SerdeError:
    """What was read is no value of the type: msgspec says where, as ``$.legs[2].airport``."""
    what, _, path = str(error).partition(" - at `")
    at = f"at {path.rstrip('`').removeprefix('$').removeprefix('.')}: " if path else ""
    message = f"what was read is no value of {name}; {at}{what}; make the type fit the schema"
    return SerdeError(message)
