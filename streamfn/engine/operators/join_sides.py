"""What a join of two streams remembers of each, and who waits to be met.

Records come from ``stream_joins`` and go back to it, to be joined or handed on alone. The store of
a side holds

    02 key time sequence → (value, time)     what can be met
    03 time key sequence → (value, time)     what has met nobody yet and waits (left, outer)
    01 end hash key      → (None, end)       the key has records before ``end``: for the clean-up

and that of the unmatched only the registers that both sides share. Invariant: a side remembers a
record while its time is above ``T - (before + after + grace)``, T being the greatest time stored on
that side; who can be met is told by that alone, never by how far the clean-up got.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from heapq import merge
from itertools import islice
from struct import Struct
from typing import Any, Final, NamedTuple, TypeAlias
from zlib import crc32

from streamfn.engine.operators.recent import Recent
from streamfn.engine.operators.timed import Register, Timed
from streamfn.graph.operators import StreamJoin
from streamfn.graph.stores import ENTRY, INDEX, TIME
from streamfn.windowed import FOREVER_MS

WAITING: Final = b"\x03"
WAITING_END: Final = b"\x04"
SEGMENT_MS_MIN: Final = 60_000
DELETES_MAX: Final = 100
"""So many entries are cleaned away at one record, so that a leap in time does not stall it."""

LEFT: Final = 0
RIGHT: Final = 1

Entry: TypeAlias = "tuple[bytes, tuple[Any, int]]"
"""An entry's key, and (value, time)."""

_time = TIME.pack
_LAST: Final = b"\xff" * 9
"""Behind each time."""
_HASH = Struct(">I")


class Side:
    """What a join remembers of one of its streams.

    ``before_ms`` and ``after_ms`` are seen from this side; ``waits``: what meets nobody is handed
    on alone.
    """

    __slots__ = (
        "_cleaning", "_keep_ms", "_known", "_segment_ms", "_sequence", "_settled", "_store",
        "_stream_time", "after_ms", "before_ms", "waits",
    )  # fmt: skip

    def __init__(self, store: Timed, node: StreamJoin, position: int) -> None:
        spans = node.before_ms, node.after_ms
        self.before_ms, self.after_ms = spans if position == LEFT else spans[::-1]
        self.waits = node.kind == "outer" or (node.kind == "left" and position == LEFT)
        self._store = store
        self._keep_ms = node.before_ms + node.after_ms + node.grace_ms
        self._segment_ms = max(self._keep_ms // 2, SEGMENT_MS_MIN)
        self._stream_time = store.register(b"t")
        self._sequence = store.register(b"s", 0)
        self._settled = store.register(b"w", 0)
        self._known: Recent[bytes] = Recent(store, self._load)
        self._cleaning = tuple(store.register(name, 0) for name in (b"c", b"h", b"e"))

    def near(self, key: bytes, low_ms: int, high_ms: int) -> list[Entry]:
        """What can be met of a key from one time to another, both included, oldest first."""
        low_ms = max(low_ms, self._stream_time.get() - self._keep_ms + 1)
        if low_ms > high_ms:
            return []
        prefix, get = ENTRY + key, self._store.get
        known = self._known.of(prefix)
        first = bisect_left(known, prefix + _time(low_ms))
        last = bisect_left(known, prefix + _time(high_ms + 1), first)
        found = [(entry, get(entry)) for entry in known[first:last]]
        return [(entry, row) for entry, row in found if row is not None]

    def _load(self, prefix: bytes) -> list[bytes]:
        return [entry for entry, _ in self._store.scan(prefix, prefix + _LAST)]

    def remember(self, key: bytes, value: Any, timestamp: int, *, waits: bool) -> bool:
        """Keep a record, also among those that wait; return False if it is too old to be met."""
        now_ms = self._stream_time.get()
        if timestamp > now_ms:
            now_ms = timestamp
            self._stream_time.set(now_ms)
            self._clean(now_ms - self._keep_ms)
        kept = timestamp > now_ms - self._keep_ms
        if not (kept or waits):
            return False
        number = self._sequence.get()
        self._sequence.set(number + 1)
        time, sequence = _time(timestamp), _time(number)
        if kept:
            self._keep(ENTRY + key, time + sequence, value, timestamp)
        if waits:
            if timestamp < self._settled.get():
                self._settled.set(timestamp)
            self._store.add(WAITING + time + key + sequence, value, timestamp)
        return kept

    def _keep(self, prefix: bytes, tail: bytes, value: Any, timestamp: int) -> None:
        """Write an entry, and the mark of its segment if it is the first one there."""
        known, segment_ms = self._known.of(prefix), self._segment_ms
        start_ms = timestamp - timestamp % segment_ms
        first, end = prefix + _time(start_ms), prefix + _time(start_ms + segment_ms)
        if not (known and first <= known[-1] < end):  # else its segment has a mark
            self._mark(prefix[1:], start_ms + segment_ms)
        entry = prefix + tail
        self._store.add(entry, value, timestamp)
        if not known or known[-1] < entry:
            known.append(entry)
        else:
            insort(known, entry)

    def _mark(self, key: bytes, end_ms: int) -> None:
        at = INDEX + _time(end_ms) + _HASH.pack(crc32(key)) + key
        index = Register(self._store.levels, at, -1)
        if index.get() < 0:
            index.set(end_ms)
            self._clean_from(end_ms)

    def _clean_from(self, end_ms: int) -> None:
        """A segment is in use: one that was cleaned, if the join has got longer windows since."""
        if end_ms <= self._cleaning[0].get():
            for register, number in zip(self._cleaning, (end_ms, 0, 0), strict=True):
                register.set(number)

    def _clean(self, forgotten_ms: int) -> None:
        """Delete what nobody can meet any more, in whole segments.

        Registers hold where it stopped (segment, hash of a key, time), as what was deleted is slow
        to scan over.
        """
        reached_ms = forgotten_ms + 1 - (forgotten_ms + 1) % self._segment_ms
        end, hashed, within = self._cleaning
        if reached_ms <= end.get():
            return
        store, left = self._store, DELETES_MAX
        start = INDEX + _time(end.get()) + _HASH.pack(hashed.get())
        found = islice(store.scan(start, INDEX + _time(reached_ms + 1)), DELETES_MAX)
        for index, (_, end_ms) in list(found):
            prefix = ENTRY + index[13:]
            self._known.forget(prefix)
            gone = store.scan(prefix + _time(within.get()), prefix + _time(end_ms))
            for entry, (_, time_ms) in list(islice(gone, left)):
                store.delete(entry)
                left -= 1
                if not left:
                    within.set(time_ms)
            if left:
                store.delete(index)
                left -= 1
                if within.get():
                    within.set(0)
            if not left:
                end.set(end_ms)
                hashed.set(_HASH.unpack_from(index, 9)[0])
                return
        end.set(reached_ms)
        hashed.set(0)

    # who waits
    def met(self, key: bytes, entry: bytes) -> None:
        """An entry of a key has been met: it waits no longer."""
        self._store.delete(WAITING + entry[-16:-8] + key + entry[-8:])

    def take_waiting(self, until_ms: int) -> list[Entry]:
        """Take out what waits since before a time; what comes later waits since that, or later."""
        if not self.waits or until_ms <= 0:
            return []
        start = WAITING + _time(self._settled.get())
        found = list(self._store.scan(start, WAITING + _time(until_ms)))
        for entry, _ in found:
            self._store.delete(entry)
        self._settled.set(until_ms)
        return found

    def first_waiting(self, low: bytes) -> bytes | None:
        """The first of what waits whose entry is not below."""
        if not self.waits:
            return None
        return next((entry for entry, _ in self._store.scan(low, WAITING_END)), None)

    def last_waiting_ms(self) -> int:
        """Since when the last one waits; -1 if none does."""
        if not self.waits:
            return -1
        last = self._store.scan(WAITING, WAITING_END, reverse=True)
        return next((time_ms for _, (_, time_ms) in last), -1)


class Alone(NamedTuple):
    """A record that met nobody: of which side, its key in the store, its value and time."""

    position: int
    key: bytes
    value: Any
    timestamp: int


class Unmatched:
    """Tells when those that wait have waited long enough: once no record can meet them any more.

    It is so when the stream time that both sides share has passed their window and grace. When
    that is looked at is exactly as in ``KStreamKStreamJoin.emitNonJoinedOuterRecords``: by the
    register ``m``, which a look leaves at the last record it saw, so that some wait longer.
    """

    __slots__ = ("_grace_ms", "_lowest", "_sides", "_stream_time")

    def __init__(self, store: Timed, sides: tuple[Side, Side], grace_ms: int) -> None:
        self._stream_time = store.register(b"t")
        self._lowest = store.register(b"m", FOREVER_MS)
        self._sides, self._grace_ms = sides, grace_ms

    def advance(self, timestamp: int) -> int:
        """Note a record's time; return the greatest so far."""
        return self._stream_time.advance(timestamp)

    def waits(self, timestamp: int) -> None:
        """A record of this time begins to wait."""
        if timestamp < self._lowest.get():
            self._lowest.set(timestamp)

    def take(self, side: Side, now_ms: int) -> list[Alone]:
        """Take out those who have waited long enough, oldest first, when a record of a side comes.

        At one time the right ones come before the left ones, then in order of keys and arrival.
        """
        if self._lowest.get() + side.after_ms + self._grace_ms >= now_ms:
            return []
        limits = [now_ms - each.after_ms - self._grace_ms for each in self._sides]
        lowest_ms = self._next_lowest(limits)
        if lowest_ms != self._lowest.get():
            self._lowest.set(lowest_ms)
        left, right = map(Side.take_waiting, self._sides, limits)
        found = merge(_ordered(left, LEFT), _ordered(right, RIGHT))
        return [
            Alone(-rank, place[:-8], value, timestamp) for timestamp, rank, place, value in found
        ]

    def _next_lowest(self, limits: list[int]) -> int:
        """Where a scan of all that waits would end.

        It goes on until it has seen one on each side whose time has not come, and one more.
        """
        left, right = self._sides
        first = left.first_waiting(WAITING + _time(max(0, limits[LEFT])))
        second = right.first_waiting(WAITING + _time(max(0, limits[RIGHT])))
        if first is None or second is None:
            last_ms = max(left.last_waiting_ms(), right.last_waiting_ms())
            return FOREVER_MS if last_ms < 0 else last_ms
        if first[:9] < second[:9]:  # the left one comes first, unless both are of the same time
            beyond = left.first_waiting(second[:9]), right.first_waiting(second + b"\x00")
        else:
            beyond = left.first_waiting(first + b"\x00"), right.first_waiting(_after(first))
        times = [_time_of(entry) for entry in beyond if entry is not None]
        return min(times, default=max(_time_of(first), _time_of(second)))


def _time_of(waiting: bytes) -> int:
    return TIME.unpack_from(waiting, 1)[0]  # type: ignore[no-any-return]  # the struct says so


def _after(waiting: bytes) -> bytes:
    """The least key of what waits since later."""
    return WAITING + _time(_time_of(waiting) + 1)


def _ordered(entries: list[Entry], position: int) -> Iterator[tuple[int, int, bytes, Any]]:
    """Yield (time, rank of the side, key and sequence, value)."""
    for entry, (value, timestamp) in entries:
        yield timestamp, -position, entry[9:], value
