"""How an assertion says in what two lists of records differ: record by record, field by field.

Records come as *facts*, the dictionaries of plain data that also make a line of a snapshot, and go
as lines to pytest. Invariant: what is equal is not spoken of, but for the nearest lines around a
difference; a record that is lacking costs one difference, however many follow it.
"""

import json
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from streamfn.errors import SerdeError
from streamfn.record import Record
from streamfn.replay.diff.fields import FieldDifference, Rules, Special, differences, general
from streamfn.replay.diff.orders import Sequences
from streamfn.replay.diff.rows import Content, Pair, Row
from streamfn.replay.output_file import shown
from streamfn.serde.hooks import encode_hook

Facts: TypeAlias = dict[str, Any]
"""A record, an entry of a store or a failure, as JSON has it."""

RULES: Final = Rules()
PLACE: Final = ("topic", "store", "partition")
LINES_MAX: Final = 24
"""So many lines show single differences; the rest is counted."""
FIELDS_MAX: Final = 5
VALUE_LENGTH_MAX: Final = 60
LINE_LENGTH_MAX: Final = 110
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


# what is compared
class Difference(NamedTuple):
    """A place where two lists differ; an index is None on the side that lacks the record."""

    kind: str
    expected: int | None
    actual: int | None
    fields: tuple[FieldDifference, ...] = ()


def compare(
    expected: Sequence[Facts], actual: Sequence[Facts], *, apart: bool = True
) -> list[Difference]:
    """Find what differs; ``apart`` compares each partition and store on its own."""
    left, right = _by_place(expected, apart), _by_place(actual, apart)
    return [
        _difference(pair, expected, actual)
        for place in [*left, *(place for place in right if place not in left)]
        for pair in _pairs(left.get(place, []), right.get(place, []))
        if not pair.equal
    ]


def _by_place(facts: Sequence[Facts], apart: bool) -> dict[Hashable, list[Row]]:
    parts: dict[Hashable, list[Row]] = {}
    for index, each in enumerate(facts):
        place = tuple(each.get(name) for name in PLACE) if apart else ()
        rest = {name: fact for name, fact in each.items() if name not in ("key", "time")}
        time = each.get("time")
        content = Content(
            line_of(each.get("key")).encode(), line_of(rest).encode(), _milliseconds(time)
        )
        parts.setdefault(place, []).append(Row(content, 0, index))
    return parts


def _milliseconds(time: object) -> int:
    """Read a time back; an odd one counts as none."""
    if isinstance(time, str):
        try:
            return (datetime.fromisoformat(time) - EPOCH) // timedelta(milliseconds=1)
        except (ValueError, TypeError):
            return -1
    return time if isinstance(time, int) else -1


def _pairs(expected: list[Row], actual: list[Row]) -> Iterator[Pair]:
    sequences = Sequences()
    yield from sequences.add(expected, actual)
    yield from sequences.finish()


def _difference(pair: Pair, expected: Sequence[Facts], actual: Sequence[Facts]) -> Difference:
    left = None if pair.expected is None else pair.expected.offset
    right = None if pair.actual is None else pair.actual.offset
    if left is None or right is None:
        return Difference("extra" if left is None else "missing", left, right)
    if pair.moved:
        return Difference("reordered", left, right)
    fields = differences(expected[left], actual[right], RULES)
    return Difference("changed", left, right, tuple(fields))


# how it is said
def summary(found: Sequence[Difference]) -> str:
    """Count differences: ``2 changed, 1 missing``."""
    kinds = Counter(each.kind for each in found)
    return ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())


def explained(
    found: Sequence[Difference],
    expected: Sequence[Facts],
    actual: Sequence[Facts],
    *,
    noun: str,
    first: int = 0,
) -> Iterator[str]:
    """Say the first differences one by one, and count the rest by field.

    Args:
        found: what ``compare`` has found.
        expected: the facts that were to be.
        actual: the facts that are.
        noun: what one of them is called.
        first: the number of the first of either.
    """
    shown_lines = 0
    found = _varied(found, expected, actual)
    for index, each in enumerate(found):
        said = [*_said(each, expected, actual, noun, first)]
        shown_lines += len(said)
        if index and shown_lines > LINES_MAX:
            rest = found[index:]
            yield f"… and {len(rest):,} more: {_counted(rest)}"
            return
        yield from said


def _varied(
    found: Sequence[Difference], expected: Sequence[Facts], actual: Sequence[Facts]
) -> list[Difference]:
    """Put the first difference of each kind in each topic and store in front."""
    seen = set[tuple[Any, ...]]()
    first: list[Difference] = []
    rest: list[Difference] = []
    for each in found:
        side, index = (expected, each.expected) if each.actual is None else (actual, each.actual)
        facts = {} if index is None else side[index]
        what = each.kind, facts.get("topic"), facts.get("store")
        (rest if what in seen else first).append(each)
        seen.add(what)
    return first + rest


def _said(
    each: Difference, expected: Sequence[Facts], actual: Sequence[Facts], noun: str, first: int
) -> Iterator[str]:
    """Say one difference: which record, what is wrong, its fields or its neighbours."""
    side, index = (expected, each.expected) if each.actual is None else (actual, each.actual)
    assert index is not None, "one side has the record"
    yield f"{noun} {first + index}, {place_of(side[index])}: {_what(each, first)}"
    yield from _fields(each.fields)
    if each.kind == "changed":
        return
    mark = {"missing": "-", "extra": "+"}.get(each.kind, "~")
    for at in range(max(0, index - 1), min(len(side), index + 2)):
        text = f"{mark if at == index else ' '} {first + at:>4}  {_brief(side[at])}"
        yield f"    {_short(text, LINE_LENGTH_MAX)}"


def place_of(facts: Facts) -> str:
    """Say which record it is."""
    if "raised" in facts:
        return f"failure in {facts.get('stage')}"
    name = facts.get("topic", facts.get("store", "?"))
    if "sha256" in facts:
        return f"{name}, records {facts.get('records')} (check(first=…) would write them out)"
    said = f"{name}[{facts.get('partition', '?')}]"
    if "key" in facts:
        said += f" key {_short(line_of(facts['key']), VALUE_LENGTH_MAX)}"
    if "time" in facts:
        said += f" at {facts['time']}"
    return said


def _what(each: Difference, first: int) -> str:
    if each.kind == "reordered" and each.expected is not None:
        return f"out of order, expected at {first + each.expected}"
    if each.kind == "changed" and not each.fields:
        return "changed, though its fields look the same: its types differ"
    return {"extra": "not expected", "missing": "missing"}.get(each.kind, each.kind)


def _fields(fields: Sequence[FieldDifference]) -> Iterator[str]:
    for each in fields[:FIELDS_MAX]:
        yield f"    {each.path}: {_value(each.expected)} → {_value(each.actual)}"
    if len(fields) > FIELDS_MAX:
        yield f"    … and {len(fields) - FIELDS_MAX} more fields"


def _brief(facts: Facts) -> str:
    """Write a neighbour as short as can be."""
    if "key" not in facts:
        return line_of(facts)
    place = facts.get("topic", facts.get("store"))
    value = "(tombstone)" if "tombstone" in facts else line_of(facts.get("value"))
    return f"{place}[{facts.get('partition')}]  {line_of(facts['key'])}  {value}"


def _counted(rest: Sequence[Difference]) -> str:
    """Count what is not shown, by field."""
    names = Counter[str]()
    for each in rest:
        names.update({general(field.path) for field in each.fields} or {each.kind})
    said = [f"{name} {count:,}" for name, count in names.most_common(8)]
    return ", ".join(said) + (", …" if len(names) > len(said) else "")


def _value(value: object) -> str:
    text = str(value) if isinstance(value, Special) else line_of(value)
    return _short(text, VALUE_LENGTH_MAX)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


# facts
def line_of(facts: object) -> str:
    """Write facts as one line of JSON, the same for the same facts."""
    text = json.dumps(facts, ensure_ascii=False, default=_otherwise)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a pair of surrogates, which no file can hold
        return json.dumps(facts, default=_otherwise)
    return text


def _otherwise(value: object) -> object:
    return shown(value) if isinstance(value, bytes) else repr(value)


def plain(value: object) -> Any:
    """Make a decoded value into what JSON has.

    Raises:
        SerdeError: JSON has nothing for it.
    """
    try:
        return msgspec.to_builtins(
            value, builtin_types=(bytes,), str_keys=True, enc_hook=encode_hook,
            order="deterministic",
        )  # fmt: skip
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        message = f"a value cannot be shown as JSON; got {value!r:.80}; show its bytes"
        raise SerdeError(message) from error


def time_text(timestamp_ms: int) -> str | int:
    """Write a timestamp as UTC; one that no calendar has stays a number."""
    try:
        time = EPOCH + timedelta(milliseconds=timestamp_ms)
    except OverflowError:
        return timestamp_ms
    return f"{time.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def facts_of(record: Record[Any, Any], *, offset: bool = False) -> Facts:
    """Make the facts of a record as a test has it."""
    facts: Facts = {
        "topic": record.topic,
        "partition": record.partition,
        "time": time_text(record.timestamp_ms),
        "key": _seen(record.key),
        "value": _seen(record.value),
    }
    if offset:
        facts["offset"] = record.offset
    if record.headers:
        facts["headers"] = [[name, shown(value)] for name, value in record.headers]
    return facts


def _seen(value: object) -> Any:
    try:
        return plain(value)
    except SerdeError:
        return repr(value)


def explain_records(
    actual: Sequence[Record[Any, Any]], expected: Sequence[Record[Any, Any]]
) -> list[str]:
    """Say for pytest in what two lists of records differ.

    Offsets count only where all else is the same: one record more moves all behind it.
    """
    for offset in (False, True):
        left = [facts_of(each, offset=offset) for each in expected]
        right = [facts_of(each, offset=offset) for each in actual]
        found = compare(left, right, apart=False)
        if found:
            break
    head = f"records differ: {summary(found) or 'in their types only'}"
    head += f" (expected {len(expected):,}, got {len(actual):,})"
    return [head, *explained(found, left, right, noun="record")]
