"""Grouped streams, and their windows: what a user aggregates.

``group_by`` makes a group, ``window`` cuts it, ``count``, ``reduce`` and ``aggregate`` make a table
of it. Invariant: a group holds nothing; records of a key meet in the task of their key, behind a
repartition where the key was changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from typing_extensions import TypeForm, TypeIs

from streamfn.dsl.aggregates import (
    Emit,
    Group,
    add_aggregate,
    add_late,
    aggregating,
    counting,
    reducing,
)
from streamfn.dsl.cogrouped import Cogrouped, Parts
from streamfn.dsl.endpoints import KeyOut, Point, ValueOut
from streamfn.dsl.table import Table, table_at
from streamfn.dsl.windows import Session, Window
from streamfn.graph.places import here
from streamfn.graph.topology import UNKNOWN
from streamfn.serde import Serde
from streamfn.windowed import Windowed

if TYPE_CHECKING:
    from streamfn.dsl.stream import Stream

A = TypeVar("A")

_UNSAID: Any = UNKNOWN


class Grouped(Generic[KeyOut, ValueOut]):
    """A stream grouped by its keys."""

    def __init__(self, point: Point) -> None:
        self._group = Group((point,))

    @property
    def group(self) -> Group:
        """What is grouped."""
        return self._group

    def count(self, *, name: str | None = None) -> Table[KeyOut, int]:
        """Count the records of each key."""
        return table_at(add_aggregate(self._group, counting(self._group), name, here()))

    def reduce(
        self, fn: Callable[[ValueOut, ValueOut], ValueOut], *, name: str | None = None
    ) -> Table[KeyOut, ValueOut]:
        """Put the values of each key together: ``fn(aggregate, value)``; the first starts it."""
        where = here()
        return table_at(add_aggregate(self._group, reducing(self._group, fn, where), name, where))

    @overload
    def aggregate(
        self,
        initial: Callable[[], A],
        fn: Callable[[A, ValueOut], A],
        *,
        value: TypeForm[A] | Serde[A] = ...,
        name: str | None = None,
    ) -> Table[KeyOut, A]: ...
    @overload
    def aggregate(
        self,
        initial: A,
        fn: Callable[[A, ValueOut], A],
        *,
        value: TypeForm[A] | Serde[A] = ...,
        name: str | None = None,
    ) -> Table[KeyOut, A]: ...
    def aggregate(
        self, initial: Any, fn: Any, *, value: Any = _UNSAID, name: str | None = None
    ) -> Any:
        """Aggregate the values of each key: ``fn(aggregate, value)``, from ``initial`` on.

        ``initial`` is what a new key starts with, or makes it: ``0``, ``Stats()``, ``list``. An
        aggregate of None deletes the key.
        """
        where = here()
        recipe = aggregating(self._group, "aggregate", initial, (fn,), None, value, where)
        return table_at(add_aggregate(self._group, recipe, name, where))

    @overload
    def window(self, window: Window, *, emit: Emit = ...) -> WindowedStream[KeyOut, ValueOut]: ...
    @overload
    def window(self, window: Session, *, emit: Emit = ...) -> SessionStream[KeyOut, ValueOut]: ...
    def window(self, window: Any, *, emit: Emit = "update") -> Any:
        """Cut the records of each key into windows by their time.

        ``emit="update"`` hands on each change of a window; ``"close"`` hands on each window once,
        when it is closed: when it ends, and its grace is over, by the times of the records.
        """
        cut = self._group.cut(window, emit, here())
        if isinstance(window, Session):
            return SessionStream[Any, Any](cut)
        return WindowedStream[Any, Any](cut)

    def cogroup(
        self,
        fn: Callable[[A, ValueOut], A],
        *,
        value: TypeForm[A] | Serde[A] = _UNSAID,
    ) -> Cogrouped[KeyOut, A]:
        """Begin one aggregate of several streams: ``fn(aggregate, value)`` is for this one's.

        ``clicks.cogroup(add_click, value=Visit).cogroup(views, add_view).aggregate(Visit())``
        """
        return Cogrouped(Parts(self._group, (fn,), value))


class _Windowed(Generic[KeyOut, ValueOut]):
    """What all windows can do."""

    def __init__(self, group: Group) -> None:
        self._group = group

    def count(self, *, name: str | None = None) -> Table[Windowed[KeyOut], int]:
        """Count the records of each key and window."""
        return table_at(add_aggregate(self._group, counting(self._group), name, here()))

    def reduce(
        self, fn: Callable[[ValueOut, ValueOut], ValueOut], *, name: str | None = None
    ) -> Table[Windowed[KeyOut], ValueOut]:
        """Put the values of each key and window together; the first starts it."""
        where = here()
        return table_at(add_aggregate(self._group, reducing(self._group, fn, where), name, where))

    def late(self, *, name: str | None = None) -> Stream[KeyOut, ValueOut]:
        """Read the records that these windows do not take any more, because they come too late.

        Without it they are only dropped and counted.
        """
        from streamfn.dsl.stream import Stream

        return Stream(add_late(self._group, name, here()))


class WindowedStream(_Windowed[KeyOut, ValueOut]):
    """A grouped stream in windows of a size, or in sliding ones, or in one without end."""

    @overload
    def aggregate(
        self,
        initial: Callable[[], A],
        fn: Callable[[A, ValueOut], A],
        *,
        value: TypeForm[A] | Serde[A] = ...,
        name: str | None = None,
    ) -> Table[Windowed[KeyOut], A]: ...
    @overload
    def aggregate(
        self,
        initial: A,
        fn: Callable[[A, ValueOut], A],
        *,
        value: TypeForm[A] | Serde[A] = ...,
        name: str | None = None,
    ) -> Table[Windowed[KeyOut], A]: ...
    def aggregate(
        self, initial: Any, fn: Any, *, value: Any = _UNSAID, name: str | None = None
    ) -> Any:
        """Aggregate the values of each key and window: ``fn(aggregate, value)``."""
        where = here()
        recipe = aggregating(self._group, "aggregate", initial, (fn,), None, value, where)
        return table_at(add_aggregate(self._group, recipe, name, where))


class SessionStream(_Windowed[KeyOut, ValueOut]):
    """A grouped stream in sessions."""

    @overload
    def aggregate(
        self,
        initial: Callable[[], A],
        fn: Callable[[A, ValueOut], A],
        merge: Callable[[A, A], A],
        *,
        value: TypeForm[A] | Serde[A] = ...,
        name: str | None = None,
    ) -> Table[Windowed[KeyOut], A]: ...
    @overload
    def aggregate(
        self,
        initial: A,
        fn: Callable[[A, ValueOut], A],
        merge: Callable[[A, A], A],
        *,
        value: TypeForm[A] | Serde[A] = ...,
        name: str | None = None,
    ) -> Table[Windowed[KeyOut], A]: ...
    def aggregate(
        self,
        initial: Any,
        fn: Any,
        merge: Any = None,
        *,
        value: Any = _UNSAID,
        name: str | None = None,
    ) -> Any:
        """Aggregate the values of each key and session: ``fn(aggregate, value)``.

        ``merge(one, other)`` gives the aggregate of two sessions that a record between them makes
        one: it begins with ``initial``, and gets them by their end.
        """
        where = here()
        recipe = aggregating(self._group, "aggregate", initial, (fn,), merge, value, where)
        return table_at(add_aggregate(self._group, recipe, name, where))


def is_grouped(other: object) -> TypeIs[Grouped[Any, Any]]:
    """Tell a grouped stream of any types."""
    return isinstance(other, Grouped)
