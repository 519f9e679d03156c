"""``Buffer`` against lists: always the head with the least (timestamp, topic), or a wait."""

from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from streamfn.engine.buffer import Buffer, Slice
from streamfn.record import Batch, TopicPartition

A, B, C = (TopicPartition(topic, 1) for topic in "abc")


def batch(source: TopicPartition, timestamps: Sequence[int], start: int = 0) -> Batch:
    """Records whose values say where they are from."""
    end = start + len(timestamps)
    values: list[bytes | None] = [f"{source.topic}{at}".encode() for at in range(start, end)]
    keys: list[bytes | None] = [None] * len(timestamps)
    return Batch(source, keys, values, list(timestamps), range(start, end), end)


class Machine(RuleBasedStateMachine):
    """Batches arrive, slices go, inputs come to their ends and leave them again."""

    @initialize(
        sources=st.sampled_from([[A], [A, B], [C, A, B]]), max_idle_ms=st.sampled_from([0, 10])
    )
    def open(self, sources: list[TopicPartition], max_idle_ms: int) -> None:
        """Begin with nothing, all inputs at their ends."""
        self.buffer = Buffer(sources, max_idle_ms)
        self.queues: dict[TopicPartition, list[tuple[int, bytes | None]]] = {
            source: [] for source in sources
        }
        self.ends = dict.fromkeys(sources, 0)
        self.behind: set[TopicPartition] = set()
        self.idle_since_ms: dict[TopicPartition, int] = {}
        self.max_idle_ms, self.now_ms = max_idle_ms, 0

    def caught_up(self, source: TopicPartition) -> bool:
        """What the log would say."""
        return source not in self.behind

    @rule(number=st.integers(0, 2), timestamps=st.lists(st.integers(0, 6), max_size=4))
    def add(self, number: int, timestamps: list[int]) -> None:
        """A batch arrives, perhaps an empty one."""
        source = sorted(self.queues)[number % len(self.queues)]
        made = batch(source, timestamps, self.ends[source])
        self.buffer.add(made)
        self.ends[source] += len(made)
        self.queues[source] += zip(timestamps, made.values, strict=True)
        if timestamps:
            self.idle_since_ms.pop(source, None)

    @rule(number=st.integers(0, 2))
    def turn(self, number: int) -> None:
        """An input falls behind, or reaches its end."""
        self.behind ^= {sorted(self.queues)[number % len(self.queues)]}

    @rule(passed_ms=st.integers(0, 12))
    def wait(self, passed_ms: int) -> None:
        """Time goes by."""
        self.now_ms += passed_ms

    @rule()
    def clear(self) -> None:
        """A rewind: everything is forgotten."""
        self.buffer.clear()
        self.idle_since_ms.clear()
        for queue in self.queues.values():
            queue.clear()

    def waits(self) -> bool:
        """True if an empty input holds up the others."""
        empty = [source for source, queue in self.queues.items() if not queue]
        if len(self.queues) == 1 or not empty or len(empty) == len(self.queues):
            return False
        if any(source in self.behind for source in empty):
            return True
        since = [self.idle_since_ms.setdefault(source, self.now_ms) for source in empty]
        return max(since) + self.max_idle_ms > self.now_ms

    @rule(limit=st.integers(1, 4), done=st.integers(0, 4))
    def next(self, limit: int, done: int) -> None:
        """The longest run of one input that goes before all others; part of it is done."""
        found = self.buffer.next(limit, self.caught_up, self.now_ms)
        if self.waits() or not any(self.queues.values()):
            assert found is None
            return
        assert found is not None
        rows = found.batch.values[found.start : found.stop]
        source = found.batch.source
        assert 1 <= len(rows) <= limit
        assert rows == [value for _, value in self.merged(len(rows))]
        if len(rows) < limit and found.stop < len(found.batch):
            following = self.merged(len(rows) + 1)[-1]
            assert following != self.queues[source][len(rows)]
        done = min(done, len(rows))
        if done:
            self.buffer.advance(source, done)
            del self.queues[source][:done]

    def merged(self, count: int) -> list[tuple[int, bytes | None]]:
        """The first records in order: the least head first, ties by topic."""
        queues = {source: list(queue) for source, queue in self.queues.items()}
        taken: list[tuple[int, bytes | None]] = []
        while len(taken) < count and any(queues.values()):
            source = min((queue[0][0], source) for source, queue in queues.items() if queue)[1]
            taken.append(queues[source].pop(0))
        return taken

    @invariant()
    def counts(self) -> None:
        """Counts, the whole, and who is waited for."""
        if not hasattr(self, "queues"):
            return
        for source, queue in self.queues.items():
            assert self.buffer.count(source) == len(queue)
        assert len(self.buffer) == sum(map(len, self.queues.values()))
        waited = [s for s, q in sorted(self.queues.items()) if not q and s in self.behind]
        expected = waited if len(self.buffer) else []
        assert self.buffer.waiting_for(self.caught_up) == expected


TestBuffer = Machine.TestCase
TestBuffer.settings = settings(max_examples=150, stateful_step_count=30)


def go(buffer: Buffer, now_ms: int, behind: Sequence[TopicPartition] = ()) -> str:
    """What goes next, and is done: the values of its rows; "-" for nothing."""
    found = buffer.next(100, lambda source: source not in behind, now_ms)
    if not isinstance(found, Slice):
        return "-"
    buffer.advance(found.batch.source, found.stop - found.start)
    rows = found.batch.values[found.start : found.stop]
    return " ".join((value or b"").decode() for value in rows)


def test_ties_go_by_topic_and_runs_stay_whole() -> None:
    """A record goes before another input's of the same time if its topic is the first."""
    buffer = Buffer([B, A])
    buffer.add(batch(A, [1, 5, 5, 9]))
    buffer.add(batch(B, [1, 5, 7]))
    assert [go(buffer, 0) for _ in range(5)] == ["a0", "b0", "a1 a2", "b1 b2", "a3"]


def test_records_out_of_order_keep_their_place() -> None:
    """A queue is a queue: an early record behind a late one goes after it."""
    buffer = Buffer([A, B])
    buffer.add(batch(A, [9, 1, 1, 8]))
    buffer.add(batch(B, [5, 6]))
    assert [go(buffer, 0) for _ in range(3)] == ["b0 b1", "a0 a1 a2 a3", "-"]


def test_an_input_that_is_not_at_its_end_is_waited_for() -> None:
    """However long it takes, and whatever the idle time."""
    buffer = Buffer([A, B], max_idle_ms=10)
    buffer.add(batch(A, [1]))
    assert go(buffer, 0, behind=[B]) == "-"
    assert go(buffer, 10_000, behind=[B]) == "-"
    assert buffer.waiting_for(lambda source: source != B) == [B]


def test_each_input_is_waited_for_on_its_own() -> None:
    """One that has just run dry is not taken for idle because another one was (KIP-353)."""
    buffer = Buffer([A, B], max_idle_ms=10)
    buffer.add(batch(A, [1]))
    assert go(buffer, 0) == "-"
    assert go(buffer, 9) == "-"
    assert go(buffer, 10) == "a0"
    buffer.add(batch(A, [2], 1))
    assert go(buffer, 11) == "a1"
    buffer.add(batch(B, [3]))
    assert go(buffer, 20) == "-"
    assert go(buffer, 29) == "-"
    assert go(buffer, 30) == "b0"


def test_the_last_to_run_dry_decides() -> None:
    """Of several idle inputs, whichever was found empty last."""
    buffer = Buffer([A, B, C], max_idle_ms=10)
    buffer.add(batch(A, [1, 3]))
    buffer.add(batch(B, [1]))
    assert go(buffer, 0) == "-"
    assert [go(buffer, 10), go(buffer, 10)] == ["a0", "b0"]
    assert [go(buffer, 11), go(buffer, 20), go(buffer, 21)] == ["-", "-", "a1"]
