"""Where records come from: which topics tell of it, and what follows from it."""

from collections.abc import Iterator
from typing import Any

import pytest

import streamfn as sf
from streamfn.chance import Chance, root_text, root_time
from streamfn.graph.context_use import may_ask_root
from streamfn.graph.plan import plan
from streamfn.graph.roots import rooted_topics
from streamfn.graph.topology import Function


def only_key(value: str, about: sf.Context[str]) -> str:
    """Wants the key."""
    about.key = "b"
    return about.key + str(about.timestamp_ms) + str(about.headers)


def emits(value: str, about: sf.Context[str]) -> Iterator[str]:
    """Emits, in a loop."""
    for _ in range(2):
        about.emit(sf.Outgoing("out", about.key, value))
        yield value


def asks_id(value: str, about: sf.Context[str]) -> str:
    """Wants an id."""
    return str(about.uuid())


def asks_number(value: str, about: sf.Context[str]) -> str:
    """Wants a number."""
    return str(about.random.random())


def asks_time(value: str, about: sf.Context[str]) -> str:
    """Wants the time."""
    return about.now().isoformat()


def hands_on(value: str, about: sf.Context[str]) -> str:
    """Gives it to somebody else."""
    return asks_id(value, about)


def keeps(value: str, about: sf.Context[str]) -> str:
    """Gives it another name."""
    it = about
    return str(it.uuid())


def encloses(value: str, about: sf.Context[str]) -> str:
    """Has it in a function of its own."""

    def inner() -> str:
        return str(about.uuid())

    return inner()


def program(fn: Any) -> sf.App:
    """A function behind two repartitions."""
    app = sf.App("app")
    words = app.topic("words", key=str, value=str, partitions=2)
    out = app.topic("out", key=str, value=str)
    once = app.stream(words).key_by(lambda word: word, name="once").repartition()
    twice = once.map_values(str.upper, value=str).key_by(lambda word: word[:1], name="twice")
    app.function(twice.repartition(), to=out, name="last")(fn)
    return app


@pytest.mark.parametrize(
    ("fn", "asks"),
    [
        (only_key, False),
        (emits, False),
        (asks_id, True),
        (asks_number, True),
        (asks_time, True),
        (hands_on, True),
        (keeps, True),
        (encloses, True),
    ],
)
def test_topics_tell_roots_only_to_who_may_ask(fn: Any, asks: bool) -> None:
    """All repartitions in front of one that may ask; none in front of one that cannot."""
    planned = plan(program(fn).topology())
    node = planned.topology.nodes["last"]
    assert isinstance(node, Function)
    assert may_ask_root(node) is asks
    internal = {t.name for t in planned.internal_topics if t.purpose == "repartition"}
    assert rooted_topics(planned.subtopologies) == (internal if asks else set())


def test_chance_follows_from_root_and_stage() -> None:
    """The same root, stage and count: the same; any other: another."""
    root = root_text("words", 0, 7, 1_000)
    one, other = Chance("stage"), Chance("stage")
    ids = [one.uuid(root), one.uuid(root), one.uuid(root_text("words", 0, 8, 1_000))]
    assert len({*ids, Chance("another").uuid(root)}) == 4
    assert [other.uuid(root), other.uuid(root)] == ids[:2]
    other.reset()
    assert other.uuid(root) == ids[0], "a record that is processed again gets the same"
    assert one.random(root).random() == other.random(root).random()
    assert {each.version for each in ids} == {5}


def test_root_has_a_time() -> None:
    """Also with the rows that it became."""
    assert root_time("words 0 7 1500 .0 .3").isoformat() == "1970-01-01T00:00:01.500000+00:00"


def test_context_on_its_own() -> None:
    """A function that asks is tested by calling it."""
    about = sf.Context(key="a", timestamp_ms=1_000, topic="words", offset=3)
    assert about.now().timestamp() == 1
    assert about.uuid() != about.uuid()
    again = sf.Context(key="a", timestamp_ms=1_000, topic="words", offset=3)
    assert asks_id("x", again) == str(
        sf.Context(timestamp_ms=1_000, topic="words", offset=3).uuid()
    )
    assert 0 <= about.random.random() < 1
