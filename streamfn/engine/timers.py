"""When a task's timers are due.

On stream time after the record that moved it, on the wall clock between records.

A firing missed is not made up: whatever the leap, a timer fires once for it (KIP-138,
``PunctuationSchedule``). Invariant: when a stream timer is due follows from stream time alone,
which is committed and restored, so a rewind replays exactly the firings that it undid.
"""

from collections.abc import Callable, Sequence

from streamfn.engine.compile import CompiledTimer
from streamfn.record import Batch


class Timers:
    """The timers of one task; ``fire`` calls one with undo and policy around it."""

    def __init__(
        self,
        timers: Sequence[CompiledTimer],
        fire: Callable[[CompiledTimer, int], None],
        *,
        replayed: bool = False,
    ) -> None:
        """In a replay the wall clock is the records' time, so that all timers are of one kind."""
        self._stream = [t for t in timers if replayed or t.timer.clock == "stream"]
        self._wall = [t for t in timers if not replayed and t.timer.clock == "wall"]
        self._fire = fire
        self._due_ms: dict[int, int] = {}
        self._fired_ms: dict[int, int] = {}
        """When those were due that have fired since the last commit."""

    def keep(self) -> None:
        """What has fired is committed."""
        self._fired_ms.clear()

    def undo(self) -> None:
        """What has fired since is undone: it is due again."""
        self._due_ms.update(self._fired_ms)
        self._fired_ms.clear()

    def stop_row(self, batch: Batch, start: int, stop: int, stream_time_ms: int) -> int:
        """Cut a slice behind the first row that moves stream time over a timer."""
        if not self._stream:
            return stop
        due = min(next_due(stream_time_ms, timer.timer.interval_ms) for timer in self._stream)
        for row in range(start, stop):
            if batch.timestamps[row] >= due:
                return row + 1
        return stop

    def fire_stream(self, before_ms: int, now_ms: int) -> None:
        """Fire, once each, what a move of stream time made due."""
        for timer in self._stream:
            if now_ms >= next_due(before_ms, timer.timer.interval_ms):
                self._fire(timer, now_ms)

    def fire_wall(self, now_ms: int) -> None:
        """Fire what is due on the wall clock; first one interval after the first call."""
        for number, timer in enumerate(self._wall):
            interval_ms = timer.timer.interval_ms
            due = min(self._due_ms.get(number, now_ms + interval_ms), now_ms + interval_ms)
            self._due_ms[number] = due  # a clock that was set back does not silence the timer
            if now_ms >= due:
                self._fired_ms.setdefault(number, due)
                self._due_ms[number] = due + ((now_ms - due) // interval_ms + 1) * interval_ms
                self._fire(timer, now_ms)


def next_due(after_ms: int, interval_ms: int) -> int:
    """The first multiple of the interval after a time; 0 before any record."""
    return 0 if after_ms < 0 else (after_ms // interval_ms + 1) * interval_ms
