"""``Recent``: what a store holds under some prefixes, as ordered lists kept from record to record.

Operators that look for what is near in time ask it instead of scanning the store for each record,
and tell it what they write. Invariant: it is a cache and nothing else. It is empty after anything
of its store was taken back (``Levels.version``), and whatever it answers a scan would answer too.
"""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from streamfn.engine.operators.timed import Timed

Row = TypeVar("Row")

PREFIXES_MAX: Final = 50_000
ROWS_MAX: Final = 500_000


class Recent(Generic[Row]):
    """Lists of rows by prefix; ``load(prefix)`` makes one from the store.

    Whoever changes the store changes the list that ``of`` gave, afterwards.
    """

    __slots__ = ("_count", "_levels", "_lists", "_load", "_mutable", "_version")

    def __init__(self, store: Timed, load: Callable[[bytes], list[Row]]) -> None:
        """Begin with nothing; the rows hold no values that may change in place."""
        self._levels, self._load = store.levels, load
        self._lists: dict[bytes, list[Row]] = {}
        self._count, self._version = 0, store.levels.version

    def of(self, prefix: bytes) -> list[Row]:
        """The rows under a prefix."""
        if self._version != self._levels.version or self._count > ROWS_MAX:
            self._lists.clear()
            self._count, self._version = 0, self._levels.version
        self._count += 1  # for the row that is likely to be added
        found = self._lists.get(prefix)
        if found is None:
            if len(self._lists) >= PREFIXES_MAX:
                self._lists.clear()
                self._count = 0
            found = self._lists[prefix] = self._load(prefix)
            self._count += len(found)
        return found

    def forget(self, prefix: bytes) -> None:
        """Somebody has changed what is under a prefix."""
        self._lists.pop(prefix, None)
