"""How global tables are read: before the first record, and on from where they were."""

# pyright: reportPrivateUsage=false

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamfn as sf
from streamfn.clock import CountingRandom, ManualClock
from streamfn.engine.global_tables import GlobalTables
from streamfn.errors import StateCorruptedError, StopError
from streamfn.graph.plan import plan
from streamfn.metrics import Metrics
from streamfn.record import TopicPartition
from streamfn.state.directory import StateDirectory
from streamfn.state.home import FolderHomes
from tests.crash_world import World
from tests.faulty_log import Chaos, Crash, Script
from tests.unit.global_world import DAY_MS, HOME, Program, name, outputs, record, tables


def test_all_is_there_before_the_first_record() -> None:
    """However large the topic is, the first record finds the last row."""
    world = World(Program(partitions=1).app)
    world.write("in", record("z0"))
    world.write("names", *(name(f"{number}", number) for number in range(25_000)), name("z", 1))
    worker = world.start()
    worker.step()
    assert not tables(world).loaded
    assert "all-names" in worker.waiting_for
    world.settle()
    assert outputs(world) == ["z0=1"]
    assert worker.waiting_for == ""


def test_it_is_read_on_from_where_it_was() -> None:
    """A restart reads only what is new; nothing is read twice or lost."""
    world = World(Program().app)
    world.write("names", name("a", 1), name("b", 2), name("c", 3))
    world.settle()
    world.close()
    world.write("names", name("b", None))
    world.log.calls.clear()
    world.start()
    reads = [partition.position for partition in tables(world)._partitions]
    assert sum(reads) == 3
    world.settle()
    assert tables(world).entries("all-names") == {"a": 1, "c": 3}
    assert not world.homes.wiped


def wiped_for(world: World) -> str:
    """Start again and say why the database was begun anew."""
    world.settle()
    (reason,) = [reason for home, reason in world.homes.wiped if home == HOME]
    return reason


def test_a_topic_made_anew_is_read_anew() -> None:
    """What the old one held is forgotten."""
    world = World(Program().app)
    world.write("names", name("a", 1))
    world.settle()
    world.close()
    world.inner.delete_topic("names")
    world.inner.create_topic("names", 2, {})
    world.write("names", name("b", 2))
    assert "of another topic" in wiped_for(world)
    assert tables(world).entries("all-names") == {"b": 2}


def test_one_that_was_away_for_long_is_read_anew() -> None:
    """Its topic may have dropped the tombstones of what it still holds."""
    world = World(Program().app)
    world.write("names", name("a", 1), name("b", 1))
    world.settle()
    world.close()
    world.clock.advance_ms(DAY_MS // 2 + 1)
    for partition in range(2):
        source = TopicPartition("names", partition)
        world.inner.delete_records(source, world.inner.end_offsets([source])[source])
    assert "12 hours old" in wiped_for(world)
    assert tables(world).entries("all-names") == {}


def test_one_that_only_was_idle_is_kept() -> None:
    """A worker that runs writes now and then that it is up to date."""
    world = World(Program().app)
    world.write("names", name("a", 1))
    world.settle()
    for _ in range(30):
        world.clock.advance_ms(3_600_000)
        world.settle()
    world.crash()
    world.settle()
    assert not world.homes.wiped
    assert tables(world).entries("all-names") == {"a": 1}


def test_a_gap_in_the_topic_means_to_read_it_anew() -> None:
    """A position before the first record that is left cannot be gone on from."""
    world = World(Program(partitions=1).app)
    world.write("names", name("a", 1))
    world.settle()
    world.close()
    world.write("names", name("b", 2), name("a", None), name("c", 3))
    world.inner.delete_records(TopicPartition("names", 0), 3)
    assert "now holds 3 to 4, not 1" in wiped_for(world)
    assert tables(world).entries("all-names") == {"c": 3}


def test_a_damaged_database_is_read_anew() -> None:
    """Who finds the damage dies of it and leaves a mark for the next."""
    faults = Script()
    world = World(Program().app, faults=faults)
    world.write("names", name("a", 1))
    world.settle()
    world.close()
    world.start()
    faults.then(store_get="corrupt")
    world.write("in", record("a1"))
    with pytest.raises(StateCorruptedError):
        world.settle()
    world.crash()
    assert wiped_for(world) == "it is in pieces"
    assert outputs(world) == ["a1=1"]


def test_new_partitions_are_read() -> None:
    """A topic that grows is read whole, without a restart."""
    world = World(Program(partitions=2).app)
    world.start()
    del tables(world)._partitions[1:]  # as it was when it had one
    world.write("names", *(name(key, 1) for key in "abcdef"))
    world.settle()
    assert 0 < len(tables(world).entries("all-names")) < 6
    world.clock.advance_ms(60_001)
    world.settle()
    assert len(tables(world).entries("all-names")) == 6


def test_a_topic_that_gives_nothing_stops_the_start() -> None:
    """Waiting for ever for the end of a topic would look like running."""
    world = World(Program().app, faults=Script(read="stall"), restore_timeout_ms=5_000)
    world.write("names", name("a", 1))
    with pytest.raises(StopError, match=r"'all-names' cannot be read.*gave nothing"):
        world.settle()


def test_a_topic_that_gives_nothing_later_is_asked_again() -> None:
    """A worker that runs goes on without it, and reads anew after a while."""
    faults = Script()
    world = World(Program().app, faults=faults, restore_timeout_ms=5_000)
    world.settle()
    faults.then(read="stall")
    world.write("names", name("a", 1))
    world.write("in", record("a1"))
    worker = world.settle()
    assert outputs(world) == ["a1=None"]
    for _ in range(8):
        worker.step()
    assert tables(world).entries("all-names") == {"a": 1}


rows = st.tuples(st.sampled_from("abcd"), st.one_of(st.none(), st.integers(0, 99)))
events = st.lists(st.one_of(rows, rows, st.sampled_from(["kill", "close", "later"])), max_size=20)


@settings(max_examples=40, deadline=None)
@given(events=events, seed=st.integers(0, 10_000))
def test_it_is_its_topic_folded_whatever_goes_wrong(
    events: list[tuple[str, int | None] | str], seed: int
) -> None:
    """Through faults of log and disk, kills and restarts, it holds what its topic holds."""
    world = World(Program().app, faults=Chaos(seed), store_interval_ms=1_000)
    wanted: dict[str, int] = {}
    for event in [*events, "kill"]:
        try:
            if event == "kill":
                world.crash()
            elif event == "close":
                world.close()
            elif event == "later":
                world.clock.advance_ms(2_000)
            elif isinstance(event, tuple):
                key, value = event
                wanted.pop(key, None)
                wanted.update({} if value is None else {key: value})
                world.write("names", name(key, value))
            world.settle()
        except (Crash, sf.StreamfnError):
            world.crash()
    world.faults = Script()
    world.crash()
    world.settle()
    assert tables(world).entries("all-names") == wanted


def test_each_worker_of_a_machine_has_its_own(tmp_path: Path) -> None:
    """Two at a time use two folders, and the next one finds the first of them."""
    program, clock = Program(), ManualClock()
    world = World(program.app)
    world.write("names", name("a", 1))
    planned = plan(program.app.topology(), {"names": 2})
    directory = StateDirectory(tmp_path, "app", clock=clock, random=CountingRandom())

    def opened() -> GlobalTables:
        found = GlobalTables(
            planned, world.log, FolderHomes(directory), clock, Metrics(), world.config
        )
        found.open()
        while not found.loaded:
            found.step()
        return found

    one, two = opened(), opened()
    assert one["all-names"].get("a") == two["all-names"].get("a") == 1
    assert directory.list_tasks() == [HOME, "global-tables.1"]
    one.close()
    again = opened()
    assert sum(partition.position for partition in again._partitions) == 1
    assert again["all-names"].get("a") == 1
    assert again["all-names"].get("b") is None
    two.close()
    again.close()


def test_it_is_looked_at_now_and_then_on_a_broker() -> None:
    """A broker is asked ten times a second, not in every round."""
    world = World(Program().app)
    world.settle()
    found = tables(world)
    found._every_s = 0.1
    world.write("names", name("a", 1))
    assert [found.step(), found["all-names"].get("a")] == [0, None]
    world.clock.advance_ms(100)
    assert [found.step(), found["all-names"].get("a")] == [1, 1]


def test_nothing_new_is_missed_while_records_come() -> None:
    """A row that is written between two records is there for the second."""
    world = World(Program().app)
    for number in range(5):
        world.write("names", name("a", number))
        world.write("in", record(f"a{number}"))
        world.settle()
    assert outputs(world) == [f"a{number}={number}" for number in range(5)]
