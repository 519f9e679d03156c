"""``RocksStore``: a task's state on disk, one RocksDB a task, one column family a store.

Committed changes come in from ``state.levels`` in one batch with their offsets; they leave through
``get`` and ``scan``. Invariant: what was written survives the process at once; after a crash of the
machine it is a prefix of the batches, so that the missing tail can be read from the changelog.
"""

import os
from collections.abc import Iterable

from streamfn.rocks import Rocks
from streamfn.state.database_store import META, DatabaseStore, space_names


class RocksStore(DatabaseStore):
    """A ``StateStore`` in a folder. Families of stores that the program no longer has are kept.

    Raises:
        StateCorruptedError: the folder's data is damaged: set it aside and restore.
        StateLockedError: the folder is open elsewhere.
        StateError: the folder cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str], stores: Iterable[str]) -> None:
        spaces = space_names(stores)
        super().__init__(Rocks(path, [META, *spaces.values()]), spaces)
