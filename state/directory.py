"""``StateDirectory``: an application's folder on this machine, shared by all its workers here.

    <root>/<application>/
        identity.json            who this folder is: a copied one becomes another
        directory.lock           held for the short time in which shared files are read and changed
        crashes.json             how often a worker died where (state.slots)
        workers/<n>.lock         one a worker, lowest free number; beside it .position and .crash
        locks/<task>.lock        one a task
        tasks/<task>/            its data; beside it <task>.corrupt-*, .private-*, .wiped-*
        log/                     the embedded log's; nothing here touches it

The engine locks a task's folder before it opens the store in it, and lets go after closing that.

Invariant: nothing outside ``<root>/<application>`` is ever written or deleted: names are strict,
links are refused, and what is deleted holds our marker (``state.folders``).
"""

import os
import re
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec

from streamfn.clock import Clock, Random
from streamfn.errors import StateError
from streamfn.state.folders import (
    CORRUPT,
    PRIVATE,
    WIPED,
    FileLock,
    TaskFolder,
    check_name,
    check_removable,
    explained,
    is_locked,
    is_ours,
    locked_error,
    make_folder,
    make_task_folder,
    network_file_system,
    remove_task_folder,
    try_lock,
    write_file,
)
from streamfn.state.slots import WorkerSlot

MACHINE_ID = Path("/etc/machine-id")
LOOK_AGAIN_S = 0.02


class _Identity(msgspec.Struct, frozen=True):
    """Who a folder is, and where it was when it got its uuid."""

    uuid: str
    machine: str
    inode: int


class StateDirectory:
    """An application's state folder; it is created when the first slot or task is taken.

    Raises:
        StateError: the name is not usable, the root is a link or on a network file system.
    """

    def __init__(
        self, root: str | os.PathLike[str], application: str, *, clock: Clock, random: Random
    ) -> None:
        check_name("application", application)
        self._root = _real_root(Path(os.path.abspath(root)))
        self._clock, self._random = clock, random
        self._application = application
        self.path = self._root / application
        self._tasks, self._locks = self.path / "tasks", self.path / "locks"
        self._workers = self.path / "workers"
        self._guard = self.path / "directory.lock"

    # taking
    def claim_worker_slot(self) -> WorkerSlot:
        """Take the lowest free worker number of this folder."""
        with self._guarded():
            uuid = self._identity().uuid
            number, lock = self._free_number()
            with ExitStack() as undo:
                undo.callback(lock.close)
                name = f"{self._application}-{uuid}-{number}"
                slot = WorkerSlot(self.path, number, name, lock, self._guard)
                undo.pop_all()
                return slot

    def _free_number(self) -> tuple[int, FileLock]:
        number = 0
        while (lock := try_lock(self._workers / f"{number}.lock")) is None:
            number += 1
        return number, lock

    def lock_task(self, name: str) -> TaskFolder:
        """Take a task's folder, made if it is missing.

        Raises:
            StateLockedError: another process has it; the text names it.
            StateError: the folder is not ours, or cannot be used.
        """
        check_name("task", name)
        self._prepare()
        folder = self._take(name)
        if folder is None:  # perhaps only by one who looked whether it is locked
            self._clock.sleep(LOOK_AGAIN_S)
            folder = self._take(name)
        if folder is None:
            raise locked_error(self._lock_file(name), "task", name)
        for rest in self._tasks.glob(f"{name}.wiped-*"):
            if WIPED.fullmatch(rest.name.removeprefix(name)):
                remove_task_folder(rest)
        return folder

    def fresh(self, name: str) -> TaskFolder:
        """Make a private folder for a task whose own one a zombie holds; ``close`` deletes it."""
        check_name("task", name)
        self._prepare()
        while True:
            private = f"{name}.private-{self._random.token()}"
            if not (self._tasks / private).exists():
                folder = self._take(private)
                if folder:
                    return folder

    def _take(self, name: str) -> TaskFolder | None:
        lock = try_lock(self._lock_file(name))
        if lock is None:
            return None
        with ExitStack() as undo:
            undo.callback(lock.close)
            path = self._tasks / name
            make_task_folder(path)
            self._check_inside(path)
            undo.pop_all()
            return TaskFolder(path, lock, self._clock, self._random)

    # looking
    def list_tasks(self) -> list[str]:
        """Return the names of all tasks that have a folder here."""
        return sorted(
            path.name
            for path in self._folders()
            if not _is_rest(path.name) and not PRIVATE.search(path.name) and is_ours(path)
        )

    def task_path(self, name: str) -> Path:
        """Return where a task's folder is, or would be."""
        check_name("task", name)
        return self._tasks / name

    def unowned(self, names: Iterable[str]) -> list[str]:
        """Return tasks with a folder here that are not in ``names`` and that nobody has locked."""
        others = set(self.list_tasks()) - set(names)
        return sorted(name for name in others if not is_locked(self._lock_file(name)))

    # deleting
    def remove_unowned(self, older_than_s: float) -> list[str]:
        """Delete folders that nobody has used for so long; return the names of their tasks.

        Private folders count as tasks here; what was set aside stays, what was half deleted goes.
        """
        removed: list[str] = []
        for path in self._folders():
            name = _owner(path.name)
            lock_file = self._lock_file(name)
            if CORRUPT.search(path.name) or not is_ours(path) or is_locked(lock_file):
                continue
            idle_s = self._clock.now_ms() / 1000 - _last_use_s(path, lock_file)
            if idle_s < older_than_s and not WIPED.search(path.name):
                continue
            lock = try_lock(lock_file)
            if lock:
                with ExitStack() as undo:
                    undo.callback(lock.close)
                    remove_task_folder(path)
                removed += [name] if path.name == name else []
        return sorted(removed)

    def check_removable(self) -> None:
        """Refuse what ``wipe_all`` would refuse to delete, before anything is begun.

        Raises:
            StateError: a folder among the tasks is not ours.
        """
        for path in self._folders():
            check_removable(path)

    def wipe_all(self) -> list[str]:
        """Delete the state of all tasks, or of none; return the names of the folders deleted.

        Raises:
            StateLockedError: a worker is running, or a task is in use.
            StateError: a folder among the tasks is not ours.
        """
        if not (self._folders() or self.path.exists()):
            return []
        with self._guarded(), ExitStack() as locks:
            for lock_file in sorted(self._workers.glob("*.lock")):
                self._hold(locks, "application", self._application, lock_file)
            folders = self._folders()
            for name in sorted({_owner(path.name) for path in folders}):
                self._hold(locks, "task", name, self._lock_file(name))
            self.check_removable()
            for path in folders:
                remove_task_folder(path)
            with explained(self.path):
                for file in self._workers.iterdir():
                    if file.suffix in (".crash", ".position"):
                        file.unlink()
                (self.path / "crashes.json").unlink(missing_ok=True)
        return [path.name for path in folders]

    def _hold(self, locks: ExitStack, kind: str, name: str, lock_file: Path) -> None:
        lock = try_lock(lock_file)
        if lock is None:
            raise locked_error(lock_file, kind, name)
        locks.callback(lock.close)

    # inside
    def _lock_file(self, name: str) -> Path:
        return self._locks / f"{name}.lock"

    def _folders(self) -> list[Path]:
        with explained(self._tasks), suppress(FileNotFoundError):
            return sorted(self._tasks.iterdir())
        return []

    def _prepare(self) -> None:
        for path in (self._root, self.path, self._tasks, self._locks, self._workers):
            make_folder(path)
            self._check_inside(path)

    def _check_inside(self, path: Path) -> None:
        if not Path(os.path.realpath(path)).is_relative_to(self._root):
            message = (
                f"state folder {str(path)!r} leads out of {str(self._root)!r}; remove the link"
            )
            raise StateError(message)

    @contextmanager
    def _guarded(self) -> Generator[None, None, None]:
        self._prepare()
        lock = try_lock(self._guard, wait=True)
        assert lock is not None
        try:
            yield
        finally:
            lock.close()

    def _identity(self) -> _Identity:
        """Return who this folder is; a new one, and a copy of another, gets a new uuid."""
        file = self.path / "identity.json"
        with explained(file):
            machine, inode = _machine(), self.path.stat().st_ino
            found = _read_identity(file) if file.exists() else None
            if found and (found.machine, found.inode) == (machine, inode):
                return found
        made = _Identity(self._random.token(), machine, inode)
        write_file(file, msgspec.json.encode(made).decode() + "\n")
        return made


def _read_identity(file: Path) -> _Identity | None:
    """Read the identity; damaged is as good as none: the folder only gets another uuid."""
    try:
        found = msgspec.json.decode(file.read_bytes(), type=_Identity)
    except msgspec.DecodeError:
        return None
    return found if re.fullmatch(r"[0-9a-f-]{8,64}", found.uuid) else None


def _machine() -> str:
    try:
        text = MACHINE_ID.read_text().strip()
    except OSError:  # not on every system, not in every container
        text = ""
    return text or os.uname().nodename


def _real_root(given: Path) -> Path:
    with explained(given):
        if given.is_symlink():
            message = f"state folder {str(given)!r} is a symbolic link; name the folder itself"
            raise StateError(message)
        root = Path(os.path.realpath(given))
        kind = network_file_system(root)
    if kind:
        message = (
            f"state folder {str(root)!r} is on a network file system; got {kind!r}, where locks do "
            "not hold; name a folder on a local disk"
        )
        raise StateError(message)
    return root


def _is_rest(name: str) -> bool:
    return bool(CORRUPT.search(name) or WIPED.search(name))


def _owner(name: str) -> str:
    """Return the name under which a folder is locked: what is left of a task goes with the task."""
    while _is_rest(name):
        name = WIPED.sub("", CORRUPT.sub("", name))
    return name


def _last_use_s(path: Path, lock_file: Path) -> float:
    """Return when a folder was last written to or locked, whichever is later."""
    latest = 0.0
    with explained(path):
        for place in (path, lock_file, *path.rglob("*")):
            with suppress(FileNotFoundError):  # another process may be at it; the lock decides
                latest = max(latest, place.lstat().st_mtime)
    return latest
