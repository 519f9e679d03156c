"""Small programs and worlds for the tests of the worker."""

from typing import Any

import streamfn as sf
from streamfn.record import TopicPartition
from tests.crash_world import Row, World

IN = TopicPartition("in", 0)
REPARTITION = "app-in-by-0-repartition"


def echoing(*, partitions: int = 1, stateful: bool = False) -> sf.App:
    """Make an app that copies ``in`` to ``out``, and counts if it is to have state."""
    app = sf.App("app")
    source = app.topic("in", key=str, value=str, partitions=partitions)
    out = app.topic("out", key=str, value=str)
    if stateful:

        @app.function(source, to=out)
        def count(value: str, total: sf.Value[int]) -> str:
            total.value += 1
            return value
    else:
        app.stream(source).map_values(lambda value: value, value=str).to(out)
    return app


def repartitioned() -> sf.App:
    """Make an app that counts by the first letter of a value."""
    app = sf.App("app")
    source = app.topic("in", key=str, value=str, partitions=1)
    out = app.topic("out", key=str, value=int)

    @app.function(app.stream(source).key_by(lambda value: value[0]), to=out)
    def count(value: str, total: sf.Value[int]) -> int:
        total.value += 1
        return total.value

    return app


def rows(*values: str, at_ms: int = 1) -> list[Row]:
    """Return rows with these values."""
    return [(b"k", value.encode(), at_ms) for value in values]


def outputs(world: World) -> list[str]:
    """Return the values of ``out``."""
    return [(value or b"").decode() for value in world.values("out")]


def numbers(count: int, start: int = 0) -> list[str]:
    """Return so many different values."""
    return [str(number) for number in range(start, start + count)]


def opened(app: sf.App | None = None, **settings: Any) -> World:
    """Return a world whose worker runs."""
    world = World(app or echoing(), **settings)
    world.settle()
    world.log.calls.clear()
    return world
