"""Everything that is asked of a type, in one place to import from.

Invariant: no answer depends on a value. Types come from annotations and ``key=``/``value=``;
answers go to the plan, to stores and to errors.
"""

from streamfn.serde.compatibility import incompatibility
from streamfn.serde.describe import describe_type, fingerprint
from streamfn.serde.names import type_name
from streamfn.serde.shapes import is_immutable
from streamfn.serde.start import start_of

__all__ = [
    "describe_type",
    "fingerprint",
    "incompatibility",
    "is_immutable",
    "start_of",
    "type_name",
]
