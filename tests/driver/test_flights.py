"""The flights: every figure against plain Python, resumed and restarted; each stage by itself."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

import streamfn as sf
from streamfn.run import Run
from streamfn.topologies import flights as job
from streamfn.topologies.flights import Delay
from streamfn.topologies.flights_data import Airline, Flight, Weather
from tests.flights_reference import data, figures
from tests.flights_support import CSVS, check_everything, load_app, make_package, places, run

NOON = datetime(2013, 1, 1, 17, tzinfo=UTC)
HOUR = timedelta(hours=1)
FLIGHT = Flight(
    year=2013, month=1, day=1, hour=12, carrier="UA", flight=1545, origin="EWR", dest="IAH",
    distance=1400, dep_delay=2, air_time=227, time_hour=NOON,
)  # fmt: skip
FAIR = Weather(time_hour=NOON, visib=10, precip=0, wind_speed=5)


@pytest.fixture
def driver() -> Iterator[sf.testing.TestDriver]:
    """The topology without its files."""
    with sf.testing.TestDriver(job.app) as driver:
        yield driver


def depart(driver: sf.testing.TestDriver, **fields: Any) -> None:
    """Send a flight as the file does: by its airport, at its hour."""
    flight = replace(FLIGHT, **fields)
    at_ms = int(flight.time_hour.timestamp() * 1000)
    driver.send(job.flights, flight, key=flight.origin, timestamp_ms=at_ms)


def report(driver: sf.testing.TestDriver, after: timedelta, visib: float, key: str = "EWR") -> None:
    """Send a weather report."""
    at = NOON + after
    seen = Weather(time_hour=at, visib=visib, precip=0, wind_speed=None)
    driver.send(job.weather, seen, key=key, timestamp_ms=int(at.timestamp() * 1000))


def seen_by(driver: sf.testing.TestDriver) -> list[float | None]:
    """Tell reports by how far one could see."""
    found = [record.value.weather for record in driver.read(job.in_weather)]
    return [weather.visib if weather else None for weather in found]


@pytest.mark.parametrize(
    ("weather", "kind"),
    [
        (FAIR, "fair"),
        (Weather(NOON, 10, 0, None), "fair"),
        (Weather(NOON, 2.5, 0.1, 30), "low visibility"),
        (Weather(NOON, 10, 0.01, 30), "rain or snow"),
        (Weather(NOON, 10, 0, 20), "strong wind"),
    ],
)
def test_kind_of_weather(weather: Weather, kind: str) -> None:
    """The worst counts."""
    assert weather.kind == kind


def test_checked_is_a_plain_function() -> None:
    """What makes sense is handed on as it is, also a cancelled flight."""
    cancelled = replace(FLIGHT, dep_delay=None, air_time=None)
    assert job.checked(FLIGHT) is FLIGHT
    assert job.checked(cancelled) is cancelled


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"air_time": 100}, "flew 1400 miles in 100 minutes"),
        ({"dep_delay": -31}, "left 31 minutes early"),
        ({"dest": "LGA", "distance": 17}, "was to fly 17 miles within New York"),
    ],
)
def test_nonsense_becomes_a_dead_letter(
    driver: sf.testing.TestDriver, fields: dict[str, Any], reason: str
) -> None:
    """It is counted nowhere, and the letter says why."""
    depart(driver, **fields)
    depart(driver)
    (letter,) = driver.dead_letters()
    headers = dict(letter.headers)
    assert headers["streamfn.message"].decode() == reason
    assert headers["streamfn.stage"] == b"checked"
    assert driver.state(job.carrier_delay, "total")["UA"].planned == 1


def test_report_of_the_same_hour_is_seen(driver: sf.testing.TestDriver) -> None:
    """Of reports before, at and after a flight's hour, it gets the one of its hour."""
    for hours in (-1, 0, 1):
        report(driver, hours * HOUR, visib=hours + 5)
    depart(driver)
    assert seen_by(driver) == [5]


def test_last_report_before_is_seen(driver: sf.testing.TestDriver) -> None:
    """Without one of its hour, the last one of the same airport counts; a later one never."""
    depart(driver)
    report(driver, -3 * HOUR, visib=1)
    report(driver, -2 * HOUR, visib=2)
    report(driver, timedelta(0), visib=3, key="JFK")
    report(driver, HOUR, visib=4)
    depart(driver)
    assert seen_by(driver) == [None, 2]


def test_carrier_delay_adds_up_under_the_full_name(driver: sf.testing.TestDriver) -> None:
    """Cancelled flights are planned and did not leave; an unknown carrier keeps its letters."""
    driver.send(job.airlines, Airline("United"), key="UA", timestamp_ms=0)
    for delay in (10, None, -4):
        depart(driver, dep_delay=delay)
    depart(driver, carrier="XX")
    assert driver.state(job.carrier_delay, "total") == {
        "UA": Delay("United", 3, 2, 6),
        "XX": Delay("XX", 1, 1, 2),
    }
    assert [record.value.planned for record in driver.read(job.carrier_delays)] == [1, 2, 3, 1]


def test_weather_delay_adds_up_by_kind(driver: sf.testing.TestDriver) -> None:
    """A flight without any report counts as unknown."""
    depart(driver)
    report(driver, timedelta(0), visib=1)
    depart(driver, dep_delay=60)
    assert driver.state(job.weather_delay, "total") == {
        "low visibility": Delay("low visibility", 1, 1, 60),
        "unknown": Delay("unknown", 1, 1, 2),
    }


def test_departures_by_airport_and_hour(driver: sf.testing.TestDriver) -> None:
    """Only what left is counted, by the local hour."""
    sent: list[dict[str, Any]] = [{}, {}, {"dep_delay": None}, {"hour": 5}, {"origin": "JFK"}]
    for fields in sent:
        depart(driver, **fields)
    assert driver.state(job.departures, "count") == {
        ("EWR", "2013-01-01T05"): 1,
        ("EWR", "2013-01-01T12"): 2,
        ("JFK", "2013-01-01T12"): 1,
    }


def test_airports_have_partitions_of_their_own() -> None:
    """The number of partitions is the smallest that keeps the airports apart."""
    from streamfn.connectors.partitioner import Partitioner

    partition_of = Partitioner().partition_of
    apart = [
        count
        for count in range(1, job.PARTITIONS + 1)
        if len({partition_of(airport, count) for airport in (b"EWR", b"JFK", b"LGA")}) == 3
    ]
    assert apart == [job.PARTITIONS]


@pytest.mark.slow
def test_all_figures_are_right(tmp_path: Path) -> None:
    """A run over the whole year finds what plain Python finds, and a second one adds nothing."""
    app = load_app()
    run(app, tmp_path)
    flights, weather, airlines = (data(name) for name in CSVS)
    check_everything(app, tmp_path, figures(flights, weather, airlines))


def test_stops_on_the_way_change_nothing(tmp_path: Path) -> None:
    """Closed every few rounds and started again, it ends with the same figures."""
    package = make_package(tmp_path / "packages", {"2", "10"})
    app, random, starts = load_app(package), Random(3), 0
    done = False
    while not done:
        done, starts = run_some_rounds(app, tmp_path / "state", random.randrange(1, 12)), starts + 1
    assert starts > 5
    check_everything(app, tmp_path / "state", figures(*places(package)))


def run_some_rounds(app: sf.App, state_dir: Path, rounds: int) -> bool:
    """Run until the end (then True) or for so many rounds."""
    left = rounds

    def count(opened: Run) -> None:
        nonlocal left
        left -= 1
        if not left:
            opened.worker.stop()

    run(app, state_dir, count, process_slice_ms=50)
    return left > 0
