"""Hypothesis strategies that tests share: random programs over a small set of stages, and inputs.

A ``Program`` is plain data, so that Hypothesis can shrink it; ``build`` makes an app of it. All
values are ints, so that any stage fits behind any other. Some stages raise on some values.
"""

# mypy: disable-error-code="untyped-decorator"
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeAlias

from hypothesis import strategies as st

import streamfn as sf

KEYS = ["a", "b", "ü\x00"]
NUMBERS = st.integers(min_value=-3, max_value=9)


@dataclass(frozen=True)
class Fork:
    """Several chains behind one place: branches of a split, or readers of the same stream."""

    ways: tuple["Chain", ...]
    split: bool
    merged: bool


Chain: TypeAlias = "tuple[str | Fork, ...]"


@dataclass(frozen=True)
class Program:
    """A chain of stages, the policy for what fails, and how wide the inputs are."""

    chain: Chain
    on_error: Literal["skip", "dead_letter"]
    partitions: int


# stages: each raises on some values
def add_one(value: int) -> int:
    """Fail on null values."""
    return value + 1


def tag(key: str | None, value: int) -> int:
    """Use the key."""
    return value + len(key or "")


def null_or(value: int) -> int | None:
    """Make null values."""
    return None if value == 4 else value


def divided(value: int) -> int:
    """Fail on 2."""
    return 12 // (value - 2)


def even(value: int) -> bool:
    """Fail on null values."""
    return value % 2 == 0


def has_key(key: str | None, value: int | None) -> bool:
    """Look at the key."""
    return key is not None and value is not None


def rest_of_three(value: int) -> str:
    """Answer another key, for 5 one that is no text."""
    return 5 if value == 5 else str(value % 3)  # type: ignore[return-value]  # it is to fail


def swapped(key: str | None, value: int) -> tuple[str, int]:
    """Answer another key and value."""
    return f"{value}", len(key or "")


def repeated(value: int) -> list[int]:
    """Answer none, one or more."""
    return [value] * (value % 3)


def pairs(key: str | None, value: int) -> Iterator[tuple[str, int]]:
    """Fail half-way on 3."""
    yield "x", value
    if value == 3:
        raise ValueError(value)
    yield key or "none", value + 1


def text_of(value: int) -> str:
    """Answer what is no text for 1, so that the sink fails."""
    return value if value == 1 else str(value)  # type: ignore[return-value]  # it is to fail


def seen(key: str | None, value: int) -> None:
    """Fail on 6."""
    if value == 6:
        raise RuntimeError(key)


@dataclass
class World:
    """An app in the making: its topics, its table, and a number for the next name."""

    app: Any
    inputs: list[Any]
    outs: list[Any]
    texts: Any
    table: Any
    numbered: int = 0

    def name(self, kind: str) -> str:
        """A name of its own."""
        self.numbered += 1
        return f"{kind}{self.numbered}"


def _function(world: World, stream: Any, kind: str, fn: Any, **options: Any) -> Any:
    return world.app.function(stream, name=world.name(kind), **options)(fn)


def plain(world: World, stream: Any) -> Any:
    """A function without state; null values are dropped, 8 fails."""

    def fn(value: int) -> int | None:
        return None if value == 0 else 80 // (value - 8)

    return _function(world, stream, "plain", fn, to=world.outs[0], on_error="skip")


def total(world: World, stream: Any) -> Any:
    """A number in place, removed at 7; fails after having changed it at 3."""

    def fn(value: int, total: sf.Value[int]) -> int:
        total.value += value
        if value == 7:
            total.delete()
        if value == 3:
            raise ValueError(value)
        return total.value if total.exists else -1

    return _function(world, stream, "total", fn)


def bag(world: World, stream: Any) -> Any:
    """A mutable value, changed in place; fails after that at 3."""

    def fn(value: int | None, bag: sf.Value[dict[str, int]]) -> int:
        bag.value[str(value)] = bag.value.get(str(value), 0) + 1
        if value == 3:
            raise ValueError(value)
        if value == 5:
            bag.delete()
        return sum(bag.value.values())

    return _function(world, stream, "bag", fn, to=world.outs[1], on_error="dead_letter")


def history(world: World, stream: Any) -> Any:
    """A map under the key, with scans and deletions, and a value beside it."""

    def fn(value: int, last: sf.Value[int | None], seen: sf.Map[int, int]) -> int:
        seen[value] = seen.get(value, 0) + 1
        for old in seen.keys(end=value - 3):
            del seen[old]
        last.value, before = value, last.value
        return 10 // (before or 0) if value == 6 else len(list(seen.values(start=0)))

    return _function(world, stream, "history", fn)


def whole(world: World, stream: Any) -> Any:
    """The task's whole store, and the context's key."""

    def fn(value: int, everything: sf.Store[str, int], here: sf.Context[str]) -> int | None:
        name = f"{here.key}{value}"
        everything[name] = here.stream_time_ms
        if value == 2:
            everything.clear()
        return len(everything) // (value - 9)

    return _function(world, stream, "whole", fn)


def shared(world: World, stream: Any) -> Any:
    """Write to the table's store."""

    def fn(value: int, rows: sf.Store[str, int] = world.table) -> int:
        rows["a"] = rows.get("a", 0) + value
        return len(rows) // value

    return _function(world, stream, "shared", fn)


def looked_up(world: World, stream: Any) -> Any:
    """Read the table; a key of another partition fails."""

    def fn(value: int, rows: sf.Lookup[str, int] = world.table) -> int:
        return value + (rows.get("a") or 0)

    return _function(world, stream, "looked", fn)


def emitting(world: World, stream: Any) -> Any:
    """Emit, then answer; fails in between at 1."""
    out, other = world.outs[0], world.outs[2]

    def fn(value: int, here: sf.Context[str | None]) -> int | None:
        here.emit(out.record(key=here.key, value=value, headers=(("n", b"1"),)))
        return 10 // (value - 1)

    def fn_two(value: int, here: sf.Context[str | None]) -> Any:
        here.emit(other.record(key=here.topic, value=here.offset, timestamp_ms=1))
        return out.record(key=here.key, value=10 // (value - 1))

    if world.numbered % 2:
        return _function(world, stream, "emitting", fn, to=out)
    _function(world, stream, "emitting", fn_two, to=(out, other))
    return stream


def several(world: World, stream: Any) -> Any:
    """A generator with state that fails half-way at 3."""

    def fn(value: int, count: sf.Value[int]) -> Iterator[int]:
        yield value
        count.value += 1
        if value == 3:
            raise ValueError(value)
        yield count.value

    return _function(world, stream, "several", fn, to=world.outs[1])


def answering(world: World, stream: Any) -> Any:
    """A tombstone for another key, and something that is no answer at 3."""
    out = world.outs[2]

    def fn(value: int) -> Any:
        return "nonsense" if value == 3 else out.record(key=f"k{value % 2}", value=None)

    _function(world, stream, "answering", fn, to=(out, world.outs[0]))
    return stream


def timed(world: World, stream: Any) -> Any:
    """A value with a timer that sends and removes what it holds."""
    out = world.outs[2]

    def fn(value: int, sums: sf.Value[int]) -> int:
        sums.value += value
        return sums.value

    made = _function(world, stream, "timed", fn, to=(out,))

    @made.every(timedelta(milliseconds=20))
    def sweep(
        sums: sf.Store[str, int], here: sf.Context[str | None]
    ) -> Iterator[sf.Outgoing[str, int]]:
        for key, held in sums.items():
            del sums[key]
            yield out.record(key=key, value=held + here.timestamp_ms)

    return made


FUNCTIONS: dict[str, Callable[[World, Any], Any]] = {
    fn.__name__: fn
    for fn in (
        plain, total, bag, history, whole, shared, looked_up, emitting, several, answering, timed,
    )
}  # fmt: skip
STEPS: dict[str, Callable[[World, Any], Any]] = {
    "add_one": lambda world, stream: stream.map_values(add_one),
    "tag": lambda world, stream: stream.map_values(tag),
    "null_or": lambda world, stream: stream.map_values(null_or, value=int),
    "divided": lambda world, stream: stream.map_values(divided),
    "even": lambda world, stream: stream.filter(even),
    "has_key": lambda world, stream: stream.filter(has_key),
    "odd": lambda world, stream: stream.filter_not(even),
    "seen": lambda world, stream: stream.peek(seen),
    "key_by": lambda world, stream: stream.key_by(_without_annotation, name=world.name("by")),
    "swapped": lambda world, stream: stream.map(swapped, name=world.name("swapped")),
    "repeated": lambda world, stream: stream.flat_map_values(repeated),
    "pairs": lambda world, stream: stream.flat_map(pairs, name=world.name("pairs")),
    "repartition": lambda world, stream: stream.repartition(name=world.name("again")),
    "to0": lambda world, stream: _written(stream, world.outs[0]),
    "to2": lambda world, stream: _written(stream, (world.outs[2], world.outs[1])),
    "texts": lambda world, stream: _written(stream, world.texts, stream.map_values(text_of)),
    **FUNCTIONS,
}
LINEAR = [
    "add_one", "tag", "null_or", "divided", "even", "has_key", "odd", "seen", "key_by", "swapped",
    "to0", "texts", "plain", "total", "bag", "history", "whole", "looked_up",
]  # fmt: skip


def _without_annotation(value):  # type: ignore[no-untyped-def]  # so that its answer is checked
    return rest_of_three(value)


def _written(stream: Any, to: Any, written: Any = None) -> Any:
    (stream if written is None else written).to(to)
    return stream


def attach(world: World, stream: Any, chain: Sequence[str | Fork]) -> Any:
    """Add the stages of a chain behind a stream; return what comes out of it."""
    for stage in chain:
        if isinstance(stage, str):
            stream = STEPS[stage](world, stream)
            continue
        ways = stream.split(even, has_key)[: len(stage.ways)] if stage.split else ()
        ways = [*ways, *[stream] * (len(stage.ways) - len(ways))]
        ends = [attach(world, way, chain) for way, chain in zip(ways, stage.ways, strict=True)]
        first, *others = {end.point("").node: end for end in ends}.values()  # none with itself
        stream = first.merge(*others) if others and stage.merged else stream
    return stream


def build(program: Program) -> World:
    """Make the app of a program; its end is written to a topic as well."""
    app: Any = sf.App("program", on_error=program.on_error)
    width = program.partitions
    numbers = app.topic("numbers", key=str, value=int, partitions=width)
    rows = app.topic("rows", key=str, value=int, partitions=width)
    outs = [app.topic(f"out{i}", key=str, value=int, partitions=width) for i in range(4)]
    texts = app.topic("texts", key=str, value=str)
    world = World(app, [numbers, rows], outs, texts, app.table(rows))
    attach(world, app.stream(numbers), program.chain).to(outs[3])
    return world


def chains(depth: int = 1, stages: Sequence[str] = tuple(STEPS)) -> st.SearchStrategy[Chain]:
    """Chains of stages; with a depth, with forks."""
    stage: st.SearchStrategy[str | Fork] = st.sampled_from(stages)
    if depth:
        ways = st.lists(chains(depth - 1, stages), min_size=2, max_size=3).map(tuple)
        stage |= st.builds(Fork, ways, split=st.booleans(), merged=st.booleans())
    return st.lists(stage, max_size=4).map(tuple)


def programs(
    depth: int = 1, partitions: int = 2, stages: Sequence[str] = tuple(STEPS)
) -> st.SearchStrategy[Program]:
    """Programs; of depth 0 without forks."""
    policies: Any = st.sampled_from(["skip", "dead_letter"])
    return st.builds(Program, chains(depth, stages), policies, st.integers(1, partitions))


@dataclass(frozen=True)
class Send:
    """One record of one of the two inputs."""

    rows: bool
    key: str | None
    value: int | bytes | None
    timestamp_ms: int
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class Restart:
    """The worker dies and comes back."""


Event: TypeAlias = "Send | Restart | timedelta"

SENDS = st.builds(
    Send,
    rows=st.sampled_from([False, False, False, True]),
    key=st.sampled_from([*KEYS, *KEYS, None]),
    value=NUMBERS | NUMBERS | NUMBERS | st.none() | st.just(b"no number"),
    timestamp_ms=st.integers(0, 99),
    headers=st.sampled_from([(), (), (("h", b"1"),)]),
)


def inputs(restarts: bool = True) -> st.SearchStrategy[list[Event]]:
    """What happens to a program."""
    others: Any = st.just(timedelta(milliseconds=50))
    if restarts:
        others |= st.just(Restart())
    return st.lists(SENDS | SENDS | SENDS | others, min_size=1, max_size=25)
