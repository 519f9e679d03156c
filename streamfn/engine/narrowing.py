"""Finding the one record that cannot be sent.

The same offsets failing again is not doubt but a bad record.

When the log refuses a transaction for what is in it, the tasks are rewound and replay with half as
many records, down to one; that one then fails by its stage's policy as if its function had raised
(protocol §1.5). Invariant: a record is condemned only if a transaction of it alone was refused.
"""

from collections.abc import Sequence

from streamfn.engine.failure import stage_error
from streamfn.engine.task import Task
from streamfn.errors import SerdeError, StopError
from streamfn.record import TopicPartition


class Narrowing:
    """``limit`` is the most records the next transaction may hold; None when nothing is wrong."""

    def __init__(self) -> None:
        self.limit: int | None = None
        self._until: dict[TopicPartition, int] = {}
        self.found = False
        """True if this search has condemned a record."""

    def refused(self, error: Exception, tasks: Sequence[Task], records: int) -> None:
        """A transaction of so many records was refused: halve, or condemn its only record.

        A stream timer that fired behind that record is to blame only if all is refused again
        without what the record itself wrote.

        Raises:
            StopError: no record is to blame but what a timer wrote.
            StageError: not even the record's dead letter can be sent.
        """
        fired = next((task.fired for task in tasks if task.fired), "")
        task = next((task for task in tasks if task.last_done is not None), None)
        tried = task is not None and task.last_done in task.condemned
        if records == 0 or task is None or (records == 1 and fired and tried):
            what = f"timer {fired!r}" if fired else "a timer"
            message = f"what {what} wrote cannot be sent; {error}; mend it and run again"
            raise StopError(message) from error
        if records == 1 and self.limit is not None:  # alone: feeds and wall timers wait meanwhile
            self._condemn(error, task)
            return
        for each in tasks:
            for source, position in each.positions.items():
                self._until[source] = max(position, self._until.get(source, 0))
        self.limit = max(1, records // 2)

    def _condemn(self, error: Exception, task: Task) -> None:
        assert task.last_done is not None
        source, offset = task.last_done
        reason = SerdeError(str(error))
        if task.last_done in task.condemned:
            raise stage_error(reason, source.topic, task.name, source, offset, None) from error
        task.condemned[source, offset] = reason
        self.found = True
        self.limit = 1

    def committed(self, tasks: Sequence[Task]) -> None:
        """A transaction went through; behind the trouble the limit falls."""
        if self.limit is None:
            return
        positions = {s: p for task in tasks for s, p in task.positions.items()}
        if all(positions.get(source, at) >= at for source, at in self._until.items()):
            self.limit = None
            self._until.clear()
