"""What a verb asks a Kafka beside the log: whether a group is at work, how often topics are kept.

Questions go through a client of its own, and an error is told as the log tells it. Invariant:
asking changes nothing, and nothing waits longer than a few seconds.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from streamfn.errors import ConfigError

if TYPE_CHECKING:
    from streamfn.config import Config

MEMBERS_SHOWN = 3


class Cluster:
    """A client that only asks."""

    def __init__(self, config: "Config") -> None:
        from streamfn.clock import SystemClock
        from streamfn.connectors.kafka_clients import Clients
        from streamfn.connectors.kafka_requests import Requests

        clock = SystemClock()
        clients = Clients(config.broker, config.client_settings, clock)
        self._requests = Requests(clients.admin(), clients.connection, clock)

    def members(self, group: str) -> list[str]:
        """Name the members of a group: who they are, and on which machine.

        Raises:
            LogError: no answer, or no right to it.
        """
        from confluent_kafka import KafkaError

        wrong = f"group {group!r} cannot be described"
        futures = self._requests.client.describe_consumer_groups([group])
        answer = self._requests.answers(futures, wrong)[group]
        if isinstance(answer, KafkaError):
            if answer.code() == KafkaError.GROUP_ID_NOT_FOUND:
                return []
            raise self._requests.refused(answer, wrong)
        return [f"{member.client_id} at {member.host.lstrip('/')}" for member in answer.members]

    def copies(self, topics: Iterable[str]) -> dict[str, int]:
        """Count the copies of those of the topics that exist.

        Raises:
            LogError: no answer, or no right to it.
        """
        from streamfn.connectors.kafka_topics import Topics

        found = Topics(self._requests, -1).describe(topics)
        return {
            name: min((len(part.replicas) for part in topic.partitions), default=0)
            for name, topic in found.items()
        }


def check_idle(config: "Config", application: str) -> None:
    """Refuse to go on while workers of an application are alive.

    Raises:
        ConfigError: there are some, or the session of one that was killed has not ended yet.
        LogError: no answer, or no right to it.
    """
    from streamfn.graph.describe import counted

    members = Cluster(config).members(application)
    if members:
        shown = ", ".join(members[:MEMBERS_SHOWN]) + (" …" if len(members) > MEMBERS_SHOWN else "")
        message = (
            f"application {application!r} is at work; its group has "
            f"{counted(len(members), 'member')}, {shown}; stop its workers first (one that was "
            "killed counts until its session ends, within a minute)"
        )
        raise ConfigError(message)
