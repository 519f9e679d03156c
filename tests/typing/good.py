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

# groups and aggregates
by_origin = departures.group_by(lambda flight: flight.origin, name="grouped")
assert_type(by_origin, sf.Grouped[str, Flight])
assert_type(
    departures.group_by(lambda key, flight: len(key), key=int, name="by-length"),
    sf.Grouped[int, Flight],
)
assert_type(departures.group_by_key(), sf.Grouped[str, Flight])
per_origin = by_origin.count()
assert_type(per_origin, sf.Table[str, int])
assert_type(by_origin.reduce(lambda one, other: other), sf.Table[str, Flight])
minutes = by_origin.aggregate(0.0, lambda total, flight: total + (flight.dep_delay or 0))
assert_type(minutes, sf.Table[str, float])


def added(total: CarrierDelay, flight: Flight) -> CarrierDelay:
    """Adds a departure to a total."""
    return CarrierDelay(total.flights + 1, total.minutes + (flight.dep_delay or 0))


assert_type(by_origin.aggregate(CarrierDelay, added, name="totals"), sf.Table[str, CarrierDelay])
assert_type(
    by_origin.aggregate(CarrierDelay(), added, name="totals-again"), sf.Table[str, CarrierDelay]
)
seen_carriers = by_origin.aggregate(
    lambda: [""], lambda seen, flight: [*seen, flight.carrier], value=list[str], name="carriers"
)
assert_type(seen_carriers, sf.Table[str, list[str]])

# windows
hour, minute = timedelta(hours=1), timedelta(minutes=1)
in_hours = by_origin.window(sf.Tumbling(hour, grace=minute, retention=timedelta(days=1)))
assert_type(in_hours, sf.WindowedStream[str, Flight])
hourly = in_hours.count()
assert_type(hourly, sf.Table[sf.Windowed[str], int])
assert_type(in_hours.late(), sf.Stream[str, Flight])
assert_type(
    by_origin.window(sf.Hopping(hour, minute), emit="close").aggregate(
        0.0, lambda most, flight: max(most, flight.dep_delay or 0)
    ),
    sf.Table[sf.Windowed[str], float],
)
assert_type(
    by_origin.window(sf.Sliding(minute)).reduce(lambda one, other: one),
    sf.Table[sf.Windowed[str], Flight],
)
assert_type(by_origin.window(sf.Unlimited()).count(), sf.Table[sf.Windowed[str], int])
sessions = by_origin.window(sf.Session(minute, idle_close=hour))
assert_type(sessions, sf.SessionStream[str, Flight])
assert_type(sessions.count(), sf.Table[sf.Windowed[str], int])
assert_type(
    sessions.aggregate(0, lambda total, flight: total + 1, lambda one, other: one + other),
    sf.Table[sf.Windowed[str], int],
)
finals = hourly.suppress("close")
assert_type(finals, sf.Table[sf.Windowed[str], int])
assert_type(finals.to_stream(), sf.Stream[sf.Windowed[str], int])
windows = app.topic("windows", key=sf.Windowed[str], value=int)
finals.to_stream().to(windows)
assert_type(
    finals.to_stream(name="finals").map(lambda at, flights: (at.key, at.start.isoformat())),
    sf.Stream[str, str],
)

# cogroups
counted = app.stream(counts).group_by_key()
together = by_origin.cogroup(added).cogroup(counted, lambda total, number: total)
assert_type(together, sf.Cogrouped[str, CarrierDelay])
assert_type(together.aggregate(CarrierDelay()), sf.Table[str, CarrierDelay])
assert_type(
    by_origin.cogroup(lambda total, flight: total + 1, value=int)
    .cogroup(counted, lambda total, number: total + number)
    .window(sf.Tumbling(hour))
    .aggregate(lambda: 0),
    sf.Table[sf.Windowed[str], int],
)
assert_type(
    together.window(sf.Session(minute)).aggregate(CarrierDelay, lambda one, other: one),
    sf.Table[sf.Windowed[str], CarrierDelay],
)

# tables
assert_type(departures.to_table(name="last"), sf.Table[str, Flight])
assert_type(per_origin.filter(lambda flights: flights > 1, store="busy"), sf.Table[str, int])
assert_type(per_origin.filter_not(lambda key, flights: key == ""), sf.Table[str, int])
words = per_origin.map_values(lambda flights: str(flights), value=str, store="words")
assert_type(words, sf.Table[str, str])
assert_type(per_origin.map_values(lambda key, flights: f"{key}{flights}"), sf.Table[str, str])
assert_type(
    per_origin.transform_values(lambda flights: 0 if flights is None else flights),
    sf.Table[str, int],
)
by_word = per_origin.group_by(lambda flights: str(flights))
assert_type(by_word, sf.GroupedTable[str, int])
assert_type(
    per_origin.group_by(lambda key, flights: flights, key=int, name="by-number"),
    sf.GroupedTable[int, int],
)
assert_type(by_word.count(), sf.Table[str, int])
assert_type(by_word.reduce(lambda a, b: a + b, lambda a, b: a - b), sf.Table[str, int])
assert_type(
    by_word.aggregate(0.0, lambda total, n: total + n, lambda total, n: total - n),
    sf.Table[str, float],
)
assert_type(per_origin.suppress(minute, max_records=9, when_full="fail"), sf.Table[str, int])
assert_type(per_origin.suppress(minute, name="slow").to_stream(), sf.Stream[str, int])

# joins
assert_type(departures.join(weather_table, lambda flight, air: air.temp), sf.Stream[str, float])
assert_type(
    departures.left_join(weather_table, lambda key, flight, air: air.temp if air else 0.0),
    sf.Stream[str, float],
)
old_weather = app.table(weather, versioned=hour, name="old-weather")
assert_type(
    departures.join(old_weather, lambda flight, air: air.temp, grace=minute, value=float),
    sf.Stream[str, float],
)
everywhere = app.global_table(weather)
assert_type(everywhere, sf.GlobalTable[str, Weather])
assert_type(
    departures.join(everywhere, lambda flight, air: air.temp, on=lambda flight: flight.origin),
    sf.Stream[str, float],
)
assert_type(
    departures.left_join(
        everywhere,
        lambda key, flight, air: air is None,
        on=lambda key, flight: key,
        name="anywhere",
    ),
    sf.Stream[str, bool],
)
numbers = app.stream(counts)
assert_type(
    departures.join(numbers, lambda flight, number: (flight, number), sf.JoinWindow(minute)),
    sf.Stream[str, tuple[Flight, int]],
)
assert_type(
    departures.left_join(numbers, lambda flight, number: (number or 0) + 1, minute),
    sf.Stream[str, int],
)
assert_type(
    departures.outer_join(
        numbers,
        lambda key, flight, number: (flight is None, number is None),
        sf.JoinWindow(minute, hour, grace=minute),
    ),
    sf.Stream[str, tuple[bool, bool]],
)
assert_type(per_origin.join(minutes, lambda n, total: total / n), sf.Table[str, float])
assert_type(
    per_origin.left_join(minutes, lambda n, total: total or n, store="either", value=float),
    sf.Table[str, float],
)
assert_type(
    per_origin.outer_join(minutes, lambda key, n, total: f"{n} {total}"), sf.Table[str, str]
)
assert_type(
    words.join(weather_table, lambda word, air: air.temp, on=lambda word: word, value=float),
    sf.Table[str, float],
)
assert_type(
    words.left_join(
        weather_table,
        lambda word, air: None if air is None else air.temp,
        on=lambda key, word: key,
        value=float,
        name="word-weather",
    ),
    sf.Table[str, float],
)

# topics chosen per record, and tables looked up in
app.stream(counts).to(lambda number: counts if number > 0 else maybe)
app.stream(counts).to(lambda key, number: f"counts-{key}", topics=("counts-a", "counts-b"))


@app.function(departures.key_by(lambda flight: flight.origin, name="to-origin"))
def looking(
    flight: Flight,
    hourly: sf.Lookup[sf.Windowed[str], int] = hourly,
    everywhere: sf.Lookup[str, Weather] = everywhere,
) -> int:
    """Looks up in windows, and in a table of all airports."""
    return hourly.get(sf.Windowed(flight.origin, 0, 3_600_000)) or 0


# loading
app.feed(flights, "flights.csv", key="carrier", timestamp=lambda flight: 0)
app.feed(flights, "flights.jsonl", key=lambda flight: flight.carrier, name="again")
