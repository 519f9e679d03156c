"""What becomes of records that fail: by policy and by stage, undone as a whole."""

import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest

import streamfn as sf
from streamfn.engine.failure import user_traceback
from streamfn.errors import StageError
from streamfn.record import Headers
from streamfn.serde import as_key_serde
from tests.crash_world import World
from tests.driver.policy_world import (
    LETTERS,
    burdened,
    check_untouched,
    complain,
    position,
    row,
    texts,
)
from tests.faulty_log import Script


@pytest.mark.parametrize("generated", [True, False])
def test_fail_commits_all_before_and_undoes_the_record(generated: bool) -> None:
    """The error has every fact and the user's traceback; once mended, it goes on there."""
    world = World(burdened(), generated=generated)
    world.settle()
    world.write("in", row("fine"), row("good"), row("bad"), row("late"))
    with pytest.raises(StageError) as raised:
        world.settle()
    error = raised.value
    assert (error.topic, error.partition, error.offset) == ("in", 0, 2)
    assert (error.stage, error.task) == ("remember", "in_0")
    assert "key b'k'" in str(error)
    assert "ValueError: cannot bear bad" in str(error)
    assert isinstance(error.__cause__, ValueError)
    text = user_traceback(error.__cause__)
    assert [line for line in text.splitlines() if "File" in line] == [
        line for line in text.splitlines() if "policy_world.py" in line
    ]
    assert "in remember" in text
    assert "in complain" in text
    assert position(world) == 2
    check_untouched(world, "fine", "good")
    world.app = burdened("skip")
    world.topology = world.app.topology()
    world.run_again()
    check_untouched(world, "fine", "good", "late")


@pytest.mark.parametrize("interval_ms", [0, 10_000])
def test_fail_stops_again_at_the_same_record(interval_ms: int) -> None:
    """A worker that was not mended fails there each time and commits nothing twice."""
    world = World(burdened(), commit_interval_ms=interval_ms)
    world.settle()
    world.write("in", row("fine"), row("bad"))
    for _ in range(3):
        with pytest.raises(StageError):
            world.settle()
        assert world.worker is not None
        world.worker.close(commit=False)
        world.crash()
    assert texts(world) == ["saw fine", "fine 1"]
    assert position(world) == 1


def test_fail_commits_all_before_though_the_commit_fails_first() -> None:
    """A transaction that must be done again does not cost the records before the bad one."""
    world = World(burdened(), commit_interval_ms=10_000)
    world.settle()
    world.faults = Script(flush="before")
    world.write("in", row("fine"), row("bad"))
    with pytest.raises(StageError):
        world.settle()
    assert position(world) == 1
    check_untouched(world, "fine")


@pytest.mark.parametrize("generated", [True, False])
@pytest.mark.parametrize(("app", "own"), [("skip", None), ("fail", "skip")])
def test_skip_leaves_no_trace(app: str, own: str | None, generated: bool) -> None:
    """For the whole app or for one function; the others go on."""
    world = World(burdened(app, own), generated=generated)
    world.settle()
    world.write("in", row("bad"), row("fine"), row("bad"), row("good"))
    worker = world.settle()
    check_untouched(world, "fine", "good")
    assert worker.metrics.skipped == 2
    assert position(world) == 4


@pytest.mark.parametrize("generated", [True, False])
@pytest.mark.parametrize(("app", "own"), [("dead_letter", None), ("fail", "dead_letter")])
def test_a_dead_letter_is_the_record_and_says_where_why_and_when(
    app: str, own: str | None, generated: bool
) -> None:
    """The original bytes, key and time; its own headers, then those of the failure."""
    world = World(burdened(app, own), generated=generated)
    world.settle()
    world.clock.advance_ms(5_000)
    world.write("in", row("fine"))
    world.write_with("in", (b"k", b"bad", 77), (("trace", b"1"), ("trace", b"2")))
    world.write("in", row("good"))
    world.settle()
    check_untouched(world, "fine", "good")
    ((_, key, value, at_ms, headers),) = world.records(LETTERS)
    assert (key, value, at_ms) == (b"k", b"bad", 77)
    assert headers[:2] == (("trace", b"1"), ("trace", b"2"))
    facts = dict(headers[2:])
    assert facts["streamfn.topic"] == b"in"
    assert facts["streamfn.partition"] == b"0"
    assert facts["streamfn.offset"] == b"1"
    assert facts["streamfn.stage"] == b"remember"
    assert facts["streamfn.task"] == b"in_0"
    assert facts["streamfn.error"] == b"ValueError"
    assert facts["streamfn.message"] == b"cannot bear bad"
    assert facts["streamfn.failed_at_ms"] == b"5000"


@pytest.mark.parametrize("on_error", ["fail", "skip", "dead_letter"])
def test_what_does_not_decode_gets_the_policy_of_the_app(on_error: str) -> None:
    """Bytes that are no value and keys that are none fail at their topic."""
    app = sf.App("app", on_error=on_error)  # type: ignore[arg-type]  # one of the three
    source = app.topic("in", key=int, value=str)
    out = app.topic("out", key=int, value=str)

    @app.function(source, to=out)
    def keyed(value: str, context: sf.Context[int]) -> str:
        return f"{context.key} {value}"

    world = World(app)
    world.settle()
    key = as_key_serde(int).encode(7)
    world.write("in", (key, b"\xff", 1), (key, b"fine", 2))
    if on_error == "fail":
        with pytest.raises(StageError) as raised:
            world.settle()
        assert (raised.value.stage, raised.value.offset) == ("in", 0)
        return
    world.settle()
    assert texts(world) == ["7 fine"]
    letters = [value for _, _, value, _, _ in world.records(LETTERS)] if on_error[0] == "d" else []
    assert letters == [b"\xff"] * (on_error == "dead_letter")


@pytest.mark.parametrize("generated", [True, False])
@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        (b"7", b"12345678", "key b'7': the key does not decode as int64: error: unpack requires"),
        (bytes(8), b"1234567", "00': the value does not decode as int64: error: unpack requires"),
        (None, b"1234567", "key None: the value does not decode as int64: error: unpack requires"),
        (bytes(8), bytes(8), r"key b'\\x00.*00': ValueError: none; .* or 'dead_letter'$"),
    ],
)
def test_which_part_does_not_decode(
    key: bytes | None, value: bytes, part: str, generated: bool
) -> None:
    """Key or value, and as what; a value that no function has seen has the app's policy."""
    app = sf.App("app")
    source = app.topic("in", key=sf.INT64, value=sf.INT64)

    @app.function(source, on_error="fail")
    def keyed(value: int, context: sf.Context[int]) -> None:
        context.key.bit_length()
        message = "none"
        raise ValueError(message)

    world = World(app, generated=generated)
    world.settle()
    world.write("in", (key, value, 1))
    with pytest.raises(StageError, match=part) as raised:
        world.settle()
    seen = len(value) == 8
    assert raised.value.stage == ("keyed" if seen else "in")
    assert str(raised.value).endswith("'dead_letter'" if seen else "'dead_letter' of the app")


@pytest.mark.parametrize("generated", [True, False])
@pytest.mark.parametrize("kind", ["map", "flat_map", "generator", "branch", "encode"])
def test_a_failure_in_the_middle_undoes_all_effects(kind: str, generated: bool) -> None:
    """Whichever stage fails, those before it have changed and sent nothing."""
    world = World(chained(kind), generated=generated)
    world.settle()
    world.write("in", row("fine"), row("bad"), row("good"))
    worker = world.settle()
    assert worker.metrics.skipped == 1
    world_of_two = World(chained(kind), generated=generated)
    world_of_two.settle()
    world_of_two.write("in", row("fine"), row("good"))
    world_of_two.settle()
    for topic in ("first", "last"):
        assert texts(world, topic) == texts(world_of_two, topic)
    assert texts(world, "last")
    assert world.in_tasks("first-count") == world_of_two.in_tasks("first-count")
    assert world.folded("app-first-count-changelog") == world.in_tasks("first-count")


def chained(kind: str) -> sf.App:
    """Make an app whose first stage counts and sends, and whose second fails on ``bad``."""
    app = sf.App("app", on_error="skip")
    source = app.topic("in", key=str, value=str)
    firsts = app.topic("first", key=str, value=str)
    lasts = app.topic("last", key=str, value=str)

    @app.function(source, to=firsts)
    def first(value: str, count: sf.Value[int]) -> str:
        count.value += 1
        return f"{value} {count.value}"

    def bad(value: str) -> bool:
        return value.startswith("bad")

    def checked(value: str) -> str:
        if bad(value):
            complain(value)
        return value

    def several(key: str, value: str) -> Iterator[tuple[str, str]]:
        yield key, value
        yield key, checked(value)

    if kind == "map":
        first.map(lambda key, value: (key, checked(value))).to(lasts)
    elif kind == "flat_map":
        first.flat_map(several).to(lasts)
    elif kind == "generator":

        @app.function(first, to=lasts)
        def each(value: str, seen: sf.Value[int]) -> Iterator[str]:
            seen.value += 1
            yield value
            yield checked(value)

    elif kind == "branch":
        first.map_values(str.upper).to(lasts)
        first.map_values(checked).to(lasts)
    else:

        @app.function(first, to=lasts)
        def wrong(value: str) -> str:
            return value if not bad(value) else complain  # type: ignore[return-value]  # on purpose

    return app


def test_retries_park_only_their_task() -> None:
    """With doubling back-off on virtual time; the other task's records go on meanwhile."""
    world = World(burdened("skip", retries=2, partitions=2))
    world.settle()
    world.write("in", row("before"), row("bad"), row("after"), partition=0)
    worker = world.settle()
    assert texts(world) == ["saw before", "before 1"]
    assert not worker.finished
    world.write("in", row("elsewhere"), partition=1)
    world.settle()
    assert "saw elsewhere" in texts(world)
    for wait_ms, tries in ((999, 1), (1, 2), (1_999, 2)):
        world.clock.advance_ms(wait_ms)
        world.settle()
        assert worker.metrics.retries == tries
        assert "saw after" not in texts(world)
    world.clock.advance_ms(1)
    world.settle()
    assert "saw after" in texts(world)
    assert (worker.metrics.retries, worker.metrics.skipped) == (2, 1)
    assert worker.finished


@pytest.mark.parametrize("generated", [True, False])
def test_a_retry_that_succeeds_counts_once(generated: bool) -> None:
    """Each attempt begins from what was before the record."""
    app, tries = sf.App("app", retries=5, retry_backoff=timedelta(seconds=1)), list[str]()
    source = app.topic("in", key=str, value=str)
    out = app.topic("out", key=str, value=int)

    @app.function(source, to=out)
    def flaky(value: str, total: sf.Value[int], seen: sf.Map[str, int]) -> int:
        total.value += 1
        seen[value] = 1
        tries.append(value)
        if len(tries) < 4:
            complain(value)
        return total.value + len(seen)

    world = World(app, generated=generated)
    world.settle()
    world.write("in", row("x"), row("y"))
    for _ in range(4):
        world.settle()
        world.clock.advance_ms(4_000)
    assert texts(world) == ["2", "4"]
    assert tries == ["x", "x", "x", "x", "y"]


def test_a_function_that_calls_exit_is_a_failing_record() -> None:
    """It must not end the worker with a code of its own, without a word about where."""
    app = sf.App("app", on_error="skip")
    source = app.topic("in", key=str, value=str)
    out = app.topic("out", key=str, value=str)

    @app.function(source, to=out)
    def leave(value: str) -> str:
        if value == "exit":
            sys.exit(4)
        return value

    with sf.testing.TestDriver(app) as driver:
        for value in ("a", "exit", "b"):
            driver.send(source, value, key="k")
        assert [record.value for record in driver.read(out)] == ["a", "b"]


@pytest.mark.parametrize("generated", [True, False])
@pytest.mark.parametrize("kind", [KeyboardInterrupt])
@pytest.mark.parametrize("then", ["close", "abandon"])
def test_an_exit_from_a_function_commits_nothing_of_its_record(
    kind: type[BaseException], then: str, generated: bool
) -> None:
    """What was done of it by then is undone, however the worker is closed afterwards."""
    app = sf.App("app", on_error="skip")
    source = app.topic("in", key=str, value=str)
    out = app.topic("out", key=str, value=str)
    leave = [True]

    @app.function(source, to=out)
    def remember(value: str, seen: sf.Map[str, int], context: sf.Context[str]) -> str:
        seen[value] = seen.get(value, 0) + 1
        context.emit(out.record(key=context.key, value=f"saw {value}"))
        if value == "exit" and leave[0]:
            raise kind(value)
        return f"{value} {seen[value]}"

    world = World(app, commit_interval_ms=10_000, generated=generated)
    world.settle()
    world.write("in", row("fine"), row("exit"), row("late"))
    with pytest.raises(kind):
        world.settle()
    if then == "close":
        world.close()
        check_exit(world)
    leave[0] = False
    world.run_again()
    world.clock.advance_ms(10_000)
    world.settle()
    check_untouched(world, "fine", "exit", "late")


def check_exit(world: World) -> None:
    """Hold outputs and state of the record before, and nothing of the one that left."""
    assert texts(world) in ([], ["saw fine", "fine 1"])
    assert world.on_disk("remember-seen") == world.folded("app-remember-seen-changelog")
    assert not any(
        b"exit" in key for keys in world.on_disk("remember-seen").values() for key in keys
    )


def test_a_function_may_be_named_as_any_closure_of_ours() -> None:
    """The stage is told by more than its name: its own policy is found."""
    app = sf.App("app", on_error="fail")
    source = app.topic("in", key=str, value=str)
    out = app.topic("out", key=str, value=str)

    @app.function(source, to=out, on_error="skip")
    def run(value: str) -> Iterator[str]:
        yield value
        if value == "bad":
            complain(value)

    world = World(app)
    world.settle()
    world.write("in", row("bad"), row("fine"))
    world.settle()
    assert texts(world) == ["fine"]


@pytest.mark.parametrize("generated", [True, False])
def test_headers_of_an_undone_record_go_with_it(generated: bool) -> None:
    """The next record's outputs do not get them."""
    world = World(burdened("skip"), generated=generated)
    world.settle()
    tag: Headers = (("tag", b"1"),)
    world.write_with("in", row("bad"), tag)
    world.write_with("in", row("fine"), ())
    world.write_with("in", row("good"), tag)
    world.settle()
    assert [headers for *_, headers in world.records("out")] == [(), (), tag, tag]
