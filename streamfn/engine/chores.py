"""What a worker does now and then.

Trim repartition topics, refresh positions, look whether topics have changed.

Invariant: a repartition topic is trimmed only up to positions that are known to be committed, and a
user's topic never.
"""

import logging
from collections.abc import Sequence

from streamfn.clock import Clock
from streamfn.config import Config
from streamfn.connectors.log import Log
from streamfn.engine.task import Task
from streamfn.errors import LogError, StopError
from streamfn.graph.plan import Plan

log_ = logging.getLogger("streamfn")

CHECK_TOPICS_S = 60.0
REFRESH_POSITIONS_S = 3600.0
"""Positions expire on a broker if they are not committed again."""


class Chores:
    """Timed duties of one worker, between two rounds of its loop."""

    def __init__(self, plan: Plan, log: Log, clock: Clock, config: Config) -> None:
        self._plan, self._log, self._clock = plan, log, clock
        self._trim_s = config.repartition_trim_interval_ms / 1000
        now_s = clock.monotonic_s()
        self._last_s: dict[str, float] = {"trim": now_s, "check": now_s, "refresh": now_s}
        self._waiting_s: dict[str, float] = {}
        self._repartitions = {
            topic.name for topic in plan.internal_topics if topic.purpose == "repartition"
        }

    def run(self, tasks: Sequence[Task]) -> None:
        """Do what is due."""
        now_s = self._clock.monotonic_s()
        if self._due("trim", self._trim_s, now_s):
            self.trim(tasks)
        if self._due("check", CHECK_TOPICS_S, now_s):
            self._check_topics()
            self._warn_of_waiting(tasks, now_s)
        if self._due("refresh", REFRESH_POSITIONS_S, now_s):
            for task in tasks:
                task.touch()

    def _warn_of_waiting(self, tasks: Sequence[Task], now_s: float) -> None:
        """A task that holds records back for the sake of order says for what and since when."""
        waiting = {
            task.name: sources
            for task in tasks
            if (sources := task.buffer.waiting_for(self._log.caught_up))
        }
        self._waiting_s = {name: self._waiting_s.get(name, now_s) for name in waiting}
        for name, since_s in self._waiting_s.items():
            if now_s - since_s >= CHECK_TOPICS_S:
                inputs = ", ".join(map(str, waiting[name]))
                log_.warning("task %s waits for %s since %.0f s", name, inputs, now_s - since_s)

    def _due(self, what: str, interval_s: float, now_s: float) -> bool:
        if now_s - self._last_s[what] < interval_s:
            return False
        self._last_s[what] = now_s
        return True

    def trim(self, tasks: Sequence[Task]) -> None:
        """Forget repartition records that are processed and committed."""
        mine = [s for task in tasks for s in task.sources if s.topic in self._repartitions]
        try:
            for source, committed in self._log.committed(mine).items():
                self._log.delete_records(source, committed.offset)
        except LogError as error:
            log_.warning("trimming %s failed, tried again later: %s", mine, error)

    def _check_topics(self) -> None:
        """New partitions of a source are read by nobody, without any event: say so."""
        topics = self._log.topics()
        for sub in self._plan.subtopologies:
            for name, width in sub.source_partitions.items():
                found = topics.get(name)
                if found is None or found.partitions != width:
                    got = "no topic" if found is None else f"{found.partitions} partitions"
                    message = (
                        f"source topic {name!r} has changed under the application; it had {width} "
                        f"partitions, got {got}; start again with a plan that fits it"
                    )
                    raise StopError(message)
