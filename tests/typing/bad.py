"""What both type checkers must refuse, at the line where the mistake stands.

Each bad line ends with the error that mypy gives there and the one that pyright gives; "-" where
one of them sees nothing (pyright widens a type that ``key=`` or ``value=`` and a lambda disagree
on; the first record shows it). Only read by the checkers, never run.
"""

from collections.abc import Iterator
from datetime import timedelta

import msgspec

import streamfn as sf

app = sf.App("flights")


class Flight(msgspec.Struct):
    """One departure."""

    carrier: str
    dep_delay: float | None


flights = app.topic("flights", key=str, value=Flight)
counts = app.topic("counts", key=str, value=int)
names = app.topic("names", key=str, value=str)
pairs = app.topic("pairs", key=tuple[str, str], value=Flight)
departures = app.stream(flights)
table = app.table(counts)

# operators
departures.key_by(lambda flight: flight.dep_delay)  # arg-type reportArgumentType
departures.key_by(lambda flight: flight.carrier, key=int)  # arg-type -
departures.key_by(lambda flight: flight.carier)  # attr-defined reportAttributeAccessIssue
departures.filter(lambda flight: flight.carier == "AA")  # attr-defined reportAttributeAccessIssue
departures.filter(lambda key, flight, more: True)  # misc reportArgumentType
departures.map_values(lambda flight: flight.carier)  # attr-defined reportAttributeAccessIssue
departures.map(lambda key, flight: flight)  # arg-type reportArgumentType
departures.to(counts)  # arg-type reportArgumentType
departures.to(pairs)  # arg-type reportArgumentType
departures.map_values(lambda flight: flight.carrier).to(counts)  # arg-type reportArgumentType
departures.split(lambda flight: flight.carier == "AA")  # attr-defined reportAttributeAccessIssue
departures.merge(app.stream(pairs))  # arg-type reportArgumentType
departures.repartition(partitions="8")  # arg-type reportArgumentType
departures.group(lambda flight: flight.carrier)  # attr-defined reportAttributeAccessIssue

# topics
app.topic("flights", key=str, value=[Flight])  # call-overload reportArgumentType
app.topic("flights", key=str)  # call-overload reportCallIssue
app.topic("f", key=str, value=Flight, timestamp=lambda f: f.carrier)  # arg-type reportArgumentType
counts.record(key="AA", value="many")  # arg-type reportArgumentType
counts.record(key=1, value=1)  # arg-type reportArgumentType
app.stream("flights")  # arg-type reportArgumentType
app.table(departures)  # arg-type reportArgumentType
app.feed(flights, "flights.csv", format="parquet")  # arg-type reportArgumentType


# groups, windows, tables and joins
minute = timedelta(minutes=1)
grouped = departures.group_by_key()
hourly = grouped.window(sf.Tumbling(minute)).count()
totals = grouped.count()
weather = app.table(names)
everywhere = app.global_table(names)
numbers = app.stream(counts)
in_sessions = grouped.window(sf.Session(minute))
by_text = totals.group_by(lambda flights: str(flights))
joined = departures.join(numbers, lambda flight, number: number, minute)
counting = grouped.cogroup(lambda total, flight: total + 1, value=int)
departures.group_by(lambda flight: flight.dep_delay)  # arg-type reportAttributeAccessIssue
departures.group_by(lambda flight: flight.carier)  # attr-defined reportAttributeAccessIssue
departures.group_by(lambda flight: flight.carrier, key=int)  # arg-type -
grouped.reduce(lambda one, other: one.carrier)  # arg-type reportArgumentType
grouped.aggregate(0, lambda total, f: total + f.carier)  # attr-defined reportAttributeAccessIssue
grouped.aggregate(0, lambda total, flight: flight.carrier)  # arg-type reportArgumentType
grouped.aggregate(0, lambda total: total)  # arg-type reportArgumentType
grouped.count(lambda flight: 1)  # arg-type reportCallIssue
grouped.window(minute)  # call-overload reportArgumentType
grouped.window(sf.Tumbling(60))  # arg-type reportArgumentType
grouped.window(sf.Hopping(minute))  # call-arg reportCallIssue
grouped.window(sf.Tumbling(minute), emit="end")  # call-overload reportArgumentType
in_sessions.aggregate(0, lambda total, flight: total)  # call-overload reportCallIssue
grouped.window(sf.Tumbling(minute, minute))  # call-arg reportCallIssue
sf.JoinWindow(5)  # arg-type reportArgumentType
sf.Tumbling(minute).size = minute  # misc reportAttributeAccessIssue
grouped.window(sf.Tumbling(minute)).reduce(lambda total, flight: 1)  # arg-type reportArgumentType
hourly.to_stream().to(counts)  # arg-type reportArgumentType
hourly.to_stream().map_values(lambda n: n.carrier)  # attr-defined reportAttributeAccessIssue
hourly.to_stream().filter(lambda at, n: at.carrier == "")  # arg-type reportAttributeAccessIssue
hourly.suppress("closed")  # arg-type reportArgumentType
hourly.suppress(10)  # arg-type reportArgumentType
hourly.suppress(minute, when_full="drop")  # arg-type reportArgumentType
hourly.suppress(minute, max_records="3")  # arg-type reportArgumentType
totals.filter(lambda flights: flights.carrier == "")  # attr-defined reportAttributeAccessIssue
totals.map_values(lambda flights: flights.carrier)  # attr-defined reportAttributeAccessIssue
totals.transform_values(lambda flights: flights + 1)  # operator reportOptionalOperand
totals.map_values(lambda n: str(n)).to_stream().to(counts)  # arg-type reportArgumentType
totals.group_by(lambda flights: flights)  # arg-type reportArgumentType
by_text.reduce(lambda a, b: a + b)  # call-arg reportCallIssue
by_text.reduce(lambda a, b: "", lambda a, b: a)  # arg-type reportArgumentType
totals.join(hourly, lambda left, right: left)  # arg-type reportArgumentType
totals.join(weather, lambda left, right: left + right)  # operator reportOperatorIssue
totals.join(weather, lambda left, right, more, much: left)  # arg-type reportArgumentType
totals.join(weather, lambda left, right: left, on=lambda n: n)  # arg-type reportArgumentType
totals.join(numbers, lambda left, right: left)  # call-overload reportArgumentType
departures.join(weather, lambda f, name: name.carrier)  # attr-defined reportAttributeAccessIssue
departures.left_join(weather, lambda f, name: name.upper())  # union-attr reportOptionalMemberAccess
departures.join(weather, lambda flight: flight)  # arg-type reportArgumentType
departures.join(hourly, lambda flight, flights: flights)  # arg-type reportArgumentType
departures.join(everywhere, lambda flight, name: name)  # call-overload reportArgumentType
departures.join(everywhere, lambda f, n: n, on=lambda f: f.dep_delay)  # arg-type reportArgumentType
departures.join(numbers, lambda flight, number: number)  # call-overload reportArgumentType
departures.join(numbers, lambda flight, number: number, 5)  # call-overload reportArgumentType
departures.outer_join(numbers, lambda f, n: n + 1, minute)  # operator reportOptionalOperand
departures.outer_join(weather, lambda flight, name: name)  # call-overload reportCallIssue
joined.to(names)  # arg-type reportArgumentType
departures.join(weather, lambda flight, name: name, grace=5)  # call-overload reportArgumentType
departures.to(lambda flight: counts)  # arg-type reportArgumentType
departures.to(lambda flight: flight.carier)  # attr-defined reportAttributeAccessIssue
departures.to(lambda flight: 1)  # arg-type reportArgumentType
counting.cogroup(totals, lambda a, b: a)  # arg-type reportArgumentType
counting.aggregate("none")  # arg-type reportArgumentType
app.table(counts, versioned=5)  # arg-type reportArgumentType
app.global_table(departures)  # arg-type reportArgumentType


# functions
@app.function(flights, to=counts)  # arg-type reportArgumentType
def wrong_answer(flight: Flight) -> str:
    """Answers what its topic does not hold."""
    return flight.carrier


@app.function(counts)  # arg-type reportArgumentType
def wrong_value(flight: Flight) -> str:
    """Takes what its source does not hand on."""
    return flight.carrier


@app.function(flights, to=pairs)  # misc reportArgumentType
def wrong_key(flight: Flight) -> Flight:
    """Keeps its key, and its topic has another."""
    return flight


@app.function(flights)  # arg-type reportArgumentType
def no_value() -> int:
    """Takes nothing."""
    return 1


@app.function(flights, to=(counts, names))  # arg-type reportArgumentType
def plain_answer(flight: Flight) -> int:
    """Answers a plain value though it has several topics."""
    return 1


@app.function(flights, to=(counts, names))  # arg-type reportArgumentType
def foreign_record(flight: Flight) -> Iterator[sf.Outgoing[tuple[str, str], Flight]]:
    """Answers with a record of a topic that is not its own."""
    yield pairs.record(key=("a", "b"), value=flight)


@app.function(flights, to=counts, on_error="ignore")  # call-overload reportArgumentType
def wrong_policy(flight: Flight) -> int:
    """Has an unknown error policy."""
    return 1


@app.function(flights, to=counts)
def stateful(
    flight: Flight,
    total: sf.Value[int],
    seen: sf.Map[str, int],
    context: sf.Context[str],
    lookup: sf.Lookup[int, int] = table,  # assignment reportArgumentType
    shared: sf.Store[str, str] = table,  # assignment reportArgumentType
) -> int:
    """Uses its state wrongly."""
    total.value = "many"  # assignment reportAttributeAccessIssue
    total.vaule = 1  # attr-defined reportAttributeAccessIssue
    seen["a"] = "b"  # assignment reportArgumentType
    seen[1] = 1  # index reportArgumentType
    context.emit("text")  # arg-type reportArgumentType
    context.offset = 3  # misc reportAttributeAccessIssue
    return context.key  # return-value reportReturnType


stateful(Flight("AA", 1.0))  # call-arg reportCallIssue
stateful("AA", sf.Value(1), sf.Map(), sf.Context())  # arg-type reportArgumentType
stateful(Flight("AA", 1.0), sf.Value("one"), sf.Map(), sf.Context())  # arg-type reportArgumentType


@stateful.every(timedelta(seconds=1), clock="sun")  # arg-type reportArgumentType
def tick(context: sf.Context) -> None:
    """Has an unknown clock."""


stateful.every(10)  # arg-type reportArgumentType
missing = sf.Nothing  # attr-defined reportAttributeAccessIssue
