"""Programs with one windowed operator, and what Kafka Streams would answer if it forgot nothing."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from hypothesis import strategies as st

from streamfn.graph.operators import Aggregate, LateRecords
from streamfn.graph.topology import (
    AnyNode,
    Sink,
    Source,
    Step,
    StoreSpec,
    TopicSpec,
    Topology,
    WindowSpec,
)
from streamfn.serde import as_key_serde, as_serde
from streamfn.testing.driver import TestDriver

STORES: dict[str, Any] = {"sliding": "sliding", "session": "session"}


class Row(NamedTuple):
    """A record of one of the inputs."""

    key: str | None
    value: str | None
    at: int
    part: int = 0


class Program:
    """An app with one operator, a windowed aggregate; its inputs are ``in0``, ``in1`` and so on.

    Changes are written to ``out`` as ``new|old``; what is late for the first input to ``late``.
    """

    def __init__(
        self,
        window: WindowSpec,
        *,
        fns: Sequence[Callable[[Any, Any], Any]] = (),
        initial: Callable[[], Any] | None = None,
        merge: Callable[[Any, Any], Any] | None = None,
        emit: Any = "update",
        value: Any = str,
        late: bool = False,
        counts: bool = False,
    ) -> None:
        fns = fns or (joined,)
        self.ins: list[Any] = [_topic(f"in{part}") for part in range(len(fns))]
        self.out: Any = _topic("out")
        self.late: Any = _topic("late")
        store = StoreSpec("agg", STORES.get(window.kind, "window"), str, value, window=window)
        nodes: list[AnyNode] = [
            Source(name=topic.name, topic=topic, key=str, value=str) for topic in self.ins
        ]
        nodes += [
            Aggregate(
                name="agg", parents=tuple(topic.name for topic in self.ins), store=store,
                fns=tuple(fns), initial=initial, merge=merge, window=window, emit=emit,
                counts=counts,
            ),
            Step(name="shown", parents=("agg",), kind="map", fn=_shown, takes_key=True),
            Sink(name="sink", parents=("shown",), topics=(self.out,)),
        ]  # fmt: skip
        if late:
            own = StoreSpec("late", "buffer", str, str, window=window)
            nodes += [
                LateRecords(name="late", parents=("in0",), store=own, window=window),
                Sink(name="late-sink", parents=("late",), topics=(self.late,)),
            ]
        self._topology = Topology("app", {node.name: node for node in nodes})

    def topology(self) -> Topology:
        """What the driver runs."""
        return self._topology


def _topic(name: str) -> TopicSpec:
    return TopicSpec(name, as_key_serde(str), as_serde(str), partitions=1)


def _shown(key: Any, change: Any) -> tuple[str, str]:
    new, old, latest = change
    assert latest
    return f"{key.key}@{key.start_ms}/{key.end_ms}", f"{_text(new)}|{_text(old)}"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, str | int) else ",".join(value)


def joined(aggregate: Any, value: Any) -> Any:
    """Put one behind the other; ``drop`` deletes."""
    return None if value == "drop" else f"{aggregate}{value or '-'}"


def grown(aggregate: list[str], value: Any) -> Any:
    """Append to a list in place; ``drop`` deletes."""
    aggregate.append(value or "-")
    return None if value == "drop" else aggregate


def driving(program: Program, *, interval_ms: int = 0) -> TestDriver:
    """Run it by the reference compiler, as a generated chain knows of no step that sees changes."""
    return TestDriver(program, commit_interval_ms=interval_ms, generated=False)  # type: ignore[arg-type]  # all it asks of an app is its topology


def answers(driver: TestDriver, topic: Any) -> list[Any]:
    """What was written to a topic since the last look."""
    return [(record.key, record.value, record.timestamp_ms) for record in driver.read(topic)]


def sent(driver: TestDriver, program: Program, row: Row) -> list[Any]:
    """Process a record; return the answers."""
    driver.send(program.ins[row.part], row.value, key=row.key, timestamp_ms=row.at)
    return answers(driver, program.out)


_LONG = timedelta(hours=1)


def replied(
    program: Program, rows: Sequence[Row], *, interval_ms: int = 0, restarts: Sequence[int] = ()
) -> list[Any]:
    """All answers to some records, perhaps with restarts before some of them."""
    with driving(program, interval_ms=interval_ms) as driver:
        for number, row in enumerate(rows):
            if number in restarts:
                driver.restart()
            driver.send(program.ins[row.part], row.value, key=row.key, timestamp_ms=row.at)
        driver.advance(_LONG)
        return answers(driver, program.out)


def rows(
    parts: int = 1, *, drops: bool = True, leap_ms: int = 70_000, scale: int = 1
) -> st.SearchStrategy[Any]:
    """Records near each other in time, out of order, with leaps over what is remembered."""
    values = ["a", "b", "c", None, *(["drop"] if drops else [])]

    def row(key: str | None, value: str | None, leap: int, at: int, part: int) -> Row:
        return Row(key, value, leap * leap_ms + at * scale, part)

    return st.lists(
        st.builds(
            row,
            st.sampled_from(["k", "k", "l", None]),
            st.sampled_from(values),
            st.sampled_from([0, 0, 0, 0, 1, 2]),
            st.integers(0, 60),
            st.integers(0, parts - 1),
        ),
        max_size=25,
    )
