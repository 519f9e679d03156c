"""The App: what a program is written on, and where its parts are put together.

It collects topics, streams, tables, functions and feeds; ``topology()`` checks them and freezes the
whole. Invariant: an app is all there is; nothing is global, so that two apps, or two versions of
one, live in one process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, get_args, overload

from typing_extensions import TypeForm

from streamfn.dsl.branches import check_partitions
from streamfn.dsl.decorators import Declaration, Decorator, DecoratorTo
from streamfn.dsl.endpoints import Point, Sink, Source, Topic
from streamfn.dsl.global_table import GlobalTable, add_global_table
from streamfn.dsl.lambdas import OF_VALUE, check_arguments
from streamfn.dsl.sinks import own_topic
from streamfn.dsl.stream import Stream
from streamfn.dsl.table import Table, table_at
from streamfn.dsl.table_steps import add_table
from streamfn.dsl.whole import completed
from streamfn.errors import SerdeError
from streamfn.function.state import Outgoing
from streamfn.graph.builder import Builder
from streamfn.graph.places import here
from streamfn.graph.topology import (
    UNKNOWN,
    Feed,
    OnError,
    Policy,
    TopicSpec,
    Topology,
)
from streamfn.serde import BYTES, Serde, as_key_serde, as_serde, bound

if TYPE_CHECKING:  # it brings the engine, which a program does not need to be written
    from streamfn.results import Results

FileFormat: TypeAlias = Literal["auto", "csv", "jsonl"]
Report: TypeAlias = "Callable[[Results], None]"

K = TypeVar("K")
V = TypeVar("V")
K2 = TypeVar("K2")
V2 = TypeVar("V2")
K3 = TypeVar("K3")
V3 = TypeVar("V3")

UNREADABLE: Final = TopicSpec("?", BYTES, BYTES)
"""Stands for what is no topic, so that the rest of the program can be checked too."""


class App:
    """One program: ``app = sf.App("flights")``.

    ``on_error``, ``retries`` and ``retry_backoff`` say what happens to a record that fails; a
    function may say otherwise for itself.
    """

    def __init__(
        self,
        name: str,
        *,
        on_error: OnError = "fail",
        retries: int = 0,
        retry_backoff: timedelta = timedelta(seconds=1),
    ) -> None:
        where = here()
        self._builder = Builder(name, where)
        self._builder.check_name(name, "an app", where)
        self._policy = self._policy_of(on_error, retries, retry_backoff, where)
        self._reports: list[Report] = []

    @property
    def name(self) -> str:
        """The name of the application: its group, and the start of its internal topics' names."""
        return self._builder.application

    @overload
    def topic(
        self,
        name: str,
        *,
        key: TypeForm[K],
        value: TypeForm[V],
        partitions: int | None = None,
        timestamp: Callable[[V], int] | None = None,
        config: Mapping[str, str] | None = None,
    ) -> Topic[K, V]: ...
    @overload
    def topic(
        self,
        name: str,
        *,
        key: TypeForm[K],
        value: Serde[V],
        partitions: int | None = None,
        timestamp: Callable[[V], int] | None = None,
        config: Mapping[str, str] | None = None,
    ) -> Topic[K, V]: ...
    @overload
    def topic(
        self,
        name: str,
        *,
        key: Serde[K],
        value: TypeForm[V],
        partitions: int | None = None,
        timestamp: Callable[[V], int] | None = None,
        config: Mapping[str, str] | None = None,
    ) -> Topic[K, V]: ...
    @overload
    def topic(
        self,
        name: str,
        *,
        key: Serde[K],
        value: Serde[V],
        partitions: int | None = None,
        timestamp: Callable[[V], int] | None = None,
        config: Mapping[str, str] | None = None,
    ) -> Topic[K, V]: ...
    def topic(
        self,
        name: str,
        *,
        key: Any,
        value: Any,
        partitions: int | None = None,
        timestamp: Callable[[Any], int] | None = None,
        config: Mapping[str, str] | None = None,
    ) -> Any:
        """Declare a topic with the types of its keys and values.

        ``timestamp`` reads the event time (milliseconds) from a value; else it is the record's.
        ``config`` holds settings for the topic if streamfn creates it, such as
        ``{"retention.ms": "-1"}``: a broker deletes records older than that by their own time.
        """
        where = here()
        builder = self._builder
        builder.check_name(name, "a topic", where)
        check_partitions(builder, partitions, f"topic {name!r}", where)
        if timestamp is not None:
            check_arguments(builder, timestamp, OF_VALUE, f"timestamp= of topic {name!r}", where)
        spec = TopicSpec(
            name,
            self._serde(name, key, where, is_key=True),
            self._serde(name, value, where, is_key=False),
            partitions,
            timestamp,
            dict(config or {}),
            where,
        )
        return Topic[Any, Any](builder, builder.declare(spec), key, value)

    def _serde(self, topic: str, type_: object, where: str, *, is_key: bool) -> Serde[Any]:
        try:
            return bound((as_key_serde if is_key else as_serde)(type_), topic, key=is_key)
        except SerdeError as error:
            what = f"{'key' if is_key else 'value'}= of topic {topic!r}"
            self._builder.mistake(
                where, f"{what} cannot go through a topic", str(error), "say another type"
            )
            return BYTES

    def stream(self, source: Source[K, V]) -> Stream[K, V]:
        """Read a topic as a stream."""
        return Stream(self._point(source, "the source of stream()", here()))

    def table(
        self,
        topic: Topic[K, V],
        *,
        versioned: timedelta | None = None,
        name: str | None = None,
    ) -> Table[K, V]:
        """Keep the last value of each key of a topic; a null value deletes it.

        ``versioned``: for how long it also knows what was before, so that a join looks up what was
        there at the time of its record; a row that comes late then takes its place in the past.
        """
        where = here()
        point = self._point(topic, "the source of table()", where)
        if point.node not in (*self._builder.topics, UNREADABLE.name):
            self._builder.mistake(
                where,
                "table() keeps the values of a topic",
                repr(topic),
                "write the records to a topic first, and make the table of that",
            )
        return table_at(add_table(point, name, where, versioned=versioned))

    def global_table(self, topic: Topic[K, V], *, name: str | None = None) -> GlobalTable[K, V]:
        """Keep the last value of each key of a topic, all of them in every worker.

        So a record can look up any key, not only its own; it sees what the table holds at that
        moment, which need not be the same when the records are processed again.
        """
        where = here()
        if own_topic(self._builder, topic, "the source of global_table()", where) is None:
            unread = Topic[Any, Any](self._builder, UNREADABLE, str, UNKNOWN)
            return add_global_table(self._builder, unread, name, where)
        return add_global_table(self._builder, topic, name, where)

    @overload
    def function(
        self,
        source: Source[K, V],
        *,
        name: str | None = None,
        on_error: OnError | None = None,
        retries: int | None = None,
        retry_backoff: timedelta | None = None,
    ) -> Decorator[K, V]: ...
    @overload
    def function(
        self,
        source: Source[K, V],
        *,
        to: Sink[K, V2],
        name: str | None = None,
        on_error: OnError | None = None,
        retries: int | None = None,
        retry_backoff: timedelta | None = None,
    ) -> DecoratorTo[K, V, V2]: ...
    @overload
    def function(
        self,
        source: Source[K, V],
        *,
        to: tuple[Topic[K2, V2]],
        name: str | None = None,
        on_error: OnError | None = None,
        retries: int | None = None,
        retry_backoff: timedelta | None = None,
    ) -> DecoratorTo[K, V, Outgoing[K2, V2]]: ...
    @overload
    def function(
        self,
        source: Source[K, V],
        *,
        to: tuple[Topic[K2, V2], Topic[K3, V3]],
        name: str | None = None,
        on_error: OnError | None = None,
        retries: int | None = None,
        retry_backoff: timedelta | None = None,
    ) -> DecoratorTo[K, V, Outgoing[K2, V2] | Outgoing[K3, V3]]: ...
    @overload
    def function(
        self,
        source: Source[K, V],
        *,
        to: tuple[Topic[Any, Any], ...],
        name: str | None = None,
        on_error: OnError | None = None,
        retries: int | None = None,
        retry_backoff: timedelta | None = None,
    ) -> DecoratorTo[K, V, Outgoing[Any, Any]]: ...
    def function(
        self,
        source: Any,
        *,
        to: Any = None,
        name: str | None = None,
        on_error: OnError | None = None,
        retries: int | None = None,
        retry_backoff: timedelta | None = None,
    ) -> Any:
        """Make the decorated function a stage: called with each value of ``source``.

        Its answers go to the topic ``to`` (or, as records made by ``topic.record``, to several),
        and on to whatever reads the function.
        """
        where = here()
        point = self._point(source, "the source of function()", where)
        policy = self._policy_of(on_error, retries, retry_backoff, where)
        declaration = Declaration(point, to, name, policy)
        return Decorator[Any, Any](declaration)

    def feed(
        self,
        topic: Topic[K, V],
        path: str | Path,
        *,
        key: str | Callable[[V], K] | None = None,
        timestamp: str | Callable[[V], int | datetime] | None = None,
        name: str | None = None,
        format: FileFormat = "auto",
        null: Sequence[str] = ("", "NA"),
    ) -> Feed:
        """Load the rows of a file into a topic, each once, however often the load is killed.

        ``key`` and ``timestamp`` are a column's name or a function of the row's value; a row
        without them gets no key and the time of reading.
        """
        where = here()
        builder = self._builder
        spec = own_topic(builder, topic, "the topic of feed()", where)
        wanted = name or f"{spec.name if spec else 'unknown'}-feed"
        builder.check_name(wanted, "a feed", where)
        if wanted in builder.feeds:
            taken = f"another feed at {builder.feeds[wanted].where}"
            builder.mistake(
                where, f"two feeds would be named {wanted!r}", taken, "say name= with another name"
            )
        rows = partial(
            _open_file, spec or UNREADABLE, path, key, timestamp, wanted, format, tuple(null)
        )
        feed = Feed(wanted, spec or UNREADABLE, rows, where)
        builder.feeds[wanted] = feed
        return feed

    def topology(self) -> Topology:
        """Check the whole program and freeze it.

        Raises:
            TopologyError: with all mistakes that can be seen, in the order of the source.
        """
        return completed(self._builder.build(self._policy))

    def _point(self, source: object, what: str, where: str) -> Point:
        """Where a source's records are; of what is none of ours, a place to go on with."""
        builder = self._builder
        if not isinstance(source, Source):
            cure = "pass a topic, a stream, a decorated function or table.to_stream()"
            builder.mistake(where, f"{what} cannot be read", repr(source), cure)
            return _nowhere(builder, str, UNKNOWN, where)
        point = source.point(where)
        if point.builder is not builder:
            got = f"{point.node!r} of app {point.builder.application!r}"
            cure = "read a topic declared in this app"
            builder.mistake(where, f"{what} is of another app", got, cure)
            return _nowhere(builder, point.key, point.value, where)
        return point

    def _policy_of(
        self,
        on_error: OnError | None,
        retries: int | None,
        retry_backoff: timedelta | None,
        where: str,
    ) -> Policy:
        """Check what is said of errors."""
        report = self._builder.reporter(where)
        if on_error not in (None, *get_args(OnError)):
            known = ", ".join(repr(word) for word in get_args(OnError))
            report("on_error= is unknown", repr(on_error), f"say one of {known}")
        if retries is not None and retries < 0:
            report("retries= is negative", repr(retries), "say 0 or more")
        if retry_backoff is not None and retry_backoff < timedelta(0):
            report("retry_backoff= is negative", repr(retry_backoff), "say a positive timedelta")
        backoff_ms = None if retry_backoff is None else retry_backoff // timedelta(milliseconds=1)
        return Policy(on_error, retries, backoff_ms)

    def report(self, fn: Report) -> Report:
        """Call the decorated function with the results when ``run --until-end`` is at its end.

        ``def show(results: sf.Results) -> None``: it reads stores and topics, and prints.
        """
        self._reports.append(fn)
        return fn

    @property
    def reports(self) -> tuple[Report, ...]:
        """The functions decorated with ``report``, in order."""
        return tuple(self._reports)

    def __repr__(self) -> str:
        return f"App({self.name!r})"


def _nowhere(builder: Builder, key: object, value: object, where: str) -> Point:
    """A source that stands for one which could not be read, so that checking can go on."""
    return Point(builder, builder.source(UNREADABLE, key, value, where), key, value, "unreadable")


def _open_file(
    topic: TopicSpec,
    path: str | Path,
    key: str | Callable[[Any], Any] | None,
    timestamp: str | Callable[[Any], int | datetime] | None,
    name: str,
    format: FileFormat,
    null: tuple[str, ...],
) -> Any:
    from streamfn.connectors.files import FileSource
    from streamfn.connectors.rows import row_encoder

    encode = row_encoder(
        topic.value.type, key=key, timestamp=timestamp, value_serde=topic.value, key_serde=topic.key
    )
    return FileSource(path, encode=encode, name=name, format=format, null=null)
