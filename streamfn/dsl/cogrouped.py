"""Cogrouped streams: one aggregate of several, each with a function of its own.

Invariant: all of them have the same keys; they share one store, and meet in the task of their key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from typing_extensions import TypeForm

from streamfn.dsl.aggregates import Emit, Group, add_aggregate, aggregating
from streamfn.dsl.joins import check_sides
from streamfn.dsl.table import Table, table_at
from streamfn.dsl.windows import Session, Window
from streamfn.graph.places import here
from streamfn.graph.topology import UNKNOWN
from streamfn.serde import Serde
from streamfn.windowed import Windowed

if TYPE_CHECKING:
    from streamfn.dsl.grouped import Grouped

K = TypeVar("K")
A = TypeVar("A")
Other = TypeVar("Other")

_UNSAID: Any = UNKNOWN


@dataclass(frozen=True, slots=True)
class Parts:
    """Grouped streams, a function for each, and the type of what they make, as far as said."""

    group: Group
    fns: tuple[Callable[..., Any], ...]
    value: object

    def table(self, initial: Any, merge: Any, value: object, name: str | None) -> Table[Any, Any]:
        """The table of their aggregates."""
        where = here()
        said = self.value if value is UNKNOWN else value
        recipe = aggregating(self.group, "cogroup", initial, self.fns, merge, said, where)
        return table_at(add_aggregate(self.group, recipe, name, where))


class Cogrouped(Generic[K, A]):
    """Grouped streams that are aggregated together."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def cogroup(self, other: Grouped[K, Other], fn: Callable[[A, Other], A]) -> Cogrouped[K, A]:
        """Add another grouped stream; ``fn(aggregate, value)`` is for its records."""
        from streamfn.dsl.grouped import is_grouped

        where, parts = here(), self._parts
        if not is_grouped(other):
            cure = "group it first: stream.group_by_key(), or group_by(...)"
            wrong = "cogroup needs a grouped stream"
            parts.group.builder.mistake(where, wrong, repr(other), cure)
            return self
        (point,) = other.group.points
        if not check_sides(parts.group.points[0], point, "cogroup", where):
            return self
        group = replace(parts.group, points=(*parts.group.points, point))
        return Cogrouped(Parts(group, (*parts.fns, fn), parts.value))

    def aggregate(
        self,
        initial: A | Callable[[], A],
        *,
        value: TypeForm[A] | Serde[A] = _UNSAID,
        name: str | None = None,
    ) -> Table[K, A]:
        """Aggregate the values of each key, from ``initial`` on."""
        return self._parts.table(initial, None, value, name)

    @overload
    def window(self, window: Window, *, emit: Emit = ...) -> WindowedCogrouped[K, A]: ...
    @overload
    def window(self, window: Session, *, emit: Emit = ...) -> SessionCogrouped[K, A]: ...
    def window(self, window: Any, *, emit: Emit = "update") -> Any:
        """Cut the records of each key into windows by their time; see ``Grouped.window``."""
        cut = replace(self._parts, group=self._parts.group.cut(window, emit, here()))
        if isinstance(window, Session):
            return SessionCogrouped[Any, Any](cut)
        return WindowedCogrouped[Any, Any](cut)


class WindowedCogrouped(Generic[K, A]):
    """Cogrouped streams in windows."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def aggregate(
        self,
        initial: A | Callable[[], A],
        *,
        value: TypeForm[A] | Serde[A] = _UNSAID,
        name: str | None = None,
    ) -> Table[Windowed[K], A]:
        """Aggregate the values of each key and window, from ``initial`` on."""
        return self._parts.table(initial, None, value, name)


class SessionCogrouped(Generic[K, A]):
    """Cogrouped streams in sessions."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def aggregate(
        self,
        initial: A | Callable[[], A],
        merge: Callable[[A, A], A],
        *,
        value: TypeForm[A] | Serde[A] = _UNSAID,
        name: str | None = None,
    ) -> Table[Windowed[K], A]:
        """Aggregate the values of each key and session; ``merge`` makes two sessions one."""
        return self._parts.table(initial, merge, value, name)
