"""When committed changes go to the databases: every few commits, as the changelogs have them.

Tasks come from the worker's loop; what they hold goes to their stores. Invariant: one large write a
round, as it takes long enough, and none of what is not committed.
"""

from collections.abc import Sequence

from streamfn.clock import Clock
from streamfn.config import Config
from streamfn.engine.task import Task


class StoreWrites:
    """Writes the stores of tasks by timer, and of one that holds too much at once."""

    def __init__(self, clock: Clock, config: Config) -> None:
        self._clock, self._config = clock, config
        self._last_s = clock.monotonic_s()
        self._waiting: list[Task] = []

    def step(self, tasks: Sequence[Task]) -> None:
        """Write what is due."""
        now_s = self._clock.monotonic_s()
        if (now_s - self._last_s) * 1000 >= self._config.store_interval_ms:
            self._last_s = now_s
            self._waiting = [task for task in tasks if task.unwritten]
        for task in tasks:
            if task.pending_entries > self._config.pending_entries_max:
                task.write_store()
        while self._waiting:
            task = self._waiting.pop()
            if task.unwritten:
                task.write_store()
                break
