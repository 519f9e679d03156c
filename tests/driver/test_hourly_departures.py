"""The hours of departures: windows in the driver, and every figure against the rows of the file."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import streamfn as sf
from streamfn.config import Config
from streamfn.connectors.partitioner import Partitioner
from streamfn.run import embedded
from streamfn.topologies import hourly_departures as job
from streamfn.topologies.flights_data import Flight
from streamfn.topologies.hourly_departures import Hour, Spell
from tests.flights_folder import run_to_the_end, some_months
from tests.flights_reference import Row, rows_of

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
NOON = datetime(2013, 1, 1, 17, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)
FLIGHT = Flight(
    year=2013, month=1, day=1, hour=12, carrier="UA", flight=1545, origin="EWR", dest="IAH",
    distance=1400, dep_delay=2, air_time=227, time_hour=NOON,
)  # fmt: skip


@pytest.fixture
def driver() -> Iterator[sf.testing.TestDriver]:
    """The topology without its file."""
    with sf.testing.TestDriver(job.app) as driver:
        yield driver


def depart(driver: sf.testing.TestDriver, hours: int, **fields: Any) -> None:
    """Send a flight of so many hours after noon."""
    at = NOON + timedelta(hours=hours)
    flight = replace(FLIGHT, time_hour=at, **fields)
    at_ms = int(at.timestamp() * 1000)
    driver.send(job.flights, flight, key=job.airport_and_season(flight), timestamp_ms=at_ms)


def test_an_hour_is_final_a_day_after_its_end(driver: sf.testing.TestDriver) -> None:
    """Before, it says nothing; a cancelled flight is planned and did not leave."""
    depart(driver, 0)
    depart(driver, 0, dep_delay=None)
    depart(driver, 24, dep_delay=10)
    assert driver.read(job.hours) == []
    depart(driver, 0, dep_delay=30)
    depart(driver, 25)
    (final,) = driver.read(job.hours)
    assert final.key == sf.Windowed("EWR winter", NOON_MS, NOON_MS + HOUR_MS)
    assert final.value == Hour(planned=3, left=2, minutes=32)


def test_a_flight_after_that_is_too_late(driver: sf.testing.TestDriver) -> None:
    """It is in no hour, and on a topic of its own."""
    depart(driver, 0)
    depart(driver, 25)
    depart(driver, 0, flight=7)
    assert [record.value.flight for record in driver.read(job.too_late)] == [7]
    assert [record.value.planned for record in driver.read(job.hours)] == [1]


def test_rushes_overlap(driver: sf.testing.TestDriver) -> None:
    """A flight is in the three hours from its own on, and in those from one and two before."""
    depart(driver, 0)
    depart(driver, 1)
    rushes = {(w.start_ms - NOON_MS) // HOUR_MS: n for w, n in driver.state(job.rush).items()}
    assert rushes == {-2: 1, -1: 2, 0: 2, 1: 1}


def test_spells_of_delay(driver: sf.testing.TestDriver) -> None:
    """A late flight of the hour between makes one spell of two; an hour's pause parts them."""
    for hours, late in ((0, 60), (2, 90), (1, 59), (1, 75), (4, 61), (40, 60)):
        depart(driver, hours, dep_delay=late)
    found = [(record.key, record.value) for record in driver.read(job.spells)]
    first = sf.Windowed("EWR winter", NOON_MS, NOON_MS + 2 * HOUR_MS)
    second = sf.Windowed("EWR winter", NOON_MS + 4 * HOUR_MS, NOON_MS + 4 * HOUR_MS)
    assert found == [(first, Spell(3, 90)), (second, Spell(1, 61))]


def test_seasons_are_in_partitions_apart() -> None:
    """The count of partitions is the smallest at which no time goes back."""
    partition_of = Partitioner().partition_of

    def apart(count: int) -> bool:
        winter, summer = (
            {
                partition_of(f"{airport} {season}".encode(), count)
                for airport in ("EWR", "JFK", "LGA")
            }
            for season in ("winter", "summer")
        )
        return not winter & summer

    assert [count for count in range(1, job.PARTITIONS + 1) if apart(count)] == [job.PARTITIONS]


def hour_of(row: Row) -> int:
    """The hour of the timetable in milliseconds."""
    return int(datetime.fromisoformat(row["time_hour"]).timestamp() * 1000)


def season_of(row: Row) -> str:
    """The key of a row."""
    return f"{row['origin']} {'winter' if row['month'] in ('1', '10', '11', '12') else 'summer'}"


def spells_of(rows: list[Row]) -> dict[tuple[str, int, int], tuple[int, int]]:
    """All spells: hours of each key with a late flight, split where two are more than one apart."""
    late = defaultdict[str, list[tuple[int, int]]](list)
    for row in rows:
        if row["dep_delay"] != "NA" and int(row["dep_delay"]) >= 60:
            late[season_of(row)].append((hour_of(row), int(row["dep_delay"])))
    found: dict[tuple[str, int, int], tuple[int, int]] = {}
    for key, flights in late.items():
        flights.sort()
        spell = [flights[0]]
        for flight in [*flights[1:], (1 << 60, 0)]:
            if flight[0] - spell[-1][0] > HOUR_MS:
                found[key, spell[0][0], spell[-1][0]] = (len(spell), max(m for _, m in spell))
                spell = []
            spell.append(flight)
    return found


def test_all_figures_are_right(tmp_path: Path) -> None:
    """October, then back to February: the windows that closed hold what the file says."""
    package = tmp_path / "packages"
    files = some_months(package, {"10", "2"}, days=8)
    shown = run_to_the_end("hourly_departures", package, tmp_path / "state")
    rows = list(rows_of(files / "flights.csv.zip"))
    # airports of a season share partitions, and with them the time that closes their windows
    time, partition_of = defaultdict[int, int](int), Partitioner().partition_of
    for row in rows:
        partition = partition_of(season_of(row).encode(), job.PARTITIONS)
        time[partition] = max(time[partition], hour_of(row))
    rushes = Counter[tuple[str, int]]()
    totals = defaultdict[tuple[str, int], list[int]](lambda: [0, 0, 0])
    for row in rows:
        key, at_ms, late = season_of(row), hour_of(row), row["dep_delay"]
        figures = totals[key, at_ms]
        figures[0] += 1
        figures[1] += late != "NA"
        figures[2] += 0 if late == "NA" else int(late)
        for before in range(3):
            rushes[key, at_ms - before * HOUR_MS] += 1

    def closed(key: str, end_ms: int) -> bool:
        return time[partition_of(key.encode(), job.PARTITIONS)] >= end_ms + DAY_MS

    expected = {
        at: tuple(figures) for at, figures in totals.items() if closed(at[0], at[1] + HOUR_MS)
    }
    with embedded(job.app.topology(), Config(state_dir=tmp_path / "state")) as opened:
        results = opened.results()
        found = {
            (record.key.key, record.key.start_ms): (
                record.value.planned, record.value.left, record.value.minutes,
            )
            for record in results.read(job.hours)
        }  # fmt: skip
        assert found == expected
        assert len(list(results.read(job.hours))) == len(expected) > 500
        assert list(results.read(job.too_late)) == []
        held = {(key.key, key.start_ms): count for key, count in results.state(job.rush).items()}
        assert held == rushes
        spells = {
            (record.key.key, record.key.start_ms, record.key.end_ms): (
                record.value.flights, record.value.worst,
            )
            for record in results.read(job.spells)
        }  # fmt: skip
    # a spell is closed by a late flight, for only those reach it
    known = spells_of(rows)
    assert spells.items() <= known.items()
    assert len(spells) > 0.6 * len(known)
    assert f"{len(expected):,} hours are final; 0 flights came too late" in shown
