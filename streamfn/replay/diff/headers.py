"""Headers in comparisons: which count, and in what two rows' headers differ.

Headers come with rows and go as differences of fields, by name. Invariant: what tells of the run
and not of the record is never compared.
"""

from collections.abc import Iterator
from typing import Final

from streamfn.record import Headers
from streamfn.replay.diff.fields import ABSENT, FieldDifference, header_field

NOT_COMPARED: Final = frozenset({"streamfn.provenance", "streamfn.root", "streamfn.failed_at_ms"})
"""Headers that tell of the run, not of the record."""
INTERNAL_ENDING: Final = b"-repartition"


def compared_headers(headers: Headers) -> Headers:
    """Leave out what tells of the run; also the offsets in repartition topics: each run's own."""
    internal = any(
        name == "streamfn.topic" and value.endswith(INTERNAL_ENDING) for name, value in headers
    )
    return tuple(
        header
        for header in headers
        if header[0] not in NOT_COMPARED and not (internal and header[0] == "streamfn.offset")
    )


def header_differences(expected: Headers, actual: Headers) -> Iterator[FieldDifference]:
    """Yield the headers that differ, by name; of several of one name, all together."""
    for name in dict.fromkeys(name for name, _ in (*expected, *actual)):
        sides = [
            tuple(value for own, value in headers if own == name) for headers in (expected, actual)
        ]
        if sides[0] != sides[1]:
            shown = [
                b", ".join(side).decode(errors="replace") if side else ABSENT for side in sides
            ]
            yield FieldDifference(header_field(name), *shown)
