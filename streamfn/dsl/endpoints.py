"""What can be read from and written to: Source and Sink, and the Topic that is both.

A topic becomes a node only when something reads it; records of it come from the log, and answers
made by ``Topic.record`` go to it. Invariant: ``Source`` is covariant and ``Sink`` contravariant in
its types, so that a type checker complains at the user's line.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from streamfn.function.state import Outgoing
from streamfn.graph.builder import Builder
from streamfn.graph.topology import TopicSpec
from streamfn.record import Headers

K = TypeVar("K")
V = TypeVar("V")
KeyIn = TypeVar("KeyIn", contravariant=True)
ValueIn = TypeVar("ValueIn", contravariant=True)
KeyOut = TypeVar("KeyOut", covariant=True)
ValueOut = TypeVar("ValueOut", covariant=True)


@dataclass(frozen=True, slots=True)
class Point:
    """A place in the program where something can be attached: a node and what it hands on.

    ``base`` is what names are derived from: the nearest source, function or change of key, so
    that a stage put in between renames nobody.
    """

    builder: Builder
    node: str
    key: object
    value: object
    base: str


class Source(ABC, Generic[KeyOut, ValueOut]):
    """Anything that hands on records with keys and values of these types."""

    @abstractmethod
    def point(self, where: str) -> Point:
        """Return where in the program its records are; ``where`` is the line that reads them."""


class Sink(Generic[KeyIn, ValueIn]):
    """Anything that takes records with keys and values of these types."""


class Topic(Source[K, V], Sink[K, V]):
    """A topic with its types, made by ``app.topic``."""

    def __init__(self, builder: Builder, spec: TopicSpec, key: object, value: object) -> None:
        self._builder = builder
        self._spec = spec
        self._key = key
        self._value = value

    @property
    def name(self) -> str:
        """The topic's name in the log."""
        return self._spec.name

    @property
    def spec(self) -> TopicSpec:
        """What the engine knows of it."""
        return self._spec

    @property
    def builder(self) -> Builder:
        """The program it belongs to."""
        return self._builder

    def record(
        self,
        *,
        key: K,
        value: V | None,
        timestamp_ms: int | None = None,
        headers: Headers = (),
    ) -> Outgoing[K, V]:
        """Make an answer that goes to this topic; a value of None is a tombstone.

        Without a timestamp it gets the one of the record being processed.
        """
        return Outgoing(self._spec.name, key, cast("V", value), timestamp_ms, headers)

    def point(self, where: str) -> Point:
        """Return its source node: one however often the topic is read."""
        node = self._builder.source(self._spec, self._key, self._value, where)
        return Point(self._builder, node, self._key, self._value, node)

    def __repr__(self) -> str:
        return f"Topic({self.name!r})"
