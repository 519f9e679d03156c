"""Brokers that are killed, silent or gone for long, and calls that hang: late, but exactly once."""

import random
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.broker.world import World, world_of
from tests.kafka_broker import Broker, OwnBroker
from tests.kafka_settings import Address

LONG_SESSION = {"broker.session.timeout.ms": "60000"}
"""So that a suspended broker is still one when it goes on.

Else it tells its clients for a moment that there is no broker at all, after which some clients of
librdkafka never ask again (its issue 5301).
"""
TRANSACTION_S = 2
WATCHDOG = "watchdog_ms=5000"
SHORT_TRANSACTIONS = (
    f"producer.transaction.timeout.ms={TRANSACTION_S * 1000}",
    f"producer.message.timeout.ms={TRANSACTION_S * 1000}",
)


@contextmanager
def showing(broker: Broker) -> Generator[None]:
    """Show the end of the broker's log if the block fails."""
    try:
        yield
    except Exception:
        print(broker.log_tail(60))
        raise


@pytest.mark.slow
def test_broker_killed_and_restarted(own_broker: OwnBroker, name: str, tmp_path: Path) -> None:
    """Workers wait for a killed broker and go on by themselves."""
    broker, moments = own_broker(), random.Random(name)
    with showing(broker), world_of(broker.address, name, tmp_path) as world:
        workers = world.start("one"), world.start("two")
        with world.feeder(rate=200):
            world.wait_more(moments.randrange(20, 200))
            broker.kill()
            broker.restart()
            world.wait_more(200)
        assert [worker.code for worker in workers] == [None, None]
        world.check_counting()


@pytest.mark.slow
@pytest.mark.parametrize("silent", [True, False], ids=["suspended", "killed"])
def test_outage_longer_than_a_transaction(
    own_broker: OwnBroker, name: str, tmp_path: Path, silent: bool
) -> None:
    """What was open when the broker went has timed out when it comes back; it is done again."""
    broker = own_broker(properties=LONG_SESSION if silent else {})
    quick = ("transaction_records_max=20", "commit_interval_ms=1", *SHORT_TRANSACTIONS)
    with showing(broker), world_of(broker.address, name, tmp_path, config=quick) as world:
        world.start("one")
        world.start("two")
        with world.feeder(rate=200):
            for _ in range(2 if silent else 1):
                world.wait_more(100)
                outage(broker, TRANSACTION_S + 1.5, silent=silent)
            world.wait_more(200)
        world.check_counting()


def outage(broker: Broker, duration_s: float, *, silent: bool) -> None:
    """Take a broker away for a time."""
    if silent:
        broker.suspend()
    else:
        broker.kill()
    time.sleep(duration_s)  # it is the length of the outage that is tested
    if silent:
        broker.resume()
    else:
        broker.restart()


def test_hung_function_is_ended_by_the_watchdog(broker: Address, name: str, tmp_path: Path) -> None:
    """A worker whose function hangs is ended with a dump; another takes its place."""
    trap = tmp_path / "trap"
    with (
        world_of(broker, name, tmp_path, trap=str(trap)) as world,
        world.feeder() as feeder,
    ):
        supervisor = world.supervise("supervisor", 2, WATCHDOG)
        world.wait_more(100)
        trap.write_text("hang")
        feeder.say("k0", "trap")
        world.wait(lambda: not trap.exists(), "a function hangs")
        world.wait(lambda: "spring" in crash_dumps(world), "the dump says where it hung")
        world.wait(lambda: "starts again" in supervisor.said, "the hung worker is ended")
        world.wait_more(200)
        feeder.stop()
        world.check_counting()


@pytest.mark.slow
def test_silent_broker_and_the_watchdog(own_broker: OwnBroker, name: str, tmp_path: Path) -> None:
    """Whether calls hang or wait while the broker is silent: afterwards the work goes on."""
    broker = own_broker(properties=LONG_SESSION)
    with showing(broker), world_of(broker.address, name, tmp_path) as world:
        supervisor = world.supervise("supervisor", 2, WATCHDOG)
        with world.feeder(rate=200):
            world.wait_more(100)
            outage(broker, 9, silent=True)
            world.wait_more(200)
        assert supervisor.code is None, supervisor.tail()
        world.check_counting()


def crash_dumps(world: World) -> str:
    """What the watchdog has written."""
    return "".join(path.read_text() for path in world.folder.rglob("*crash"))
