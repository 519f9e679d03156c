"""``SchemaRegistry``: the schemas of a Confluent Schema Registry, fetched and registered once.

Invariant: it is asked at the first need, never while a program is built, and never again for what
it has answered: ids are for ever; an id that it does not know, and an outage, for a short time.
Ids come from records and from ``avro_wire``; schemas go there.
"""

import json
import zlib
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import urlsplit

from streamfn.clock import Clock, SystemClock
from streamfn.errors import ConfigError, RegistryError, SerdeError
from streamfn.serde.avro_compatibility import LEVELS, Level, conflict, unreadable
from streamfn.serde.avro_schema import AvroSchema, checked_schema

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import SchemaRegistryClient

Answer = TypeVar("Answer")

NEEDED: Final = ("attrs", "authlib", "cachetools", "certifi")
"""What the client of confluent-kafka imports and does not bring along."""
SETTINGS: Final = {"timeout": 5, "max.retries": 2, "retries.wait.ms": 200}
"""How long a record waits for a registry that does not answer; the client's own is for ever."""
AGAIN_S: Final = 30.0
"""How long an answer of no is kept."""
NOT_FOUND: Final = 404
CONFLICT: Final = 409
TOO_MANY: Final = 429
SERVER_ERROR: Final = 500
TRIAL: Final = 1 << 31
"""Ids from here on are no registry's, which has 31 bits: they are of schemas that are tried out."""
_trying: Final = ContextVar("streamfn_trying_schemas", default=False)


@contextmanager
def trying() -> Generator[None]:
    """Register nothing meanwhile: what no subject has gets an id that only this process knows."""
    token = _trying.set(True)
    try:
        yield
    finally:
        _trying.reset(token)


def is_trying() -> bool:
    """Tell whether nothing may be registered now."""
    return _trying.get()


class SchemaRegistry:
    """A Confluent Schema Registry (or one that speaks as it does), for ``sf.avro``.

    >>> registry = SchemaRegistry("mock://docs")
    >>> registry
    SchemaRegistry('mock://docs')

    Args:
        url: where it is; several, with commas between them, are tried in order. ``mock://...`` is
            one in memory, of this object alone, for tests.
        settings: of confluent-kafka's client, such as ``{"basic.auth.user.info": "name:secret"}``
            or ``{"ssl.ca.location": "ca.pem"}``.
        compatibility: what new versions are checked by where the registry names no level.
        clock: what tells when to ask again.

    Raises:
        ConfigError: a package of the client is missing.
    """

    def __init__(
        self,
        url: str,
        settings: Mapping[str, object] | None = None,
        *,
        compatibility: Level = "BACKWARD",
        clock: Clock | None = None,
    ) -> None:
        if compatibility not in LEVELS:
            message = (
                f"compatibility= of a schema registry is unknown; got {compatibility!r}; say one "
                f"of {', '.join(LEVELS)}"
            )
            raise ConfigError(message)
        missing = [name for name in NEEDED if find_spec(name) is None]
        if missing:
            raise _not_installed(", ".join(missing))
        self._settings = {**SETTINGS, **(settings or {}), "url": url}
        self._level: Level = compatibility
        self._clock = clock or SystemClock()
        self._url = ",".join(map(_without_secrets, url.split(",")))
        self._client: SchemaRegistryClient | None = None
        self._schemas: dict[int, AvroSchema] = {}
        self._ids: dict[tuple[str, str, bool], int] = {}
        self._in_memory, self._one_id = url.startswith("mock://"), dict[str, int]()
        self._refused: dict[object, tuple[float, SerdeError]] = {}

    def __repr__(self) -> str:
        return f"SchemaRegistry({self._url!r})"

    @property
    def client(self) -> "SchemaRegistryClient":
        """confluent-kafka's client, for what is not asked here.

        Raises:
            ConfigError: a setting is wrong.
        """
        if self._client is None:
            try:
                from confluent_kafka.schema_registry import SchemaRegistryClient
            except ImportError as error:
                raise _not_installed(str(error)) from error
            try:
                opened: Any = SchemaRegistryClient
                self._client = cast("SchemaRegistryClient", opened.new_client(self._settings))
            except (ValueError, TypeError, OSError) as error:
                message = (
                    f"a setting of schema registry {self._url} is wrong; got {error}; see "
                    "confluent-kafka's SchemaRegistryClient"
                )
                raise ConfigError(message) from error
        return self._client

    def schema(self, schema_id: int) -> AvroSchema:
        """The schema of an id.

        Raises:
            SerdeError: there is none, or it is no Avro.
            RegistryError: the registry does not answer.
        """
        found = self._schemas.get(schema_id)
        if found is None:
            found = self._schemas[schema_id] = self._asked(schema_id, self._fetch)
        return found

    def schema_id(self, schema: AvroSchema, subject: str, *, register: bool) -> int:
        """The id by which a subject knows a schema, registered if it does not and that is wanted.

        Raises:
            RegistryError: it is not there, may not follow what is, or the registry does not answer.
        """
        wanted = (subject, schema.same, register)
        found = self._ids.get(wanted)
        if found is None:

            def ask(_: object) -> int:
                return self._found(schema, subject) or self._new(schema, subject, register)

            found = self._asked(wanted, ask)
            if self._in_memory:  # a registry gives one schema one id in all subjects; that not
                found = self._one_id.setdefault(schema.text, found)
            if found < TRIAL:
                self._ids[wanted] = found
        return found

    def _asked(self, wanted: Any, ask: Callable[[Any], Answer]) -> Answer:
        """Ask once; a no is remembered for a while, with its reason."""
        now_s = self._clock.monotonic_s()
        until_s, error = self._refused.get(wanted, (0.0, None))
        if error is not None and now_s < until_s:
            raise copy(error)
        try:
            return ask(wanted)
        except SerdeError as refusal:
            self._refused[wanted] = (self._clock.monotonic_s() + AGAIN_S, refusal)
            raise

    # what is asked of the client

    def _call(self, what: str, call: Callable[["SchemaRegistryClient"], Answer]) -> Answer | None:
        """Call the client; None: not found."""
        client = self.client
        try:
            return call(client)
        except Exception as error:  # of httpx and of the client; none of them is ours
            status = getattr(error, "http_status_code", None)
            if status == NOT_FOUND:
                return None
            got = getattr(error, "error_message", None) or f"{type(error).__name__}: {error}"
            cure = (
                "read what the registry says of compatibility"
                if status == CONFLICT
                else "is it up, and are the settings right?"
            )
            number = f" (HTTP {status})" if status else ""
            message = f"schema registry {self._url} failed to {what}; got {got}{number}; {cure}"
            passes = status is None or status >= SERVER_ERROR or status == TOO_MANY
            raise RegistryError(message, retriable=passes) from error

    def _fetch(self, schema_id: int) -> AvroSchema:
        found = self._call(f"tell schema {schema_id}", lambda client: client.get_schema(schema_id))
        if found is None:
            message = (
                f"schema registry {self._url} knows no schema id {schema_id}; got a value that "
                "bears it; was it written by way of another registry, or is it no Avro?"
            )
            raise SerdeError(message)
        return self._read(found, f"schema id {schema_id} of {self._url}")

    def _read(self, found: Any, what: str) -> AvroSchema:
        """The registry's text as a schema, with those that it refers to."""
        if found.schema_type not in (None, "AVRO"):
            message = f"{what} is no Avro; got {found.schema_type}; read it with another serde"
            raise SerdeError(message)
        references: list[Any] = []
        self._gather(found, references, set())
        return checked_schema(_definition(found.schema_str, what), what, references)

    def _gather(self, found: Any, references: list[Any], seen: set[tuple[str, int]]) -> None:
        """Put what a schema refers to in front of it."""
        for each in found.references or ():
            if (each.subject, each.version) in seen:
                continue
            seen.add((each.subject, each.version))
            what = f"version {each.version} of subject {each.subject!r}"
            registered = self._call(f"tell {what}", _version(each.subject, each.version))
            if registered is None:
                message = (
                    f"schema registry {self._url} has no {what}; got a reference to it; register "
                    "it again"
                )
                raise SerdeError(message)
            self._gather(registered.schema, references, seen)
            references.append(_definition(registered.schema.schema_str, what))

    def _found(self, schema: AvroSchema, subject: str) -> int | None:
        """The id of an equal schema that the subject has: this very text, or the last but docs."""
        from confluent_kafka.schema_registry import Schema

        text = Schema(schema.text, "AVRO")
        exact = self._call(
            f"look into subject {subject!r}", lambda client: client.lookup_schema(subject, text)
        )
        if exact is not None:
            return exact.schema_id
        latest = self._latest(subject)
        if latest is None or latest.schema.schema_type not in (None, "AVRO"):
            return None
        there = self._read(latest.schema, f"the latest schema of subject {subject!r}")
        return latest.schema_id if there.same == schema.same else None

    def _latest(self, subject: str) -> Any:
        what = f"tell the latest schema of subject {subject!r}"
        return self._call(what, lambda client: client.get_latest_version(subject))

    def _new(self, schema: AvroSchema, subject: str, register: bool) -> int:
        """Register a version after it was checked against those that must stand beside it."""
        from confluent_kafka.schema_registry import Schema

        if not register:
            raise self._absent(schema, subject)
        level = self._level_of(subject)
        for registered in self._compared(subject, level):
            old = self._read(registered.schema, f"version {registered.version} of {subject!r}")
            name = f"version {registered.version} (id {registered.schema_id})"
            why = conflict(level, schema, old, name)
            if why is not None:
                message = (
                    f"schema {schema.name} cannot follow in subject {subject!r} of {self._url}, "
                    f"whose level is {level}; {why}; give new fields defaults, keep old ones, or "
                    "use another subject"
                )
                raise RegistryError(message)
        if is_trying() and not self._in_memory:
            trial = TRIAL | zlib.crc32(schema.text.encode())
            self._schemas[trial] = schema
            return trial
        text = Schema(schema.text, "AVRO")
        made = self._call(
            f"register schema {schema.name} in subject {subject!r}",
            lambda client: client.register_schema(subject, text),
        )
        if made is None:
            message = (
                f"schema registry {self._url} does not register in subject {subject!r}; got not "
                "found; is it the registry's address?"
            )
            raise RegistryError(message)
        return made

    def _absent(self, schema: AvroSchema, subject: str) -> RegistryError:
        latest = self._latest(subject)
        got = "no such subject"
        if latest is not None:
            got = f"version {latest.version} (id {latest.schema_id}) as the latest"
            there = self._read(latest.schema, f"the latest schema of subject {subject!r}")
            why = unreadable(schema, there) or unreadable(there, schema)
            got += f", which differs: {why}" if why else ", which differs in defaults or names"
        message = (
            f"schema {schema.name} is not in subject {subject!r} of {self._url}; got {got}; "
            "register it first, or leave out register=False"
        )
        return RegistryError(message)

    def _level_of(self, subject: str) -> str:
        """The subject's own level, else the registry's, else ours."""
        for name in (subject, None):
            found: Any = self._call("tell its compatibility level", _config(name))
            level = found and (found.compatibility_level or found.compatibility)
            if level:
                return str(getattr(level, "value", level))
        return self._level

    def _compared(self, subject: str, level: str) -> list[Any]:
        """The versions that a new one is checked against."""
        latest = None if level == "NONE" else self._latest(subject)
        if latest is None:
            return []
        if not level.endswith("_TRANSITIVE"):
            return [latest]
        numbers = self._call("tell versions", lambda client: client.get_versions(subject)) or []
        found = [self._call("tell a version", _version(subject, each)) for each in sorted(numbers)]
        return [each for each in found if each is not None]


def _version(subject: str, number: int) -> "Callable[[SchemaRegistryClient], Any]":
    return lambda client: client.get_version(subject, number)


def _config(subject: str | None) -> "Callable[[SchemaRegistryClient], Any]":
    return lambda client: client.get_config(subject)


def _definition(text: str, what: str) -> Any:
    """The JSON of a schema; a name alone is written with or without quotes."""
    try:
        return json.loads(text)
    except ValueError as error:
        if text.strip().isalpha():
            return text.strip()
        message = f"{what} is no schema; got {text!r:.80}; register it again"
        raise SerdeError(message) from error


def _without_secrets(url: str) -> str:
    """An address without the name and password that may stand in it."""
    parts = urlsplit(url.strip())
    return (
        url.strip()
        if parts.username is None
        else parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    )


def _not_installed(what: str) -> ConfigError:
    message = (
        f"the client of a schema registry cannot be loaded; got no {what}; install what it needs: "
        "pip install 'streamfn[registry]'"
    )
    return ConfigError(message)
