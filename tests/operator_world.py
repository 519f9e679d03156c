"""The world of a program with one operator: what it answered, what it keeps, that both agree.

Invariant: what is compared was read from the log and the disks, after a close in order.
"""

from collections.abc import Iterable
from typing import Any, TypeAlias

from tests.crash_world import World
from tests.operator_families import Order, family_of, program
from tests.operator_records import Sent

Answer: TypeAlias = tuple[bytes | None, bytes | None, int]
"""Key, value and time, as the topic has them."""
Stores: TypeAlias = dict[str, dict[int, dict[bytes, bytes]]]


def opened(name: str, grace_s: int = 0, *, on_error: str = "fail", **settings: Any) -> World:
    """Make the world of a family, with two partitions."""
    return World(program(name, 2, grace_s, on_error=on_error).app, **settings)


def write(world: World, sent: Iterable[Sent]) -> None:
    """Write records to their topics, each in one transaction."""
    by_topic: dict[str, list[Sent]] = {}
    for record in sent:
        by_topic.setdefault(record.topic, []).append(record)
    for topic, records in by_topic.items():
        world.write(topic, *(record.raw for record in records))


def answers(world: World, topic: str = "out") -> list[list[Answer]]:
    """All answers, partition by partition, in order."""
    found: list[list[Answer]] = [[] for _ in range(world.inner.topics()[topic].partitions)]
    for partition, key, value, at_ms, _ in world.records(topic):
        found[partition].append((key, value, at_ms))
    return found


def stores(world: World) -> Stores:
    """What the program keeps: in its tasks, its changelogs and, after a close, on its disks."""
    worker = world.worker
    assert worker is not None
    names = list(world.topology.stores)
    state = {store: world.in_tasks(store) for store in names}
    for store in names:
        assert world.folded(worker.plan.changelog(store)) == state[store], store
    world.close()
    for store in names:
        assert world.on_disk(store) == state[store], store
    return state


def outcome(name: str, world: World) -> Any:
    """What must be the same whatever happened meanwhile; the world is closed."""
    found, state = answers(world), stores(world)
    if family_of(name).order is Order.PARTITION:
        return found, state
    return [last(partition) for partition in found]


def last(partition: Iterable[Answer]) -> dict[bytes | None, bytes]:
    """The last value of each key, without those that are deleted or never were."""
    found = {key: value for key, value, _ in partition}
    return {key: value for key, value in found.items() if value is not None}
