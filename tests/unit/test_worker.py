"""The worker's loop: inputs, budgets, topics, trims, word of a crash, the end."""

from contextlib import suppress

import pytest

import streamfn as sf
from streamfn.engine.topics import ensure_topics
from streamfn.errors import ConfigError, LogError, StageError, StateError, TopologyError
from streamfn.graph.plan import plan
from streamfn.record import TopicPartition
from tests.crash_world import World
from tests.faulty_log import Script
from tests.unit.worker_world import (
    IN,
    REPARTITION,
    echoing,
    numbers,
    opened,
    outputs,
    repartitioned,
    rows,
)


# inputs
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_a_full_input_is_paused_and_resumed(limit: int) -> None:
    """With the smallest buffers too, and nothing is left behind."""
    world = opened(buffer_records_max=limit, transaction_records_max=3)
    for at in range(0, 40, 4):
        world.write("in", *rows(*numbers(4, at)))
    world.settle()
    assert outputs(world) == numbers(40)
    assert world.log.calls.count("pause") == world.log.calls.count("resume") > 0


def merging() -> sf.App:
    """Make an app that merges a table and a stream by time."""
    app = sf.App("app")
    table = app.table(app.topic("table", key=str, value=str))
    out = app.topic("out", key=str, value=str)

    @app.function(app.topic("in", key=str, value=str), to=out)
    def look(value: str, context: sf.Context[str], prices: sf.Lookup[str, str] = table) -> str:
        return f"{value} {prices.get(context.key)}"

    return app


def test_only_the_full_input_is_paused() -> None:
    """The other one, which the merge waits for, is read on."""
    world = World(merging(), buffer_records_max=2)
    world.settle()
    for at_ms in range(10):
        world.write("in", *rows(str(at_ms), at_ms=at_ms * 10))
    for at_ms in range(30):
        world.write("table", *rows(str(at_ms), at_ms=at_ms * 3))
    world.settle()
    assert outputs(world) == ["0 None"] + [f"{at} {(at * 10 - 1) // 3}" for at in range(1, 10)]


def test_a_rewind_resumes_what_was_paused() -> None:
    """Else an input would be read no more."""
    world = opened(buffer_records_max=2, transaction_records_max=1)
    for at in range(10):
        world.write("in", *rows(*numbers(2, at * 2)))
    world.faults = Script(flush="before - before - - fenced")
    world.settle()
    assert outputs(world) == numbers(20)


# transactions
def test_a_transaction_has_a_budget_of_records() -> None:
    """However many are there."""
    world = opened(transaction_records_max=7)
    world.write("in", *rows(*numbers(40)))
    before = len(world.log.offsets)
    world.settle()
    steps = [offsets[IN].offset for offsets in world.log.offsets[before:]]
    assert steps == [7, 14, 21, 28, 35, 40]


def test_a_transaction_has_a_budget_of_bytes() -> None:
    """It is committed before its time."""
    world = opened(commit_interval_ms=60_000, transaction_bytes_max=1_000)
    world.write("in", *rows(*("x" * 100 for _ in range(50))))
    world.settle()
    assert len(outputs(world)) > 0


def test_a_commit_waits_for_its_interval() -> None:
    """And is not skipped when nothing more comes."""
    world = opened(commit_interval_ms=100)
    world.clock.advance_ms(100)
    world.settle()
    world.write("in", *rows("a"))
    world.settle()
    assert outputs(world) == []
    world.clock.advance_ms(100)
    world.settle()
    assert outputs(world) == ["a"]


# topics
def test_an_orphaned_repartition_topic_with_unread_records_is_refused() -> None:
    """A renamed one would lose them without a sound; once drained it is none of our business."""
    world = World(echoing())
    world.inner.create_topic("app-old-repartition", 1, {})
    world.write("app-old-repartition", *rows("a", "b"))
    with pytest.raises(ConfigError, match="'app-old-repartition' holds 2 unread") as raised:
        world.start()
    assert "reset" in str(raised.value)
    world.inner.delete_records(TopicPartition("app-old-repartition", 0), 2)
    world.start()


def test_an_internal_topic_with_another_partition_count_is_refused() -> None:
    """Its records lie where nobody looks for them."""
    world = World(repartitioned())
    world.inner.create_topic("app-count-total-changelog", 3, {"cleanup.policy": "compact"})
    with pytest.raises(ConfigError, match="has 3 partitions; the topology needs 1"):
        world.start()


@pytest.mark.parametrize(
    "config", [{"cleanup.policy": "delete"}, {"cleanup.policy": "compact,delete"}]
)
def test_an_internal_topic_that_forgets_is_refused(config: dict[str, str]) -> None:
    """A changelog with another policy loses state."""
    world = World(repartitioned())
    whole = {"cleanup.policy": "compact", "retention.ms": "-1", **config}
    world.inner.create_topic("app-count-total-changelog", 1, whole)
    with pytest.raises(ConfigError, match="would lose state"):
        world.start()


def test_a_source_topic_that_changes_stops_the_worker() -> None:
    """Looked at each minute: nobody would read its new partitions."""
    world = opened(repartitioned())
    world.inner.delete_topic("in")
    world.inner.create_topic("in", 4, {})
    world.clock.advance_ms(60_000)
    worker = world.worker
    assert worker is not None
    with pytest.raises(TopologyError, match="declared with 1 partitions; got a topic with 4"):
        worker.step()


def test_topics_that_are_the_users_are_not_made_unasked() -> None:
    """Their absence is an error with the command that makes them."""
    world = World(echoing())
    world.inner.delete_topic("out")
    planned = plan(world.topology, {})
    with pytest.raises(ConfigError, match="streamfn topics create"):
        ensure_topics(planned, world.inner, world.config, create_user_topics=False)
    ensure_topics(planned, world.inner, world.config, create_user_topics=True)
    assert "out" in world.inner.topics()


# trims
def test_repartition_topics_are_trimmed_up_to_what_is_committed() -> None:
    """And no further; the user's topics never."""
    world = opened(repartitioned(), repartition_trim_interval_ms=1, commit_interval_ms=100)
    source = TopicPartition(REPARTITION, 0)
    world.write("in", *rows("apple", "bean", "corn"))
    begins: list[int] = []
    for _ in range(300):
        world.clock.advance_ms(1)
        world.settle()
        begins.append(world.inner.begin_offsets([source])[source])
        assert begins[-1] <= world.inner.committed([source])[source].offset
    assert world.inner.end_offsets([source])[source] == 3
    assert set(begins) == {0, 3}
    assert world.inner.begin_offsets([IN])[IN] == 0
    world.write("in", *rows("apple"))
    world.run_again()
    for _ in range(3):
        world.clock.advance_ms(100)
        world.settle()
    assert outputs(world)[-1] == "2"


@pytest.mark.parametrize("call", ["delete_records", "committed"])
@pytest.mark.parametrize("fault", ["before", "final"])
def test_a_trim_that_fails_is_tried_again_later(call: str, fault: str) -> None:
    """It is a chore: a warning, not the end."""
    world = opened(repartitioned(), repartition_trim_interval_ms=30_000)
    source = TopicPartition(REPARTITION, 0)
    world.write("in", *rows("apple", "bean"))
    world.settle()
    world.faults = Script(**{call: fault})
    for _ in range(2):
        world.clock.advance_ms(30_000)
        world.settle()
    assert world.inner.begin_offsets([source])[source] == 2


# errors of the log outside of transactions
@pytest.mark.parametrize("call", ["committed", "begin_offsets", "end_offsets"])
def test_a_time_out_in_a_rewind_is_borne(call: str) -> None:
    """It comes right after a failure, when more of them are to be expected."""
    world = opened()
    world.faults = Script(flush="before", **{call: "before before"})
    world.write("in", *rows("a", "b"))
    world.settle()
    assert outputs(world) == ["a", "b"]


# word of a crash
class Notes:
    """A slot that remembers what it is told."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, str, int]] = []
        self.forgotten: list[str] = []
        self.present: tuple[str, str, int] | None = None
        """What a crash would be blamed on now."""

    def note_position(self, task: str, topic: str, offset: int) -> None:
        """Note."""
        self.present = (task, topic, offset)
        self.noted.append(self.present)

    def forget_position(self) -> None:
        """Nothing of the user's runs."""
        self.present = None

    def forget_crash(self, task: str) -> None:
        """Note."""
        self.forgotten.append(task)


def test_a_crash_is_forgotten_only_behind_its_record() -> None:
    """A commit that moves nothing, as each start makes one, is no sign of getting past it."""
    notes = Notes()
    world = World(echoing(), slot=notes)
    world.write("in", *rows("a"))
    worker = world.start()
    worker.step()
    worker.step()
    assert notes.noted == [("in_0", "in", 0)]
    world.settle()
    assert notes.forgotten == ["in_0"]
    notes.forgotten.clear()
    world.run_again()
    world.clock.advance_ms(3_600_000)
    world.settle()
    assert notes.forgotten == []
    world.write("in", *rows("b"))
    world.settle()
    assert notes.noted[-1] == ("in_0", "in", 1)
    assert notes.forgotten == ["in_0"]


def blames(world: World, notes: Notes) -> list[str]:
    """Watch the log: return which calls of it would be blamed on a record if they hung."""
    found: list[str] = []

    def faults(call: str) -> str:
        found.extend([call] if notes.present is not None else [])
        return ""

    world.faults = faults
    return found


def test_a_call_that_hangs_while_a_merge_waits_is_not_blamed_on_a_record() -> None:
    """The record is in the buffer and does not run: the log is to blame."""
    notes = Notes()
    world = World(merging(), slot=notes)
    worker, found = world.settle(), blames(world, notes)
    caught_up = world.inner.caught_up
    world.inner.caught_up = (  # type: ignore[method-assign]  # the table is behind
        lambda source, at_least=0: source.topic != "table" and caught_up(source, at_least)
    )
    world.write("in", *rows("a"))
    for _ in range(5):
        worker.step()
    assert notes.noted
    assert outputs(world) == []
    assert (found, notes.present) == ([], None)


@pytest.mark.parametrize("retries", [0, 1])
def test_a_commit_that_hangs_is_not_blamed_on_a_record_that_failed(retries: int) -> None:
    """What came before it is committed, or it waits to be tried again; while it runs it is."""
    app = sf.App("app", retries=retries)
    notes, seen = Notes(), list[tuple[str, str, int] | None]()

    @app.function(app.topic("in", key=str, value=str))
    def fail(value: str) -> None:
        seen.append(notes.present)
        if value == "bad":
            raise ValueError(value)

    world = World(app, slot=notes)
    worker, found = world.settle(), blames(world, notes)
    world.write("in", *rows("good", "bad"))
    with suppress(StageError):
        for _ in range(5):
            worker.step()
    assert seen == [("in_0", "in", 0)] * 2
    assert world.inner.committed([IN])[IN].offset == 1
    assert (found, notes.present) == ([], None)


# the end
def test_closing_twice_or_after_an_error_is_safe() -> None:
    """Whatever the state of the worker."""
    app = echoing()
    world = opened(app)
    world.write("in", *rows("a"))
    world.settle()
    worker = world.settle()
    worker.close()
    worker.close()
    assert outputs(world) == ["a"]


def test_a_close_whose_commit_fails_lets_go_of_everything() -> None:
    """Stores and folders are free for the next one, which does what was not committed."""
    world = opened(echoing(stateful=True), commit_interval_ms=60_000)
    world.write("in", *rows("a"))
    worker = world.settle()
    task = worker.tasks["in_0"]
    world.faults = Script(commit="final")
    with pytest.raises(LogError, match="commit: final"):
        worker.close()
    assert worker.tasks == {}
    with pytest.raises(StateError, match="closed"):
        task.home.store.meta()
    world.run_again()
    world.close()
    assert outputs(world) == ["a"]


def test_the_end_of_all_inputs_is_known() -> None:
    """``until_end`` returns when everything is processed and committed."""
    world = opened(repartitioned(), commit_interval_ms=20, poll_timeout_ms=10)
    world.write("in", *rows("apple", "bean", "avocado"))
    assert world.worker is not None
    world.worker.run(until_end=True)
    assert sorted(outputs(world)) == ["1", "1", "2"]


def test_an_error_of_a_record_does_not_hide_behind_one_of_the_close() -> None:
    """The worker is closed without a commit; what it raises is the record's error."""
    app = sf.App("app")
    source = app.topic("in", key=str, value=str)

    @app.function(source)
    def fail(value: str, seen: sf.Value[int]) -> None:
        raise ValueError(value)

    world = opened(app)
    world.write("in", *rows("a"))
    with pytest.raises(StageError):
        world.settle()
    assert world.worker is not None
    world.worker.close(commit=False)
    assert world.worker.tasks == {}
