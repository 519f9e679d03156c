"""A real Kafka for tests, benchmarks and people: ``python -m tests.kafka_broker --port 9092``.

``Broker`` is one node (KRaft, replication factor 1) with a folder of its own, which can be killed,
suspended and started again on the same port and data. ``shared`` gives the processes of one test
run the same broker.

Invariant: nothing is left over. A broker ends with the last process that uses it, however that
process ended (see ``tests/kafka_guard.py``), and its folder with it.
"""

import argparse
import base64
import fcntl
import json
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Protocol, TypedDict, Unpack

from tests import kafka_guard
from tests.kafka_admin import admin, check_answers, missing
from tests.kafka_jars import BrokerError, Launcher, kafka_version, launcher, locked, output_of
from tests.kafka_settings import (
    LOG_SETTINGS,
    Address,
    address_of,
    free_port,
    is_free,
    server_properties,
)

UP_WITHIN_S = 180.0
DOWN_WITHIN_S = 60.0
SMALL = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:-UsePerfData")
QUICK_START = ("-XX:TieredStopAtLevel=1",)
"""Compile once and lightly: starts sooner and takes less of the machine, but is slower in the
long run. For tests; not for benchmarks."""


class Record(TypedDict):
    """What the processes of a test run know of the broker they share."""

    lease: str
    bootstrap: str
    passwords: dict[str, str]


class Options(TypedDict, total=False):
    """What can be asked of a broker."""

    port: int
    properties: Mapping[str, str]
    users: Sequence[str]
    java_options: Sequence[str]


class OwnBroker(Protocol):
    """What the fixture ``own_broker`` gives: each call starts another broker."""

    def __call__(self, **options: Unpack[Options]) -> "Broker":
        """Start a broker that ends with the test."""
        ...


class Broker:
    """One Kafka of one's own; as a context manager it is up inside and gone afterwards.

    With ``users`` it asks for passwords (SASL PLAIN) and has an authorizer: the user ``admin`` may
    do everything, the others nothing until an access list lets them.
    """

    def __init__(self, **options: Unpack[Options]) -> None:
        self._launcher: Launcher = launcher()
        self.port = options.get("port") or free_port()
        self.address = address_of(self.port, options.get("users", ()))
        self.folder = Path(tempfile.mkdtemp(prefix="streamfn-kafka-")).resolve()
        self.log = self.folder / "broker.log"
        self._options = options
        self._cluster = "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes)[1:22].decode()
        self._name = ""
        self.pid = 0
        self._news: IO[bytes] | None = None
        self.lease = (self.folder / "lease").open("w")
        fcntl.flock(self.lease, fcntl.LOCK_SH)

    @property
    def bootstrap(self) -> str:
        """The address that clients are given."""
        return self.address.bootstrap

    @property
    def running(self) -> bool:
        """Whether the process lives, be it suspended."""
        return not self.ended()

    def start(self, *, wait: bool = True) -> None:
        """Start it, on the data that is there; return when it serves, without ``wait`` at once."""
        if self.running:
            message = f"kafka at {self.bootstrap} runs already; stop() or kill() it first"
            raise BrokerError(message)
        if not is_free(self.port):
            message = f"port {self.port} is taken; end what listens there or choose another port"
            raise BrokerError(message)
        if not (self.folder / "data").exists():
            self._format()
        self._launch()
        if wait:
            self.wait_until_up()

    def stop(self) -> None:
        """Ask it to end, as an operator does, and wait until it has."""
        self.resume()
        self._send(signal.SIGTERM)
        self._wait_until_ended()

    def kill(self) -> None:
        """End it with SIGKILL and wait until it is gone; it may be suspended."""
        self._send(signal.SIGKILL)
        self._wait_until_ended()

    def suspend(self) -> None:
        """Stop it with SIGSTOP: it keeps its connections and answers nothing."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after ``suspend``."""
        self._send(signal.SIGCONT)

    def restart(self, *, wait: bool = True) -> None:
        """Start it again on the same port and data; kill it before if it runs."""
        if self.running:
            self.kill()
        self.start(wait=wait)

    def wait_until_up(self, within_s: float = UP_WITHIN_S) -> None:
        """Return when it answers and every partition has a leader; ``BrokerError`` if too late."""
        client = admin(self.address)
        deadline_s = time.monotonic() + within_s
        why = ""
        while time.monotonic() < deadline_s:
            why = missing(client, cluster=self._cluster)
            if not why:
                return
            if self.ended(0.05):
                message = f"kafka at {self.bootstrap} ended: {cause(self.log_tail())}"
                raise BrokerError(message)
        message = f"kafka at {self.bootstrap} is not up after {within_s:g} s: {why}"
        raise BrokerError(message)

    def ended(self, wait_s: float = 0) -> bool:
        """Tell whether it has no process, after waiting at most so long for that."""
        if self._news is None:
            return True
        watched = select.poll()
        watched.register(self._news, select.POLLIN)
        if watched.poll(wait_s * 1000):
            self.forget()
            return True
        return False

    def log_tail(self, lines: int = 40) -> str:
        """Read the end of the broker's log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def close(self) -> None:
        """Leave it: it ends unless other processes use it. Its folder ends with it."""
        self.lease.close()
        if self._news is not None:
            self._wait_until_ended()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "Broker":
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _format(self) -> None:
        """Write the configuration and make the data folder of a new cluster."""
        settings = server_properties(
            self.folder,
            self.address,
            self._launcher.listens_on,
            self._options.get("properties", {}),
        )
        (self.folder / "server.properties").write_text(settings)
        (self.folder / "log4j2.properties").write_text(LOG_SETTINGS)
        begin = self._launcher.java(self.folder)
        format_it = ("format", "--cluster-id", self._cluster, "--config")
        ran = output_of(self._command(begin, "kafka.tools.StorageTool", *format_it), UP_WITHIN_S)
        if ran.returncode:
            message = f"kafka's data folder cannot be formatted: {cause(ran.stderr + ran.stdout)}"
            raise BrokerError(message)

    def _command(self, begin: list[str], program: str, *arguments: str) -> list[str]:
        """Say how one of Kafka's programs is run; its last argument is the configuration."""
        log = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}"
        options = [*SMALL, *self._options.get("java_options", ()), log]
        configuration = str(self.folder / "server.properties")
        classpath = ["-cp", self._launcher.classpath]
        return [*begin, *options, *classpath, program, *arguments, configuration]

    def _launch(self) -> None:
        """Start the guard, which starts the broker and says its process id."""
        self._name = f"{self.folder.name}-{uuid.uuid4().hex[:8]}"
        begin = self._launcher.java(self.folder, self._name, self.port)
        job: kafka_guard.Job = {
            "command": self._command(begin, "kafka.Kafka"),
            "ending": self._launcher.ending(self._name),
            "folder": str(self.folder),
            "log": str(self.log),
            "lease": self.lease.name,
        }
        with self.log.open("ab") as log:
            guard = subprocess.Popen(
                [sys.executable, "-I", "-S", kafka_guard.__file__, json.dumps(job)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,  # what is said must not wait in a buffer where poll cannot see it
                start_new_session=True,  # Ctrl-C is for us; the broker ends after our last words
            )
        assert guard.stdout is not None
        self._news = guard.stdout
        guard.wait()
        said = self._news.readline().split()
        if said[:1] != [b"pid"]:
            self.forget()
            message = f"kafka's guard could not start it: {cause(self.log_tail())}"
            raise BrokerError(message)
        self.pid = int(said[1])

    def _send(self, number: signal.Signals) -> None:
        """Send a signal to the broker, which has to run."""
        if not self.running:
            message = f"kafka at {self.bootstrap} does not run, so it gets no {number.name}"
            raise BrokerError(message)
        self._launcher.send(number, self._name, self.pid)

    def _wait_until_ended(self) -> None:
        """Return when the process is gone."""
        if not self.ended(DOWN_WITHIN_S):
            message = f"kafka at {self.bootstrap} still runs after {DOWN_WITHIN_S:g} s"
            raise BrokerError(message)

    def forget(self) -> None:
        """Hear the guard no more: it has said its last, or others will hear it."""
        if self._news is not None:
            self._news.close()
        self._news = None


def cause(log: str) -> str:
    """Find the line of a Java program's output that says best why it failed."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    thrown = [line for line in lines if re.search(r"(Exception|Error): \S", line)]
    return (thrown or [line for line in lines if "ERROR" in line] or lines or ["no word of it"])[-1]


@contextmanager
def shared(place: Path, **options: Unpack[Options]) -> Generator[Address]:
    """Use the broker that is recorded at this place, or start one for all who come later.

    There is no count that a killed process could leave wrong: each user holds the broker's lease.
    """
    with locked(place.with_suffix(".lock")):
        lease, address = join(place) or found_one(place, options)
    with lease:
        yield address


def join(place: Path) -> tuple[IO[str], Address] | None:
    """Take a lease of the recorded broker; None if there is none any more."""
    if not place.exists():
        return None
    record: Record = json.loads(place.read_text())
    with ExitStack() as stack:
        try:
            lease = stack.enter_context(Path(record["lease"]).open())
            fcntl.flock(lease, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (FileNotFoundError, BlockingIOError):  # the last user left; its guard may still tidy
            return None
        address = Address(record["bootstrap"], record["passwords"])
        check_answers(address)
        stack.pop_all()
    return lease, address


def found_one(place: Path, options: Options) -> tuple[IO[str], Address]:
    """Start a broker and record it; it ends with the last lease, not with us."""
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(**options))
        record: Record = {
            "lease": broker.lease.name,
            "bootstrap": broker.bootstrap,
            "passwords": dict(broker.address.passwords),
        }
        place.write_text(json.dumps(record))
        stack.pop_all()
    broker.forget()
    return broker.lease, broker.address


def main() -> None:
    """Run a broker in the foreground until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(
        description="Run one Kafka in the foreground.", prog="python -m tests.kafka_broker"
    )
    parser.add_argument("--port", type=int, default=9092)
    parser.add_argument(
        "--property",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a property of the broker; may be given more than once",
    )
    arguments = parser.parse_args()
    properties = dict(word.split("=", 1) for word in arguments.property)
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs ignore the former
        signal.signal(number, signal.default_int_handler)
    try:
        with Broker(port=arguments.port, properties=properties) as broker:
            print(f"Kafka {kafka_version()} is up at {broker.bootstrap}; its log: {broker.log}")
            print("Ctrl-C ends it and drops its data", flush=True)
            while not broker.ended(60):
                continue
            sys.exit(f"kafka ended by itself: {cause(broker.log_tail())}")
    except BrokerError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("\ngone")


if __name__ == "__main__":
    main()
