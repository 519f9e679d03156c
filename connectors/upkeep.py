"""What keeps the embedded log fast and small: merging, retention, compaction, bit by bit.

``EmbeddedLog.poll`` calls ``step``; there is no thread. A step reads and writes about a thousand
records and is one atomic batch, so that a crash or a reader between two steps sees a whole log.

Invariant: a record goes away only by retention, or in a compacted topic if a later one with its key
stands in the log, or if it is an expired tombstone before which its key no longer occurs.
"""

import logging
from collections.abc import Generator, Iterator, Mapping

from streamfn.clock import Clock
from streamfn.connectors.catalogue import CATALOGUE, CHUNKS, Catalogue, Partition
from streamfn.connectors.chunks import (
    CHUNK_BYTES,
    CHUNK_ROWS,
    Chunk,
    base_of,
    chunk_at,
    chunk_key,
    decode_chunk,
    stored_chunks,
)
from streamfn.errors import StateError
from streamfn.rocks import Database

log = logging.getLogger("streamfn")

SMALL_ROWS = 64
"""Chunks with fewer rows are slow to read (measured: from about 100 rows on there is no gain)."""
SMALL_BYTES = 64 << 10
MERGE_ROWS = 256
"""So many rows in small chunks make a merge worth while."""
COMPACT_ROWS = 10_000
"""So many new rows (and as many as the compacted part has) start a compaction."""
COMPACT_KEYS = 200_000
"""A compaction remembers at most so many keys; what is left is for the next one."""
WARM_ROWS = 1000
"""So many of the newest records are never compacted."""
STEP_CHUNKS = 16
BUSY_POLLS = 16
PLAN_INTERVAL_S = 5.0
PAUSE_AFTER_ERROR_S = 60.0


def is_small(rows: int, size: int) -> bool:
    """Return whether a chunk is worth merging with others."""
    return rows < SMALL_ROWS and size < SMALL_BYTES


class Upkeep:
    """The work that is due on one open database."""

    def __init__(self, database: Database, catalogue: Catalogue, clock: Clock) -> None:
        self._database = database
        self._catalogue = catalogue
        self._clock = clock
        self._due: dict[Partition, None] = {}
        self._jobs: Iterator[None] = iter(())
        self._plan_at_s = self._resume_at_s = 0.0
        self._polls = 0
        for partition in catalogue.partitions():
            self.grown(partition)

    def grown(self, partition: Partition) -> None:
        """Take notice of new records."""
        if partition.end - max(partition.merged, partition.begin) >= MERGE_ROWS:
            self._due[partition] = None

    def step(self, *, idle: bool) -> bool:
        """Do a little of what is due; return whether there was something to do."""
        now_s = self._clock.monotonic_s()
        if now_s < self._resume_at_s:
            return False
        self._polls += 1
        try:
            merged = self._merge_some()
            worked = (idle or self._polls % BUSY_POLLS == 0) and self._work(now_s)
            return merged or worked
        except StateError as error:
            log.warning("upkeep of the embedded log pauses", extra={"error": str(error)})
            self._resume_at_s = now_s + PAUSE_AFTER_ERROR_S
            return False

    def _merge_some(self) -> bool:
        some = list(self._due)[: len(self._due) // 8 + 1]
        for partition in some:
            del self._due[partition]
            if self._lives(partition):
                self._merge(partition)
                self.grown(partition)
        return bool(some)

    def _work(self, now_s: float) -> bool:
        try:
            next(self._jobs)
        except StopIteration:
            if now_s < self._plan_at_s:
                return False
            self._plan_at_s = now_s + PLAN_INTERVAL_S
            self._jobs = self._planned()
        return True

    def _planned(self) -> Iterator[None]:
        for partition in list(self._catalogue.partitions()):
            if partition.topic.retention_ms >= 0:
                yield from self._retain(partition)
            if partition.topic.compacted:
                yield from self._compact(partition)

    def _lives(self, partition: Partition) -> bool:
        topic = partition.topic
        return self._catalogue.topics.get(topic.info.name) is topic

    def _write(
        self, partition: Partition, chunks: dict[bytes, bytes | None], **bounds: int
    ) -> None:
        key, value = partition.entry(**bounds)
        self._database.write({CHUNKS: chunks, CATALOGUE: {key: value}})
        partition.change(**bounds)

    def _chunks(self, partition: Partition, start: int, end: int) -> Iterator[tuple[Chunk, int]]:
        """Yield stored chunks with their size, the one that covers ``start`` included."""
        before = chunk_at(self._database, partition, start)
        if before is not None and base_of(before[0]) < start:
            yield decode_chunk(*before), len(before[1])
        for key, value in stored_chunks(self._database, partition, start, end):
            yield decode_chunk(key, value), len(value)

    def _merge(self, partition: Partition) -> None:
        """Join the first run of small chunks, or move on over large ones."""
        start = max(partition.merged, partition.begin)
        run, merged = self._small_run(partition, start)
        if len(run) < 2:
            if merged > partition.merged:
                self._write(partition, {}, merged=merged)
            return
        whole = decode_chunk(*run[0])
        for key, value in run[1:]:
            whole.extend(decode_chunk(key, value))
        chunks: dict[bytes, bytes | None] = {key: None for key, _ in run}
        chunks[run[0][0]] = whole.encoded()
        self._write(partition, chunks, merged=merged)

    def _small_run(self, partition: Partition, start: int) -> tuple[list[tuple[bytes, bytes]], int]:
        """Return the first run of small chunks, and up to where no small ones are left with it."""
        run: list[tuple[bytes, bytes]] = []
        size = large = 0
        merged = first = start
        chunks = stored_chunks(self._database, partition, start, partition.end)
        for key, value, stop in _with_stops(chunks, partition.end):
            if is_small(stop - base_of(key), len(value)):
                if not run:
                    first = base_of(key)
                run.append((key, value))
                size += len(value)
            else:
                large += 1
                if run or large > STEP_CHUNKS:
                    return run, merged
            merged = stop
            if run and (merged - first >= CHUNK_ROWS or size >= CHUNK_BYTES):
                return run, merged
        if not run:
            return [], partition.end
        return (run, merged) if merged - first >= MERGE_ROWS else ([], first)

    def _retain(self, partition: Partition) -> Iterator[None]:
        """Drop old chunks from the head on."""
        oldest = self._clock.now_ms() - partition.topic.retention_ms
        while self._lives(partition):
            dropped: dict[bytes, bytes | None] = {}
            begin = partition.begin
            for chunk, _ in self._chunks(partition, begin, partition.end):
                if max(chunk.timestamps, default=0) >= oldest or len(dropped) >= STEP_CHUNKS:
                    break
                dropped[chunk_key(partition, chunk.base)] = None
                begin = chunk.offsets[-1] + 1 if chunk.offsets else chunk.base + 1
            if not dropped:
                return
            self._write(partition, dropped, begin=begin)
            yield

    def _compact(self, partition: Partition) -> Iterator[None]:
        """Keep the last record per key in all but the newest part."""
        horizon = min(partition.merged, partition.end - WARM_ROWS)
        if horizon - partition.compacted < max(COMPACT_ROWS, partition.live):
            return
        last: dict[bytes | None, int] = {}
        horizon = yield from self._collect(partition, horizon, last)
        live = 0
        position = partition.begin
        while position < horizon and self._lives(partition):
            position, kept = self._compact_some(partition, position, horizon, last)
            live += kept
            yield
        if self._lives(partition):
            self._write(partition, {}, compacted=horizon, live=live)

    def _collect(
        self, partition: Partition, horizon: int, last: dict[bytes | None, int]
    ) -> Generator[None, None, int]:
        """Note where each key of the new part occurs last; return how far that is known."""
        position = max(partition.compacted, partition.begin)
        while position < horizon and len(last) < COMPACT_KEYS and self._lives(partition):
            stop = horizon
            for count, (chunk, _) in enumerate(self._chunks(partition, position, horizon)):
                if count == STEP_CHUNKS // 4:
                    stop = chunk.base
                    break
                last.update(zip(chunk.keys, chunk.offsets, strict=True))
            position = stop
            yield
        return position

    def _compact_some(
        self, partition: Partition, start: int, horizon: int, last: dict[bytes | None, int]
    ) -> tuple[int, int]:
        """Rewrite some chunks without superseded records; return where to go on, and rows kept."""
        expired_ms = self._clock.now_ms() - partition.topic.delete_retention_ms
        rewritten: dict[bytes, bytes | None] = {}
        whole: Chunk | None = None
        before = size = 0
        stop = horizon
        for chunk, length in self._chunks(partition, start, horizon):
            if whole is not None and (len(whole) >= CHUNK_ROWS or size >= CHUNK_BYTES):
                stop = chunk.base
                break
            before += len(chunk)
            size += length
            rewritten[chunk_key(partition, chunk.base)] = None
            kept = chunk.take(_kept_rows(chunk, partition.begin, last, expired_ms))
            if whole is None:
                whole = kept
            else:
                whole.extend(kept)
        if whole is None or len(whole) == before:
            return stop, before
        if len(whole):
            rewritten[chunk_key(partition, whole.base)] = whole.encoded()
        self._write(partition, rewritten)
        return stop, len(whole)


def _with_stops(
    chunks: Iterator[tuple[bytes, bytes]], end: int
) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield key, value and the offset after the last that a chunk covers."""
    held: tuple[bytes, bytes] | None = None
    for key, value in chunks:
        if held is not None:
            yield *held, base_of(key)
        held = key, value
    if held is not None:
        yield *held, end


def _kept_rows(
    chunk: Chunk, begin: int, last: Mapping[bytes | None, int], expired_ms: int
) -> list[int]:
    """Return the rows that compaction keeps.

    A tombstone goes when it is old: what it hides stands before it and was removed before it, in
    this pass or an earlier one.
    """
    return [
        row
        for row, (key, value, timestamp, offset) in enumerate(
            zip(chunk.keys, chunk.values, chunk.timestamps, chunk.offsets, strict=True)
        )
        if offset >= begin
        and last.get(key, -1) <= offset
        and (value is not None or timestamp >= expired_ms)
    ]
