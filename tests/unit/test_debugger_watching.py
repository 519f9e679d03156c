"""Watching a stage: nothing changes for the program, and a call can be run again alone."""

# mypy: disable-error-code="untyped-decorator"
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

import random
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

import streamfn as sf
from streamfn.cli.debugger_view import departures
from streamfn.errors import ConfigError
from streamfn.graph.roots import ROOT_HEADER
from streamfn.graph.topology import Topology
from streamfn.replay.effects import Collected
from streamfn.replay.history.calls import EntriesKept, History, LookupKept, ValueKept
from streamfn.replay.history.standalone import run_again
from streamfn.replay.history.watching import stages_to_watch, watched
from streamfn.replay.replay import replay
from tests.operator_families import FAMILIES, program
from tests.operator_records import records_late, with_tombstones
from tests.replay_world import MemoryInputs, Outcome, placed, replayed
from tests.unit.debugger_world import Shop, Total, sales

OPERATORS = (
    "tumbling", "session", "sliding_close", "cogroup", "dedup", "regroup", "table_join",
    "stream_join_outer", "stream_table_short", "foreign_key",
)  # fmt: skip
both = pytest.mark.parametrize("generated", [True, False])


def outcome(topology: Topology, inputs: MemoryInputs, **manner: Any) -> Any:
    """All that a replay has left; the header that tells of roots is no answer."""
    app: Any = SimpleNamespace(topology=lambda: topology)
    found: Outcome = replayed(app, inputs, **manner)
    rows = {
        source: [(*row[:3], [h for h in row[3] if h[0] != ROOT_HEADER]) for row in each]
        for source, each in found.rows.items()
        if each
    }
    raised = [(each.stage, each.source, each.offset, each.error) for each in found.raised]
    return rows, found.entries, found.folded, raised


def history_of(
    topology: Topology, inputs: MemoryInputs, stage: str = "sell", key: Any = "a", **manner: Any
) -> History:
    """Replay and watch."""
    program, history = watched(topology, stage, lambda other: other == key)
    with replay(program, inputs, Collected(), in_memory=True, **manner) as done:
        history.undo(done.raised)
    return history


# nothing changes
@both
@pytest.mark.parametrize("stage", ["sell", "sold", "3"])
def test_a_watched_replay_gives_the_same(stage: str, generated: bool) -> None:
    """Outputs, state, changelogs and failures, in both compilers."""
    shop, inputs = Shop(wrong=7), sales(40)
    stage = next(name for name in stages_to_watch(shop.topology) if stage in name)
    plain = outcome(shop.topology, inputs, generated=generated)
    program, history = watched(shop.topology, stage, lambda key: key == "a")
    assert outcome(program, inputs, generated=generated) == plain
    assert history.made > 5


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_can_be_watched(name: str) -> None:
    """The functions of joins, tables, windows and aggregates: same answers, every call verified."""
    choose = random.Random(name)
    records = with_tombstones(choose, records_late(choose, FAMILIES[name].inputs, 30))
    sent = [(each.topic, *each.raw) for each in records]
    inputs = MemoryInputs(placed(sent, 2), dict.fromkeys(FAMILIES[name].inputs, 2))
    topology = program(name, 2, 7).app.topology()
    plain, stages = outcome(topology, inputs), stages_to_watch(topology)
    assert stages
    for stage in stages:
        program_, history = watched(topology, stage, lambda key: True)
        assert outcome(program_, inputs, generated=False) == plain, stage
        for call in history:
            assert not departures(call.outcome, run_again(call)), (stage, call)


@both
def test_each_call_can_be_run_again(generated: bool) -> None:
    """Alone, in any order, as often as one likes, timers too."""
    history = history_of(Shop(wrong=7).topology, sales(60), generated=generated)
    assert {call.part for call in history} == {"", "timer sell-tidy"}
    assert any(call.outcome.raised for call in history)
    assert any(call.outcome.sent for call in history)
    for call in [*history, *reversed(list(history))]:
        assert departures(call.outcome, run_again(call)) == []


# what is kept
def test_the_record_and_its_place_are_kept() -> None:
    """Key, time, topic, partition, offset, and where it entered the program."""
    inputs = sales(9)
    history = history_of(Shop().topology, inputs)
    calls = [call for call in history if not call.part]
    mine = [r for r in inputs.records if r.key == b"a" and r.source.topic == "sales"]
    for call, record in zip(calls, mine, strict=True):
        place = call.place
        assert (place.topic, place.partition) == record.source
        assert (place.offset, place.timestamp_ms) == (record.offset, record.at_ms)
        assert call.given == (int(record.value or b""),)
        assert place.root == f"sales {place.partition} {place.offset} {place.timestamp_ms}"


def test_the_state_before_and_after_is_kept() -> None:
    """What one call left is what the next one finds; what is changed in place does not show."""
    calls = [call for call in history_of(Shop().topology, sales(5, "a"))]
    assert calls[0].before["total"] == ValueKept(False, Total())
    assert calls[0].before["days"] == EntriesKept({})
    assert calls[0].before["price"] == LookupKept([("a", 1)])
    assert calls[2].before["days"] == EntriesKept({"today": [0, 1]})
    for last, call in pairwise(calls):
        for name in ("total", "days", "seen"):
            assert call.before[name] == last.outcome.after[name]


def test_a_step_knows_its_record() -> None:
    """A lambda without a context, behind another."""
    shop, inputs = Shop(), sales(9)
    stage = next(name for name in stages_to_watch(shop.topology) if "3" in name)
    calls = list(history_of(shop.topology, inputs, stage))
    mine = [r for r in inputs.records if r.key == b"a" and r.source.topic == "sales"]
    assert [(c.given, c.place.offset, c.place.timestamp_ms) for c in calls] == [
        ((f"sold {int(r.value or b'')}",), r.offset, r.at_ms) for r in mine
    ]
    assert [c.outcome.answers for c in calls] == [["3" in c.given[0]] for c in calls]


def test_a_call_that_raised_is_kept_with_its_traceback() -> None:
    """The user's own frames."""
    history = history_of(Shop(wrong=3).topology, sales(9, "a"))
    raised = next(call.outcome.raised for call in history if call.outcome.raised)
    assert (raised.error, raised.message) == ("ValueError", "no 3")
    assert "in sell" in raised.traceback
    assert "watching" not in raised.traceback


def test_a_call_whose_record_failed_later_is_undone() -> None:
    """The function went well, what followed did not."""
    app: Any = sf.App("later")
    numbers: Any = app.topic("numbers", key=str, value=int)

    @app.function(numbers)
    def count(number: int, total: sf.Value[int]) -> int:
        total.value += number
        return total.value

    @app.function(count)
    def check(total: int) -> int:
        return 1 // (total - 3)

    sent = [("numbers", b"a", b"1", at) for at in range(4)]
    inputs = MemoryInputs(placed(sent, 1), {"numbers": 1})
    calls = list(history_of(app.topology(), inputs, "count"))
    assert [bool(call.undone) for call in calls] == [False, False, True, True]
    assert "stage 'check' raised ZeroDivisionError" in calls[2].undone
    assert calls[3].before["total"] == ValueKept(True, 2)


def test_the_last_calls_are_kept() -> None:
    """Memory is bounded, and what is missing is counted."""
    program, history = watched(Shop().topology, "sell", lambda key: key == "a", calls_max=3)
    with replay(program, sales(30), Collected(), in_memory=True):
        pass
    assert (len(history), history.made - history.dropped) == (3, 3)
    assert [call.number for call in history] == list(range(history.made - 2, history.made + 1))


def test_a_large_store_is_kept_as_far_as_it_was_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the call can be run again all the same."""
    monkeypatch.setattr("streamfn.replay.history.watching.WHOLE_MAX", 1)
    calls = [c for c in history_of(Shop().topology, sales(30)) if not c.part]
    kept = calls[-1].before["seen"]
    assert isinstance(kept, EntriesKept)
    assert not kept.whole
    assert set(kept.entries) == {"a"}
    for call in calls:
        assert departures(call.outcome, run_again(call)) == []


def test_a_function_that_depends_on_more_is_seen() -> None:
    """The second run differs, and it is said in what."""
    shop = Shop()
    history = history_of(shop.topology, sales(5, "a"))
    shop.called.append(5)
    assert departures(history[0].outcome, run_again(history[0])) == ["seen['a']  1 → 6"]


# what cannot be watched
def test_an_unknown_stage_is_refused() -> None:
    """The nearest name is told."""
    with pytest.raises(ConfigError, match="did you mean 'sell'"):
        watched(Shop().topology, "sel", lambda key: True)


def test_a_stage_without_a_function_is_refused() -> None:
    """Those that have one are told."""
    with pytest.raises(ConfigError, match=r"calls no function of yours.*sell"):
        watched(Shop().topology, "sales", lambda key: True)
