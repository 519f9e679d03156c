"""Loads a file into a topic with the worker itself, as a program of one feed.

Rows and position are in one transaction: a killed load goes on where it stopped, without a double.
On a Kafka the load is an application of its own, ``<application>-load``, so that it takes no task
away from workers that run. Invariant: a file's position belongs to its path and its topic; what was
loaded once is loaded again only if that is asked for.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec

from streamfn.cli.console import notes, say
from streamfn.cli.display import Display, warnings_on
from streamfn.cli.place import LOADING, Place, purpose_of
from streamfn.cli.run import say_stopped, stop_on_signals
from streamfn.clock import SystemClock
from streamfn.config import Config
from streamfn.connectors.file_positions import CURE, Position
from streamfn.connectors.files import FileSource
from streamfn.connectors.log import Log
from streamfn.connectors.rows import row_encoder
from streamfn.engine.feed import FeedTask, RowError
from streamfn.engine.topic_check import kept_too_short
from streamfn.errors import ConfigError
from streamfn.graph.describe import counted
from streamfn.graph.plan import InternalTopic, Plan, plan
from streamfn.graph.topology import Feed, OnError, Policy, TopicSpec, Topology
from streamfn.record import Columns
from streamfn.results import read_topic
from streamfn.run import Run, opened, work
from streamfn.serde import STRING, as_serde

WORDS = {
    "set on_error='skip' or 'dead_letter'": "give --on-error skip or dead_letter",
    "say format='csv' or format='jsonl'": "say --format csv or --format jsonl",
    CURE: "put the old file back, or load it anew: --again",
    "or run with --create-topics": "or give --partitions N to have it made",
}
"""What the library says of its parameters, and the options that are meant."""

SAY_WAITING_S = 10.0
"""Joining a group takes a few seconds; after so many it is said what is waited for."""


def feed_name(topic: str, path: str) -> str:
    """Name the position of a file in a topic: readable, and unique to its path."""
    whole = str(Path(path).resolve())
    file = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(path).name)[:60]
    return f"load-{topic[:60]}-{file}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


class Loader:
    """Loads one file into one topic."""

    def __init__(
        self,
        place: Place,
        topic: str,
        path: str,
        key: str | None,
        timestamp: str | None,
        format: str,
        partitions: int | None,
        on_error: str | None,
    ) -> None:
        self._place, self._topic, self._path = place, topic, path
        self._key, self._timestamp, self._format = key, timestamp, format
        self._partitions, self._on_error = partitions, on_error
        self.shown, self._line = path, 0
        self._task: FeedTask | None = None

    def load(self, name: str, config: Config, *, again: bool) -> None:
        """Load what is not loaded yet; with ``again`` and nothing new, all of it once more."""
        try:
            loaded = self.run(name, config, anew=False)
        except ConfigError as error:
            if not again or WORDS[CURE] not in str(error):
                raise
            loaded = 0
        if not loaded and again:
            self.run(name, config, anew=True)
        elif loaded == 0:
            upto = f"{self.shown} up to line {self._line:,}"
            say(f"already loaded: {upto} (--again loads it once more)")

    def run(self, name: str, config: Config, *, anew: bool) -> int:
        """Run a program of one feed until it is at its end; return how many rows it read."""
        console = notes()
        topology = self._topology(name)
        self._task = None
        with (
            warnings_on(console),
            opened(
                topology, config, adapt=self._adapt, create_user_topics=bool(self._partitions)
            ) as run,
        ):
            feed = topology.feeds[0].name
            line = _line(run, feed)
            if anew:
                _forget(run, feed)
            display = Display(run, console)
            try:
                with stop_on_signals(run.worker, console) as stopped_by, display:
                    work(run, each_round=self._rounds(run, display))
            except (RowError, ConfigError) as error:
                raise self._for_command_line(error, feed) from error
            rows = self._task.rows if self._task else 0
            self._say(run, rows, display.elapsed_s(), None if anew else line)
            self._warn_of_retention(run)
            if stopped_by:
                say_stopped(stopped_by[0], before_end=True)
        return rows

    def _rounds(self, run: Run, display: Display) -> Callable[[], None]:
        """Return what stops the worker when its only feed is at its end.

        On a Kafka it comes with the only token, which another load may have.
        """
        worker, waiting_said = run.worker, False

        def each_round() -> None:
            nonlocal waiting_said
            self._task = worker.feeds[0] if worker.feeds else self._task
            if self._task is not None and worker.finished:
                worker.stop()
            if self._task is None and not waiting_said and display.elapsed_s() > SAY_WAITING_S:
                waiting_said = True
                say(
                    f"waiting since {SAY_WAITING_S:.0f} s for another load into application "
                    f"{self._place.application!r} to end, or the session of one that was killed",
                    stderr=True,
                )
            display.tick()

        return each_round

    def _warn_of_retention(self, run: Run) -> None:
        """Rows with times of their own may be older than their topic keeps any."""
        if self._place.config.broker and self._timestamp:
            now_ms = SystemClock().now_ms()
            for problem in kept_too_short(run.log, [self._topic], [self._topic], now_ms):
                say(f"warning: {problem}", style="yellow", stderr=True)

    def _topology(self, name: str) -> Topology:
        program = self._place.topology
        said = program.policy if program else Policy("fail", 0, 1000)
        policy = replace(said, on_error=cast("OnError | None", self._on_error) or said.on_error)
        spec = replace(self._spec(), partitions=self._partitions_wanted())
        application = self._place.application
        if self._place.config.broker:
            application, name = f"{application}-{LOADING}", name.removeprefix(f"{LOADING}-")
        feed = Feed(name, spec, self._open(name, spec), "streamfn produce")
        return Topology(application, {}, (feed,), policy)

    def _spec(self) -> TopicSpec:
        """The topic as the program declares it, or one of JSON objects."""
        if self._place.topology is None:
            return TopicSpec(self._topic, STRING, as_serde(dict[str, Any]), self._partitions)
        known = plan(self._place.topology).user_topics
        if self._topic not in known:
            message = (
                f"topic {self._topic!r} is not used by application {self._place.application!r}; it "
                f"has {', '.join(known)}; name one of them, or leave --app out"
            )
            raise ConfigError(message)
        return known[self._topic]

    def _partitions_wanted(self) -> int | None:
        """What the program needs comes first: it would refuse a topic of another width."""
        declared = self._spec().partitions
        if declared and self._partitions not in (None, declared):
            message = (
                f"topic {self._topic!r} has {declared} partitions in the program; got --partitions "
                f"{self._partitions}; leave it out, or change the program"
            )
            raise ConfigError(message)
        return declared or self._partitions

    def _open(self, name: str, spec: TopicSpec) -> Callable[[], Any]:
        def opened() -> Any:
            encode = row_encoder(
                spec.value.type, key=self._key, timestamp=self._timestamp, value_serde=spec.value,
                key_serde=spec.key,
            )  # fmt: skip
            return FileSource(self._path, encode=encode, name=name, format=self._format)

        return opened

    def _adapt(self, planned: Plan, log: Log) -> Plan:
        """Fit the plan to the log: the program's repartition topics are not orphans."""
        topics = log.topics([self._topic] if self._place.config.broker else None)
        found = topics.get(self._topic)
        if found and self._partitions not in (None, found.partitions):
            message = (
                f"topic {self._topic!r} has {found.partitions} partitions; got --partitions "
                f"{self._partitions}; leave it out"
            )
            raise ConfigError(message)
        others = tuple(
            InternalTopic(name, info.partitions, info.config, "repartition")
            for name, info in topics.items()
            if purpose_of(self._place.application, name) == "repartition"
        )
        return replace(planned, internal_topics=planned.internal_topics + others)

    def _say(self, run: Run, rows: int, seconds: float, line: int | None) -> None:
        metrics = run.worker.metrics
        if not rows and line is not None:
            self._line = line
            return
        went_on = f", going on behind line {line:,}" if line is not None else ""
        loaded = counted(metrics.rows_loaded, "row")
        said = f"{loaded} of {self.shown} loaded into {self._topic}{went_on}"
        if metrics.rows_rejected:
            letters = f"sent to dead letters, {run.plan.dead_letter_topic}"
            fate = letters if metrics.dead_letters else "skipped"
            said += f"; {counted(metrics.rows_rejected, 'row')} made no sense, {fate}"
        say(f"{said}; {seconds:.1f} s")

    def _for_command_line(self, error: RowError | ConfigError, name: str) -> Exception:
        """Say the same in the words of the command line."""
        text = str(error).replace(f"feed {name!r}", f"file {self.shown!r}")
        for said, option in WORDS.items():
            text = text.replace(said, option)
        return type(error)(text)


def _line(run: Run, name: str) -> int | None:
    """The line up to which a feed has loaded; None if it has not begun."""
    last, topic = None, run.plan.position_topic(name)
    for record in read_topic(run.log, topic) if run.log.topics([topic]) else ():
        last = record.value
    try:
        return msgspec.json.decode(last, type=Position).line if last else None
    except msgspec.MsgspecError:
        return None  # of another version: opening the file says so


def _forget(run: Run, name: str) -> None:
    """Take a feed's position back, so that it begins at the beginning."""
    topic = run.plan.position_topic(name)
    if not run.log.topics([topic]):
        return
    run.log.open_producer()
    run.log.begin()
    run.log.emit(topic, 0, Columns([name.encode()], [None], [SystemClock().now_ms()], {}))
    run.log.flush()
    run.log.commit()
