"""Copies what a replay reads into a recording, and counts what went by.

Records come from ``Inputs`` and go to a ``Writer`` as they are. Invariant: the state comes first,
and what is counted is what was written.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from streamfn.connectors.log import Log
from streamfn.engine.topic_check import oldest_timestamp
from streamfn.record import Batch
from streamfn.replay.ranges import Bound, retention_notes
from streamfn.replay.recording import Inputs, Role, Writer


@dataclass(slots=True)
class Tally:
    """What was copied of one topic."""

    records: int = 0
    bytes: int = 0
    first_ms: int | None = None
    last_ms: int | None = None

    def count(self, batch: Batch) -> None:
        """Count a batch."""
        self.records += len(batch)
        self.bytes += sum(map(len, filter(None, batch.keys)))
        self.bytes += sum(map(len, filter(None, batch.values)))
        first, last = min(batch.timestamps), max(batch.timestamps)
        self.first_ms = first if self.first_ms is None else min(first, self.first_ms)
        self.last_ms = last if self.last_ms is None else max(last, self.last_ms)


@dataclass(slots=True)
class Copied:
    """What is in a recording."""

    topics: dict[str, Tally] = field(default_factory=dict[str, Tally])
    entries: dict[str, int] = field(default_factory=dict[str, int])
    """Of the state, by store."""

    @property
    def records(self) -> int:
        """Of all topics."""
        return sum(tally.records for tally in self.topics.values())


def copy(
    inputs: Inputs, writer: Writer, progress: Callable[[int], None] = lambda records: None
) -> Copied:
    """Write state and records of ``inputs``; ``progress`` is told how many records are written."""
    done = Copied({topic.name: Tally() for topic in inputs.header.topics})
    for entry in inputs.state():
        writer.entry(entry)
        done.entries[entry.store] = done.entries.get(entry.store, 0) + 1
    written = 0
    for chunk in inputs.chunks():
        writer.chunk(chunk)
        for batch in chunk:
            done.topics[batch.source.topic].count(batch)
            written += len(batch)
        progress(written)
    return done


def warnings_of(log: Log, roles: Mapping[str, Role], start: Bound, now_ms: int) -> list[str]:
    """Warn of topics that may have lost a part of the span, or lose it while it is read.

    What is read tells how old the span is: outputs bear the times of their inputs.
    """
    first_ms = start.time_ms
    if first_ms is None:
        read = [name for name, role in roles.items() if role in ("input", "other")]
        oldest = oldest_timestamp(log, read)
        first_ms = now_ms if oldest is None else oldest[0]
    return retention_notes(log, roles, first_ms, now_ms)
