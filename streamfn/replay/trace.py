"""From a record back to what it was made of, from topic to topic, as far as they still hold it.

Headers that the engine writes under the option ``provenance`` name the stage, the code and the
input record of each output; records come from a log, hops go to ``streamfn trace``. Invariant:
nothing is guessed: a hop that is not there is told, with what is, and a hop that is skipped too.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from streamfn.clock import Clock
from streamfn.connectors.log import Log
from streamfn.errors import ConfigError, StreamfnError
from streamfn.graph.roots import PROVENANCE_HEADER, ROOT_HEADER
from streamfn.record import Batch, Headers, Record, TopicPartition
from streamfn.results import Raw

WAIT_S: Final = 10.0
"""How long a record is waited for that an open transaction may have written."""

Gone = Literal["", "trimmed", "end", "topic", "partition", "marker", "open"]
End = Literal["", "source", "wall timer", "gone", "deep", "ring"]


class Place(NamedTuple):
    """Where a record stands."""

    source: TopicPartition
    offset: int

    def __str__(self) -> str:
        return f"{self.source}@{self.offset}"


class Made(NamedTuple):
    """What a record says of its making; without a place it was a timer of the wall clock."""

    stage: str
    version: str
    of: Place | None


class Root(NamedTuple):
    """Where a record entered the program; with offset -1 a timer of the task has made it."""

    place: Place
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Found:
    """A record, or why there is none; the topic holds offsets ``first`` to before ``end``."""

    place: Place
    record: Raw | None
    gone: Gone = ""
    first: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class Hop:
    """One record on the way back."""

    found: Found
    made: Made | None = None
    by_root: bool = False
    """True if the hop before it was not to be had: here is what its root says."""
    ended: End = ""
    """Why the way ends here."""
    root: Root | None = None


class TraceError(StreamfnError):
    """A header of ours that cannot be read."""


def made_of(headers: Headers) -> Made | None:
    """Read what a record says of its making; None if it says nothing.

    >>> made_of((("streamfn.provenance", b"count 1a2b3c4d5e6f orders 2 17"),)).of
    Place(source=TopicPartition(topic='orders', partition=2), offset=17)

    Raises:
        TraceError: it does not read as what the engine writes.
    """
    text = _header(headers, PROVENANCE_HEADER)
    if text is None:
        return None
    words = text.split(" ")
    if len(words) != 5:
        raise _unreadable(PROVENANCE_HEADER, text)
    place = _place(words[2:], PROVENANCE_HEADER, text)
    return Made(words[0], words[1], None if place.offset < 0 else place)


def root_of(headers: Headers) -> Root | None:
    """Read where a record entered the program; None if it does not say.

    Raises:
        TraceError: it does not read as what the engine writes.
    """
    text = _header(headers, ROOT_HEADER)
    if text is None:
        return None
    words = text.split(" ")
    if len(words) < 4 or not words[3].lstrip("-").isdigit():
        raise _unreadable(ROOT_HEADER, text)
    return Root(_place(words[:3], ROOT_HEADER, text), int(words[3]))


def _header(headers: Headers, name: str) -> str | None:
    """The last of a name: what was there before is not of this program."""
    found = [value for each, value in headers if each == name]
    return found[-1].decode(errors="replace") if found else None


def _place(words: list[str], name: str, text: str) -> Place:
    topic, *numbers = words
    if not all(number.lstrip("-").isdigit() for number in numbers):
        raise _unreadable(name, text)
    partition, offset = map(int, numbers)
    return Place(TopicPartition(topic, partition), offset)


def _unreadable(name: str, text: str) -> TraceError:
    message = (
        f"header {name!r} does not read as what the engine writes; got {text!r:.200}; look who "
        "else writes it: names that begin with 'streamfn.' are the engine's"
    )
    return TraceError(message)


class Reader:
    """Reads single records."""

    def __init__(self, log: Log, clock: Clock) -> None:
        self._log, self._clock = log, clock
        self._widths: dict[str, int] = {}

    def find(self, place: Place) -> Found:
        """Read a record; if it is not there, say why."""
        topic, partition = place.source
        if topic not in self._widths:
            info = self._log.topics([topic]).get(topic)
            self._widths[topic] = info.partitions if info else 0
        width = self._widths[topic]
        if not 0 <= partition < width:
            return Found(place, None, "partition" if width else "topic", end=width)
        first = self._log.begin_offsets([place.source])[place.source]
        end = self._log.end_offsets([place.source])[place.source]
        if not first <= place.offset < end:
            gone: Gone = "trimmed" if place.offset < first else "end"
            return Found(place, None, gone, first, end)
        record, waited = self._read(place)
        gone = "" if record else "open" if waited else "marker"
        return Found(place, record, gone, first, end)

    def _read(self, place: Place) -> tuple[Raw | None, bool]:
        """The record, and whether waiting for it was given up."""
        give_up_s = self._clock.monotonic_s() + WAIT_S
        for batch in self._log.read(place.source, place.offset, place.offset + 1):
            if place.offset in batch.offsets:
                return _row(batch, batch.offsets.index(place.offset)), False
            if self._clock.monotonic_s() >= give_up_s:
                return None, True
        return None, False


def _row(batch: Batch, row: int) -> Raw:
    topic, partition = batch.source
    return Record(
        batch.keys[row], batch.values[row], batch.timestamps[row], topic, partition,
        batch.offsets[row], batch.headers[row] if batch.headers else (),
    )  # fmt: skip


def walk(find: Callable[[Place], Found], start: Found, depth: int | None = None) -> Iterator[Hop]:
    """Yield the record that was found, the one that it was made of, and so on, to the source.

    Where a repartition topic no longer holds a record, its root, which the records made of it bear
    too, says where it entered the program: there it goes on.
    """
    found, by_root, seen = start, False, set[Place]()
    root: Root | None = None
    while True:
        hop = _hop(found, by_root, root)
        onward = _onward(hop, root)
        seen.add(found.place)
        if onward is not None and onward in seen:
            yield _ended(hop, "ring")
            return
        if onward is not None and depth is not None and len(seen) > depth:
            yield _ended(hop, "deep")
            return
        yield hop
        if onward is None:
            return
        by_root, root = bool(hop.ended), hop.root
        found = find(onward)


def _hop(found: Found, by_root: bool, before: Root | None) -> Hop:
    """A record with what it says; one that is gone is spoken for by what was made of it."""
    if found.record is None:
        return Hop(found, None, by_root, "gone", before)
    made, root = made_of(found.record.headers), root_of(found.record.headers)
    if made is None:
        return Hop(found, None, by_root, "source", root)
    ended: End = "wall timer" if made.of is None else ""
    return Hop(found, made, by_root, ended, root)


def _onward(hop: Hop, before: Root | None) -> Place | None:
    """Where it goes on, also where a record is gone or does not say what it was made of."""
    if hop.made is not None:
        return hop.made.of
    root = before if hop.ended == "gone" else hop.root if hop.ended == "source" else None
    if root is None or root.place.offset < 0 or root.place == hop.found.place:
        return None
    return root.place


def _ended(hop: Hop, why: End) -> Hop:
    return Hop(hop.found, hop.made, hop.by_root, why, hop.root)


def check_start(found: Found) -> None:
    """Refuse to trace a record that is not there.

    Raises:
        ConfigError: with what is there.
    """
    if found.record is None:
        message = (
            f"record {found.place} cannot be traced; got a log in which {why_gone(found)}; "
            f"{_cure(found)}"
        )
        raise ConfigError(message)


def why_gone(found: Found) -> str:
    """Say why a record is not there."""
    source = found.place.source
    ends = f"ends before offset {found.end}" if found.end > found.first else "holds no records"
    return {
        "": "it is",
        "topic": f"there is no topic {source.topic!r}",
        "partition": f"topic {source.topic!r} has no partition {source.partition}",
        "trimmed": f"{source} begins at offset {found.first} now",
        "end": f"{source} {ends}",
        "open": "a transaction is open there",
        "marker": (
            "no record has that offset: it is a transaction's marker, of a record whose "
            "transaction was aborted, or of one that compaction has removed"
        ),
    }[found.gone]


def _cure(found: Found) -> str:
    topic, partition = found.place.source
    return {
        "topic": "name one that there is: streamfn topics",
        "partition": f"name one of 0 to {found.end - 1}",
        "open": "try again when it is committed",
    }.get(found.gone, f"see which there are: streamfn consume {topic} --partition {partition}")
