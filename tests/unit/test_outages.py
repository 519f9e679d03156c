"""Long outages, and topics out of sight: the worker waits, says for what, and goes on."""

import pytest

from streamfn.config import Config
from streamfn.connectors.log import TopicInfo
from streamfn.engine.restore import ANSWERED_S
from streamfn.engine.transaction import BACKOFF_MAX_S, Transaction
from streamfn.engine.worker import Worker
from streamfn.errors import LogError, StopError
from tests.crash_world import World
from tests.faulty_log import Script
from tests.unit.restore_world import CHANGELOG, behind, counting, restored, written

RESTORE_TIMEOUT_S = Config().restore_timeout_ms / 1000
PATIENCE_S = 15
"""So long an embedded worker tries to open a task."""


# a restore
def silent(**faults: str) -> World:
    """Return a world whose log fails from where a restore has begun."""
    world, script = behind(), Script(**faults)

    def faulty(call: str) -> str:
        return script(call) if world.worker is not None and world.worker.restores else ""

    world.faults = faulty
    return world


def test_an_outage_ends_no_restore() -> None:
    """However long: reads give nothing and nobody answers; afterwards it goes on."""
    world = silent(read="stall " * 20, end_offsets="before " * 20)
    assert restored(world) == 5
    assert world.clock.monotonic_s() > RESTORE_TIMEOUT_S + 19 * ANSWERED_S
    assert world.homes.wiped == []


def test_a_changelog_that_gives_nothing_after_an_outage_stops_the_worker() -> None:
    """Once the log answers it has a while left, and no second time-out."""
    world = silent(read="stall stall", end_offsets="before")
    with pytest.raises(StopError, match=f"{CHANGELOG}.*offset"):
        world.settle()
    waited_s = world.clock.monotonic_s() - RESTORE_TIMEOUT_S
    assert ANSWERED_S <= waited_s < ANSWERED_S + 10


def test_an_error_that_no_waiting_cures_ends_a_restore() -> None:
    """As everywhere: missing rights are no outage."""
    world = silent(read="stall", end_offsets="final")
    with pytest.raises(LogError, match="end_offsets: final"):
        world.settle()


# a changelog out of sight
def given_back(world: World) -> Worker:
    """Take the only token away and give it back, as a rebalance does."""
    worker = world.settle()
    worker.revoked([0])
    worker.assigned([0])
    return worker


def test_a_deleted_changelog_is_told_of_in_one_line() -> None:
    """First as what the task waits for, then as the error, with the cure."""
    world = World(counting())
    world.settle()
    written(world, range(5))
    world.inner.delete_topic(CHANGELOG)
    worker = given_back(world)
    worker.step()
    assert f"task in_0: the log: changelog '{CHANGELOG}' of task 'in_0'" in worker.waiting_for
    world.clock.advance_ms(PATIENCE_S * 1000)
    with pytest.raises(LogError, match=r"does not exist; .*streamfn reset") as raised:
        worker.step()
    assert raised.value.retriable
    assert "\n" not in str(raised.value)


def test_a_changelog_that_a_broker_does_not_know_yet_is_waited_for() -> None:
    """Of several brokers one hears of a topic later than another."""
    world = World(counting())
    world.settle()
    written(world, range(5))
    all_topics, hidden = world.inner.topics, [CHANGELOG]

    def some_topics(names: object = None) -> dict[str, TopicInfo]:
        return {name: info for name, info in all_topics().items() if name not in hidden}

    world.inner.topics = some_topics  # type: ignore[method-assign]  # a broker that comes up
    worker = given_back(world)
    worker.step()
    assert not worker.tasks
    hidden.clear()
    written(world, range(5, 10))
    assert not worker.waiting_for
    assert len(world.values("out")) == 10
    assert world.in_tasks("count-total") == world.folded(CHANGELOG)


# failures in a row
def test_the_wait_stays_bounded_for_days() -> None:
    """A topic that is gone fails each transaction, for as long as nobody looks."""
    transaction = Transaction(Config())
    waits = {transaction.rewound(patient=True) for _ in range(20_000)}
    assert max(waits) == BACKOFF_MAX_S
