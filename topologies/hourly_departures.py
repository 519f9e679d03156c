"""What left New York in each hour of 2013: final figures an hour, rushes, and spells of delay.

    flights ──▶ by airport ─┬─ each hour ──(closed)──▶ hourly-departures
                            ├─ three hours in a row ──▶ rush
                            └─ late ones, without an hour's pause ──(closed)──▶ delay-spells

The flights come in the order in which they left, or, cancelled, at the end of their day, while time
is the hour of the timetable: one that left after midnight stands at the head of its day. So windows
wait a day for them (``grace``), and then their figures are final; those of a season's last day stay
open, as nothing comes that would close them. Invariant: each flight is in one hour, and in three
rushes; none comes too late, which ``too-late`` would show.
"""

from datetime import timedelta

import msgspec

import streamfn as sf
from streamfn.topologies.flights_data import Flight, data
from streamfn.topologies.hourly_report import show

HOUR = timedelta(hours=1)
GRACE = timedelta(days=1)
LATE_MINUTES = 60
# The file has January and October to December first, and then goes back to February. Time only goes
# forward in a task, so the seasons of the airports need partitions apart: 10 is the smallest count.
PARTITIONS = 10
# Records carry the time of 2013, which a broker would find too old to keep.
KEPT = {"retention.ms": "-1"}


class Hour(msgspec.Struct, frozen=True, gc=False):
    """Flights of an hour's timetable: how many, how many left, and their minutes of delay."""

    planned: int = 0
    left: int = 0
    minutes: int = 0


class Spell(msgspec.Struct, frozen=True, gc=False):
    """Flights that were late one after the other: how many, and how late the worst one was."""

    flights: int = 0
    worst: int = 0


app = sf.App("hourly-departures", on_error="dead_letter")

flights = app.topic("planned-flights", key=str, value=Flight, partitions=PARTITIONS, config=KEPT)
hours = app.topic("hourly-figures", key=sf.Windowed[str], value=Hour, config=KEPT)
spells = app.topic("delay-spells", key=sf.Windowed[str], value=Spell, config=KEPT)
too_late = app.topic("too-late", key=str, value=Flight, config=KEPT)


def airport_and_season(flight: Flight) -> str:
    """What flights are counted under: ``JFK winter``."""
    return f"{flight.origin} {flight.season}"


app.feed(flights, data("flights.csv.zip"), key=airport_and_season, timestamp="time_hour")
by_airport = app.stream(flights).group_by_key()


def one_more(hour: Hour, flight: Flight) -> Hour:
    """Count a flight; a cancelled one did not leave, and is late by nothing."""
    late = flight.dep_delay
    return Hour(hour.planned + 1, hour.left + (late is not None), hour.minutes + (late or 0))


each_hour = by_airport.window(sf.Tumbling(HOUR, grace=GRACE), emit="close")
each_hour.aggregate(Hour(), one_more, name="hour").to_stream().to(hours)
each_hour.late(name="late-flights").to(too_late)

# The figure of a rush changes with each flight; its table is read at the end, so it keeps the year.
three_hours = sf.Hopping(3 * HOUR, HOUR, grace=GRACE, retention=timedelta(days=400))
rush = by_airport.window(three_hours).count(name="rush")


def grows(spell: Spell, flight: Flight) -> Spell:
    """Add a flight to a spell."""
    return Spell(spell.flights + 1, max(spell.worst, flight.dep_delay or 0))


def together(one: Spell, other: Spell) -> Spell:
    """Two spells that a flight between them makes one."""
    return Spell(one.flights + other.flights, max(one.worst, other.worst))


was_late = app.stream(flights).filter(lambda flight: (flight.dep_delay or 0) >= LATE_MINUTES)
in_spells = was_late.group_by_key().window(sf.Session(HOUR, grace=GRACE), emit="close")
in_spells.aggregate(Spell(), grows, together, name="spell").to_stream().to(spells)


@app.report
def report(results: sf.Results) -> None:
    """Prints the day of each airport, its busiest hours and its longest spells of delay."""
    show(
        [(record.key, record.value) for record in results.read(hours)],
        results.state(rush),
        [(record.key, record.value) for record in results.read(spells)],
        sum(1 for _ in results.read(too_late)),
    )
