"""The joined flights: each join in the driver, and every figure against the rows of the files."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import streamfn as sf
from streamfn.config import Config
from streamfn.run import embedded
from streamfn.topologies import flights_joined as job
from streamfn.topologies.flights_data import Airline, Airport, Flight, Plane, Weather
from streamfn.topologies.flights_joined import Figures, NamedFigures
from tests.flights_folder import run_to_the_end, some_months
from tests.flights_reference import NEW_YORK, Row, kind_of, rows_of

NOON = datetime(2013, 1, 1, 17, tzinfo=UTC)
FLIGHT = Flight(
    year=2013, month=1, day=1, hour=12, carrier="UA", flight=1545, origin="EWR", dest="SFO",
    distance=2565, dep_delay=2, air_time=345, time_hour=NOON, tailnum="N1",
)  # fmt: skip


@pytest.fixture
def driver() -> Iterator[sf.testing.TestDriver]:
    """The topology without its files."""
    with sf.testing.TestDriver(job.app) as driver:
        yield driver


def depart(driver: sf.testing.TestDriver, hours: int = 0, **fields: Any) -> None:
    """Send a flight of so many hours after noon."""
    at = NOON + timedelta(hours=hours)
    flight = replace(FLIGHT, time_hour=at, **fields)
    driver.send(job.flights, flight, key=flight.origin, timestamp_ms=int(at.timestamp() * 1000))


def report(driver: sf.testing.TestDriver, hours: int, visib: float, precip: float = 0) -> None:
    """Send a weather report of Newark."""
    at = NOON + timedelta(hours=hours)
    seen = Weather(time_hour=at, visib=visib, precip=precip, wind_speed=None)
    driver.send(job.weather, seen, key="EWR", timestamp_ms=int(at.timestamp() * 1000))


def test_weather_is_that_of_the_hour(driver: sf.testing.TestDriver) -> None:
    """Also of an hour long ago; before the first report it is unknown."""
    report(driver, 0, visib=1)
    report(driver, 1, visib=10)
    report(driver, 2, visib=10, precip=0.1)
    for hours in (2, 1, 0, -1):
        depart(driver, hours)
    kinds = [record.key for record in driver.read(job.weather_figures)]
    assert sorted(kinds) == ["fair", "low visibility", "rain or snow", "unknown"]


def test_figures_go_under_the_name_of_the_airline(driver: sf.testing.TestDriver) -> None:
    """A carrier without a name has none; when it gets another one, its figures go there."""
    depart(driver, dep_delay=None)
    assert driver.read(job.carrier_figures) == []
    for name in ("United", "United Air Lines"):
        driver.send(job.airlines, Airline(name), key="UA", timestamp_ms=0)
    depart(driver)
    assert [record.value for record in driver.read(job.carrier_figures)] == [
        NamedFigures("United", Figures(1, 0, 0)),
        NamedFigures("United Air Lines", Figures(1, 0, 0)),
        NamedFigures("United Air Lines", Figures(2, 1, 2)),
    ]


def test_planes_move(driver: sf.testing.TestDriver) -> None:
    """A plane is where it was last bound for, by time; only far flights that left count."""
    driver.send(job.airports, Airport("San Francisco"), key="SFO", timestamp_ms=0)
    driver.send(job.planes, Plane("BOEING", "737", 149), key="N1", timestamp_ms=0)
    depart(driver, tailnum="N1")
    depart(driver, tailnum="N2")
    depart(driver, 5, tailnum="N1", dest="HNL")
    depart(driver, 2, tailnum="N1", dest="LAX")
    depart(driver, 9, tailnum="N1", dest="BOS", distance=200)
    depart(driver, 9, tailnum="N1", dest="LAX", dep_delay=None)
    at = {airport: count for airport, count in driver.state(job.planes_at).items() if count}
    assert at == {"HNL": 1, "San Francisco": 1}
    driver.send(job.airports, Airport("Honolulu"), key="HNL", timestamp_ms=0)
    at = {airport: count for airport, count in driver.state(job.planes_at).items() if count}
    assert at == {"Honolulu": 1, "San Francisco": 1}
    assert driver.state(job.planes_of) == {"BOEING": 1, "unknown": 1}


def place_of(row: Row) -> tuple[str, str, int]:
    """What flights of a plane are ordered by."""
    return row["time_hour"], row["carrier"], int(row["flight"])


def reports_of(path: Path) -> dict[str, tuple[list[str], list[Row]]]:
    """Weather by airport, in the order of time; without the wind that cannot be."""
    reports: dict[str, tuple[list[str], list[Row]]] = {each: ([], []) for each in NEW_YORK}
    rows = sorted(rows_of(path), key=lambda row: row["time_hour"])
    for row in rows:
        if row["wind_speed"] == "NA" or float(row["wind_speed"]) <= 253:
            hours, known = reports[row["origin"]]
            hours.append(row["time_hour"])
            known.append(row)
    return reports


def test_all_figures_are_right(tmp_path: Path) -> None:
    """October, then back to February: weather as of each hour, names, planes."""
    package = tmp_path / "packages"
    files = some_months(package, {"10", "2"}, days=4)
    shown = run_to_the_end("flights_joined", package, tmp_path / "state")
    reports = reports_of(files / "weather.csv")
    weathers, carriers = (defaultdict[str, list[int]](lambda: [0, 0, 0]) for _ in range(2))
    last: dict[str, Row] = {}
    for row in rows_of(files / "flights.csv.zip"):
        hours, known = reports[row["origin"]]
        at, late = bisect_right(hours, row["time_hour"]), row["dep_delay"]
        for figures in (
            weathers[kind_of(known[at - 1]) if at else "unknown"],
            carriers[row["carrier"]],
        ):
            figures[0] += 1
            figures[1] += late != "NA"
            figures[2] += 0 if late == "NA" else int(late)
        plane = row["tailnum"]
        far = int(row["distance"]) >= 2000 and "NA" not in (late, plane)
        if far and (plane not in last or place_of(row) > place_of(last[plane])):
            last[plane] = row
    names, airports, makers = (
        {row[key]: row[name] for row in rows_of(files / file)}
        for file, key, name in (
            ("airlines.csv", "carrier", "name"),
            ("airports.csv", "faa", "name"),
            ("planes.csv", "tailnum", "manufacturer"),
        )
    )
    with embedded(job.app.topology(), Config(state_dir=tmp_path / "state")) as opened:
        results = opened.results()
        of_weather = results.state("of-weather")
        assert {kind: [f.planned, f.left, f.minutes] for kind, f in of_weather.items()} == weathers
        found = {record.key: record.value for record in results.read(job.carrier_figures)}
        assert {
            (key, each.name): [each.figures.planned, each.figures.left, each.figures.minutes]
            for key, each in found.items()
        } == {(key, names[key]): figures for key, figures in carriers.items()}
        planes_at = Counter(results.state(job.planes_at))
        assert +planes_at == Counter(airports.get(r["dest"], r["dest"]) for r in last.values())
        planes_of = Counter(results.state(job.planes_of))
        assert +planes_of == Counter(makers.get(plane, "unknown") for plane in last)
    assert f"{len(last):,} planes have flown" in shown
    assert len(last) > 100
