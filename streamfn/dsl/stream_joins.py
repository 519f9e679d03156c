"""The joins of a stream as a user writes them: with a table, a global table or another stream.

Each passes on to where its node is built. Invariant: the other side alone decides which join it is;
what is said of another kind of join is a mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, overload

from typing_extensions import TypeForm

from streamfn.dsl.endpoints import KeyOut, Source, ValueOut
from streamfn.dsl.global_table import GlobalTable
from streamfn.dsl.joins import Joiner
from streamfn.dsl.sides import Sides, add_join
from streamfn.dsl.table import Table
from streamfn.dsl.windows import JoinWindow
from streamfn.graph.operators import JoinKind
from streamfn.graph.places import here
from streamfn.graph.topology import UNKNOWN
from streamfn.serde import Serde

if TYPE_CHECKING:
    from streamfn.dsl.stream import Stream

OtherKey = TypeVar("OtherKey")
Other = TypeVar("Other")
Result = TypeVar("Result")

_UNSAID: Any = UNKNOWN


class Joinable(Source[KeyOut, ValueOut]):
    """A stream as the left side of joins."""

    @overload
    def join(
        self,
        other: Table[KeyOut, Other],
        fn: Callable[[ValueOut, Other], Result],
        *,
        grace: timedelta | None = ...,
        value: TypeForm[Result] | Serde[Result] = ...,
        name: str | None = ...,
    ) -> Stream[KeyOut, Result]: ...
    @overload
    def join(
        self,
        other: Table[KeyOut, Other],
        fn: Callable[[KeyOut, ValueOut, Other], Result],
        *,
        grace: timedelta | None = ...,
        value: TypeForm[Result] | Serde[Result] = ...,
        name: str | None = ...,
    ) -> Stream[KeyOut, Result]: ...
    @overload
    def join(
        self,
        other: GlobalTable[OtherKey, Other],
        fn: Callable[[ValueOut, Other], Result],
        *,
        on: Callable[[ValueOut], OtherKey | None],
        value: TypeForm[Result] | Serde[Result] = ...,
        name: str | None = ...,
    ) -> Stream[KeyOut, Result]: ...
    @overload
    def join(
        self,
        other: GlobalTable[OtherKey, Other],
        fn: Callable[[ValueOut, Other], Result],
        *,
        on: Callable[[KeyOut, ValueOut], OtherKey | None],
        value: TypeForm[Result] | Serde[Result] = ...,
        name: str | None = ...,
    ) -> Stream[KeyOut, Result]: ...
    @overload
    def join(
        self,
        other: GlobalTable[OtherKey, Other],
        fn: Callable[[KeyOut, ValueOut, Other], Result],
        *,
        on: Callable[[ValueOut], OtherKey | None],
        value: TypeForm[Result] | Serde[Result] = ...,
        name: str | None = ...,
    ) -> Stream[KeyOut, Result]: ...
    @overload
    def join(
        self,
        other: GlobalTable[OtherKey, Other],
        fn: Callable[[KeyOut, ValueOut, Other], Result],
        *,
        on: Callable[[KeyOut, ValueOut], OtherKey | None],
        value: TypeForm[Result] | Serde[Result] = ...,
        name: str | None = ...,
    ) -> Stream[KeyOut, Result]: ...
    @overload
    def join(
        self,
        other: Source[KeyOut, Other],
        fn: Callable[[ValueOut, Other], Result],
        within: JoinWindow | timedelta,
        *,
        value: TypeForm[Result] | Serde[Result] = ...,
        name: str | None = ...,
    ) -> Stream[KeyOut, Result]: ...
    @overload
    def join(
        self,
        other: Source[KeyOut, Other],
        fn: Callable[[KeyOut, ValueOut, Other], Result],
        within: JoinWindow | timedelta,
        *,
        value: TypeForm[Result] | Serde[Result] = ...,
        name: str | None = ...,
    ) -> Stream[KeyOut, Result]: ...
    def join(
        self,
        other: Any,
        fn: Callable[..., Any],
        within: Any = None,
        *,
        on: Any = None,
        grace: Any = None,
        value: Any = _UNSAID,
        name: str | None = None,
    ) -> Any:
        """Join each record with the other side: ``fn(left, right)`` or ``fn(key, left, right)``.

        With a ``Table``: the row of the record's key as it is now; with ``grace=`` (versioned
        tables) records wait so long and see the row as it was at their time.
        With a ``GlobalTable``: the row of the key that ``on`` gives.
        With another stream: its records of the same key whose times are near (``within``).
        What has no match has no result; ``left_join`` gives it one with None.
        """
        return self._join("inner", Sides(other, within, on, grace), fn, value, name)

    @overload
    def left_join(
        self,
        other: Table[KeyOut, Other],
        fn: Callable[[ValueOut, Other | None], Result],
        *,
        grace: timedelta | None = ...,
        value: TypeForm[Result] | Serde[Result] = ...,
        name: str | None = ...,
    ) -> Stream[KeyOut, Result]: ...
    @overload
    def left_join(
        self,
        other: Table[KeyOut, Other],
        fn: Callable[[KeyOut, ValueOut, Other | None], Result],
        *,
        grace: timedelta | None = ...,
        value: TypeForm[Result] | Serde[Result] = ...,
        name: str | None = ...,
    ) -> Stream[KeyOut, Result]: ...
    @overload
    def left_join(
        self,
        other: GlobalTable[OtherKey, Other],
        fn: Callable[[ValueOut, Other | None], Result],
        *,
        on: Callable[[ValueOut], OtherKey | None],
        value: TypeForm[Result] | Serde[Result] = ...,
        name: str | None = ...,
    ) -> Stream[KeyOut, Result]: ...
    @overload
    def left_join(
        self,
        other: GlobalTable[OtherKey, Other],
        fn: Callable[[ValueOut, Other | None], Result],
        *,
        on: Callable[[KeyOut, ValueOut], OtherKey | None],
        value: TypeForm[Result] | Serde[Result] = ...,
        name: str | None = ...,
    ) -> Stream[KeyOut, Result]: ...
    @overload
    def left_join(
        self,
        other: GlobalTable[OtherKey, Other],
        fn: Callable[[KeyOut, ValueOut, Other | None], Result],
        *,
        on: Callable[[ValueOut], OtherKey | None],
        value: TypeForm[Result] | Serde[Result] = ...,
        name: str | None = ...,
    ) -> Stream[KeyOut, Result]: ...
    @overload
    def left_join(
        self,
        other: GlobalTable[OtherKey, Other],
        fn: Callable[[KeyOut, ValueOut, Other | None], Result],
        *,
        on: Callable[[KeyOut, ValueOut], OtherKey | None],
        value: TypeForm[Result] | Serde[Result] = ...,
        name: str | None = ...,
    ) -> Stream[KeyOut, Result]: ...
    @overload
    def left_join(
        self,
        other: Source[KeyOut, Other],
        fn: Callable[[ValueOut, Other | None], Result],
        within: JoinWindow | timedelta,
        *,
        value: TypeForm[Result] | Serde[Result] = ...,
        name: str | None = ...,
    ) -> Stream[KeyOut, Result]: ...
    @overload
    def left_join(
        self,
        other: Source[KeyOut, Other],
        fn: Callable[[KeyOut, ValueOut, Other | None], Result],
        within: JoinWindow | timedelta,
        *,
        value: TypeForm[Result] | Serde[Result] = ...,
        name: str | None = ...,
    ) -> Stream[KeyOut, Result]: ...
    def left_join(
        self,
        other: Any,
        fn: Callable[..., Any],
        within: Any = None,
        *,
        on: Any = None,
        grace: Any = None,
        value: Any = _UNSAID,
        name: str | None = None,
    ) -> Any:
        """Like ``join``, but each record of this stream has a result: ``fn(left, None)`` if alone.

        A record that meets none of another stream has its result when none can come any more.
        """
        return self._join("left", Sides(other, within, on, grace), fn, value, name)

    @overload
    def outer_join(
        self,
        other: Source[KeyOut, Other],
        fn: Callable[[ValueOut | None, Other | None], Result],
        within: JoinWindow | timedelta,
        *,
        value: TypeForm[Result] | Serde[Result] = ...,
        name: str | None = ...,
    ) -> Stream[KeyOut, Result]: ...
    @overload
    def outer_join(
        self,
        other: Source[KeyOut, Other],
        fn: Callable[[KeyOut, ValueOut | None, Other | None], Result],
        within: JoinWindow | timedelta,
        *,
        value: TypeForm[Result] | Serde[Result] = ...,
        name: str | None = ...,
    ) -> Stream[KeyOut, Result]: ...
    def outer_join(
        self,
        other: Any,
        fn: Callable[..., Any],
        within: Any,
        *,
        value: Any = _UNSAID,
        name: str | None = None,
    ) -> Any:
        """Join two streams so that each record of either has a result; the other may be None."""
        return self._join("outer", Sides(other, within), fn, value, name)

    def _join(self, kind: JoinKind, sides: Sides, fn: Any, value: Any, name: str | None) -> Any:
        from streamfn.dsl.stream import Stream

        where = here()
        joiner = Joiner(kind, fn, value, name, where)
        return Stream[Any, Any](add_join(self.point(where), sides, joiner))
