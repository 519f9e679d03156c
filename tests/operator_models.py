"""What some operators answer, told plainly: a partition's records in, its answers out, in order.

Invariant: nothing is forgotten, and a record is late by the greatest time before it alone.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias

from streamfn.windowed import Windowed
from tests.operator_records import SECOND_MS, Sent
from tests.unit.join_model import Model

Answer: TypeAlias = tuple[Any, str | None, int]
"""Key, value and time."""


def tumbling(sent: Iterable[Sent], grace_ms: int) -> Iterator[Answer]:
    """Sums of ten seconds."""
    size_ms, stream_ms = 10 * SECOND_MS, -1
    sums: dict[Windowed[str], tuple[int, int]] = {}
    for _, key, value, at_ms in sent:
        stream_ms = max(stream_ms, at_ms)
        start_ms = at_ms - at_ms % size_ms
        window = Windowed(key, start_ms, start_ms + size_ms)
        if window.end_ms + grace_ms > stream_ms:
            total, last_ms = sums.get(window, (0, 0))
            assert value is not None
            sums[window] = total + value, max(last_ms, at_ms)
            yield window, str(sums[window][0]), sums[window][1]


def session(sent: Iterable[Sent], grace_ms: int) -> Iterator[Answer]:
    """Lists of what is at most five seconds apart."""
    gap_ms, stream_ms = 5 * SECOND_MS, -1
    lists: dict[Windowed[str], list[int]] = {}
    for _, key, value, at_ms in sent:
        stream_ms = max(stream_ms, at_ms)
        near = [window for window in lists if window.key == key
                and window.start_ms - gap_ms <= at_ms <= window.end_ms + gap_ms]  # fmt: skip
        near.sort(key=lambda window: window.end_ms)
        whole = Windowed(
            key,
            min([at_ms, *(window.start_ms for window in near)]),
            max([at_ms, *(window.end_ms for window in near)]),
        )
        if whole.end_ms + gap_ms + grace_ms < stream_ms:
            continue
        values: list[int] = [each for window in near for each in lists[window]]
        for window in near:
            del lists[window]
            if whole != Windowed(key, at_ms, at_ms):
                yield window, None, window.end_ms
        assert value is not None
        lists[whole] = [*values, value]
        yield whole, str(lists[whole]), whole.end_ms


def left_join(sent: Iterable[Sent], grace_ms: int) -> Iterator[Answer]:
    """Who meets somebody from five seconds before to three after, and left ones who do not."""
    model = Model("left", 5 * SECOND_MS, 3 * SECOND_MS, grace_ms)
    for topic, key, value, at_ms in sent:
        for answer in model.process(topic, key, str(value), at_ms):
            yield answer[0], answer[1].replace("null", "None"), answer[2]


MODELS: Final[dict[str, Callable[[Iterable[Sent], int], Iterator[Answer]]]] = {
    "tumbling": tumbling,
    "session": session,
    "stream_join_left": left_join,
}
