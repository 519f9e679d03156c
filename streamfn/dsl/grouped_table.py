"""A table grouped anew: its rows are added to their groups, and subtracted when they change.

Invariant: for each row that was added to a group, the same row is subtracted from it before its new
version is added anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from typing_extensions import TypeForm

from streamfn.dsl.endpoints import Point
from streamfn.dsl.table_steps import COUNTING, add_table_aggregate
from streamfn.graph.places import here
from streamfn.graph.topology import UNKNOWN
from streamfn.serde import Serde

if TYPE_CHECKING:
    from streamfn.dsl.table import Table

K = TypeVar("K")
V = TypeVar("V")
A = TypeVar("A")

_UNSAID: Any = UNKNOWN


class GroupedTable(Generic[K, V]):
    """The rows of a table, by their groups."""

    def __init__(self, point: Point) -> None:
        self._point = point

    def count(self, *, name: str | None = None) -> Table[K, int]:
        """Count the rows of each group."""
        return self._add("count", None, COUNTING, int, name)

    def reduce(
        self,
        add: Callable[[V, V], V],
        subtract: Callable[[V, V], V],
        *,
        name: str | None = None,
    ) -> Table[K, V]:
        """Put the rows of each group together: ``add(aggregate, value)`` for a new row.

        ``subtract(aggregate, value)`` takes an old row out; the first row starts the aggregate.
        """
        return self._add("reduce", None, (add, subtract), None, name)

    @overload
    def aggregate(
        self,
        initial: Callable[[], A],
        add: Callable[[A, V], A],
        subtract: Callable[[A, V], A],
        *,
        value: TypeForm[A] | Serde[A] = ...,
        name: str | None = None,
    ) -> Table[K, A]: ...
    @overload
    def aggregate(
        self,
        initial: A,
        add: Callable[[A, V], A],
        subtract: Callable[[A, V], A],
        *,
        value: TypeForm[A] | Serde[A] = ...,
        name: str | None = None,
    ) -> Table[K, A]: ...
    def aggregate(
        self,
        initial: Any,
        add: Any,
        subtract: Any,
        *,
        value: Any = _UNSAID,
        name: str | None = None,
    ) -> Any:
        """Aggregate the rows of each group, from ``initial`` on.

        ``add(aggregate, value)`` puts a new row in, ``subtract(aggregate, value)`` an old one out.
        """
        return self._add("aggregate", initial, (add, subtract), value, name)

    def _add(
        self, what: str, initial: Any, fns: tuple[Any, Any], value: Any, name: str | None
    ) -> Table[Any, Any]:
        from streamfn.dsl.table import Table

        return Table(add_table_aggregate(self._point, what, initial, fns, value, name, here()))
