"""Feeds of two workers over one log: each runs its own, and waits for the other's last row."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import streamfn as sf
from streamfn.clock import CountingRandom, ManualClock
from streamfn.config import Config
from streamfn.connectors.embedded import EmbeddedLog
from streamfn.database import Memory, Space
from streamfn.engine.commit import Committer
from streamfn.engine.feeds import ASK_EVERY_S, Feeds
from streamfn.engine.topics import ensure_topics
from streamfn.graph.plan import Plan, plan
from streamfn.metrics import Metrics
from streamfn.record import TopicPartition

LEFT, RIGHT = TopicPartition("left", 0), TopicPartition("right", 0)


class Row(msgspec.Struct, frozen=True):
    """A row of a file."""

    name: str


class Nobody:
    """A listener that nothing is assigned to."""

    def assigned(self, tokens: list[int]) -> None:
        """Tokens are given to feeds by hand here."""

    def revoked(self, tokens: list[int]) -> None:
        """Nothing was ours."""

    def lost(self, tokens: list[int]) -> None:
        """Nothing was ours."""


class Two:
    """A program with two feeds and two tokens, on one log."""

    def __init__(self, folder: Path) -> None:
        self.made: list[Feeds] = []
        app = sf.App("app")
        for name in ("left", "right"):
            topic = app.topic(name, key=str, value=Row, partitions=2)
            path = folder / f"{name}.csv"
            path.write_text("name\na\nb\n")
            app.feed(topic, path, key="name")
            app.stream(topic).peek(lambda row: None)
        self.clock = ManualClock(0)
        random = CountingRandom()
        disk: dict[str, Space] = {}
        self.log = EmbeddedLog(lambda: Memory([], disk), clock=self.clock, random=random)
        self.plan: Plan = plan(app.topology())
        self.log.join("app", 2, Nobody())
        ensure_topics(self.plan, self.log, Config(), create_user_topics=True)
        self.committer = Committer(self.log, self.clock, random, Metrics(), Config())
        self.committer.open()
        self.log.poll(0)
        self.log.assign({LEFT: 0, RIGHT: 0})

    def feeds(self, *tokens: int) -> Feeds:
        """The feeds of a worker with these tokens."""
        feeds = Feeds(self.plan, lambda feed: feed.open(), self.log, self.clock, Metrics())
        self.made.append(feeds)
        feeds.assigned(tokens)
        assert feeds.settled == (not tokens)
        feeds.open_arrivals()
        assert feeds.settled
        return feeds

    def load(self, feeds: Feeds) -> None:
        """Load all that feeds have, and commit it."""
        while feeds.step() or any(task.dirty for task in feeds.mine):
            dirty = [task for task in feeds.mine if task.dirty]
            if dirty:
                self.committer.commit(dirty)

    def read(self) -> None:
        """Read what is there."""
        while self.log.poll(0):
            pass


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    """Two feeds; their files are closed in the end."""
    made = Two(tmp_path)
    yield made
    for feeds in made.made:
        feeds.release()


def test_feeds_go_with_their_tokens(two: Two) -> None:
    """The first with token 0, the second with token 1; both if one worker holds both."""
    names = [[task.feed.topic.name for task in two.feeds(*t).mine] for t in ((0,), (1,), (0, 1))]
    assert names == [["left"], ["right"], ["left", "right"]]


def test_an_input_is_caught_up_behind_the_last_row_of_anothers_feed(two: Two) -> None:
    """Being at the end of the log says nothing while somebody still loads."""
    mine, theirs = two.feeds(0), two.feeds(1)
    two.load(mine)
    assert not mine.caught_up(RIGHT), "the other has not begun"
    assert not theirs.caught_up(LEFT), "asked, but not all is read"
    two.clock.advance_ms(int(ASK_EVERY_S * 1000))
    two.load(theirs)
    assert not mine.caught_up(RIGHT), "rows wait in the log"
    two.read()
    assert mine.caught_up(RIGHT)
    assert theirs.caught_up(LEFT)
    assert mine.caught_up(LEFT), "its own"


def test_a_feed_that_moves_goes_on_where_it_was(two: Two) -> None:
    """Its rows are loaded once, and whoever gave it away no longer speaks for it."""
    mine, theirs = two.feeds(0, 1), two.feeds()
    two.load(mine)
    mine.release([1])
    theirs.assigned([1])
    theirs.open_arrivals()
    assert [task.feed.topic.name for task in mine.mine] == ["left"]
    end = two.log.end_offsets([RIGHT])
    two.load(theirs)
    assert two.log.end_offsets([RIGHT]) == end
