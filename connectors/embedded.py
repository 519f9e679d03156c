"""The embedded log: durable partitioned topics with transactions, in one process, without a broker.

Records come in through ``emit`` and leave through ``poll`` and ``read``. All of a transaction
(records, changelog, committed positions) is one atomic write of one ``Database``: exactly once by
construction.

Invariant: what is visible is committed. Nothing of an open transaction is in the database; a write
that failed is in doubt until ``open_producer`` has opened the database again.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from streamfn.clock import Clock, Random
from streamfn.connectors.catalogue import CATALOGUE, CHUNKS, SPACES, Catalogue, Partition, Topic
from streamfn.connectors.chunks import base_of, chunk_at, chunk_key, read_batch
from streamfn.connectors.embedded_errors import log_errors
from streamfn.connectors.folder_lock import FolderLock
from streamfn.connectors.inputs import Inputs
from streamfn.connectors.log import Committed, Listener, TopicInfo
from streamfn.connectors.partitioner import Partitioner
from streamfn.connectors.spans import offset_at, read_whole
from streamfn.connectors.transaction import Transaction
from streamfn.connectors.upkeep import Upkeep
from streamfn.errors import InternalError, LogError, RefusedError, StateError, UnknownOutcomeError
from streamfn.record import Batch, Columns, TopicPartition
from streamfn.rocks import Database, Rocks, Tuning

IDLE_S = 0.1
TUNING = Tuning(write_buffer_bytes=32 << 20, compression="snappy", bloom_bits=0, blob_bytes=4096)
"""Measured: chunks kept as blobs cost a third less processor time than rewriting them."""


class EmbeddedLog:
    """The Log port over a ``Database``, which is opened again after a write that failed."""

    def __init__(
        self,
        open_database: Callable[[], Database],
        *,
        clock: Clock,
        random: Random,
        group: str = "",
        sync: bool = False,
        lock: FolderLock | None = None,
    ) -> None:
        self._open_database = open_database
        self._clock, self._random = clock, random
        self._group, self._sync, self._lock = group, sync, lock
        self._partitioner = Partitioner()
        self._listener: Listener | None = None
        self._tokens: list[int] = []
        self._told = False
        self._inputs = Inputs()
        self._transaction: Transaction | None = None
        self._has_producer = self._in_doubt = False
        self._open()

    def _open(self) -> None:
        with log_errors():
            self.database = self._open_database()
        try:
            with log_errors():
                for space in SPACES:
                    self.database.create_space(space)
                self._catalogue = Catalogue(self.database, self._random)
        except LogError:
            self.database.close()
            raise
        self._upkeep = Upkeep(self.database, self._catalogue, self._clock)
        self._inputs.rebind(self._catalogue)

    @property
    def cluster_id(self) -> str:
        """Identifies this log for ever."""
        return self._catalogue.cluster_id

    def join(self, group: str, tokens: int, listener: Listener) -> None:
        """Become the only member of ``group``: the first ``poll`` assigns all tokens."""
        self._group, self._listener = group, listener
        self._tokens, self._told = list(range(tokens)), False

    def leave(self) -> None:
        """Leave the group; ``revoked`` is called for what was assigned."""
        listener, told, tokens = self._listener, self._told, self._tokens
        self._listener, self._told, self._tokens = None, False, []
        if listener is not None and told:
            listener.revoked(tokens)
        self._inputs.clear()

    def poll(self, timeout_s: float) -> list[Batch]:
        """Return a batch of each assigned, unpaused partition that has records.

        If there are none, do what upkeep is due, or else wait: nobody but this process can write,
        so that waiting is for the caller's sake only.
        """
        if self._listener is not None and not self._told:
            self._told = True
            self._listener.assigned(list(self._tokens))
        with log_errors():
            batches = self._inputs.batches(self.database)
        worked = not self._in_doubt and self._upkeep.step(idle=not batches)
        if not batches and not worked and timeout_s > 0:
            self._clock.sleep(min(timeout_s, IDLE_S))
        return batches

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Add partitions to read, each from its position; they start unpaused."""
        for source, position in positions.items():
            self._inputs.add(self._catalogue.partition(source), position)

    def unassign(self, sources: Iterable[TopicPartition]) -> None:
        """Stop reading partitions; those not assigned do not matter."""
        self._inputs.remove(sources)

    def pause(self, sources: Iterable[TopicPartition]) -> None:
        """Read no more of these until ``resume``."""
        self._inputs.pause(sources, paused=True)

    def resume(self, sources: Iterable[TopicPartition]) -> None:
        """Read again."""
        self._inputs.pause(sources, paused=False)

    def seek(self, source: TopicPartition, offset: int) -> None:
        """Go on reading at ``offset``."""
        self._inputs.seek(source, offset)

    def verify_membership(self) -> None:
        """Nothing can be lost: the only member holds all tokens, and they stand for themselves."""

    def caught_up(self, source: TopicPartition, at_least: int = 0) -> bool:
        """Whether there is nothing to read; exact at any time, as only this process writes."""
        return self.lag(source) == 0

    def lag(self, source: TopicPartition) -> int:
        """Offsets between the position and the end."""
        return self._inputs.lag(source)

    def committed(self, sources: Iterable[TopicPartition]) -> dict[TopicPartition, Committed]:
        """The committed positions of the group; partitions without one are missing."""
        with log_errors():
            return self._catalogue.committed(self._group_name(), sources)

    def _group_name(self) -> str:
        if not self._group:
            message = "no group is known; got a call about its positions; join it, or give group="
            raise InternalError(message)
        return self._group

    def positions_kept_ms(self) -> int | None:
        """For ever."""
        return None

    def begin_offsets(self, sources: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Where the partitions begin."""
        return {source: self._catalogue.partition(source).begin for source in sources}

    def end_offsets(self, sources: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Where the partitions end; an open transaction has no records in the log yet."""
        return {source: self._catalogue.partition(source).end for source in sources}

    def stable_ends(self, sources: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The same: what is in the log is committed."""
        return self.end_offsets(sources)

    def offsets_at(
        self, sources: Iterable[TopicPartition], timestamp_ms: int
    ) -> dict[TopicPartition, int]:
        """Each partition's first offset whose timestamp is this one or later; its end if none."""
        with log_errors():
            return {
                each: offset_at(self.database, self._catalogue.partition(each), timestamp_ms)
                for each in sources
            }

    def read(self, source: TopicPartition, start: int, end: int) -> Iterator[Batch]:
        """Yield records from ``start`` (or where the partition begins) until ``end``."""
        position = start
        while True:
            partition = self._catalogue.partition(source)
            position, stop = max(position, partition.begin), min(end, partition.end)
            if position >= stop:
                return
            with log_errors():
                batch = read_batch(self.database, partition, position, stop)
            if batch is None:
                return
            yield batch
            position = batch.next_offset

    def read_many(
        self, ranges: Mapping[TopicPartition, tuple[int, int]]
    ) -> dict[TopicPartition, Iterator[Batch]]:
        """Read ranges side by side, nothing missing."""
        return {
            source: read_whole(lambda: self.database, partial(self._partition, source), start, end)
            for source, (start, end) in ranges.items()
        }

    def _partition(self, source: TopicPartition) -> Partition:
        return self._catalogue.partition(source)

    def open_producer(self) -> None:
        """Drop an open transaction; after a failed commit, look what the database really holds."""
        self._transaction = None
        if self._in_doubt:
            with log_errors():
                self.database.close()
            self._open()
            self._in_doubt = False
        self._has_producer = True

    def begin(self) -> None:
        """Start a transaction."""
        if self._transaction is not None or self._in_doubt or not self._has_producer:
            message = (
                "a transaction cannot begin; one is open, failed, or there is no producer; "
                "call open_producer first"
            )
            raise InternalError(message)
        self._transaction = Transaction()

    def _open_transaction(self, call: str) -> Transaction:
        if self._transaction is None:
            message = f"{call} needs a transaction; got none; call begin first"
            raise InternalError(message)
        return self._transaction

    def emit(self, topic: str, partition: int | None, columns: Columns) -> None:
        """Add rows to the transaction; without a partition each row goes by its key (murmur2).

        Raises:
            RefusedError: the topic or partition does not exist.
        """
        transaction = self._open_transaction("emit")
        partitions = self._known_topic(topic, len(columns)).partitions
        if partition is None and len(partitions) == 1:
            partition = 0
        if partition is not None:
            if not 0 <= partition < len(partitions):
                message = (
                    f"topic {topic!r} has {len(partitions)} partitions; got records for "
                    f"partition {partition}; choose one of them, or None to go by key"
                )
                raise RefusedError(message)
            if len(partitions) > 1 and self._catalogue.topics[topic].keyed:
                with log_errors():
                    self._catalogue.unkey(self._catalogue.topics[topic])
            transaction.add(partitions[partition], columns, None)
            return
        known = self._same_partition(columns, len(partitions))
        if known is not None:
            transaction.add(partitions[known], columns, None)
            return
        for index, rows in enumerate(self._partitioner.rows(columns.keys, len(partitions))):
            if rows:
                transaction.add(partitions[index], columns, rows)

    def _same_partition(self, columns: Columns, count: int) -> int | None:
        """The partition of keys that come from keyed topics of the same width: no need to hash."""
        found = {origin.partition for origin in columns.origins}
        for origin in columns.origins:
            topic = self._catalogue.topics.get(origin.topic)
            if topic is None or not topic.keyed or len(topic.partitions) != count:
                return None
        return found.pop() if len(found) == 1 else None

    def _known_topic(self, name: str, rows: int) -> Topic:
        topic = self._catalogue.topics.get(name)
        if topic is None:
            message = (
                f"topic {name!r} does not exist; got {rows} records for it; create it with "
                "'streamfn topics create', or run with --create-topics"
            )
            raise RefusedError(message)
        return topic

    def flush(self) -> dict[TopicPartition, int]:
        """Check and encode all emitted rows; return the end of each partition written to.

        Raises:
            RefusedError: a record is too large, has a negative timestamp, or no key where the
                topic is compacted.
        """
        return self._open_transaction("flush").flush()

    def send_offsets(self, offsets: Mapping[TopicPartition, Committed]) -> None:
        """Add committed positions to the transaction."""
        transaction = self._open_transaction("send_offsets")
        entries = self._catalogue.position_entries(self._group_name(), offsets)
        transaction.positions.update(entries)

    def commit(self) -> None:
        """Write rows and positions in one batch.

        Raises:
            UnknownOutcomeError: the write failed; it may be in the database or not.
        """
        transaction = self._open_transaction("commit")
        transaction.flush()
        self._transaction = None
        entries = {**transaction.positions, **dict(transaction.bounds())}
        if not entries:
            return
        try:
            self.database.write({CHUNKS: transaction.chunks, CATALOGUE: entries}, sync=self._sync)
        except StateError as error:
            self._in_doubt = True
            message = (
                f"transaction has an unknown outcome; {error}; open the producer again and "
                "compare tokens"
            )
            raise UnknownOutcomeError(message) from error
        transaction.committed()
        for partition in transaction.written:
            self._upkeep.grown(partition)

    def topic_names(self) -> set[str]:
        """The names of all topics."""
        return set(self._catalogue.topics)

    def topics(self, names: Iterable[str] | None = None) -> dict[str, TopicInfo]:
        """Topics by name: all, or those of ``names`` that exist."""
        found = self._catalogue.topics
        wanted = found if names is None else [name for name in names if name in found]
        return {name: found[name].info for name in wanted}

    def create_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> TopicInfo:
        """Create a topic; the same name with the same partition count is not an error."""
        with log_errors():
            return self._catalogue.create(name, partitions, config)

    def delete_topic(self, name: str) -> None:
        """Delete a topic, its records, and the positions of all groups in it."""
        with log_errors():
            self._catalogue.delete(name)
        self._inputs.remove_topic(name)

    def delete_records(self, source: TopicPartition, before: int) -> None:
        """Forget all records before an offset; the end stays."""
        partition = self._catalogue.partition(source)
        if before > partition.end:
            message = (
                f"{source} ends at {partition.end}; got a request to delete before {before}; "
                "ask for at most the end"
            )
            raise LogError(message)
        if before <= partition.begin:
            return
        key, bounds = partition.entry(begin=before)
        with log_errors():
            held = chunk_at(self.database, partition, before)
            keep = before if before == partition.end or held is None else base_of(held[0])
            gone = (CHUNKS, chunk_key(partition, 0), chunk_key(partition, keep))
            self.database.write({CATALOGUE: {key: bounds}}, [gone])
        partition.change(begin=before)

    def close(self) -> None:
        """Free the database and the lock; a second call does nothing."""
        self._transaction = None
        self.database.close()
        if self._lock is not None:
            self._lock.close()


def open_embedded(
    path: Path,
    *,
    clock: Clock,
    random: Random,
    durability: Literal["wal", "fsync"] = "wal",
    group: str = "",
) -> EmbeddedLog:
    """Open the log in a folder, or create it, and keep other processes out until ``close``.

    With ``wal`` a commit outlives the process at once and a crash of the machine after some
    seconds; with ``fsync`` each commit outlives both and takes about a disk's write longer.

    Raises:
        LogLockedError: another process has it.
        LogError: the folder cannot be used.
    """
    lock = FolderLock(path, clock)
    try:
        return EmbeddedLog(
            lambda: Rocks(path, SPACES, tuning=TUNING),
            clock=clock,
            random=random,
            group=group,
            sync=durability == "fsync",
            lock=lock,
        )
    except LogError:
        lock.close()
        raise
