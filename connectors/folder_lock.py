"""The lock of the embedded log: one process at a time, and the others learn which one.

Invariant: the lock file lies beside the folder that it guards and is never unlinked, so that two
processes always lock the same file; the operating system frees the lock when its owner dies.
"""

import fcntl
import json
import os
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streamfn.clock import Clock
from streamfn.errors import LogError, LogLockedError

NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb", "smb3", "smbfs", "afs", "ncpfs", "fuse.sshfs"}
)


class FolderLock:
    """The lock of a folder, held until ``close``."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        refuse_network(folder)
        path = folder.parent / f"{folder.name}.lock"
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            message = (
                f"embedded log {str(folder)!r} cannot be locked; got {error.strerror} for "
                f"{str(path)!r}; mend its rights or choose another --state-dir"
            )
            raise LogError(message) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _read(self._file)
            os.close(self._file)
            message = (
                f"embedded log {str(folder)!r} is in use by {holder}; stop it first or choose "
                "another --state-dir"
            )
            raise LogLockedError(message) from error
        _write(self._file, clock)

    def close(self) -> None:
        """Free the lock; a second call does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _write(file: int, clock: Clock) -> None:
    since = datetime.fromtimestamp(clock.now_ms() / 1000, UTC).astimezone()
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200]
    holder = {"pid": os.getpid(), "command": command, "since": since.isoformat(timespec="seconds")}
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(holder).encode(), 0)


def _read(file: int) -> str:
    try:
        holder: dict[str, Any] = json.loads(os.pread(file, 4096, 0))
        since = datetime.fromisoformat(holder["since"])
        return f"process {holder['pid']} ({holder['command']}) since {since:%H:%M:%S}"
    except (ValueError, KeyError, TypeError):
        return "another process"  # it has the lock but has not written yet who it is


def refuse_network(folder: Path, mounts: Path = Path("/proc/mounts")) -> None:
    """Refuse a folder whose locks and syncs cannot be trusted.

    Raises:
        LogError: the folder is on a network file system.
    """
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return  # no Linux: there is no list to look at
    real = folder.resolve()
    best, kind = Path("/"), ""
    for line in lines:
        _, at, found, *_ = line.split(" ")
        place = Path(at.encode().decode("unicode_escape"))  # a blank is written as \\040
        if real.is_relative_to(place) and len(place.parts) >= len(best.parts):
            best, kind = place, found
    if kind in NETWORK_FILE_SYSTEMS:
        message = (
            f"embedded log {str(folder)!r} cannot be kept there; got a network file system "
            f"({kind} at {str(best)!r}), which loses locks; choose a --state-dir on a local disk"
        )
        raise LogError(message)
