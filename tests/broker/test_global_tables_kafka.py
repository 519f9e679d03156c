"""Global tables and chosen topics on a real Kafka, with two workers."""

from pathlib import Path
from typing import Final

from tests.broker.world import World, world_of
from tests.kafka_settings import Address

TOPICS: Final = ("in", "out", "unnamed")
KEYS: Final = 12


def order(world: World, round_: str) -> None:
    """One order a key, so that each partition and each worker has some."""
    feeder = world.feeder()
    for key in range(KEYS):
        feeder.say(f"k{key}", f"ann {round_}")
        feeder.say(f"k{key}", f"bob {round_}")
    feeder.flush()


def say_name(world: World, word: str, value: str | None) -> None:
    """Say a word's name, or that it has none."""
    feeder = world.feeder("names")
    feeder.say(word, value)
    feeder.flush()


def answers(world: World, round_: str) -> set[str]:
    """What was answered to the orders of a round, once all are answered."""

    def found() -> list[str]:
        records = [*world.reader().records, *world.reader("unnamed").records]
        return [record.value or "" for record in records if f" {round_} " in f"{record.value} "]

    def arrived() -> bool:
        world.reader().look()
        world.reader("unnamed").look()
        return len(found()) == 2 * KEYS

    world.wait(arrived, f"round {round_} is answered")
    return set(found())


def followed(world: World, tag: str, wanted: set[str]) -> None:
    """Order again until both workers have seen a change of the table."""
    tries = iter(range(1_000))

    def seen() -> bool:
        round_ = f"{tag}{next(tries)}"
        order(world, round_)
        return answers(world, round_) == {text.replace("*", round_) for text in wanted}

    world.wait(seen, f"{wanted} is seen by all")


def test_every_worker_has_the_whole_table(broker: Address, name: str, tmp_path: Path) -> None:
    """From the first record on; changes follow, also after a restart and a lost folder."""
    with world_of(broker, name, tmp_path, "naming", topics=TOPICS) as world:
        world.create("names", 3)
        say_name(world, "ann", "Ann")
        order(world, "first")
        first = world.start("one")
        second = world.start("two", folder="another-machine")
        world.wait(lambda: first.running and second.running, "both have tasks")
        assert answers(world, "first") == {"ann first by Ann", "bob first by None"}
        say_name(world, "ann", "Anna")
        say_name(world, "bob", "Bob")
        followed(world, "later", {"ann * by Anna", "bob * by Bob"})
        world.stop()
        say_name(world, "bob", None)
        order(world, "again")
        world.start("one again")
        world.start("elsewhere", folder="a-third-machine")
        assert answers(world, "again") == {"ann again by Anna", "bob again by None"}
        unnamed = {record.value for record in world.reader("unnamed").records}
        assert unnamed
        assert all((value or "").endswith("by None") for value in unnamed)
