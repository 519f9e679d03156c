"""How a value joins an aggregate: what ``count``, ``reduce`` and ``aggregate`` have in common.

The windows call it for each record and window. Invariant: an aggregate that a user's function may
change in place is never one that somebody else holds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from streamfn.graph.operators import Aggregate
from streamfn.serde import is_immutable


@dataclass(frozen=True, slots=True)
class Fold:
    """``start()`` is what a new window begins with, ``add(aggregate, value)`` what becomes of it.

    ``merge`` is for sessions. ``mutable``: hand ``add`` and ``merge`` an object of their own.
    """

    start: Callable[[], Any]
    add: Callable[[Any, Any], Any]
    merge: Callable[[Any, Any], Any]
    mutable: bool


def fold_of(node: Aggregate, part: int) -> Fold:
    """What an aggregate does with the records of one of its parents."""
    mutable = not is_immutable(node.store.value)
    if node.counts:
        return Fold(int, _count, _total, mutable)
    fn = node.fns[part]
    if node.initial is None:
        reduce = _reducer(fn)
        return Fold(_none, reduce, reduce, mutable)
    return Fold(node.initial, fn, node.merge or _unmerged, mutable)


def _none() -> None:
    """A reduction begins with nothing, and so with its first value as it is."""


def _count(aggregate: int, value: Any) -> int:
    return aggregate + 1


def _total(one: int, other: int) -> int:
    return one + other


def _unmerged(one: Any, other: Any) -> Any:
    message = "windows that never merge have no merge function; got two to merge"
    raise AssertionError(message)


def _reducer(fn: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def reduce(aggregate: Any, value: Any) -> Any:
        return value if aggregate is None else fn(aggregate, value)

    return reduce
