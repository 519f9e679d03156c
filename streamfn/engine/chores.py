"""What a worker does now and then.

Trim repartition topics, refresh positions, look whether topics have changed.

Invariant: a repartition topic is trimmed only up to positions that are known to be committed, and a
user's topic never.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final

from streamfn.clock import Clock
from streamfn.config import Config
from streamfn.connectors.log import Log
from streamfn.engine.feed import FeedTask
from streamfn.engine.task import Task
from streamfn.errors import LogError, StopError
from streamfn.graph.plan import Plan, Subtopology
from streamfn.metrics import Metrics
from streamfn.record import TopicPartition

log_ = logging.getLogger("streamfn")

REFRESH_POSITIONS_S: Final = 3600.0
"""Positions expire on a broker if they are not committed again."""
WAITED_LONG_S: Final = 60.0
GONE_ANSWERS: Final = 3
ASK_AGAIN_S: Final = 1.0


class Chores:
    """Timed duties of one worker, between two rounds of its loop."""

    def __init__(
        self,
        plan: Plan,
        log: Log,
        clock: Clock,
        config: Config,
        metrics: Metrics,
        caught_up: Callable[[TopicPartition], bool],
    ) -> None:
        self.plan, self._log, self._clock, self._metrics = plan, log, clock, metrics
        self._caught_up = caught_up
        self._trim_s = config.repartition_trim_interval_ms / 1000
        self._check_s = config.topic_check_interval_ms / 1000
        self._refresh_s = REFRESH_POSITIONS_S
        now_s = clock.monotonic_s()
        self._last_s: dict[str, float] = {}
        for duty in ("trim", "check", "refresh", "waiting"):
            self._last_s[duty] = now_s
        self._waiting_s: dict[str, float] = {}
        self._gone: dict[str, int] = {}

    def start(self) -> None:
        """Ask how long positions live: they are committed again four times in that."""
        kept_ms = self._log.positions_kept_ms()
        if kept_ms is not None:
            self._refresh_s = min(REFRESH_POSITIONS_S, kept_ms / 4000)

    def run(self, tasks: Sequence[Task], feeds: Sequence[FeedTask] = ()) -> bool:
        """Do what is due; return True if a source topic has grown that may."""
        now_s = self._clock.monotonic_s()
        if self._due("trim", self._trim_s, now_s):
            self.trim(tasks)
        if self._due("waiting", WAITED_LONG_S, now_s):
            self._warn_of_waiting(tasks, now_s)
        if self._due("refresh", self._refresh_s, now_s):
            for task in tasks:
                task.touch()
            for feed in feeds:
                feed.touch()
        return self._due("check", self._check_s, now_s) and self._topics_have_grown()

    def _warn_of_waiting(self, tasks: Sequence[Task], now_s: float) -> None:
        """A task that holds records back for the sake of order says for what and since when."""
        waiting = {
            task.name: sources
            for task in tasks
            if (sources := task.buffer.waiting_for(self._caught_up))
        }
        self._waiting_s = {name: self._waiting_s.get(name, now_s) for name in waiting}
        for name, since_s in self._waiting_s.items():
            if now_s - since_s >= WAITED_LONG_S:
                inputs = ", ".join(map(str, waiting[name]))
                log_.warning("task %s waits for %s since %.0f s", name, inputs, now_s - since_s)

    def _due(self, what: str, interval_s: float, now_s: float) -> bool:
        if now_s - self._last_s[what] < interval_s:
            return False
        self._last_s[what] = now_s
        return True

    def trim(self, tasks: Sequence[Task]) -> None:
        """Forget repartition records that are processed and committed."""
        repartitions = {t.name for t in self.plan.internal_topics if t.purpose == "repartition"}
        mine = [s for task in tasks for s in task.sources if s.topic in repartitions]
        try:
            for source, committed in self._log.committed(mine).items():
                self._log.delete_records(source, committed.offset)
        except LogError as error:
            self._metrics.trims_failed += 1
            names = ", ".join(map(str, mine))
            log_.warning("trimming %s failed, tried again later: %s", names, error)

    def _topics_have_grown(self) -> bool:
        """New partitions of a source are read by nobody, without any event: look for them.

        Raises:
            StopError: what reads the topic has state, whose keys would now come elsewhere.
        """
        try:
            self._log.verify_membership()
            widths = [sub.source_partitions for sub in self.plan.subtopologies]
            topics = self._log.topics({name for width in widths for name in width})
        except LogError as error:
            if not error.retriable:
                raise
            log_.warning("looking at the topics failed, tried again later: %s", error)
            return False
        grown = False
        for sub in self.plan.subtopologies:
            for name, width in sub.source_partitions.items():
                found = topics.get(name)
                if self._is_one_answer(name, gone=found is None):
                    return False
                if found is None or found.partitions != width:
                    _check_may_grow(sub, name, width, found.partitions if found else 0)
                    grown = True
        return grown

    def _is_one_answer(self, topic: str, *, gone: bool) -> bool:
        """A broker that has just come up may not know a topic yet: ask it again, soon."""
        self._gone[topic] = self._gone.get(topic, 0) + 1 if gone else 0
        if 0 < self._gone[topic] < GONE_ANSWERS:
            self._last_s["check"] = self._clock.monotonic_s() - self._check_s + ASK_AGAIN_S
            return True
        return False


def _check_may_grow(sub: Subtopology, topic: str, width: int, found: int) -> None:
    if found > width and not sub.stores:
        return
    got = f"{found} partitions" if found else "no topic"
    state = f" and sub-topology {sub.name!r} has state for these" if found else ""
    cure = (
        "its keys are elsewhere now: copy the records to a topic of the right count, or start "
        "over: streamfn reset"
        if found
        else "make it anew, then start over: streamfn reset"
    )
    message = (
        f"source topic {topic!r} has changed under the application; it had {width} "
        f"partitions{state}; got {got}; {cure}"
    )
    raise StopError(message)
