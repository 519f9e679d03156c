"""Small changes of the flights' functions: a comparison names the changed stage and field.

The same records go through the program as it is and as it is changed; nothing else may be blamed,
and a change that changes nothing finds no difference.
"""

import csv
import io
import sys
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from streamfn.config import Config
from streamfn.graph.plan import Plan
from streamfn.replay.diff.compare import (
    Comparison,
    Options,
    compare_effects,
    diff_against_run,
    diff_versions,
)
from streamfn.replay.diff.two_versions import StateRow, state_rows
from streamfn.replay.effects import Collected, Effects
from streamfn.replay.opening import Wanted, opened_inputs
from streamfn.replay.recording import Inputs
from streamfn.replay.recordings.files import open_recording, recording_to
from streamfn.replay.replay import replay
from tests.flights_support import ROOT, make_package, places, run

SOURCE = (
    (ROOT / "topologies" / "flights.py")
    .read_text(encoding="utf-8")
    .replace("MINUTES_MAX = 30", "MINUTES_MAX = 12")
)
"""In two days, nobody leaves half an hour early."""
DAYS = {"1", "2"}


class Made(NamedTuple):
    """What a replay has made."""

    effects: list[Effects]
    state: list[StateRow]
    plan: Plan


class Mutant(NamedTuple):
    """A change of the source text, and what it is to be found as."""

    old: str
    new: str
    stages: set[str]
    field: str = ""
    kind: str = "changed"


MUTANTS = {
    "a stricter check": Mutant("MINUTES_MAX = 12", "MINUTES_MAX = 11", {"checked"}, "", "raised"),
    "a check that lets all pass": Mutant(
        "if message:", "if message and not flight:", {"checked"}, "", "raised"
    ),
    "an error's words": Mutant(
        "minutes early", "min early", {"checked"}, "<header:streamfn.message>"
    ),
    "a value changed on its way": Mutant(
        "return flight\n\n",
        "return msgspec.structs.replace(flight, distance=flight.distance + 1)\n\n",
        {"checked"},
        "distance",
    ),
    "the wrong report": Mutant(
        "reverse=True", "reverse=False", {"with_weather"}, "weather.time_hour"
    ),
    "no older report": Mutant(
        "reports.get(hour) or next(reports.values(end=hour, reverse=True), None)",
        "reports.get(hour)",
        {"with_weather"},
        "weather",
    ),
    "a report that is not kept": Mutant(
        "        reports[seen.time_hour] = seen\n",
        "        if seen.time_hour.hour:\n            reports[seen.time_hour] = seen\n",
        {"with_weather"},
        "weather.time_hour",
    ),
    "another key": Mutant(
        "return met.weather.kind if",
        "return met.weather.kind.upper() if",
        {"by-weather"},
        "<key>",
    ),
    "another key by lambda": Mutant(
        "flight: flight.carrier, name=", "flight: flight.dest, name=", {"by-carrier"}, "<key>"
    ),
    "one of two parts of a key": Mutant(
        "return flight.origin, flight", "return flight.dest, flight", {"by-hour"}, "<key>"
    ),
    "a name": Mutant(
        "plus(met.flight, kind.key)", "plus(met.flight, '')", {"weather_delay"}, "name"
    ),
    "a look-up": Mutant(
        "airline.name if airline else",
        "airline.name[:9] if airline else",
        {"carrier_delay"},
        "name",
    ),
    "a sum of two stages": Mutant(
        "self.minutes + (late or 0)",
        "self.minutes + (late or 1)",
        {"carrier_delay", "weather_delay"},
        "minutes",
    ),
    "a count": Mutant("count.value += 1", "count.value += 2", {"departures"}, "<value>"),
    "a count that forgets": Mutant(
        "count.value += 1", "count.value = 1", {"departures"}, "<value>"
    ),
    "rounding": Mutant(
        "self.minutes + (late or 0)",
        "self.minutes + round(late or 0, -1)",
        {"carrier_delay", "weather_delay"},
        "minutes",
    ),
    "a default": Mutant(
        "minutes: int = 0", "minutes: int = 1", {"carrier_delay", "weather_delay"}, "minutes"
    ),
    "a field that is dropped": Mutant(
        "self.planned + 1, left, self",
        "self.planned + 1, minutes=self",
        {"carrier_delay", "weather_delay"},
        "left",
    ),
    "a count from the ninth on": Mutant(
        "count.value += 1", "count.value += 1 + (count.value > 8)", {"departures"}, "<value>"
    ),
    "a filter": Mutant(
        "lambda flight: flight.dep_delay is not None",
        "lambda flight: flight.dep_delay",
        {"checked-filter-dep_delay"},
        "",
        "missing",
    ),
    "no answer": Mutant(
        "kind.key)\n    return total.value",
        "kind.key)\n    return total.value if total.value.left % 2 else None",
        {"weather_delay"},
        "",
        "missing",
    ),
    "only state": Mutant(
        "        return None\n",
        "        reports[seen.time_hour.replace(year=2031)] = seen\n        return None\n",
        {"with_weather"},
        "",
        "extra",
    ),
    "an error": Mutant(
        "    airline = names",
        "    assert flight.carrier != 'US'\n    airline = names",
        {"carrier_delay"},
        "",
        "raised",
    ),
}

SAME = {
    "nothing": ("", ""),
    "another name inside": ("late = flight.dep_delay\n", "late = flight.dep_delay  # minutes\n"),
    "another way to count": ("count.value += 1", "count.value = sum((count.value, 1))"),
    "another way to look": ("reports.get(hour) or next(", "reports.get(hour, None) or next("),
    "another order of checks": (
        "if flight.air_time and flight.distance > MILES_A_MINUTE_MAX * flight.air_time:",
        "if flight.air_time and flight.distance / flight.air_time > MILES_A_MINUTE_MAX:",
    ),
}


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of flights, as a real run read and wrote them."""
    folder = tmp_path_factory.mktemp("flights")
    package = make_package(folder, {"1"})
    flights, weather, _ = places(package)
    with zipfile.ZipFile(flights) as archive:
        text = days(archive.read("flights.csv").decode())
    with zipfile.ZipFile(flights, "w") as archive:
        archive.writestr("flights.csv", text)
    weather.write_text(days(weather.read_text()))
    sys.path.insert(0, str(package))
    app = loaded(SOURCE).app
    sys.path.remove(str(package))
    run(app, folder / "state")
    wanted = Wanted(None, Config(state_dir=folder / "state"), repartitions=True)
    path = folder / "flights.jsonl"
    with (
        opened_inputs(wanted, app.topology()) as inputs,
        recording_to(path, inputs.header) as writer,
    ):
        for chunk in inputs.chunks():
            writer.chunk(chunk)
    return path


def days(text: str) -> str:
    """Keep the rows of the first days."""
    rows = csv.DictReader(io.StringIO(text))
    kept = io.StringIO()
    assert rows.fieldnames
    writer = csv.DictWriter(kept, rows.fieldnames, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row for row in rows if row["day"] in DAYS)
    return kept.getvalue()


@contextmanager
def opened(path: Path) -> Generator[Inputs]:
    """Open a recording."""
    inputs = open_recording(path)
    yield inputs
    inputs.close()


def changed(old: str, new: str) -> str:
    """The source with a change."""
    assert not old or SOURCE.count(old) == 1, old
    return SOURCE.replace(old, new) if old else SOURCE


def loaded(source: str) -> Any:
    """Make a module of a source text."""
    module = ModuleType("flights_changed")
    exec(compile(source, "flights_changed.py", "exec", dont_inherit=True), module.__dict__)
    return module


def made_by(source: str, path: Path) -> Made:
    """Replay a source text."""
    found = Collected()
    with opened(path) as inputs:
        topology = loaded(source).app.topology()
        with replay(topology, inputs, found, taps=True, in_memory=True) as done:
            return Made(found.found, list(state_rows(done)), done.plan)


@pytest.fixture(scope="module")
def original(recording: Path) -> Made:
    """What the program makes as it is."""
    return made_by(SOURCE, recording)


def compared(one: Made, other: Made, options: Options | None = None) -> Comparison:
    """Compare two replays."""
    return compare_effects(
        one.effects, other.effects, other.plan, options,
        other_plan=one.plan, states=(one.state, other.state),
    )  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_blamed(name: str, original: Made, recording: Path) -> None:
    """The changed stage is to blame, and its field is named; all else follows."""
    mutant = MUTANTS[name]
    comparison = compared(original, made_by(changed(mutant.old, mutant.new), recording))
    assert comparison.exit_code == 1
    assert set(comparison.blamed) == mutant.stages, comparison.lines()
    own = {(g.field, g.kind) for g in comparison.groups if not g.follows}
    assert (mutant.field, mutant.kind) in own, comparison.lines()
    assert all(g.count > 0 and g.examples for g in comparison.groups)


@pytest.mark.parametrize("name", SAME)
def test_same_is_equal(name: str, original: Made, recording: Path) -> None:
    """A change that changes nothing finds nothing."""
    comparison = compared(original, made_by(changed(*SAME[name]), recording))
    assert comparison.exit_code == 0, comparison.lines()
    assert comparison.equal == comparison.records > 5_000


def test_two_processes(recording: Path, tmp_path: Path) -> None:
    """Two versions in processes of their own: the same answer as in this one."""
    mutant = MUTANTS["a look-up"]
    program, other = tmp_path / "flights.py", tmp_path / "before.py"
    program.write_text(changed(mutant.old, mutant.new), encoding="utf-8")
    other.write_text(SOURCE, encoding="utf-8")
    with opened(recording) as inputs:
        comparison = diff_versions(str(program), f"{other}:app", inputs, Options(self_check=False))
    assert comparison.blamed == ["carrier_delay"]
    assert comparison.inputs > 1_000
    assert {g.field for g in comparison.groups} == {"name"}
    assert (comparison.expected, comparison.actual) == (f"{other}:app", str(program))


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("a stricter check", ["checked"]),
        ("a count", ["departures"]),
        ("the wrong report", ["with_weather"]),
        ("a value changed on its way", ["with_weather", "by-carrier", "by-hour"]),
    ],
)
def test_against_the_run(name: str, stages: list[str], recording: Path, tmp_path: Path) -> None:
    """Against the real run only topics can be seen; what cannot be is a suspect."""
    mutant = MUTANTS[name]
    program = tmp_path / "flights.py"
    program.write_text(changed(mutant.old, mutant.new), encoding="utf-8")
    with opened(recording) as inputs:
        comparison = diff_against_run(str(program), inputs, Options(self_check=False))
    assert sorted(comparison.blamed) == sorted(stages), comparison.lines()
    if len(stages) > 1:
        assert comparison.suspect
        assert comparison.suspect.stage == "checked"


def test_the_run_itself(recording: Path, tmp_path: Path) -> None:
    """The program that ran, replayed, writes what it wrote."""
    program = tmp_path / "flights.py"
    program.write_text(SOURCE, encoding="utf-8")
    with opened(recording) as inputs:
        comparison = diff_against_run(str(program), inputs)
    assert comparison.exit_code == 0, comparison.lines()
    assert comparison.records > 5_000
