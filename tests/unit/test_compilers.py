"""Both compilers give the same answers: generated chains, and closures, their reference."""

# mypy: disable-error-code="untyped-decorator"
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import streamfn as sf
from streamfn.engine.compile import explain
from streamfn.graph.plan import plan
from streamfn.record import Record
from streamfn.testing import TestDriver
from tests.strategies import (
    LINEAR,
    STEPS,
    Event,
    Program,
    Restart,
    Send,
    World,
    build,
    inputs,
    programs,
)
from tests.unit.one_task import OneTask

few = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
LATER = 1_000_000
"""A commit interval in ms: nothing is committed before the end."""
ONE_TASK = [name for name in STEPS if name not in ("key_by", "swapped", "pairs", "repartition")]


@dataclass(frozen=True)
class Outcome:
    """Everything that a run leaves behind."""

    outputs: dict[str, list[tuple[Any, ...]]]
    dead: list[tuple[Any, ...]]
    state: dict[str, dict[Any, Any]]


def play(driver: TestDriver, world: World, events: list[Event]) -> None:
    """Let things happen, then let everything be committed, one sub-topology after the other."""
    for event in events:
        if isinstance(event, Restart):
            driver.restart()
        elif isinstance(event, Send):
            send(driver, world, event)
        else:
            driver.advance(event)
    for _ in plan(world.app.topology()).subtopologies:
        driver.advance(timedelta(milliseconds=LATER))


def send(driver: TestDriver, world: World, event: Send) -> None:
    """Send one record as bytes, since some are broken."""
    value = event.value
    raw = value if value is None or isinstance(value, bytes) else str(value).encode()
    driver.send_raw(
        world.inputs[event.rows].name, raw, key=None if event.key is None else event.key.encode(),
        timestamp_ms=event.timestamp_ms, headers=event.headers,
    )  # fmt: skip


def facts(record: Record[Any, Any]) -> tuple[Any, ...]:
    """What must be the same; the time of failing is the time of processing."""
    headers = [h for h in record.headers if h[0] != "streamfn.failed_at_ms"]
    return record.partition, record.offset, record.key, record.value, record.timestamp_ms, headers


def run(program: Program, events: list[Event], *, generated: bool, interval_ms: int) -> Outcome:
    """Run a program on what happens to it."""
    world = build(program)
    topology = world.app.topology()
    with TestDriver(world.app, generated=generated, commit_interval_ms=interval_ms) as driver:
        play(driver, world, events)
        used = [t for t in [*world.outs, world.texts] if t.name in plan(topology).user_topics]
        outputs = {topic.name: sorted(map(facts, driver.read(topic))) for topic in used}
        dead = list(map(facts, driver.dead_letters()))
        return Outcome(outputs, dead, {name: driver.state(name) for name in topology.stores})


def check_alike(program: Program, events: list[Event], interval_ms: int) -> None:
    """Run a program both ways; with a late commit it dies at the end and runs on whole batches."""
    events = [*events, Restart()] if interval_ms == LATER else events
    one = run(program, events, generated=True, interval_ms=interval_ms)
    assert one == run(program, events, generated=False, interval_ms=interval_ms)


intervals = st.sampled_from([0, 40, LATER])


@few
@given(programs(depth=0, stages=LINEAR), inputs(), intervals)
def test_linear_programs(program: Program, events: list[Event], interval_ms: int) -> None:
    """Generated chains answer, change state and fail as the closures do."""
    check_alike(program, events, interval_ms)


@few
@given(programs(), inputs(), intervals)
def test_programs(program: Program, events: list[Event], interval_ms: int) -> None:
    """So do forked programs, where some chains are generated and some are not."""
    check_alike(program, events, interval_ms)


@few
@given(programs(partitions=1, stages=ONE_TASK), inputs(), st.booleans())
def test_commits_and_restarts_cannot_be_seen(
    program: Program, events: list[Event], generated: bool
) -> None:
    """One task with one input gives the same whenever it commits, and however often it dies."""
    events = [e for e in events if not (isinstance(e, Send) and e.rows)]
    calm: list[Event] = [event for event in events if not isinstance(event, Restart)]
    expected = run(program, calm, generated=False, interval_ms=0)
    for interval_ms in (0, 40, LATER):
        assert run(program, events, generated=generated, interval_ms=interval_ms) == expected


# plain models of fixed programs
both = pytest.mark.parametrize("generated", [True, False])
numbers = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), max_size=30)


@both
@settings(max_examples=15)
@given(sent=numbers, interval_ms=intervals)
def test_sums_like_a_dict(generated: bool, sent: list[tuple[str, int]], interval_ms: int) -> None:
    """A filter, a change of key and a sum, which a failing record does not change."""
    app: Any = sf.App("sums", on_error="skip")
    source = app.topic("numbers", key=str, value=int)
    sums = app.topic("sums", key=str, value=int)
    odd = app.stream(source).filter_not(lambda number: number == 4)

    @app.function(odd.key_by(lambda number: str(number % 2)), to=sums)
    def add(number: int, total: sf.Value[int]) -> int:
        total.value += number
        return 60 // (number - 5) and total.value

    expected: dict[str, int] = defaultdict(int)
    answers: dict[str, list[int]] = defaultdict(list)
    for _, number in sent:
        if number not in (4, 5):
            expected[str(number % 2)] += number
            answers[str(number % 2)].append(expected[str(number % 2)])
    with TestDriver(app, generated=generated, commit_interval_ms=interval_ms) as driver:
        for key, number in sent:
            driver.send(source, number, key=key)
        driver.advance(timedelta(milliseconds=LATER))
        driver.advance(timedelta(milliseconds=LATER))
        assert {k: v for k, v in driver.state(add, "total").items() if v} == {
            k: v for k, v in expected.items() if v
        }
        found: dict[str, list[int]] = defaultdict(list)
        for record in driver.read(sums):
            found[record.key].append(record.value)
        assert found == answers


@both
@settings(max_examples=15)
@given(sent=numbers)
def test_routes_like_a_loop(generated: bool, sent: list[tuple[str, int]]) -> None:
    """A split, a merge and two sinks, one record after the other through all its ways."""
    app: Any = sf.App("routes")
    source = app.topic("numbers", key=str, value=int)
    out = app.topic("out", key=str, value=int)
    small, large, rest = app.stream(source).split(lambda n: n < 2, lambda key, n: key == "a")
    small.flat_map_values(lambda n: [n, -n], value=int).merge(rest).to(out)
    large.map(lambda key, n: (f"{key}{n}", n + 1), key=str, value=int).to(out)
    expected: list[tuple[str, int]] = []
    for key, number in sent:
        if number < 2:
            expected += [(key, number), (key, -number)]
        else:
            expected.append((f"a{number}", number + 1) if key == "a" else (key, number))
    task = OneTask(app, generated=generated)
    task.send("numbers", [(key, number, 7) for key, number in sent])
    assert task.output("out") == [(key, number, 7, ()) for key, number in expected]


# which compiler
def chain_of(app: Any) -> tuple[str, str]:
    """How the chain of the first source is compiled, in words and as text."""
    task = OneTask(app)
    source = task.sub.sources[0]
    return explain(task.sub, source), task.task.compiled.chains[source.topic.name].text


@pytest.mark.parametrize("stage", LINEAR)
def test_linear_stages_are_generated(stage: str) -> None:
    """Each stage that can stand in a linear chain is generated."""
    world = build(Program((), "skip", 1))
    app: Any = sf.App("one")
    source = app.topic("numbers", key=str, value=int)
    outs = [app.topic(f"out{i}", key=str, value=int) for i in range(4)]
    other = World(app, [source], outs, app.topic("texts", key=str, value=str), world.table)
    if stage == "looked_up":
        other.table = app.table(app.topic("rows", key=str, value=int))
    stream = app.stream(source).map_values(lambda value: value, value=int)
    end = STEPS[stage](other, stream)
    if stage != "texts":
        end.map_values(str, value=str).to(other.texts)
    sub = next(s for s in plan(app.topology()).subtopologies if "numbers" in s.nodes)
    said = explain(sub, next(s for s in sub.sources if s.name == "numbers"))
    assert said.startswith("generated: numbers"), said


def test_text_of_a_generated_chain() -> None:
    """The text is there, calls every stage and is what ran."""
    app: Any = sf.App("one")
    source = app.topic("numbers", key=str, value=int)
    app.stream(source).filter(lambda n: n > 1).map_values(lambda n: -n, value=int).to("out")
    said, text = chain_of(app)
    assert said.startswith("generated: numbers → ")
    assert text.startswith("def batch(rows):")
    assert text.count("fn") == 2


@both
def test_a_key_that_changes_twice(generated: bool) -> None:
    """Each sink gets the key as it is there."""
    app: Any = sf.App("keys")
    stream = app.stream(app.topic("numbers", key=int, value=int))
    stream.to("out0")
    for at in range(1, 4):
        stream = stream.key_by(partial("{1}-{0}".format, at), name=f"by{at}")
        stream.to(f"out{at}")
    task = OneTask(app, generated=generated)
    task.send("numbers", [(7, 1, 0), (None, 2, 0)])
    found = [[key for key, *_ in task.output(f"out{at}")] for at in range(4)]
    assert found == [[7, None], ["1-1", "2-1"], ["1-2", "2-2"], ["1-3", "2-3"]]


Linked = Callable[[Any, Any, Any], object]


def _flat(app: Any, stream: Any, out: Any) -> None:
    stream.flat_map_values(lambda n: [n], value=int).to(out)


def _generator(app: Any, stream: Any, out: Any) -> None:
    @app.function(stream, to=out)
    def several(value: int) -> Iterator[int]:
        yield value


def _unannotated(app: Any, stream: Any, out: Any) -> None:
    @app.function(stream, to=out)
    def unsaid(value: int) -> Any:
        return value


def _two_stages(app: Any, stream: Any, out: Any) -> None:
    stream.filter(lambda n: n).to(out)
    stream.filter(lambda n: -n).to(out)


def _same_topic(app: Any, stream: Any, out: Any) -> None:
    stream.to(out)
    stream.map_values(lambda n: -n, value=int).to(out)


def _sink_behind(app: Any, stream: Any, out: Any) -> None:
    stream.map_values(lambda n: -n, value=int).to(out)
    stream.to("other")


def _table(app: Any, stream: Any, out: Any) -> None:
    app.table(app.topic("numbers", key=str, value=int))


@pytest.mark.parametrize(
    ("link", "why"),
    [
        (_flat, "flat_map_values"),
        (_generator, "'several' is a generator"),
        (_unannotated, "'unsaid' may answer with records of topics"),
        (_two_stages, "has 2 stages behind it"),
        (_same_topic, "a topic is written to in two places"),
        (_sink_behind, "is declared behind"),
        (_table, "'numbers-table' is a TableStore"),
    ],
)
def test_why_a_chain_is_not_generated(link: Linked, why: str) -> None:
    """What branches, multiplies or sends elsewhere runs as closures, and says why."""
    app: Any = sf.App("one")
    stream = app.stream(app.topic("numbers", key=str, value=int))
    link(app, stream, app.topic("out", key=str, value=int))
    said, text = chain_of(app)
    assert said.startswith("closures: ")
    assert why in said
    assert text == ""


# bugs that were there
@both
@pytest.mark.parametrize("name", ["run", "plain", "timed", "fire", "check_key", "batch", "make"])
def test_a_stage_may_have_any_name(generated: bool, name: str) -> None:
    """A function's policy is found whatever its name."""
    app: Any = sf.App("named")
    source = app.topic("numbers", key=str, value=int)
    out = app.topic("out", key=str, value=int)

    @app.function(source, to=out, on_error="skip", name=name)
    def divide(number: int) -> int:
        return 6 // number

    task = OneTask(app, generated=generated)
    task.send("numbers", [("k", 0, 0), ("k", 3, 0)])
    assert task.values("out") == [2]
    assert task.metrics.skipped == 1


@both
def test_a_failing_sink_is_its_own_stage(generated: bool) -> None:
    """What a sink cannot encode is not the function's fault: the app's policy applies."""
    app: Any = sf.App("sinks", on_error="dead_letter")
    source = app.topic("numbers", key=str, value=int)

    @app.function(source, on_error="skip")
    def texts(number: int) -> str:
        return number  # type: ignore[return-value]  # it is to fail

    texts.to(app.topic("out", key=str, value=str), name="written")
    task = OneTask(app, generated=generated)
    task.send("numbers", [("k", 1, 0)])
    ((_, _, _, headers),) = task.output("sinks-dead-letters")
    assert dict(headers)["streamfn.stage"] == b"written"


@both
def test_parameters_are_given_by_position(generated: bool) -> None:
    """So that they may be positional only."""
    app: Any = sf.App("positions")
    source = app.topic("numbers", key=str, value=int)
    out = app.topic("out", key=str, value=int)

    @app.function(source, to=out)
    def add(number: int, /, total: sf.Value[int], here: sf.Context[str]) -> int:
        total.value += number
        return total.value

    @app.function(source, to=app.topic("out2", key=str, value=int))
    def add_too(number: int, total: sf.Value[int], /) -> int:
        total.value += number
        return total.value

    task = OneTask(app, generated=generated)
    task.send("numbers", [("k", 1, 0), ("k", 2, 0)])
    assert task.values("out") == task.values("out2") == [1, 3]


@both
def test_nothing_that_is_yielded_goes_nowhere(generated: bool) -> None:
    """None is no answer, yielded or returned."""
    app: Any = sf.App("yields")
    source = app.topic("numbers", key=str, value=int)
    out = app.topic("out", key=str, value=int)

    @app.function(source, to=out)
    def some(number: int) -> Iterator[int | None]:
        yield None
        yield number

    task = OneTask(app, generated=generated)
    task.send("numbers", [("k", 1, 0)])
    assert task.values("out") == [1]
