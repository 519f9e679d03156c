"""Stateless operators as closures, and the small calls that closures are made of.

A record comes in as ``run(key, value, timestamp_ms)`` and goes on to ``then``, changed, once,
several times or not at all. Invariant: an operator holds nothing from one record to the next.
"""

from collections.abc import Callable
from typing import Any

from streamfn.engine.keys import same
from streamfn.engine.scope import Run
from streamfn.graph.topology import Step, TopicSpec
from streamfn.record import TIME_END_MS, Headers

STAGE = "stage "
"""Begins the qualified name of a closure that bears a stage's name, whatever that is."""


def named(run: Any, stage: str) -> Any:
    """Give a closure its stage's name, for tracebacks and for the error policy."""
    if run is nothing:
        return run
    run.__code__ = run.__code__.replace(co_name=stage, co_qualname=f"{STAGE}{stage}")
    return run


def check_timestamp(timestamp: Any, what: str) -> None:
    """Refuse what is no time since the epoch: written to a log, it could not be read back.

    Raises:
        ValueError: the timestamp is not an int, or not from 1970 to 9999.
    """
    if type(timestamp) is not int or not 0 <= timestamp < TIME_END_MS:
        message = (
            f"{what} has no usable timestamp; got {_time(timestamp)}; "
            "give milliseconds since the epoch as an int"
        )
        raise ValueError(message)


def _time(given: object) -> str:
    late = type(given) is int and given >= TIME_END_MS
    return f"{given!r}, after the year 9999 as milliseconds" if late else repr(given)


def checked_headers(headers: Any, topic: str) -> Headers:
    """Return headers as a tuple of pairs, or refuse them."""
    try:
        pairs = tuple((name, value) for name, value in headers)
    except (TypeError, ValueError):
        pairs = ((None, None),)
    if all(type(name) is str and type(value) is bytes for name, value in pairs):
        return pairs
    message = (
        f"a record of topic {topic!r} has unusable headers; got {headers!r}; "
        "give pairs of a text and bytes"
    )
    raise TypeError(message)


def event_time(topic: TopicSpec, value: Any) -> int:
    """Return the record's own event time; a value that has none is a failing record."""
    assert topic.timestamp is not None
    found = topic.timestamp(value)
    if type(found) is not int or not 0 <= found < TIME_END_MS:
        message = (
            f"timestamp function of topic {topic.name!r} gave no event time; got {_time(found)}; "
            "return milliseconds since the epoch as an int"
        )
        raise ValueError(message)
    return found


def fan_out(runs: list[Run]) -> Run:
    """One closure for several, in order."""
    runs = [run for run in runs if run is not nothing]
    if not runs:
        return nothing
    if len(runs) == 1:
        return runs[0]

    def run(key: Any, value: Any, timestamp: int) -> None:
        for one in runs:
            one(key, value, timestamp)

    return run


def nothing(key: Any, value: Any, timestamp: int) -> None:
    """The end of a path without a sink."""


def value_call(fn: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """``fn(value)`` called as ``call(key, value)``."""
    return lambda key, value: fn(value)


def keyed_call(fn: Callable[..., Any], key_of: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """``fn(key, value)`` with the decoded key."""
    return fn if key_of is same else lambda key, value: fn(key_of(key), value)


def check_key(key: Any, stage: str) -> None:
    """An unannotated key function means text; anything else must be said."""
    if type(key) is not str:
        message = (
            f"key function of {stage!r} must answer str when no type is given; "
            f"got {type(key).__name__} {key!r}; say its type: key={type(key).__name__}"
        )
        raise TypeError(message)


def _map(call: Any, then: Run, node: Step) -> Run:
    def run(key: Any, value: Any, timestamp: int) -> None:
        new_key, new_value = call(key, value)
        then(new_key, new_value, timestamp)

    return run


def _map_values(call: Any, then: Run, node: Step) -> Run:
    def run(key: Any, value: Any, timestamp: int) -> None:
        then(key, call(key, value), timestamp)

    return run


def _filter(call: Any, then: Run, node: Step) -> Run:
    wanted = node.kind == "filter"

    def run(key: Any, value: Any, timestamp: int) -> None:
        if bool(call(key, value)) is wanted:
            then(key, value, timestamp)

    return run


def _flat_map(call: Any, then: Run, node: Step) -> Run:
    def run(key: Any, value: Any, timestamp: int) -> None:
        for new_key, new_value in call(key, value):
            then(new_key, new_value, timestamp)

    return run


def _flat_map_values(call: Any, then: Run, node: Step) -> Run:
    def run(key: Any, value: Any, timestamp: int) -> None:
        for new_value in call(key, value):
            then(key, new_value, timestamp)

    return run


def _peek(call: Any, then: Run, node: Step) -> Run:
    def run(key: Any, value: Any, timestamp: int) -> None:
        call(key, value)
        then(key, value, timestamp)

    return run


def _key_by(call: Any, then: Run, node: Step) -> Run:
    check = node.check_str

    def run(key: Any, value: Any, timestamp: int) -> None:
        new_key = call(key, value)
        if check and new_key is not None:
            check_key(new_key, node.name)
        then(new_key, value, timestamp)

    return run


STEPS: dict[str, Callable[[Any, Run, Step], Run]] = {
    "map": _map,
    "map_values": _map_values,
    "filter": _filter,
    "filter_not": _filter,
    "flat_map": _flat_map,
    "flat_map_values": _flat_map_values,
    "peek": _peek,
    "key_by": _key_by,
}


def merge_time(topic: TopicSpec, raw: bytes | None, timestamp: int) -> int:
    """The record's event time for the order of a merge; its chain reports one without."""
    if raw is None:
        return timestamp
    try:
        return event_time(topic, topic.value.decode(raw))
    except Exception:  # it fails again in its chain, where its policy applies
        return timestamp
