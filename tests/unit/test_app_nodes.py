"""What an app builds: the nodes of a right program, in order, with their names and types."""

import functools
import operator
import runpy
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

import streamfn as sf
from streamfn.connectors.files import FileSource
from streamfn.graph.plan import plan
from streamfn.graph.topology import (
    UNKNOWN,
    AnyNode,
    Branch,
    Function,
    Merge,
    Policy,
    Repartition,
    Sink,
    Source,
    Split,
    Step,
    TableStore,
)


class Flight(msgspec.Struct):
    """One departure."""

    carrier: str
    origin: str
    dep_delay: float | None = None


class CarrierDelay(msgspec.Struct, frozen=True):
    """A carrier's total."""

    flights: int = 0
    minutes: float = 0.0


class Program:
    """An app with two topics, and what a test looks at."""

    def __init__(self) -> None:
        self.app = sf.App("app")
        self.flights = self.app.topic("flights", key=str, value=Flight, partitions=4)
        self.delays = self.app.topic("delays", key=str, value=CarrierDelay)
        self.stream = self.app.stream(self.flights)

    def nodes(self) -> dict[str, AnyNode]:
        """The built nodes."""
        return dict(self.app.topology().nodes)

    def last(self) -> AnyNode:
        """The node built last."""
        return list(self.nodes().values())[-1]


@pytest.fixture
def program() -> Program:
    """A fresh program."""
    return Program()


def test_first_example(program: Program) -> None:
    """The first example of the design: source, key, function, topic."""

    @program.app.function(program.stream.key_by(lambda flight: flight.carrier), to=program.delays)
    def carrier_delay(flight: Flight, total: sf.Value[CarrierDelay]) -> CarrierDelay:
        return CarrierDelay(total.value.flights + 1, flight.dep_delay or 0)

    source, step, function = program.nodes().values()
    assert isinstance(source, Source)
    assert isinstance(step, Step)
    assert isinstance(function, Function)
    names = [(node.name, node.parents) for node in (source, step, function)]
    assert names == [
        ("flights", ()),
        ("flights-by-carrier", ("flights",)),
        ("carrier_delay", ("flights-by-carrier",)),
    ]
    assert (step.key, step.value, step.check_str) == (str, Flight, True)
    assert (function.key, function.value) == (str, CarrierDelay)
    assert [sink.name for sink in function.sinks] == ["delays"]
    assert [(store.name, store.key) for store in function.stores] == [("carrier_delay-total", str)]
    assert carrier_delay(Flight("AA", "JFK"), sf.Value(CarrierDelay())).flights == 1


def test_plan_takes_it(program: Program) -> None:
    """What is built can be planned: internal topics get the names that Kafka Streams gives."""

    @program.app.function(program.stream.key_by(lambda flight: flight.carrier))
    def seen(flight: Flight, total: sf.Value[int]) -> int:
        return total.value

    internal = [topic.name for topic in plan(program.app.topology()).internal_topics]
    assert internal == ["app-flights-by-carrier-repartition", "app-seen-total-changelog"]
    assert seen.name == "seen"


def test_topic_is_one_source(program: Program) -> None:
    """However often a topic is read, there is one source."""
    program.stream.filter(lambda flight: True)
    program.app.stream(program.flights).peek(print)
    program.app.table(program.flights)
    sources = [node for node in program.nodes().values() if isinstance(node, Source)]
    assert [source.name for source in sources] == ["flights"]


def test_function_reads_topic_stream_and_function(program: Program) -> None:
    """The source of a function is a topic, a stream or another function."""

    @program.app.function(program.flights)
    def carrier(flight: Flight) -> str | None:
        return flight.carrier

    @program.app.function(carrier)
    def length(name: str) -> Iterator[int]:
        yield len(name)

    nodes = program.nodes()
    assert (nodes["carrier"].value, nodes["length"].value) == (str, int)
    assert nodes["length"].parents == ("carrier",)
    assert list(length("AA")) == [2]


def test_types_of_steps(program: Program) -> None:
    """Types are said, annotated, or unchanged; else they are unknown."""

    def pair(key: str, flight: Flight) -> tuple[int, CarrierDelay]:
        return 1, CarrierDelay()

    def letters(text: str) -> list[str]:
        return list(text)

    def code(flight: Flight) -> int:
        return 1

    stream = program.stream
    found = {
        "said": stream.map_values(lambda flight: 1, value=int),
        "lambda": stream.map_values(lambda flight: 1),
        "annotated": stream.map(pair),
        "class": stream.map_values(lambda flight: flight.origin, value=str).map_values(len),
        "items": stream.map_values(lambda flight: flight.origin, value=str).flat_map_values(
            letters
        ),
        "key": stream.key_by(code, key=int),
        "unchanged": stream.filter(lambda key, flight: key != ""),
    }
    nodes = program.nodes()
    types = {what: nodes[stream.point("").node] for what, stream in found.items()}
    assert {what: (node.key, node.value) for what, node in types.items()} == {
        "said": (str, int),
        "lambda": (str, UNKNOWN),
        "annotated": (int, CarrierDelay),
        "class": (str, UNKNOWN),
        "items": (str, str),
        "key": (int, Flight),
        "unchanged": (str, Flight),
    }


def test_number_of_arguments_decides(program: Program) -> None:
    """A function of two arguments gets the key; a builtin without a signature gets the value."""

    def scaled(flight: Flight, factor: float = 2) -> float:
        return (flight.dep_delay or 0) * factor

    stream = program.stream
    built = [
        stream.filter(lambda flight: True),
        stream.filter(lambda key, flight: True),
        stream.map_values(scaled),
        stream.map_values(str),
        stream.peek(print),
        stream.map_values(functools.partial(scaled, factor=3)),
        stream.map_values(operator.attrgetter("carrier")),
    ]
    nodes = program.nodes()
    steps = [nodes[each.point("").node] for each in built]
    takes_key = [isinstance(step, Step) and step.takes_key for step in steps]
    assert takes_key == [False, True, False, False, False, False, False]


def test_split(program: Program) -> None:
    """Predicates in order, then the rest; each way is a stream."""
    early, late, rest = program.stream.split(
        lambda flight: (flight.dep_delay or 0) < 0, lambda flight: (flight.dep_delay or 0) > 15
    )
    early.filter(lambda flight: True)
    split = next(node for node in program.nodes().values() if isinstance(node, Split))
    ways = [each.point("").node for each in (early, late, rest)]
    assert [way for way, _, _ in split.branches] == ways
    assert [predicate is None for _, predicate, _ in split.branches] == [False, False, True]
    branches = [node for node in program.nodes().values() if isinstance(node, Branch)]
    assert (
        [branch.name for branch in branches]
        == ways
        == [
            "flights-split-if-dep_delay-0",
            "flights-split-if-dep_delay-0-15",
            "flights-split-rest",
        ]
    )


def test_merge(program: Program) -> None:
    """A merge has the parents' key and any of their values."""
    numbers = program.stream.map_values(lambda flight: 1, value=int)
    texts = program.stream.map_values(lambda flight: flight.origin, value=str)
    numbers.merge(texts)
    node = program.last()
    assert isinstance(node, Merge)
    assert node.parents == (numbers.point("").node, texts.point("").node)
    assert (node.key, node.value) == (str, int | str)


def test_to(program: Program) -> None:
    """Records go to a topic, to several, or to one that is named with the stream's types."""
    program.stream.to(program.flights)
    program.stream.map_values(lambda flight: 1, value=int).to("ones")
    program.stream.map_values(lambda flight: 1).to("twos", value=int)
    sinks = [node for node in program.nodes().values() if isinstance(node, Sink)]
    assert [(sink.name, sink.topics[0].value.type) for sink in sinks] == [
        ("flights-to-flights", Flight),
        ("flights-to-ones", int),
        ("flights-to-twos", int),
    ]


def test_repartition(program: Program) -> None:
    """A repartition keeps the types; its topic has the stream's name."""
    program.stream.repartition(partitions=8)
    node = program.last()
    assert isinstance(node, Repartition)
    assert (node.name, node.partitions) == ("flights-repartition", 8)
    assert (node.key, node.value) == (str, Flight)


def test_same_table_again(program: Program) -> None:
    """A table that is asked for twice is one store."""
    table = program.app.table(program.delays)
    assert program.app.table(program.delays).spec is table.spec
    assert program.app.table(program.delays, name="own").name == "own"
    kept = [node.name for node in program.nodes().values() if isinstance(node, TableStore)]
    assert kept == ["delays-table", "own"]


def test_table_store(program: Program) -> None:
    """A function reads a table's store, and shares it where it asks for a Store."""
    table = program.app.table(program.delays)

    @program.app.function(program.delays)
    def shared(
        delay: CarrierDelay,
        lookup: sf.Lookup[str, CarrierDelay] = table,
        whole: sf.Store[str, CarrierDelay] = table,
    ) -> None:
        whole["AA"] = delay

    nodes = program.nodes()
    kept, function = nodes["delays-table"], nodes["shared"]
    assert isinstance(kept, TableStore)
    assert isinstance(function, Function)
    assert [parameter.kind for parameter in function.parameters] == ["lookup", "store"]
    assert {parameter.store for parameter in function.parameters} == {kept.store} == {table.spec}
    shared(CarrierDelay(), {}, store := sf.Store[str, CarrierDelay]())
    assert store["AA"] == CarrierDelay()


def test_table_has_no_entries_outside() -> None:
    """A table that is read outside a running topology says so."""
    program = Program()
    table = program.app.table(program.delays)
    with pytest.raises(sf.StreamfnError, match="pass a dict in a unit test"):
        table.get("AA")
    with pytest.raises(sf.StreamfnError, match="'delays-table' has no entries"):
        table["AA"] = CarrierDelay()


def test_timer(program: Program) -> None:
    """A timer sees its function's stores as a whole, under their real keys."""

    @program.app.function(program.flights)
    def counted(flight: Flight, total: sf.Value[int], seen: sf.Map[int, str]) -> None:
        total.value += 1

    @counted.every(timedelta(seconds=10), clock="wall")
    def report(
        context: sf.Context, seen: sf.Store[tuple[str, int], str], total: sf.Store[str, int]
    ) -> Iterator[int]:
        yield from total.values()

    function = program.nodes()["counted"]
    assert isinstance(function, Function)
    (timer,) = function.timers
    assert (timer.name, timer.interval_ms, timer.clock) == ("counted-report", 10_000, "wall")
    assert timer.generator
    assert [(each.name, each.kind) for each in timer.parameters] == [
        ("context", "context"),
        ("seen", "store"),
        ("total", "store"),
    ]
    stores = {store.name: store for store in function.stores}
    assert [each.store for each in timer.parameters[1:]] == [
        stores["counted-seen"],
        stores["counted-total"],
    ]
    assert list(report(sf.Context(), sf.Store(), sf.Store({"AA": 3}))) == [3]


def test_policy() -> None:
    """An app's policy, and a function's own."""
    app = sf.App("app", on_error="skip", retries=2, retry_backoff=timedelta(milliseconds=50))
    flights = app.topic("flights", key=str, value=Flight)

    @app.function(flights, on_error="dead_letter")
    def strict(flight: Flight) -> None:
        """Keeps nothing."""

    topology = app.topology()
    node = topology.nodes[strict.name]
    assert isinstance(node, Function)
    assert topology.policy == Policy("skip", 2, 50)
    assert node.policy == Policy("dead_letter", None, None)


def test_several_topics(program: Program) -> None:
    """A function with several topics answers with their records."""

    @program.app.function(program.flights, to=(program.delays, program.flights))
    def routed(flight: Flight) -> Iterator[sf.Outgoing[str, CarrierDelay]]:
        yield program.delays.record(key=flight.carrier, value=CarrierDelay(), timestamp_ms=7)

    node = program.nodes()["routed"]
    assert isinstance(node, Function)
    assert [sink.name for sink in node.sinks] == ["delays", "flights"]
    assert (node.outgoing, node.generator, node.value) == (True, True, UNKNOWN)
    (record,) = routed(Flight("AA", "JFK"))
    assert (record.topic, record.key, record.timestamp_ms) == ("delays", "AA", 7)


def test_feed(program: Program, tmp_path: Path) -> None:
    """A feed opens its file only when asked to."""
    path = tmp_path / "flights.csv"
    feed = program.app.feed(program.flights, path, key="carrier", timestamp=lambda flight: 0)
    (held,) = program.app.topology().feeds
    assert held is feed
    assert (feed.name, feed.topic.name) == ("flights-feed", "flights")
    assert isinstance(feed.open(), FileSource)


def test_build_twice(program: Program) -> None:
    """Building does not change the app: it can be built again, and added to."""
    program.stream.peek(print)
    first = program.app.topology()
    assert program.app.topology() == first
    program.stream.filter(lambda flight: True)
    assert len(program.app.topology().nodes) == len(first.nodes) + 1


def test_serdes_are_kept() -> None:
    """A topic of a ready serde keeps it; its type is what functions are checked against."""
    app = sf.App("app")
    raw = app.topic("raw", key=sf.INT64, value=sf.BYTES)

    @app.function(raw)
    def size(data: bytes, seen: sf.Map[str, int]) -> int:
        return len(data)

    node = app.topology().nodes["size"]
    assert isinstance(node, Function)
    assert raw.spec.key is sf.INT64
    assert [store.key for store in node.stores] == [tuple[int, str]]
    assert size(b"ab", sf.Map()) == 2


def test_good_program_builds() -> None:
    """The program that the type checkers take is one that builds."""
    good = Path(__file__).parent.parent / "typing" / "good.py"
    built = runpy.run_path(str(good))["app"].topology()
    assert {"carrier_delay", "temperature", "flights-by-origin"} <= set(built.nodes)


def test_public_names_are_sorted_and_there() -> None:
    """The public names: sorted, each of them there."""
    names = [name for name in sf.__all__ if name != "testing"]
    assert all(hasattr(sf, name) for name in names)
    assert names == sorted(names, key=lambda name: (not name.isupper(), name.islower(), name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = getattr(sf, "nothing")  # noqa: B009  # a type checker would refuse sf.nothing
