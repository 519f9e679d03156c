"""Tables as stores that functions share: what they are outside a running topology.

Invariant: outside a running topology a table has no entries; reading one there is an error, not an
empty answer.
"""

from collections.abc import Iterator
from typing import TypeVar

from streamfn.errors import StreamfnError
from streamfn.function.parameters import SharedStore
from streamfn.state.levels import Missing

K = TypeVar("K")
V = TypeVar("V")


class TaskStore(SharedStore[K, V]):
    """A store of the program that has entries only in the tasks of a running topology."""

    __slots__ = ()

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
        return f"{type(self).__name__}({self.name!r})"
