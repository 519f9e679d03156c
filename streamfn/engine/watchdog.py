"""Ends a process whose loop hangs, with a dump of where.

A Python thread would be blind while C code holds the GIL.

``faulthandler`` writes every stack into the worker's crash file and exits; ``beat`` moves the
moment away each round of the loop. Invariant: armed only between the first ``beat`` and ``stop``.
"""

import faulthandler
import io


class Watchdog:
    """``faulthandler.dump_traceback_later``, re-armed by each beat; a timeout of 0 is off."""

    def __init__(self, timeout_ms: int, crash_file: io.FileIO | None) -> None:
        self._timeout_s = timeout_ms / 1000
        self._file = crash_file
        self._armed_s = float("-inf")
        if crash_file is not None:
            faulthandler.enable(crash_file)

    def beat(self, now_s: float) -> None:
        """The loop lives. Arming costs a system call, so it is done a hundred times per timeout."""
        if self._timeout_s and self._file and now_s - self._armed_s > self._timeout_s / 100:
            faulthandler.dump_traceback_later(self._timeout_s, exit=True, file=self._file)
            self._armed_s = now_s

    def stop(self) -> None:
        """Disarm."""
        faulthandler.cancel_dump_traceback_later()
        if self._file is not None:
            faulthandler.disable()
