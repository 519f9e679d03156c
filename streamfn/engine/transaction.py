"""The transaction that is being filled: how many records it may hold, and what failed ones taught.

The worker counts what its tasks process and asks how much more may go in; after a failure it is
told here whose record to look for. Invariant: a transaction that fails again and again gets
smaller, down to one record, so that none fails for its size for ever.
"""

from collections.abc import Sequence

from streamfn.config import Config
from streamfn.engine.feed import FeedTask
from streamfn.engine.narrowing import Narrowing
from streamfn.engine.task import Task
from streamfn.errors import FencedError, StreamfnError

BACKOFF_MAX_S = 5.0


class Transaction:
    """One worker's present transaction."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._narrowing = Narrowing()
        self.records = 0
        """Records processed into it."""
        self._failed_in_a_row = 0
        self._fenced = False
        self._verdict: StreamfnError | None = None
        self._suspects: list[FeedTask] = []
        """Feeds that had rows in the transaction for which a record is sought."""
        self._refusal: Exception | None = None

    @property
    def searching(self) -> bool:
        """True while a record is sought that the log refuses."""
        return self._narrowing.limit is not None

    @property
    def allowance(self) -> int:
        """So many more records may go in: few behind repeated failures, each may be too many."""
        if self._narrowing.limit is not None:
            return self._narrowing.limit - self.records
        halved = self._config.transaction_records_max >> max(0, self._failed_in_a_row - 1)
        return max(1, halved) - self.records

    def full(self, tasks: Sequence[Task]) -> bool:
        """Tell whether it should be committed before its time."""
        if self.searching or self.allowance <= 0:
            return True
        return sum(task.output_bytes() for task in tasks) > self._config.transaction_bytes_max

    # what became of it
    def committed(self, tasks: Sequence[Task]) -> None:
        """It went through."""
        self.records = self._failed_in_a_row = 0
        self._fenced = False
        self._narrowing.committed(tasks)
        if self._suspects and not self.searching:
            suspects, self._suspects = self._suspects, []
            if not self._narrowing.found and self._refusal is not None:
                for feed in suspects:  # no record of a task: a row of theirs
                    feed.refused(self._refusal, alone=False)

    def refused(self, error: Exception, tasks: Sequence[Task], feeds: Sequence[FeedTask]) -> None:
        """Find out whose record cannot be sent: a task's, or else a row of a feed.

        A verdict that stops the worker is kept until all is back at what is committed.
        """
        dirty = [feed for feed in feeds if feed.dirty]
        try:
            if self.records == 0 and dirty:
                for feed in dirty:
                    feed.refused(error, alone=len(dirty) == 1)
            else:
                if not self.searching:
                    self._suspects, self._refusal = dirty, error
                    self._narrowing.found = False
                self._narrowing.refused(error, tasks, self.records)
        except StreamfnError as verdict:
            self._verdict = verdict

    def failed(self, error: BaseException | None) -> None:
        """It was not committed; its records are good.

        Raises:
            FencedError: again at once: once may be a long outage, now another has our id.
        """
        if isinstance(error, FencedError) and self._fenced:
            raise error
        self._fenced = isinstance(error, FencedError)

    def rewound(self, *, patient: bool) -> float:
        """All goes back; return how long to wait before the next try."""
        self.records = 0
        self._failed_in_a_row += 1
        again = self._failed_in_a_row - 1
        return min(BACKOFF_MAX_S, 0.05 * 2.0 ** min(again, 10)) if again and patient else 0.0

    def check_verdict(self) -> None:
        """Raise what was found out about a refused record, once all is back."""
        verdict, self._verdict = self._verdict, None
        if verdict is not None:
            raise verdict
