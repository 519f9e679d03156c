"""A feed: rows of a source outside the log (a file), written to a topic with the source's position.

Rows come from ``connectors.source.Source`` and go into the worker's transaction together with a
record of the position in a compacted internal topic, so that a load that is killed resumes without
a double (protocol §5). Invariant: rows and position are in the same transaction, always.
"""

import json
import logging
from collections.abc import Mapping

from streamfn.clock import Clock
from streamfn.connectors.log import Committed, Log
from streamfn.connectors.source import Portion, Rejected, Source
from streamfn.engine.marks import Mark, mark_of, written
from streamfn.errors import LogError, StopError, StreamfnError
from streamfn.graph.plan import Plan
from streamfn.graph.topology import Feed, OnError
from streamfn.metrics import Metrics
from streamfn.record import Columns, TopicPartition

log_ = logging.getLogger("streamfn")


LETTER_BYTES_MAX = 64 * 1024
"""What a dead letter keeps of a row that the log would not take."""
READ_DEADLINE_S = 30.0
ROWS_TRUSTED = 1_000
"""So many rows went through: the search for a refused one is over."""


class RowError(StreamfnError):
    """A row that makes no sense, under ``on_error`` fail."""

    exit_code = 5


class FeedTask:
    """One feed's share in the worker's transactions."""

    def __init__(
        self, feed: Feed, plan: Plan, source: Source, log: Log, clock: Clock, metrics: Metrics
    ) -> None:
        self.feed, self._source, self._log = feed, source, log
        self._clock, self._metrics = clock, metrics
        self._dead_letter_topic = plan.dead_letter_topic
        self._on_error: OnError = plan.topology.policy.on_error or "fail"
        self.topic = TopicPartition(plan.position_topic(feed.name), 0)
        self.at_end = self.dirty = self._end_known = False
        self.rows = 0
        self._position: bytes | None = None
        self._columns, self._letters = Columns.empty(), Columns.empty()
        self._sequence = 0
        self._failed: RowError | None = None
        self._refused: Exception | None = None
        self._rows_max: int | None = None
        """Most rows in a transaction while a row is sought that the log refuses."""

    def start(self) -> None:
        """Open the source at the position that is committed."""
        self._position = self._committed_position()
        self._end_known = mark_of(self._log.committed([self.topic]).get(self.topic)).at_end
        self._columns.clear()
        self._letters.clear()
        self.at_end = self.dirty = False
        self._failed = None
        self._source.open(self._position)

    def _committed_position(self) -> bytes | None:
        end = self._log.end_offsets([self.topic])[self.topic]
        begin = self._log.begin_offsets([self.topic])[self.topic]
        self._sequence = end
        near = max(begin, end - 100)
        found = self._last(near, end) or self._last(begin, near)  # aborted ones may lie in between
        return found[0] if found else None

    def _last(self, start: int, end: int) -> tuple[bytes | None] | None:
        """Return the last value in a range, which may be a tombstone, or None if there is none."""
        last: tuple[bytes | None] | None = None
        give_up_s = self._clock.monotonic_s() + READ_DEADLINE_S
        for batch in self._log.read(self.topic, start, end):
            last = (batch.values[-1],) if len(batch) else last
            if self._clock.monotonic_s() > give_up_s:
                message = f"position of feed {self.feed.name!r} cannot be read to its end, {end}"
                raise LogError(message, retriable=True)
        return last

    def step(self, rows_max: int) -> int:
        """Read some rows into the next transaction; return how many.

        Raises:
            RowError: a row makes no sense and the policy is to fail; all before it is committed.
        """
        if self._failed is not None and not self.dirty:
            raise self._failed
        if self.at_end or self._failed is not None or (self._rows_max is not None and self.dirty):
            return 0
        portion = self._next(rows_max)
        for rejected in portion.rejected:
            self._reject(rejected)
        self._extend(portion.columns)
        if not self._failed or len(portion.columns):
            self._position, self.at_end = portion.position, portion.at_end
        count = len(portion.columns) + (0 if self._failed else len(portion.rejected))
        self.dirty |= count > 0 or (self.at_end and not self._end_known and not self._failed)
        self._metrics.rows_loaded += len(portion.columns)
        self.rows += count
        if self._failed is not None and not self.dirty:
            raise self._failed
        return count

    def _next(self, rows_max: int) -> Portion:
        """Read on; a single row that the log has refused is a row that makes no sense."""
        portion = self._source.read(min(rows_max, self._rows_max or rows_max))
        if self._refused is None or not len(portion.columns):
            fails = portion.rejected and self._on_error == "fail"
            return self._up_to_rejected(rows_max) if fails else portion
        line = int(json.loads(portion.position).get("line", 0))
        raw = (portion.columns.values[0] or b"")[:LETTER_BYTES_MAX]
        rejected = Rejected(line, raw, str(self._refused))
        self._refused = None
        if self._on_error == "fail":
            return Portion(Columns.empty(), (rejected,), self._position or b"", False)
        return Portion(Columns.empty(), (rejected,), portion.position, portion.at_end)

    @property
    def searching(self) -> bool:
        """True while a row is sought that the log refuses."""
        return self._rows_max is not None and (self.dirty or not self.at_end)

    def refused(self, error: Exception, *, alone: bool) -> None:
        """The log will not take these rows: read half as many next time, down to the bad one.

        A row is blamed only if it was ``alone`` in its transaction.

        Raises:
            StopError: no row is to blame, not even a single one.
        """
        rows = len(self._columns)
        if rows == 0 and alone:
            message = f"feed {self.feed.name!r} cannot write its dead letters; {error}"
            raise StopError(message) from error
        self._refused = error if alone and rows == 1 else None
        self._rows_max = max(1, rows // 2)

    def _up_to_rejected(self, rows_max: int) -> Portion:
        """Read the same rows again up to the bad one: that is read anew after a cure."""
        self._source.open(self._position)
        columns, position = Columns.empty(), self._position
        for _ in range(rows_max):
            portion = self._source.read(1)
            if portion.rejected:
                return Portion(columns, portion.rejected, position or b"", False)
            for row in zip(
                portion.columns.keys,
                portion.columns.values,
                portion.columns.timestamps,
                strict=True,
            ):
                columns.add(*row)
            position = portion.position
        return Portion(columns, (), position or b"", False)

    def _extend(self, columns: Columns) -> None:
        self._columns.keys.extend(columns.keys)
        self._columns.values.extend(columns.values)
        self._columns.timestamps.extend(columns.timestamps)

    def _reject(self, rejected: Rejected) -> None:
        self._metrics.rows_rejected += 1
        where = f"feed {self.feed.name!r}, line {rejected.line}"
        if self._on_error == "fail":
            message = (
                f"{where} makes no sense; {rejected.reason}; mend the file, or set "
                "on_error='skip' or 'dead_letter'"
            )
            self._failed = self._failed or RowError(message)
        elif self._on_error == "dead_letter":
            facts = {
                "streamfn.feed": self.feed.name,
                "streamfn.topic": self.feed.topic.name,
                "streamfn.line": str(rejected.line),
                "streamfn.message": rejected.reason[:1000],
                "streamfn.failed_at_ms": str(self._clock.now_ms()),
            }
            headers = tuple((name, text.encode()) for name, text in facts.items())
            self._letters.add(None, rejected.raw, self._clock.now_ms(), headers)
            self._metrics.dead_letters += 1
        else:
            self._metrics.skipped += 1
            log_.warning("%s skipped: %s", where, rejected.reason)

    def touch(self) -> None:
        """Have the mark committed again that all is loaded: a position expires on a broker."""
        self.dirty |= self.at_end and self._position is not None

    def progress(self) -> tuple[int, int]:
        """Bytes read and bytes in total."""
        return self._source.progress()

    # the transaction
    def emit(self, log: Log) -> None:
        """Put the rows and the position into the transaction."""
        if len(self._columns):
            log.emit(self.feed.topic.name, None, self._columns)
        if len(self._letters):
            log.emit(self._dead_letter_topic, None, self._letters)
        key, now_ms = self.feed.name.encode(), self._clock.now_ms()
        log.emit(self.topic.topic, 0, Columns([key], [self._position], [now_ms], {}))

    def offsets(
        self, token: str, ends: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, Committed]:
        """The number of positions written so far, with the transaction's token."""
        mark = Mark(token, at_end=self.at_end)
        return {self.topic: Committed(self._sequence + 1, written(mark))}

    def committed(self, token: str, ends: dict[TopicPartition, int]) -> None:
        """Rows and position are in the log."""
        self._sequence += 1
        self._end_known = self.at_end
        self._columns.clear()
        self._letters.clear()
        self.dirty = False
        if self._rows_max is not None:
            self._rows_max = self._rows_max * 2 if self._rows_max < ROWS_TRUSTED else None

    def close(self) -> None:
        """Release everything that was opened."""
        self._source.close()
