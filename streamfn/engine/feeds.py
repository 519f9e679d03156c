"""The feeds of a worker: it runs those whose token it holds, and knows when the others are done.

A feed stands for one file or the like, so one worker of all may load it: feed *i* goes with token
*i*. What it has loaded is in its topic for everybody; that it is at its end is in the mark of its
position. Invariant: an input that a feed adds to is caught up only behind the feed's last row,
whoever loads it.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Final

from streamfn.clock import Clock
from streamfn.connectors.log import Log
from streamfn.connectors.source import Source
from streamfn.engine.feed import FeedTask
from streamfn.engine.marks import mark_of
from streamfn.errors import LogError
from streamfn.graph.plan import Plan
from streamfn.graph.topology import Feed
from streamfn.metrics import Metrics
from streamfn.record import TopicPartition

FEED_ROWS: Final = 2_000
ASK_EVERY_S: Final = 0.5


class Feeds:
    """The feeds of one worker."""

    def __init__(
        self,
        plan: Plan,
        open_source: Callable[[Feed], Source],
        log: Log,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._plan, self._open_source, self._log = plan, open_source, log
        self._clock, self._metrics = clock, metrics
        self.mine: list[FeedTask] = []
        self._arrivals: list[Feed] = []
        self._feeding: dict[str, list[Feed]] = {}
        for feed in plan.topology.feeds:
            self._feeding.setdefault(feed.topic.name, []).append(feed)
        self._ends: dict[TopicPartition, int] = {}
        self._done: set[str] = set()
        self._asked_s: dict[str, float] = {}

    # which are ours
    def assigned(self, tokens: Iterable[int]) -> None:
        """Remember which feeds have come; called inside the log's callback."""
        feeds = self._plan.topology.feeds
        wanted = set(tokens)
        self._arrivals += [f for i, f in enumerate(feeds) if i % self._plan.tokens in wanted]

    def open_arrivals(self) -> None:
        """Open what has come, at its committed position."""
        while self._arrivals:
            feed = self._arrivals[0]
            task = FeedTask(
                feed, self._plan, self._open_source(feed), self._log, self._clock, self._metrics
            )
            task.start()
            self.mine.append(task)
            self._arrivals.pop(0)
            self._forget()

    def release(self, tokens: Iterable[int] | None = None) -> None:
        """Close the feeds of some tokens, or all; what is not committed is read again."""
        feeds = self._plan.topology.feeds
        wanted = range(self._plan.tokens) if tokens is None else set(tokens)
        gone = {f.name for i, f in enumerate(feeds) if i % self._plan.tokens in wanted}
        self._arrivals = [feed for feed in self._arrivals if feed.name not in gone]
        for task in [task for task in self.mine if task.feed.name in gone]:
            self.mine.remove(task)
            task.close()
        self._forget()

    def replan(self, plan: Plan, tokens: Iterable[int]) -> None:
        """Go on by another plan with more tokens: some feeds may go with others now."""
        self._plan, wanted = plan, set(tokens)
        feeds = plan.topology.feeds
        ours = [feed for i, feed in enumerate(feeds) if i % plan.tokens in wanted]
        names = {feed.name for feed in ours}
        for task in [task for task in self.mine if task.feed.name not in names]:
            self.mine.remove(task)
            task.close()
        known = {task.feed.name for task in self.mine}
        self._arrivals = [feed for feed in ours if feed.name not in known]
        self._forget()

    @property
    def settled(self) -> bool:
        """True if every feed that is ours is open."""
        return not self._arrivals

    # work
    def step(self) -> int:
        """Read on, all in turn; while a row is sought that the log refuses, only in its feed."""
        searching = [f for f in self.mine if f.searching and (f.dirty or not f.at_end)]
        return sum(feed.step(FEED_ROWS) for feed in searching[:1] or self.mine)

    def rewind(self) -> None:
        """Go back to what is committed."""
        for feed in self.mine:
            feed.start()

    # what others may know
    def caught_up(self, source: TopicPartition) -> bool:
        """True if there is nothing earlier to come: the end is reached, and no feed adds to it."""
        feeding = self._feeding.get(source.topic)
        if not feeding:
            return self._log.caught_up(source)
        mine = {task.feed.name: task for task in self.mine}
        tasks = [mine[feed.name] for feed in feeding if feed.name in mine]
        if any(task.dirty or not task.at_end for task in tasks):
            self._ends.pop(source, None)
            return False
        if source not in self._ends:
            others = [feed for feed in feeding if feed.name not in mine]
            if not self._are_done(source.topic, others) or not self._ask_end(source):
                return False
        return self._log.caught_up(source, self._ends[source])

    def _are_done(self, topic: str, others: Collection[Feed]) -> bool:
        """Ask the log whether feeds of other workers are at their ends; now and then only."""
        now_s = self._clock.monotonic_s()
        if not others or topic in self._done:
            return True
        if now_s - self._asked_s.get(topic, float("-inf")) < ASK_EVERY_S:
            return False
        self._asked_s[topic] = now_s
        positions = [TopicPartition(self._plan.position_topic(feed.name), 0) for feed in others]
        try:
            found = self._log.committed(positions)
        except LogError as error:
            if error.retriable:
                return False
            raise
        if all(mark_of(found.get(position)).at_end for position in positions):
            self._done.add(topic)
        return topic in self._done

    def _ask_end(self, source: TopicPartition) -> bool:
        """Ask where the last row of a feed ended: what is fetched so far may end before it."""
        try:
            self._ends |= self._log.end_offsets([source])
        except LogError as error:
            if error.retriable:
                return False
            raise
        return True

    def _forget(self) -> None:
        """Feeds have come or gone: what was known of their ends says nothing."""
        self._ends.clear()
        self._done.clear()
