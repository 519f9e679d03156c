"""The mark in a position's metadata: read back whole, and never an error if it is not ours."""

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.app import App
from streamfn.connectors.log import Committed, Log
from streamfn.engine.marks import (
    CHANGELOGS_MAX,
    Mark,
    changelogs_of,
    end_in,
    ends_of,
    made_anew,
    mark_of,
    token_of,
    without,
    written,
)
from streamfn.function.state import Value
from streamfn.record import TopicPartition
from tests.unit.one_task import OneTask

NAMES = st.dictionaries(st.text(min_size=1, max_size=20), st.text(min_size=1), max_size=8)


@given(st.text(max_size=60), st.integers(-1, 2**62), st.booleans(), NAMES)
def test_a_mark_is_read_back(token: str, time_ms: int, at_end: bool, ids: dict[str, str]) -> None:
    """With all that it holds."""
    mark = Mark(token, time_ms, at_end, changelogs_of(ids))
    assert mark_of(Committed(1, written(mark))) == mark
    assert token_of(Committed(1, written(mark))) == token


@pytest.mark.parametrize("text", ["", "x", "[]", "1", '{"token": 1}', '{"other": "tool"}'])
def test_what_others_write_is_an_empty_mark(text: str) -> None:
    """An operator may have set the group's offsets with a tool."""
    assert mark_of(Committed(1, text)) == Mark()
    assert mark_of(None) == Mark()


@given(NAMES, st.data())
def test_a_changelog_made_anew_is_noticed(ids: dict[str, str], data: st.DataObject) -> None:
    """And neither a new store nor one that is gone is taken for one."""
    mark = Mark(changelogs=changelogs_of(ids))
    assert made_anew([mark, Mark()], {**ids, "one more store of all": "id"}) == []
    for store in ids:
        changed = {**ids, store: f"{ids[store]}'"}
        assert made_anew([mark], changed) == [store]
        assert made_anew([without(mark, store)], changed) == []
        assert made_anew([mark], {name: ids[name] for name in ids if name != store}) == []


def test_a_mark_stays_short() -> None:
    """Metadata of 5 kB fails every commit."""
    many = {f"store-{number}": f"id-{number}" for number in range(CHANGELOGS_MAX)}
    token = f"{'a' * 36}:{10**12}"
    far = ends_of(dict.fromkeys(many, 10**10))
    assert len(written(Mark(token, 2**50, True, changelogs_of(many), far))) < 1_800
    assert changelogs_of({**many, "one": "more"}) == ()
    assert ends_of({**dict.fromkeys(many, 1), "one": 1}) == ()


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.integers(0, 2**40), max_size=8))
def test_a_mark_tells_where_each_changelog_ended(ends: dict[str, int]) -> None:
    """Of the stores that it knows, also when one of them was dropped; of others it says nothing."""
    mark = Mark(changelogs=changelogs_of(dict.fromkeys(ends, "id")), ends=ends_of(ends))
    assert {store: end_in(mark, store) for store in ends} == ends
    assert end_in(mark, "one more store of all") is None
    assert end_in(Mark(changelogs=mark.changelogs), next(iter(ends), "")) is None
    for store in ends:
        left = without(mark, store)
        assert end_in(left, store) is None
        assert all(end_in(left, name) == ends[name] for name in ends if name != store)


def test_what_was_lost_in_a_flush_has_no_end() -> None:
    """A broker that goes while rows are sent: the commit will fail, and is left to say so."""
    app = App("app")
    words = app.topic("words", key=str, value=str)

    @app.function(words)
    def count(word: str, total: Value[int]) -> None:
        """Counts."""
        total.value += 1

    one = OneTask(app)
    one.send("words", [("a", "x", 1)])
    sent: list[str] = []

    class Sending:
        def emit(self, topic: str, partition: int | None, columns: object) -> None:
            sent.append(topic)

    one.task.changelogs = ("a",)
    one.task.emit(cast(Log, Sending()))
    (changelog,) = sent
    (lost,) = one.task.offsets("t:1", {}).values()
    (known,) = one.task.offsets("t:1", {TopicPartition(changelog, 0): 7}).values()
    assert (mark_of(lost).token, mark_of(lost).ends) == ("t:1", ())
    assert mark_of(known).ends == (7,)
