"""Apps of tables for tests: what they write, however they are committed and killed."""

# mypy: disable-error-code="untyped-decorator"
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

from hypothesis import strategies as st

import streamfn as sf
from streamfn.testing import TestDriver

Row: TypeAlias = "tuple[str, str, int | None, int]"
"""Topic, key, value, time."""
Sent: TypeAlias = "tuple[str, Any, int]"
"""Key, value, time."""

KEYS = ["a", "b", "ü\x00"]
NUMBERS = st.none() | st.integers(-3, 9)
TIMES = st.integers(0, 40)


def rows(*topics: str, most: int = 25) -> st.SearchStrategy[list[Row]]:
    """Records of some topics."""
    each = st.tuples(st.sampled_from(topics), st.sampled_from(KEYS), NUMBERS, TIMES)
    return st.lists(each, max_size=most)


@dataclass(frozen=True)
class Way:
    """How an app is run: none of it may change an answer."""

    commit_interval_ms: int = 0
    restart_each: int = 0
    """After how many records the worker is killed; 0: never."""
    generated: bool = True


WAYS = st.builds(Way, st.sampled_from([0, 1_000_000]), st.sampled_from([0, 1, 3]), st.booleans())

Make: TypeAlias = Callable[[dict[str, Any]], Any]
"""Makes a table of tables by the names of their topics."""


class Tables:
    """An app with a table of each topic, and what is made of them, written to ``out``."""

    def __init__(
        self,
        make: Make,
        topics: Sequence[str],
        *,
        value: Any = int,
        versioned_ms: int | None = None,
    ) -> None:
        self.app = sf.App("tables")
        self.topics = {name: self.app.topic(name, key=str, value=int) for name in topics}
        self.out: Any = self.app.topic("out", key=str, value=value)
        history = None if versioned_ms is None else timedelta(milliseconds=versioned_ms)
        tables = {
            name: self.app.table(topic, versioned=history) for name, topic in self.topics.items()
        }
        self.table = make(tables)
        self.table.to_stream().to(self.out)

    def run(self, given: list[Row], way: Way = Way()) -> list[Sent]:
        """Send records; return what was written."""
        return self.run_with_state(given, (), way)[0]

    def run_with_state(
        self,
        given: list[Row],
        stores: Sequence[str],
        way: Way = Way(),
    ) -> tuple[list[Sent], list[dict[Any, Any]]]:
        """Send records; return what was written, and what is in some stores then."""
        with TestDriver(
            self.app, commit_interval_ms=way.commit_interval_ms, generated=way.generated
        ) as driver:
            for count, (topic, key, value, time_ms) in enumerate(given, 1):
                driver.send(self.topics[topic], value, key=key, timestamp_ms=time_ms)
                if way.restart_each and count % way.restart_each == 0:
                    driver.restart()
            states = [driver.state(name) for name in stores]
            for _ in range(3):
                driver.advance(timedelta(seconds=1_001))
            found = driver.read(self.out)
            return [(each.key, each.value, each.timestamp_ms) for each in found], states
