"""What a test Kafka is configured with, and what a client needs to reach it.

Invariant: all that a later Kafka needs to come back as the same one (ports, cluster, users) is
made once and written into its folder.
"""

import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ADMIN = "admin"
PORTS = range(20_000, 32_000)
"""Below the ports that systems give to clients: a client that keeps trying a closed port among
those may be given that very port, be connected to itself, and take it from the broker."""

ONE_NODE = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "3",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "3",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
}
QUICK = {
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "100",
    # Until the old session has ended, a broker that was killed is refused as its own double.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "250",
    # A transaction that outlived its time-out is aborted soon, not within ten seconds.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
}
LOG_SETTINGS = """\
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c{1}: %m%n
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
logger.groups.name = org.apache.kafka.coordinator.group
logger.groups.level = info
"""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker is, and the passwords of its users if it asks for them."""

    bootstrap: str
    passwords: Mapping[str, str] = field(default_factory=dict[str, str])

    def settings(self, user: str = ADMIN) -> dict[str, str]:
        """Say what a client of this user needs beside the address: nothing without users."""
        if not self.passwords:
            return {}
        return {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": user,
            "sasl.password": self.passwords[user],
        }

    def client(self, user: str = ADMIN) -> dict[str, str | int | float | bool]:
        """Say all that a confluent-kafka client of this user needs."""
        return {"bootstrap.servers": self.bootstrap, **self.settings(user)}


def address_of(port: int, users: Sequence[str]) -> Address:
    """Make an address on this machine; with users there is an admin as well."""
    names = [ADMIN, *users] if users else []
    return Address(f"127.0.0.1:{port}", {name: secrets.token_hex(16) for name in names})


def free_port() -> int:
    """Choose a port that nobody has; by real chance, since test workers share a seed."""
    while True:
        port = PORTS.start + secrets.randbelow(len(PORTS))
        if is_free(port):
            return port


def is_free(port: int) -> bool:
    """Tell whether a broker could listen there."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def server_properties(
    folder: Path, address: Address, listens_on: str, given: Mapping[str, str]
) -> str:
    """Write the broker's configuration; what was given comes last and wins."""
    port = address.bootstrap.rpartition(":")[2]
    name = "SASL_PLAINTEXT" if address.passwords else "PLAINTEXT"
    controller = f"127.0.0.1:{free_port()}"
    listeners = {
        "listeners": f"{name}://{listens_on}:{port},CONTROLLER://{controller}",
        "advertised.listeners": f"{name}://{address.bootstrap}",
        "listener.security.protocol.map": f"CONTROLLER:PLAINTEXT,{name}:{name}",
        "inter.broker.listener.name": name,
        "controller.quorum.voters": f"1@{controller}",
        "log.dirs": str(folder / "data"),
    }
    everything = {**ONE_NODE, **QUICK, **listeners, **user_properties(address), **given}
    return "".join(f"{key}={escaped(value)}\n" for key, value in everything.items())


def user_properties(address: Address) -> dict[str, str]:
    """Let users in by password, and allow only the admin what no access list allows."""
    if not address.passwords:
        return {}
    users = " ".join(f'user_{name}="{word}"' for name, word in address.passwords.items())
    own = f'username="{ADMIN}" password="{address.passwords[ADMIN]}"'
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    return {
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": f"{module} required {own} {users};",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{ADMIN};User:ANONYMOUS",  # the latter is the controller's listener
    }


def escaped(value: str) -> str:
    """Write a value as Java's property files want it."""
    return value.replace("\\", "\\\\").replace("\n", "\\n")
