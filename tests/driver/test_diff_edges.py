"""A recording of a program that goes on meanwhile, compared with what the program wrote.

The log is embedded and stands still but where a test has the program go on: between any two
questions that a recording asks. Invariant: what is recorded of an untouched program shows no
difference, whatever is under way at its edges, and what is changed is found.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

import streamfn as sf
from streamfn.clock import ManualClock
from streamfn.connectors.embedded import EmbeddedLog
from streamfn.connectors.log import Committed
from streamfn.engine.topics import existing_partitions
from streamfn.graph.plan import plan
from streamfn.record import TopicPartition
from streamfn.replay.boundary import Copier
from streamfn.replay.diff.graph import graph_of
from streamfn.replay.diff.kinds import Comparison, Kind, Options
from streamfn.replay.diff.run import AgainstRun
from streamfn.replay.effects import Collected
from streamfn.replay.log_inputs import LogInputs
from streamfn.replay.ranges import Bound, Span
from streamfn.replay.replay import replay
from streamfn.replay.roles import Selection, header_of, select
from tests.crash_world import Row, World

START_MS = 1_700_000_000_000


def counting(
    *,
    count: Callable[[str, int], str] = lambda value, total: f"{total} {value}",
    keep: Callable[[str], bool] = lambda value: True,
    partitions: int = 2,
) -> sf.App:
    """Answers in order of partitions, of keys, and of none; a repartition; dead letters."""
    app = sf.App("edges", on_error="dead_letter")
    records = app.topic("in", key=str, value=str, partitions=partitions)
    counts = app.topic("counts", key=str, value=str, partitions=2)
    copies = app.topic("copies", key=str, value=str, partitions=2)
    words = app.topic("words", key=str, value=str, partitions=3)
    stream = app.stream(records).filter(keep)

    @app.function(stream, to=copies)
    def copied(value: str) -> str:
        if value.endswith("7"):
            raise ValueError(value)
        return value

    regrouped = stream.key_by(lambda value: value.split()[0])

    @app.function(regrouped, to=counts)
    def counted(value: str, total: sf.Value[int]) -> str:
        total.value += 1
        return count(value, total.value)

    by_word = stream.key_by(lambda value: value.split()[0], name="word")
    by_word.map_values(lambda value: value.upper(), value=str).to(words)
    return app


@dataclass
class Live:
    """A program at work: it reads and commits a little whenever it is told to go on."""

    seed: int
    app: sf.App = field(default_factory=counting)
    out_of_order: int = 0
    world: World = field(init=False)
    written: int = 0

    def __post_init__(self) -> None:
        """Start it."""
        self.random = random.Random(self.seed)
        self.world = World(self.app, commit_interval_ms=0)
        self.worker = self.world.start()
        self.worker.step()

    def rows(self, count: int) -> Iterator[Row]:
        """Records, several of a millisecond, a few words as keys to be."""
        for _ in range(count):
            self.written += 1
            late = self.random.randrange(self.out_of_order + 1)
            at_ms = START_MS + self.written // 3 - late
            value = f"{self.random.choice('abc')} {self.random.randrange(9)}"
            yield b"k%d" % self.random.randrange(6), value.encode(), at_ms

    def go(self, rounds: int = 1) -> None:
        """Have some records come, and a part of what is there go through."""
        for _ in range(rounds):
            if self.random.random() < 0.8:
                self.world.write("in", *self.rows(self.random.randrange(1, 6)))
            if self.random.random() < 0.8:
                self.worker.step()

    def stop(self) -> None:
        """Work to the end."""
        self.world.settle()


class Busy:
    """A log on which a program goes on between any two questions about it."""

    def __init__(self, live: Live, rounds: int) -> None:
        self._log: EmbeddedLog = live.world.inner
        self._live, self._rounds = live, rounds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def stable_ends(self, sources: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Answer, and go on."""
        found = self._log.stable_ends(sources)
        self._live.go(self._live.random.randrange(self._rounds))
        return found

    def committed(self, sources: Iterable[TopicPartition]) -> Mapping[TopicPartition, Committed]:
        """Answer, and go on."""
        found = self._log.committed(sources)
        self._live.go(self._live.random.randrange(self._rounds))
        return found

    def end_offsets(self, sources: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Go on, and answer."""
        self._live.go(self._live.random.randrange(self._rounds))
        return self._log.end_offsets(sources)


def recorded(
    live: Live, *, state: bool = True, busy: int = 3, rounds: int = 60, span: Span | None = None,
    repartitions: bool | None = None,
) -> LogInputs:  # fmt: skip
    """Record what a program at work does in some rounds."""
    log: Any = Busy(live, busy) if busy else live.world.inner
    topology = live.app.topology()
    planned = plan(topology, existing_partitions(topology, live.world.inner))
    boundary = None
    if state:
        boundary = Copier(log, planned, sorted(planned.topology.stores), ManualClock()).copy()
    live.go(rounds)
    selection = Selection(repartitions=repartitions)
    selected = select(log, planned, selection, span or Span(), START_MS, boundary)
    live.go(5)
    header = header_of(
        live.world.inner, selected, application="edges", source="", now_ms=START_MS, plan=planned,
        boundary=boundary,
    )  # fmt: skip
    return LogInputs(
        live.world.inner, header, place="the log", keep=selected.keep, boundary=boundary
    )


def compared(app: sf.App, inputs: LogInputs) -> Comparison:
    """Compare what a program makes of a recording with what is in it, in this process."""
    made = Collected()
    with replay(app.topology(), inputs, made, repartitions=True, in_memory=True) as done:
        graph = graph_of(done.plan)
        reads = {topic for sub in done.plan.subtopologies for topic in sub.source_partitions}
    fed = reads & {topic.name for topic in inputs.header.topics}
    run = AgainstRun(graph, Options(), inputs.header, fed=fed)
    for chunk in inputs.chunks(run.topics):
        run.expected(chunk)
    run.effects(made.found)
    run.settle(whole=True)
    comparison = Comparison("edges", "the real run", "replayed", [])
    run.finish(comparison)
    inputs.close()
    return comparison


def doubtful(comparison: Comparison) -> int:
    """How many rows were not judged."""
    return sum(each.expected + each.actual for each in comparison.not_judged)


SEEDS = range(4)


@pytest.mark.parametrize("busy", [3, 12])
@pytest.mark.parametrize("seed", SEEDS)
def test_with_state_while_it_runs(seed: int, busy: int) -> None:
    """An untouched program has no difference; what is in doubt is what was under way."""
    live = Live(seed, out_of_order=seed % 3 * 4)
    live.go(30)
    comparison = compared(live.app, recorded(live, busy=busy))
    assert comparison.groups == [], comparison.lines()
    assert comparison.equal == comparison.records > 200
    assert doubtful(comparison) < 40 * busy


def test_doubt_at_both_edges() -> None:
    """A program that never rests leaves rows in doubt at the begin and at the end."""
    edges = set[str]()
    for seed in SEEDS:
        live = Live(seed)
        live.go(30)
        found = compared(live.app, recorded(live, busy=12))
        edges.update(each.edge for each in found.not_judged)
        if found.not_judged:
            assert any(text.startswith("not judged: ") for text in found.notices)
    assert {"begin", "end"} <= edges


@pytest.mark.parametrize("seed", SEEDS)
def test_all_of_it_while_it_runs(seed: int) -> None:
    """From the begin on without state: only the end is in doubt."""
    live = Live(seed)
    live.go(30)
    comparison = compared(live.app, recorded(live, state=False))
    assert comparison.groups == [], comparison.lines()
    assert comparison.equal == comparison.records > 300
    assert {each.edge for each in comparison.not_judged} <= {"end"}


@pytest.mark.parametrize("seed", SEEDS)
def test_without_repartition_topics(seed: int) -> None:
    """What is behind one that is not recorded is judged up to the last row of each part.

    One task writes to it here: else the order in which it was read would not be known.
    """
    live = Live(seed, counting(partitions=1))
    live.go(30)
    comparison = compared(live.app, recorded(live, state=False, repartitions=False))
    assert comparison.groups == [], comparison.lines()
    assert comparison.equal == comparison.records > 300
    assert {each.edge for each in comparison.not_judged} <= {"end"}


@pytest.mark.parametrize("seed", SEEDS[:2])
@pytest.mark.parametrize("state", [False, True])
def test_a_moment_of_rest_leaves_no_doubt(seed: int, state: bool) -> None:
    """Where nothing is being written while it is asked, each row is judged or surely outside."""
    live = Live(seed)
    live.go(30)
    comparison = compared(live.app, recorded(live, state=state, busy=0))
    assert comparison.groups == [], comparison.lines()
    assert comparison.not_judged == []
    assert comparison.equal == comparison.records > 200


MUTANTS: dict[str, tuple[sf.App, str, Kind]] = {
    "a value": (counting(count=lambda value, total: f"{total + 1} {value}"), "counted", "changed"),
    "some values": (
        counting(count=lambda value, total: f"{total % 5} {value}"), "counted", "changed",
    ),
    "fewer": (counting(keep=lambda value: "3" not in value), "copied", "missing"),
    "none": (counting(keep=lambda value: False), "copied", "missing"),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
@pytest.mark.parametrize("state", [False, True])
def test_what_is_changed_is_found(name: str, state: bool) -> None:
    """Each row of a changed stage differs, but for those in doubt, and all of them are counted."""
    app, stage, kind = MUTANTS[name]
    for seed in SEEDS[:3]:
        live = Live(seed)
        live.go(30)
        inputs = recorded(live, state=state)
        comparison = compared(app, inputs)
        found = {(group.stage, group.kind): group.count for group in comparison.groups}
        assert found[stage, kind] > 5, comparison.lines()
        if name != "none":
            assert comparison.equal > 100


@pytest.mark.parametrize("seed", SEEDS)
def test_extra_rows_are_found(seed: int) -> None:
    """The real run wrote fewer than the program does now: no edge hides them."""
    live = Live(seed, counting(keep=lambda value: "3" not in value))
    live.go(30)
    comparison = compared(counting(), recorded(live))
    found = {(group.stage, group.kind): group.count for group in comparison.groups}
    assert found["copied", "extra"] > 5, comparison.lines()
    assert found["word-map_values-upper", "extra"] > 5


# a span of time
def stateless(*, keep: Callable[[str], bool] = lambda value: True, partitions: int = 2) -> sf.App:
    """Copies, in order of partitions and of none, and behind a repartition."""
    app = sf.App("edges", on_error="dead_letter")
    records = app.topic("in", key=str, value=str, partitions=partitions)
    copies = app.topic("copies", key=str, value=str, partitions=2)
    words = app.topic("words", key=str, value=str, partitions=3)
    stream = app.stream(records).filter(keep)

    @app.function(stream, to=copies)
    def copied(value: str) -> str:
        if value.endswith("7"):
            raise ValueError(value)
        return value

    by_word = stream.key_by(lambda value: value.split()[0], name="word")
    by_word.map_values(lambda value: value.upper(), value=str).to(words)
    return app


def span_of(live: Live) -> Span:
    """A part in the middle."""
    return Span(Bound(START_MS + live.written // 9), Bound(START_MS + live.written // 5))


@pytest.mark.parametrize("out_of_order", [0, 5])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_span_of_time(seed: int, out_of_order: int) -> None:
    """Inputs are cut at the first record of a time, outputs by their own: no false difference.

    What is in doubt is of records that came behind the end of the span, though they are of it.
    """
    live = Live(seed, stateless(), out_of_order)
    live.go(100)
    comparison = compared(live.app, recorded(live, state=False, span=span_of(live)))
    assert comparison.groups == [], comparison.lines()
    assert comparison.equal == comparison.records > 15
    assert doubtful(comparison) <= (30 if out_of_order else 0)


@pytest.mark.parametrize("out_of_order", [0, 2])
@pytest.mark.parametrize("seed", SEEDS[:3])
def test_changes_in_a_span_of_time(seed: int, out_of_order: int) -> None:
    """What is missing is found in topics of any order, what is extra, too."""
    fewer = stateless(keep=lambda value: "3" not in value)
    ways: tuple[tuple[sf.App, sf.App, Kind], ...]
    ways = (stateless(), fewer, "missing"), (fewer, stateless(), "extra")
    for real, now, kind in ways:
        live = Live(seed, real, out_of_order)
        live.go(150)
        inputs = recorded(live, state=False, span=span_of(live))
        comparison = compared(now, inputs)
        found = {(group.stage, group.kind): group.count for group in comparison.groups}
        assert set(found) == {("copied", kind), ("word-map_values-upper", kind)}, found


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_from_a_time_on(seed: int) -> None:
    """Up to the end, which is known as that of any other recording."""
    fewer = stateless(keep=lambda value: "3" not in value)
    for busy in (0, 3):
        live = Live(seed, stateless(), 2)
        live.go(100)
        span = Span(Bound(START_MS + live.written // 6))
        comparison = compared(live.app, recorded(live, state=False, span=span, busy=busy))
        assert comparison.groups == [], comparison.lines()
        assert comparison.equal == comparison.records > 100
        assert {each.edge for each in comparison.not_judged} <= ({"end"} if busy else set())
        found = compared(fewer, recorded(live, state=False, span=span, busy=busy))
        assert {group.kind for group in found.groups} == {"missing"}


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_a_span_of_offsets(seed: int) -> None:
    """Nobody can tell which rows are of which inputs: only what lies between rows of both."""
    live = Live(seed, stateless())
    live.go(100)
    span = Span(Bound(offset=10), Bound(offset=40))
    comparison = compared(live.app, recorded(live, state=False, span=span))
    assert comparison.groups == [], comparison.lines()
    assert comparison.equal == comparison.records > 10
    assert comparison.not_judged
