"""Operators under faults: errors of the log, aborted and unknown commits, kills, damaged folders.

Stream times, what was emitted, what waits and what was cleaned away are state like any other.
Invariant: nothing that goes wrong can be seen, neither in the answers of a partition, their times,
order and tombstones, nor in state, changelogs and folders.
"""

import random
from typing import Any, Final

import pytest

from streamfn.errors import LogError
from tests.crash_world import World
from tests.driver.test_faults import Ordeal, Phase, settings_of
from tests.faulty_log import Chaos, Crash, Script, no_faults
from tests.operator_families import FAMILIES, GRACES
from tests.operator_records import POISON, Sent, records_late, with_tombstones
from tests.operator_world import opened, outcome, write

SEEDS: Final = 4
COMMITS: Final = ("unknown", "applied", "before", "fenced", "fenced -", "crash", "crashed", "-")


def phases_of(name: str, choose: random.Random) -> list[Phase]:
    """Choose records, in two or three phases."""
    inputs = FAMILIES[name].inputs
    phases: list[Phase] = []
    sent = with_tombstones(choose, records_late(choose, inputs, 60))
    for part in chunks(sent, choose.choice((20, 30))):
        phase: Phase = {topic: [] for topic in inputs}
        for record in part:
            phase[record.topic].append(record.raw)
        phases.append(phase)
    return phases


def chunks(sent: list[Sent], size: int) -> list[list[Sent]]:
    """Cut records into parts."""
    return [sent[at : at + size] for at in range(0, len(sent), size)]


def run_through(name: str, seed: int, phases: list[Phase], chaos: Chaos | None) -> Any:
    """Run the program on the records; return answers and state."""
    choose = random.Random(f"{name} {seed} {chaos is None}")
    settings = settings_of(choose) if chaos is not None else {}
    faults = no_faults if chaos is None else chaos
    generated = choose.random() < 0.5
    world = opened(name, GRACES[seed % 2], faults=faults, generated=generated, **settings)
    Ordeal(world, chaos, choose).run(phases)
    return outcome(name, world)


@pytest.mark.parametrize("name", FAMILIES)
def test_faults_cannot_be_seen_behind_operators(name: str) -> None:
    """Answers, changelogs, state and disks are those of the run without faults."""
    for seed in range(SEEDS):
        phases = phases_of(name, random.Random(f"{name} {seed}"))
        expected = run_through(name, seed, phases, None)
        chaos = Chaos(seed)
        assert run_through(name, seed, phases, chaos) == expected, (seed, chaos.log)


AT_ONCE: Final = ("tumbling", "hopping", "sliding", "session", "cogroup", "table_join")
"""Whose answers come with the record."""


@pytest.mark.parametrize("generated", [True, False])
@pytest.mark.parametrize("name", AT_ONCE)
def test_a_record_that_fails_leaves_nothing(name: str, generated: bool) -> None:
    """Neither an aggregate, nor that time went on, nor that something was cleaned away."""
    choose = random.Random(name)
    sent = with_tombstones(choose, records_late(choose, FAMILIES[name].inputs, 60))
    poisoned: list[Sent] = []
    for record in sent:
        poisoned.append(record)
        if record.topic == "left" and choose.random() < 0.4:  # such a row is always shown
            leap_ms = choose.choice((-4_000, 0, 4_000, 400_000))
            at_ms = max(0, record.at_ms + leap_ms)
            poisoned.append(record._replace(value=POISON, at_ms=at_ms))
    found: list[Any] = []
    for records in (sent, poisoned):
        world = opened(name, 7, on_error="skip", generated=generated)
        for record in records:
            write(world, [record])
            world.settle()
        found.append(outcome(name, world))
    assert found[0] == found[1]


def settled(world: World) -> None:
    """Settle, with a new worker after each crash."""
    for _ in range(50):
        try:
            world.settle()
        except (Crash, LogError):
            world.crash()
        else:
            return
    message = "it never comes to rest"
    raise AssertionError(message)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_commit_of_unknown_outcome_is_seen_once(name: str) -> None:
    """Whether it was lost or is in the log, or its worker is gone, each window is final once."""
    choose = random.Random(name)
    inputs = FAMILIES[name].inputs
    sent = with_tombstones(choose, records_late(choose, inputs, 30))
    expected = disturbed(name, sent, "")
    for _ in range(3):
        faults = " ".join(choose.choice(COMMITS) for _ in range(8))
        assert disturbed(name, sent, faults) == expected, faults


def disturbed(name: str, sent: list[Sent], faults: str) -> Any:
    """Run a family with commits that fail."""
    world = opened(name, 7, transaction_records_max=4)
    world.settle()
    world.faults = Script(commit=faults)
    for part in chunks(sent, 10):
        write(world, part)
        settled(world)
    world.faults = no_faults
    world.settle()
    return outcome(name, world)
