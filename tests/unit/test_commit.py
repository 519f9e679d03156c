"""The commit protocol against a log that fails: outputs and state once, whatever a call answers."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import streamfn as sf
from streamfn.connectors.log import Committed
from streamfn.engine.marks import token_of
from streamfn.errors import FencedError, InternalError, LogError, NotCommittedError
from streamfn.record import TopicPartition
from tests.crash_world import World
from tests.faulty_log import Script

BURST = ["begin", "emit", "emit", "flush", "send_offsets", "commit"]
A0 = TopicPartition("in", 0)


def counting(
    *, partitions: int = 1, ticks: bool = False, see: Callable[[], None] = lambda: None
) -> sf.App:
    """Make an app that counts per key, and can tick each second on the wall clock."""
    app = sf.App("app")
    source = app.topic("in", key=str, value=str, partitions=partitions)
    counts = app.topic("counts", key=str, value=int)

    @app.function(source, to=counts)
    def count(value: str, total: sf.Value[int]) -> int:
        see()
        total.value += 1
        return total.value

    if ticks:

        @count.every(timedelta(seconds=1), clock="wall")
        def tick(total: sf.Store[str, int]) -> sf.Outgoing[str, int]:
            total["ticks"] = total.get("ticks", 0) + 1
            return counts.record(key="tick", value=total["ticks"])

    return app


def begun(app: sf.App | None = None, **settings: Any) -> World:
    """Return a world whose worker has committed its start positions."""
    world = World(app or counting(), **settings)
    world.settle()
    world.log.calls.clear()
    return world


def send(world: World, *keys: str) -> None:
    """Write a record for each key."""
    world.write("in", *((key.encode(), b'"x"', 1) for key in keys))


def check_counts(world: World, *expected: int) -> None:
    """Hold the outputs, and state and changelog of the same."""
    assert [int(value or b"") for value in world.values("counts")] == list(expected)
    assert world.in_tasks("count-total") == world.folded("app-count-total-changelog")


def rewinds(world: World) -> int:
    """Return how often the worker has gone back."""
    assert world.worker is not None
    return world.worker.metrics.rewinds


def test_a_transaction_is_one_burst_after_user_code() -> None:
    """The function runs first; then begin, outputs, changelog, flush, offsets, commit."""
    order: list[str] = []
    world = World(counting(see=lambda: order.extend(["function", *world.log.calls])))
    world.settle()
    world.log.calls.clear()
    send(world, "a")
    world.settle()
    assert "begin" not in order
    start = world.log.calls.index("begin")
    assert world.log.calls[start : start + 6] == BURST
    assert world.log.calls.count("begin") == world.log.calls.count("commit") == 1


def test_each_participant_carries_the_same_unique_token() -> None:
    """One token a transaction, on all inputs of all tasks in it; never twice the same."""
    world = begun(counting(partitions=3))
    for _ in range(2):
        send(world, *"abcdefghij")
        world.settle()
    tokens: list[str] = []
    for offsets in world.log.offsets:
        assert len({token_of(position) for position in offsets.values()}) == 1
        tokens.append(token_of(next(iter(offsets.values()))))
    assert len(world.log.offsets[-1]) == 3
    assert len(set(tokens)) == len(tokens)
    incarnations, sequences = zip(*(token.split(":") for token in tokens), strict=True)
    assert len(set(incarnations)) == 1
    assert [int(number) for number in sequences] == list(range(1, len(tokens) + 1))
    assert all(len(p.metadata) < 1000 for o in world.log.offsets for p in o.values())


def test_another_incarnation_has_other_tokens() -> None:
    """The sequence begins anew with a worker, so its tokens begin with another word."""
    world = begun()
    send(world, "a")
    world.settle()
    first = world.inner.committed([A0])[A0]
    world.run_again()
    assert token_of(world.inner.committed([A0])[A0]) != token_of(first)


def test_an_unknown_outcome_that_is_in_the_log_counts_once() -> None:
    """The token says it is committed: nothing is done again."""
    world = begun()
    world.faults = Script(commit="applied")
    send(world, "a", "a")
    world.settle()
    check_counts(world, 1, 2)
    assert rewinds(world) == 0
    send(world, "a")
    world.settle()
    check_counts(world, 1, 2, 3)


def test_an_unknown_outcome_that_is_lost_ends_the_worker() -> None:
    """It cannot be cured by trying again; the next worker does it once."""
    world = begun()
    world.faults = Script(commit="unknown")
    send(world, "a", "a")
    with pytest.raises(NotCommittedError):
        world.settle()
    world.run_again()
    check_counts(world, 1, 2)


@pytest.mark.parametrize("last", ["fenced", "unknown", "final", "applied"])
@pytest.mark.parametrize("first", ["after", "before", "before after", "after before"])
def test_what_a_commit_answers_after_a_time_out_is_in_doubt(first: str, last: str) -> None:
    """A try that timed out may have gone through, whatever the next one says."""
    world = begun()
    world.faults = Script(commit=f"{first} {last}")
    send(world, "a", "a")
    try:
        world.settle()
    except LogError:
        world.run_again()
    check_counts(world, 1, 2)
    send(world, "a")
    world.settle()
    check_counts(world, 1, 2, 3)


@pytest.mark.parametrize("fault", ["before", "after"])
def test_a_commit_that_times_out_for_ever_is_resolved(fault: str) -> None:
    """Past the deadline the token tells, and the worker goes on."""
    world = begun()

    def faults(call: str) -> str:
        return fault if call == "commit" and world.clock.now_ms() < 65_000 else ""

    world.faults = faults
    send(world, "a", "a")
    world.settle()
    check_counts(world, 1, 2)
    assert rewinds(world) == (fault == "before")


def test_a_commit_that_times_out_is_called_again() -> None:
    """With back-off, on the same producer, and without going back."""
    world = begun()
    world.faults = Script(commit="before before after")
    send(world, "a", "a")
    before_ms = world.clock.now_ms()
    world.settle()
    check_counts(world, 1, 2)
    assert rewinds(world) == 0
    assert world.log.calls.count("commit") == 4
    assert world.log.calls.count("begin") == 1
    assert world.clock.now_ms() - before_ms >= 50 + 100 + 200


@pytest.mark.parametrize("call", ["begin", "emit", "flush", "send_offsets", "commit"])
def test_an_error_that_cannot_be_cured_ends_the_worker(call: str) -> None:
    """It comes out as it is; the next worker does what was not committed."""
    world = begun()
    send(world, "a")
    world.settle()
    world.faults = Script(**{call: "final"})
    send(world, "a")
    with pytest.raises(LogError, match=f"{call}: final"):
        world.settle()
    check_counts_after_restart(world)


def check_counts_after_restart(world: World) -> None:
    """Close without a commit, as a failing worker is, and start another."""
    assert world.worker is not None
    world.worker.close(commit=False)
    world.run_again()
    check_counts(world, 1, 2)


@pytest.mark.parametrize("fault", ["before", "after", "fenced"])
@pytest.mark.parametrize("call", ["begin", "emit", "flush", "send_offsets"])
def test_any_other_failure_means_not_committed(call: str, fault: str) -> None:
    """A new producer, back to what is committed, and once more."""
    world = begun()
    world.faults = Script(**{call: fault})
    send(world, "a", "b", "a")
    world.settle()
    check_counts(world, 1, 1, 2)
    assert rewinds(world) == 1
    calls = world.log.calls
    failed = calls.index(call)
    assert "open_producer" in calls[failed : calls.index("begin", failed + 1)]


@pytest.mark.parametrize("call", ["send_offsets", "commit"])
def test_a_slow_call_that_succeeds_costs_the_producer(call: str) -> None:
    """The client may have sent it twice on the same epoch: another producer before the next."""
    world = begun()
    world.faults = Script(**{call: "slow"})
    send(world, "a")
    world.settle()
    assert rewinds(world) == 0
    assert world.log.calls[world.log.calls.index("commit") + 1] == "open_producer"
    send(world, "a")
    world.settle()
    check_counts(world, 1, 2)


def test_a_fast_commit_keeps_the_producer() -> None:
    """No new epoch without need: it costs half a second."""
    world = begun()
    for _ in range(3):
        send(world, "a")
        world.settle()
    assert "open_producer" not in world.log.calls


@pytest.mark.parametrize("fault", ["before", "after", "slow", "applied"])
def test_a_transaction_of_a_timer_alone_is_told_by_its_token(fault: str) -> None:
    """Its offsets are those of the last one: only the token is new."""
    world = begun(counting(ticks=True))
    send(world, "a")
    world.settle()
    before = world.inner.committed([A0])[A0]
    world.faults = Script(commit=fault)
    for _ in range(2):
        world.clock.advance_ms(1_000)
        world.settle()
    after = world.inner.committed([A0])[A0]
    assert after.offset == before.offset
    assert token_of(after) != token_of(before)
    check_counts(world, 1, 1, 2)


@pytest.mark.parametrize("call", ["flush", "send_offsets"])
def test_a_transaction_of_a_timer_alone_is_undone_as_a_whole(call: str) -> None:
    """A firing that was not committed has left nothing: the next one counts from before it."""
    world = begun(counting(ticks=True))
    world.faults = Script(**{call: "fenced"})
    for _ in range(2):
        world.clock.advance_ms(1_000)
        world.settle()
    check_counts(world, 1)


def test_a_lost_transaction_of_a_timer_is_not_taken_for_the_one_before() -> None:
    """Its offsets are committed, by the transaction before: offsets alone would say yes."""
    world = begun(counting(ticks=True))
    send(world, "a")
    world.settle()
    world.faults = Script(commit="unknown")
    world.clock.advance_ms(1_000)
    with pytest.raises(NotCommittedError):
        world.settle()
    world.run_again()
    check_counts(world, 1)


def test_a_producer_fenced_again_at_once_stops() -> None:
    """Once may be an outage longer than the time-out of transactions; twice is another worker."""
    world = begun()

    def faults(call: str) -> str:
        return "fenced" if call == "send_offsets" else ""

    world.faults = faults
    send(world, "a")
    with pytest.raises(FencedError):
        world.settle()
    assert world.log.calls.count("send_offsets") == 2


def test_fenced_now_and_then_goes_on() -> None:
    """A commit in between begins the count anew."""
    world = begun()
    world.faults = Script(send_offsets="fenced - fenced - fenced")
    for _ in range(4):
        send(world, "a")
        world.settle()
    check_counts(world, 1, 2, 3, 4)


def test_a_transaction_committed_in_part_is_our_bug() -> None:
    """One participant has the token and another our last one: nothing can be right after that."""
    world = begun(counting(partitions=3))
    held, before = world.inner.committed, world.inner.committed([A0])[A0]

    def torn(sources: object) -> dict[TopicPartition, Committed]:
        found = held([TopicPartition("in", each) for each in range(3)])
        return {**found, A0: before}

    world.faults = Script(commit="applied")
    send(world, *"abcdefghij")
    world.inner.committed = torn  # type: ignore[method-assign]  # a log that lies
    with pytest.raises(InternalError, match="committed in part"):
        world.settle()


def test_a_task_that_others_have_gone_on_with_was_committed() -> None:
    """Somebody took it over while we asked: their token stands on top of ours."""
    world = begun(counting(partitions=3))
    held = world.inner.committed

    def later(sources: object) -> dict[TopicPartition, Committed]:
        found = held([TopicPartition("in", each) for each in range(3)])
        taken = Committed(found[A0].offset + 2, '{"token": "another:1", "stream_time_ms": 0}')
        return {**found, A0: taken}

    world.faults = Script(commit="applied")
    send(world, *"abcdefghij")
    world.inner.committed = later  # type: ignore[method-assign]  # another worker, a moment later
    worker = world.settle()
    assert worker.metrics.rewinds == 0
    assert len(world.values("counts")) == 10


def test_a_store_is_written_after_the_commit_only() -> None:
    """Until the transaction is in the log, the database holds nothing of it."""
    world = begun(store_interval_ms=0)
    world.faults = Script(commit="unknown")
    send(world, "a")
    with pytest.raises(NotCommittedError):
        world.settle()
    assert world.on_disk("count-total") == {}
    world.run_again()
    world.close()
    assert world.on_disk("count-total") == world.folded("app-count-total-changelog")
