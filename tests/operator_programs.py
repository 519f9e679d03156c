"""Programs with one operator each: what the tests of operators share.

Each reads ``left``, and perhaps ``right``, and writes to ``out``; numbers go in, text comes out.
What can be said of their answers stands in ``operator_families``. Invariant: a program keeps
nothing but in its stores, so that whatever is killed meanwhile cannot be seen.
"""

import operator
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, TypeAlias

import streamfn as sf
from streamfn.app import App
from tests.operator_records import KEYS, POISON, SECOND_MS


def seconds(count: float) -> timedelta:
    """A duration."""
    return timedelta(seconds=count)


class Ends:
    """The topics of a program."""

    def __init__(self, app: App, partitions: int, prefix: str = "", out: str = "out") -> None:
        self.app = app
        self._partitions, self._prefix, self._out = partitions, prefix, out
        self.out: Any = None

    def _topic(self, name: str, key: Any, value: Any) -> Any:
        name = self._prefix + name
        return self.app.topic(name, key=key, value=value, partitions=self._partitions)

    @property
    def left(self) -> Any:
        """The first input."""
        return self._topic("left", str, int)

    @property
    def right(self) -> Any:
        """The second input."""
        return self._topic("right", str, int)

    def show(self, answers: Any, key: Any = str) -> None:
        """Write a stream or a table as text: to ``out``, if it has no other name."""
        stream = answers.to_stream() if hasattr(answers, "to_stream") else answers
        self.out = self._topic(self._out, key, str)
        stream.map_values(text_of, value=str).to(self.out)


def text_of(value: Any) -> str | None:
    """A result as text; a tombstone stays one, and one with poison in it fails."""
    text = None if value is None else str(value)
    if text is not None and str(POISON)[:4] in text:
        message = f"cannot show {text}"
        raise ValueError(message)
    return text


def both(left: int | None, right: int | None) -> str:
    """Show who met."""
    return f"{left}+{right}"


def together(total: int, value: int | None) -> Any:
    """Add; a null value deletes the whole, as in all functions here."""
    return None if value is None else total + value


def without(total: int, value: int | None) -> Any:
    """Take out."""
    return None if value is None else total - value


def listed(values: list[int], value: int | None) -> Any:
    """Append in place: what is aggregated belongs to nobody else."""
    if value is None:
        return None
    values.append(value)
    return values


Build: TypeAlias = Callable[[Ends, timedelta], None]
WINDOWED: Final = sf.Windowed[str]


def _grouped(ends: Ends) -> Any:
    return ends.app.stream(ends.left).group_by_key()


def tumbling(ends: Ends, grace: timedelta) -> None:
    """A sum."""
    windows = _grouped(ends).window(sf.Tumbling(seconds(10), grace=grace))
    ends.show(windows.aggregate(0, together), WINDOWED)


def late(ends: Ends, grace: timedelta) -> None:
    """Those that a window would not take."""
    windows = _grouped(ends).window(sf.Tumbling(seconds(10), grace=grace))
    ends.show(windows.late())


def hopping(ends: Ends, grace: timedelta) -> None:
    """A reduction."""
    windows = _grouped(ends).window(sf.Hopping(seconds(10), seconds(4), grace=grace))
    ends.show(windows.reduce(together), WINDOWED)


def sliding(ends: Ends, grace: timedelta) -> None:
    """Lists, which change in place."""
    windows = _grouped(ends).window(sf.Sliding(seconds(10), grace=grace))
    ends.show(windows.aggregate(list, listed, value=list[int]), WINDOWED)


def session(ends: Ends, grace: timedelta) -> None:
    """Lists, which change in place and are merged."""
    windows = _grouped(ends).window(sf.Session(seconds(5), grace=grace))
    ends.show(windows.aggregate(list, listed, operator.add, value=list[int]), WINDOWED)


def tumbling_close(ends: Ends, grace: timedelta) -> None:
    """Final counts."""
    windows = _grouped(ends).window(sf.Tumbling(seconds(10), grace=grace), emit="close")
    ends.show(windows.count(), WINDOWED)


def sliding_close(ends: Ends, grace: timedelta) -> None:
    """Final counts."""
    windows = _grouped(ends).window(sf.Sliding(seconds(10), grace=grace), emit="close")
    ends.show(windows.count(), WINDOWED)


def session_close(ends: Ends, grace: timedelta) -> None:
    """Final counts."""
    windows = _grouped(ends).window(sf.Session(seconds(5), grace=grace), emit="close")
    ends.show(windows.count(), WINDOWED)


def suppress_close(ends: Ends, grace: timedelta) -> None:
    """Only the last sum of each window."""
    windows = _grouped(ends).window(sf.Tumbling(seconds(10), grace=grace))
    ends.show(windows.aggregate(0, together).suppress("close"), WINDOWED)


def suppress_sessions(ends: Ends, grace: timedelta) -> None:
    """Only the last count of each session."""
    windows = _grouped(ends).window(sf.Session(seconds(5), grace=grace))
    ends.show(windows.count().suppress("close"), WINDOWED)


def suppress_limit(ends: Ends, grace: timedelta) -> None:
    """A table whose rows wait, but not too many."""
    rows = ends.app.stream(ends.left).to_table()
    ends.show(rows.suppress(seconds(7) + grace, max_records=3))


def table_join(ends: Ends, grace: timedelta) -> None:
    """Rows of both that are there, joined with rows of either."""
    left, right = ends.app.table(ends.left), ends.app.table(ends.right)
    inner: Any = left.join(right, together, value=int, store="pairs")
    ends.show(inner.outer_join(left.left_join(right, both, value=str), both, value=str))


def regroup(ends: Ends, grace: timedelta) -> None:
    """A sum of rows that move from group to group."""
    groups = ends.app.table(ends.left).group_by(lambda value: f"g{value % 3}")
    ends.show(groups.aggregate(0, together, without))


def stream_join_left(ends: Ends, grace: timedelta) -> None:
    """Who meets somebody, and left ones who meet nobody."""
    left, right = ends.app.stream(ends.left), ends.app.stream(ends.right)
    within = sf.JoinWindow(seconds(5), seconds(3), grace=grace)
    ends.show(left.left_join(right, both, within, value=str))


def stream_join_outer(ends: Ends, grace: timedelta) -> None:
    """All, in pairs or alone."""
    left, right = ends.app.stream(ends.left), ends.app.stream(ends.right)
    within = sf.JoinWindow(seconds(5), seconds(3), grace=grace)
    ends.show(left.outer_join(right, both, within, value=str))


def stream_table(ends: Ends, grace: timedelta) -> None:
    """The row as it was at the record's time."""
    rows = ends.app.table(ends.right, versioned=timedelta(days=1))
    left = ends.app.stream(ends.left)
    ends.show(left.left_join(rows, both, grace=grace, value=str))


def stream_table_short(ends: Ends, grace: timedelta) -> None:
    """The row as it was, as far as it is remembered."""
    rows = ends.app.table(ends.right, versioned=seconds(9))
    left = ends.app.stream(ends.left)
    ends.show(left.left_join(rows, both, grace=grace, value=str))


def foreign_key(ends: Ends, grace: timedelta) -> None:
    """The row of another key."""
    left, right = ends.app.table(ends.left), ends.app.table(ends.right)
    ends.show(left.left_join(right, both, on=lambda value: KEYS[value % 6], value=str))


def cogroup(ends: Ends, grace: timedelta) -> None:
    """Sums of both, in windows."""
    left, right = (ends.app.stream(topic).group_by_key() for topic in (ends.left, ends.right))
    windows = (
        left.cogroup(together).cogroup(right, without).window(sf.Tumbling(seconds(10), grace=grace))
    )
    ends.show(windows.aggregate(0, value=int), WINDOWED)


def cogroup_close(ends: Ends, grace: timedelta) -> None:
    """Final sums of both."""
    left, right = (ends.app.stream(topic).group_by_key() for topic in (ends.left, ends.right))
    windows = (
        left.cogroup(together)
        .cogroup(right, without)
        .window(sf.Tumbling(seconds(10), grace=grace), emit="close")
    )
    ends.show(windows.aggregate(0, value=int), WINDOWED)


def foreign_key_inner(ends: Ends, grace: timedelta) -> None:
    """The row of another key, and only if it is there."""
    left, right = ends.app.table(ends.left), ends.app.table(ends.right)
    ends.show(left.join(right, both, on=lambda value: KEYS[value % 6], value=str))


def self_join(ends: Ends, grace: timedelta) -> None:
    """A stream with itself: each record meets itself too."""
    left = ends.app.stream(ends.left)
    within = sf.JoinWindow(seconds(5), seconds(3), grace=grace)
    ends.show(left.join(left, both, within, value=str, name="itself"))


def windows_joined(ends: Ends, grace: timedelta) -> None:
    """Windows of both, joined, only when they are closed."""
    window = sf.Tumbling(seconds(10), grace=grace)
    left, right = (
        ends.app.stream(topic).group_by_key().window(window).aggregate(0, together)
        for topic in (ends.left, ends.right)
    )
    ends.show(left.outer_join(right, both, value=str).suppress("close"), WINDOWED)


def suppressed_joined(ends: Ends, grace: timedelta) -> None:
    """A table whose rows wait, looked up by the other one."""
    waiting = ends.app.table(ends.left).suppress(seconds(7) + grace)
    ends.show(waiting.outer_join(ends.app.table(ends.right), both, value=str))


def start_of(key: sf.Windowed[str], value: int) -> str:
    """When its window begins."""
    return f"{key.start_ms}"


def windows_regrouped(ends: Ends, grace: timedelta) -> None:
    """What all keys have together in a window."""
    sums = _grouped(ends).window(sf.Tumbling(seconds(10), grace=grace)).aggregate(0, together)
    groups = sums.group_by(start_of)
    ends.show(groups.aggregate(0, together, without))


def dedup(ends: Ends, grace: timedelta) -> None:
    """A function that lets a number of a key pass once in ten seconds; a timer forgets."""
    kept_ms = 10 * SECOND_MS

    @ends.app.function(ends.left, name="dedup")
    def once(value: int, context: sf.Context[str], seen: sf.Map[int, int]) -> int | None:
        at_ms, number = seen.get(value % 5), value % 5
        if at_ms is not None and abs(context.timestamp_ms - at_ms) < kept_ms:
            return None
        seen[number] = context.timestamp_ms
        return value

    @once.every(timedelta(milliseconds=kept_ms))
    def forget(context: sf.Context[str], seen: sf.Store[tuple[str, int], int]) -> None:
        for key in list(seen.keys()):
            if context.timestamp_ms - seen[key] >= kept_ms:
                del seen[key]

    ends.show(once)


IDLE_MS: Final = 60 * SECOND_MS
"""After so long on the wall clock the windows of the idle families close."""


def _idle(grace: timedelta) -> Any:
    return {"grace": grace, "idle_close": timedelta(milliseconds=IDLE_MS)}


def idle_tumbling(ends: Ends, grace: timedelta) -> None:
    """Final sums."""
    window = sf.Tumbling(seconds(10), **_idle(grace))
    ends.show(_grouped(ends).window(window, emit="close").aggregate(0, together), WINDOWED)


def idle_sliding(ends: Ends, grace: timedelta) -> None:
    """Final counts."""
    window = sf.Sliding(seconds(10), **_idle(grace))
    ends.show(_grouped(ends).window(window, emit="close").count(), WINDOWED)


def idle_session(ends: Ends, grace: timedelta) -> None:
    """Final counts."""
    window = sf.Session(seconds(5), **_idle(grace))
    ends.show(_grouped(ends).window(window, emit="close").count(), WINDOWED)


def idle_suppress(ends: Ends, grace: timedelta) -> None:
    """Only the last sum of each window."""
    window = sf.Tumbling(seconds(10), **_idle(grace))
    sums = _grouped(ends).window(window).aggregate(0, together)
    ends.show(sums.suppress("close"), WINDOWED)


def idle_cogroup(ends: Ends, grace: timedelta) -> None:
    """Final sums of both."""
    left, right = (ends.app.stream(topic).group_by_key() for topic in (ends.left, ends.right))
    windows = left.cogroup(together).cogroup(right, together)
    window = sf.Tumbling(seconds(10), **_idle(grace))
    ends.show(windows.window(window, emit="close").aggregate(0, value=int), WINDOWED)


def idle_counts(ends: Ends, grace: timedelta) -> None:
    """Final counts, and those that were late for them."""
    windows = _grouped(ends).window(sf.Tumbling(seconds(10), **_idle(grace)), emit="close")
    windows.late().to("late")
    ends.show(windows.count(), WINDOWED)
