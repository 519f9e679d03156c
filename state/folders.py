"""Files and locks under a state folder, and ``TaskFolder``: a task's place on disk while ours.

``state.directory`` makes these; a ``RocksStore`` lives in a task folder's ``store_path``.

Invariant: **only folders that hold our marker file are ever deleted**, and their marker goes last.
Lock files lie outside the folders they guard and are never unlinked: a lock on an unlinked file
guards nothing.
"""

import errno
import fcntl
import os
import re
import shutil
import stat
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from streamfn.clock import Clock, Random
from streamfn.errors import StateError, StateLockedError

MARKER = ".streamfn-task"
DRAFT = f"{MARKER}.new"
CORRUPT_KEPT = 3
CORRUPT = re.compile(r"\.corrupt-([0-9]+)$")
WIPED = re.compile(r"\.wiped-[0-9a-f]+$")
PRIVATE = re.compile(r"\.private-[0-9a-f]+$")
NETWORK_TYPES = frozenset(
    [
        *("afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "glusterfs", "gpfs", "lustre"),
        *("ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs", "fuse.ceph-fuse", "fuse.davfs2"),
        *("fuse.glusterfs", "fuse.s3fs", "fuse.sshfs"),
    ]
)

_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")
_RESTORING = ".restoring"
_CURES = {
    errno.EACCES: "give this user the right to write there, or name another folder",
    errno.EPERM: "give this user the right to write there, or name another folder",
    errno.EROFS: "its file system is read-only: mount it writable, or name another folder",
    errno.ENOTDIR: "a file stands where a folder should be: move it, or name another folder",
    errno.EEXIST: "a file stands where a folder should be: move it, or name another folder",
    errno.ELOOP: "it is a symbolic link: put a real file or folder there",
    errno.ENOSPC: "the disk is full: free some space",
}


@contextmanager
def explained(path: Path) -> Generator[None, None, None]:
    """Turn an error of the operating system into one line that says path and cure."""
    try:
        yield
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else str(path)
        cure = _CURES.get(error.errno or 0, "look at the disk and its mount")
        message = f"state folder cannot be used at {where!r}; got {error.strerror!r}; {cure}"
        raise StateError(message) from error


def check_name(kind: str, name: str) -> None:
    """Refuse a name that could lead out of its folder, or be taken for one of ours.

    Raises:
        StateError: the name is not usable.
    """
    ours = any(pattern.search(name) for pattern in (CORRUPT, WIPED, PRIVATE))
    if not _NAME.fullmatch(name) or name in (".", "..") or ours:
        message = (
            f"{kind} name cannot name a folder; got {name!r}; use 1 to 200 of A-Z a-z 0-9 . _ -, "
            "not '.' or '..', and no ending like '.corrupt-1', '.private-1' or '.wiped-1'"
        )
        raise StateError(message)


def network_file_system(path: Path, mounts: Path = Path("/proc/mounts")) -> str | None:
    """Return the type of the network file system that a resolved path is on; None if it is local.

    Where there is no table of mounts (not Linux) nothing is known, and None is returned.
    """
    if not mounts.exists():
        return None
    deepest, found = -1, ""
    for line in mounts.read_text(errors="surrogateescape").splitlines():
        _, place, kind, *_ = line.split(" ")
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), place))
        if path.is_relative_to(point) and len(point.parts) >= deepest:  # a later mount hides
            deepest, found = len(point.parts), kind
    return found if found in NETWORK_TYPES else None


def make_folder(path: Path) -> None:
    """Create a folder for this user alone; one that is there stays, unless it is a link."""
    with explained(path):
        if path.is_symlink():
            message = f"state folder {str(path)!r} is a symbolic link; put a real folder there"
            raise StateError(message)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_file(path: Path, text: str) -> None:
    """Write a small file for this user alone, as a whole or not at all, power loss included."""
    with explained(path):
        draft = path.with_name(f"{path.name}.new")  # of the marker: DRAFT
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(file, text.encode())
            os.fsync(file)
        finally:
            os.close(file)
        draft.replace(path)
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make names in a folder durable."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class FileLock:
    """A lock on a file, held until ``close`` or the end of the process, kill -9 included."""

    def __init__(self, path: Path, file: int) -> None:
        self.path, self._file = path, file

    @property
    def held(self) -> bool:
        """True until ``close``."""
        return self._file >= 0

    def close(self) -> None:
        """Let go of the lock; a second call does nothing. The file's time tells of the last use."""
        if self._file >= 0:
            os.utime(self._file)
            os.close(self._file)
            self._file = -1


def try_lock(path: Path, *, wait: bool = False) -> FileLock | None:
    """Lock a file and note this process in it; None if another one (or we) has it."""
    with explained(path):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        lock = FileLock(path, file)
        try:
            os.ftruncate(file, 0)
            os.pwrite(file, _note(), 0)
        except OSError:
            lock.close()
            raise
    return lock


def _note() -> bytes:
    """Say who we are; a process id alone is 1 in every container."""
    command = " ".join(" ".join(sys.orig_argv).split())[:200]
    return f"{os.getpid()} {os.uname().nodename} {command}".encode(errors="replace")


def is_locked(path: Path) -> bool:
    """Tell whether a lock is held, without a trace in its file. For that instant we hold it."""
    with explained(path):
        try:
            file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
    return False


def locked_error(path: Path, kind: str, name: str) -> StateLockedError:
    """Say who holds a lock."""
    with explained(path):
        pid, host, command = [*path.read_text(errors="replace").split(" ", 2), "", "", ""][:3]
    holder = f"process {pid} on {host} ({command})" if pid else "a process that just took it"
    return StateLockedError(
        f"{kind} {name!r} is in use; {holder} holds {str(path)!r}; stop that process first"
    )


def is_ours(path: Path) -> bool:
    """Tell whether a path is a real folder with our marker file."""
    with explained(path):
        try:
            marked = stat.S_ISREG((path / MARKER).lstat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return marked and not path.is_symlink()


def check_ours(path: Path) -> None:
    """Refuse a folder that streamfn has not made.

    Raises:
        StateError: it has no marker file, or is a link.
    """
    if not is_ours(path):
        message = (
            f"folder {str(path)!r} was not made by streamfn; got no {MARKER} file in it; "
            "nothing was deleted: move it away"
        )
        raise StateError(message)


def make_task_folder(path: Path) -> None:
    """Create a marked folder; an empty one (we died before the mark) is taken over."""
    make_folder(path)
    with explained(path):
        if not _is_empty(path):
            check_ours(path)
        else:
            write_file(path / MARKER, f"made by streamfn for {path.name}; it may delete all here\n")


def _is_empty(path: Path) -> bool:
    """Tell whether nothing is in a folder; a mark that we died writing is nothing."""
    return all(
        entry.name == DRAFT and stat.S_ISREG(entry.lstat().st_mode) for entry in path.iterdir()
    )


def check_removable(path: Path) -> None:
    """Refuse to delete what streamfn has not made; an empty folder is nobody's.

    Raises:
        StateError: as ``check_ours``.
    """
    with explained(path):
        if path.is_symlink() or not path.is_dir() or not _is_empty(path):
            check_ours(path)


def remove_task_folder(path: Path) -> None:
    """Delete a marked folder with all in it; the marker goes last, so that a rest is still ours."""
    check_removable(path)
    with explained(path):
        for entry in list(path.iterdir()):
            if entry.name == MARKER:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        (path / MARKER).unlink(missing_ok=True)
        path.rmdir()


class TaskFolder:
    """A task's folder, ours until ``close``. The store in it must be closed before it is moved."""

    def __init__(self, path: Path, lock: FileLock, clock: Clock, random: Random) -> None:
        self.path = path
        self._lock, self._clock, self._random = lock, clock, random

    @property
    def store_path(self) -> Path:
        """Where the task's database goes."""
        return self.path / "store"

    @property
    def private(self) -> bool:
        """True for a folder that stands in for one whose lock a zombie holds."""
        return PRIVATE.search(self.path.name) is not None

    @property
    def was_restoring(self) -> bool:
        """True if a bulk load was begun and not ended: the data is in pieces, wipe it."""
        with explained(self.path):
            return (self.path / _RESTORING).exists()

    def begin_restore(self) -> None:
        """Mark the folder, durably, before the first bulk load."""
        self._check()
        write_file(self.path / _RESTORING, "a bulk load is under way\n")

    def end_restore(self) -> None:
        """Take the mark away, after the store was written with its offsets."""
        self._check()
        with explained(self.path):
            (self.path / _RESTORING).unlink(missing_ok=True)
            sync_folder(self.path)

    def wipe(self) -> None:
        """Empty the folder at once; a crash on the way leaves a rest that is deleted later."""
        self._check()
        check_ours(self.path)
        rest = self.path.with_name(f"{self.path.name}.wiped-{self._random.token()}")
        self._replace(rest)
        remove_task_folder(rest)

    def set_aside(self, reason: str) -> Path:
        """Keep damaged data under another name and go on with an empty folder; return its path.

        The last ``CORRUPT_KEPT`` of a task are kept, older ones deleted.
        """
        self._check()
        check_ours(self.path)
        now_ms = self._clock.now_ms()
        while (aside := self.path.with_name(f"{self.path.name}.corrupt-{now_ms}")).exists():
            now_ms += 1
        self._replace(aside)
        write_file(aside / "reason.txt", f"{reason}\n")
        for path in asides(self.path)[:-CORRUPT_KEPT]:
            remove_task_folder(path)
        return aside

    def _replace(self, aside: Path) -> None:
        with explained(self.path):
            self.path.rename(aside)
        make_task_folder(self.path)

    def close(self) -> None:
        """Let go of the folder; a private one, which nobody will find again, is deleted."""
        if self._lock.held and self.private and is_ours(self.path):
            remove_task_folder(self.path)
        self._lock.close()

    def _check(self) -> None:
        assert self._lock.held, f"task folder {self.path} is closed"


def asides(path: Path) -> list[Path]:
    """Return what was set aside of a task folder, oldest first."""
    found = {
        int(match[1]): other
        for other in path.parent.glob(f"{path.name}.corrupt-*")
        if (match := CORRUPT.fullmatch(other.name.removeprefix(path.name)))
    }
    return [found[moment] for moment in sorted(found)]
