"""Runs a replay for the command line and says what it has made.

A program and what it is to be replayed on come in; progress goes to stderr, tables and asked-for
rows to stdout, all rows to a file. Invariant: what is said of a replay is read off the replay; a
file is there only if the replay came to its end.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from streamfn.cli.console import answers, line_of, notes, say
from streamfn.cli.debugger import examine, key_history
from streamfn.cli.diff_view import show as show_comparison
from streamfn.cli.display import warnings_on
from streamfn.cli.interrupts import interruptible, stopped
from streamfn.cli.load import load_app
from streamfn.cli.progress import Progress
from streamfn.cli.values import compact, plain, record_text, text_or_hex
from streamfn.clock import SystemClock
from streamfn.config import Config
from streamfn.errors import ConfigError
from streamfn.graph.describe import counted
from streamfn.graph.plan import Plan
from streamfn.graph.topology import Function, Sink, Source, Topology
from streamfn.record import Record
from streamfn.replay.diff.compare import Options, diff_against_run, diff_versions
from streamfn.replay.effects import Effects, EffectSink, Raised
from streamfn.replay.opening import Wanted, opened_inputs, span_text
from streamfn.replay.output_file import output_file
from streamfn.replay.ranges import time_of
from streamfn.replay.recording import Inputs
from streamfn.replay.replay import Replayed, replay
from streamfn.replay.roles import specs_of
from streamfn.results import decoded

OUT_ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst")
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


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command line asks for."""

    target: str
    wanted: Wanted
    config: Config
    manner: Manner
    out: Path | None = None
    overwrite: bool = False
    show: tuple[str, ...] = ()
    diff: bool = False
    against: str | None = None
    options: Options = field(default_factory=Options)
    as_json: bool = False
    key: str | None = None
    stage: str | None = None
    debugger: bool = False
    at: str | None = None

    @property
    def compares(self) -> bool:
        """True if it is about differences."""
        return self.diff or self.against is not None

    @property
    def debugs(self) -> bool:
        """True if it is about one key at one stage."""
        return self.key is not None or self.stage is not None or self.debugger

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            ConfigError: with what to leave out or add.
        """
        writes = bool(self.out or self.show)
        wrong = ""
        if not self.compares and (given := self._of_comparisons()):
            wrong = f"{given} is of a comparison; add --diff or --against, or leave it out"
        elif self.compares and self.debugs:
            wrong = "--diff and --against compare, --key and --stage look at one key; leave one out"
        elif self.diff and self.against:
            wrong = "--diff is against the real run; got --against too; leave one of them out"
        elif (self.compares or self.debugs) and writes:
            wrong = "--out and --show are of a replay on its own; leave them out"
        elif self.debugs and (self.key is None or self.stage is None):
            wrong = "a key is looked at at a stage; give both --key K and --stage S"
        elif self.at and not self.debugger:
            wrong = "--at says where the debugger begins; add --break"
        if wrong:
            message = f"these options do not fit; {wrong}"
            raise ConfigError(message)
        if self.out is not None:
            _check_out(self.out, self.wanted.recording if self.overwrite else None)

    def _of_comparisons(self) -> str:
        """The first option given that only a comparison has; empty if there is none."""
        options, usual = self.options, Options()
        given = {
            "--json": self.as_json,
            "--ignore": bool(options.rules.ignored),
            "--tolerance": (options.rules.tolerance, options.rules.tolerances) != (None, ()),
            "--examples": options.examples != usual.examples,
            "--no-self-check": not options.self_check,
        }
        return next((name for name, is_given in given.items() if is_given), "")


def _check_out(out: Path, recording: Path | None) -> None:
    """Refuse a name that says another form, and the very file that is replayed."""
    if not out.name.endswith(OUT_ENDINGS):
        message = (
            f"--out writes lines of JSON; got {str(out)!r}; name it with one of "
            f"{', '.join(OUT_ENDINGS)}"
        )
        raise ConfigError(message)
    if recording is not None and out.resolve() == recording.resolve():
        message = f"--out is the recording itself; got {str(out)!r}; choose another name"
        raise ConfigError(message)


def go(asked: Asked) -> None:
    """Do what was asked for.

    Raises:
        typer.Exit: records failed, or there are differences.
    """
    asked.check()
    with warnings_on(notes()), interruptible(stopped(asked.out, "written")):
        if asked.compares:
            code = _compare(asked)
        elif asked.debugs:
            code = _debug(asked)
        else:
            code = _replay(asked)
    if code:
        raise typer.Exit(code)


def _replay(asked: Asked) -> int:
    """Replay, write and show."""
    topology, manner = load_app(asked.target).topology(), asked.manner
    wanted = replace(asked.wanted, repartitions=manner.repartitions)
    with ExitStack() as stack:
        inputs = stack.enter_context(opened_inputs(wanted, topology, note=_note))
        writes = (
            stack.enter_context(output_file(asked.out, overwrite=asked.overwrite))
            if asked.out
            else None
        )
        tally = Tally(writes, frozenset(asked.show))
        _say_from(inputs, wanted, topology, manner)
        bar = stack.enter_context(Progress(topology.application))
        done = stack.enter_context(
            replay(
                topology, inputs, tally, config=asked.config, workers=manner.workers,
                end_to_end=manner.end_to_end, repartitions=manner.repartitions,
                fail_fast=manner.fail_fast,
                progress=lambda passed, total: bar.show(passed, total=total),
            )
        )  # fmt: skip
        bar.end()
        _check_shown(done.plan, asked.show, tally)
        if writes is not None:
            writes.finish(done)
        _summary(done, tally, bar.elapsed_s)
        for name in asked.show:
            _show(done, tally, name)
        _say_raised(done.raised)
    if asked.out:
        say(f"written to {str(asked.out)!r}", stderr=True)
    return RAISED_EXIT if done.raised else 0


def _compare(asked: Asked) -> int:
    """Compare with the real run, or with another version."""
    topology, manner = load_app(asked.target).topology(), asked.manner
    wanted = asked.wanted
    if asked.diff or manner.repartitions:  # of the real run, as much as is still there
        wanted = replace(wanted, repartitions=None)
    with opened_inputs(wanted, topology, note=_note) as inputs, Comparing() as bar:
        _say_from(inputs, wanted, topology, manner)
        if asked.against is not None:
            found = diff_versions(
                asked.target, asked.against, inputs, asked.options, end_to_end=manner.end_to_end,
                repartitions=manner.repartitions, workers=manner.workers, tell=bar.tell,
            )  # fmt: skip
        else:
            found = diff_against_run(
                asked.target,
                inputs,
                asked.options,
                end_to_end=manner.end_to_end,
                workers=manner.workers,
                tell=bar.tell,
                topology=topology,
            )
    show_comparison(found, json=asked.as_json)
    return found.exit_code


class Comparing:
    """The progress of a comparison, which goes over the records once or twice."""

    def __init__(self) -> None:
        self._doing: str = ""
        self._bar = Progress("")

    def __enter__(self) -> "Comparing":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.end()

    def tell(self, doing: str, records: int) -> None:
        """Show how far it is, and in what."""
        if doing != self._doing:
            self._bar.end()
            self._doing = doing
            self._bar = Progress(doing)
            self._bar.__enter__()
        self._bar.show(records)


def _debug(asked: Asked) -> int:
    """Show the history of a key at a stage, or step through it."""
    topology, manner = load_app(asked.target).topology(), asked.manner
    wanted = replace(asked.wanted, repartitions=manner.repartitions)
    with opened_inputs(wanted, topology, note=_note) as inputs:
        _say_from(inputs, wanted, topology, manner)
        history = key_history(
            topology, inputs, stage=asked.stage or "", key=asked.key or "", config=asked.config,
            end_to_end=manner.end_to_end, repartitions=manner.repartitions,
        )  # fmt: skip
    at_ms = None if asked.at is None else time_of(asked.at, SystemClock().now_ms())
    return examine(history, at=at_ms, interactive=asked.debugger)


def _say_from(inputs: Inputs, wanted: Wanted, topology: Topology, manner: Manner) -> None:
    """Say what is replayed, and where a replay's own outputs do not come back to it."""
    read_only = "" if wanted.recording else ", which is only read"
    say(f"replaying {span_text(inputs)} from {wanted.place}{read_only}", stderr=True)
    recorded = {topic.name for topic in inputs.header.topics if topic.role == "input"}
    both = sorted(recorded & _read_and_written(topology))
    if both and not manner.end_to_end:
        _note(
            f"{', '.join(both)}, which the program also writes, is read as it was recorded; to "
            "feed what the replay writes there: --end-to-end"
        )


def _read_and_written(topology: Topology) -> set[str]:
    nodes = topology.nodes.values()
    read = {node.topic.name for node in nodes if isinstance(node, Source) and not node.internal}
    sinks = [node.topics for node in nodes if isinstance(node, Sink)]
    sinks += [node.sinks for node in nodes if isinstance(node, Function)]
    return read & {spec.name for specs in sinks for spec in specs}


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
        rows = "-" if _is_buffer(plan, store) else f"{len(done.state(store)):,}"
        table.add_row(store, "store", rows)
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


def _check_shown(plan: Plan, show: Iterable[str], tally: Tally) -> None:
    known = {*plan.topology.stores, *specs_of(plan), plan.dead_letter_topic, *tally.rows}
    for name in show:
        if name not in known:
            message = (
                f"--show {name!r} is neither a topic nor a store of the program; it has "
                f"{', '.join(sorted(known))}; name one of them"
            )
            raise ConfigError(message)
        if _is_buffer(plan, name):
            message = (
                f"--show {name!r}: the store holds what waits in its operator, no rows; got its "
                "name; its entries are in what --out writes"
            )
            raise ConfigError(message)


def _is_buffer(plan: Plan, store: str) -> bool:
    stores = plan.topology.stores
    return store in stores and stores[store].kind == "buffer"


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
