"""An Avro schema, checked and made ready for fastavro: from a file, a dict, or a registry's text.

Invariant: both packages, ``avro`` and ``fastavro``, take it. A schema comes from the program or
from a registry and goes to ``avro_codec``.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import avro.errors
import avro.name
import avro.schema
import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from streamfn.errors import SerdeError
from streamfn.serde.avro_files import schema_file
from streamfn.serde.avro_guards import guarded, settle_defaults
from streamfn.serde.avro_parts import Definition, essence, is_object, is_union, kind_of

ROOT: Final = "streamfn_root"
"""The record of one field around a root that is none; it adds no byte."""


@dataclass(frozen=True, slots=True)
class AvroSchema:
    """A schema; ``references`` are those that it names and that stand elsewhere."""

    name: str
    """What errors call it: its last name, or its type."""
    full_name: str
    """With its namespace; empty for what has no name."""
    definition: Definition
    references: tuple[Definition, ...] = ()

    @property
    def is_record(self) -> bool:
        """Whether its values are records."""
        return kind_of(self.definition) in ("record", "error")

    @property
    def text(self) -> str:
        """As a registry keeps it."""
        return json.dumps(self.definition, separators=(",", ":"))

    @property
    def form(self) -> str:
        """What decides on the bytes and what they mean, as one text: no docs, no defaults."""
        return json.dumps(essence(self.parsed(), defaults=False), separators=(",", ":"))

    @property
    def same(self) -> str:
        """All that another program would notice of the schema, as one text: no docs."""
        return json.dumps(essence(self.parsed(), defaults=True), separators=(",", ":"))

    def parsed(self) -> Definition:
        """As fastavro takes it, with full names."""
        return _parsed(self.definition, self.references)

    def written(self, *, wrapped: bool) -> Definition:
        """What bytes are; a ``wrapped`` one is a record of one field, ``value``."""
        return _parsed(_root(self.definition) if wrapped else self.definition, self.references)

    def reader(self, *, wrapped: bool) -> Definition:
        """What bytes of another schema are read as: its defaults are values."""
        return settle_defaults(self.written(wrapped=wrapped))

    def writer(self) -> Definition:
        """What values are written by: it has guards; wrapped if it is no record."""
        references = tuple(map(guarded, self.references))
        whole = self.definition if self.is_record else _root(self.definition)
        return settle_defaults(_parsed(guarded(whole), references))

    def compared(self) -> avro.schema.Schema:
        """As the package ``avro`` takes it: with full names, also in aliases."""
        return _of_avro(essence(self.parsed(), defaults=True), self.references)


def schema_from(source: object) -> AvroSchema:
    """Read a schema from a file, or take a dict.

    Raises:
        SerdeError: there is no such file, or no schema in it.
    """
    if isinstance(source, str | Path):
        return checked_schema(schema_file(source), f"Avro schema {str(source)!r}")
    if isinstance(source, Mapping):
        definition = dict(cast("Mapping[str, Any]", source))
        return checked_schema(definition, "an Avro schema")
    if is_union(source):
        return checked_schema(source, "an Avro schema")
    message = (
        f"an Avro schema is a dict or a file; got {source!r:.80}; pass a dict as json.loads gives "
        "it, or the path of an .avsc file"
    )
    raise SerdeError(message)


def checked_schema(
    definition: Definition, what: str, references: Sequence[Definition] = ()
) -> AvroSchema:
    """Check a schema with both packages: one sees what the other does not.

    Raises:
        SerdeError: it is no schema.
    """
    try:
        json.dumps(definition)
        parsed = _parsed(definition, tuple(references))
        _of_avro(definition, tuple(references))
    except UnknownType as error:
        named: Any = cast("Any", error).name
        unknown = named["type"] if is_object(named) else named
        message = (
            f"{what} is no schema; got the unknown type {unknown!r}; use Avro's own types, "
            "define the name before it is used, or put the file that does beside this one, with "
            "that name"
        )
        raise SerdeError(message) from error
    except _WRONG as error:
        message = f"{what} is no schema; got {error}; see the Avro specification"
        raise SerdeError(message) from error
    full_name = parsed["name"] if is_object(parsed) and "name" in parsed else ""
    name = full_name.rpartition(".")[2] or _short(definition)
    return AvroSchema(name, full_name, definition, tuple(references))


_WRONG = (
    SchemaParseException, avro.errors.AvroException, avro.errors.AvroRuntimeException, TypeError,
    ValueError, KeyError, AttributeError,
)  # fmt: skip


def _short(definition: Definition) -> str:
    """What a schema without a name is called."""
    kind = kind_of(definition)
    if kind == "union":
        return " | ".join(_short(each) for each in definition)
    if kind in ("array", "map"):
        inner = definition["items" if kind == "array" else "values"]
        return f"{kind}[{_short(inner)}]"
    named = definition.get("name") if is_object(definition) else None
    return str(named or kind).rpartition(".")[2]


def _root(definition: Definition) -> Definition:
    return {"type": "record", "name": ROOT, "fields": [{"name": "value", "type": definition}]}


def _parsed(definition: Definition, references: Sequence[Definition]) -> Definition:
    named: dict[str, Any] = {}
    for each in references:
        fastavro.parse_schema(each, named_schemas=named)
    return fastavro.parse_schema(definition, named_schemas=named)


def _of_avro(definition: Definition, references: Sequence[Definition]) -> avro.schema.Schema:
    make, names = cast("Any", avro.schema).make_avsc_object, avro.name.Names()
    with warnings.catch_warnings():  # of logical types that it does not know
        warnings.simplefilter("ignore")
        for each in references:
            make(each, names=names)
        return cast("avro.schema.Schema", make(definition, names=names))
