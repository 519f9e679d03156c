"""Where a task's data lives while the task is ours: its folder and the store in it, or memory.

The engine asks a ``TaskHomes`` for the home of a task, restores into its store and closes it.
Invariant: a home has exactly one open store, and ``wipe`` and ``set_aside`` replace it by an empty
one.
"""

import logging
from collections.abc import Iterable

from streamfn.database import Space
from streamfn.errors import StateCorruptedError, StreamfnError
from streamfn.state.directory import StateDirectory
from streamfn.state.folders import TaskFolder
from streamfn.state.memory import MemoryStore
from streamfn.state.rocksdb import RocksStore
from streamfn.state.store import StateStore, TaskHome

log = logging.getLogger("streamfn")


class MemoryHome:
    """A home in memory; ``disk`` outlives it, as a folder does."""

    def __init__(self, stores: Iterable[str], disk: dict[str, Space]) -> None:
        self._stores, self._disk = list(stores), disk
        self.store: StateStore = MemoryStore(self._stores, disk=disk)
        self.was_restoring = False

    def begin_restore(self) -> None:
        """Mark the data as incomplete until ``end_restore``."""
        self.was_restoring = True

    def end_restore(self) -> None:
        """The data is complete."""
        self.was_restoring = False

    def wipe(self, reason: str) -> None:
        """Go on with an empty store."""
        self.store.close()
        self._disk.clear()
        self.store = MemoryStore(self._stores, disk=self._disk)

    def close(self) -> None:
        """Release everything that was opened."""
        self.store.close()


class MemoryHomes:
    """Homes in memory, for tests and for tasks without stores; what a task leaves is kept."""

    def __init__(self) -> None:
        self._disks: dict[str, dict[str, Space]] = {}

    def open(self, task: str, stores: Iterable[str], *, private: bool = False) -> TaskHome:
        """Open what the task left, or a new one."""
        return MemoryHome(stores, self._disks.setdefault(task, {}))


class FolderHome:
    """A home in a folder that is locked for us.

    Damaged data is set aside, never read as fewer keys.
    """

    def __init__(self, folder: TaskFolder, stores: Iterable[str]) -> None:
        self.folder, self._stores = folder, list(stores)
        try:
            self.store: StateStore = RocksStore(folder.store_path, self._stores)
        except StateCorruptedError as error:
            self._set_aside(str(error))

    def _set_aside(self, reason: str) -> None:
        kept = self.folder.set_aside(reason)
        log.warning(
            "state of task %s set aside as %s: %s", self.folder.path.name, kept.name, reason
        )
        self.store = RocksStore(self.folder.store_path, self._stores)

    @property
    def was_restoring(self) -> bool:
        """True if a bulk load was begun and not ended."""
        return self.folder.was_restoring

    def begin_restore(self) -> None:
        """Mark the data as incomplete until ``end_restore``."""
        self.folder.begin_restore()

    def end_restore(self) -> None:
        """The data is complete."""
        self.folder.end_restore()

    def wipe(self, reason: str) -> None:
        """Go on with an empty store."""
        log.warning("state of task %s wiped, to be restored: %s", self.folder.path.name, reason)
        self.store.close()
        self.folder.wipe()
        self.store = RocksStore(self.folder.store_path, self._stores)

    def close(self) -> None:
        """Release everything that was opened."""
        self.store.close()
        self.folder.close()


class FolderHomes:
    """Homes in an application's state folder; a task without stores needs none on disk."""

    def __init__(self, directory: StateDirectory) -> None:
        self.directory = directory
        self._memory = MemoryHomes()

    def open(self, task: str, stores: Iterable[str], *, private: bool = False) -> TaskHome:
        """Lock and open a task's folder; a private one is new and goes with its home."""
        names = list(stores)
        if not names:
            return self._memory.open(task, names)
        folder = self.directory.fresh(task) if private else self.directory.lock_task(task)
        try:
            return FolderHome(folder, names)
        except StreamfnError:
            folder.close()
            raise
