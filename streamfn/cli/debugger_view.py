"""How the debugger shows a call of a function: its record, the state, what came of it.

Calls and outcomes of a history come in, lines of text go out. Invariant: what is long is cut on one
line and says so; what is asked for alone is shown whole.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from rich.table import Table

from streamfn.cli.values import compact, plain, text_or_hex, time_text
from streamfn.function.state import Outgoing
from streamfn.graph.describe import counted
from streamfn.replay.diff.fields import ABSENT, VALUE, FieldDifference, Rules, Special, differences
from streamfn.replay.history.calls import (
    Call,
    ContextKept,
    EntriesKept,
    Failure,
    History,
    Kept,
    LookupKept,
    Outcome,
    ValueKept,
)

WIDTH: Final = 100
"""A value on a line of its own."""
CELL: Final = 48
"""A value in a table."""
ENTRIES_SHOWN: Final = 20
NEW: Final = "(new)"
_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")
_EXACT: Final = Rules()
_OUTGOING: Any = Outgoing


def text_of(value: Any, width: int = 0) -> str:
    """Write a value on one line, cut to a width; 0 writes it whole."""
    text = " ".join(compact(data_of(value)).split())
    return text if not width or len(text) <= width else f"{text[: width - 1]}…"


def data_of(value: Any) -> Any:
    """Make a value into plain data that two runs have alike: without the addresses of objects."""
    if isinstance(value, Special):
        return str(value)
    found = plain(value)
    if isinstance(found, str) and not isinstance(value, str):
        return _ADDRESS.sub("", found)
    return found


def key_text(key: Any) -> str:
    """Write a key; a text in quotes."""
    return repr(key) if isinstance(key, str) else text_of(key)


def heading(call: Call, history: History) -> str:
    """Name a call: which of how many, of which stage and key, for which record."""
    part = f" ({call.part})" if call.part else ""
    key = f"key {key_text(call.place.key)}  " if call.place.key is not None else ""
    failed = "  raised" if call.outcome.raised else "  undone" if call.undone else ""
    return (
        f"call {call.number} of {history.made}  stage {history.stage}{part}  {key}"
        f"{_where(call)}{time_text(call.place.timestamp_ms)}{failed}"
    )


def _where(call: Call) -> str:
    """Where the record entered the program, if that is known, else where it was read."""
    place = call.place
    if place.offset < 0:
        return ""
    own = f"{place.topic} {place.partition} {place.offset}"
    topic, partition, offset = (place.root or own).split(" ")[:3]
    return f"{topic}[{partition}]@{offset}  "


def record_lines(call: Call, width: int = WIDTH) -> Iterator[str]:
    """What the function was called with, and where that comes from."""
    for given in call.given:
        yield f"  record  {text_of(given, width)}"
    if width:
        return
    place = call.place
    yield f"  key     {key_text(place.key)}"
    yield f"  time    {time_text(place.timestamp_ms)} ({place.timestamp_ms})"
    if place.offset >= 0:
        yield f"  place   {place.topic}, partition {place.partition}, offset {place.offset}"
    for name, raw in place.headers:
        yield f"  header  {name}: {text_or_hex(raw)}"
    if place.root:
        topic, partition, offset = place.root.split(" ")[:3]
        yield f"  root    {topic}, partition {partition}, offset {offset}"


def state_lines(kept: dict[str, Kept], width: int = WIDTH) -> Iterator[str]:
    """The injected parameters, one after the other."""
    for name, each in kept.items():
        match each:
            case ValueKept():
                yield f"  {name}  {_value_text(each, width)}"
            case EntriesKept():
                yield from _entry_lines(name, each, width)
            case LookupKept():
                for key, answer in each.asked:
                    yield f"  {name}.get({key_text(key)})  {_answer_text(answer, width)}"
            case ContextKept() if not width:
                yield f"  {name}  stream time {time_text(each.stream_time_ms)}"
            case _:
                continue


def _value_text(kept: ValueKept, width: int) -> str:
    text = text_of(kept.value, width)
    return text if kept.exists else f"{text} {NEW}"


def _answer_text(answer: Any, width: int) -> str:
    return _raised_text(answer) if isinstance(answer, Failure) else text_of(answer, width)


def _entry_lines(name: str, kept: EntriesKept, width: int) -> Iterator[str]:
    said = counted(len(kept.entries), "entry")
    yield f"  {name}  {said}" + ("" if kept.whole else " that the call touched")
    for number, (key, value) in enumerate(kept.entries.items()):
        if width and number == ENTRIES_SHOWN:
            yield f"    … and {len(kept.entries) - number:,} more: state"
            return
        yield f"    [{key_text(key)}]  {text_of(value, width)}"


def effect_lines(call: Call, outcome: Outcome, width: int = WIDTH) -> Iterator[str]:
    """What a call did: changes of state, answers, records sent; or what it raised."""
    if outcome.raised is not None:
        yield f"  raised  {_raised_text(outcome.raised)}"
        yield from (f"    {line}" for line in outcome.raised.traceback.splitlines()[:-1])
        yield "  undone: the state stays as it was, nothing is sent"
        return
    for name, after in outcome.after.items():
        for found in _changes(name, call.before.get(name), after):
            yield f"  state   {_change_text(found, width)}"
    for answer in outcome.answers:
        yield f"  answer  {_sent_text(answer, width)}"
    for record in outcome.sent:
        yield f"  sent    {_sent_text(record, width)}"
    if not outcome.answers:
        yield "  no answer"
    if call.undone:
        yield f"  undone: {call.undone}"


def _raised_text(failure: Failure) -> str:
    return f"{failure.error}: {failure.message}" if failure.message else failure.error


def _sent_text(answer: Any, width: int) -> str:
    if type(answer) is _OUTGOING:
        sent: Any = answer
        return f"to {sent.topic}  {key_text(sent.key)}  {text_of(sent.value, width)}"
    return text_of(answer, width)


def _change_text(found: FieldDifference, width: int) -> str:
    return f"{found.path}  {text_of(found.expected, width)} → {text_of(found.actual, width)}"


def _changes(name: str, before: Kept | None, after: Kept) -> Iterator[FieldDifference]:
    """Yield what is another now, by paths that begin with the parameter's name."""
    for found in differences(_state_data(before), _state_data(after), _EXACT):
        path = "" if found.path == VALUE else found.path
        joint = "." if path and not path.startswith("[") else ""
        yield FieldDifference(f"{name}{joint}{path}", found.expected, found.actual)


def _state_data(kept: Kept | None) -> Any:
    match kept:
        case ValueKept(exists=True):
            return data_of(kept.value)
        case ValueKept():
            return ABSENT
        case EntriesKept():
            return {f"[{key_text(key)}]": data_of(value) for key, value in kept.entries.items()}
        case _:
            return None


def between_lines(last: Call, call: Call) -> Iterator[str]:
    """What has changed since the last call of the key: by a timer, a failure, another function."""
    before = last.before if last.failed else {**last.before, **last.outcome.after}
    for name, now in call.before.items():
        then = before.get(name)
        whole = all(not isinstance(each, EntriesKept) or each.whole for each in (now, then))
        if then is not None and whole and isinstance(now, ValueKept | EntriesKept):
            for found in _changes(name, then, now):
                yield f"  changed since call {last.number}: {_change_text(found, WIDTH)}"


def departures(kept: Outcome, now: Outcome) -> list[str]:
    """What came of a call otherwise than in the replay, as ``replay → now``."""
    pairs: list[tuple[str, Any, Any]] = [
        ("raised", _failure_data(kept), _failure_data(now)),
        ("answer", [data_of(each) for each in kept.answers], [data_of(a) for a in now.answers]),
        ("sent", [data_of(each) for each in kept.sent], [data_of(each) for each in now.sent]),
    ]
    names = {**kept.after, **now.after}
    pairs += [(n, _state_data(kept.after.get(n)), _state_data(now.after.get(n))) for n in names]
    found: list[str] = []
    for name, then, again in pairs:
        for each in differences(then, again, _EXACT):
            path = "" if each.path == VALUE else each.path
            joint = "." if path and not path.startswith("[") else ""
            named = FieldDifference(f"{name}{joint}{path}", each.expected, each.actual)
            found.append(_change_text(named, WIDTH))
    return found


def _failure_data(outcome: Outcome) -> str | None:
    return None if outcome.raised is None else _raised_text(outcome.raised)


def history_table(history: History, current: int = 0) -> Table:
    """All kept calls: time, record, answer, state after; ``current`` is marked."""
    table = Table(box=None, padding=(0, 2), pad_edge=False, header_style="dim")
    table.add_column("call", justify="right", no_wrap=True)
    with_state = any(call.outcome.after or call.before for call in history)
    for name in ("time", "record", "answer", *(["state after"] if with_state else [])):
        table.add_column(name, overflow="fold")
    for call in history:
        mark = "→" if call.number == current else ""
        cells = [f"{mark}{call.number}", time_text(call.place.timestamp_ms)]
        cells += [f"({call.part}) " * bool(call.part) + _joined(map(_cell, call.given))]
        cells += [_answer_cell(call), *([_state_cell(call)] if with_state else [])]
        table.add_row(*cells)
    return table


def _cell(value: Any) -> str:
    return _sent_text(value, CELL)


def _joined(texts: Any) -> str:
    return ", ".join(texts)


def _answer_cell(call: Call) -> str:
    if call.outcome.raised is not None:
        return _cut(f"raised {_raised_text(call.outcome.raised)}")
    text = _joined(map(_cell, (*call.outcome.answers, *call.outcome.sent))) or "-"
    return f"{text} (undone)" if call.undone else text


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= CELL else f"{line[: CELL - 1]}…"


def _state_cell(call: Call) -> str:
    after = {**call.before, **call.outcome.after}
    held = {name: each for name, each in after.items() if isinstance(each, ValueKept | EntriesKept)}
    return _joined(
        f"{name} {_value_text(each, CELL)}"
        if isinstance(each, ValueKept)
        else f"{name} {len(each.entries):,}"
        for name, each in held.items()
    )
