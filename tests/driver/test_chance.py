"""Ids and numbers that follow from a record: each once, and the same again however it comes again.

Invariant: two calls never get the same id, by whatever ways one record comes to a function; what is
processed again (a rewind, a retry, another batch) gets the ids that it had.
"""

# pyright: reportPrivateUsage=false, reportUnknownVariableType=false

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any, Final

import pytest

import streamfn as sf
from streamfn.engine.tracing import without_own_headers
from streamfn.graph.roots import ROOT_HEADER
from streamfn.record import Batch, Columns, TopicPartition
from streamfn.testing import TestDriver

LATER: Final = timedelta(days=10)
LATE_MS: Final = 600_000_000
"""A commit interval: nothing is committed before the end."""


def ends(name: str) -> tuple[sf.App, Any, Any]:
    """An app from one topic to another."""
    app = sf.App(name)
    texts = app.topic("texts", key=str, value=str, partitions=1)
    return app, texts, app.topic("ids", key=str, value=str, partitions=1)


def identify(text: str, about: sf.Context[str]) -> str:
    """An id for each call."""
    return str(about.uuid())


def counted(text: str, about: sf.Context[str], calls: sf.Value[int]) -> str:
    """An id for each call, where state is."""
    calls.value += 1
    return str(about.uuid())


def told(driver: TestDriver, ids: Any) -> list[str]:
    """Have all be committed; the ids that were given out."""
    for _ in range(3):
        driver.advance(LATER)
    return [record.value for record in driver.read(ids)]


def test_two_ways_to_one_function_are_two_ids() -> None:
    """A record that is merged with what was made of it comes twice, by two ways of the chain."""
    app, texts, ids = ends("ways")
    stream = app.stream(texts)
    app.function(stream.map_values(str.upper, value=str).merge(stream), to=ids)(identify)
    with TestDriver(app) as driver:
        for text in "ab":
            driver.send(texts, text, key="k", timestamp_ms=5)
        found = told(driver, ids)
    assert len(found) == len(set(found)) == 4


def test_two_repartitions_to_a_third_are_two_ids() -> None:
    """The same ones, whatever comes between the two."""
    found: list[list[str]] = []
    for interval_ms in (0, LATE_MS):
        app, texts, ids = ends("diamond")
        stream = app.stream(texts)
        one, other = (stream.repartition(name=name) for name in ("one", "other"))
        again = one.merge(other).key_by(lambda text: text[1], key=str, name="again")
        app.function(again, to=ids)(counted)
        with TestDriver(app, commit_interval_ms=interval_ms) as driver:
            for _ in range(3):
                driver.send(texts, "ab", key="k", timestamp_ms=5)
            found.append(sorted(told(driver, ids)))
    assert found[0] == found[1]
    assert len(set(found[0])) == 6


def ticking(*, rewound: bool) -> list[str]:
    """What a timer gives out."""
    app, texts, ids = ends("ticking")
    made = app.function(texts, to=ids)(counted)

    def tick(about: sf.Context[str], calls: sf.Store[str, int]) -> Any:
        """An id and a number."""
        yield ids.record(key="t", value=f"{about.uuid()} {about.random.random()}")

    made.every(timedelta(seconds=1))(tick)
    with TestDriver(app, commit_interval_ms=LATE_MS) as driver:
        driver.send(texts, "a", key="k", timestamp_ms=5_000)
        if rewound:
            driver._worker._rewind()  # as after a transaction that was aborted
        return told(driver, ids)


def test_timer_that_fires_again_gets_the_same() -> None:
    """After a rewind, as after a crash."""
    found = ticking(rewound=True)
    assert found == ticking(rewound=False)
    assert len(found) == 2


def test_result_that_fails_takes_no_id_of_others() -> None:
    """Of several windows that one record closes, one fails: no id is given out twice."""
    app = sf.App("closing", on_error="skip")
    texts = app.topic("texts", key=str, value=str, partitions=1)
    ids = app.topic("ids", key=str, value=str, partitions=1)
    window = sf.Tumbling(timedelta(seconds=1))
    closed = app.stream(texts).group_by_key().window(window, emit="close").count()

    def failing(count: int, about: sf.Context[Any]) -> str:
        """An id, and a failure behind it for one key."""
        made = str(about.uuid())
        if about.key.key == "b":
            raise ValueError(made)
        return made

    plain = app.function(closed.to_stream())(failing)
    plain.map(lambda key, value: (key.key, value), key=str, value=str).to(ids)
    with TestDriver(app) as driver:
        for key in "abc":
            driver.send(texts, "x", key=key, timestamp_ms=5)
        driver.send(texts, "x", key="z", timestamp_ms=9_000)
        found = told(driver, ids)
    assert len(found) == len(set(found)) == 2


def test_windows_that_close_idle_have_an_id_each() -> None:
    """Results of one firing of the wall clock, of several times in turn."""
    app, texts, ids = ends("idle")
    window = sf.Hopping(
        timedelta(seconds=4), timedelta(seconds=1), idle_close=timedelta(seconds=60)
    )
    closed = app.stream(texts).group_by_key().window(window, emit="close").count()
    plain = app.function(closed.to_stream())(closing)
    plain.map(lambda key, value: (key.key, value), key=str, value=str).to(ids)
    with TestDriver(app) as driver:
        for at, key in enumerate("abcab"):
            driver.send(texts, "x", key=key, timestamp_ms=4_000 + at % 2 * 100)
        found = told(driver, ids)
    assert len(found) == len(set(found)) >= 9


def closing(count: int, about: sf.Context[Any]) -> str:
    """An id for each window."""
    return str(about.uuid())


def test_record_of_an_older_version_keeps_its_id() -> None:
    """What was in a repartition topic before roots were told: whatever it is read together with."""
    found: list[str] = []
    for rows in (1, 2):
        app, texts, ids = ends("upgraded")
        keyed = app.stream(texts).key_by(lambda text: text, key=str, name="keyed")
        app.function(keyed, to=ids)(counted)
        with TestDriver(app) as driver:
            columns = Columns.empty()
            for headers in [(), ((ROOT_HEADER, b"texts 0 1 7 .0"),)][:rows]:
                columns.add(b"k", b"a", 5, headers)
            driver._log.begin()
            driver._log.emit("upgraded-keyed-repartition", 0, columns)
            driver._log.flush()
            driver._log.commit()
            found += told(driver, ids)[:1]
    assert found[0] == found[1]


def test_roots_beside_a_batch() -> None:
    """Own headers go; one without a root is its own."""
    source = TopicPartition("again", 2)
    headers: Any = [((ROOT_HEADER, b"texts 0 1 7 .0"), ("h", b"1")), ()]
    batch = Batch(source, [b"k"] * 2, [b"v"] * 2, [5, 6], [8, 9], 10, headers)
    found = without_own_headers(batch, internal=True)
    assert found.roots == [b"texts 0 1 7 .0", b"again 2 9 6"]
    assert found.headers == [(("h", b"1"),), ()]


def by_name(text: str, calls: sf.Value[int], *, about: sf.Context[str]) -> str:
    """Has its context by name."""
    calls.value += 1
    return str(about.uuid())


def decorated(fn: Callable[..., str]) -> Callable[..., str]:
    """Whoever stands around a function may ask in its place."""

    @wraps(fn)
    def around(*given: Any) -> str:
        fn(*given)
        (about,) = (each for each in given if isinstance(each, sf.Context))
        return str(about.uuid())

    return around


@decorated
def asks_nothing(text: str, about: sf.Context[str], calls: sf.Value[int]) -> str:
    """Asks for its key only."""
    calls.value += 1
    return about.key


@pytest.mark.parametrize("fn", [by_name, asks_nothing])
def test_however_a_function_gets_its_context(fn: Callable[..., str]) -> None:
    """The repartition topic in front of it tells of the root all the same."""
    found: list[list[str]] = []
    for each in (fn, counted):
        app, texts, ids = ends("asking")
        keyed = app.stream(texts).key_by(lambda text: text, key=str, name="keyed")
        app.function(keyed, to=ids, name="asked")(each)
        with TestDriver(app) as driver:
            driver.send(texts, "a", key="k", timestamp_ms=5)
            found.append(told(driver, ids))
    assert found[0] == found[1]
