"""The joins of a table as a user writes them: by the same key, or by a foreign key.

Each passes on to where its node is built. Invariant: a table is a place in the program and holds
nothing; what it keeps is in the store of its stage, in the task of each key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from typing_extensions import TypeForm, TypeIs

from streamfn.dsl.endpoints import Point
from streamfn.dsl.joins import Joiner
from streamfn.dsl.shared import TaskStore
from streamfn.dsl.table_joins import add_join
from streamfn.graph.operators import Suppress
from streamfn.graph.places import here
from streamfn.graph.topology import UNKNOWN
from streamfn.serde import Serde

if TYPE_CHECKING:
    from streamfn.dsl.table import Table

K = TypeVar("K")
V = TypeVar("V")
OtherKey = TypeVar("OtherKey")
Other = TypeVar("Other")
Result = TypeVar("Result")

_UNSAID: Any = UNKNOWN


class JoinableTable(TaskStore[K, V]):
    """A table as the left side of joins."""

    __slots__ = ("_point",)

    def __init__(self, point: Point) -> None:
        self._point = point
        self.name, self.owner = point.node, point.builder
        node = point.builder.nodes[point.node]
        kept = () if isinstance(node, Suppress) else node.stores
        self.spec = kept[0] if kept else None

    @property
    def place(self) -> Point:
        """Where in the program its changes are."""
        return self._point

    @overload
    def join(
        self,
        other: Table[K, Other],
        fn: Callable[[V, Other], Result | None],
        *,
        value: TypeForm[Result] | Serde[Result] = ...,
        store: str | None = ...,
        name: str | None = ...,
    ) -> Table[K, Result]: ...
    @overload
    def join(
        self,
        other: Table[K, Other],
        fn: Callable[[K, V, Other], Result | None],
        *,
        value: TypeForm[Result] | Serde[Result] = ...,
        store: str | None = ...,
        name: str | None = ...,
    ) -> Table[K, Result]: ...
    @overload
    def join(
        self,
        other: Table[OtherKey, Other],
        fn: Callable[[V, Other], Result | None],
        *,
        on: Callable[[V], OtherKey | None],
        value: TypeForm[Result] | Serde[Result] = ...,
        store: str | None = ...,
        name: str | None = ...,
    ) -> Table[K, Result]: ...
    @overload
    def join(
        self,
        other: Table[OtherKey, Other],
        fn: Callable[[V, Other], Result | None],
        *,
        on: Callable[[K, V], OtherKey | None],
        value: TypeForm[Result] | Serde[Result] = ...,
        store: str | None = ...,
        name: str | None = ...,
    ) -> Table[K, Result]: ...
    @overload
    def join(
        self,
        other: Table[OtherKey, Other],
        fn: Callable[[K, V, Other], Result | None],
        *,
        on: Callable[[V], OtherKey | None],
        value: TypeForm[Result] | Serde[Result] = ...,
        store: str | None = ...,
        name: str | None = ...,
    ) -> Table[K, Result]: ...
    @overload
    def join(
        self,
        other: Table[OtherKey, Other],
        fn: Callable[[K, V, Other], Result | None],
        *,
        on: Callable[[K, V], OtherKey | None],
        value: TypeForm[Result] | Serde[Result] = ...,
        store: str | None = ...,
        name: str | None = ...,
    ) -> Table[K, Result]: ...
    def join(
        self,
        other: Any,
        fn: Callable[..., Any],
        *,
        on: Any = None,
        value: Any = _UNSAID,
        store: str | None = None,
        name: str | None = None,
    ) -> Any:
        """Join rows of equal keys: ``fn(left, right)`` or ``fn(key, left, right)``.

        With ``on`` each row is joined with the row of ``other`` whose key ``on(value)`` or
        ``on(key, value)`` gives: a foreign-key join. None joins nothing.
        """
        return self._join(other, on, store, Joiner("inner", fn, value, name, here()))

    @overload
    def left_join(
        self,
        other: Table[K, Other],
        fn: Callable[[V, Other | None], Result | None],
        *,
        value: TypeForm[Result] | Serde[Result] = ...,
        store: str | None = ...,
        name: str | None = ...,
    ) -> Table[K, Result]: ...
    @overload
    def left_join(
        self,
        other: Table[K, Other],
        fn: Callable[[K, V, Other | None], Result | None],
        *,
        value: TypeForm[Result] | Serde[Result] = ...,
        store: str | None = ...,
        name: str | None = ...,
    ) -> Table[K, Result]: ...
    @overload
    def left_join(
        self,
        other: Table[OtherKey, Other],
        fn: Callable[[V, Other | None], Result | None],
        *,
        on: Callable[[V], OtherKey | None],
        value: TypeForm[Result] | Serde[Result] = ...,
        store: str | None = ...,
        name: str | None = ...,
    ) -> Table[K, Result]: ...
    @overload
    def left_join(
        self,
        other: Table[OtherKey, Other],
        fn: Callable[[V, Other | None], Result | None],
        *,
        on: Callable[[K, V], OtherKey | None],
        value: TypeForm[Result] | Serde[Result] = ...,
        store: str | None = ...,
        name: str | None = ...,
    ) -> Table[K, Result]: ...
    @overload
    def left_join(
        self,
        other: Table[OtherKey, Other],
        fn: Callable[[K, V, Other | None], Result | None],
        *,
        on: Callable[[V], OtherKey | None],
        value: TypeForm[Result] | Serde[Result] = ...,
        store: str | None = ...,
        name: str | None = ...,
    ) -> Table[K, Result]: ...
    @overload
    def left_join(
        self,
        other: Table[OtherKey, Other],
        fn: Callable[[K, V, Other | None], Result | None],
        *,
        on: Callable[[K, V], OtherKey | None],
        value: TypeForm[Result] | Serde[Result] = ...,
        store: str | None = ...,
        name: str | None = ...,
    ) -> Table[K, Result]: ...
    def left_join(
        self,
        other: Any,
        fn: Callable[..., Any],
        *,
        on: Any = None,
        value: Any = _UNSAID,
        store: str | None = None,
        name: str | None = None,
    ) -> Any:
        """Like ``join``, but each row of this table has a result: ``fn(left, None)`` if alone."""
        return self._join(other, on, store, Joiner("left", fn, value, name, here()))

    @overload
    def outer_join(
        self,
        other: Table[K, Other],
        fn: Callable[[V | None, Other | None], Result | None],
        *,
        value: TypeForm[Result] | Serde[Result] = ...,
        store: str | None = ...,
        name: str | None = ...,
    ) -> Table[K, Result]: ...
    @overload
    def outer_join(
        self,
        other: Table[K, Other],
        fn: Callable[[K, V | None, Other | None], Result | None],
        *,
        value: TypeForm[Result] | Serde[Result] = ...,
        store: str | None = ...,
        name: str | None = ...,
    ) -> Table[K, Result]: ...
    def outer_join(
        self,
        other: Any,
        fn: Callable[..., Any],
        *,
        value: Any = _UNSAID,
        store: str | None = None,
        name: str | None = None,
    ) -> Any:
        """Like ``join``, but each row of either table has a result; the other side may be None."""
        return self._join(other, None, store, Joiner("outer", fn, value, name, here()))

    def _join(self, other: object, on: Any, store: str | None, joiner: Joiner) -> Table[K, Any]:
        from streamfn.dsl.table import table_at

        right = other.place if is_table(other) else other
        return table_at(add_join(self._point, right, on, store, joiner))


def is_table(other: object) -> TypeIs[JoinableTable[Any, Any]]:
    """Tell a table of any types."""
    return isinstance(other, JoinableTable)
