"""What the fixture ``replay`` gives: a recording run through an app, to be looked at in a test.

Records come from a recording file, go through the replay as ``streamfn replay`` runs it, and stay
in memory until the test ends. Invariant: a function that raised is never passed over in silence: it
fails the test, unless the test says that it expects it.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import NoReturn, cast

import pytest

from streamfn.app import App
from streamfn.config import Config
from streamfn.errors import ConfigError, InternalError, StreamfnError
from streamfn.graph.plan import Plan
from streamfn.record import Record, TopicPartition
from streamfn.replay.effects import Collected, Raised
from streamfn.replay.recording import Inputs
from streamfn.replay.recordings.files import open_recording
from streamfn.replay.replay import Replayed
from streamfn.replay.replay import replay as run_replay
from streamfn.results import Raw
from streamfn.testing.explain import line_of, time_text
from streamfn.testing.result import ReplayResult, readable
from streamfn.testing.snapshots import Snapshots


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
        module = cast(ModuleType, self._request.module)  # pyright: ignore[reportUnknownMemberType]  # pytest gives no type
        names: dict[str, object] = vars(module)
        found = {name: each for name, each in names.items() if isinstance(each, App)}
        apps = {id(each): each for each in found.values()}
        if len(apps) == 1:
            return next(iter(apps.values()))
        message = (
            f"replay does not know which app is meant; {self._request.path.name} has "
            f"{', '.join(found) or 'none'}; say replay(recording, app)"
        )
        raise ConfigError(message)

    def close(self) -> None:
        """Release the state of all results."""
        self._open.close()


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
        key = readable(raised.key, spec and spec.key.decode)
        yield f"  record {raised.source} offset {raised.offset}, key {line_of(key)}, made of"
    record = _find(inputs, source, offset)
    if record is None:
        yield f"  record {source} offset {offset}"
        return
    spec = plan.known_topics.get(source.topic)
    key, value = (
        line_of(readable(raw, decode))
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
