"""Tells whether inputs are read to their end, where the end is asked for *after* all seemed done.

A partition that was read to its end may have got records since, by this worker's own last commit
for one; the log tells only of what it has fetched. Invariant: ``reached`` is true only if each
input was read to an end that the log had after the moment at which nothing was left to do.
"""

from collections.abc import Collection

from streamfn.clock import Clock
from streamfn.connectors.log import Log
from streamfn.errors import LogError
from streamfn.record import TopicPartition

ASK_EVERY_S = 0.2


class Ending:
    """The ends that one worker has to reach."""

    def __init__(self, log: Log, clock: Clock, *, every_s: float) -> None:
        self._log, self._clock, self._every_s = log, clock, every_s
        self._ends: dict[TopicPartition, int] | None = None
        self._asked_s = float("-inf")

    def not_yet(self) -> None:
        """There is work to do: what was asked before says nothing."""
        self._ends = None

    def ask_again(self) -> None:
        """Have the ends asked for anew, and now."""
        self._ends, self._asked_s = None, float("-inf")

    def reached(self, sources: Collection[TopicPartition]) -> bool:
        """Nothing is left to do: tell whether that holds for what the log has now."""
        if self._ends is None and not self._ask(sources):
            return False
        ends = self._ends or {}
        return all(self._log.caught_up(source, ends.get(source, 0)) for source in sources)

    def _ask(self, sources: Collection[TopicPartition]) -> bool:
        """Ask where the inputs end; False if it is too early to ask again, or without an answer."""
        now_s = self._clock.monotonic_s()
        if now_s - self._asked_s < self._every_s:
            return False
        self._asked_s = now_s
        try:
            self._ends = self._log.end_offsets(sources)
        except LogError as error:
            if not error.retriable:
                raise
            return False
        return True
