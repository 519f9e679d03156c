"""Operators on a real Kafka: two workers, of which one is killed, answer as one that is not.

The embedded log has the same records and gives what is expected; sums are worked out in plain
Python too. Invariant: answers are read by a plain read_committed consumer, all of them.
"""

import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

from confluent_kafka import Message

from streamfn.connectors.partitioner import Partitioner
from streamfn.serde import as_key_serde
from tests import crash_world
from tests.broker.feeder import start_ms
from tests.broker.programs import Job
from tests.broker.reader import Reader, as_bytes
from tests.broker.world import World, world_of
from tests.kafka_settings import Address
from tests.operator_models import tumbling
from tests.operator_programs import WINDOWED
from tests.operator_records import KEYS, Sent
from tests.operator_world import Answer, answers, last, write

PARTITIONS: Final = 4
COUNT: Final = 1_600
INPUTS: Final = ("left", "right")
ORDERED: Final = ("sums", "sessions", "pairs")
"""What follows from the inputs of a partition, record by record."""
CONVERGING: Final = ("groups", "names")
"""What passes a repartition: the last value of each key is what counts."""
TOPICS: Final = (*INPUTS, *ORDERED, *CONVERGING)
GRACE_MS: Final = 7_000

Last: TypeAlias = dict[bytes | None, bytes]


class RawReader(Reader):
    """Keeps the records of each partition as they are."""

    def __init__(self, world: World, suffix: str) -> None:
        super().__init__(world.address, world.client, world.job.topic(suffix))
        self.found: list[list[Answer]] = [[] for _ in range(PARTITIONS)]

    def _take(self, message: Message) -> None:
        partition = message.partition()
        if message.error() is None and partition is not None:
            key, value = as_bytes(message.key()), as_bytes(message.value())
            self.found[partition].append((key, value, message.timestamp()[1]))
        super()._take(message)


def read(world: World, suffix: str) -> list[list[Answer]]:
    """All committed records of a topic, partition by partition."""
    reader = RawReader(world, suffix)
    try:
        reader.to_end()
    finally:
        reader.close()
    return reader.found


def chosen(choose: random.Random) -> Iterator[Sent]:
    """Choose records, some of them late, left ones at even times and right ones at odd ones."""
    at_ms, keys = start_ms(), [key * 3 for key in KEYS] + list(KEYS)
    for _ in range(COUNT):
        at_ms += choose.choice((0, 200, 1_400, 4_000))
        place = choose.randrange(2)
        late_ms = choose.choice((0, 0, 0, 5_000, 9_000, 30_000))
        key = choose.choice(keys)
        yield Sent(INPUTS[place], key, choose.randrange(90), (at_ms - late_ms) // 2 * 2 + place)
    for number in range(30):  # the last: they close what is open, in all partitions
        for place in range(2):
            yield Sent(INPUTS[place], f"{number}", 1, (at_ms + 100_000) // 2 * 2 + place)


def embedded(job: Job, sent: list[Sent]) -> crash_world.World:
    """The same program on the embedded log."""
    world = crash_world.World(job.app())
    write(world, [record._replace(topic=job.topic(record.topic)) for record in sent])
    world.settle()
    return world


def test_operators_on_two_workers_of_which_one_is_killed(
    broker: Address, name: str, tmp_path: Path
) -> None:
    """Sums, sessions, groups, pairs and joined rows are those of the embedded run."""
    sent, hurry = list(chosen(random.Random(name))), tmp_path / "hurry"
    with world_of(
        broker, name, tmp_path, "operating", topics=TOPICS, pace_ms=20, hurry=str(hurry)
    ) as world:
        expected = embedded(world.job, sent)
        feeders = {suffix: world.feeder(suffix) for suffix in INPUTS}
        for record in sent:
            key, value, at_ms = record.raw
            feeders[record.topic].say(key.decode(), value, at_ms)
        for feeder in feeders.values():
            feeder.flush()
        world.start("steady")
        victim = world.start("victim", folder="another-machine")
        world.wait(lambda: victim.running, "the victim has tasks")
        world.wait_answers(COUNT // 10, "sums")
        victim.kill()
        assert world.behind("left"), "the kill came too late"
        hurry.touch()
        world.start("heir", folder="a-third-machine")
        wait_until_done(world, expected)
        check_ordered(world, expected)
        check_sums(world)
        for suffix in CONVERGING:
            assert [*map(last, read(world, suffix))] == wanted_last(world, expected, suffix), suffix


def present(entries: dict[bytes, bytes | None]) -> dict[bytes, bytes]:
    """What is not deleted."""
    return {key: value for key, value in entries.items() if value is not None}


def wanted(world: World, expected: crash_world.World, suffix: str) -> list[list[Answer]]:
    """What the embedded run answered."""
    return answers(expected, world.job.topic(suffix))


def wanted_last(world: World, expected: crash_world.World, suffix: str) -> list[Last]:
    """What it answered last."""
    return [*map(last, wanted(world, expected, suffix))]


def wait_until_done(world: World, expected: crash_world.World) -> None:
    """Wait until all input is committed and what passes repartitions has arrived; stop all."""
    readers = {suffix: world.reader(suffix) for suffix in CONVERGING}
    wants = {suffix: wanted_last(world, expected, suffix) for suffix in CONVERGING}

    def arrived() -> bool:
        for reader in readers.values():
            reader.look()
        return all(
            [present(readers[suffix].raw.get(partition, {})) for partition in range(PARTITIONS)]
            == want
            for suffix, want in wants.items()
        )

    for suffix in INPUTS:
        world.wait(lambda: not world.behind(suffix), f"{suffix} is committed")  # noqa: B023
    world.wait(arrived, "groups and names are as they must be")
    world.stop()


def check_ordered(world: World, expected: crash_world.World) -> None:
    """Answers are equal in each partition, in order, with their times; so are changelogs."""
    for suffix in ORDERED:
        assert read(world, suffix) == wanted(world, expected, suffix), suffix
    stores = [store for store in expected.topology.stores if "-table-" not in store]
    assert len(stores) == 7, stores
    for store in stores:
        found = world.reader(f"{store}-changelog")
        found.to_end()
        kept = {partition: present(entries) for partition, entries in found.raw.items()}
        kept = {partition: entries for partition, entries in kept.items() if entries}
        assert kept == expected.folded(f"{world.job.name}-{store}-changelog"), store


def check_sums(world: World) -> None:
    """The sums of each key and window rise as plain Python says, in the key's partition."""
    serde = as_key_serde(WINDOWED)
    found: dict[Any, list[str | None]] = defaultdict(list)
    partition_of = Partitioner().partition_of
    for partition, records in enumerate(read(world, "sums")):
        for key, value, _ in records:
            assert key is not None
            window = serde.decode(key)
            assert partition_of(window.key.encode(), PARTITIONS) == partition, window
            found[window].append(None if value is None else value.decode())
    rises: dict[Any, list[str | None]] = defaultdict(list)
    for records in read(world, "left"):
        inputs = [
            Sent("left", (key or b"").decode(), int(value or b"0"), at_ms)
            for key, value, at_ms in records
        ]
        for window, total, _ in tumbling(inputs, GRACE_MS):
            rises[window].append(total)
    assert found == rises
