"""The windows and joins that are measured: what a user writes, and what must come of it.

    tumbling        sum of each key and 10 s, an output a record
    tumbling-close  the same, one output a window, when it is closed
    sessions        sum of each key's sessions (gap 2 s), an output a record and a merged session
    stream-table    each order with its user's name
    stream-stream   each order with its user's payments within 500 ms

Orders are one a millisecond, so a window of 10 s has 10 orders of each of 1,000 keys: windows open,
close and are forgotten all the time. Invariant: what is expected is worked out here from the orders
alone, in plain Python.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple, TypeAlias

import msgspec

import streamfn as sf
from streamfn.windowed import Windowed

SIZE_MS, GAP_MS, NEAR_MS = 10_000, 2_000, 500


class Order(msgspec.Struct, gc=False):
    """The fields of a 100-byte JSON value that the jobs ask for."""

    user: str
    amount: float


class Arrived(NamedTuple):
    """An order in the order of its partition."""

    key: str
    amount: float
    timestamp_ms: int


Output: TypeAlias = tuple[Any, Any]
"""A decoded key and value."""


def tumbling(app: sf.App, orders: sf.Topic[str, Order], partitions: int, emit: Any) -> str:
    """Sum by key and window."""
    sums = app.topic("out", key=sf.Windowed[str], value=float, partitions=partitions)
    windows = sf.Tumbling(timedelta(milliseconds=SIZE_MS))
    by_key = app.stream(orders).group_by_key().window(windows, emit=emit)
    by_key.aggregate(0.0, lambda total, order: total + order.amount).to_stream().to(sums)
    return sums.name


def sessions(app: sf.App, orders: sf.Topic[str, Order], partitions: int) -> str:
    """Sum by key and session."""
    sums = app.topic("out", key=sf.Windowed[str], value=float, partitions=partitions)
    by_key = app.stream(orders).group_by_key().window(sf.Session(timedelta(milliseconds=GAP_MS)))
    by_key.aggregate(
        0.0, lambda total, order: total + order.amount, lambda one, other: one + other
    ).to_stream().to(sums)
    return sums.name


def stream_table(app: sf.App, orders: sf.Topic[str, Order], partitions: int) -> str:
    """Each order with its user's name."""
    users = app.table(app.topic("users", key=str, value=str, partitions=partitions))
    named = app.topic("out", key=str, value=str, partitions=partitions)
    app.stream(orders).join(users, lambda order, name: name, value=str).to(named)
    return named.name


def stream_stream(app: sf.App, orders: sf.Topic[str, Order], partitions: int) -> str:
    """Each order with the payments of its user that are near."""
    payments = app.topic("payments", key=str, value=float, partitions=partitions)
    paid = app.topic("out", key=str, value=float, partitions=partitions)
    app.stream(orders).join(
        app.stream(payments),
        lambda order, amount: order.amount - amount,
        sf.JoinWindow(timedelta(milliseconds=NEAR_MS)),
        value=float,
    ).to(paid)
    return paid.name


BUILD: Mapping[str, Callable[[sf.App, sf.Topic[str, Order], int], str]] = {
    "tumbling": lambda app, orders, partitions: tumbling(app, orders, partitions, "update"),
    "tumbling-close": lambda app, orders, partitions: tumbling(app, orders, partitions, "close"),
    "sessions": sessions,
    "stream-table": stream_table,
    "stream-stream": stream_stream,
}
"""Job → declare it on an app, with the topic of the orders and the partitions; its output topic."""

SIDE_TOPICS = {"stream-table": "users", "stream-stream": "payments"}


def name_of(key: str) -> str:
    """A user's name in the table."""
    return f"name of {key}"


# --- what must come of it


def check(job: str, orders: Iterable[Arrived], outputs: Iterable[Output]) -> None:
    """Compare a partition's outputs with what its orders demand.

    Raises:
        AssertionError: they differ.
    """
    wanted, found = _EXPECTED[job](list(orders)), Counter(outputs)
    if wanted != found:
        missing, more = wanted - found, found - wanted
        message = (
            f"{job}: {missing.total():,} outputs are missing, {more.total():,} too many; such as "
            f"{next(iter([*missing.items(), *more.items()]))}"
        )
        raise AssertionError(message)


def window_of(key: str, timestamp_ms: int) -> Windowed[str]:
    """The window of an order."""
    start_ms = timestamp_ms - timestamp_ms % SIZE_MS
    return Windowed(key, start_ms, start_ms + SIZE_MS)


def _updates(orders: list[Arrived]) -> Counter[Output]:
    sums: dict[Windowed[str], float] = defaultdict(float)
    found: Counter[Output] = Counter()
    for order in orders:
        window = window_of(order.key, order.timestamp_ms)
        sums[window] += order.amount
        found[window, sums[window]] += 1
    return found


def _finals(orders: list[Arrived]) -> Counter[Output]:
    sums: dict[Windowed[str], float] = defaultdict(float)
    for order in orders:
        sums[window_of(order.key, order.timestamp_ms)] += order.amount
    last_ms = max(order.timestamp_ms for order in orders)
    return Counter(each for each in sums.items() if each[0].end_ms <= last_ms)


def _sessions(orders: list[Arrived]) -> Counter[Output]:
    """In order of time: each order goes on with its key's last session or begins one."""
    last: dict[str, tuple[Windowed[str], float]] = {}
    found: Counter[Output] = Counter()
    for order in orders:
        at_ms = order.timestamp_ms
        old = last.get(order.key)
        window, total = Windowed(order.key, at_ms, at_ms), 0.0
        if old is not None and old[0].end_ms + GAP_MS >= at_ms:
            found[old[0], None] += 1
            window, total = Windowed(order.key, old[0].start_ms, at_ms), 0.0 + old[1]
        last[order.key] = window, total + order.amount
        found[last[order.key]] += 1
    return found


def _named(orders: list[Arrived]) -> Counter[Output]:
    return Counter((order.key, name_of(order.key)) for order in orders)


def _paid(orders: list[Arrived]) -> Counter[Output]:
    """A payment of each order's amount comes with it; so each pair of orders that are near."""
    by_key: dict[str, list[Arrived]] = defaultdict(list)
    for order in orders:
        by_key[order.key].append(order)
    found: Counter[Output] = Counter()
    for key, own in by_key.items():
        first = 0
        for at, order in enumerate(own):
            while own[first].timestamp_ms < order.timestamp_ms - NEAR_MS:
                first += 1
            for other in own[first:at]:
                found[key, order.amount - other.amount] += 1
                found[key, other.amount - order.amount] += 1
            found[key, 0.0] += 1
    return found


_EXPECTED: Mapping[str, Callable[[list[Arrived]], Counter[Output]]] = {
    "tumbling": _updates,
    "tumbling-close": _finals,
    "sessions": _sessions,
    "stream-table": _named,
    "stream-stream": _paid,
}
