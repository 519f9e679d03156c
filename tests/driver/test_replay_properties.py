"""Replays of random programs: the same bytes in each manner, and what the test driver gives.

``STREAMFN_REPLAY_SEEDS=FIRST:LAST`` tries others than the few of each run. Invariant: protocol §6.
"""

# pyright: reportUnknownLambdaType=false

import os
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import pytest

import streamfn as sf
from streamfn.record import TopicPartition
from streamfn.replay.effects import Collected
from streamfn.replay.recording import Entry, Range, RecordedStore
from streamfn.replay.replay import replay
from tests.driver.test_replay import driven
from tests.random_programs import INPUTS, OUTS, WIDTH, RandomProgram, records
from tests.replay_world import (
    Answer,
    MemoryInputs,
    Outcome,
    Placed,
    in_replay_order,
    placed,
    replayed,
)

MANNERS: Final[tuple[dict[str, Any], ...]] = (
    {"rows_max": 1, "commit_interval_ms": 0},
    {"rows_max": 5, "commit_interval_ms": 3, "workers": 2, "generated": False},
    {"rows_max": 13, "workers": 4},
)
POLICIES: Final = ("skip", "dead_letter", "fail")
FIRST, LAST = map(int, os.environ.get("STREAMFN_REPLAY_SEEDS", "0:12").split(":"))
WIDTHS: Final[dict[str, int]] = {name: WIDTH for name in INPUTS}


def app_of(seed: int, *, as_live: bool = False, plain: bool = False) -> Any:
    """The program of a seed; some of each policy."""
    policy = POLICIES[seed % 2 if as_live else seed % 3]
    return RandomProgram(seed, policy, as_live=as_live, plain=plain).app


def outcome_of(app: Any, sent: list[Placed], **manner: Any) -> Outcome:
    """Replay in one manner."""
    rows_max = manner.pop("rows_max", 1_000)
    return replayed(app, MemoryInputs(sent, WIDTHS, rows_max=rows_max), **manner)


def facts(found: Outcome) -> dict[str, Any]:
    """All that must be the same, bytes for bytes."""
    raised = [(r.stage, r.source, r.offset, r.root, r.message) for r in found.raised]
    return {
        "rows": found.rows, "roots": found.roots, "stages": found.stages,
        "entries": found.entries, "raised": raised,
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(FIRST, LAST))
def test_same_bytes_in_each_manner(seed: int) -> None:
    """Commit intervals, workers, chunks, both compilers; null keys, gaps, timers, all policies."""
    sent = records(seed, 60, as_live=False)
    want = facts(outcome_of(app_of(seed), sent, commit_interval_ms=1_000_000))
    for manner in MANNERS:
        found = facts(outcome_of(app_of(seed), sent, **manner))
        for what in want:
            assert found[what] == want[what], (what, manner)


@pytest.mark.parametrize("seed", range(FIRST, LAST, 4))
def test_same_in_folders_and_with_taps(seed: int) -> None:
    """State on disk, and a look at each stage, change nothing."""
    sent = records(seed, 60, as_live=False)
    want = outcome_of(app_of(seed), sent)
    sink = Collected()
    inputs = MemoryInputs(sent, WIDTHS, rows_max=17)
    with replay(app_of(seed).topology(), inputs, sink, workers=2, taps=True) as done:
        found = {name: list(done.entries(name)) for name in done.plan.topology.stores}
    assert found == want.entries
    rows: dict[TopicPartition, list[Answer]] = defaultdict(list)
    for each in sink.found:
        if each.topic in (*OUTS, "random-dead-letters"):
            headers = [each.headers.get(row, ()) for row in range(len(each))]
            made = zip(each.keys, each.values, each.timestamps, headers, strict=True)
            rows[TopicPartition(each.topic, each.partition)] += made
    assert rows == {source: want.rows[source] for source in rows}
    assert set(rows) >= {source for source in want.rows if source.topic in OUTS}


@pytest.mark.parametrize("seed", range(FIRST, LAST))
def test_as_driven_one_by_one(seed: int) -> None:
    """What the test driver gives; of one record, tasks side by side may write in another order."""
    sent = records(seed, 60, as_live=True)
    found = outcome_of(app_of(seed, as_live=True), sent, rows_max=7)
    given = driven(app_of(seed, as_live=True), sent, list(OUTS))
    assert {s for s in found.rows if s.topic in OUTS} == {s for s in given if given[s]}
    for source, rows in given.items():
        roots = found.roots[source]
        assert by_root(found.rows[source], roots) == by_root(rows, roots), source


def by_root(rows: list[Answer], roots: Sequence[Any]) -> list[list[Answer]]:
    """Rows in order, those of one input record sorted."""
    assert len(rows) == len(roots)
    pairs = groupby(zip(roots, rows, strict=True), key=itemgetter(0))
    return [sorted((row for _, row in group), key=repr) for _, group in pairs]


@pytest.mark.parametrize("seed", range(FIRST, LAST, 2))
def test_goes_on_from_recorded_state(seed: int) -> None:
    """A recording that begins in the middle: state, stream time, the rest of all topics read."""
    sent = [
        each._replace(at_ms=number * 300)
        for number, each in enumerate(in_replay_order(records(seed, 60, as_live=True)))
    ]

    def app() -> Any:
        return app_of(seed, as_live=True, plain=True)

    whole = outcome_of(app(), sent)
    first, rest = sent[:30], sent[30:]
    before, entries, starts, widths = half(app(), first)
    places = {(each.source, each.offset) for each in rest}
    for source, rows in whole.rows.items():
        if source.topic.endswith("-repartition"):
            left = [
                Placed(source, offset, *row)
                for offset, (row, root) in enumerate(zip(rows, whole.roots[source], strict=True))
                if root in places
            ]
            rest = [*rest, *left]
    stores = tuple(RecordedStore(name, "", "", "", WIDTH) for name in {e.store for e in entries})
    inputs = MemoryInputs(
        rest, widths, entries=entries, starts=starts,
        stores=stores or (RecordedStore("none", "", "", "", WIDTH),),
    )  # fmt: skip
    found = replayed(app(), inputs, workers=2)
    assert found.entries == whole.entries
    times = {(each.source, each.offset): each.at_ms for each in (*sent, *rest)}

    def timely(*made: Outcome) -> list[list[Answer]]:
        """All rows of a partition, those of one time sorted."""
        rows = [row for each in made for row in each.rows[source]]
        return by_root(rows, [times[root] for each in made for root in each.roots[source]])

    for source in [source for source in whole.rows if source.topic in OUTS]:
        assert timely(before, found) == timely(whole), source


def half(
    app: Any, sent: list[Placed]
) -> tuple[Outcome, list[Entry], dict[TopicPartition, Range], dict[str, int]]:
    """Replay the first half: its outputs, and what a recording of the rest begins with."""
    before = replayed(app, MemoryInputs(sent, WIDTHS))
    entries: list[Entry] = []
    starts: dict[TopicPartition, Range] = {}
    widths = {**WIDTHS}
    with replay(app.topology(), MemoryInputs(sent, WIDTHS), Collected(), in_memory=True) as done:
        for name, rows in before.entries.items():
            entries += [Entry(name, partition, key, value) for key, value, partition in rows]
        for task in done.workers[0].tasks.values():
            for source in task.sources:
                at = task.positions[source]
                starts[source] = Range(at, at, task.scope.stream_time_ms)
                widths[source.topic] = WIDTH
    return before, entries, starts, widths


def test_windowed_keys_and_none_are_in_order() -> None:
    """Records without a key are placed apart from those whose window is not hashed."""

    def app() -> sf.App:
        made = sf.App("windowed")
        windowed: Any = sf.Windowed[str]
        numbers = made.topic("left", key=str, value=int, partitions=WIDTH)
        out = made.topic("one", key=windowed, value=int, partitions=2)
        window = sf.Tumbling(timedelta(seconds=1))
        counts: Any = made.stream(numbers).group_by_key().window(window).count().to_stream()
        odd = counts.map(
            lambda key, value: (None if value % 2 else key, value), key=windowed, value=int
        )
        counts.merge(odd).to(out)
        return made

    sent = placed([("left", b"abcdef"[n % 6 :][:1], b"%d" % n, n * 50) for n in range(60)], WIDTH)
    want = facts(outcome_of(app(), sent, commit_interval_ms=0))
    for manner in (*MANNERS, {"rows_max": 7, "commit_interval_ms": 1_000_000}):
        assert facts(outcome_of(app(), sent, **manner)) == want, manner
