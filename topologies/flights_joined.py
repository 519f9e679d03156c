"""The flights of 2013 joined with all that is known of them: weather, airlines, planes, airports.

    airport-weather ──▶ (as of the hour) ─┐
    flights ──┬───────────────────────────┴▶ in_weather ─┬▶ by kind of weather ──▶ weather-figures
              │                                          └▶ by carrier ──┬▶ carrier-figures
              │                             airlines ────────────────────┘
              └▶ by plane ──▶ whereabouts ─┬▶ seen ──▶ planes by airport
                              airports ────┤
                              planes ──────┴▶ flown ──▶ planes by maker

Two kinds of question are asked. A flight asks what was, when it was to leave: the table of the
weather is versioned, as the file of flights has February after December. And a table asks what is:
when a plane flies on, it is taken from where it was and added where it is. Invariant: the planes at
all airports are as many as have flown, and as many as have a maker.
"""

from datetime import timedelta

import msgspec

import streamfn as sf
from streamfn.topologies.flights_data import Airline, Airport, Flight, Plane, Weather, data
from streamfn.topologies.joined_report import show

# Within an airport the weather is in the order of time: 4 is the smallest count of partitions that
# puts EWR, JFK and LGA apart. Flights have as many, so that they meet the weather of their airport.
PARTITIONS = 4
KEPT = {"retention.ms": "-1"}  # a broker would find records of 2013 too old
YEAR = timedelta(days=366)
FAR_MILES = 2000


class FlightInWeather(msgspec.Struct, frozen=True, gc=False):
    """A flight and the kind of weather in which it was to leave."""

    carrier: str
    dep_delay: int | None
    weather: str


class Figures(msgspec.Struct, frozen=True, gc=False):
    """How many flights were planned, how many left, and so many minutes late in all."""

    planned: int = 0
    left: int = 0
    minutes: int = 0


class NamedFigures(msgspec.Struct, frozen=True, gc=False):
    """The figures of an airline, under its full name."""

    name: str
    figures: Figures


class Seen(msgspec.Struct, frozen=True, gc=False):
    """A plane where it was last bound for: the airport's name, or its letters."""

    flight: int
    airport: str


app = sf.App("flights-joined", on_error="dead_letter")

# Of records of the same time the topic goes first whose name does: a flight comes after its
# hour's report.
weather = app.topic("airport-weather", key=str, value=Weather, partitions=PARTITIONS, config=KEPT)
flights = app.topic("flights", key=str, value=Flight, partitions=PARTITIONS, config=KEPT)
airlines = app.topic("airlines", key=str, value=Airline, partitions=PARTITIONS, config=KEPT)
planes = app.topic("planes", key=str, value=Plane, partitions=PARTITIONS, config=KEPT)
airports = app.topic("airports", key=str, value=Airport, partitions=PARTITIONS, config=KEPT)
weather_figures = app.topic("weather-figures", key=str, value=Figures, config=KEPT)
carrier_figures = app.topic("carrier-figures", key=str, value=NamedFigures, config=KEPT)

app.feed(weather, data("weather.csv"), key="origin", timestamp="time_hour")
app.feed(flights, data("flights.csv.zip"), key="origin", timestamp="time_hour")
# What has no hour has time 0, and so is there before the first flight.
app.feed(airlines, data("airlines.csv"), key="carrier", timestamp=lambda airline: 0)
app.feed(planes, data("planes.csv"), key="tailnum", timestamp=lambda plane: 0)
app.feed(airports, data("airports.csv"), key="faa", timestamp=lambda airport: 0)


def meets(flight: Flight, seen: Weather | None) -> FlightInWeather:
    """What of a flight is counted."""
    kind = seen.kind if seen else "unknown"
    return FlightInWeather(flight.carrier, flight.dep_delay, kind)


def plus(figures: Figures, met: FlightInWeather) -> Figures:
    """Count a flight; a cancelled one did not leave, and is late by nothing."""
    late = met.dep_delay
    left = figures.left + (late is not None)
    return Figures(figures.planned + 1, left, figures.minutes + (late or 0))


# Stream and table: the last report of the airport, as of the flight's hour.
reports = app.table(weather, versioned=YEAR, name="reports")
in_weather = app.stream(flights).left_join(reports, meets, name="in-weather")

by_weather = in_weather.group_by(lambda met: met.weather, name="by-weather")
by_weather.aggregate(Figures(), plus, name="of-weather").to_stream().to(weather_figures)

# Table and table: the figures of a carrier under its name; either side may change.
of_carrier = in_weather.group_by(lambda met: met.carrier, name="by-carrier").aggregate(
    Figures(), plus, name="of-carrier"
)


def named(figures: Figures, airline: Airline) -> NamedFigures:
    """The figures of an airline."""
    return NamedFigures(airline.name, figures)


of_carrier.join(app.table(airlines), named, name="of-airline").to_stream().to(carrier_figures)

# Foreign key: where each plane that crosses the continent was last bound for, and what that
# airport is called.


def crosses_the_continent(flight: Flight) -> bool:
    """Choose flights over the width of the country that left."""
    return flight.distance >= FAR_MILES and None not in (flight.dep_delay, flight.tailnum)


def later(one: Flight, other: Flight) -> Flight:
    """The later one of two flights of a plane; they come in no order behind the repartition."""
    return max(one, other, key=when)


def when(flight: Flight) -> tuple[float, str, int]:
    """What flights of a plane are ordered by, without ties."""
    return flight.time_hour.timestamp(), flight.carrier, flight.flight


def bound_for(flight: Flight, airport: Airport | None) -> Seen:
    """Name the airport; a few abroad, or in the Caribbean, are not in the list."""
    return Seen(flight.flight, airport.name if airport else flight.dest)


far = app.stream(flights).filter(crosses_the_continent, name="far")
by_plane = far.group_by(lambda flight: flight.tailnum or "", name="by-plane")
whereabouts = by_plane.reduce(later, name="whereabouts")
seen = whereabouts.left_join(
    app.table(airports), bound_for, on=lambda flight: flight.dest, name="seen"
)
planes_at = seen.group_by(lambda seen: seen.airport, name="by-airport").count(name="planes-at")


def maker(flight: Flight, plane: Plane | None) -> str:
    """Who made the plane that flew; the register does not know all of them."""
    return plane.manufacturer if plane else "unknown"


flown = whereabouts.left_join(app.table(planes), maker, name="flown")
planes_of = flown.group_by(lambda maker: maker, name="by-maker").count(name="planes-of")


@app.report
def report(results: sf.Results) -> None:
    """Prints delays by weather and airline, and where the planes are and who made them."""
    show(
        results.state("of-weather"),
        {record.value.name: record.value.figures for record in results.read(carrier_figures)},
        results.state(planes_at),
        results.state(planes_of),
    )
