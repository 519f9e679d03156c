"""The embedded log's open transaction: rows gathered per partition, checked, encoded into chunks.

Rows come from ``EmbeddedLog.emit`` and leave as the entries of one batch at ``commit``.

Invariant: nothing here is in the database; dropping the object is the whole of an abort.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter

from streamfn.connectors.catalogue import Entries, Partition
from streamfn.connectors.chunks import RECORD_OVERHEAD, chunk_key, encode_columns, first_oversized
from streamfn.connectors.upkeep import is_small
from streamfn.errors import RefusedError
from streamfn.record import TIME_END_MS, Columns, TopicPartition


@dataclass(slots=True)
class Written:
    """What the transaction adds to one partition, and the partition's bounds after it."""

    partition: Partition
    end: int
    merged: int
    waiting: Columns = field(default_factory=Columns.empty)


@dataclass(slots=True)
class Transaction:
    """Rows and positions that become visible together."""

    written: dict[Partition, Written] = field(default_factory=dict[Partition, Written])
    chunks: Entries = field(default_factory=Entries)
    positions: Entries = field(default_factory=Entries)

    def add(self, partition: Partition, columns: Columns, rows: Sequence[int] | None) -> None:
        """Take some rows, or all of them, for a partition; the columns stay the caller's."""
        written = self.written.get(partition)
        if written is None:
            written = Written(partition, partition.end, partition.merged)
            self.written[partition] = written
        waiting = written.waiting
        first = len(waiting.values)
        if rows is None or len(rows) == len(columns.values):
            waiting.keys += columns.keys
            waiting.values += columns.values
            waiting.timestamps += columns.timestamps
            if first:
                rows = [first + row for row in columns.headers]
                waiting.headers.update(zip(rows, columns.headers.values(), strict=True))
            else:
                waiting.headers.update(columns.headers)
            return
        if len(rows) == 1:
            waiting.add(columns.keys[rows[0]], columns.values[rows[0]], columns.timestamps[rows[0]])
        else:
            pick = itemgetter(*rows)
            waiting.keys += pick(columns.keys)
            waiting.values += pick(columns.values)
            waiting.timestamps += pick(columns.timestamps)
        if columns.headers:
            for at, row in enumerate(rows, first):
                if row in columns.headers:
                    waiting.headers[at] = columns.headers[row]

    def flush(self) -> dict[TopicPartition, int]:
        """Encode what waits; return the end of each partition written to.

        Raises:
            RefusedError: the log will never take one of the rows.
        """
        for written in self.written.values():
            if written.waiting.values:
                self._encode(written)
        return {written.partition.source: written.end for written in self.written.values()}

    def _encode(self, written: Written) -> None:
        partition, columns = written.partition, written.waiting
        _check(partition, columns)
        rows, largest = len(columns.values), 0
        parts = encode_columns(columns)
        for (first, value), (stop, _) in zip(parts, [*parts[1:], (rows, b"")], strict=True):
            base, end = written.end + first, written.end + stop
            self.chunks[chunk_key(partition, base)] = value
            largest = max(largest, len(value))
            if written.merged == base and not is_small(stop - first, len(value)):
                written.merged = end
        if largest + RECORD_OVERHEAD > partition.topic.max_message_bytes:
            _check_sizes(partition, columns)
        written.end += rows
        written.waiting = Columns.empty()

    def bounds(self) -> Iterable[tuple[bytes, bytes]]:
        """Yield the catalogue entries of the partitions written to."""
        for written in self.written.values():
            yield written.partition.entry(end=written.end, merged=written.merged)

    def committed(self) -> None:
        """Move the partitions' ends."""
        for written in self.written.values():
            partition = written.partition
            partition.end, partition.merged = written.end, written.merged


def _check(partition: Partition, columns: Columns) -> None:
    try:
        array("q", columns.timestamps)
    except (TypeError, OverflowError) as error:
        message = (
            f"{partition.source} takes timestamps of 64 bits only; {error}; "
            "give milliseconds since the epoch as an int"
        )
        raise RefusedError(message) from error
    if columns.headers:
        _check_headers(partition, columns)
    least, most = min(columns.timestamps), max(columns.timestamps)
    if least < 0 or most >= TIME_END_MS:
        when, got = ("before 1970", least) if least < 0 else ("after 9999", most)
        message = (
            f"{partition.source} takes no record from {when}; got the timestamp {got} ms; "
            "give the record another one, in milliseconds since the epoch"
        )
        raise RefusedError(message)
    if partition.topic.compacted and None in columns.keys:
        message = (
            f"{partition.source} is compacted and takes no record without a key; got a null key; "
            "give the record one"
        )
        raise RefusedError(message)


def _check_headers(partition: Partition, columns: Columns) -> None:
    told = [*chain.from_iterable(chain.from_iterable(columns.headers.values()))]
    if {*map(type, told[::2])} <= {str} and {*map(type, told[1::2])} <= {bytes}:
        return  # all rows may have some: looked at in C
    for headers in columns.headers.values():
        if any(type(name) is not str or type(value) is not bytes for name, value in headers):
            message = (
                f"{partition.source} takes headers of text and bytes only; got {headers!r:.200}; "
                "give pairs of a text and bytes"
            )
            raise RefusedError(message)


def _check_sizes(partition: Partition, columns: Columns) -> None:
    limit = partition.topic.max_message_bytes
    found = first_oversized(columns, limit)
    if found is not None:
        message = (
            f"{partition.source} takes no record of more than {limit} bytes; got one of "
            f"{found}; make it smaller or raise max.message.bytes of {partition.source.topic!r}"
        )
        raise RefusedError(message)
