"""What the embedded log is reading: the assigned partitions, their positions, who is paused.

Records come from stored chunks and leave as the batches that ``poll`` returns.

Invariant: a position moves only past records that were returned or are known not to exist; a gap
at the head that a reader would fall into is an error.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from streamfn.connectors.catalogue import Catalogue, Partition
from streamfn.connectors.chunks import read_batch
from streamfn.errors import InternalError, LogError
from streamfn.record import Batch, TopicPartition
from streamfn.rocks import Database


@dataclass(slots=True)
class _Input:
    partition: Partition
    position: int
    paused: bool = False


class Inputs:
    """The assigned partitions."""

    def __init__(self) -> None:
        self._inputs: dict[TopicPartition, _Input] = {}
        self._turn = 0

    def add(self, partition: Partition, position: int) -> None:
        """Read a partition from a position on."""
        self._inputs[partition.source] = _Input(partition, position)

    def remove(self, sources: Iterable[TopicPartition]) -> None:
        """Read these no more."""
        for source in sources:
            self._inputs.pop(source, None)

    def remove_topic(self, name: str) -> None:
        """Read no partition of a topic any more."""
        self.remove([source for source in self._inputs if source.topic == name])

    def clear(self) -> None:
        """Read nothing any more."""
        self._inputs.clear()

    def rebind(self, catalogue: Catalogue) -> None:
        """Follow to a catalogue that was loaded again."""
        for source, assigned in self._inputs.items():
            assigned.partition = catalogue.partition(source)

    def pause(self, sources: Iterable[TopicPartition], *, paused: bool) -> None:
        """Pause or resume."""
        for source in sources:
            self._assigned(source).paused = paused

    def seek(self, source: TopicPartition, offset: int) -> None:
        """Set a position."""
        self._assigned(source).position = offset

    def lag(self, source: TopicPartition) -> int:
        """Offsets between the position and the end."""
        assigned = self._assigned(source)
        return max(0, assigned.partition.end - assigned.position)

    def _assigned(self, source: TopicPartition) -> _Input:
        found = self._inputs.get(source)
        if found is None:
            message = f"{source} is not assigned; got a call for it; assign it first"
            raise InternalError(message)
        return found

    def batches(self, database: Database) -> list[Batch]:
        """Return the next batch of each unpaused partition; each time another comes first."""
        batches: list[Batch] = []
        inputs = list(self._inputs.values())
        if inputs:
            self._turn = (self._turn + 1) % len(inputs)
        for assigned in inputs[self._turn :] + inputs[: self._turn]:
            if assigned.paused or assigned.position >= assigned.partition.end:
                continue
            batch = _next_batch(database, assigned)
            if batch is not None:
                batches.append(batch)
        return batches


def _next_batch(database: Database, assigned: _Input) -> Batch | None:
    partition, position = assigned.partition, assigned.position
    if position < partition.begin:
        message = (
            f"{partition.source} has lost records; got position {position}, but it begins at "
            f"{partition.begin} (deleted or past retention.ms); seek there to go on without them"
        )
        raise LogError(message)
    batch = read_batch(database, partition, position, partition.end)
    # Compaction may leave nothing up to the end.
    assigned.position = partition.end if batch is None else batch.next_offset
    return batch
