"""``avro(...)``: a serde of a Python type, a schema file or a schema, with a registry or without.

Invariant: what a program says of a schema is checked when it is built, without a network. A serde
with a registry has two forms: ``for_topic`` writes what others read too; the serde itself is plain
Avro, for what the application keeps to itself, so that its topics never reach the registry.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, cast, overload

from typing_extensions import TypeForm

from streamfn.errors import SerdeError
from streamfn.serde.avro_codec import PLAIN, Values, decoder, encoder, values_of
from streamfn.serde.avro_fit import misfit_of_type
from streamfn.serde.avro_parts import Definition, kind_of, logical_of, names_of
from streamfn.serde.avro_registry import SchemaRegistry
from streamfn.serde.avro_schema import AvroSchema, schema_from
from streamfn.serde.avro_types import schema_of, without_null
from streamfn.serde.avro_wire import STRATEGIES, Subject, Wire
from streamfn.serde.base import Serde
from streamfn.serde.names import type_name
from streamfn.serde.shapes import shape_of

T = TypeVar("T")


@overload
def avro(
    source: str | Path | Mapping[str, Any] | list[Any],
    /,
    *,
    registry: SchemaRegistry | None = None,
    subject: Subject = "topic",
    register: bool = True,
) -> Serde[Any]: ...
@overload
def avro(
    source: str | Path | Mapping[str, Any] | list[Any],
    /,
    *,
    type: TypeForm[T],
    registry: SchemaRegistry | None = None,
    subject: Subject = "topic",
    register: bool = True,
) -> Serde[T]: ...
@overload
def avro(
    source: TypeForm[T],
    /,
    *,
    namespace: str = "",
    registry: SchemaRegistry | None = None,
    subject: Subject = "topic",
    register: bool = True,
) -> Serde[T]: ...
def avro(
    source: Any,
    /,
    *,
    type: Any = None,
    namespace: str = "",
    registry: SchemaRegistry | None = None,
    subject: Subject = "topic",
    register: bool = True,
) -> Serde[Any]:
    """A serde that writes Avro, by the schema of a type, or a schema with values of a type.

    >>> import msgspec
    >>> class Flight(msgspec.Struct):
    ...     carrier: str
    ...     delay: float | None = None
    >>> serde = avro(Flight)
    >>> serde.decode(serde.encode(Flight("UA", 2.0)))
    Flight(carrier='UA', delay=2.0)

    Args:
        source: a type; or a schema: the path of a file (``.avsc``), or a dict or a list (a union)
            as JSON has it.
        type: with a schema, what values are; else they are dicts, texts, numbers as it says.
        namespace: with a type, what the names of its records stand in.
        registry: writes Confluent's wire format, with the id of the schema in this registry.
        subject: what the schema is registered under: ``"topic"`` (``<topic>-value``),
            ``"record"``, ``"topic-record"``, or a function that names it.
        register: False refuses to write by a schema that is not registered yet.

    Raises:
        SerdeError: the schema or the type is none that Avro can have, or they do not fit.
    """
    if isinstance(source, str | Path | Mapping | list):
        schema = schema_from(cast("object", source))
        kind, values = _values_of(schema, type)
    else:
        if type is not None:
            message = f"avro({type_name(source)}) has a type= as well; got two types; say one"
            raise SerdeError(message)
        schema, shape = schema_of(source, namespace), without_null(shape_of(source))
        kind, values = source, values_of(source, shape)
    return _serde(schema, kind, values, registry, subject, register)


def _serde(
    schema: AvroSchema,
    kind: object,
    values: Values,
    registry: SchemaRegistry | None,
    subject: Subject,
    register: bool,
) -> Serde[Any]:
    if not callable(subject) and subject not in STRATEGIES:
        message = (
            f"subject= of avro is unknown; got {subject!r}; say one of "
            f"{', '.join(map(repr, STRATEGIES))}, or a function of topic, whether it is of keys, "
            "and the record's name"
        )
        raise SerdeError(message)
    name = f"avro[{schema.name}]"
    wire = None
    if registry is not None:
        wire = Wire(registry, schema, values, name, kind, subject, register)
    return Serde(
        name,
        kind,
        encoder(schema, values, name),
        decoder(schema, values, name),
        form=schema.form,
        for_topic=None if wire is None else wire.serde,
    )


def _values_of(schema: AvroSchema, type_: object) -> tuple[object, Values]:
    """What the values of a given schema are: of a type that fits it, or what Avro reads."""
    parsed = schema.parsed()
    if type_ is None:
        return _kind_of(parsed), PLAIN
    shape = without_null(shape_of(type_))
    why = misfit_of_type(parsed, shape, names_of(parsed))
    if why is not None:
        message = (
            f"Avro schema {schema.name} and type {type_name(type_)} do not fit; {why}; change one "
            "of them"
        )
        raise SerdeError(message)
    return type_, values_of(type_, shape)


def _kind_of(parsed: Definition) -> object:
    """The Python type of what a schema reads, for annotations and stores."""
    return Any if logical_of(parsed) else _KINDS.get(kind_of(parsed), Any)


_KINDS: Final[Mapping[str, object]] = {
    "record": cast("object", dict),
    "map": cast("object", dict),
    "array": cast("object", list),
    "string": str,
    "enum": str,
    "bytes": bytes,
    "fixed": bytes,
    "boolean": bool,
    "int": int,
    "long": int,
    "float": float,
    "double": float,
}
