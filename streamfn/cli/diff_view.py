"""How a comparison is shown: tables and examples for people, JSON for programs.

A ``Comparison`` comes from ``replay.diff`` and goes to stdout. Invariant: what is shown is all that
was found, counted; only examples are a choice. The fields of the JSON are only ever added to:

    application, expected, actual, inputs, records, equal, exit_code
    to_blame        names of stages
    suspect         null, or stage and behind: nobody could look at that stage
    differences     stage, field, kind, count, follows_from, places, first_seen_ms, examples
        examples    place, partition, key, timestamp_ms, input, field, expected, actual
    not_deterministic   like differences: the program and itself
    not_judged      topic, edge, expected, actual: rows of one side only at an edge of the recording
    notices         sentences

``field`` is "" where a whole row is meant; ``follows_from`` is "" for those to blame. ``input`` is
topic, partition and offset of the record that it goes back to, or null. ``expected`` or ``actual``
is left out where there is nothing on that side; the value of a tombstone is null.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from streamfn.cli.console import answers, say
from streamfn.cli.values import compact, plain, time_text, to_json
from streamfn.graph.describe import counted
from streamfn.replay.diff.fields import ABSENT, TOMBSTONE, Special

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from streamfn.replay.diff.compare import Comparison, Example, Group

VALUE_CHARACTERS_MAX: Final = 1_000
GROUPS_SHOWN: Final = 40
UNSTABLE: Final = "not deterministic: replayed twice, the program differs from itself in"
KIND_STYLES: Final = {"raised": "red", "missing": "red", "extra": "yellow", "changed": "cyan"}


def show(comparison: "Comparison", *, json: bool = False) -> None:
    """Write a comparison to stdout."""
    if json:
        say(to_json(facts(comparison)))
        return
    console = answers()
    _say_head(comparison)
    if comparison.unstable:
        say(f"\n{UNSTABLE}", style="bold yellow")
        console.print(_table(comparison.unstable))
        _examples(comparison.unstable, console)
        say("these are left out of the comparison: they would differ in any version")
    own = [group for group in comparison.groups if not group.follows]
    if own:
        say("")
        console.print(_table(own))
    behind = [group for group in comparison.groups if group.follows]
    if behind:
        say("")
        console.print(_followers(behind))
    _examples(own, console)
    for notice in comparison.notices:
        say(f"note: {notice}", style="dim")


def _say_head(comparison: "Comparison") -> None:
    compared = f"{counted(comparison.records, 'record')} compared"
    sides = f"{comparison.expected} → {comparison.actual}: "
    inputs = f" of {counted(comparison.inputs, 'input')}" if comparison.inputs else ""
    if not comparison.groups:
        word = "all equal" if not comparison.unstable else "all else equal"
        say(f"{sides}{compared}{inputs}, {word}", style="green")
        return
    say(f"{sides}{compared}{inputs}, {comparison.different:,} differ", style="bold")
    if comparison.suspect is not None:
        say(f"to blame: {comparison.suspect} (topics alone do not show it)", style="bold red")
    elif comparison.blamed:
        say(f"to blame: {', '.join(comparison.blamed)}", style="bold red")


def _table(groups: "Iterable[Group]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("stage", "field", "kind", "count", "first seen", box=None, pad_edge=False)
    table.columns[3].justify = "right"
    found = list(groups)
    for group in found[:GROUPS_SHOWN]:
        table.add_row(
            Text(group.stage),
            Text(_field(group)),
            Text(group.kind, style=KIND_STYLES.get(group.kind, "")),
            f"{group.count:,}",
            _time(group.first_ms),
        )
    if len(found) > GROUPS_SHOWN:
        rest = sum(group.count for group in found[GROUPS_SHOWN:])
        table.add_row("…", f"{len(found) - GROUPS_SHOWN} more", "", f"{rest:,}", "")
    return table


def _field(group: "Group") -> str:
    """What differs: a field, a record, or something of the last state."""
    of_state = all(place.startswith("state ") for place in group.places)
    if not group.field:
        return "(state entry)" if of_state else "(record)"
    return f"{group.field} (state)" if of_state else group.field


def _followers(groups: "Iterable[Group]") -> "Table":
    """One line for each stage that only follows."""
    from rich.table import Table
    from rich.text import Text

    table = Table("behind it", "differs in", "count", "follows from", box=None, pad_edge=False)
    table.columns[2].justify = "right"
    stages: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        stages.setdefault((group.stage, group.follows), []).append(group)
    for (stage, follows), found in stages.items():
        what = ", ".join(dict.fromkeys(group.field or group.kind for group in found))
        count = f"{max(group.count for group in found):,}"
        table.add_row(*(Text(text, style="dim") for text in (stage, what, count, follows)))
    return table


def _examples(groups: "Iterable[Group]", console: "Console") -> None:
    from rich.text import Text

    for group in groups:
        if group.examples:
            title = Text.assemble("\n", (f"{group.stage} {_field(group)} {group.kind}", "bold"))
            title.append(f", {len(group.examples):,} of {group.count:,}")
            console.print(title)
        for example in group.examples:
            console.print(Text(f"  {_place(example)}", style="dim"), soft_wrap=True)
            for sign, value, style in (
                ("-", example.expected, "red"),
                ("+", example.actual, "green"),
            ):
                if value is not ABSENT:
                    text = f"    {sign} {_value(value, example)}"
                    console.print(Text(text, style=style), soft_wrap=True)


def _place(example: "Example") -> str:
    """Where an example stands: its key, its time, and the input record that it goes back to."""
    key = "no key" if example.key is None else f"key {compact(plain(example.key))}"
    where = example.place.removeprefix("stage:")
    if example.partition >= 0:
        where += f"[{example.partition}]"
    parts = [key, where]
    if example.timestamp_ms >= 0:
        parts.insert(1, time_text(example.timestamp_ms).replace(".000Z", "Z"))
    if example.root is not None:
        (source, offset) = example.root
        parts.append(f"input {source}:{offset}")
    return "  ".join(parts)


def _value(value: object, example: "Example") -> str:
    text = value if isinstance(value, Special) else compact(plain(value))
    if len(text) > VALUE_CHARACTERS_MAX:
        text = f"{text[:VALUE_CHARACTERS_MAX]} … ({len(text):,} characters)"
    deep = example.path and any(letter in example.path for letter in "[.")
    return f"{example.path}: {text}" if deep else text


def _time(timestamp_ms: int) -> str:
    return time_text(timestamp_ms)[:16] if timestamp_ms >= 0 else ""


# for programs
def facts(comparison: "Comparison") -> dict[str, Any]:
    """Collect a comparison as plain data."""
    suspect = comparison.suspect
    return {
        "application": comparison.application,
        "expected": comparison.expected,
        "actual": comparison.actual,
        "inputs": comparison.inputs,
        "records": comparison.records,
        "equal": comparison.equal,
        "exit_code": comparison.exit_code,
        "to_blame": comparison.blamed,
        "suspect": suspect and {"stage": suspect.stage, "behind": list(suspect.behind)},
        "differences": [_group_facts(group) for group in comparison.groups],
        "not_deterministic": [_group_facts(group) for group in comparison.unstable],
        "not_judged": [each._asdict() for each in comparison.not_judged],
        "notices": comparison.notices,
    }


def _group_facts(group: "Group") -> dict[str, Any]:
    return {
        "stage": group.stage,
        "field": group.field,
        "kind": group.kind,
        "count": group.count,
        "follows_from": group.follows,
        "places": dict(sorted(group.places.items())),
        "first_seen_ms": group.first_ms if group.first_ms >= 0 else None,
        "examples": [_example_facts(example) for example in group.examples],
    }


def _example_facts(example: "Example") -> dict[str, Any]:
    root = example.root
    found: dict[str, Any] = {
        "place": example.place,
        "partition": example.partition,
        "key": plain(example.key),
        "timestamp_ms": example.timestamp_ms if example.timestamp_ms >= 0 else None,
        "input": root
        and {"topic": root[0].topic, "partition": root[0].partition, "offset": root[1]},
        "field": example.path,
    }
    for side, value in (("expected", example.expected), ("actual", example.actual)):
        if value is not ABSENT:
            found[side] = None if value is TOMBSTONE else plain(value)
    return found
