"""What the fixture ``replay`` gives: a recording run through an app, to be looked at in a test.

Records come from a recording file, go through the replay as ``streamfn replay`` runs it, and stay
in memory until the test ends. Invariant: a function that raised is never passed over in silence: it
fails the test, unless the test says that it expects it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from heapq import merge
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar, overload

import pytest

from streamfn.app import App
from streamfn.config import Config
from streamfn.dsl.endpoints import Topic
from streamfn.errors import ConfigError, InternalError, SerdeError, StreamfnError
from streamfn.graph.plan import Plan
from streamfn.graph.stores import decode_entry, entry_serde
from streamfn.graph.topology import Sink, TopicSpec
from streamfn.record import Record, TopicPartition
from streamfn.replay.effects import Collected, Effects, Raised
from streamfn.replay.feeding import written_by
from streamfn.replay.files import open_recording
from streamfn.replay.output_file import shown
from streamfn.replay.recording import Inputs
from streamfn.replay.replay import Replayed
from streamfn.replay.replay import replay as run_replay
from streamfn.results import Raw, decoded
from streamfn.testing.explain import Facts, line_of, plain, time_text
from streamfn.testing.snapshots import Snapshots, header_of, lines_of

K = TypeVar("K")
V = TypeVar("V")

OF_THE_RUN: Final = frozenset({"streamfn.failed_at_ms", "streamfn.provenance", "streamfn.root"})
"""Headers that tell of the run, not of the record."""
FIRST_RECORDS: Final = 500
LINES_MAX: Final = 30


class ReplayResult:
    """What a replay has left: outputs, dead letters, state, failures."""

    def __init__(self, done: Replayed, found: list[Effects], snapshots: Snapshots) -> None:
        self._done, self._plan, self._snapshots = done, done.plan, snapshots
        internal = self._plan.own_topics - {self._plan.dead_letter_topic}
        self._outputs = [effects for effects in found if effects.topic not in internal]
        self._found: dict[str, list[Effects]] = {}
        for effects in self._outputs:
            self._found.setdefault(effects.topic, []).append(effects)
        self.records = done.records
        """How many input records there were."""
        self.raised = tuple(done.raised)
        """Which of them failed under ``on_error`` fail: undone, and the replay went on."""
        self.notices = done.notices
        """What a replay of this program leaves out or does otherwise than a live run."""

    @overload
    def read(self, topic: Topic[K, V]) -> list[Record[K, V]]: ...
    @overload
    def read(self, topic: str) -> list[Record[Any, Any]]: ...
    def read(self, topic: Topic[Any, Any] | str) -> list[Record[Any, Any]]:
        """Return the records that the app wrote to a topic.

        Each partition is in the order it was written; partitions are merged by timestamp.

        Raises:
            ConfigError: the app never writes to this topic.
            SerdeError: a record does not decode.
        """
        spec = self._spec(topic)
        found = list(self._decoded(spec))
        parts: dict[int, list[Record[Any, Any]]] = {}
        for record in found:
            parts.setdefault(record.partition, []).append(record)
        return list(merge(*(parts[at] for at in sorted(parts)), key=lambda r: r.timestamp_ms))

    def dead_letters(self) -> list[Raw]:
        """Return what failed under ``on_error`` dead_letter, as bytes; headers say why."""
        return list(self._raw(self._plan.dead_letter_topic))

    def state(self, stage: object, parameter: str = "") -> dict[Any, Any]:
        """Return the final entries of a function's parameter, or of a table, in key order."""
        whole = stage if isinstance(stage, str) else str(getattr(stage, "name", ""))
        if whole in self._plan.topology.global_tables and not parameter:
            return self._done.workers[0].global_tables.entries(whole)
        return self._done.state(stage, parameter)

    def check(self, name: str = "", *, first: int = FIRST_RECORDS) -> None:
        """Compare all outputs, dead letters, failures and the final state with the snapshot.

        It stands next to the test, in ``snapshots/<test file>/<test>.jsonl``;
        ``pytest --streamfn-update`` writes it.

        Args:
            name: tells the snapshots of one test apart.
            first: so many records of each topic and entries of each store are written out; of what
                is behind them there is a sum for each 10,000.
        """
        __tracebackhide__ = True
        lines = [header_of(self._plan.application, first), *lines_of(self._places(), first)]
        self._snapshots.check(lines, name)

    def check_same_as(
        self,
        expected: "ReplayResult",
        *,
        ignore: Iterable[str] = (),
        tolerance: Iterable[str] = (),
    ) -> None:
        """Compare with what another replay of the same recording has left.

        Args:
            expected: of another version of the app, or of other options.
            ignore: fields that do not count: ``("price", "totals:legs[].at")``.
            tolerance: how far apart numbers may be: ``("1e-9", "price=0.01")``.
        """
        __tracebackhide__ = True
        from streamfn.replay.diff import Options, compare_effects, rules, state_rows

        found = compare_effects(
            expected._outputs, self._outputs, self._plan,
            Options(rules(_several(ignore), _several(tolerance))), other_plan=expected._plan,
            raised=(expected.raised, self.raised),
            states=(state_rows(expected._done), state_rows(self._done)),
        )  # fmt: skip
        if found.exit_code:
            lines = found.lines()
            more = [f"… and {len(lines) - LINES_MAX:,} more lines"] if lines[LINES_MAX:] else []
            pytest.fail("\n".join([*lines[:LINES_MAX], *more]))

    # topics
    def _spec(self, topic: Topic[Any, Any] | str) -> TopicSpec:
        name = topic if isinstance(topic, str) else topic.name
        written = written_by(self._plan)
        spec = self._plan.known_topics.get(name)
        if spec is not None and (name in written or self._chooses):
            return spec
        if not isinstance(topic, str) and self._chooses:
            return topic.spec
        known = ", ".join(sorted(written)) or "none"
        message = f"topic {name!r} is not written by this app; it writes {known}; name one of them"
        raise ConfigError(message)

    @property
    def _chooses(self) -> bool:
        """Whether records may go to any topic."""
        nodes = self._plan.topology.nodes.values()
        return any(isinstance(n, Sink) and n.choose is not None and not n.topics for n in nodes)

    def _raw(self, topic: str) -> Iterator[Raw]:
        """Yield the records of a topic in order of partition and offset."""
        found = self._found.get(topic, [])
        for each in sorted(found, key=lambda each: (each.partition, each.first_offset)):
            rows = zip(each.keys, each.values, each.timestamps, strict=True)
            for row, (key, value, timestamp_ms) in enumerate(rows):
                yield Record(
                    key, value, timestamp_ms, topic, each.partition, each.first_offset + row,
                    each.headers.get(row, ()),
                )  # fmt: skip

    def _decoded(self, spec: TopicSpec) -> Iterator[Record[Any, Any]]:
        for raw in self._raw(spec.name):
            yield decoded(raw, spec.key.decode, spec.value.decode)

    # snapshot
    def _places(self) -> Iterator[tuple[str, str, Iterator[Facts]]]:
        for topic in sorted(self._found):
            yield "topic", topic, self._facts_of_topic(topic)
        if self.raised:
            yield "failures", "", map(_failure, self.raised)
        for store in sorted(self._plan.topology.stores):
            yield "store", store, self._facts_of_store(store)

    def _facts_of_topic(self, topic: str) -> Iterator[Facts]:
        spec = self._plan.known_topics.get(topic)
        for raw in self._raw(topic):
            facts: Facts = {
                "topic": topic,
                "partition": raw.partition,
                "time": time_text(raw.timestamp_ms),
                "key": _readable(raw.key, spec and spec.key.decode),
            }
            if raw.value is None:
                facts["tombstone"] = True
            else:
                facts["value"] = _readable(raw.value, spec and spec.value.decode)
            headers = [[n, shown(value)] for n, value in raw.headers if n not in OF_THE_RUN]
            yield {**facts, "headers": headers} if headers else facts

    def _facts_of_store(self, store: str) -> Iterator[Facts]:
        """Yield what people see of a store; buffers are the operators' own."""
        spec = self._plan.topology.stores[store]
        seen, decode = decode_entry(spec), entry_serde(spec).decode
        for key, value, partition in self._done.entries(store):
            entry = seen(key, decode(value))
            if entry is not None:
                said = (_plain_or(entry[0], key), _plain_or(entry[1], value))
                yield {"store": store, "partition": partition, "key": said[0], "value": said[1]}


class Replay:
    """The fixture ``replay``: runs a recording through an app, and gives what it has left."""

    def __init__(self, request: pytest.FixtureRequest, snapshots: Snapshots) -> None:
        self._request, self._snapshots = request, snapshots
        self._open = ExitStack()

    def __call__(
        self,
        recording: str | Path | Inputs,
        app: App | None = None,
        *,
        workers: int = 1,
        commit_interval_ms: int | None = None,
        end_to_end: bool = False,
        repartitions: bool = False,
        in_memory: bool = True,
        raises: bool = False,
    ) -> ReplayResult:
        """Run a recording through an app.

        What is run, and on what, is told by the two arguments; how, by options, each by its name:
        whatever else can stand in for the real world later (a simulator of crashes and delays) is
        one more of them, and a test keeps its form.

        Args:
            recording: a file, relative to the test's; or what else has the records.
            app: the app; it may be left out if the test's module knows exactly one.
            workers: so many workers share the tasks; the result is the same.
            commit_interval_ms: how often they commit; the result is the same.
            end_to_end: topics that the app both writes and reads come from itself, even if the
                recording has them.
            repartitions: those behind a repartition come from the recording, if it has them: then
                the order is that of the live run.
            in_memory: False keeps the state in a temporary folder, as production does.
            raises: True for a test in which functions raise, to look at ``raised``; else the first
                that does fails the test.

        Raises:
            ConfigError: there is no such recording, or the app reads topics that it does not have.
            RecordingError: the recording is damaged.
        """
        __tracebackhide__ = True
        config = (
            Config()
            if commit_interval_ms is None
            else Config(commit_interval_ms=commit_interval_ms)
        )
        sink = Collected()
        try:
            inputs = self._inputs(recording)
            topology = (app or self._app()).topology()
            done = self._open.enter_context(
                run_replay(
                    topology, inputs, sink, config=config, workers=workers, end_to_end=end_to_end,
                    repartitions=repartitions, in_memory=in_memory,
                )
            )  # fmt: skip
        except InternalError:
            raise
        except StreamfnError as error:  # says all by itself: our frames are no help
            raise error.with_traceback(None) from None
        if done.raised and not raises:
            _fail(done, inputs)
        return ReplayResult(done, sink.found, self._snapshots)

    def _inputs(self, recording: str | Path | Inputs) -> Inputs:
        if not isinstance(recording, str | Path):
            return recording
        inputs = open_recording(self._request.path.parent / recording)
        self._open.callback(inputs.close)
        return inputs

    def _app(self) -> App:
        """Find the one app that the test's module defines or imports."""
        found = {
            name: each for name, each in vars(self._request.module).items() if isinstance(each, App)
        }
        if len({id(each) for each in found.values()}) == 1:
            return next(iter(found.values()))
        message = (
            f"replay does not know which app is meant; {self._request.path.name} has "
            f"{', '.join(found) or 'none'}; say replay(recording, app)"
        )
        raise ConfigError(message)

    def close(self) -> None:
        """Release the state of all results."""
        self._open.close()


def _several(texts: Iterable[str]) -> Iterable[str]:
    """Take one text for a list of one: its letters are never meant."""
    return [texts] if isinstance(texts, str) else texts


# facts
def _readable(raw: bytes | None, decode: Any) -> Any:
    """Make what JSON has of a key or value; of one that does not decode, of its bytes."""
    if raw is None or decode is None:
        return shown(raw)
    try:
        return plain(decode(raw))
    except Exception:  # a serde may be a user's own: whatever it raises, the bytes can be shown
        return shown(raw)


def _plain_or(value: object, raw: bytes) -> Any:
    try:
        return plain(value)
    except SerdeError:
        return shown(raw)


def _failure(raised: Raised) -> Facts:
    return {
        "raised": raised.error,
        "message": raised.message,
        "stage": raised.stage,
        "record": [*raised.source, raised.offset],
    }


# a failing function
def _fail(done: Replayed, inputs: Inputs) -> NoReturn:
    """Fail the test with the first function that raised, its record and the user's traceback."""
    __tracebackhide__ = True
    first, rest = done.raised[0], done.raised[1:]
    said = [f"stage {first.stage!r} raised {first.error}: {first.message}"]
    said += [*_record_lines(done.plan, inputs, first), "", first.traceback.rstrip(), ""]
    if rest:
        kinds = Counter(f"{each.error} in {each.stage}" for each in rest)
        counted = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common(5))
        said.append(f"and {len(rest):,} more: {counted}")
    said.append("if a test expects this: replay(…, raises=True), and look at raised of the result")
    pytest.fail("\n".join(said))


def _record_lines(plan: Plan, inputs: Inputs, raised: Raised) -> Iterator[str]:
    """Say which record it was; behind a repartition, which input record it goes back to."""
    source, offset = raised.root
    if (source, offset) != (raised.source, raised.offset):
        spec = plan.known_topics.get(raised.source.topic)
        key = _readable(raised.key, spec and spec.key.decode)
        yield f"  record {raised.source} offset {raised.offset}, key {line_of(key)}, made of"
    record = _find(inputs, source, offset)
    if record is None:
        yield f"  record {source} offset {offset}"
        return
    spec = plan.known_topics.get(source.topic)
    key, value = (
        line_of(_readable(raw, decode))
        for raw, decode in (
            (record.key, spec and spec.key.decode),
            (record.value, spec and spec.value.decode),
        )
    )
    yield f"  record {source} offset {offset}, {time_text(record.timestamp_ms)}"
    yield f"  key    {key:.300}"
    yield f"  value  {value:.1000}"


def _find(inputs: Inputs, source: TopicPartition, offset: int) -> Raw | None:
    """Read a record of the inputs again."""
    for chunk in inputs.chunks({source.topic}):
        for batch in chunk:
            if batch.source == source and offset in batch.offsets:
                row = list(batch.offsets).index(offset)
                return Record(
                    batch.keys[row], batch.values[row], batch.timestamps[row], *source, offset,
                    batch.headers[row] if batch.headers else (),
                )  # fmt: skip
    return None
