"""The flights that left New York in 2013: how late, by which carrier, from where, in what weather.

    airport-weather ─────────┐
    flights ──▶ checked ──┬──┴▶ with_weather ──▶ by kind of weather ──▶ weather_delay
                          ├───▶ by carrier ──▶ carrier_delay ◀── airlines
                          └───▶ by airport and hour ──▶ departures

The data are real: 336,776 flights and 26,115 weather reports, with their mistakes. Invariant: each
flight is counted once or is a dead letter, however often the run is killed. Event time is the hour
in which a flight was to leave, or in which the weather was seen (UTC).
"""

from datetime import datetime

import msgspec

import streamfn as sf
from streamfn.topologies.flights_data import Airline, Flight, Weather, data
from streamfn.topologies.flights_report import show

# The weather file holds one airport after the other, so only within an airport is it in the order
# of time: each gets a partition of its own. 4 is the smallest count that puts EWR, JFK, LGA apart.
PARTITIONS = 4
# Records carry the time of 2013, which a broker would find too old to keep.
KEPT = {"retention.ms": "-1"}
MILES_A_MINUTE_MAX = 10  # over ground; of the flights below it, the fastest made 9.9
EARLY_MINUTES_MAX = 30


class FlightInWeather(msgspec.Struct, frozen=True, gc=False):
    """A flight and the weather it met at its airport."""

    flight: Flight
    weather: Weather | None


class Delay(msgspec.Struct, frozen=True, gc=False):
    """How many flights were planned, how many left, and so many minutes late in all."""

    name: str = ""
    planned: int = 0
    left: int = 0
    minutes: int = 0

    def plus(self, flight: Flight, name: str) -> "Delay":
        """Count one more flight; a cancelled one did not leave, and is late by nothing."""
        late = flight.dep_delay
        left = self.left + (late is not None)
        return Delay(name, self.planned + 1, left, self.minutes + (late or 0))


app = sf.App("flights", on_error="dead_letter")

airlines = app.topic("airlines", key=str, value=Airline, partitions=PARTITIONS, config=KEPT)
# At the same hour the topic goes first whose name does: a flight comes after its hour's report.
weather = app.topic("airport-weather", key=str, value=Weather, partitions=PARTITIONS, config=KEPT)
flights = app.topic("flights", key=str, value=Flight, partitions=PARTITIONS, config=KEPT)
in_weather = app.topic("flights-in-weather", key=str, value=FlightInWeather, config=KEPT)
weather_delays = app.topic("weather-delays", key=str, value=Delay, config=KEPT)
carrier_delays = app.topic("carrier-delays", key=str, value=Delay, config=KEPT)
hourly_departures = app.topic("hourly-departures", key=tuple[str, str], value=int, config=KEPT)

app.feed(weather, data("weather.csv"), key="origin", timestamp="time_hour")
app.feed(flights, data("flights.csv.zip"), key="origin", timestamp="time_hour")
# Names are not of any hour: with time 0 they are there before the first flight.
app.feed(airlines, data("airlines.csv"), key="carrier", timestamp=lambda airline: 0)
names = app.table(airlines)


@app.function(flights)
def checked(flight: Flight) -> Flight:
    """Turns away what cannot have happened; the error is the dead letter's reason."""
    message = ""
    if flight.air_time and flight.distance > MILES_A_MINUTE_MAX * flight.air_time:
        message = f"flew {flight.distance} miles in {flight.air_time} minutes"
    elif flight.dep_delay is not None and flight.dep_delay < -EARLY_MINUTES_MAX:
        message = f"left {-flight.dep_delay} minutes early"
    elif {flight.origin, flight.dest} <= {"EWR", "JFK", "LGA"}:
        message = f"was to fly {flight.distance} miles within New York"
    if message:
        raise ValueError(message)
    return flight


@app.function(app.stream(weather).merge(checked), to=in_weather)
def with_weather(
    seen: Weather | Flight, reports: sf.Map[datetime, Weather]
) -> FlightInWeather | None:
    """Adds to each flight the last report of its airport up to its hour.

    Both inputs are keyed by airport, and a task merges its inputs by time. A table would not do:
    it has one value, the newest, and the file has the flights of February after those of December.
    """
    if isinstance(seen, Weather):
        reports[seen.time_hour] = seen
        return None
    hour = seen.time_hour
    return FlightInWeather(
        seen, reports.get(hour) or next(reports.values(end=hour, reverse=True), None)
    )


def kind_of_weather(met: FlightInWeather) -> str:
    """What delays in weather are added up under."""
    return met.weather.kind if met.weather else "unknown"


@app.function(with_weather.key_by(kind_of_weather, name="by-weather"), to=weather_delays)
def weather_delay(met: FlightInWeather, total: sf.Value[Delay], kind: sf.Context[str]) -> Delay:
    """Adds up the delays in each kind of weather."""
    total.value = total.value.plus(met.flight, kind.key)
    return total.value


@app.function(checked.key_by(lambda flight: flight.carrier, name="by-carrier"), to=carrier_delays)
def carrier_delay(
    flight: Flight, total: sf.Value[Delay], names: sf.Lookup[str, Airline] = names
) -> Delay:
    """Adds up the delays of each carrier, under its full name."""
    airline = names.get(flight.carrier)
    total.value = total.value.plus(flight, airline.name if airline else flight.carrier)
    return total.value


def airport_and_hour(flight: Flight) -> tuple[str, str]:
    """What departures are counted under."""
    return flight.origin, flight.local_hour


left = checked.filter(lambda flight: flight.dep_delay is not None)
by_hour = left.key_by(airport_and_hour, key=tuple[str, str], name="by-hour")


@app.function(by_hour, to=hourly_departures)
def departures(flight: Flight, count: sf.Value[int]) -> int:
    """Counts what leaves an airport in an hour."""
    count.value += 1
    return count.value


@app.report
def report(results: sf.Results) -> None:
    """Prints tables of what was found."""
    show(
        list(results.state(carrier_delay, "total").values()),
        list(results.state(weather_delay, "total").values()),
        results.state(departures, "count"),
        results.dead_letters(),
    )
