"""Which part of each topic is meant: a span as people give it, resolved to offsets.

Texts of the command line become a ``Span``, a span and a log the ``Range`` of each partition.
Invariant: ends are asked once, so that a topic that grows is read to where it ended then; what
retention has taken out of a range is an error with its place, or left out where that was asked for.
"""

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Final, Literal

from streamfn.connectors.log import Log, TopicInfo
from streamfn.errors import ConfigError, LogError
from streamfn.record import TopicPartition
from streamfn.replay.recording import Range

Ranges = dict[str, dict[int, Range]]
"""By topic and partition."""

UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
AGO: Final = re.compile(r"([+-]\d+)(ms|s|m|h|d)")
OFFSET: Final = re.compile(r"-?\d+")
OF_PARTITION: Final = re.compile(r"(?!\d{4}-\d\d-\d\dT)([A-Za-z0-9._-]+):(\d+):(\d+)")
"""A time of day has colons too."""
FORMS: Final = (
    "a time (2013-01-31, 2013-01-31T12:30+01:00, UTC unless said; -2h; @MILLISECONDS), an offset "
    "(1200, or -5: five before the end) or TOPIC:PARTITION:OFFSET"
)
TOPICS_SHOWN: Final = 12
FIRST_TRIES: Final = 1_000
"""So many empty reads (of 20 ms each, on a Kafka), and a partition's first record is not known."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Where partitions begin, or end: at a time, an offset, or each where ``of`` says."""

    time_ms: int | None = None
    offset: int | None = None
    """Negative: so many before the end."""
    of: Mapping[TopicPartition, int] = field(default_factory=dict[TopicPartition, int])

    @property
    def is_open(self) -> bool:
        """True if it bounds nothing."""
        return self.time_ms is None and self.offset is None and not self.of


@dataclass(frozen=True, slots=True)
class Span:
    """A part of topics: from ``start`` up to, not including, ``end``."""

    start: Bound = field(default_factory=Bound)
    end: Bound = field(default_factory=Bound)
    partitions: frozenset[int] | None = None
    """Only these; None: all."""
    on_gap: Literal["fail", "skip"] = "fail"
    """What becomes of a range whose begin retention has deleted."""

    @property
    def is_open(self) -> bool:
        """True if it is all there is."""
        return self.start.is_open and self.end.is_open and self.partitions is None

    @property
    def has_times(self) -> bool:
        """True if a time bounds it."""
        return self.start.time_ms is not None or self.end.time_ms is not None


def bound_of(texts: Iterable[str], now_ms: int) -> Bound:
    """Read what a command line says of a begin or an end.

    Raises:
        ConfigError: a text is none of the forms, or two of them say it for all partitions.
    """
    time_ms: int | None = None
    offset: int | None = None
    of: dict[TopicPartition, int] = {}
    for text in texts:
        one = OF_PARTITION.fullmatch(text)
        if one:
            of[TopicPartition(one[1], int(one[2]))] = int(one[3])
            continue
        if time_ms is not None or offset is not None:
            message = f"{text!r} is one bound too many; got another for all partitions; give one"
            raise ConfigError(message)
        if OFFSET.fullmatch(text):
            offset = int(text)
        else:
            time_ms = time_of(text, now_ms)
    return Bound(time_ms, offset, of)


def time_of(text: str, now_ms: int) -> int:
    """Read a time: ISO 8601, ``now``, ``-2h``, ``@`` with milliseconds.

    Raises:
        ConfigError: it is none.
    """
    ago = AGO.fullmatch(text)
    if text == "now" or ago:
        return now_ms + (int(ago[1]) * UNITS_MS[ago[2]] if ago else 0)
    if re.fullmatch(r"@\d+", text):
        return int(text[1:])
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{text!r} is no place in a topic; got {error}; give {FORMS}"
        raise ConfigError(message) from error
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


def time_text(timestamp_ms: int) -> str:
    """Write a time for people, as UTC; one that no calendar has, as its number."""
    try:
        time = datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return str(timestamp_ms)
    return f"{time:%Y-%m-%d %H:%M:%S}Z"


def resolve(
    log: Log, topics: Iterable[str], span: Span, now_ms: int, *, whole: Container[str] = ()
) -> Ranges:
    """Return the offsets that a span means in each topic; those in ``whole`` are taken entire.

    Raises:
        ConfigError: a topic or partition does not exist, or the span ends before it begins.
        LogError: retention has deleted the begin of a range, and ``on_gap`` is fail.
    """
    _check(span)
    topics = list(topics)
    infos = log.topics(topics)
    found: Ranges = {}
    for name in topics:
        if name not in infos:
            known = ", ".join(sorted(log.topic_names())[:TOPICS_SHOWN]) or "none"
            message = f"topic {name!r} does not exist; the log has {known}; name one of them"
            raise ConfigError(message)
        part = Span(on_gap=span.on_gap) if name in whole else span
        found[name] = _of_topic(log, infos[name], part, now_ms)
    return found


def check_bounds(span: Span, ranges: Mapping[str, Mapping[int, Range]]) -> None:
    """Refuse a bound of a partition that is not read.

    Raises:
        ConfigError: with the partition.
    """
    for source in [*span.start.of, *span.end.of]:
        if source.partition not in ranges.get(source.topic, {}):
            message = (
                f"{source} has a bound and is not read; got {', '.join(ranges) or 'no topics'}; "
                "name a partition of one of these"
            )
            raise ConfigError(message)


def _check(span: Span) -> None:
    start, end = span.start, span.end
    for first, last in ((start.time_ms, end.time_ms), (start.offset, end.offset)):
        if first is not None and last is not None and first >= last and (first < 0) == (last < 0):
            message = f"nothing lies between the bounds; got {first} to {last}; let it end later"
            raise ConfigError(message)


def _of_topic(log: Log, info: TopicInfo, span: Span, now_ms: int) -> dict[int, Range]:
    wanted = [n for n in range(info.partitions) if span.partitions is None or n in span.partitions]
    if not wanted:
        message = (
            f"topic {info.name!r} has no such partition; got {sorted(span.partitions or ())}; it "
            f"has 0 to {info.partitions - 1}"
        )
        raise ConfigError(message)
    sources = [TopicPartition(info.name, number) for number in wanted]
    begins, ends = log.begin_offsets(sources), log.end_offsets(sources)
    starts = _offsets(log, sources, span.start, begins, ends)
    stops = _offsets(log, sources, span.end, ends, ends)
    found: dict[int, Range] = {}
    gaps: list[str] = []
    for source in sources:
        begin, end = begins[source], min(ends[source], stops[source])
        start = min(starts[source], ends[source])
        if end < begin:
            start = min(start, end)
        gap = _gap(log, source, span.start, (start, begin, ends[source]), info, now_ms)
        gaps += [gap] if gap else []
        start = max(start, begin)
        found[source.partition] = Range(start, max(start, end))
    if gaps and span.on_gap == "fail":
        more = f" (and {len(gaps) - 1} more partitions of it)" if len(gaps) > 1 else ""
        message = f"{gaps[0]}{more}; begin later, or take what is there: --on-gap skip"
        raise LogError(message)
    return found


def _offsets(
    log: Log,
    sources: list[TopicPartition],
    bound: Bound,
    otherwise: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
) -> dict[TopicPartition, int]:
    """Where a bound lies in each partition."""
    found = dict(otherwise)
    if bound.time_ms is not None:
        found = log.offsets_at(sources, bound.time_ms)
    elif bound.offset is not None:
        at = bound.offset
        found = {each: at if at >= 0 else max(0, ends[each] + at) for each in sources}
        if at < 0:
            found = {each: max(offset, otherwise[each]) for each, offset in found.items()}
    return found | {each: bound.of[each] for each in sources if each in bound.of}


def _gap(
    log: Log,
    source: TopicPartition,
    bound: Bound,
    offsets: tuple[int, int, int],
    info: TopicInfo,
    now_ms: int,
) -> str:
    """Say what of a range is gone, or may be, and which record is the first; "" if nothing is."""
    start, begin, end = offsets
    if start < begin:
        return f"records {start} to {begin} of {source} are gone; {_first(log, source, begin, end)}"
    by_time = bound.time_ms is not None and source not in bound.of
    if not by_time or begin == 0 or start > begin or bound.time_ms is None:
        return ""
    if _kept(info, bound.time_ms, now_ms):
        return ""
    since = time_text(bound.time_ms)
    return f"records of {source} since {since} may be gone; {_first(log, source, begin, end)}"


def _kept(info: TopicInfo, time_ms: int, now_ms: int) -> bool:
    """True if all that the broker deletes by itself is older than a time."""
    kept_ms = int(info.config.get("retention.ms", "-1"))
    by_size = info.config.get("retention.bytes", "-1") != "-1"
    return 0 <= kept_ms <= now_ms and time_ms >= now_ms - kept_ms and not by_size


def _first(log: Log, source: TopicPartition, begin: int, end: int) -> str:
    batches = log.read(source, begin, end) if begin < end else iter(())
    for batch in islice(batches, FIRST_TRIES):
        if len(batch):
            return f"the first is at offset {batch.offsets[0]}, of {time_text(batch.timestamps[0])}"
    if next(batches, None) is not None:  # a broker that is busy, or an open transaction
        return f"what is left, below its end, {end}, could not be read yet"
    return f"nothing is left below its end, {end}"


def retention_notes(log: Log, topics: Iterable[str], first_ms: int, now_ms: int) -> list[str]:
    """Warn of topics that keep records less long than those that are read are old."""
    notes: list[str] = []
    for info in log.topics(topics).values():
        kept_ms = int(info.config.get("retention.ms", "-1"))
        deletes = "delete" in info.config.get("cleanup.policy", "delete")
        if deletes and 0 <= kept_ms < now_ms - first_ms:
            days = kept_ms / UNITS_MS["d"]
            notes.append(
                f"topic {info.name!r} keeps records for {days:.3g} days; got a range that begins "
                f"at {time_text(first_ms)}: a part may be gone already or go while it is read; "
                "set retention.ms=-1"
            )
    return notes
