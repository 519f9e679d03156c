"""A table: the last value of each key of a topic, kept in a store that functions look up in.

Invariant: outside a running topology a table has no entries; reading one there is an error, not an
empty answer.
"""

from collections.abc import Iterator
from typing import Any, TypeVar

from streamfn.dsl.endpoints import Point
from streamfn.errors import SerdeError, StreamfnError
from streamfn.function.annotations import plain_type
from streamfn.function.parameters import SharedStore
from streamfn.graph.builder import Builder
from streamfn.graph.topology import StoreSpec, TableStore
from streamfn.serde import state_serde
from streamfn.state.keys import key_codec
from streamfn.state.levels import Missing

K = TypeVar("K")
V = TypeVar("V")


class Table(SharedStore[K, V]):
    """The last value of each key of a topic: bind it as a parameter's default.

    ``def enrich(flight: Flight, weather: sf.Lookup[str, Weather] = weather_table) -> ...``
    """

    __slots__ = ()

    def __init__(self, owner: Builder, spec: StoreSpec) -> None:
        self.owner = owner
        self.spec = spec

    @property
    def name(self) -> str:
        """The name of its store."""
        return self.spec.name

    def _get(self, key: K) -> V | Missing:
        raise self._not_running()

    def _put(self, key: K, value: V) -> None:
        raise self._not_running()

    def _delete(self, key: K) -> None:
        raise self._not_running()

    def _scan(self, start: K | None, end: K | None, reverse: bool) -> Iterator[tuple[K, V]]:
        raise self._not_running()

    def _not_running(self) -> StreamfnError:
        return StreamfnError(
            f"table {self.name!r} has no entries outside a running topology; got a read or write; "
            "pass a dict in a unit test, or use sf.testing.TestDriver"
        )

    def __repr__(self) -> str:
        return f"Table({self.name!r})"


def add_table(point: Point, name: str | None, where: str) -> Table[Any, Any]:
    """Add the node that keeps a topic's last values."""
    builder = point.builder
    derived = f"{point.base}-table"
    found = builder.nodes.get(name or derived)
    if isinstance(found, TableStore) and found.parents == (point.node,):
        return Table(builder, found.store)  # the same table again
    name = builder.claim(derived, name, "table", where)
    spec = StoreSpec(name, "table", plain_type(point.key), plain_type(point.value), where)
    builder.claim_store(spec)
    try:
        key_codec(spec.key)
        state_serde(spec.value)
    except SerdeError as error:
        cure = "declare the topic with types that serdes can carry"
        builder.mistake(where, f"topic {point.node!r} cannot be a table", str(error), cure)
    builder.add(
        TableStore(
            name=name,
            parents=(point.node,),
            key=point.key,
            value=point.value,
            where=where,
            store=spec,
        )
    )
    return Table(builder, spec)
