"""Does what ``streamfn record`` is asked for: chooses topics and ranges, copies, says what it has.

Records go from a log through ``streamfn.replay`` into a file. Invariant: nothing but that file is
written, and it is whole or not there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic

from rich.table import Table

from streamfn.cli.console import answers, line_of, notes, say
from streamfn.cli.display import size, warnings_on
from streamfn.cli.place import Place, patiently
from streamfn.cli.progress import Progress
from streamfn.cli.values import bytes_as_shown, key_candidates, time_text, to_json
from streamfn.clock import SystemClock
from streamfn.connectors.log import Log
from streamfn.errors import ConfigError, SerdeError
from streamfn.graph.describe import counted
from streamfn.graph.plan import Plan
from streamfn.replay.boundary import Boundary, Copier
from streamfn.replay.log_inputs import LogInputs
from streamfn.replay.ranges import Span
from streamfn.replay.record import Copied, copy, warnings_of
from streamfn.replay.recording import Header
from streamfn.replay.recordings.files import recording_to
from streamfn.replay.roles import (
    Selected,
    Selection,
    header_of,
    select,
    source_of,
    specs_of,
)
from streamfn.replay.sample import Keep, both, by_keys, by_share

ALL = "all"
WHOLE_ROLES = ("global_table",)
"""What is looked up is never thinned out: any record may look for any key."""
STORES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command line asks for."""

    selection: Selection
    span: Span
    keys: tuple[str, ...] = ()
    share: float | None = None
    stores: tuple[str, ...] = ()

    @property
    def sample(self) -> str:
        """Which keys are taken, in words; "" for all."""
        if self.share is not None:
            return f"{100 * self.share:g} % of the keys"
        return f"keys {', '.join(self.keys)}" if self.keys else ""

    def check(self, app: str | None) -> None:
        """Refuse what does not go together.

        Raises:
            ConfigError: with what to leave out or add.
        """
        wrong = ""
        if self.keys and self.share is not None:
            wrong = "--key and --sample both choose keys; give one of them"
        elif self.stores and app is None:
            wrong = "--state needs the program, which knows its stores; give --app TARGET"
        elif self.stores and not self.span.start.is_open:
            wrong = "--state begins where the application has committed; leave --from out"
        elif not app and not self.selection.topics:
            wrong = "no topic is named; name some, or give --app TARGET for those of a program"
        if wrong:
            message = f"these options do not fit; {wrong}"
            raise ConfigError(message)


@dataclass(slots=True)
class Recorder:
    """One recording to be made."""

    place: Place
    asked: Asked
    path: Path
    overwrite: bool
    clock: SystemClock = field(default_factory=SystemClock)

    def run(self) -> None:
        """Make the recording, and say what is in it."""
        began_s = monotonic()
        with warnings_on(notes()), self.place.log() as (log, _):
            planned = patiently(lambda: self.place.plan(log))
            boundary = self._state(log, planned)
            span = self._wait()
            inputs = self._inputs(log, planned, boundary, span)
            try:
                done = self._copy(inputs)
            finally:
                inputs.close()
        self._say(inputs.header, done, monotonic() - began_s)

    def _state(self, log: Log, planned: Plan | None) -> Boundary | None:
        """Copy the stores that are asked for, at a boundary of now."""
        if not self.asked.stores or planned is None:
            return None
        stores = _stores(planned, self.asked.stores)
        return Copier(log, planned, stores, self.clock).copy()

    def _wait(self) -> Span:
        """What is to be recorded up to a later time has to happen first; all that came is recorded.

        Embedded, nobody else can write meanwhile.
        """
        span = self.asked.span
        end_ms = (span.end.time_ms or 0) if self.place.config.broker else 0
        if end_ms <= self.clock.now_ms():
            return span
        say(f"waiting until {time_text(end_ms)}; Ctrl-C leaves no file", stderr=True)
        while (left_ms := end_ms - self.clock.now_ms()) > 0:
            self.clock.sleep(min(1.0, left_ms / 1000))
        return replace(span, end=replace(span.end, time_ms=None))

    def _inputs(
        self, log: Log, planned: Plan | None, boundary: Boundary | None, span: Span
    ) -> LogInputs:
        now_ms, asked = self.clock.now_ms(), self.asked
        selected = patiently(lambda: select(log, planned, asked.selection, span, now_ms, boundary))
        if not selected.ranges:
            message = "nothing is there to record; got no topic of the program; see its topics"
            raise ConfigError(message)
        for text in selected.notes:
            say(text, stderr=True)
        self._warn(log, selected, planned, now_ms)
        named = planned is not None or not self.place.config.broker
        header = header_of(
            log, selected, application=self.place.application if named else "",
            source=source_of(log, self.place.config.broker), now_ms=now_ms, plan=planned,
            boundary=boundary, sample=asked.sample,
        )  # fmt: skip
        keep = self._keep(selected, planned)
        return LogInputs(log, header, place=self.place.shown, keep=keep, boundary=boundary)

    def _warn(self, log: Log, selected: Selected, planned: Plan | None, now_ms: int) -> None:
        texts = warnings_of(log, selected.roles, self.asked.span.start, now_ms)
        between = (
            [t for t in planned.internal_topics if t.purpose == "repartition"] if planned else []
        )
        if self.asked.sample and between:
            names = ", ".join(topic.name for topic in between)
            texts.append(
                f"keys are chosen as the inputs have them; stages behind {names} get a part of "
                "the records of each of their own keys"
            )
        for text in texts:
            line_of("warning", text, "bold yellow")

    def _keep(self, selected: Selected, planned: Plan | None) -> dict[str, Keep]:
        """What thins out each topic: by time, by keys, or both."""
        found = dict(selected.keep)
        for name, keep in self._sampled(selected, planned).items():
            found[name] = both(found[name], keep) if name in found else keep
        return found

    def _sampled(self, selected: Selected, planned: Plan | None) -> dict[str, Keep]:
        thin = [name for name, role in selected.roles.items() if role not in WHOLE_ROLES]
        if self.asked.share is not None:
            return dict.fromkeys(thin, by_share(self.asked.share))
        if not self.asked.keys:
            return {}
        return {name: by_keys(keys) for name, keys in self._keys(thin, planned).items()}

    def _keys(self, topics: list[str], planned: Plan | None) -> Mapping[str, frozenset[bytes]]:
        """The bytes of the keys in each topic; one that cannot have such a key has none of them."""
        specs = specs_of(planned) if planned else {}
        found: dict[str, frozenset[bytes]] = {}
        wrong: SerdeError | None = None
        for name in topics:
            spec, made = specs.get(name), set[bytes]()
            for text in self.asked.keys:
                try:
                    values = key_candidates(text, spec.key.type if spec else str)
                except SerdeError as error:
                    wrong = wrong or error
                    continue
                if spec is not None:
                    made.update(spec.key.encode(value) for value in values)
                else:
                    made.update(bytes_of_key(text))
            found[name] = frozenset(made)
        if wrong is not None and not any(found.values()):
            raise wrong
        return found

    def _copy(self, inputs: LogInputs) -> Copied:
        with (
            Progress("recording", inputs.total) as progress,
            recording_to(self.path, inputs.header, overwrite=self.overwrite) as writer,
        ):
            return copy(inputs, writer, lambda records: progress.show(inputs.passed, records))

    def _say(self, header: Header, done: Copied, seconds: float) -> None:
        table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
        for name in ("topic", "role"):
            table.add_column(name, overflow="fold")
        for name in ("partitions", "records", "bytes"):
            table.add_column(name, justify="right", no_wrap=True)
        for name in ("first", "last"):
            table.add_column(name, no_wrap=True)
        for topic in header.topics:
            tally = done.topics[topic.name]
            ends = (tally.first_ms, tally.last_ms)
            times = ["" if at is None else time_text(at)[:16] for at in ends]
            role = topic.role.replace("_", " ")
            table.add_row(
                topic.name, role, str(len(topic.ranges)), f"{tally.records:,}", size(tally.bytes),
                *times,
            )  # fmt: skip
        answers().print(table)
        for store, count in list(done.entries.items())[:STORES_SHOWN]:
            say(f"store {store}: {counted(count, 'entry')}")
        say(
            f"recorded {counted(done.records, 'record')} into {self.path}, "
            f"{size(self.path.stat().st_size)}, in {seconds:.1f} s"
        )


def bytes_of_key(text: str) -> set[bytes]:
    """What a key may look like in a topic whose type nobody knows: text, or text as JSON."""
    return {*bytes_as_shown(text), to_json(text).encode()}


def _stores(planned: Plan, asked: tuple[str, ...]) -> list[str]:
    """The stores by name, or all of the program's tasks.

    Raises:
        ConfigError: there is no such store, or none at all.
    """
    from streamfn.results import store_name

    known = sorted(name for sub in planned.subtopologies for name in sub.stores)
    if not known:
        message = f"application {planned.application!r} has no stores; got --state; leave it out"
        raise ConfigError(message)
    if ALL in asked and ALL not in known:
        return known
    return sorted({store_name(planned.topology, name) for name in asked})
