"""``MemoryStore``: a task's state in memory, for tests and simulations.

Records reach it as they reach ``RocksStore``, and it behaves alike; nothing is on disk. Invariant:
what was written stands in ``disk``, which outlives ``close`` and opens again, as a folder does.
"""

from collections.abc import Iterable

from streamfn.database import Memory, Space
from streamfn.state.database_store import META, DatabaseStore, space_names


class MemoryStore(DatabaseStore):
    """A ``StateStore`` that lives as long as the process, or as the given ``disk`` does."""

    def __init__(self, stores: Iterable[str], *, disk: dict[str, Space] | None = None) -> None:
        spaces = space_names(stores)
        super().__init__(Memory([META, *spaces.values()], disk), spaces)
