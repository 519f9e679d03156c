"""What a hostile reader of the docs found: wrong times, wrong functions, windows on a shell."""

# Wrong functions are given on purpose.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

import json
import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import streamfn as sf
from streamfn.cli.values import guess_state_value
from streamfn.errors import RefusedError
from tests.unit.cli_shell import Shell, open_shell

VISITS = """
from datetime import timedelta
import msgspec
import streamfn as sf

class Visit(msgspec.Struct):
    who: str
    at: int

app = sf.App("visits")
visits = app.topic("visits", key=str, value=Visit, timestamp=lambda visit: visit.at)
app.feed(visits, "visits.csv", key="who")
grouped = app.stream(visits).group_by_key()
minute = timedelta(minutes=1)
tumbling = grouped.window(sf.Tumbling(minute)).count(name="tumbling")
grouped.window(sf.Session(minute)).count(name="session")
grouped.window(sf.Sliding(minute)).count(name="sliding")
grouped.count(name="all")
tumbling.filter(lambda number: number > 1, store="often")
tumbling.suppress("close", name="waiting").to_stream().to("final")
"""
TIMES = {"ann": (1000, 2000, 61_000), "bob": (1000,)}


@pytest.fixture(scope="module")
def visited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell in which visits are counted in windows; the tests only look."""
    rows = sorted((at, who) for who, times in TIMES.items() for at in times)
    folder = tmp_path_factory.mktemp("visits")
    with pytest.MonkeyPatch.context() as patch, open_shell(folder, patch) as shell:
        Path("visits.csv").write_text("who,at\n" + "".join(f"{who},{at}\n" for at, who in rows))
        Path("visits.py").write_text(VISITS)
        shell("run", "visits.py", "--until-end")
        yield shell


def rows_of(shell: Shell, *words: str) -> list[Any]:
    """What a verb writes as lines of JSON."""
    return [json.loads(line) for line in shell(*words).stdout.splitlines()]


@pytest.mark.parametrize(("store", "starts"), [("tumbling", [0, 60_000]), ("often", [0])])
def test_windows_by_their_key(visited: Shell, store: str, starts: list[int]) -> None:
    """A plain key shows all its windows; the whole key, as it is shown, the one."""
    look = ("state", store, "--app", "visits.py", "--json")
    first = {"key": "ann", "start_ms": 0, "end_ms": 60_000}
    of_ann = rows_of(visited, *look, "ann")
    assert [row["key"]["start_ms"] for row in of_ann] == starts
    assert [row["key"] for row in rows_of(visited, *look, json.dumps(first))] == [first]
    assert "has no key 'zoe'" in visited.fails("state", store, "zoe", "--app", "visits.py", code=4)


def test_sessions_by_their_key(visited: Shell) -> None:
    """Sessions and sliding windows too, with the ends that they have."""
    (session,) = rows_of(visited, "state", "session", "ann", "--app", "visits.py", "--json")
    assert session["key"] == {"key": "ann", "start_ms": 1000, "end_ms": 61_000}
    assert rows_of(visited, "state", "sliding", "bob", "--app", "visits.py", "--json")


def test_states_are_counted_as_people_see_them(visited: Shell) -> None:
    """Registers and indexes are no keys; a buffer has none, and says where to look."""
    listed = visited("state", "--app", "visits.py").stdout
    assert "all  2 keys\n" in listed
    assert "session  2 keys\n" in listed
    assert "tumbling  3 keys\n" in listed
    error = visited.fails("state", "waiting", "--app", "visits.py", code=4)
    assert "no rows" in error
    assert "streamfn consume visits-waiting-changelog" in error


def test_state_of_tables_without_types(visited: Shell) -> None:
    """The time before a value is not taken for a part of it; windows ask for the program."""
    found = rows_of(visited, "state", "all", "--json")
    assert [(row["key"], row["value"]) for row in found] == [("ann", 3), ("bob", 1)]
    assert "--app" in visited("state", "tumbling").stderr
    assert guess_state_value(b"\0\0\0\0\0\0\0\1\x2a") == 42
    assert guess_state_value(b"\0\0") == "0x0000"


@pytest.mark.parametrize("store", ["tumbling", "session", "sliding", "waiting", "all"])
def test_changelogs_are_shown(visited: Shell, store: str) -> None:
    """Every record of a changelog is shown: by its window, or as bytes if only we know it."""
    topic = f"visits-{store}-changelog"
    shown = rows_of(visited, "consume", topic, "--app", "visits.py")
    assert len(shown) == len(rows_of(visited, "consume", topic))
    windows = [row["key"]["key"] for row in shown if isinstance(row["key"], dict)]
    assert bool(windows) == (store not in {"waiting", "all"})
    assert set(windows) <= set(TIMES)


@pytest.mark.parametrize("time", [-1, -5, 253_402_300_800_000, 2**62, 2**63 - 1, 2**63])
def test_no_record_has_an_absurd_time(time: int) -> None:
    """One record far ahead would close all windows for ever."""
    app = sf.App("app")
    source = app.topic("in", key=str, value=int)
    app.stream(source).group_by_key().count()
    with (
        sf.testing.TestDriver(app) as driver,
        pytest.raises(RefusedError, match=r"in\[0\] takes .*; .*; give .*milliseconds"),
    ):
        driver.send(source, 1, key="a", timestamp_ms=time)


@pytest.mark.parametrize("time", [-5, 1_700_000_000_000_000, 2**63 - 1, 1.5, math.nan, None, "now"])
def test_no_function_reads_an_absurd_time(time: Any) -> None:
    """Microseconds are the usual slip; the record fails, by its policy."""
    app = sf.App("app", on_error="dead_letter")
    source = app.topic("in", key=str, value=int, timestamp=lambda value: time)
    app.stream(source).group_by_key().count()
    with sf.testing.TestDriver(app) as driver:
        driver.send(source, 1, key="a", timestamp_ms=0)
        (letter,) = driver.dead_letters()
    message = dict(letter.headers)["streamfn.message"].decode()
    assert message.startswith(f"timestamp function of topic 'in' gave no event time; got {time!r}")
    assert message.endswith("; return milliseconds since the epoch as an int")


@pytest.mark.parametrize(
    ("fn", "got"),
    [
        (lambda key, value: 0, "a lambda with key, value"),
        (lambda: 0, "a lambda with no parameters"),
        ("at", "'at'"),
    ],
)
def test_a_timestamp_function_takes_a_value(fn: Any, got: str) -> None:
    """It is told when the program is built, at the topic."""
    app = sf.App("app")
    source: sf.Topic[str, int] = app.topic("in", key=str, value=int, timestamp=fn)
    app.stream(source).to("out")
    with pytest.raises(sf.TopologyError) as raised:
        app.topology()
    (mistake,) = raised.value.mistakes
    assert "timestamp= of topic 'in'" in str(mistake)
    assert f"got {got}; " in str(mistake)


def larger(one: int) -> int:
    """Takes too little."""
    return one


@pytest.mark.parametrize(
    ("fn", "got"), [(lambda one: one, "a lambda with one"), (larger, "'larger' with one: int")]
)
def test_functions_are_called_by_their_names(fn: Callable[..., int], got: str) -> None:
    """A lambda has none, and what it touches is none."""
    app = sf.App("app")
    app.stream(app.topic("in", key=str, value=int)).group_by_key().reduce(fn)
    with pytest.raises(sf.TopologyError, match=f"got {got}"):
        app.topology()


@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize(
    ("window", "end_ms"),
    [
        (sf.Tumbling(timedelta(seconds=9)), 9000),
        (sf.Session(timedelta(seconds=9)), 0),
        (sf.Unlimited(), 2**63 - 1),
    ],
)
def test_windows_are_looked_up_in_any_partition(window: Any, end_ms: int, partitions: int) -> None:
    """The partition is that of the key in the window, as the records themselves lie there."""
    app = sf.App("app")
    source = app.topic("in", key=str, value=int, partitions=partitions)
    out = app.topic("out", key=str, value=int)
    counts: sf.Table[sf.Windowed[str], int]
    counts = app.stream(source).group_by_key().window(window).count()

    @app.function(source, to=out)
    def seen(
        number: int, here: sf.Context[str], counted: sf.Lookup[sf.Windowed[str], int] = counts
    ) -> int | None:
        """Looks up its own window."""
        return counted.get(sf.Windowed(here.key, 0, end_ms))

    keys = [f"key {number}" for number in range(9)]
    with sf.testing.TestDriver(app) as driver:
        for key in keys:
            driver.send(source, 1, key=key, timestamp_ms=0)
        assert {record.key: record.value for record in driver.read(out)} == dict.fromkeys(keys, 1)
