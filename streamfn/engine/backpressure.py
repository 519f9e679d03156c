"""Holds back inputs that a task cannot take more of for now.

The log is asked to pause a partition whose own buffer is full, and to resume it when half of that
is processed. Invariant: an input is paused only if its own buffer is full, so that a merge never
waits for one that is held back for the sake of another.
"""

from collections.abc import Iterable

from streamfn.connectors.log import Log
from streamfn.engine.task import Task
from streamfn.record import TopicPartition


class Backpressure:
    """The paused inputs of one worker."""

    def __init__(self, log: Log, records_max: int) -> None:
        self._log, self._records_max = log, records_max
        self._paused: set[TopicPartition] = set()

    def added(self, task: Task, source: TopicPartition) -> None:
        """Records of a source have come into its task's buffer."""
        if source not in self._paused and task.buffer.count(source) >= self._records_max:
            self._log.pause([source])
            self._paused.add(source)

    def processed(self, task: Task) -> None:
        """A task has processed records."""
        if not self._paused:
            return
        for source in task.sources:
            if source in self._paused and task.buffer.count(source) <= self._records_max // 2:
                self._log.resume([source])
                self._paused.discard(source)

    def forget(self, sources: Iterable[TopicPartition]) -> None:
        """These are no longer read."""
        self._paused.difference_update(sources)

    def resume_all(self) -> None:
        """All buffers are empty."""
        self._log.resume(self._paused)
        self._paused.clear()
