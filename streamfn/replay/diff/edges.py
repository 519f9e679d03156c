"""Which rows at the edges of a recording can be judged, seen from where they stand.

The ranges of a recording say what is known of the begin and the end of each topic; here that
becomes a mark on rows of the real run and of the replay. Invariant: a row without a mark surely has
its other side among the rows that were recorded, or made, unless the two runs differ; a row that
surely has none is left out, and counted.
"""

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Final

from streamfn.record import Batch, Headers, TopicPartition
from streamfn.replay.diff.headers import compared_headers
from streamfn.replay.diff.rows import (
    BEGIN,
    END,
    MAYBE_BEGIN,
    MAYBE_END,
    Content,
    Row,
    row_of,
)
from streamfn.replay.effects import Effects, Root
from streamfn.replay.recording import CUT_BY_OFFSET, CUT_BY_TIME, Header, Range
from streamfn.replay.trace import TraceError, made_of

NOTHING: Final = Range(0, 0)


class Edges:
    """What a recording knows of its edges."""

    def __init__(
        self, header: Header, inputs: Mapping[str, Collection[str]], fed: Collection[str],
        dead_letters: str = "", steady: Collection[str] = (),
    ) -> None:  # fmt: skip
        """Look into a header.

        Args:
            header: of the recording in which the rows of the real run are.
            inputs: of each topic, those whose records its rows are made of.
            fed: the topics whose records come from the recording.
            dead_letters: where records go that fail.
            steady: topics whose rows bear the times of their inputs.
        """
        self._ranges = {
            TopicPartition(topic.name, number): kept
            for topic in header.topics
            for number, kept in topic.ranges.items()
        }
        self._inputs, self._fed, self._dead_letters = inputs, frozenset(fed), dead_letters
        self._steady = {topic: self._late(topic) for topic in steady}
        self._in_flight = header.in_flight > 0
        self.cut = has_edges(header)
        self._told = any(each.done >= 0 or each.sure_to >= 0 for each in self._ranges.values())
        self._behind = self._unfinished()
        self.left_out = [0, 0]
        """How many rows of each side surely have no other one."""

    def _unfinished(self) -> dict[TopicPartition, int]:
        """From which of its records on the real run may have come to none of an input."""
        found: dict[TopicPartition, int] = {}
        for source, kept in self._ranges.items():
            if source.topic in self._fed and 0 <= kept.done < kept.end:
                found[source] = kept.done
        return found

    def _late(self, topic: str, behind: frozenset[str] = frozenset()) -> int:
        """From when on rows of a topic may be of records that are not recorded; -1: at any time."""
        times: list[int] = []
        for name in set(self._inputs.get(topic, ())) - behind:
            if name in self._fed:  # one that was chosen by its times has all of them
                kept = [kept for source, kept in self._ranges.items() if source.topic == name]
                times += [each.late_ms if each.late_ms >= 0 else each.to_ms for each in kept]
            else:
                times.append(self._late(name, behind | {topic}))
        return min(times, default=-1)

    # the real run
    def recorded(self, batch: Batch) -> Iterator[Row]:
        """Yield the rows of a topic as the real run wrote them, but for those of other inputs."""
        kept = self._ranges.get(batch.source, NOTHING)
        marks, late_ms = self._of_places(batch.source.topic, kept)
        first, last = (batch.offsets[0], batch.offsets[-1]) if len(batch) else (0, 0)
        behind = first >= max(kept.own_from, kept.sure_from)
        if not marks and late_ms < 0 and behind and (kept.sure_to < 0 or last < kept.sure_to):
            yield from map(partial(_row, batch, 0), range(len(batch)))
            return
        for at, offset in enumerate(batch.offsets):
            mark = marks | (BEGIN if offset < kept.sure_from else 0)
            if 0 <= kept.sure_to <= offset or 0 <= late_ms <= batch.timestamps[at]:
                mark |= END
            inside: bool | None = None
            if offset < kept.own_from:
                inside = False
            elif mark and batch.headers:
                inside = self._is_inside(batch.source.topic, batch.headers[at])
            if inside is False:
                self.left_out[0] += 1
            else:
                yield _row(batch, 0 if inside else mark, at)

    def _of_places(self, topic: str, kept: Range) -> tuple[int, int]:
        """What holds for all rows of a partition, and from when on they may be of late records."""
        steady = topic in self._steady and _by_time(kept)
        late_ms = self._steady[topic] if steady and kept.to_ms >= 0 else -1
        found = MAYBE_BEGIN if self.cut and kept.sure_from < 0 and not steady else 0
        unknown_end = kept.sure_to < 0 and late_ms < 0 and (self.cut or self._told)
        return found | (MAYBE_END if unknown_end else 0), late_ms

    def _is_inside(self, topic: str, headers: Headers) -> bool | None:
        """Tell whether a row says that it is of a recorded input; None if it does not say."""
        cause = _cause(headers, letter=topic == self._dead_letters)
        if cause is None or cause[0].topic not in self._fed:
            return None
        kept = self._ranges.get(cause[0], NOTHING)
        return kept.start <= cause[1] < kept.end

    # the replay
    def made(self, effects: Effects) -> Iterator[Row]:
        """Yield what the replay has made, but for what the real run cannot have written yet."""
        kept = self._ranges.get(TopicPartition(effects.topic, effects.partition), NOTHING)
        marks, direct = self._of_effects(effects.topic, kept)
        by_time, closed = _by_time(kept), kept.sure_to >= kept.end
        if not marks and not by_time and not (self._behind and direct):
            yield from (row_of(effects, at, compared_headers) for at in range(len(effects)))
            return
        for at, root in enumerate(effects.roots):
            behind = direct and self._is_behind(root)
            if (by_time and not _is_of(kept, effects.timestamps[at])) or (behind and closed):
                self.left_out[1] += 1
            else:
                row = row_of(effects, at, compared_headers)
                yield row._replace(unsure=marks | END if behind else marks)

    def _of_effects(self, topic: str, kept: Range) -> tuple[int, bool]:
        """What holds for all rows of a topic; and whether the input of each tells of its end."""
        by_time = _by_time(kept)
        marks = MAYBE_BEGIN if self.cut and kept.sure_from < 0 and not by_time else 0
        if self.cut and kept.sure_to < 0 and not by_time:
            return marks | MAYBE_END, False
        if self._in_flight and not self._fed.issuperset(self._inputs.get(topic, ())):
            return marks | MAYBE_END, False
        return marks, True

    def _is_behind(self, root: Root) -> bool:
        done = self._behind.get(root[0])
        return done is not None and root[1] >= done


def has_edges(header: Header) -> bool:
    """Tell whether a recording begins in the middle of the run, or was cut."""
    return header.note in (CUT_BY_TIME, CUT_BY_OFFSET) or any(
        kept.start > 0
        for topic in header.topics
        if topic.role in ("input", "repartition")
        for kept in topic.ranges.values()
    )


def _by_time(kept: Range) -> bool:
    """Tell whether rows were chosen by their times."""
    return kept.from_ms >= 0 or kept.to_ms >= 0


def _is_of(kept: Range, at_ms: int) -> bool:
    return kept.from_ms <= at_ms and (at_ms < kept.to_ms or kept.to_ms < 0)


def _row(batch: Batch, unsure: int, at: int) -> Row:
    headers = compared_headers(batch.headers[at]) if batch.headers else ()
    content = Content(batch.keys[at], batch.values[at], batch.timestamps[at], headers)
    return Row(content, batch.source.partition, batch.offsets[at], unsure=unsure)


def _cause(headers: Headers, *, letter: bool) -> Root | None:
    """The record that a row says it was made of; a dead letter is that record."""
    told = dict(headers)
    if letter and "streamfn.feed" not in told:
        names = ("streamfn.topic", "streamfn.partition", "streamfn.offset")
        topic, *numbers = (told.get(name, b"").decode(errors="replace") for name in names)
        if all(number.isdigit() for number in numbers):
            return TopicPartition(topic, int(numbers[0])), int(numbers[1])
    try:
        made = made_of(headers)
    except TraceError:
        return None  # somebody else's header of that name: then nothing is known
    return None if made is None or made.of is None else (made.of.source, made.of.offset)
