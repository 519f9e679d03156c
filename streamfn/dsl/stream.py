"""A stream and its operators as a user chains them; each passes on to where its node is built.

Overloads stand in the order in which type checkers must try them, so that an error is shown at the
user's own line. Invariant: a stream is a place in the program and holds no records; every operator
returns a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar, overload

from typing_extensions import TypeForm

from streamfn.dsl.branches import add_merge, add_repartition, add_split
from streamfn.dsl.endpoints import KeyOut, Point, Sink, Source, ValueOut
from streamfn.dsl.grouped import Grouped
from streamfn.dsl.sinks import add_chosen_sink, add_sink
from streamfn.dsl.steps import keeping_step, key_step, pair_step, value_step
from streamfn.dsl.stream_joins import Joinable
from streamfn.dsl.table import Table, table_at
from streamfn.dsl.table_steps import add_table
from streamfn.graph.places import here
from streamfn.graph.topology import UNKNOWN
from streamfn.serde import Serde

NewKey = TypeVar("NewKey")
NewValue = TypeVar("NewValue")
OtherValue = TypeVar("OtherValue")

_UNSAID: Any = UNKNOWN


class Stream(Joinable[KeyOut, ValueOut]):
    """Records on their way through the program."""

    def __init__(self, point: Point) -> None:
        self._point = point

    def point(self, where: str) -> Point:
        """Return where in the program its records are."""
        return self._point

    @overload
    def filter(
        self, fn: Callable[[ValueOut], bool], *, name: str | None = None
    ) -> Stream[KeyOut, ValueOut]: ...
    @overload
    def filter(
        self, fn: Callable[[KeyOut, ValueOut], bool], *, name: str | None = None
    ) -> Stream[KeyOut, ValueOut]: ...
    def filter(self, fn: Callable[..., bool], *, name: str | None = None) -> Any:
        """Keep the records for which ``fn(value)`` or ``fn(key, value)`` is true."""
        where = here()
        return Stream[Any, Any](keeping_step(self.point(where), "filter", fn, name, where))

    @overload
    def filter_not(
        self, fn: Callable[[ValueOut], bool], *, name: str | None = None
    ) -> Stream[KeyOut, ValueOut]: ...
    @overload
    def filter_not(
        self, fn: Callable[[KeyOut, ValueOut], bool], *, name: str | None = None
    ) -> Stream[KeyOut, ValueOut]: ...
    def filter_not(self, fn: Callable[..., bool], *, name: str | None = None) -> Any:
        """Drop the records for which ``fn(value)`` or ``fn(key, value)`` is true."""
        where = here()
        return Stream[Any, Any](keeping_step(self.point(where), "filter_not", fn, name, where))

    @overload
    def peek(
        self, fn: Callable[[ValueOut], object], *, name: str | None = None
    ) -> Stream[KeyOut, ValueOut]: ...
    @overload
    def peek(
        self, fn: Callable[[KeyOut, ValueOut], object], *, name: str | None = None
    ) -> Stream[KeyOut, ValueOut]: ...
    def peek(self, fn: Callable[..., object], *, name: str | None = None) -> Any:
        """Call ``fn(value)`` or ``fn(key, value)`` on each record and hand it on unchanged."""
        where = here()
        return Stream[Any, Any](keeping_step(self.point(where), "peek", fn, name, where))

    @overload
    def map_values(
        self, fn: Callable[[ValueOut], NewValue], *, name: str | None = None
    ) -> Stream[KeyOut, NewValue]: ...
    @overload
    def map_values(
        self, fn: Callable[[KeyOut, ValueOut], NewValue], *, name: str | None = None
    ) -> Stream[KeyOut, NewValue]: ...
    @overload
    def map_values(
        self,
        fn: Callable[[ValueOut], NewValue | None],
        *,
        value: TypeForm[NewValue] | Serde[NewValue],
        name: str | None = None,
    ) -> Stream[KeyOut, NewValue]: ...
    @overload
    def map_values(
        self,
        fn: Callable[[KeyOut, ValueOut], NewValue | None],
        *,
        value: TypeForm[NewValue] | Serde[NewValue],
        name: str | None = None,
    ) -> Stream[KeyOut, NewValue]: ...
    def map_values(
        self, fn: Callable[..., Any], *, value: Any = _UNSAID, name: str | None = None
    ) -> Any:
        """Replace each value by ``fn(value)`` or ``fn(key, value)``; None is a null value."""
        where = here()
        return Stream[Any, Any](value_step(self.point(where), "map_values", fn, value, name, where))

    @overload
    def flat_map_values(
        self, fn: Callable[[ValueOut], Iterable[NewValue]], *, name: str | None = None
    ) -> Stream[KeyOut, NewValue]: ...
    @overload
    def flat_map_values(
        self, fn: Callable[[KeyOut, ValueOut], Iterable[NewValue]], *, name: str | None = None
    ) -> Stream[KeyOut, NewValue]: ...
    @overload
    def flat_map_values(
        self,
        fn: Callable[[ValueOut], Iterable[NewValue]],
        *,
        value: TypeForm[NewValue] | Serde[NewValue],
        name: str | None = None,
    ) -> Stream[KeyOut, NewValue]: ...
    @overload
    def flat_map_values(
        self,
        fn: Callable[[KeyOut, ValueOut], Iterable[NewValue]],
        *,
        value: TypeForm[NewValue] | Serde[NewValue],
        name: str | None = None,
    ) -> Stream[KeyOut, NewValue]: ...
    def flat_map_values(
        self, fn: Callable[..., Any], *, value: Any = _UNSAID, name: str | None = None
    ) -> Any:
        """Replace each record by one for each value of ``fn(value)`` or ``fn(key, value)``."""
        where = here()
        return Stream[Any, Any](
            value_step(self.point(where), "flat_map_values", fn, value, name, where)
        )

    def map(
        self,
        fn: Callable[[KeyOut, ValueOut], tuple[NewKey, NewValue]],
        *,
        key: TypeForm[NewKey] | Serde[NewKey] = _UNSAID,
        value: TypeForm[NewValue] | Serde[NewValue] = _UNSAID,
        name: str | None = None,
    ) -> Stream[NewKey, NewValue]:
        """Replace each record by the (key, value) of ``fn(key, value)``."""
        where = here()
        return Stream(pair_step(self.point(where), "map", fn, (key, value), name, where))

    def flat_map(
        self,
        fn: Callable[[KeyOut, ValueOut], Iterable[tuple[NewKey, NewValue]]],
        *,
        key: TypeForm[NewKey] | Serde[NewKey] = _UNSAID,
        value: TypeForm[NewValue] | Serde[NewValue] = _UNSAID,
        name: str | None = None,
    ) -> Stream[NewKey, NewValue]:
        """Replace each record by one for each (key, value) of ``fn(key, value)``."""
        where = here()
        return Stream(pair_step(self.point(where), "flat_map", fn, (key, value), name, where))

    @overload
    def key_by(
        self, fn: Callable[[ValueOut], str], *, name: str | None = None
    ) -> Stream[str, ValueOut]: ...
    @overload
    def key_by(
        self, fn: Callable[[KeyOut, ValueOut], str], *, name: str | None = None
    ) -> Stream[str, ValueOut]: ...
    @overload
    def key_by(
        self,
        fn: Callable[[ValueOut], NewKey],
        *,
        key: TypeForm[NewKey] | Serde[NewKey],
        name: str | None = None,
    ) -> Stream[NewKey, ValueOut]: ...
    @overload
    def key_by(
        self,
        fn: Callable[[KeyOut, ValueOut], NewKey],
        *,
        key: TypeForm[NewKey] | Serde[NewKey],
        name: str | None = None,
    ) -> Stream[NewKey, ValueOut]: ...
    def key_by(self, fn: Callable[..., Any], *, key: Any = _UNSAID, name: str | None = None) -> Any:
        """Give each record the key ``fn(value)`` or ``fn(key, value)``.

        A key that is no ``str`` is said by ``key=``.
        """
        where = here()
        return Stream[Any, Any](key_step(self.point(where), fn, key, name, where))

    select_key = key_by

    @overload
    def group_by(
        self, fn: Callable[[ValueOut], str | None], *, name: str | None = None
    ) -> Grouped[str, ValueOut]: ...
    @overload
    def group_by(
        self, fn: Callable[[KeyOut, ValueOut], str | None], *, name: str | None = None
    ) -> Grouped[str, ValueOut]: ...
    @overload
    def group_by(
        self,
        fn: Callable[[ValueOut], NewKey | None],
        *,
        key: TypeForm[NewKey] | Serde[NewKey],
        name: str | None = None,
    ) -> Grouped[NewKey, ValueOut]: ...
    @overload
    def group_by(
        self,
        fn: Callable[[KeyOut, ValueOut], NewKey | None],
        *,
        key: TypeForm[NewKey] | Serde[NewKey],
        name: str | None = None,
    ) -> Grouped[NewKey, ValueOut]: ...
    def group_by(
        self, fn: Callable[..., Any], *, key: Any = _UNSAID, name: str | None = None
    ) -> Any:
        """Group the records by ``fn(value)`` or ``fn(key, value)``; None is in no group.

        A key that is no ``str`` is said by ``key=``.
        """
        where = here()
        return Grouped[Any, Any](key_step(self.point(where), fn, key, name, where, "group_by"))

    def group_by_key(self) -> Grouped[KeyOut, ValueOut]:
        """Group the records by the keys they have."""
        return Grouped(self.point(here()))

    def to_table(
        self,
        *,
        versioned: timedelta | None = None,
        store: str | None = None,
        name: str | None = None,
    ) -> Table[KeyOut, ValueOut]:
        """Keep the last value of each key; a null value deletes.

        With ``store=`` a filter of the table always knows what was there before, and says nothing
        of a row that passed neither then nor now; without, as Kafka Streams, only if somebody
        behind it asks for old values.
        """
        where, kept = here(), store is not None
        point = self.point(where)
        return table_at(add_table(point, name, where, versioned=versioned, store=store, kept=kept))

    @overload
    def split(
        self, *predicates: Callable[[ValueOut], bool], name: str | None = None
    ) -> tuple[Stream[KeyOut, ValueOut], ...]: ...
    @overload
    def split(
        self, *predicates: Callable[[KeyOut, ValueOut], bool], name: str | None = None
    ) -> tuple[Stream[KeyOut, ValueOut], ...]: ...
    def split(self, *predicates: Callable[..., bool], name: str | None = None) -> Any:
        """Send each record the way of the first predicate that holds; the last way is the rest.

        A predicate is ``fn(value)`` or ``fn(key, value)``:
        ``early, late, rest = stream.split(lambda v: v < 0, lambda v: v > 0)``
        """
        where = here()
        return tuple(
            Stream[KeyOut, ValueOut](point)
            for point in add_split(self.point(where), predicates, name, where)
        )

    def merge(
        self, *others: Source[KeyOut, OtherValue], name: str | None = None
    ) -> Stream[KeyOut, ValueOut | OtherValue]:
        """Bring the records of several streams into one, as they come."""
        where = here()
        points = [source.point(where) for source in (self, *others)]
        return Stream(add_merge(points, name, where))

    def repartition(
        self, *, partitions: int | None = None, name: str | None = None
    ) -> Stream[KeyOut, ValueOut]:
        """Send the records through an internal topic, so that each key is in one partition."""
        where = here()
        return Stream(add_repartition(self.point(where), partitions, name, where))

    @overload
    def to(self, topic: Sink[KeyOut, ValueOut], /, *, name: str | None = None) -> None: ...
    @overload
    def to(
        self, topics: tuple[Sink[KeyOut, ValueOut], ...], /, *, name: str | None = None
    ) -> None: ...
    @overload
    def to(
        self,
        topic: str,
        /,
        *,
        key: TypeForm[Any] | Serde[Any] = _UNSAID,
        value: TypeForm[Any] | Serde[Any] = _UNSAID,
        name: str | None = None,
    ) -> None: ...
    @overload
    def to(
        self,
        choose: Callable[[ValueOut], Sink[KeyOut, ValueOut] | str],
        /,
        *,
        topics: tuple[Sink[KeyOut, ValueOut] | str, ...] | None = None,
        name: str | None = None,
    ) -> None: ...
    @overload
    def to(
        self,
        choose: Callable[[KeyOut, ValueOut], Sink[KeyOut, ValueOut] | str],
        /,
        *,
        topics: tuple[Sink[KeyOut, ValueOut] | str, ...] | None = None,
        name: str | None = None,
    ) -> None: ...
    def to(
        self,
        topic: Any,
        /,
        *,
        topics: Any = None,
        key: Any = _UNSAID,
        value: Any = _UNSAID,
        name: str | None = None,
    ) -> None:
        """Write the records to a topic, to several, or to one named here with these types.

        A function chooses a topic for each record: ``fn(value)`` or ``fn(key, value)`` answers one
        of ``topics``, or its name. Without ``topics=`` it may be any topic, and one that is not
        declared here has the types of the stream.
        """
        where = here()
        point = self.point(where)
        if callable(topic):
            add_chosen_sink(point, topic, topics, name, where)
        else:
            add_sink(point, topic, (key, value), name, where)
