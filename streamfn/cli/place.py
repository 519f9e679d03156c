"""Which application a verb is about: a program's, one named, or the only one in the state folder.

Invariants: looking never creates anything; a verb that only looks fails where there is nothing. On
a Kafka a verb sees topics of its application only, never those of the whole cluster.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from streamfn.errors import ConfigError, LogError

if TYPE_CHECKING:
    from streamfn.config import Config
    from streamfn.connectors.log import Log, TopicInfo
    from streamfn.graph.plan import Plan
    from streamfn.graph.topology import StoreSpec, Topology
    from streamfn.record import Batch, Record, TopicPartition
    from streamfn.results import Raw
    from streamfn.state.directory import StateDirectory

Decode = Callable[[bytes], Any]

Answer = TypeVar("Answer")

PATIENCE_S = 10.0
"""How long a verb asks again what may be answered later: a broker that has just started."""
LOOK_WAIT_MS = 10_000
NOTE_EVERY_S = 10.0
LOADING = "load"
"""On a Kafka, produce works as an application of its own, named ``<application>-load``."""


class Noting:
    """A log that says what a read waits for: the end of a transaction that somebody left open."""

    def __init__(self, log: "Log") -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def read(self, source: "TopicPartition", start: int, end: int) -> "Iterator[Batch]":
        """Read as the log does; now and then say that nothing comes."""
        from streamfn.cli.console import say
        from streamfn.clock import SystemClock

        clock = SystemClock()
        since_s = noted_s = clock.monotonic_s()
        for batch in self._log.read(source, start, end):
            yield batch
            now_s = clock.monotonic_s()
            if len(batch):
                since_s = noted_s = now_s
            elif now_s - noted_s >= NOTE_EVERY_S:
                noted_s = now_s
                say(
                    f"waiting since {now_s - since_s:.0f} s for {source} up to offset {end}: a "
                    "transaction is open there, or the broker does not answer; Ctrl-C stops",
                    stderr=True,
                )


@dataclass(frozen=True, slots=True)
class Place:
    """An application in a log, embedded or a Kafka, and its program if that was named."""

    application: str
    config: "Config"
    topology: "Topology | None"

    @property
    def shown(self) -> str:
        """Where that is, for people."""
        if self.config.broker:
            return f"on Kafka {self.config.broker}"
        return f"under {str(self.config.state_dir)!r}"

    def plan(self, log: "Log") -> "Plan | None":
        """The program's plan over the topics that are there."""
        from streamfn.engine.topics import existing_partitions
        from streamfn.graph.plan import plan

        if self.topology is None:
            return None
        return plan(self.topology, existing_partitions(self.topology, log))

    @contextmanager
    def log(self, wait_ms: int = LOOK_WAIT_MS) -> "Generator[tuple[Log, StateDirectory]]":
        """Open its log; an embedded one is there and in nobody's use.

        Who only looks waits less for a broker than who works.
        """
        from streamfn.run import opened_log

        wait_ms = min(wait_ms, self.config.connect_timeout_ms)
        config = replace(self.config, connect_timeout_ms=wait_ms)
        with opened_log(self.application, config) as (log, directory):
            yield cast("Log", Noting(log)), directory

    def topics(self, log: "Log", planned: "Plan | None" = None) -> "dict[str, TopicInfo]":
        """Return the topics of the application: embedded all, on a Kafka those that are its own.

        Those are the program's, and what is named as only this application's internal ones are.
        """
        if not self.config.broker:
            return log.topics()
        names = log.topic_names()
        own = {name for name in names if is_internal(self.application, name, names)}
        if planned is not None:
            own |= {*planned.user_topics, *(topic.name for topic in planned.internal_topics)}
        return log.topics(sorted(own & names))


def patiently(ask: Callable[[], Answer]) -> Answer:
    """Ask again for a while where the log says that this helps."""
    from streamfn.clock import SystemClock

    clock = SystemClock()
    give_up_s = clock.monotonic_s() + PATIENCE_S
    while True:
        try:
            return ask()
        except LogError as error:
            if not error.retriable or clock.monotonic_s() >= give_up_s:
                raise
            clock.sleep(0.3)


def applications(state_dir: Path) -> list[str]:
    """The applications that have a log under a state folder."""
    try:
        return sorted(path.parent.name for path in state_dir.glob("*/log") if path.is_dir())
    except OSError as error:
        message = (
            f"state folder {str(state_dir)!r} cannot be read; got {error.strerror}; mend its "
            "rights, or name "
            "another --state-dir"
        )
        raise ConfigError(message) from error


def find(config: "Config", target: str | None, application: str | None) -> Place:
    """Find the application that a command line means.

    Raises:
        ConfigError: it is not clear which, or there is none.
    """
    if target is not None:
        from streamfn.cli.load import load_app

        topology = load_app(target).topology()
        return Place(topology.application, config, topology)
    if application is not None:
        return Place(application, config, None)
    if config.broker:
        message = (
            f"no application is named; got a Kafka, {config.broker}, which may have many; say "
            "which: --app TARGET, or --application NAME"
        )
        raise ConfigError(message)
    return _only_one(config)


def _only_one(config: "Config") -> Place:
    """The only application under the state folder."""
    state_dir = config.state_dir
    found = applications(state_dir)
    if len(found) == 1:
        return Place(found[0], config, None)
    if found:
        message = (
            f"state folder {str(state_dir)!r} has several applications; got {', '.join(found)}; "
            "say which: "
            "--application NAME, or --app TARGET"
        )
    else:
        message = (
            f"state folder {str(state_dir)!r} has no application; got no log below it; run one "
            "first, or name "
            "another --state-dir, or a --broker"
        )
    raise ConfigError(message)


def decoders(plan: "Plan", topic: str) -> tuple[Decode, Decode] | None:
    """How keys and values of a topic are read; None if the program does not say."""
    sources = [source for sub in plan.subtopologies for source in sub.sources]
    specs = {**{source.topic.name: source.topic for source in sources}, **plan.user_topics}
    if topic in specs:
        return specs[topic].key.decode, specs[topic].value.decode
    return None


def store_behind(plan: "Plan", topic: str) -> "StoreSpec | None":
    """The store that a topic is the changelog of."""
    stores = plan.topology.stores.items()
    return next((store for name, store in stores if plan.changelog(name) == topic), None)


def reader_of(
    place: Place, planned: "Plan | None", topic: str
) -> "Callable[[Raw], Record[Any, Any]]":
    """What decodes the records of a topic: by the program's types, or it guesses."""
    from streamfn.cli.values import guess_state_value, guess_topic_value, text_or_hex
    from streamfn.results import decoded, entry_decoder

    store = store_behind(planned, topic) if planned else None
    if store is not None:
        return entry_decoder(store, text_or_hex)
    internal = purpose_of(place.application, topic) == "changelog"
    guess = text_or_hex, guess_state_value if internal else guess_topic_value
    key, value = (decoders(planned, topic) if planned else None) or guess
    return lambda raw: decoded(raw, key, value)


def purpose_of(application: str, topic: str) -> str:
    """What a topic is for, as far as its name tells."""
    from streamfn.graph.rights import token_topic

    for ending in ("changelog", "repartition", "position"):
        if topic.startswith(f"{application}-") and topic.endswith(f"-{ending}"):
            return ending
    if topic == token_topic(application):
        return "tokens"
    return "dead letters" if topic == f"{application}-dead-letters" else "user"


def is_internal(application: str, topic: str, names: set[str]) -> bool:
    """Tell whether a topic's name is that of an internal one of this application.

    Among ``names`` there may be applications whose name begins with ours; each has a token topic,
    by which it is known. (``orders-eu-total-changelog`` is no store of ``orders`` if there is an
    ``orders-eu-tasks``.)
    """
    if purpose_of(application, topic) == "user":
        return False
    ours, loading = f"{application}-", f"{application}-{LOADING}"
    others = {
        name.removesuffix("-tasks")
        for name in names
        if name.startswith(ours) and name.endswith("-tasks") and name != f"{application}-tasks"
    }
    return not any(topic.startswith(f"{other}-") for other in others - {loading})


def check_topic(place: Place, log: "Log", topic: str) -> "TopicInfo":
    """Refuse a topic that is not there, and say which are.

    Raises:
        ConfigError: with the names of the topics.
    """
    found = log.topics([topic])
    if topic not in found:
        known = ", ".join(sorted(place.topics(log, place.plan(log)))) or "none"
        where = f"application {place.application!r} on Kafka" if place.config.broker else "the log"
        message = f"topic {topic!r} does not exist; {where} has {known}; name one of them"
        raise ConfigError(message)
    return found[topic]
