"""What the embedded log knows beside its records: topics, ends of partitions, committed positions.

It is read from the database when the log is opened, then kept in memory; changes are handed out as
entries, so that they go into the same batch as the records they belong to.

Invariant: begin and end of a partition are stored, never derived from its records: a partition that
was trimmed to nothing goes on where it was.
"""

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from streamfn.clock import Random
from streamfn.connectors.log import Committed, TopicInfo
from streamfn.errors import LogError
from streamfn.record import TopicPartition
from streamfn.rocks import Database

CATALOGUE, CHUNKS = "catalogue", "chunks"
SPACES = (CATALOGUE, CHUNKS)
FORMAT = b"1"
DEFAULT_CONFIG = {
    "cleanup.policy": "delete",
    "delete.retention.ms": "86400000",
    "max.message.bytes": "1048588",
    "retention.ms": "-1",
}
"""What applies where a topic's configuration says nothing; as Kafka's, but retention is off."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")
"""As Kafka has it."""

_PARTITION = struct.Struct(">II")
_BOUNDS = struct.Struct(">QQQQQ")
_POSITION = struct.Struct(">Q")
Entries = dict[bytes, bytes | None]


class _Topic(msgspec.Struct):
    number: int
    id: str
    partitions: int
    config: dict[str, str]
    keyed: bool = True


@dataclass(slots=True, eq=False)
class Partition:
    """One partition: where it begins and ends, and how far upkeep has come.

    Chunks below ``merged`` are not small any more; below ``compacted`` lie ``live`` rows at most
    one per key.
    """

    source: TopicPartition
    topic: "Topic"
    prefix: bytes
    begin: int = 0
    end: int = 0
    merged: int = 0
    compacted: int = 0
    live: int = 0

    def entry(
        self,
        *,
        begin: int | None = None,
        end: int | None = None,
        merged: int | None = None,
        compacted: int | None = None,
        live: int | None = None,
    ) -> tuple[bytes, bytes]:
        """Return the catalogue entry that stores the bounds, some of them changed."""
        return b"p" + self.prefix, _BOUNDS.pack(
            self.begin if begin is None else begin,
            self.end if end is None else end,
            self.merged if merged is None else merged,
            self.compacted if compacted is None else compacted,
            self.live if live is None else live,
        )

    def change(self, **changes: int) -> None:
        """Take over what was stored."""
        for name, value in changes.items():
            setattr(self, name, value)


class Topic:
    """A topic: its partitions and what its configuration means."""

    def __init__(self, name: str, stored: _Topic) -> None:
        self.info = TopicInfo(name, stored.partitions, stored.id, stored.config)
        config = {**DEFAULT_CONFIG, **stored.config}
        policies = {policy.strip() for policy in config["cleanup.policy"].split(",")}
        self.compacted = "compact" in policies
        self.retention_ms = int(config["retention.ms"]) if "delete" in policies else -1
        self.delete_retention_ms = int(config["delete.retention.ms"])
        self.max_message_bytes = int(config["max.message.bytes"])
        self.number = stored.number
        self.keyed = stored.keyed
        """Every record is in the partition of its key; False once one was put elsewhere."""
        self.partitions = [
            Partition(TopicPartition(name, index), self, _PARTITION.pack(stored.number, index))
            for index in range(stored.partitions)
        ]


class Catalogue:
    """All topics of one database, with their partitions' bounds and the groups' positions."""

    def __init__(self, database: Database, random: Random) -> None:
        self._database = database
        self._random = random
        self.topics: dict[str, Topic] = {}
        self.cluster_id = self._identity()
        for key, value in database.scan(CATALOGUE, b"t", b"u"):
            name = key[1:].decode()
            self.topics[name] = Topic(name, msgspec.msgpack.decode(value, type=_Topic))
        self._load_bounds()

    def _identity(self) -> str:
        stored, found = (self._database.get(CATALOGUE, key) for key in (b"mcluster", b"mformat"))
        if stored is None:
            stored = self._random.token().encode()
            self._database.write({CATALOGUE: {b"mcluster": stored, b"mformat": FORMAT}})
        elif found != FORMAT:
            message = (
                f"embedded log has another format; got {found!r}, expected {FORMAT!r}; use the "
                "streamfn that wrote it, or choose another --state-dir"
            )
            raise LogError(message)
        return stored.decode()

    def _load_bounds(self) -> None:
        by_prefix = {
            partition.prefix: partition
            for topic in self.topics.values()
            for partition in topic.partitions
        }
        for key, value in self._database.scan(CATALOGUE, b"p", b"q"):
            found = by_prefix[key[1:]]
            found.begin, found.end, found.merged, found.compacted, found.live = _BOUNDS.unpack(
                value
            )

    def partition(self, source: TopicPartition) -> Partition:
        """Return a partition that must exist."""
        topic = self.topics.get(source.topic)
        if topic is None:
            message = f"topic {source.topic!r} does not exist; got a call for it; create it first"
            raise LogError(message)
        if not 0 <= source.partition < len(topic.partitions):
            message = (
                f"topic {source.topic!r} has no partition {source.partition}; it has "
                f"{len(topic.partitions)}; ask for one of them"
            )
            raise LogError(message)
        return topic.partitions[source.partition]

    def partitions(self) -> Iterator[Partition]:
        """Yield the partitions of all topics."""
        for topic in self.topics.values():
            yield from topic.partitions

    def create(self, name: str, partitions: int, config: Mapping[str, str]) -> TopicInfo:
        """Create a topic, or find the same one."""
        found = self.topics.get(name)
        if found is None:
            return self._create(name, partitions, config)
        if found.info.partitions == partitions:
            return found.info
        message = (
            f"topic {name!r} has {found.info.partitions} partitions; got a request for "
            f"{partitions}; ask for {found.info.partitions}, or delete the topic first"
        )
        raise LogError(message)

    def _create(self, name: str, partitions: int, config: Mapping[str, str]) -> TopicInfo:
        if not _NAME.fullmatch(name) or name in (".", "..") or partitions < 1:
            message = (
                f"topic {name!r} cannot be created; got {partitions} partitions; give it a name "
                "of 1 to 249 of A-Z a-z 0-9 . _ -, not '.' or '..', and at least one partition"
            )
            raise LogError(message)
        stored = self._database.get(CATALOGUE, b"mnumber")
        number = 1 + (int(stored) if stored else 0)
        row = _Topic(number, self._random.token(), partitions, dict(config))
        topic = Topic(name, row)  # before it is stored: a wrong setting must not be
        entries: Entries = {
            b"t" + name.encode(): msgspec.msgpack.encode(row),
            b"mnumber": b"%d" % number,
        }
        entries.update(partition.entry() for partition in topic.partitions)
        self._database.write({CATALOGUE: entries})
        self.topics[name] = topic
        return topic.info

    def unkey(self, topic: Topic) -> None:
        """Remember, before it happens, that a record is put where its key need not be."""
        topic.keyed = False
        info = topic.info
        row = _Topic(topic.number, info.id, info.partitions, dict(info.config), False)
        entry: Entries = {b"t" + info.name.encode(): msgspec.msgpack.encode(row)}
        self._database.write({CATALOGUE: entry})

    def delete(self, name: str) -> None:
        """Delete a topic with its records and all groups' positions in it."""
        topic = self.topics.get(name)
        if topic is None:
            message = f"topic {name!r} does not exist; got a request to delete it; look at its name"
            raise LogError(message)
        entries: Entries = {b"t" + name.encode(): None}
        entries.update({b"p" + partition.prefix: None for partition in topic.partitions})
        for key, _ in self._database.scan(CATALOGUE, b"g", b"h"):
            if key[1:].split(b"\0")[1] == name.encode():
                entries[key] = None
        low, high = _PARTITION.pack(topic.number, 0), _PARTITION.pack(topic.number + 1, 0)
        self._database.write({CATALOGUE: entries}, [(CHUNKS, low, high)])
        del self.topics[name]

    def committed(
        self, group: str, sources: Iterable[TopicPartition]
    ) -> dict[TopicPartition, Committed]:
        """Return the committed positions of a group, where it has some."""
        found: dict[TopicPartition, Committed] = {}
        for source in sources:
            stored = self._database.get(CATALOGUE, _group_key(group, source))
            if stored is not None:
                (offset,) = _POSITION.unpack_from(stored)
                found[source] = Committed(offset, stored[_POSITION.size :].decode())
        return found

    def position_entries(
        self, group: str, positions: Mapping[TopicPartition, Committed]
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the entries that store committed positions."""
        for source, (offset, metadata) in positions.items():
            yield _group_key(group, source), _POSITION.pack(offset) + metadata.encode()


def _group_key(group: str, source: TopicPartition) -> bytes:
    return f"g{group}\0{source.topic}\0{source.partition}".encode()
