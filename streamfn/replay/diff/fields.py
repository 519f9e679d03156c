"""Compares two decoded values field by field: which fields differ, and which may.

Values are plain data (what JSON or MessagePack hold), made of a row's bytes, and go as differences
to the comparison. Invariant: a value equals itself, NaN too; a path is the same text wherever a
difference of that field is spoken of: ``flight.legs[2].carrier``, and ``flight.legs[].carrier`` in
patterns and groups. What is no field of the value has a name in angles: ``<key>``, ``<timestamp>``,
``<header:NAME>``, and ``<value>`` for a value that has no fields.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

import msgspec

from streamfn.errors import ConfigError

VALUE: Final = "<value>"
KEY: Final = "<key>"
TIMESTAMP: Final = "<timestamp>"
DEPTH_MAX: Final = 100
_INDEX: Final = re.compile(r"\[\d+\]")


class Special(str):
    """What stands where no value is, and is told from a text of the same letters."""

    __slots__ = ()


ABSENT: Final = Special("(absent)")
TOMBSTONE: Final = Special("(tombstone)")


class FieldDifference(NamedTuple):
    """A field and what it was on both sides."""

    path: str
    expected: object
    actual: object


def header_field(name: str) -> str:
    """The name of a header among the fields."""
    return f"<header:{name}>"


@lru_cache(maxsize=4096)
def general(path: str) -> str:
    """Return a path for all items of a list.

    >>> general("legs[2].carrier")
    'legs[].carrier'
    """
    return _INDEX.sub("[]", path)


class Pattern:
    """Fields, as a command line names them: ``price``, ``legs[].price``, ``*.at``, ``topic:price``.

    What stands before a colon is a stage or a topic. A pattern holds for what is below a field too.
    """

    def __init__(self, text: str) -> None:
        scope, colon, path = ("", "", text) if text.startswith("<") else text.partition(":")
        if not colon:
            scope, path = "", text
        if not path:
            message = (
                f"a field pattern is empty; got {text!r}; name a field such as price, "
                "legs[].price or carrier-delays:minutes"
            )
            raise ConfigError(message)
        self.text, self._scope = text, scope
        one = re.escape(general(path)).replace(r"\*", ".*")
        if path.startswith("*."):  # wherever it is: also where nothing is around it
            one = one.replace(r".*\.", r"(?:.*\.)?", 1)
        self._matches = re.compile(rf"{one}(?:[.\[].*)?").fullmatch

    def holds(self, path: str, scopes: Sequence[str]) -> bool:
        """Tell whether it means a field of one of these stages and topics."""
        return (not self._scope or self._scope in scopes) and self._matches(path) is not None


@dataclass(frozen=True)
class Rules:
    """What counts as equal besides what is: ignored fields, and numbers that are near enough."""

    ignored: tuple[Pattern, ...] = ()
    tolerance: float | None = None
    """Absolute; None: numbers must be the same."""
    tolerances: tuple[tuple[Pattern, float], ...] = ()
    """Of single fields; the first that holds counts."""
    _known: dict[tuple[str, tuple[str, ...]], tuple[bool, float | None]] = field(
        default_factory=dict[tuple[str, tuple[str, ...]], tuple[bool, float | None]],
        repr=False,
        compare=False,
    )

    def ignores(self, path: str, scopes: tuple[str, ...]) -> bool:
        """Tell whether a field is left out."""
        return self._of(path, scopes)[0]

    def tolerance_of(self, path: str, scopes: tuple[str, ...]) -> float | None:
        """How far apart numbers of a field may be."""
        return self._of(path, scopes)[1]

    def _of(self, path: str, scopes: tuple[str, ...]) -> tuple[bool, float | None]:
        found = self._known.get((path, scopes))
        if found is None:
            where = general(path)
            near = (allowed for p, allowed in self.tolerances if p.holds(where, scopes))
            ignored = any(p.holds(where, scopes) for p in self.ignored)
            found = self._known[path, scopes] = ignored, next(near, self.tolerance)
        return found


def rules(ignore: Iterable[str] = (), tolerance: Iterable[str] = ()) -> Rules:
    """Read the options: fields to ignore; ``1e-9`` for all numbers, ``price=0.01`` for one field.

    Raises:
        ConfigError: a tolerance is no number.
    """
    overall, single = None, list[tuple[Pattern, float]]()
    for text in tolerance:
        path, equals, number = text.rpartition("=")
        allowed = _number(number, text)
        if equals:
            single.append((Pattern(path), allowed))
        else:
            overall = allowed
    return Rules(tuple(Pattern(text) for text in ignore), overall, tuple(single))


def _number(number: str, text: str) -> float:
    try:
        allowed = float(number)
    except ValueError:
        allowed = -1.0
    if not allowed >= 0:
        message = (
            f"tolerance {text!r} is no number; got {number!r}; write 1e-9 for all fields, or "
            "FIELD=0.01 for one"
        )
        raise ConfigError(message)
    return allowed


def differences(
    expected: object, actual: object, allowed: Rules, scopes: tuple[str, ...] = ()
) -> Iterator[FieldDifference]:
    """Yield the fields in which two values differ; ignored ones and near numbers do not count."""
    for path, left, right in _walk(expected, actual, "", 0):
        named = path or VALUE
        if not allowed.ignores(named, scopes):
            near = allowed.tolerance_of(named, scopes)
            if near is None or not _near(left, right, near):
                yield FieldDifference(named, left, right)


def _walk(
    expected: object, actual: object, path: str, depth: int
) -> Iterator[tuple[str, object, object]]:
    """Yield all places where two values are not the same."""
    if isinstance(expected, dict) and isinstance(actual, dict) and depth < DEPTH_MAX:
        yield from _dicts(
            cast("dict[object, object]", expected),
            cast("dict[object, object]", actual),
            path,
            depth,
        )
    elif isinstance(expected, list | tuple) and isinstance(actual, list | tuple):
        left, right = cast("Sequence[object]", expected), cast("Sequence[object]", actual)
        if depth < DEPTH_MAX:
            yield from _lists(left, right, path, depth)
        elif left != right:
            yield path, left, right
    elif not same(expected, actual):  # pyright: ignore[reportUnknownArgumentType]  # of any type
        yield path, expected, actual


def _dicts(
    expected: dict[object, object], actual: dict[object, object], path: str, depth: int
) -> Iterator[tuple[str, object, object]]:
    for name in [*expected, *(name for name in actual if name not in expected)]:
        inner = f"{path}.{name}" if path else str(name)
        yield from _walk(expected.get(name, ABSENT), actual.get(name, ABSENT), inner, depth + 1)


def _lists(
    expected: Sequence[object], actual: Sequence[object], path: str, depth: int
) -> Iterator[tuple[str, object, object]]:
    """Compare item by item, but what is alike at both ends stays out of it if one is longer."""
    begin, behind = 0, 0
    shorter = min(len(expected), len(actual))
    if len(expected) != len(actual):
        while begin < shorter and _alike(expected[begin], actual[begin]):
            begin += 1
        while behind < shorter - begin and _alike(expected[-1 - behind], actual[-1 - behind]):
            behind += 1
    left, right = expected[begin : len(expected) - behind], actual[begin : len(actual) - behind]
    for index in range(max(len(left), len(right))):
        one = left[index] if index < len(left) else ABSENT
        other = right[index] if index < len(right) else ABSENT
        yield from _walk(one, other, f"{path}[{begin + index}]", depth + 1)


def _alike(expected: object, actual: object) -> bool:
    return next(_walk(expected, actual, "", 1), None) is None


def same(expected: object, actual: object) -> bool:
    """Tell whether two single values are the same: of one type, and equal or both NaN.

    >>> same(1, 1.0), same(True, 1), same(float("nan"), float("nan"))
    (False, False, True)
    """
    if type(expected) is not type(actual):
        return False
    if isinstance(expected, float) and isinstance(actual, float) and math.isnan(expected):
        return math.isnan(actual)
    return expected == actual


def _near(expected: object, actual: object, allowed: float) -> bool:
    numbers = (int, float)
    if isinstance(expected, bool) or isinstance(actual, bool):
        return False
    if not isinstance(expected, numbers) or not isinstance(actual, numbers):
        return False
    if math.isnan(expected) or math.isnan(actual):
        return math.isnan(expected) and math.isnan(actual)
    return expected == actual or abs(expected - actual) <= allowed


def read_json(raw: bytes) -> Any:
    """Read bytes as people see them: JSON, else text, else hexadecimal."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return read_text(raw)


def read_text(raw: bytes) -> str:
    """Read bytes as text, else show them in hexadecimal."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return f"0x{raw.hex()}"


def read_state(raw: bytes) -> Any:
    """Read a store's value: MessagePack, in front of which may stand eight bytes of time.

    The first two of those are zero until the year 10889, and no MessagePack of more than a byte
    begins like that.
    """
    text = raw[8:] if len(raw) > 8 and raw.startswith(b"\0\0") else raw
    try:
        return msgspec.msgpack.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return read_json(raw)
