"""Tables: the last value of each key, what is done with them, and who looks up in them.

Invariant: a table is a place in the program and holds nothing; what it keeps is in the store of its
stage, in the task of each key.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from typing_extensions import TypeForm

from streamfn.dsl.endpoints import Point
from streamfn.dsl.grouped_table import GroupedTable
from streamfn.dsl.joinable_table import JoinableTable
from streamfn.dsl.suppress import WhenFull, add_suppress
from streamfn.dsl.table_steps import TableStepKind, add_regroup, add_table_step, add_to_stream
from streamfn.graph.places import here
from streamfn.graph.topology import UNKNOWN
from streamfn.serde import Serde

if TYPE_CHECKING:
    from streamfn.dsl.stream import Stream

K = TypeVar("K")
V = TypeVar("V")
NewKey = TypeVar("NewKey")
NewValue = TypeVar("NewValue")

_UNSAID: Any = UNKNOWN


class Table(JoinableTable[K, V]):
    """The last value of each key; functions look up in it if they bind it as a default.

    ``def enrich(flight: Flight, weather: sf.Lookup[str, Weather] = weather_table) -> ...``

    The table of a windowed aggregate has keys ``sf.Windowed[K]``.
    """

    __slots__ = ()

    @overload
    def filter(
        self,
        fn: Callable[[V], bool],
        *,
        store: str | None = ...,
        name: str | None = ...,
    ) -> Table[K, V]: ...
    @overload
    def filter(
        self,
        fn: Callable[[K, V], bool],
        *,
        store: str | None = ...,
        name: str | None = ...,
    ) -> Table[K, V]: ...
    def filter(
        self, fn: Callable[..., bool], *, store: str | None = None, name: str | None = None
    ) -> Any:
        """Keep the rows for which ``fn(value)`` or ``fn(key, value)`` is true; the others go.

        ``store=`` gives the result a store of its own; else it is worked out when asked for.
        """
        return self._step("filter", fn, _UNSAID, store, name)

    @overload
    def filter_not(
        self,
        fn: Callable[[V], bool],
        *,
        store: str | None = ...,
        name: str | None = ...,
    ) -> Table[K, V]: ...
    @overload
    def filter_not(
        self,
        fn: Callable[[K, V], bool],
        *,
        store: str | None = ...,
        name: str | None = ...,
    ) -> Table[K, V]: ...
    def filter_not(
        self, fn: Callable[..., bool], *, store: str | None = None, name: str | None = None
    ) -> Any:
        """Leave out the rows for which ``fn(value)`` or ``fn(key, value)`` is true."""
        return self._step("filter_not", fn, _UNSAID, store, name)

    @overload
    def map_values(
        self,
        fn: Callable[[V], NewValue | None],
        *,
        value: TypeForm[NewValue] | Serde[NewValue] = ...,
        store: str | None = ...,
        name: str | None = ...,
    ) -> Table[K, NewValue]: ...
    @overload
    def map_values(
        self,
        fn: Callable[[K, V], NewValue | None],
        *,
        value: TypeForm[NewValue] | Serde[NewValue] = ...,
        store: str | None = ...,
        name: str | None = ...,
    ) -> Table[K, NewValue]: ...
    def map_values(
        self,
        fn: Callable[..., Any],
        *,
        value: Any = _UNSAID,
        store: str | None = None,
        name: str | None = None,
    ) -> Any:
        """Replace each value by ``fn(value)`` or ``fn(key, value)``; None deletes the row.

        A deleted row stays deleted: ``fn`` is not asked.
        """
        return self._step("map_values", fn, value, store, name)

    @overload
    def transform_values(
        self,
        fn: Callable[[V | None], NewValue | None],
        *,
        value: TypeForm[NewValue] | Serde[NewValue] = ...,
        store: str | None = ...,
        name: str | None = ...,
    ) -> Table[K, NewValue]: ...
    @overload
    def transform_values(
        self,
        fn: Callable[[K, V | None], NewValue | None],
        *,
        value: TypeForm[NewValue] | Serde[NewValue] = ...,
        store: str | None = ...,
        name: str | None = ...,
    ) -> Table[K, NewValue]: ...
    def transform_values(
        self,
        fn: Callable[..., Any],
        *,
        value: Any = _UNSAID,
        store: str | None = None,
        name: str | None = None,
    ) -> Any:
        """Like ``map_values``, but ``fn`` is asked for deleted rows too, with a value of None.

        It must always answer the same for the same: it is asked for old values again.
        """
        return self._step("transform_values", fn, value, store, name)

    def _step(
        self, kind: TableStepKind, fn: Any, value: Any, store: str | None, name: str | None
    ) -> Table[K, Any]:
        where = here()
        return table_at(add_table_step(self._point, kind, fn, value, (store, name), where))

    @overload
    def group_by(
        self,
        fn: Callable[[V], str | None],
        *,
        name: str | None = ...,
    ) -> GroupedTable[str, V]: ...
    @overload
    def group_by(
        self,
        fn: Callable[[K, V], str | None],
        *,
        name: str | None = ...,
    ) -> GroupedTable[str, V]: ...
    @overload
    def group_by(
        self,
        fn: Callable[[V], NewKey | None],
        *,
        key: TypeForm[NewKey] | Serde[NewKey],
        name: str | None = ...,
    ) -> GroupedTable[NewKey, V]: ...
    @overload
    def group_by(
        self,
        fn: Callable[[K, V], NewKey | None],
        *,
        key: TypeForm[NewKey] | Serde[NewKey],
        name: str | None = ...,
    ) -> GroupedTable[NewKey, V]: ...
    def group_by(
        self, fn: Callable[..., Any], *, key: Any = _UNSAID, name: str | None = None
    ) -> Any:
        """Group the rows by ``fn(value)`` or ``fn(key, value)``; None is in no group.

        A key that is no ``str`` is said by ``key=``.
        """
        where = here()
        return GroupedTable[Any, Any](add_regroup(self._point, fn, key, name, where))

    def suppress(
        self,
        until: Literal["close"] | timedelta,
        *,
        max_records: int | None = None,
        when_full: WhenFull = "emit",
        name: str | None = None,
    ) -> Table[K, V]:
        """Hold changes back, and hand on only the last one of each key.

        Args:
            until: ``"close"``: until the window of the key is closed, so that there is one final
                result. A timedelta: until the first change that waits is so old, by the times of
                the records.
            max_records: how many keys may wait.
            when_full: when one more comes, hand the oldest on early (``"emit"``), or ``"fail"``.
            name: the name of the stage and its store.
        """
        where = here()
        return table_at(add_suppress(self._point, until, max_records, when_full, name, where))

    def to_stream(self, *, name: str | None = None) -> Stream[K, V]:
        """Read the table's changes as records; a deleted row is a null value."""
        from streamfn.dsl.stream import Stream

        return Stream(add_to_stream(self._point, name, here()))


def table_at(point: Point) -> Table[Any, Any]:
    """The table of a node."""
    return Table(point)
