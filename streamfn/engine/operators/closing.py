"""When windows close and are forgotten: what all kinds of windows share.

A windowed operator's store has a row for each window that begins with a time: the entry itself, or
its index entry. When stream time has passed that time by ``close_after_ms``, the window takes no
record any more, and its result is emitted, if that is asked for; long after that it is deleted.
Records, or a wall clock that finds the operator idle, come in from the windows' own files; rows go
back there, to be emitted or dropped. Invariants: a window is emitted once it is closed and never
lost; nothing is deleted that a record could still reach; how much was deleted so far follows from
the records alone.
"""

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from streamfn.engine.operators.timed import Timed
from streamfn.engine.scope import Idle, Run
from streamfn.graph.stores import REGISTER, TIME
from streamfn.graph.topology import WindowSpec
from streamfn.windowed import FOREVER_MS

if TYPE_CHECKING:
    from streamfn.engine.closures import Compiler

DELETES_MAX: Final = 100
"""How many windows one record has deleted at most, so that a leap of time does not stall."""
STEP_MS_MIN: Final = 60_000
DAY_MS: Final = 86_400_000
LAGGING: Final = 16
"""By how many times what is reached an input of several may lag behind another."""

_BEGUN: Final = REGISTER + b"b"
"""Begins the key of the one mark that says up to which row a deletion has come."""
_BEGUN_END: Final = REGISTER + b"c"

Row: TypeAlias = tuple[bytes, tuple[Any, int]]
Rows: TypeAlias = Callable[[list[Row]], None]


def close_after_ms(window: WindowSpec) -> int:
    """From a window's time (a session's end, else its start) to when it takes no record."""
    match window.kind:
        case "unlimited":
            return FOREVER_MS
        case "sliding" | "session":  # their ends belong to them
            return window.size_ms + window.grace_ms + 1
        case _:
            return window.size_ms + window.grace_ms


def keep_ms(window: WindowSpec, inputs: int) -> int:
    """How long a window can be reached, from its time on, and what is asked for beyond.

    Reached are also closed windows: a session by a record within the gap of its end, a sliding one
    whose last records are in the left window of a record. Inputs that share a store have stream
    times of their own: a day more for the one that lags, or many times as long if that is longer.
    """
    match window.kind:
        case "unlimited":
            return FOREVER_MS
        case "sliding":
            reach = 2 * window.size_ms + window.grace_ms + 1
        case "session":
            reach = 2 * window.size_ms + window.grace_ms + 1
        case _:
            reach = window.size_ms + window.grace_ms
    kept = reach if window.retention_ms is None else max(reach, window.retention_ms)
    return kept if inputs == 1 else max(kept, reach + max(DAY_MS, LAGGING * reach))


class Closing:
    """Stream times, emission and expiry of one windowed operator, for all edges into it.

    Registers: ``t`` stream time, or ``t0``, ``t1``, … of several inputs; ``c`` emitted up to;
    ``n`` no window's time is less; ``e`` deleted up to; ``m`` the greatest time of any window.
    """

    def __init__(
        self,
        store: Timed,
        window: WindowSpec,
        inputs: int,
        prefix: bytes,
        *,
        drop: Rows,
        emit: Rows | None = None,
    ) -> None:
        """Share these.

        Args:
            store: the operator's.
            window: its windows.
            inputs: how many parents it has.
            prefix: the byte before the times of the rows.
            drop: deletes the windows of some rows.
            emit: hands on the results of some rows; None: they were handed on already.
        """
        names = [b"t"] if inputs == 1 else [b"t%d" % part for part in range(inputs)]
        self.times = [store.register(name) for name in names]
        """The stream time of each input."""
        self.close_after_ms = close_after_ms(window)
        self.emits = emit is not None
        self._scan, self._prefix, self._single = store.scan, prefix, inputs == 1
        self._store, self._mark = store, marker(store)
        self._drop, self._emit = drop, emit
        self._keep_ms = keep_ms(window, inputs)
        self._step_ms = max(self._keep_ms // 2, STEP_MS_MIN)
        self._wait_ms = self._keep_ms + self._step_ms
        self._expired = store.register(b"e", 0)
        self._emitted, self._next = store.register(b"c"), store.register(b"n", FOREVER_MS)
        self._greatest = store.register(b"m")

    def now(self) -> int:
        """The stream time of all inputs together.

        What is emitted is final for each of them; otherwise none of them has a window back that was
        forgotten.
        """
        if self._single:
            return self.times[0].get()
        numbers = [each.get() for each in self.times]
        return min(numbers) if self.emits else max(numbers)

    # emission
    def opened(self, time_ms: int) -> None:
        """Note that there is a window of this time, if it is to be emitted."""
        if self.emits and time_ms < self._next.get():
            self._next.set(time_ms)

    def close(self, now_ms: int) -> None:
        """Emit what an input's stream time has closed."""
        if self._emit is None:
            return
        if not self._single:
            now_ms = self.now()
        last = now_ms - self.close_after_ms
        if last >= self._next.get():
            first = max(0, self._emitted.get() - self.close_after_ms + 1)
            rows: list[Row] = []
            following = FOREVER_MS
            for row in self._scan(self._at(first), bytes((self._prefix[0] + 1,))):
                (time_ms,) = TIME.unpack_from(row[0], 1)
                if time_ms > last:
                    following = time_ms
                    break
                rows.append(row)
            self._next.set(following)
            self._emitted.set(now_ms)
            self._emit(rows)

    # expiry
    def floor(self) -> int:
        """Windows before it are forgotten, for whichever input; 0 if lateness alone decides."""
        return 0 if self._single else self._boundary(self.now())

    def expire(self, now_ms: int) -> None:
        """Delete some of what no record can reach any more; called for each new window."""
        if not self._single:
            now_ms = self.now()
        done = self._expired.get()
        if now_ms < done + self._wait_ms:
            return
        boundary = self._boundary(now_ms)
        begun = [key for key, _ in self._scan(_BEGUN, _BEGUN_END)]
        first = begun[0][len(_BEGUN) :] if begun else self._at(done)
        rows = list(islice(self._scan(first, self._at(boundary)), DELETES_MAX))
        self._drop(rows)
        for key in begun:
            self._store.drop(key)
        if len(rows) < DELETES_MAX:
            self._expired.set(boundary)
        else:  # what is deleted would be walked over each time
            self._mark(_BEGUN + rows[-1][0])

    def _boundary(self, now_ms: int) -> int:
        return max(0, (now_ms - self._keep_ms) // self._step_ms * self._step_ms)

    def _at(self, time_ms: int) -> bytes:
        return self._prefix + TIME.pack(time_ms)

    # idle close
    def reached(self, time_ms: int) -> None:
        """Note that a window of this time may be open."""
        self._greatest.advance(time_ms)

    @property
    def open(self) -> bool:
        """True if a window may be open for one of the inputs."""
        greatest = self._greatest.get()
        closed_at = greatest + self.close_after_ms
        return greatest >= 0 and min(each.get() for each in self.times) < closed_at

    def close_all(self) -> None:
        """Move stream time past the last open window, for all inputs."""
        closed_at = self._greatest.get() + self.close_after_ms
        for each in self.times:
            each.advance(closed_at)
        self.close(closed_at)


class IdleClose:
    """Closes all windows when nothing has reached the operator for a time of the wall clock.

    What is remembered here says only when; what follows from it is stream time, which is state.
    """

    def __init__(self, compiler: "Compiler", closing: Closing, stage: str, idle_ms: int) -> None:
        self._closing, self._idle_ms = closing, idle_ms
        self._heard, self._since_ms = True, 0
        compiler.idle.append(Idle(stage, self.due, self.fire))

    def watched(self, run: Run, last: Callable[[int], int]) -> Run:
        """Wrap what runs for a record; ``last(timestamp)`` is the last time of its windows."""
        reached = self._closing.reached

        def watch(key: Any, value: Any, timestamp: int) -> None:
            self._heard = True
            run(key, value, timestamp)
            if key is not None:
                reached(last(timestamp))

        return watch

    def due(self, now_ms: int) -> bool:
        """Tell whether there are windows to close; a clock set back begins anew."""
        if self._heard or now_ms < self._since_ms:
            self._heard, self._since_ms = False, now_ms
        return now_ms - self._since_ms >= self._idle_ms and self._closing.open

    def fire(self, now_ms: int) -> None:
        """Close them."""
        self._closing.close_all()


def idle_close(
    compiler: "Compiler", closing: Closing, stage: str, window: WindowSpec
) -> Callable[[Run, Callable[[int], int]], Run]:
    """Return what wraps the operator's runs so that it closes when idle, if it is to."""
    if window.idle_close_ms is None or window.kind == "unlimited":
        return lambda run, last: run
    return IdleClose(compiler, closing, stage, window.idle_close_ms).watched


def marker(store: Timed) -> Callable[[bytes], None]:
    """Return what writes an index entry: a key is all there is to it."""
    levels, entry = store.levels, (None, 0)
    kept = levels.encode(entry) if levels.mutable else entry
    return lambda key: levels.put_cached(key, kept)


def dropping(store: Timed) -> Rows:
    """Return what deletes windows whose rows are their entries."""

    def drop(rows: list[Row]) -> None:
        for raw, _ in rows:
            store.drop(raw)

    return drop
