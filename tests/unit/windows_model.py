"""Windowed aggregates of Kafka Streams as plain Python, with a memory that forgets nothing.

Each model takes records and gives the answers of ``windows_world.Program`` to each of them. The
sliding one follows the forward scan of ``KStreamSlidingWindowAggregate`` (the engine does what its
backward scan does).
"""

from collections.abc import Iterator
from typing import Any

from streamfn.graph.topology import WindowSpec
from tests.unit.windows_world import Row

Answers = list[tuple[str, str, int]]


class Model:
    """What the kinds have in common: stream times and emission on close."""

    def __init__(self, window: WindowSpec, *, emit: str, start: Any, fns: Any) -> None:
        self.window, self.emit, self.start, self.fns = window, emit, start, fns
        self.times = [-1] * len(fns)
        self.stored: dict[Any, tuple[Any, int]] = {}
        self.emitted: set[Any] = set()

    def send(self, row: Row) -> Answers:
        """The answers to one record."""
        if row.key is None or (row.value is None and self.window.kind == "sliding"):
            return []
        self.times[row.part] = max(self.times[row.part], row.at)
        found = [*self.update(row, self.times[row.part] - self.window.grace_ms)]
        if self.emit == "update":
            return found
        return self.close(min(self.times) - self.window.grace_ms)

    def close(self, closed: int) -> Answers:
        """What is emitted when the windows up to a time are closed."""
        due = [key for key in self.stored if self.is_closed(key, closed)]
        fresh = sorted((key for key in due if key not in self.emitted), key=self.order)
        self.emitted.update(fresh)
        return [shown(key, self.stored[key][0], None, self.stored[key][1]) for key in fresh]

    def update(self, row: Row, closed: int) -> Iterator[tuple[str, str, int]]:
        """Update the windows; yield the changes."""
        raise AssertionError

    def is_closed(self, key: Any, closed: int) -> bool:
        """Tell whether a window takes no record any more."""
        return bool(key[2] < closed)

    def order(self, key: Any) -> Any:
        """In which order windows are emitted."""
        return key[1], key[0]

    def put(self, key: Any, new: Any, at: int) -> None:
        """Store a result; None deletes."""
        if new is None:
            self.stored.pop(key, None)
        else:
            self.stored[key] = new, at

    def change(self, key: Any, old: Any, row: Row, at: int) -> tuple[str, str, int]:
        """Add a record to a window that held ``old``."""
        new = self.fns[row.part](old, row.value)
        self.put(key, new, at)
        return shown(key, new, old, at)


def shown(key: Any, new: Any, old: Any, at: int) -> tuple[str, str, int]:
    """A change as ``Program`` writes it."""
    new, old = ("" if each is None else each for each in (new, old))
    return f"{key[0]}@{key[1]}/{key[2]}", f"{new}|{old}", at


class Fixed(Model):
    """Tumbling and hopping windows."""

    def update(self, row: Row, closed: int) -> Iterator[tuple[str, str, int]]:
        """Each window that holds the record's time, unless it is closed."""
        size, advance = self.window.size_ms, self.window.advance_ms
        for start in range(0, row.at + 1, advance):
            key = (row.key, start, start + size)
            if row.at < start + size and start + size > closed:
                old, at = self.stored.get(key, (self.start, row.at))
                yield self.change(key, old, row, max(at, row.at))

    def is_closed(self, key: Any, closed: int) -> bool:
        """The end of a window is not in it."""
        return bool(key[2] <= closed)


class Sessions(Model):
    """Session windows; ``stored`` maps (key, start, end)."""

    def update(self, row: Row, closed: int) -> Iterator[tuple[str, str, int]]:
        """Merge what is near, then add the record."""
        gap, aggregate = self.window.size_ms, self.start
        near = sorted(
            (key for key in self.stored if key[0] == row.key and _near(key, row.at, gap)),
            key=lambda key: key[2],
        )
        for key in near:
            aggregate = merged(aggregate, self.stored[key][0])
        start = min([row.at, *(key[1] for key in near)])
        end = max([row.at, *(key[2] for key in near)])
        if end < closed - gap:
            return
        for key in near if (start, end) != (row.at, row.at) else ():
            old, at = self.stored.pop(key)
            yield shown(key, None, old, at)
        key = (row.key, start, end)
        new = self.fns[row.part](aggregate, row.value)
        self.put(key, new, end)
        self.emitted.discard(key)
        yield shown(key, new, None, end)

    def is_closed(self, key: Any, closed: int) -> bool:
        """A session takes what comes within the gap of its end."""
        return bool(key[2] < closed - self.window.size_ms)

    def order(self, key: Any) -> Any:
        """By end first."""
        return key[2], key[1], key[0]


def _near(key: Any, at: int, gap: int) -> bool:
    return key[2] >= at - gap and key[1] <= at + gap  # type: ignore[no-any-return]  # numbers


def merged(one: Any, other: Any) -> Any:
    """How the sessions of the tests are merged."""
    return f"{one}({other})"


class Sliding(Model):
    """Sliding windows."""

    def update(self, row: Row, closed: int) -> Iterator[tuple[str, str, int]]:
        """One scan over the windows near the record, then those that it makes."""
        size, at = self.window.size_ms, row.at
        if at + size < closed:
            return iter(())
        known = {
            start: entry
            for (key, start, _), entry in sorted(self.stored.items())
            if key == row.key and max(0, at - 2 * size) <= start <= at + 1
        }
        touched = self._early(row, known) if at < size else self._regular(row, known)
        found: Answers = []
        for start, old, time, adds in touched:
            key = (row.key, start, start + size)
            if not adds:
                self.put(key, old, time)
                found.append(shown(key, old, None, time))
            elif start + size >= closed:
                found.append(self.change(key, old, row, max(time, at)))
        return iter(found)

    def _regular(self, row: Row, known: dict[int, Any]) -> Iterator[tuple[int, Any, int, bool]]:
        size, at = self.window.size_ms, row.at
        left = right = previous = None
        for start, (value, time) in known.items():
            if start + size < at:
                left, previous = value, time
            elif start <= at:
                if start + size > at:
                    right = value, time
                elif time < at:
                    previous = time
                yield start, value, time, True
        if previous is not None and previous + 1 not in known and previous + 1 + size >= at:
            yield previous + 1, self.start, at, True
        if at - size not in known:
            holds = previous is not None and at - size <= previous
            yield at - size, left if holds else self.start, at, True
        if at + 1 not in known and right is not None and right[1] > at:
            yield at + 1, *right, False

    def _early(self, row: Row, known: dict[int, Any]) -> Iterator[tuple[int, Any, int, bool]]:
        at, right, previous = row.at, known.get(0), None
        for start, (value, time) in known.items():
            if start == 0:
                previous = time if time < at else None
            elif start <= at:
                right = value, time
                yield start, value, time, True
        if at + 1 not in known and right is not None and right[1] > at:
            yield at + 1, *right, False
        if previous is not None and previous + 1 not in known:
            yield previous + 1, self.start, at, True
        yield 0, *known.get(0, (self.start, at)), True
