"""Confluent's wire format: a byte 0, four bytes of schema id, then Avro.

Invariant: what is written bears the id by which the topic's subject knows the program's schema;
what is read is read by the schema of its own id and handed on as the program's. Values come from
functions and go to topics that others share; nothing of the application's own is written so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn, TypeAlias

from streamfn.errors import RegistryError, SerdeError
from streamfn.serde.avro_codec import Values, decoder, encoder
from streamfn.serde.avro_compatibility import unreadable
from streamfn.serde.avro_registry import TRIAL, SchemaRegistry, is_trying
from streamfn.serde.avro_schema import AvroSchema
from streamfn.serde.base import Serde

Strategy: TypeAlias = Literal["topic", "record", "topic-record"]
"""What names a subject: the topic with ``-key`` or ``-value``, the record, or both."""

Subject: TypeAlias = Strategy | Callable[[str, bool, str], str]
"""A strategy, or a function of the topic, whether it is of keys, and the record's full name."""

STRATEGIES: Final = ("topic", "record", "topic-record")
MAGIC: Final = b"\0"
HEAD: Final = 5
"""How many bytes stand before those of the schema."""


@dataclass(frozen=True, slots=True)
class Wire:
    """What a serde with a registry is made of."""

    registry: SchemaRegistry
    schema: AvroSchema
    values: Values
    name: str
    type: object
    subject: Subject
    register: bool

    def serde(self, topic: str, key: bool) -> Serde[Any]:
        """The serde of a topic's keys or values.

        Raises:
            SerdeError: the strategy names a subject after the record, and the schema is none.
        """
        subject = subject_of(self.subject, topic, key, self.schema)
        part = "key" if key else "value"
        return Serde(
            f"{self.name} (subject {subject})",
            self.type,
            self._encoder(subject),
            self._decoder(f"{part} of topic {topic!r}"),
            form=f"confluent:{self.schema.form}",
        )

    def _encoder(self, subject: str) -> Callable[[Any], bytes]:
        """Ask for the id at the first value."""
        made: Callable[[Any], bytes] | None = None
        tried = False

        def encode(value: Any) -> bytes:
            nonlocal made, tried
            if made is None or (tried and not is_trying()):
                number = self.registry.schema_id(self.schema, subject, register=self.register)
                tried = number >= TRIAL
                prefix = MAGIC + number.to_bytes(4)
                made = encoder(self.schema, self.values, self.name, prefix)
            return made(value)

        return encode

    def _decoder(self, place: str) -> Callable[[bytes], Any]:
        """Decode by the schema that each value names."""
        known: dict[bytes, Callable[[bytes], Any]] = {}

        def decode(raw: bytes) -> Any:
            head = raw[:HEAD]
            read = known.get(head)
            if read is None:
                read = self._reader(raw, place)
                known[head] = read
            return read(raw)

        return decode

    def _reader(self, raw: bytes, place: str) -> Callable[[bytes], Any]:
        if len(raw) < HEAD or raw[:1] != MAGIC:
            _refuse_head(raw, place, self.name)
        number = int.from_bytes(raw[1:HEAD])
        try:
            writer = self.registry.schema(number)
        except RegistryError:
            raise  # no value is at fault
        except SerdeError as error:
            message = f"a {place} cannot be read as {self.name}; {error}"
            raise SerdeError(message) from error
        name = f"{self.name} by schema id {number}"
        if writer.same == self.schema.same:
            return decoder(self.schema, self.values, name, HEAD)
        read = decoder(self.schema, self.values, name, HEAD, writer)
        why = unreadable(self.schema, writer)
        if why is None:
            return read
        message = (
            f"a {place} cannot be read as {self.name}; its schema id {number} ({writer.name}) "
            f"does not fit: {why}; give the field a default, or keep its name and type"
        )

        def read_if_it_fits(raw: bytes) -> Any:
            """Where only some values do not fit (a new symbol, a new branch), the others do."""
            try:
                return read(raw)
            except SerdeError as error:
                raise SerdeError(message) from error

        return read_if_it_fits


def subject_of(subject: Subject, topic: str, key: bool, schema: AvroSchema) -> str:
    """Name the subject of a topic's keys or values."""
    if callable(subject):
        return subject(topic, key, schema.full_name)
    if subject == "topic":
        return f"{topic}-{'key' if key else 'value'}"
    if not schema.full_name:
        message = (
            f"subject={subject!r} names subjects after the record; got schema {schema.name}, "
            "which has no name; use subject='topic'"
        )
        raise SerdeError(message)
    return schema.full_name if subject == "record" else f"{topic}-{schema.full_name}"


def _refuse_head(raw: bytes, place: str, name: str) -> NoReturn:
    got = f"{len(raw)} bytes" if len(raw) < HEAD else f"{raw[:20]!r}"
    why = (
        "it begins with byte 1: the id is in a header (Confluent's newer form); "
        if (raw[:1] == b"\1" and len(raw) >= HEAD)
        else ""
    )
    message = (
        f"a {place} is not in Confluent's wire format of {name}; got {got}; {why}it must begin "
        "with a byte 0 and four bytes of schema id: declare the topic with the serde of its "
        "producer, e.g. sf.avro without registry="
    )
    raise SerdeError(message)
