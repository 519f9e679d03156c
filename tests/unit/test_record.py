"""What a program's topics are to a recording, and state at a commit boundary."""

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import streamfn as sf
from streamfn.clock import ManualClock
from streamfn.config import Config
from streamfn.connectors.log import Committed, Log
from streamfn.engine.marks import Mark, mark_of, written
from streamfn.engine.topics import existing_partitions
from streamfn.errors import ConfigError, LogError, StopError
from streamfn.graph.plan import Plan, plan
from streamfn.record import Columns, TopicPartition
from streamfn.replay.boundary import Boundary, Copier
from streamfn.replay.log_inputs import LogInputs
from streamfn.replay.ranges import Bound, Span
from streamfn.replay.recording import Range
from streamfn.replay.roles import Selection, header_of, roles_of, select, specs_of
from streamfn.run import opened_log, run_embedded
from streamfn.serde import as_key_serde, state_serde
from tests.unit.log_world import NOW_MS, rows_of

WRITTEN_ONLY = ("output", "dead_letters")
BETWEEN = "shop-checked-by-split-0-repartition"


def shop() -> sf.App:
    """A program with a topic of each role."""
    app = sf.App("shop", on_error="dead_letter")
    orders = app.topic("orders", key=str, value=str, partitions=2)
    names = app.topic("names", key=str, value=str, partitions=1)
    checked = app.topic("checked", key=str, value=str, partitions=2)
    totals = app.topic("totals", key=str, value=int, partitions=1)
    known = app.global_table(names)
    app.stream(orders).filter(lambda value: value != "bad").to(checked)

    @app.function(app.stream(checked).key_by(lambda value: value.split()[0]), to=totals)
    def spend(value: str, total: sf.Value[int], people: sf.Lookup[str, str] = known) -> int:
        total.value += len(value)
        return total.value

    return app


@dataclass
class World:
    """The shop's embedded log, which is open while it does not run."""

    folder: Path
    app: sf.App

    @property
    def config(self) -> Config:
        """Where it is."""
        return Config(state_dir=self.folder)

    @contextmanager
    def log(self) -> Generator[tuple[Log, Plan]]:
        """Look at the log."""
        topology = self.app.topology()
        with opened_log("shop", self.config) as (log, _):
            yield log, plan(topology, existing_partitions(topology, log))

    def write(self, topic: str, rows: Iterable[tuple[str, str, int]]) -> None:
        """Write keys, values and times."""
        with self.log() as (log, _):
            log.open_producer()
            log.begin()
            columns = Columns.empty()
            for key, value, at_ms in rows:
                columns.add(key.encode(), value.encode(), at_ms)
            log.emit(topic, None, columns)
            log.flush()
            log.commit()

    def run(self) -> None:
        """Run to the end of all inputs."""
        run_embedded(self.app.topology(), self.config, until_end=True)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """The shop after a first run without any record."""
    made = World(tmp_path, shop())
    made.run()
    return made


def orders(count: int, start: int = 0) -> list[tuple[str, str, int]]:
    """Orders of five customers, a second apart."""
    return [
        (f"k{n}", f"c{n % 5} {'x' * (n % 3)}", NOW_MS + 1000 * n)
        for n in range(start, start + count)
    ]


# roles
def test_each_topic_has_its_role(world: World) -> None:
    """A topic that is written and read is an input; what is looked up is a table."""
    with world.log() as (_, planned):
        assert roles_of(planned) == {
            "names": "global_table",
            "orders": "input",
            "checked": "input",
            BETWEEN: "repartition",
            "totals": "output",
            "shop-dead-letters": "dead_letters",
        }
        outputs = {name for name, role in roles_of(planned).items() if role in WRITTEN_ONLY}
        assert outputs == {"totals", "shop-dead-letters"}
        assert set(specs_of(planned)) == set(roles_of(planned)) - {"shop-dead-letters"}


def roles(planned: Plan, log: Log, selection: Selection, span: Span | None = None) -> set[str]:
    """The topics that a selection has."""
    return set(select(log, planned, selection, span or Span(), NOW_MS).ranges)


def test_which_topics_are_chosen(world: World) -> None:
    """All, without outputs, or those that are named; repartition topics only of the whole."""
    world.write("orders", orders(10))
    world.run()
    with world.log() as (log, planned):
        every = set(roles_of(planned))
        assert roles(planned, log, Selection()) == every
        assert roles(planned, log, Selection(repartitions=False)) == every - {BETWEEN}
        later = Span(Bound(time_ms=NOW_MS + 3000))
        assert roles(planned, log, Selection(), later) == every - {BETWEEN}
        assert roles(planned, log, Selection(repartitions=True), later) == every
        inputs = {"orders", "checked", "names", BETWEEN}
        assert roles(planned, log, Selection(outputs=False)) == inputs
        assert roles(planned, log, Selection(("orders",))) == {"orders"}
        with pytest.raises(ConfigError, match="'x' is not used by application 'shop'; it has"):
            roles(planned, log, Selection(("orders", "x")))
        chosen = select(log, None, Selection(("orders",)), Span(), NOW_MS)
        assert chosen.roles == {"orders": "other"}


def test_a_trimmed_repartition_topic_is_left_out(world: World) -> None:
    """It is made anew from the inputs; asked for in a span, what is gone is an error."""
    world.write("orders", orders(40))
    world.run()
    with world.log() as (log, planned):
        log.delete_records(TopicPartition(BETWEEN, 0), 3)
        chosen = select(log, planned, Selection(), Span(), NOW_MS)
        assert BETWEEN not in chosen.ranges
        assert BETWEEN not in chosen.roles
        (note,) = chosen.notes
        assert note.startswith(f"{BETWEEN} is left out, as records 0 to 3 of {BETWEEN}[0] are")
        wanted, span = Selection(repartitions=True), Span(Bound(time_ms=NOW_MS))
        with pytest.raises(LogError, match="may be gone"):
            select(log, planned, wanted, span, NOW_MS)


def test_outputs_are_taken_by_their_times(world: World) -> None:
    """They stand in the order in which tasks wrote them; tables are whole."""
    world.write("names", [("c1", "Ann", NOW_MS + 10**6)])
    world.write("orders", orders(40))
    world.run()
    with world.log() as (log, planned):
        span = Span(Bound(time_ms=NOW_MS + 10_000), Bound(time_ms=NOW_MS + 20_000))
        chosen = select(log, planned, Selection(repartitions=True), span, NOW_MS)
        header = header_of(
            log, chosen, application="shop", source="here", now_ms=NOW_MS, plan=planned
        )
        inputs = LogInputs(log, header, place="the log", keep=chosen.keep)
        taken: dict[str, list[int]] = {}
        for source, _, _, at_ms in rows_of(inputs):
            taken.setdefault(source.topic, []).append((at_ms - NOW_MS) // 1000)
        ten = list(range(10, 20))
        assert {topic: sorted(times) for topic, times in taken.items()} == {
            "orders": ten, "checked": ten, BETWEEN: ten, "totals": ten, "names": [1000],
        }  # fmt: skip
        (totals,) = (topic for topic in header.topics if topic.name == "totals")
        assert (totals.role, totals.key, totals.value) == ("output", "str", "json[int]")


# state
def totals_of(boundary: Boundary) -> dict[tuple[int, str], Any]:
    """The totals at a boundary, by partition and key."""
    key, value = as_key_serde(str), state_serde(int)
    return {
        (entry.partition, key.decode(entry.key)): value.decode(entry.value)
        for entry in boundary.entries()
    }


def test_state_is_copied_with_its_positions(world: World) -> None:
    """The stores as they are, and where each task and each output goes on."""
    world.write("orders", orders(40))
    world.run()
    world.write("orders", orders(10, 40))
    expected: dict[str, int] = {}
    for _, value, _ in orders(40):
        expected[value.split()[0]] = expected.get(value.split()[0], 0) + len(value)
    with world.log() as (log, planned):
        copier = Copier(log, planned, ["spend-total"], ManualClock())
        boundary = copier.copy()
        found = totals_of(boundary)
        assert {key: total for (_, key), total in found.items()} == expected
        (store,) = boundary.stores
        assert (store.name, store.kind, store.key, store.value) == (
            "spend-total", "value", "str", "int",
        )  # fmt: skip
        chosen = select(log, planned, Selection(), Span(), NOW_MS, boundary)
        sizes = {
            name: sum(part.end - part.start for part in parts.values())
            for name, parts in chosen.ranges.items()
        }
        assert sizes == {
            "names": 0, "orders": 10, "checked": 0, BETWEEN: 0, "totals": 0,
            "shop-dead-letters": 0,
        }  # fmt: skip
        assert max(p.stream_time_ms for p in chosen.ranges["orders"].values()) == NOW_MS + 39_000
        folder = Path(boundary.folder.name)
        assert folder.is_dir()
        boundary.close()
        assert not folder.exists()


class Rewritten:
    """A log whose committed positions say something else."""

    def __init__(self, log: Log, marks: list[Mark], then: list[Mark] | None = None) -> None:
        self._log, self._marks, self._then = log, marks, then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def committed(self, sources: Iterable[TopicPartition]) -> Mapping[TopicPartition, Committed]:
        """The real offsets under other marks, in turn."""
        found = self._log.committed(sources)
        marks = self._marks
        if self._then is not None:
            self._marks, self._then = self._then, self._marks
        turns = (
            (s, Committed(at.offset, written(marks[n % len(marks)])))
            for n, (s, at) in enumerate(found.items())
        )
        return dict(turns)


def copied(log: Any, planned: Plan) -> Boundary:
    """Copy the totals."""
    return Copier(log, planned, ["spend-total"], ManualClock()).copy()


def test_marks_of_an_older_version_do_for_an_application_that_stands(world: World) -> None:
    """They do not say where the changelogs ended; that nothing was committed meanwhile does."""
    world.write("orders", orders(40))
    world.run()
    with world.log() as (log, planned):
        expected = copied(log, planned)
        found = copied(Rewritten(log, [Mark("t:1", 5)]), planned)
        assert totals_of(found) == totals_of(expected)
        assert {part.stream_time_ms for part in found.starts.values()} == {5}
        with pytest.raises(StopError, match="state of 'shop' cannot be copied; its commits do not"):
            copied(Rewritten(log, [Mark("t:1")], [Mark("t:2")]), planned)
        expected.close()
        found.close()


def test_the_mark_says_how_far_a_changelog_counts(world: World) -> None:
    """What was written after the boundary is not part of it."""
    world.write("orders", orders(40))
    world.run()
    with world.log() as (log, planned):
        before = copied(log, planned)
        between = [TopicPartition(BETWEEN, number) for number in range(2)]
        marks = [mark_of(each) for each in log.committed(between).values()]
    world.write("orders", orders(40, 40))
    world.run()
    with world.log() as (log, planned):
        after = copied(log, planned)
        assert totals_of(after) != totals_of(before)
        known = {source: marks[source.partition] for source in between}

        class Earlier(Rewritten):
            def committed(
                self, sources: Iterable[TopicPartition]
            ) -> Mapping[TopicPartition, Committed]:
                found = self._log.committed(sources)
                early = {s: Committed(0, written(mark)) for s, mark in known.items()}
                return {**found, **early}

        again = copied(Earlier(log, []), planned)
        assert totals_of(again) == totals_of(before)
        assert again.starts[between[0]] == Range(0, -1, marks[0].stream_time_ms)
        for boundary in (before, after, again):
            boundary.close()


def test_positions_of_two_transactions_are_no_boundary(tmp_path: Path) -> None:
    """A task commits all its inputs under one token."""
    app = sf.App("shop")
    left, right = (app.topic(name, key=str, value=str, partitions=1) for name in ("left", "right"))
    app.stream(left).merge(app.stream(right)).group_by_key().count()
    world = World(tmp_path, app)
    world.run()
    with world.log() as (log, planned):
        (store,) = planned.topology.stores
        with pytest.raises(StopError, match="positions of 'shop' are not of one transaction"):
            Copier(
                Rewritten(log, [Mark("t:1"), Mark("t:2")]),  # type: ignore[arg-type]  # forwards
                planned, [store], ManualClock(),
            ).copy()  # fmt: skip


def test_an_application_that_has_never_committed(tmp_path: Path) -> None:
    """Its state is empty, and its inputs begin where they do."""
    world = World(tmp_path, shop())
    with opened_for(world) as (log, planned):
        boundary = copied(log, planned)
        assert totals_of(boundary) == {}
        assert {part.start for part in boundary.starts.values()} == {0}
        boundary.close()


@contextmanager
def opened_for(world: World) -> Generator[tuple[Log, Plan]]:
    """A log with the topics of a program that has not run: its positions are forgotten."""
    world.run()
    with world.log() as (log, planned):
        log.join("another", 0, Nobody())
        yield log, planned


class Nobody:
    """Wants no tokens."""

    def assigned(self, tokens: list[int]) -> None:
        """Nothing."""

    def revoked(self, tokens: list[int]) -> None:
        """Nothing."""

    def lost(self, tokens: list[int]) -> None:
        """Nothing."""
