"""Replay order: the check of it, and records of a file put together as batches.

Rows come from a file's decoder, or on their way into a file, and go on as a chunk. Invariant: what
passes is in replay order over all its topics, and its offsets ascend within the recorded ranges;
this is checked over whole columns, row by row only to name the row that is wrong.
"""

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, compress, count, islice, pairwise
from operator import eq, gt, lt, ne
from typing import Any, Final, NoReturn, Protocol, TypeAlias

from streamfn.errors import RecordingError
from streamfn.record import Batch, Headers, TopicPartition
from streamfn.replay.recording import Chunk, Range

Place: TypeAlias = tuple[str, int]
"""Topic and partition; equal to a TopicPartition."""


class Fail(Protocol):
    """Makes the errors of one recording."""

    def __call__(self, *, wrong: str, cure: str, where: str = "", got: str = "") -> RecordingError:
        """Say where, what is wrong, what was got and what to do."""
        ...


SORT: Final = (
    "sort the records by the highest timestamp so far in their partition, then topic, partition "
    "and offset: docs/recordings.md shows how"
)
OFFSETS: Final = "number the records of a partition upwards, within its range of the header"
EARLIEST: Final = -(2**63) - 1


@dataclass(slots=True)
class Rows:
    """Columns of consecutive rows of a file; keys and values are as the file has them."""

    places: list[Place]
    offsets: Sequence[int]
    timestamps: Sequence[int]
    keys: Sequence[Any]
    values: Sequence[Any]
    headers: Sequence[Any]
    where: Callable[[int], str]
    """How errors speak of a row."""
    to_bytes: Callable[[Iterable[Any]], list[bytes | None]] = list
    """Of a column of keys or values."""
    to_headers: Callable[[Iterable[Any]], list[Headers]] = list
    numbers: Sequence[int] | None = None
    """Which rows of all these are, if some were left out."""
    left_out: int = 0
    """How many rows were left out, as nobody had asked for their topics."""

    def __len__(self) -> int:
        return len(self.places)


@dataclass(slots=True)
class ReplayOrder:
    """What has passed so far; each pass over a recording has its own."""

    fail: Fail
    ranges: Mapping[Place, Range] | None = None
    """Which offsets there may be; None if the recording does not say."""
    records: int = 0
    first: dict[Place, int] = field(default_factory=dict[Place, int])
    next: dict[Place, int] = field(default_factory=dict[Place, int])
    counts: defaultdict[Place, int] = field(default_factory=lambda: defaultdict[Place, int](int))
    _mark: int = EARLIEST
    _last: Place = ("", -1)

    def chunk(self, rows: Rows, topics: Container[str] | None) -> Chunk:
        """Check rows and make batches of those of the wanted topics."""
        found: Chunk = []
        rank = self.records
        for place, indexes in self.check(rows):
            if topics is None or place[0] in topics:
                found.append(_batch(rows, place, indexes, rank))
        return found

    def check(self, rows: Rows) -> list[tuple[Place, Sequence[int]]]:
        """Check rows; return which of them belong to each partition."""
        groups = _groups(rows.places)
        ranges = [self._range(rows, place, indexes) for place, indexes in groups]
        self._check_order(rows)
        for (place, indexes), known in zip(groups, ranges, strict=True):
            self._check_offsets(rows, place, indexes, known)
        self.records += len(rows) + rows.left_out
        return groups

    def _check_order(self, rows: Rows) -> None:
        """Marks are the highest timestamps so far, over all partitions.

        In replay order that is the mark of each row's own partition too: a row with a lower
        timestamp therefore follows one of its own partition. Of equal marks, places must ascend.
        """
        marks = list(accumulate(rows.timestamps, max, initial=self._mark))
        places = [self._last, *rows.places]
        back = map(gt, places, rows.places)
        swapped = any(compress(back, map(eq, marks, islice(marks, 1, None))))
        if swapped or _stray(rows.timestamps, marks, places) is not None:
            self._name_disorder(rows, marks, places)
        self._mark, self._last = marks[-1], places[-1]

    def _name_disorder(self, rows: Rows, marks: list[int], places: list[Place]) -> NoReturn:
        stray = _stray(rows.timestamps, marks, places)
        order = list(zip(marks, places, strict=True))
        pairs = enumerate(pairwise(order))
        swapped = next((index for index, (one, other) in pairs if other < one), len(rows))
        index = swapped if stray is None else min(swapped, stray)
        before = f"{_name(places[index])} at {marks[index]}"
        text = f"{_row(rows, index)} is out of replay order"
        got = f"timestamp_ms {rows.timestamps[index]} after {before}"
        raise self.fail(where=rows.where(index), wrong=text, got=got, cure=SORT)

    def _range(self, rows: Rows, place: Place, indexes: Sequence[int]) -> Range:
        """Tell which offsets a partition may have."""
        known = self.ranges.get(place) if self.ranges is not None else Range(0, 2**63)
        if known is None:
            text = f"{_name(place)} is not in the header"
            raise self.fail(
                where=rows.where(indexes[0]), wrong=text, cure="name it and its range there"
            )
        return known

    def _check_offsets(
        self, rows: Rows, place: Place, indexes: Sequence[int], known: Range
    ) -> None:
        """Offsets ascend within a partition and stay inside its range."""
        least = self.next.get(place, known.start)
        offsets = [rows.offsets[index] for index in indexes]
        ascending = all(map(lt, offsets, islice(offsets, 1, None)))
        if not ascending or offsets[0] < least or offsets[-1] >= known.end:
            self._name_offset(rows, indexes, least, known)
        self.first.setdefault(place, offsets[0])
        self.next[place] = offsets[-1] + 1
        self.counts[place] += len(offsets)

    def _name_offset(
        self, rows: Rows, indexes: Sequence[int], least: int, known: Range
    ) -> NoReturn:
        index = offset = -1
        for index in indexes:
            offset = rows.offsets[index]
            if not least <= offset < known.end:
                break
            least = offset + 1
        wrong = f"{_row(rows, index)} is outside its range"
        got = f"range {known.start} to {known.end}"
        if known.start <= offset < known.end:
            wrong, got = f"{_row(rows, index)} goes back", f"the one before it was {least - 1}"
        raise self.fail(where=rows.where(index), wrong=wrong, got=got, cure=OFFSETS)


def _stray(timestamps: Sequence[int], marks: list[int], places: list[Place]) -> int | None:
    """Find the first row below its mark that does not follow one of its own partition."""
    late = compress(count(), map(ne, timestamps, islice(marks, 1, None)))
    return next((index for index in late if places[index] != places[index + 1]), None)


def _name(place: Place) -> str:
    return str(TopicPartition(*place))


def _row(rows: Rows, index: int) -> str:
    return f"{_name(rows.places[index])} offset {rows.offsets[index]}"


def _groups(places: list[Place]) -> list[tuple[Place, Sequence[int]]]:
    """Which rows belong to each partition, in order of their first rows."""
    if places and places.count(places[0]) == len(places):
        return [(places[0], range(len(places)))]
    found: defaultdict[Place, list[int]] = defaultdict(list)
    for index, place in enumerate(places):
        found[place].append(index)
    return list(found.items())


def _batch(rows: Rows, place: Place, indexes: Sequence[int], rank: int) -> Batch:
    """Put the rows of one partition together."""
    numbers = range(len(rows)) if rows.numbers is None else rows.numbers
    if len(indexes) == len(rows):
        keys, values, headers = rows.keys, rows.values, rows.headers
        offsets, timestamps = list(rows.offsets), list(rows.timestamps)
        ranks = [rank + number for number in numbers]
    else:
        keys, values, headers, offsets, timestamps = (
            [column[index] for index in indexes]
            for column in (rows.keys, rows.values, rows.headers, rows.offsets, rows.timestamps)
        )
        ranks = [rank + numbers[index] for index in indexes]
    whole = range(offsets[0], offsets[-1] + 1)
    return Batch(
        source=TopicPartition(*place),
        keys=rows.to_bytes(keys),
        values=rows.to_bytes(values),
        timestamps=timestamps,
        offsets=whole if len(whole) == len(offsets) else offsets,
        next_offset=offsets[-1] + 1,
        headers=rows.to_headers(headers) if any(headers) else None,
        ranks=ranks,
    )
