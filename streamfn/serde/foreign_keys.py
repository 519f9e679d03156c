"""What the two tables of a foreign-key join send each other: subscriptions and answers.

A subscription goes from a left row to the key that it asks for, an answer comes back to the row.
Both carry the hash of the left value as it was then, by which an answer to an older row is known.
Invariant: equal values have equal hashes in every process, whether they were read from a topic or
from a store.
"""

from collections.abc import Callable
from enum import Enum, IntEnum
from hashlib import blake2b
from typing import Any, Final, NoReturn, TypeAlias, cast

from streamfn.errors import SerdeError
from streamfn.serde.base import Serde
from streamfn.serde.state import state_serde
from streamfn.serde.topic import as_key_serde

HASH_BYTES: Final = 16


class Instruction(IntEnum):
    """What is to become of a subscription (``SubscriptionWrapper.Instruction``)."""

    LEAVE = 0
    """Forget it; another one follows."""
    LEAVE_AND_TELL = 1
    """Forget it and answer with nothing."""
    ASK = 2
    """Keep it and answer, with nothing if there is nothing."""
    ASK_IF_THERE = 3
    """Keep it and answer; that there is nothing matters only to a result that is still there."""


class Gone(Enum):
    """Says in an answer that nothing is there to be joined, and that a result must go."""

    GONE = "gone"


GONE: Final = Gone.GONE


Subscription: TypeAlias = tuple[Any, Instruction, bytes | None]
"""(left key, instruction, hash of the left value; None: there is no row any more)"""
Answer: TypeAlias = tuple[bytes | None, Any]
"""(hash as it was subscribed with, right value, None or ``GONE``)"""

_HAS_HASH, _HAS_VALUE, _IS_GONE = 8, 16, 32
_INSTRUCTIONS: Final = tuple(Instruction)
_SETTLED: Final[tuple[object, ...]] = (str, bytes, int, float, bool)
"""Types whose values are written the same before and after they were read."""


def subscription_serde(left_key: object) -> Serde[Any]:
    """Subscriptions: a byte of what follows, the hash, the left key as in its topic."""
    key = as_key_serde(left_key)
    encode_key, decode_key = key.encode, key.decode

    def encode(subscription: Subscription) -> bytes:
        left, instruction, digest = subscription
        if digest is None:
            return bytes((instruction,)) + encode_key(left)
        return bytes((instruction | _HAS_HASH,)) + digest + encode_key(left)

    def decode(raw: bytes) -> Subscription:
        head = raw[0] if raw else 0xFF
        if head & ~0b1011:
            _refuse("subscription", raw)
        if head & _HAS_HASH:
            return decode_key(raw[17:]), _INSTRUCTIONS[head & 3], raw[1:17]
        return decode_key(raw[1:]), _INSTRUCTIONS[head & 3], None

    return Serde(f"subscription[{key.name}]", Any, encode, decode)


def answer_serde(right_value: object) -> Serde[Any]:
    """Answers: a byte of what follows, the hash, the right value as in a store."""
    value = _value_serde(right_value)
    encode_value, decode_value = value.encode, value.decode

    def encode(answer: Answer) -> bytes:
        digest, right = answer
        head, hashed = (0, b"") if digest is None else (_HAS_HASH, digest)
        if right is None or right is GONE:
            return bytes((head if right is None else head | _IS_GONE,)) + hashed
        return bytes((head | _HAS_VALUE,)) + hashed + encode_value(right)

    def decode(raw: bytes) -> Answer:
        head = raw[0] if raw else 0xFF
        if head & ~(_HAS_HASH | _HAS_VALUE | _IS_GONE):
            _refuse("answer", raw)
        at = 1 + HASH_BYTES if head & _HAS_HASH else 1
        digest = raw[1:at] or None
        if head & _IS_GONE:
            return digest, GONE
        return digest, decode_value(raw[at:]) if head & _HAS_VALUE else None

    return Serde(f"answer[{value.name}]", Any, encode, decode)


def value_hash(type_: object) -> Callable[[Any], bytes]:
    """Return what hashes a left value.

    It hashes what the value is once it was written and read: a time in another zone, a set in
    another order is the same value when it comes back out of a store.
    """
    value = _value_serde(type_)
    encode, decode = value.encode, value.decode

    def plain(value: Any) -> bytes:
        return blake2b(encode(value), digest_size=HASH_BYTES).digest()

    def settled(value: Any) -> bytes:
        return blake2b(encode(decode(encode(value))), digest_size=HASH_BYTES).digest()

    return plain if any(value.type is each for each in _SETTLED) else settled


def _value_serde(type_: object) -> Serde[Any]:
    """A serde as it is, or the one of a store's values."""
    if isinstance(type_, Serde):
        return cast(Serde[Any], type_)  # type: ignore[redundant-cast]  # not for pyright
    return state_serde(type_)


def _refuse(what: str, raw: bytes) -> NoReturn:
    message = f"a record is no {what}; got {raw[:20]!r}; the topic holds records of others"
    raise SerdeError(message)
