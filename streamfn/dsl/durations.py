"""Durations as a program says them, in whole milliseconds, and how they stand in names.

Invariant: what comes out is usable, even of what was wrong and reported.
"""

from datetime import timedelta
from typing import Final

from streamfn.graph.builder import Builder

_MILLISECOND: Final = timedelta(milliseconds=1)
_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))


def whole_ms(builder: Builder, what: str, given: object, where: str) -> int:
    """A duration in milliseconds, negative or not; report what is none."""
    if isinstance(given, timedelta):
        return given // _MILLISECOND
    builder.mistake(where, f"{what} is no duration", repr(given), "say a timedelta")
    return 0


def at_least(builder: Builder, what: str, given: object, least_ms: int, where: str) -> int:
    """A duration of at least so many milliseconds; report what is shorter."""
    if not isinstance(given, timedelta):
        return max(whole_ms(builder, what, given, where), least_ms)
    found = given // _MILLISECOND
    if found < least_ms:
        wrong = "is not positive" if least_ms else "is negative"
        cure = (
            f"say a timedelta of at least {least_ms} ms"
            if least_ms
            else "say timedelta(0), or more"
        )
        builder.mistake(where, f"{what} {wrong}", repr(given), cure)
    return max(found, least_ms)


def duration_name(duration_ms: int) -> str:
    """Write a duration as it stands in a name.

    >>> duration_name(5_400_000), duration_name(250), duration_name(0)
    ('1h30m', '250ms', '0ms')
    """
    parts: list[str] = []
    for unit, length in _UNITS:
        count, duration_ms = divmod(duration_ms, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0ms"
