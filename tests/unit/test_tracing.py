"""What outputs say of their making: which stage, which code, which input record."""

# mypy: disable-error-code="untyped-decorator"
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import streamfn as sf
from streamfn.graph.plan import plan
from streamfn.graph.roots import OWN_HEADERS, PROVENANCE_HEADER, ROOT_HEADER
from streamfn.graph.version import code_version
from streamfn.record import Columns, Headers, Record
from streamfn.replay.trace import made_of, root_of
from streamfn.testing import TestDriver
from tests.strategies import Event, Program, Restart, Send, World, build, inputs, programs

ON = {"provenance": True}
LATER = 1_000_000
"""A commit interval in ms: nothing is committed before the end."""
few = settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])

Facts = dict[str, list[tuple[Any, ...]]]


def own(headers: Headers) -> Headers:
    """The headers that are ours."""
    return tuple(header for header in headers if header[0] in OWN_HEADERS)


def played(
    program: Program, events: list[Event], *, generated: bool, interval_ms: int, provenance: bool
) -> Facts:
    """Run a program on what happens to it; everything that it wrote, with all headers."""
    world = build(program)
    options = {"provenance": provenance}
    with TestDriver(
        world.app, generated=generated, commit_interval_ms=interval_ms, options=options
    ) as driver:
        for event in events:
            happen(driver, world, event)
        for _ in plan(world.app.topology()).subtopologies:
            driver.advance(timedelta(milliseconds=LATER))
        used = plan(world.app.topology()).user_topics
        topics = [topic for topic in (*world.outs, world.texts) if topic.name in used]
        found = {topic.name: [facts(record) for record in driver.read(topic)] for topic in topics}
        return found | {"dead": [facts(record) for record in driver.dead_letters()]}


def happen(driver: TestDriver, world: World, event: Event) -> None:
    """One thing that happens."""
    if isinstance(event, Restart):
        driver.restart()
    elif isinstance(event, Send):
        raw = event.value if isinstance(event.value, bytes | None) else str(event.value).encode()
        driver.send_raw(
            world.inputs[event.rows].name, raw,
            key=None if event.key is None else event.key.encode(),
            timestamp_ms=event.timestamp_ms, headers=event.headers,
        )  # fmt: skip
    else:
        driver.advance(event)


def facts(record: Record[Any, Any]) -> tuple[Any, ...]:
    """What must be the same; the time of failing is the time of processing."""
    headers = tuple(h for h in record.headers if h[0] != "streamfn.failed_at_ms")
    return record.partition, record.offset, record.key, record.value, record.timestamp_ms, headers


def without_own(found: Facts) -> Facts:
    """The same without what we say."""
    return {
        topic: [(*row[:-1], tuple(h for h in row[-1] if h[0] not in OWN_HEADERS)) for row in rows]
        for topic, rows in found.items()
    }


@few
@given(programs(), inputs(), st.sampled_from([0, 40, LATER]))
def test_both_compilers_say_the_same(
    program: Program, events: list[Event], interval_ms: int
) -> None:
    """Generated chains and closures, forked and failing programs; what they write is as ever."""
    ran = [
        played(program, events, generated=generated, interval_ms=interval_ms, provenance=True)
        for generated in (True, False)
    ]
    assert ran[0] == ran[1]
    plain = played(program, events, generated=True, interval_ms=interval_ms, provenance=False)
    assert without_own(ran[0]) == without_own(plain)
    app = build(program).app
    rows = [row for rows in ran[0].values() for row in rows]
    assert all(made_of(row[-1]) is not None for row in rows)
    assert {str(made.version) for row in rows if (made := made_of(row[-1]))} <= {
        code_version(app.topology())
    }


@few
@given(programs(), inputs(restarts=False), st.sampled_from([0, LATER]))
def test_each_output_names_a_record_that_was_sent(
    program: Program, events: list[Event], interval_ms: int
) -> None:
    """By its root, where a repartition topic lies between them; else itself."""
    found = played(program, events, generated=True, interval_ms=interval_ms, provenance=True)
    counts = sum(isinstance(event, Send) for event in events)
    for rows in found.values():
        for row in rows:
            made, root = made_of(row[-1]), root_of(row[-1])
            assert made is not None
            assert made.of is not None
            assert made.of.offset >= 0
            first = root.place if root else made.of
            assert first.source.topic in ("numbers", "rows")
            assert 0 <= first.offset < counts
            assert ("repartition" in made.of.source.topic) == (root is not None)


# one program, told record by record
Out = sf.Outgoing[str, str]


def program(**options: Any) -> Any:
    """An app with every way to write."""
    app: Any = sf.App("all", **options)
    app.first = app.topic("first", key=str, value=str)
    app.one = app.topic("one", key=str, value=str)
    app.other = app.topic("other", key=str, value=str)
    app.lots = app.topic("lots", key=str, value=str)
    first, one, other = app.first, app.one, app.other
    stream = app.stream(first)

    @app.function(stream, to=(one, other))
    def both(text: str, ctx: sf.Context[str], seen: sf.Value[int]) -> Iterator[Out]:
        seen.value += 1
        ctx.emit(one.record(key="e", value=text))
        yield one.record(key=text, value=text)
        if text == "bad":
            raise ValueError(text)
        yield other.record(key=text, value=text, headers=(("own", b"1"),))

    @both.every(timedelta(seconds=1))
    def tick(ctx: sf.Context[str], seen: sf.Store[str, int]) -> Iterator[Out]:
        yield other.record(key="tick", value=str(ctx.timestamp_ms))

    @both.every(timedelta(hours=1), clock="wall")
    def tock(ctx: sf.Context[str], seen: sf.Store[str, int]) -> Iterator[Out]:
        yield other.record(key="tock", value="")

    stream.filter(lambda text: text == "chosen").to(lambda key, text: app.lots)
    return app


def said(record: Record[Any, Any], version: str) -> str:
    """What a record says, without the version, which is checked."""
    (text,) = [value.decode() for name, value in record.headers if name == PROVENANCE_HEADER]
    assert f" {version} " in text
    return text.replace(f" {version} ", " ")


@pytest.mark.parametrize("generated", [True, False])
@pytest.mark.parametrize("interval_ms", [0, LATER])
def test_every_way_to_write(generated: bool, interval_ms: int) -> None:
    """Emitted, answered, chosen, by timers, to the dead letters; the sender's own are kept."""
    app = program(on_error="dead_letter")
    version = code_version(app.topology())
    with TestDriver(app, generated=generated, commit_interval_ms=interval_ms, options=ON) as driver:
        for at, text in enumerate(["a", "bad", "chosen"]):
            driver.send(app.first, text, key="k", timestamp_ms=at * 900)
        driver.advance(timedelta(milliseconds=LATER))
        driver.advance(timedelta(hours=2))
        driver.advance(timedelta(milliseconds=LATER))
        one = [said(record, version) for record in driver.read(app.one)]
        assert one == ["both first 0 0"] * 2 + ["both first 0 2"] * 2
        other = [(r.key, said(r, version)) for r in driver.read(app.other)]
        assert ("a", "both first 0 0") in other
        assert ("tick", "both first 0 0") in other
        assert ("tick", "both first 0 2") in other
        assert ("tock", "both - 0 -1") in other
        (lot,) = [said(record, version) for record in driver.read(app.lots)]
        assert lot.endswith(" first 0 2")
        (dead,) = driver.dead_letters()
        assert said(dead, version) == "both first 0 1"


def test_own_headers_go_on_and_ours_do_not() -> None:
    """What an upstream program said of its output is not said of ours; a sender's headers are."""
    app = program()
    upstream = ((PROVENANCE_HEADER, b"them 0 x 0 1"), (ROOT_HEADER, b"x 0 1 5"), ("h", b"1"))
    with TestDriver(app, options=ON) as driver:
        driver.send(app.first, "a", key="k", headers=upstream)
        (record,) = [record for record in driver.read(app.other) if record.key == "a"]
        names = [name for name, _ in record.headers]
    assert names == ["h", "own", PROVENANCE_HEADER]


def test_without_it_nothing_is_said() -> None:
    """Off is the default, and costs no header."""
    app = program()
    with TestDriver(app) as driver:
        driver.send(app.first, "a", key="k")
        assert all(record.headers == () for record in driver.read(app.one))


def test_a_rewind_says_the_same_again() -> None:
    """What was undone by a crash is written once, and as it would have been."""
    ran: list[list[Headers]] = []
    for restarts in (False, True):
        app = program()
        with TestDriver(app, commit_interval_ms=LATER, options=ON) as driver:
            for text in "abc":
                driver.send(app.first, text, key="k", timestamp_ms=5)
                if restarts:
                    driver.restart()
            driver.advance(timedelta(milliseconds=LATER))
            ran.append([record.headers for record in driver.read(app.one)])
    assert ran[0] == ran[1]
    assert len(ran[0]) == 6


def test_cut_takes_headers_of_cut_rows_only() -> None:
    """However many rows bear headers, only those that go are looked at."""
    columns = Columns.empty()
    for row in range(5):
        columns.add(b"k", b"v", row, (("h", b"%d" % row),))
    columns.cut(3)
    assert columns.headers == {row: (("h", b"%d" % row),) for row in range(3)}
    columns.add(b"k", b"v", 3)
    assert 3 not in columns.headers


def test_behind_a_repartition_the_root_is_said_too() -> None:
    """Repartition topics are trimmed: what is behind them must be found without."""
    app: Any = sf.App("again")
    words, counts = app.topic("words", key=str, value=str), app.topic("counts", key=str, value=int)

    @app.function(app.stream(words).key_by(lambda word: word), to=counts)
    def counted(word: str, seen: sf.Value[int]) -> int:
        seen.value += 1
        return seen.value

    with TestDriver(app, options=ON) as driver:
        driver.send(words, "a", key="1", timestamp_ms=7)
        driver.send(words, "b", key="2", timestamp_ms=9)
        found = list(driver.read(counts))
    roots = [root_of(record.headers) for record in found]
    assert [str(root.place) for root in roots if root] == ["words[0]@0", "words[0]@1"]
    assert [root.timestamp_ms for root in roots if root] == [7, 9]
