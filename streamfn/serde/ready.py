"""Ready serdes that write what Kafka Streams' own write, for topics shared with Java programs.

Invariant: the bytes are Java's: big-endian numbers of fixed width, UTF-8. Pass one wherever a type
is asked for.
"""

from functools import partial
from struct import Struct
from typing import Any

from streamfn.serde.base import Serde


def _unpack(layout: Struct, data: bytes) -> Any:
    """The one number in ``data``; other lengths raise ``struct.error``."""
    return layout.unpack(data)[0]


def _number(name: str, type_: type, layout: Struct) -> Serde[Any]:
    """A serde of one number of fixed width."""
    return Serde(name, type_, layout.pack, partial(_unpack, layout))


STRING: Serde[str] = Serde("str", str, str.encode, bytes.decode)
"""UTF-8 text: Java's ``Serdes.String()``."""

BYTES: Serde[bytes] = Serde("bytes", bytes, bytes.__bytes__, bytes.__bytes__)
"""Bytes as they are: Java's ``Serdes.ByteArray()``."""

INT32: Serde[int] = _number("int32", int, Struct(">i"))
"""Java's ``Serdes.Integer()``."""

INT64: Serde[int] = _number("int64", int, Struct(">q"))
"""Java's ``Serdes.Long()``."""

FLOAT64: Serde[float] = _number("float64", float, Struct(">d"))
"""Java's ``Serdes.Double()``."""
