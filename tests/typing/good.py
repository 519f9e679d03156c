"""A program that both type checkers must take without a word; every answer of theirs is asserted.

Only read by mypy and pyright, never run.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import assert_type

import msgspec

import streamfn as sf

app = sf.App("flights")


class Flight(msgspec.Struct, gc=False):
    """One departure."""

    carrier: str
    origin: str
    dep_delay: float | None


class CarrierDelay(msgspec.Struct, frozen=True, gc=False):
    """A carrier's total."""

    flights: int = 0
    minutes: float = 0.0


class Weather(msgspec.Struct):
    """The weather at an airport."""

    temp: float


flights = app.topic("flights", key=str, value=Flight, partitions=4)
delays = app.topic("carrier-delays", key=str, value=CarrierDelay)
weather = app.topic("weather", key=str, value=Weather)
counts = app.topic("counts", key=str, value=int)
maybe = app.topic("maybe", key=str, value=int | None)
lists = app.topic("lists", key=str, value=list[int])
pairs = app.topic("pairs", key=tuple[str, str], value=Flight)
texts = app.topic("texts", key=sf.STRING, value=sf.BYTES)
assert_type(flights, sf.Topic[str, Flight])
assert_type(maybe, sf.Topic[str, int | None])
assert_type(lists, sf.Topic[str, list[int]])
assert_type(pairs, sf.Topic[tuple[str, str], Flight])
assert_type(texts, sf.Topic[str, bytes])

departures = app.stream(flights)
weather_table = app.table(weather)
assert_type(departures, sf.Stream[str, Flight])
assert_type(weather_table, sf.Table[str, Weather])


# functions
@app.function(departures.key_by(lambda flight: flight.carrier), to=delays)
def carrier_delay(flight: Flight, total: sf.Value[CarrierDelay]) -> CarrierDelay:
    """Adds one departure to its carrier's total."""
    seen = total.value
    total.value = CarrierDelay(seen.flights + 1, seen.minutes + (flight.dep_delay or 0))
    return total.value


called = carrier_delay(Flight("AA", "JFK", 1.0), total=sf.Value(CarrierDelay()))
assert_type(called, CarrierDelay)
assert_type(carrier_delay.name, str)
assert_type(carrier_delay.filter(lambda total: total.flights > 1), sf.Stream[str, CarrierDelay])


@carrier_delay.every(timedelta(seconds=10), clock="wall")
def forget(context: sf.Context, total: sf.Store[str, CarrierDelay]) -> Iterator[CarrierDelay]:
    """Forgets all carriers."""
    for key, held in list(total.items(reverse=True)):
        assert_type(key, str)
        del total[key]
        yield held


@app.function(carrier_delay, to=counts)
def late(total: CarrierDelay, context: sf.Context[str]) -> int | None:
    """Counts a carrier's flights once it is late."""
    assert_type(context.key, str)
    return total.flights if total.minutes > 100 else None


assert_type(late(CarrierDelay(), sf.Context(key="AA", timestamp_ms=0)), int | None)


@app.function(carrier_delay)
def unsunk(total: CarrierDelay) -> int | None:
    """Answers without a topic."""
    return total.flights or None


assert_type(unsunk.map_values(lambda flights: flights + 1), sf.Stream[str, int])
unsunk.to(maybe)
unsunk.to(counts)


@app.function(carrier_delay)
def several(total: CarrierDelay) -> Iterator[int]:
    """Answers several times."""
    yield total.flights


several.to(counts)
assert_type(several.peek(print), sf.Stream[str, int])

START = sf.Value(20.0)


@app.function(flights, to=counts)
def asking(
    flight: Flight,
    context: sf.Context[str],
    seen: sf.Map[str, int],
    level: sf.Value[float] = START,
    whole: sf.Store[str, Weather] = weather_table,
) -> Iterator[int]:
    """Asks for everything."""
    seen["all"] = seen.get("all", 0) + 1
    level.value += seen.pop(flight.origin, 0) + seen.setdefault("other", 1)
    assert_type(seen.get("all"), int | None)
    assert_type(seen.get("all", "none"), int | str)
    assert_type(list(seen.items(start="a", end="b")), list[tuple[str, int]])
    assert_type(whole["JFK"].temp, float)
    if level.exists:
        level.delete()
    context.emit(delays.record(key=context.key, value=None))
    yield len(seen)


@app.function(flights, to=(delays, counts))
def routed(flight: Flight) -> Iterator[sf.Outgoing[str, CarrierDelay] | sf.Outgoing[str, int]]:
    """Answers with records of two topics."""
    yield delays.record(key=flight.carrier, value=CarrierDelay())
    yield counts.record(key=flight.carrier, value=1, timestamp_ms=5, headers=(("a", b"b"),))


@app.function(flights, to=(delays, counts), on_error="skip", retries=3)
def routed_narrow(flight: Flight) -> sf.Outgoing[str, CarrierDelay] | None:
    """Answers with records of one of its two topics."""
    return delays.record(key=flight.carrier, value=CarrierDelay())


@app.function(flights, to=(delays, counts, maybe, lists))
def routed_widely(flight: Flight) -> Iterator[sf.Outgoing[str, int]]:
    """Answers with records of some of many topics."""
    yield counts.record(key=flight.carrier, value=1)


@app.function(departures.key_by(lambda flight: flight.origin), to=counts, name="temperature")
def with_table(flight: Flight, weather: sf.Lookup[str, Weather] = weather_table) -> int:
    """Looks up in a table."""
    found = weather.get(flight.origin)
    return 0 if found is None else int(found.temp)


assert_type(with_table(Flight("AA", "JFK", None), {"JFK": Weather(3.0)}), int)

# operators
assert_type(departures.filter(lambda flight: flight.origin == "JFK"), sf.Stream[str, Flight])
assert_type(departures.filter_not(lambda key, flight: key == ""), sf.Stream[str, Flight])
assert_type(departures.map_values(lambda flight: flight.origin), sf.Stream[str, str])
assert_type(departures.map_values(lambda key, flight: len(key)), sf.Stream[str, int])
assert_type(departures.map_values(lambda flight: 1, value=int), sf.Stream[str, int])
assert_type(departures.map_values(lambda flight: [1], value=list[int]), sf.Stream[str, list[int]])
assert_type(departures.flat_map_values(lambda flight: [flight.origin]), sf.Stream[str, str])
assert_type(departures.map(lambda key, flight: (1, flight.origin)), sf.Stream[int, str])
assert_type(
    departures.flat_map(lambda key, flight: [(1, "a")], key=int, value=str), sf.Stream[int, str]
)
assert_type(departures.key_by(lambda flight: flight.carrier, name="a"), sf.Stream[str, Flight])
assert_type(
    departures.key_by(lambda flight: (flight.carrier, flight.origin), key=tuple[str, str]),
    sf.Stream[tuple[str, str], Flight],
)
assert_type(
    departures.select_key(lambda flight: len(flight.origin), key=int), sf.Stream[int, Flight]
)
assert_type(
    departures.map_values(lambda flight: flight.dep_delay or 0.0).merge(
        departures.map_values(lambda key, flight: flight.carrier)
    ),
    sf.Stream[str, float | str],
)
early, rest = departures.split(lambda flight: (flight.dep_delay or 0) < 0)
assert_type(early, sf.Stream[str, Flight])
assert_type(rest.repartition(partitions=8, name="spread"), sf.Stream[str, Flight])
rest.to(flights)
rest.to("rest")
rest.to("rest", key=str, value=Flight)
departures.map_values(len_of := lambda flight: len(flight.origin)).to((counts, maybe))

# loading
app.feed(flights, "flights.csv", key="carrier", timestamp=lambda flight: 0)
app.feed(flights, "flights.jsonl", key=lambda flight: flight.carrier, name="again")
