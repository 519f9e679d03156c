"""The header and the end of a recording file, the same words in every format.

They are JSON: the first line of a .jsonl, an entry of the metadata of an .avro. Invariant: a header
that ``read_header`` returns is consistent, and of a version that this streamfn reads.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, TypeAlias

import msgspec

from streamfn.errors import RecordingError
from streamfn.replay.recording import Header, Range, RecordedStore, RecordedTopic, Role
from streamfn.replay.recordings.order import Fail, Place, ReplayOrder

VERSION: Final = 1
DECODE_ERRORS: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What decoding damaged JSON may raise."""
AGAIN: Final = "record again, or take an undamaged copy"

Partition: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
Offset: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Timestamp: TypeAlias = Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)]
Stores: TypeAlias = Mapping[str, int]
"""How many partitions the entries of each store come from."""


class FileTopic(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A topic; one that is written by hand may say nothing but its name."""

    name: str
    partitions: Annotated[int, msgspec.Meta(ge=0)] = 0
    role: Role = "input"
    ranges: dict[int, Range] | None = None
    key: str = ""
    value: str = ""


class FileStore(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A store; one that is written by hand may say nothing but its name."""

    name: str
    kind: str = ""
    key: str = ""
    value: str = ""
    partitions: Annotated[int, msgspec.Meta(ge=0)] = 0


class FileHeader(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What stands in front of a recording; ``sealed`` says that it has checksums and an end."""

    streamfn_recording: int
    sealed: bool = False
    application: str = ""
    made_at_ms: int = 0
    source: str = ""
    topics: tuple[FileTopic, ...] = ()
    stores: tuple[FileStore, ...] = ()
    sample: str = ""
    note: str = ""
    in_flight: int = 0

    @property
    def complete(self) -> bool:
        """Whether it says all about its topics, so that nobody need look at the records."""
        return bool(self.topics) and all(each.ranges is not None for each in self.topics)


class End(msgspec.Struct, forbid_unknown_fields=True):
    """What a sealed recording ends with: how much there is of what."""

    entries: int
    records: int
    topics: dict[str, dict[int, int]]

    def of(self, topics: Container[str] | None) -> "End":
        """Leave out what it says of other topics."""
        said = {name: n for name, n in self.topics.items() if topics is None or name in topics}
        return End(self.entries, self.records, said)


class _Mark(msgspec.Struct):
    """That which tells a recording from any other JSON."""

    streamfn_recording: int


def file_header(header: Header) -> FileHeader:
    """Make the header of a sealed file."""
    return FileHeader(
        streamfn_recording=VERSION,
        sealed=True,
        application=header.application,
        made_at_ms=header.made_at_ms,
        source=header.source,
        topics=tuple(
            FileTopic(each.name, each.partitions, each.role, each.ranges, each.key, each.value)
            for each in header.topics
        ),
        stores=tuple(
            FileStore(each.name, each.kind, each.key, each.value, each.partitions)
            for each in header.stores
        ),
        sample=header.sample,
        note=header.note,
        in_flight=header.in_flight,
    )


def encode_header(header: Header) -> bytes:
    """Write a header as one line of JSON."""
    return msgspec.json.encode(file_header(header))


def read_header(line: bytes, where: str, fail: Fail) -> FileHeader:
    """Decode a header and check it."""
    try:
        version = msgspec.json.decode(line, type=_Mark).streamfn_recording
    except DECODE_ERRORS as error:
        got = f"{excerpt(line)} ({error})"
        wrong = "is not the header of a recording"
        cure = 'a recording begins with {"streamfn_recording": 1}: docs/recordings.md'
        raise fail(where=where, wrong=wrong, got=got, cure=cure) from error
    if version != VERSION:
        wrong = f"is of version {version}; this streamfn reads version {VERSION}"
        raise fail(where=where, wrong=wrong, cure="update streamfn, or record again")
    try:
        header = msgspec.json.decode(line, type=FileHeader)
    except DECODE_ERRORS as error:
        raise fail(
            where=where, wrong="is no valid header", got=str(error), cure=f"mend it, or {AGAIN}"
        ) from error
    _check(header, where, fail)
    return header


def _check(header: FileHeader, where: str, fail: Fail) -> None:
    """Check what the types do not say."""
    for kind, names in (
        ("topic", [each.name for each in header.topics]),
        ("store", [each.name for each in header.stores]),
    ):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise fail(
                where=where, wrong=f"names a {kind} twice", got=twice[0], cure="name each once"
            )
    for topic in header.topics:
        for partition, known in (topic.ranges or {}).items():
            if not (0 <= partition < topic.partitions and 0 <= known.start <= known.end):
                wrong = f"has a range that cannot be, of topic {topic.name!r}"
                got = f"partition {partition} of {topic.partitions}, {known.start} to {known.end}"
                raise fail(where=where, wrong=wrong, got=got, cure="mend the header")
    if header.sealed and any(each.ranges is None for each in header.topics):
        raise fail(
            where=where, wrong="is sealed and has a topic without ranges", cure="name its ranges"
        )


def as_header(
    header: FileHeader, seen: ReplayOrder | None = None, stores: Stores | None = None
) -> Header:
    """Make the header of a replay, with what was seen in the records where the file is silent."""
    stores = stores or {}
    topics, held = list(header.topics), list(header.stores)
    if seen is not None:
        topics = topics or [FileTopic(name) for name in sorted({place[0] for place in seen.first})]
        held = held or [FileStore(name) for name in sorted(stores)]
    return Header(
        application=header.application,
        made_at_ms=header.made_at_ms,
        source=header.source or "written by hand",
        topics=tuple(_topic(each, seen) for each in topics),
        stores=tuple(_store(each, stores.get(each.name, 0)) for each in held),
        sample=header.sample,
        note=header.note,
        in_flight=header.in_flight,
    )


def _topic(topic: FileTopic, seen: ReplayOrder | None) -> RecordedTopic:
    """Fill in the ranges of a topic."""
    ranges = dict(topic.ranges or {})
    if topic.ranges is None and seen is not None:
        starts = sorted(item for item in seen.first.items() if item[0][0] == topic.name)
        ranges = {place[1]: Range(start, seen.next[place]) for place, start in starts}
    partitions = topic.partitions or max(ranges, default=0) + 1
    return RecordedTopic(topic.name, partitions, topic.role, ranges, topic.key, topic.value)


def _store(store: FileStore, partitions: int) -> RecordedStore:
    """Fill in the number of partitions of a store."""
    count = store.partitions or max(partitions, 1)
    return RecordedStore(store.name, store.kind, store.key, store.value, count)


def known_ranges(header: FileHeader) -> dict[Place, Range] | None:
    """Which offsets a file may hold; None if its header is silent."""
    if not header.complete:
        return None
    return {
        (topic.name, partition): known
        for topic in header.topics
        for partition, known in (topic.ranges or {}).items()
    }


@dataclass(slots=True)
class Numbers:
    """Numbers the records of a file that leaves offsets out."""

    header: FileHeader
    _next: dict[Place, int] = field(default_factory=dict[Place, int])

    def offset(self, place: Place, said: int | None) -> int:
        """Take the offset that is said, else the one after the record before."""
        offset = self._start(place) if said is None else said
        self._next[place] = offset + 1
        return offset

    def _start(self, place: Place) -> int:
        if place in self._next:
            return self._next[place]
        topics = (topic for topic in self.header.topics if topic.name == place[0])
        known = next(((topic.ranges or {}).get(place[1]) for topic in topics), None)
        return 0 if known is None else known.start


def end_of(order: ReplayOrder, entries: int) -> End:
    """Count what was written."""
    topics: dict[str, dict[int, int]] = {}
    for (topic, partition), count in sorted(order.counts.items()):
        topics.setdefault(topic, {})[partition] = count
    return End(entries, order.records, topics)


def excerpt(data: bytes) -> str:
    """Show the beginning of some bytes."""
    shown = ascii(data[:40].decode(errors="replace"))
    return shown + ("…" if len(data) > 40 else "")


def failing(path: str) -> Fail:
    """Make what makes the errors of one file."""

    def fail(*, wrong: str, cure: str, where: str = "", got: str = "") -> RecordingError:
        subject = f"recording {path!r}{', ' if where else ''}{where}"
        return RecordingError(f"{subject}: {wrong}{f'; got {got}' if got else ''}; {cure}")

    return fail
