"""Opens what a replay reads: a recording, or straight from a log, read-only.

A path or a place in a log comes in, ``Inputs`` come out. Invariant: a log is opened to be read: no
group is joined, no position committed, no producer made.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from streamfn.clock import SystemClock
from streamfn.config import Config
from streamfn.connectors.log import Log
from streamfn.engine.topics import existing_partitions
from streamfn.graph.plan import plan
from streamfn.graph.topology import Topology
from streamfn.replay.log_inputs import LogInputs
from streamfn.replay.ranges import Span, retention_notes, time_text
from streamfn.replay.recording import Inputs
from streamfn.replay.recordings.files import open_recording
from streamfn.replay.roles import Selection, header_of, select, source_of
from streamfn.run import opened_log


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records: those of a recording, or a span of a log's topics."""

    recording: Path | None = None
    config: Config = field(default_factory=Config)
    span: Span = field(default_factory=Span)
    repartitions: bool | None = False
    """Of a log: read repartition topics too; None: those that still hold all of the span."""

    @property
    def place(self) -> str:
        """How it is spoken of."""
        if self.recording is not None:
            return f"recording {str(self.recording)!r}"
        if self.config.broker:
            return f"Kafka {self.config.broker}"
        return f"the embedded log under {str(self.config.state_dir)!r}"


@contextmanager
def opened_inputs(
    wanted: Wanted, topology: Topology, *, note: Callable[[str], None] = lambda text: None
) -> Generator[Inputs]:
    """Open what a program is to be replayed on; ``note`` takes what there is to say of it.

    Raises:
        RecordingError: the recording is damaged, cut short or foreign.
        ConfigError: a topic or a recording does not exist, or the application runs, embedded.
        LogError: records of the span are gone.
    """
    if wanted.recording is not None:
        inputs = open_recording(wanted.recording)
        try:
            yield inputs
        finally:
            inputs.close()
        return
    with opened_log(topology.application, wanted.config) as (log, _):
        live = _of_log(log, wanted, topology, note)
        try:
            yield live
        finally:
            live.close()


def _of_log(log: Log, wanted: Wanted, topology: Topology, note: Callable[[str], None]) -> LogInputs:
    now_ms = SystemClock().now_ms()
    planned = plan(topology, existing_partitions(topology, log))
    selection = Selection(repartitions=wanted.repartitions)
    selected = select(log, planned, selection, wanted.span, now_ms)
    for text in selected.notes:
        note(text)
    since_ms = wanted.span.start.time_ms
    if since_ms is not None:
        for text in retention_notes(log, selected.ranges, since_ms, now_ms):
            note(text)
    header = header_of(
        log, selected, application=topology.application,
        source=source_of(log, wanted.config.broker), now_ms=now_ms, plan=planned,
    )  # fmt: skip
    return LogInputs(log, header, place=wanted.place, keep=selected.keep)


def span_text(inputs: Inputs) -> str:
    """Say how much there is to replay, for people."""
    topics = [topic for topic in inputs.header.topics if topic.role in ("input", "other")]
    made = time_text(inputs.header.made_at_ms)
    names = ", ".join(topic.name for topic in topics)
    return f"{names} (made {made})" if inputs.header.made_at_ms else names
