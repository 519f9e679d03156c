"""Types and their bytes: serdes for topics, keys and state, and what a program asks of a type.

Invariant: a type that no serde can carry is refused when the program is built. Values come from
functions and go to topics and stores as bytes, and back.
"""

from typing import Any

from streamfn.serde.base import Serde, bound
from streamfn.serde.operators import change_serde, time_windowed, timed_serde
from streamfn.serde.ready import BYTES, FLOAT64, INT32, INT64, STRING
from streamfn.serde.start import start_from
from streamfn.serde.state import msgpack, state_serde
from streamfn.serde.topic import as_key_serde, as_serde, key_serde, topic_serde
from streamfn.serde.types import (
    describe_type,
    fingerprint,
    incompatibility,
    is_immutable,
    start_of,
    type_name,
)

JSON: Serde[Any] = topic_serde(Any)
"""JSON without a type: dicts, lists, text, numbers, booleans, None."""

__all__ = [
    "BYTES",
    "FLOAT64",
    "INT32",
    "INT64",
    "JSON",
    "STRING",
    "Serde",
    "as_key_serde",
    "as_serde",
    "bound",
    "change_serde",
    "describe_type",
    "fingerprint",
    "incompatibility",
    "is_immutable",
    "key_serde",
    "msgpack",
    "start_from",
    "start_of",
    "state_serde",
    "time_windowed",
    "timed_serde",
    "topic_serde",
    "type_name",
]
