"""What a recording asks of the embedded log: where a time begins, and ranges without a gap.

Records come from stored chunks and go on as batches. Invariant: a range is given as it was asked
for, or an error says what of it is gone; ``read`` alone begins where the partition does.
"""

from collections.abc import Callable, Iterator

from streamfn.connectors.catalogue import Partition
from streamfn.connectors.chunks import read_batch
from streamfn.connectors.embedded_errors import log_errors
from streamfn.errors import LogError
from streamfn.record import Batch
from streamfn.rocks import Database


def offset_at(database: Database, partition: Partition, timestamp_ms: int) -> int:
    """Return the first offset whose timestamp is this one or later; the end if there is none.

    There is no index of times: the partition is read up to there.
    """
    position = partition.begin
    while (batch := read_batch(database, partition, position, partition.end)) is not None:
        if max(batch.timestamps) >= timestamp_ms:
            rows = zip(batch.timestamps, batch.offsets, strict=True)
            return next(offset for stamp, offset in rows if stamp >= timestamp_ms)
        position = batch.next_offset
    return partition.end


def read_whole(
    database: Callable[[], Database], partition: Callable[[], Partition], start: int, end: int
) -> Iterator[Batch]:
    """Yield the records of a range; both are asked for anew, as the log may be opened again.

    Raises:
        LogError: some are gone that were not yielded yet.
    """
    position = start
    while position < end:
        now = partition()
        if position < now.begin:
            message = (
                f"records from offset {position} of {now.source} are gone; it begins at "
                f"{now.begin} now; read it from there, and keep records longer: retention.ms"
            )
            raise LogError(message)
        with log_errors():
            batch = read_batch(database(), now, position, min(end, now.end))
        if batch is None:
            return
        yield batch
        position = batch.next_offset
