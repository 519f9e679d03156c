"""``WorkerSlot``: a worker's number on its machine, and its memory of where it crashed.

The worker notes its position before it runs user code; faulthandler writes to the slot's crash file
when the process dies of itself (a signal, a watchdog). Whoever claims the slot next finds both and
adds one to that position's count in ``crashes.json``, which all slots share.

Invariant: a crash is counted for the position noted last by the process that crashed, or not at
all. A kill -9, an orderly end and a crash before the first position count for nothing.
"""

import os
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import TypeAlias

import msgspec

from streamfn.state.folders import FileLock, explained, try_lock, write_file

Crashes: TypeAlias = dict[tuple[str, str, int], int]
"""(task, topic, offset) → how often a process died there."""

POSITION_BYTES = 512
"""One line; a task's name has at most 200 characters, a topic's 249, an offset 19."""


class WorkerSlot:
    """A number that no other worker of this folder has, until ``close`` or the process ends."""

    def __init__(
        self, folder: Path, number: int, transactional_id: str, lock: FileLock, guard: Path
    ) -> None:
        """``folder`` is the application's; ``guard`` the lock file of what slots share.

        The caller holds the guard.
        """
        self.number, self.transactional_id = number, transactional_id
        self._lock, self._guard = lock, guard
        self._counts = folder / "crashes.json"
        self._crash = folder / "workers" / f"{number}.crash"
        self._report = folder / "workers" / f"{number}.last-crash"
        place = folder / "workers" / f"{number}.position"
        self._known = _read_counts(self._counts)
        with explained(place):
            self._position = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            self._count_crash()
            os.ftruncate(self._position, 0)
            self._file = FileIO(os.open(self._crash, _APPEND, 0o600), "ab")

    def _count_crash(self) -> None:
        if not (self._crash.exists() and self._crash.stat().st_size):
            return
        place = _parse(os.pread(self._position, POSITION_BYTES, 0))
        if place:
            self._known[place] = self._known.get(place, 0) + 1
            _write_counts(self._counts, self._known)
        self._crash.replace(self._report)

    def note_position(self, task: str, topic: str, offset: int) -> None:
        """Note what is about to be processed: one write to the page cache, which survives us."""
        line = f"{task} {topic} {offset}".encode().ljust(POSITION_BYTES - 1) + b"\n"
        os.pwrite(self._position, line, 0)

    def forget_position(self) -> None:
        """Nothing of the user's runs from now on: a crash counts for nobody."""
        os.pwrite(self._position, b"\n".rjust(POSITION_BYTES), 0)

    def crash_file(self) -> FileIO:
        """Return the open file for ``faulthandler.enable`` and ``dump_traceback_later``."""
        return self._file

    def crashes(self) -> Crashes:
        """Return how often a worker of this folder died at each position, other workers' included.

        It reads a file: ask when tasks are assigned.
        """
        self._known = _read_counts(self._counts)
        return dict(self._known)

    def forget_crash(self, task: str) -> None:
        """Drop a task's counts: it has got past. Cheap where ``crashes`` last had none of it."""
        if not any(name == task for name, _, _ in self._known):
            return
        guard = try_lock(self._guard, wait=True)
        try:
            kept = {at: times for at, times in _read_counts(self._counts).items() if at[0] != task}
            _write_counts(self._counts, kept)
        finally:
            if guard:
                guard.close()
        self._known = {at: times for at, times in self._known.items() if at[0] != task}

    def close(self) -> None:
        """Give the number back; what faulthandler wrote is kept, but is no crash: we are alive."""
        if not self._lock.held:
            return
        if os.fstat(self._file.fileno()).st_size:
            with suppress(FileNotFoundError):
                self._crash.replace(self._report)
        self._file.close()
        os.close(self._position)
        self._lock.close()


_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW


def _parse(line: bytes) -> tuple[str, str, int] | None:
    parts = line.decode(errors="replace").split()
    if len(parts) != 3 or not parts[2].isdecimal():
        return None
    return parts[0], parts[1], int(parts[2])


def _read_counts(path: Path) -> Crashes:
    """Read the counts; a file that is missing or damaged counts nothing, as if it were new."""
    rows: list[tuple[str, str, int, int]] = []
    with explained(path), suppress(FileNotFoundError, msgspec.DecodeError):
        rows = msgspec.json.decode(path.read_bytes(), type=list[tuple[str, str, int, int]])
    return {(task, topic, offset): times for task, topic, offset, times in rows}


def _write_counts(path: Path, counts: Crashes) -> None:
    rows = [[*place, times] for place, times in sorted(counts.items())]
    write_file(path, msgspec.json.encode(rows).decode() + "\n")
