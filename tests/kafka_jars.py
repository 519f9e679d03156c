"""What starts a Kafka on this machine: Java with the jars that Maven copied, else Docker.

Invariant: jars are copied once for a checkout, whoever asks and however many ask at once: the
folder ``.cache/kafka-<version>`` is either whole, for the pom that lies in it, or not there.
"""

import fcntl
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
POM = ROOT / "tests" / "broker" / "pom.xml"
CACHE = ROOT / ".cache"
LEAST_JAVA = 17
MAVEN_TIMEOUT_S = 900.0
DOCKER_TIMEOUT_S = 20.0
CURE = "install Java 17 and Maven, or Docker, or set STREAMFN_TEST_BROKER to a broker's address"


class BrokerError(Exception):
    """A Kafka did not do what it was asked to."""


class NoBrokerError(BrokerError):
    """No Kafka can be started here; the text says in one line what is missing."""


class Launcher(Protocol):
    """A way to run Kafka's Java programs: beside us, or in a container."""

    @property
    def classpath(self) -> str:
        """Where the program finds Kafka's jars."""
        ...

    @property
    def listens_on(self) -> str:
        """The address to bind to so that 127.0.0.1 reaches it."""
        ...

    def java(self, folder: Path, name: str = "", port: int = 0) -> list[str]:
        """Say how a command begins whose next words are options of Java."""
        ...

    def send(self, number: signal.Signals, name: str, pid: int) -> None:
        """Send a signal to the program that was started with this name."""
        ...

    def ending(self, name: str) -> list[str]:
        """Name the command that ends what outlives its command line; empty if nothing does."""
        ...


@dataclass(frozen=True, slots=True)
class Java:
    """Java of this machine, with a folder of jars."""

    program: str
    jars: Path
    listens_on: str = "127.0.0.1"

    @property
    def classpath(self) -> str:
        """All the jars of the folder."""
        return f"{self.jars}/*"

    def java(self, folder: Path, name: str = "", port: int = 0) -> list[str]:
        """Start with the program alone: folder and port are this machine's."""
        return [self.program]

    def send(self, number: signal.Signals, name: str, pid: int) -> None:
        """Send the signal to the process."""
        os.kill(pid, number)

    def ending(self, name: str) -> list[str]:
        """Nothing outlives the process."""
        return []


@dataclass(frozen=True, slots=True)
class Docker:
    """Java inside Kafka's own image; the folder and the port are shared with this machine."""

    program: str
    image: str
    classpath: str = "/opt/kafka/libs/*"
    listens_on: str = "0.0.0.0"

    def java(self, folder: Path, name: str = "", port: int = 0) -> list[str]:
        """Start a container that runs as this user, so that its files can be removed."""
        command = [self.program, "run", "--rm", "--user", f"{os.getuid()}:{os.getgid()}"]
        command += ["--volume", f"{folder}:{folder}"]
        command += ["--name", name] if name else []
        command += ["--publish", f"127.0.0.1:{port}:{port}"] if port else []
        return [*command, "--entrypoint", "java", self.image]

    def send(self, number: signal.Signals, name: str, pid: int) -> None:
        """Send the signal to the container: its command line would keep STOP to itself."""
        ran = output_of([self.program, "kill", "--signal", number.name, name], DOCKER_TIMEOUT_S)
        if ran.returncode:
            message = f"docker cannot send {number.name} to {name!r}: {first_line(ran.stderr)}"
            raise NoBrokerError(message)

    def ending(self, name: str) -> list[str]:
        """A container outlives its command line."""
        return [self.program, "rm", "--force", name]


def launcher() -> Launcher:
    """Find what can start a Kafka here; ``NoBrokerError`` says what is missing."""
    found = search()
    if isinstance(found, str):
        raise NoBrokerError(found)
    return found


@cache
def search() -> Launcher | str:
    """Look once: a Maven without a network takes its time to fail."""
    reasons: list[str] = []
    ways: tuple[Callable[[], Launcher], ...] = (find_java, find_docker)
    for way in ways:
        try:
            return way()
        except NoBrokerError as error:
            reasons.append(str(error))
    return f"no Kafka can be started: {'; '.join(reasons)}; {CURE}"


def find_java() -> Java:
    """Find Java and the jars, of which Maven copies those that are not there."""
    home = os.environ.get("JAVA_HOME", "")
    program = shutil.which(str(Path(home, "bin", "java")) if home else "java")
    if program is None:
        message = f"java was not found in {'JAVA_HOME' if home else 'PATH'}"
        raise NoBrokerError(message)
    ran = output_of([program, "-version"], DOCKER_TIMEOUT_S)
    version = re.search(r'version "(\d+)', ran.stderr + ran.stdout)
    if version is None or int(version.group(1)) < LEAST_JAVA:
        message = f"{program} is {first_line(ran.stderr)}; Kafka needs Java {LEAST_JAVA}"
        raise NoBrokerError(message)
    return Java(program, jars())


def find_docker() -> Docker:
    """Find a Docker that answers and has, or can fetch, the image of the same version."""
    program = shutil.which("docker")
    if program is None:
        message = "docker was not found in PATH"
        raise NoBrokerError(message)
    answer = output_of([program, "version", "--format", "{{.Server.Version}}"], DOCKER_TIMEOUT_S)
    if answer.returncode:
        message = "no Docker daemon answers"
        raise NoBrokerError(message)
    image = f"apache/kafka:{kafka_version()}"
    if output_of([program, "image", "inspect", image], DOCKER_TIMEOUT_S).returncode:
        pulled = output_of([program, "pull", "--quiet", image], MAVEN_TIMEOUT_S)
        if pulled.returncode:
            message = f"docker cannot fetch {image!r}: {first_line(pulled.stderr)}"
            raise NoBrokerError(message)
    return Docker(program, image)


def kafka_version() -> str:
    """Read the version from the pom, the one place that names it."""
    place = "{*}properties/{*}kafka.version"
    version = ElementTree.parse(POM).getroot().findtext(place)
    assert version, f"{POM} has no kafka.version"
    return version


def jars() -> Path:
    """Name the folder with Kafka's jars; Maven fills it if need be, once for all processes."""
    given = os.environ.get("STREAMFN_KAFKA_JARS", "")
    if given:
        if not any(Path(given).glob("kafka_2.*.jar")):
            message = f"STREAMFN_KAFKA_JARS names {given!r}, which has no kafka_2.13-<version>.jar"
            raise NoBrokerError(message)
        return Path(given).resolve()
    folder = CACHE / f"kafka-{kafka_version()}"
    CACHE.mkdir(exist_ok=True)
    with locked(CACHE / f"{folder.name}.lock"):
        if not is_whole(folder):
            copy_jars(folder)
    return folder


def is_whole(folder: Path) -> bool:
    """Tell whether the jars are there and those of today's pom."""
    made_from = folder / POM.name
    return made_from.is_file() and made_from.read_bytes() == POM.read_bytes()


def copy_jars(folder: Path) -> None:
    """Let Maven copy the jars beside, then put them in place in one step."""
    maven = shutil.which("mvn")
    if maven is None:
        message = "mvn was not found in PATH"
        raise NoBrokerError(message)
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    command = [maven, "--batch-mode", "--quiet", "--file", str(POM)]
    command += ["dependency:copy-dependencies", f"-DoutputDirectory={partial}"]
    ran = output_of(command, MAVEN_TIMEOUT_S)
    if ran.returncode:
        message = f"mvn cannot copy Kafka's jars: {first_line(ran.stdout + ran.stderr)}"
        raise NoBrokerError(message)
    shutil.copyfile(POM, partial / POM.name)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def output_of(command: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; one that takes too long has failed."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        why = f"no answer within {timeout_s:g} s"
        return subprocess.CompletedProcess(command, 1, "", why)


def first_line(text: str) -> str:
    """Take the first line that says something, without colours and Maven's tag."""
    plain = re.sub(r"\x1b\[[\d;]*m|\[ERROR\]", "", text)
    lines = (line.strip() for line in plain.splitlines())
    return next(filter(None, lines), "no reason given")


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold a lock file against all other processes; it ends with the process at the latest."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
