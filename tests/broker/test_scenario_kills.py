"""Workers that are killed with -9: nothing of it can be seen, whatever the program does."""

import random
from pathlib import Path

from tests.broker.feeder import Feeder, start_ms
from tests.broker.truth import billed, by_key, check_at_least, check_regrouped, check_same, ticked
from tests.broker.workers import Worker
from tests.broker.world import QUICK, World, world_of
from tests.kafka_settings import Address

WORDS = ("red", "green", "blue", "grey", "black", "white")


SLOW_MS = 20
"""What a record takes where all input is there before: a kill is to come in the midst of it."""


def kill_at_random(
    world: World, victim: Worker, times: int, moments: random.Random, answers_max: int = 100
) -> Worker:
    """Kill a worker so often, each time once it works and after some more answers."""
    for _ in range(times):
        world.wait(lambda: victim.running, "the victim has tasks")  # noqa: B023
        world.wait_more(moments.randrange(1, answers_max))
        victim.kill()
        victim = world.start(victim.name)
    return victim


def test_three_workers_of_which_one_is_killed_thrice(
    broker: Address, name: str, tmp_path: Path
) -> None:
    """Neither the kills at random moments nor a worker that joins late can be seen."""
    moments = random.Random(name)
    with world_of(broker, name, tmp_path, partitions=6) as world:
        world.start("steady")
        world.start("apart", folder="another-machine")
        victim = world.start("victim")
        with world.feeder():
            victim = kill_at_random(world, victim, 2, moments)
            world.start("late")
            kill_at_random(world, victim, 1, moments)
            world.wait_more(100)
        world.check_counting()


def test_lists_behind_a_repartition_are_prefixes_of_the_input(
    broker: Address, name: str, tmp_path: Path
) -> None:
    """What passes two stages is there once, in the order of its input partition."""
    with world_of(broker, name, tmp_path, "regrouping") as world:
        with world.feeder(words=WORDS, rate=200):
            world.start("steady")
            kill_at_random(world, world.start("victim"), 2, random.Random(name))
            world.wait_more(100)
        inputs = world.finish()
        lists = world.changelog("count-seen")
        check_regrouped(inputs, world.seen(), lists)
        assert world.changelog("count-total") == {key: len(seen) for key, seen in lists.items()}


def test_new_group_protocol(broker: Address, name: str, tmp_path: Path) -> None:
    """KIP-848 keeps the same promises when a worker is killed."""
    config = tuple(
        setting
        for setting in QUICK
        if not setting.startswith(("consumer.session", "consumer.heartbeat"))
    )
    protocol = ("consumer.group.protocol=consumer",)
    with world_of(broker, name, tmp_path, settings=config + protocol) as world:
        session = {"consumer.session.timeout.ms": "4000", "consumer.heartbeat.interval.ms": "400"}
        world.client.configure_group(name, session)
        with world.feeder():
            world.start("steady")
            kill_at_random(world, world.start("victim"), 1, random.Random(name))
            world.wait_more(100)
        world.check_counting()


def test_at_least_once_loses_nothing(broker: Address, name: str, tmp_path: Path) -> None:
    """Without transactions answers may come twice after a kill, but each record has one."""
    with world_of(broker, name, tmp_path, config=("guarantee=at_least_once",)) as world:
        with world.feeder():
            world.start("steady")
            kill_at_random(world, world.start("victim"), 2, random.Random(name))
            world.wait_more(100)
        inputs = world.finish()
        check_at_least(inputs, world.seen())


def test_looking_up_a_table(broker: Address, name: str, tmp_path: Path) -> None:
    """Each order gets the price of its time, though a worker is killed meanwhile."""
    hurry = tmp_path / "hurry"
    with world_of(
        broker, name, tmp_path, "looking_up",
        topics=("prices", "in", "out"), pace_ms=SLOW_MS, hurry=str(hurry),
    ) as world:  # fmt: skip
        prices, orders = world.feeder("prices"), world.feeder()
        write_by_turns(prices, orders, 1_500, random.Random(name))
        world.start("steady")
        kill_at_random(world, world.start("victim"), 1, random.Random(name))
        hurry.touch()
        inputs = world.finish()
        seen = world.seen("prices")
        check_same(by_key(world.seen()), billed(seen, inputs))
        last = {record.key: record.value for record in seen}
        held = {key: value for key, value in last.items() if value is not None}
        assert world.changelog("prices", of_table=True) == held


def write_by_turns(prices: Feeder, orders: Feeder, count: int, choose: random.Random) -> None:
    """Write prices at even times and orders at odd ones, for the same keys."""
    begin_ms = start_ms()
    for number in range(count):
        at_ms, key = begin_ms + 2 * number, f"k{choose.randrange(30)}"
        if choose.random() < 0.3:
            price = f"{number}" if choose.random() < 0.9 else None
            prices.say(key, price, at_ms)
        orders.say(key, f"n {key} {number}", at_ms + 1)
    prices.flush()
    orders.flush()


def test_timers_on_stream_time(broker: Address, name: str, tmp_path: Path) -> None:
    """A timer fires once for each second that the records pass, though a worker is killed."""
    hurry = tmp_path / "hurry"
    with world_of(broker, name, tmp_path, "ticking", pace_ms=SLOW_MS, hurry=str(hurry)) as world:
        feeder, begin_ms = world.feeder(), start_ms()
        for number in range(2_000):
            key = f"k{number % 40}"
            feeder.say(key, f"n {key} {number}", begin_ms + number * 37)
        feeder.flush()
        expected = ticked(world.seen("in"))
        world.start("steady")
        kill_at_random(world, world.start("victim"), 1, random.Random(name), answers_max=30)
        hurry.touch()
        world.finish(sum(map(len, expected.values())))
        check_same(by_key(world.seen()), expected)
