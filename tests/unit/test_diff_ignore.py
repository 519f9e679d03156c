"""Fields of a topic that are let pass: in the topic, and in what the stages in front hand on."""

from pathlib import Path
from types import ModuleType

import pytest

from streamfn.graph.plan import Plan
from streamfn.record import Batch, TopicPartition
from streamfn.replay.diff.compare import (
    Comparison,
    Options,
    StateRow,
    compare_effects,
    rules,
    state_rows,
)
from streamfn.replay.effects import Collected
from streamfn.replay.recording import Header, Range, RecordedTopic
from streamfn.replay.recordings.files import open_recording, recording_to
from streamfn.replay.replay import replay

SOURCE = """
import streamfn as sf

app = sf.App("shop")
orders = app.topic("orders", key=str, value=int)
priced = app.topic("priced", key=str, value=dict)
totals = app.topic("totals", key=str, value=dict)


@app.function(orders)
def read(pieces: int) -> dict:
    return {"pieces": pieces, "seen": 1}


@app.function(read, to=priced)
def price(order: dict) -> dict:
    return {**order, "price": 2 * order["pieces"]}


@app.function(price, to=totals)
def spend(order: dict, total: sf.Value[int]) -> dict:
    total.value += order["price"]
    return {"total": total.value}
"""
ROWS = 20


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some orders."""
    path = tmp_path_factory.mktemp("recording") / "orders.jsonl"
    source = TopicPartition("orders", 0)
    topics = (RecordedTopic("orders", 1, "input", {0: Range(0, ROWS)}),)
    with recording_to(path, Header("shop", 0, "here", topics)) as writer:
        keys, values = [b"a"] * ROWS, [b"%d" % at for at in range(ROWS)]
        places = range(ROWS)
        writer.chunk([Batch(source, [*keys], [*values], [*places], places, ROWS, None, places)])
    return path


def compared(path: Path, old: str, new: str, *ignore: str, tolerance: str = "") -> Comparison:
    """Compare the program with a change of it."""
    sides: list[Collected] = []
    states, plans = list[list[StateRow]](), list[Plan]()
    for source in (SOURCE, SOURCE.replace(old, new)):
        module = ModuleType("shop_changed")
        exec(compile(source, "shop_changed.py", "exec", dont_inherit=True), module.__dict__)
        found, inputs = Collected(), open_recording(path)
        with replay(module.app.topology(), inputs, found, taps=True, in_memory=True) as done:
            states.append(list(state_rows(done)))
            plans.append(done.plan)
        sides.append(found)
    allowed = rules(ignore=ignore, tolerance=[tolerance] if tolerance else [])
    return compare_effects(
        sides[0].found, sides[1].found, plans[1], Options(allowed),
        other_plan=plans[0], states=(states[0], states[1]),
    )  # fmt: skip


SEEN = '"seen": 1', '"seen": 2'


@pytest.mark.parametrize("pattern", ["priced:seen", "seen", "*.seen", "read:seen"])
def test_where_it_ends_in_that_topic(pattern: str, recording: Path) -> None:
    """Nothing else follows from the field: it is told of nowhere, neither topic nor stage."""
    found = compared(recording, *SEEN, pattern)
    if pattern == "read:seen":  # of that stage only
        assert {group.stage for group in found.groups} == {"price"}
        return
    assert found.groups == [], found.lines()
    assert found.equal == found.records
    assert found.exit_code == 0


def test_a_tolerance_of_a_topic(recording: Path) -> None:
    """It holds for the stages in front as well."""
    assert compared(recording, *SEEN, tolerance="priced:seen=1").groups == []
    assert compared(recording, *SEEN, tolerance="priced:seen=0.5").blamed == ["read"]


def test_another_topic(recording: Path) -> None:
    """A field that is let pass elsewhere is told of."""
    found = compared(recording, *SEEN, "totals:seen")
    assert found.blamed == ["read"]
    places = {place for group in found.groups for place in group.places}
    assert places >= {"stage:read", "priced"}


def test_what_follows_from_it(recording: Path) -> None:
    """Another topic differs for that field: then the stage is to blame, and is shown."""
    found = compared(recording, "2 * order", "3 * order", "priced:price")
    assert found.blamed == ["price"]
    own = [group for group in found.groups if not group.follows]
    assert [(group.stage, group.field, set(group.places)) for group in own] == [
        ("price", "price", {"stage:price"})
    ]
    assert {group.stage for group in found.groups} == {"price", "spend"}
    assert found.equal < found.records


def test_other_fields_of_that_topic(recording: Path) -> None:
    """What is not let pass is told of, and only that."""
    old, new = '"pieces": pieces, "seen": 1', '"pieces": pieces, "seen": 2, "more": 0'
    found = compared(recording, old, new, "priced:seen")
    assert {group.field for group in found.groups} == {"more"}
    assert found.blamed == ["read"]
