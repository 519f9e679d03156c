"""Which application a verb is about: a program's, one named, or the only one in the state folder.

Invariant: looking never creates anything; a verb that only looks fails where there is nothing.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamfn.errors import ConfigError

if TYPE_CHECKING:
    from streamfn.connectors.embedded import EmbeddedLog
    from streamfn.graph.plan import Plan
    from streamfn.graph.topology import Topology
    from streamfn.state.directory import StateDirectory

Decode = Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class Place:
    """An application under a state folder, and its program if that was named."""

    application: str
    state_dir: Path
    topology: "Topology | None"

    def plan(self, log: "EmbeddedLog") -> "Plan | None":
        """The program's plan over the topics that are there."""
        from streamfn.graph.plan import plan
        from streamfn.run import existing_partitions

        return None if self.topology is None else plan(self.topology, existing_partitions(log))

    @contextmanager
    def log(self) -> "Generator[tuple[EmbeddedLog, StateDirectory]]":
        """Open its log, which is there and in nobody's use."""
        from streamfn.run import opened_log

        with opened_log(self.state_dir, self.application) as opened:
            yield opened


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


def find(state_dir: Path, target: str | None, application: str | None) -> Place:
    """Find the application that a command line means.

    Raises:
        ConfigError: it is not clear which, or there is none.
    """
    if target is not None:
        from streamfn.cli.load import load_app

        topology = load_app(target).topology()
        return Place(topology.application, state_dir, topology)
    if application is not None:
        return Place(application, state_dir, None)
    found = applications(state_dir)
    if len(found) == 1:
        return Place(found[0], state_dir, None)
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
            "another --state-dir"
        )
    raise ConfigError(message)


def decoders(plan: "Plan", topic: str) -> tuple[Decode, Decode] | None:
    """How keys and values of a topic are read; None if the program does not say."""
    from streamfn.serde import state_serde
    from streamfn.state.keys import key_codec

    sources = [source for sub in plan.subtopologies for source in sub.sources]
    specs = {**{source.topic.name: source.topic for source in sources}, **plan.user_topics}
    if topic in specs:
        return specs[topic].key.decode, specs[topic].value.decode
    for name, store in plan.topology.stores.items():
        if plan.changelog(name) == topic:
            return key_codec(store.key).decode, state_serde(store.value).decode
    return None


def purpose_of(application: str, topic: str) -> str:
    """What a topic is for, as far as its name tells."""
    for ending in ("changelog", "repartition", "position"):
        if topic.startswith(f"{application}-") and topic.endswith(f"-{ending}"):
            return ending
    return "dead letters" if topic == f"{application}-dead-letters" else "user"


def check_topic(log: "EmbeddedLog", topic: str) -> None:
    """Refuse a topic that is not there, and say which are.

    Raises:
        ConfigError: with the names of the topics.
    """
    if topic not in log.topics():
        known = ", ".join(sorted(log.topics())) or "none"
        message = f"topic {topic!r} does not exist; the log has {known}; name one of them"
        raise ConfigError(message)
