"""A program that fails on bad records, and what the tests of policies look at."""

from datetime import timedelta
from typing import Any

import streamfn as sf
from streamfn.record import TopicPartition
from tests.crash_world import Row, World

A0 = TopicPartition("in", 0)
LETTERS = "app-dead-letters"


def row(value: str, key: str = "k", at_ms: int = 1) -> Row:
    """Return a row of topic ``in``."""
    return key.encode(), value.encode(), at_ms


def burdened(
    on_error: Any = "fail",
    own: Any = None,
    *,
    retries: int = 0,
    partitions: int = 1,
) -> sf.App:
    """Make an app that counts values under a key and fails on ``bad`` after it has written."""
    app = sf.App("app", on_error=on_error, retries=retries, retry_backoff=timedelta(seconds=1))
    source = app.topic("in", key=str, value=str, partitions=partitions)
    out = app.topic("out", key=str, value=str)

    @app.function(source, to=out, on_error=own)
    def remember(value: str, seen: sf.Map[str, int], context: sf.Context[str]) -> str:
        seen[value] = seen.get(value, 0) + 1
        context.emit(out.record(key=context.key, value=f"saw {value}"))
        if value == "bad":
            complain(value)
        return f"{value} {seen[value]}"

    return app


def complain(value: str) -> None:
    """Raise from a frame below the user's function."""
    message = f"cannot bear {value}"
    raise ValueError(message)


def texts(world: World, topic: str = "out") -> list[str]:
    """Return the values of a topic as text."""
    return [(value or b"").decode() for value in world.values(topic)]


def position(world: World) -> int:
    """Return the committed position of the first partition."""
    return world.inner.committed([A0])[A0].offset


def check_untouched(world: World, *values: str) -> None:
    """Hold outputs, state and changelog: those of these values and of nothing else."""
    assert texts(world) == [text for v in values for text in (f"saw {v}", f"{v} 1")]
    state = world.in_tasks("remember-seen")
    keys = sorted(key for keys in state.values() for key in keys)
    assert [v for v in sorted(values) if not any(v.encode() in key for key in keys)] == []
    assert len(keys) == len(values)
    assert state == world.folded("app-remember-seen-changelog")
