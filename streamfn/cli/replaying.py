"""Runs a replay for the command line and says what it has made.

A program and what it is to be replayed on come in; progress goes to stderr, tables and asked-for
rows to stdout, all rows to a file. Invariant: what is said of a replay is read off the replay; a
file is there only if the replay came to its end.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from streamfn.app import App
from streamfn.cli.console import answers, line_of, notes, say
from streamfn.cli.display import warnings_on
from streamfn.cli.progress import Progress
from streamfn.cli.values import compact, plain, record_text, text_or_hex
from streamfn.config import Config
from streamfn.errors import ConfigError
from streamfn.graph.describe import counted
from streamfn.graph.plan import Plan
from streamfn.record import Record
from streamfn.replay.effects import Effects, EffectSink, Raised
from streamfn.replay.opening import Wanted, opened_inputs, span_text
from streamfn.replay.output_file import output_file
from streamfn.replay.replay import Replayed, replay
from streamfn.replay.roles import specs_of
from streamfn.results import decoded

RAISED_SHOWN = 3
RAISED_EXIT = 5
"""A record failed, and its policy is to fail."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a replay is to run."""

    workers: int = 1
    end_to_end: bool = False
    repartitions: bool = False
    fail_fast: bool = False


@dataclass(slots=True)
class Tally:
    """Counts rows by topic, keeps those of topics that are to be shown, hands all on."""

    onward: EffectSink | None
    wanted: frozenset[str]
    rows: Counter[str] = field(default_factory=Counter[str])
    kept: dict[str, list[Record[bytes | None, bytes | None]]] = field(
        default_factory=dict[str, list[Record[bytes | None, bytes | None]]]
    )

    def effects(self, found: list[Effects]) -> None:
        """Take what one chunk has made."""
        for each in found:
            self.rows[each.topic] += len(each)
            if each.topic in self.wanted:
                self.kept.setdefault(each.topic, []).extend(_records(each))
        if self.onward is not None:
            self.onward.effects(found)


def _records(effects: Effects) -> Iterator[Record[bytes | None, bytes | None]]:
    for row, key in enumerate(effects.keys):
        yield Record(
            key, effects.values[row], effects.timestamps[row], effects.topic, effects.partition,
            effects.first_offset + row, effects.headers.get(row, ()),
        )  # fmt: skip


def run_replay(
    app: App, wanted: Wanted, manner: Manner, config: Config, *,
    out: Path | None, overwrite: bool, show: list[str],
) -> None:  # fmt: skip
    """Replay, write and show.

    Raises:
        typer.Exit: records failed.
    """
    console, topology = notes(), app.topology()
    with ExitStack() as stack:
        stack.enter_context(warnings_on(console))
        inputs = stack.enter_context(opened_inputs(wanted, topology, note=_note))
        file = stack.enter_context(output_file(out, overwrite=overwrite)) if out else None
        tally = Tally(file, frozenset(show))
        read_only = "" if wanted.recording else ", which is only read"
        say(f"replaying {span_text(inputs)} from {wanted.place}{read_only}", stderr=True)
        bar = stack.enter_context(Progress(topology.application))
        done = stack.enter_context(
            replay(
                topology, inputs, tally, config=config, workers=manner.workers,
                end_to_end=manner.end_to_end, repartitions=manner.repartitions,
                fail_fast=manner.fail_fast,
                progress=lambda passed, total: bar.show(passed, total=total),
            )
        )  # fmt: skip
        bar.end()
        _check_shown(done.plan, show, tally)
        if file is not None:
            file.finish(done)
        _summary(done, tally, bar.elapsed_s)
        for name in show:
            _show(done, tally, name)
        _say_raised(done.raised)
    if out:
        say(f"written to {str(out)!r}", stderr=True)
    if done.raised:
        raise typer.Exit(RAISED_EXIT)


def _note(text: str) -> None:
    line_of("note", text, "yellow")


def _summary(done: Replayed, tally: Tally, elapsed_s: float) -> None:
    """What was made of how much, and how fast."""
    rate = done.records / max(elapsed_s, 1e-9)
    say(
        f"replayed {counted(done.records, 'record')} in {elapsed_s:.1f} s ({rate:,.0f} a second); "
        "nothing was committed, and no topic was written to"
    )
    table = Table("made", "", "records", box=None, pad_edge=False)
    table.columns[2].justify = "right"
    plan = done.plan
    internal = {topic.name: topic.purpose for topic in plan.internal_topics}
    for topic in sorted(tally.rows):
        table.add_row(topic, internal.get(topic, "topic"), f"{tally.rows[topic]:,}")
    for store in sorted(plan.topology.stores):
        table.add_row(store, "store", f"{sum(1 for _ in done.entries(store)):,}")
    skipped = sum(metrics.skipped for metrics in done.metrics)
    dropped = Counter[str]()
    for metrics in done.metrics:
        dropped.update(metrics.dropped)
    for what, count in [("skipped", skipped), *sorted(dropped.items())]:
        if count:
            table.add_row(what, "dropped", f"{count:,}")
    answers().print(table)
    for notice in done.notices:
        _note(notice)


def _check_shown(plan: Plan, show: list[str], tally: Tally) -> None:
    known = {*plan.topology.stores, *specs_of(plan), plan.dead_letter_topic, *tally.rows}
    for name in show:
        if name not in known:
            message = (
                f"--show {name!r} is neither a topic nor a store of the program; it has "
                f"{', '.join(sorted(known))}; name one of them"
            )
            raise ConfigError(message)


def _show(done: Replayed, tally: Tally, name: str) -> None:
    """Print the rows of a topic, or the entries of a store."""
    if name in done.plan.topology.stores:
        for key, value in done.state(name).items():
            say(f"{compact(plain(key))}  {compact(plain(value))}")
        return
    spec = specs_of(done.plan).get(name)
    key_of: Any = spec.key.decode if spec else text_or_hex
    value_of: Any = spec.value.decode if spec else text_or_hex
    for record in tally.kept.get(name, ()):
        say(record_text(decoded(record, key_of, value_of), headers=spec is None))


def _say_raised(raised: list[Raised]) -> None:
    for each in raised[:RAISED_SHOWN]:
        place = f"{each.source} at offset {each.offset}"
        if each.root != (each.source, each.offset):
            place += f", which goes back to {each.root[0]} at offset {each.root[1]}"
        key = "no key" if each.key is None else f"key {text_or_hex(each.key)!r}"
        text = f"stage {each.stage!r} failed on {place} ({key}): {each.error}: {each.message}"
        line_of("error", text, "bold red")
        say(each.traceback.rstrip(), stderr=True)
    if raised:
        count = counted(len(raised), "record")
        stages = ", ".join(f"{name} {n:,}" for name, n in Counter(r.stage for r in raised).items())
        text = f"{count} failed, undone ({stages}); a run would have stopped at the first"
        line_of("error", text, "bold red")
