"""Exactly once under faults: random programs, inputs, errors and crashes; nothing may be seen.

A seed chooses the program, the settings, the records and what goes wrong: errors at any call of the
log, crashes in the middle of a commit, of a write or a bulk load of a store, folders that are wiped
or replaced by an old copy. Invariant: none of it can be seen in outputs and state.
"""

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from typing import Any, Final, TypeAlias

import pytest

import streamfn as sf
from streamfn.app import App
from streamfn.errors import LogError, StateCorruptedError
from tests.crash_world import Row, World
from tests.faulty_log import Chaos, Crash, no_faults

SEEDS: Final = 320
BLOCKS: Final = 16
STEPS_MAX: Final = 4_000
KEYS: Final = "abcdef"

Phase: TypeAlias = dict[str, list[Row]]
Seen: TypeAlias = dict[str, dict[tuple[int, bytes | None], list[Any]]]
Stores: TypeAlias = dict[str, dict[int, dict[bytes, bytes]]]


def counting(app: App) -> None:
    """Counts words behind a repartition."""
    words = app.topic("words", key=str, value=str, partitions=2)
    counts = app.topic("counts", key=str, value=int)

    @app.function(app.stream(words).key_by(lambda word: word[0]), to=counts)
    def count(word: str, total: sf.Value[int]) -> int:
        total.value += 1
        return total.value


def looking_up(app: App) -> None:
    """Merges orders with a table by time and looks prices up."""
    prices = app.table(app.topic("prices", key=str, value=int, partitions=2))
    orders = app.topic("orders", key=str, value=int, partitions=2)
    bills = app.topic("bills", key=str, value=str)

    @app.function(orders, to=bills)
    def bill(order: int, context: sf.Context[str], price: sf.Lookup[str, int] = prices) -> str:
        return f"{order} at {price.get(context.key)}"


def remembering(app: App) -> None:
    """Answers several times from a map under the key, and sums up on stream time."""
    events = app.topic("events", key=str, value=int, partitions=2)
    echoes = app.topic("echoes", key=str, value=int)
    sums = app.topic("sums", key=str, value=int, partitions=1)

    @app.function(events, to=(echoes, sums))
    def remember(
        event: int, context: sf.Context[str], seen: sf.Map[int, int]
    ) -> Iterator[sf.Outgoing[str, int]]:
        seen[event % 4] = seen.get(event % 4, 0) + event
        if event % 7 == 0:
            seen.pop(event % 3, None)
        for each, total in seen.items():
            yield echoes.record(key=context.key, value=10 * total + each)

    @remember.every(timedelta(milliseconds=50))
    def sum_up(
        context: sf.Context[str], seen: sf.Store[tuple[str, int], int]
    ) -> Iterator[sf.Outgoing[str, int]]:
        total = sum(seen.values())
        yield sums.record(key=f"p{context.partition}", value=total)
        for key in list(seen.keys()):
            if seen[key] % 5 == 0:
                del seen[key]


PARTS: Final[dict[str, Callable[[App], None]]] = {
    "counting": counting,
    "looking_up": looking_up,
    "remembering": remembering,
}
INPUTS: Final = {
    "counting": ("words",),
    "looking_up": ("prices", "orders"),
    "remembering": ("events",),
}
OUTPUTS: Final = {
    "counting": ("counts",),
    "looking_up": ("bills",),
    "remembering": ("echoes", "sums"),
}
STORES: Final = {
    "counting": ("count-total",),
    "looking_up": ("prices-table",),
    "remembering": ("remember-seen",),
}


@cache
def program(parts: tuple[str, ...]) -> App:
    """Build an app of some of the parts."""
    app = App("chaos")
    for part in parts:
        PARTS[part](app)
    return app


def phases_of(parts: tuple[str, ...], choose: random.Random) -> list[Phase]:
    """Make records for each input, in two or three phases."""
    phases: list[Phase] = []
    at_ms = 0
    for _ in range(choose.randint(1, 3)):
        phase: Phase = {}
        for topic in (topic for part in parts for topic in INPUTS[part]):
            rows: list[Row] = []
            time_ms = at_ms
            for _ in range(choose.randint(0, 40)):
                time_ms += choose.randint(0, 20)
                key = choose.choice(KEYS).encode()
                number = str(choose.randint(0, 99)).encode()
                value: bytes | None = number
                if topic == "words":
                    value = choose.choice(KEYS).encode() + number
                elif topic == "prices" and choose.random() < 0.2:
                    value = None
                rows.append((key, value, max(0, time_ms - choose.choice((0, 0, 30)))))
            phase[topic] = rows
        at_ms += 400
        phases.append(phase)
    return phases


def settings_of(choose: random.Random) -> dict[str, Any]:
    """Choose settings small enough to reach every limit."""
    return {
        "commit_interval_ms": choose.choice((0, 0, 20, 100)),
        "store_interval_ms": choose.choice((0, 50, 5_000)),
        "pending_entries_max": choose.choice((1, 5, 1_000)),
        "buffer_records_max": choose.choice((1, 5, 5_000)),
        "transaction_records_max": choose.choice((1, 7, 100_000)),
        "cache_entries_max": choose.choice((1, 4, 1_000)),
        "restore_slice_records": choose.choice((1, 5, 1_000)),
        "repartition_trim_interval_ms": choose.choice((10, 200, 30_000)),
    }


class Ordeal:
    """One world with everything that may happen to it."""

    def __init__(self, world: World, chaos: Chaos | None, choose: random.Random) -> None:
        self.world, self.chaos, self.choose = world, chaos, choose
        self._old = world.homes.copies()
        self.restarts = 0

    def run(self, phases: list[Phase]) -> None:
        """Write each phase's records, bring it to its end."""
        for phase in phases:
            for topic, rows in phase.items():
                if rows:
                    self.world.write(topic, *rows)
            self.finish()
        self.world.faults = no_faults
        self.world.settle()

    def finish(self) -> None:
        """Go on, with a new worker after each crash, until all is done."""
        for _ in range(STEPS_MAX):
            try:
                worker = self.world.worker or self.world.start()
                worker.step()
                if worker.finished:
                    return
                self.choose_what_happens()
            except (Crash, LogError, StateCorruptedError):
                self.restart()
        message = f"no end in sight: {self.chaos.log if self.chaos else ''}"
        raise AssertionError(message)

    def choose_what_happens(self) -> None:
        """Time goes on; now and then the worker crashes or is stopped."""
        choose = self.choose
        self.world.clock.advance_ms(choose.choice((0, 1, 30)))
        if self.chaos is None or self.restarts > 8:
            return
        if choose.random() < 0.02:
            self.world.close()
        elif choose.random() < 0.04:
            self.restart()

    def restart(self) -> None:
        """The worker is gone, and perhaps something happens to the folders meanwhile."""
        self.restarts += 1
        homes, choose = self.world.homes, self.choose
        if choose.random() < 0.3 and self.world.worker is not None:
            self.close_badly()
        self.world.crash()
        fate = choose.random()
        if fate < 0.15:
            homes.disks.clear()
            homes.marks.clear()
        elif fate < 0.3 and homes.disks:
            homes.disks.pop(choose.choice(list(homes.disks)))
        elif fate < 0.5:
            homes.disks, homes.marks = self._old
            self._old = homes.copies()
        elif fate < 0.7:
            self._old = homes.copies()

    def close_badly(self) -> None:
        """What a failing worker does on its way out."""
        assert self.world.worker is not None
        try:
            self.world.worker.close(commit=False)
        except (Crash, LogError):
            self.restarts += 1


def outputs_of(world: World, parts: tuple[str, ...]) -> Seen:
    """Return the outputs by partition and key, in order; of counts also their times differ."""
    seen: Seen = {}
    for topic in (topic for part in parts for topic in OUTPUTS[part]):
        found = seen.setdefault(topic, {})
        for partition, key, value, at_ms, _ in world.records(topic):
            fact = value if topic == "counts" else (value, at_ms)
            found.setdefault((partition, key), []).append(fact)
    return seen


def check_stores(world: World, parts: tuple[str, ...]) -> Stores:
    """Hold changelog, state and, after a close, the disks against each other."""
    stores = [store for part in parts for store in STORES[part]]
    state = {store: world.in_tasks(store) for store in stores}
    for store in stores:
        assert world.folded(f"chaos-{store}-changelog") == state[store], store
    world.close()
    for store in stores:
        assert world.on_disk(store) == state[store], store
    return state


def outcome(
    seed: int, parts: tuple[str, ...], phases: list[Phase], chaos: Chaos | None
) -> tuple[Seen, Stores]:
    """Run the program on the records; return outputs and state."""
    choose = random.Random(f"{seed} {chaos is None}")
    settings = settings_of(choose) if chaos is not None else {}
    faults = no_faults if chaos is None else chaos
    generated = choose.random() < 0.5
    world = World(program(parts), faults=faults, generated=generated, **settings)
    Ordeal(world, chaos, choose).run(phases)
    return outputs_of(world, parts), check_stores(world, parts)


def check_seed(seed: int) -> None:
    """Compare a run under faults with one without."""
    choose = random.Random(seed)
    parts = tuple(sorted(choose.sample(list(PARTS), choose.randint(1, 3))))
    phases = phases_of(parts, choose)
    expected = outcome(seed, parts, phases, None)
    chaos = Chaos(seed)
    assert outcome(seed, parts, phases, chaos) == expected, (seed, chaos.log)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_faults_cannot_be_seen(block: int) -> None:
    """Outputs, changelogs, state and disks are those of the run without faults."""
    for seed in range(block, SEEDS, BLOCKS):
        check_seed(seed)
