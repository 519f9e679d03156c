"""``Serde``: how the values of one type become bytes and come back.

Invariant: ``decode(encode(value))`` equals ``value``, or one of the two raises. Bytes come from a
topic or a store and go there; None (a null key, a tombstone) never passes through a serde.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Serde(Generic[T]):
    """A pair of functions and the type they are for; ``name`` is how errors speak of it.

    Both functions raise what they like: the engine wraps it and adds which record it was.
    """

    name: str
    type: object
    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]
    hashed: Callable[[bytes], bytes] | None = None
    """Of a key: which of its bytes choose its partition; None: all."""
    form: str = ""
    """Tells apart what two serdes of one name and type write: of Avro, the schema."""
    for_topic: Callable[[str, bool], "Serde[T]"] | None = None
    """Makes the serde of a topic's keys (True) or values where that depends on the topic; the serde
    itself is then for what the application keeps to itself."""


def bound(serde: Serde[T], topic: str, *, key: bool) -> Serde[T]:
    """The serde of the keys or the values of a topic that others may share."""
    return serde if serde.for_topic is None else serde.for_topic(topic, key)
