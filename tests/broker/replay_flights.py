"""The flights on a real Kafka of their own: run once by two workers, then only looked at.

Whoever records and replays here is the user ``reader``, who may read topics and nothing else: no
group, no write. Invariant: from the end of the live run on nothing in the cluster changes, which is
checked when the world ends.
"""

import csv
import io
import os
import subprocess
import sys
import zipfile
from base64 import b64decode
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from streamfn.connectors.partitioner import Partitioner
from tests.broker.client import Client
from tests.broker.reader import Reader, Seen
from tests.flights_reference import Figures, figures
from tests.flights_support import CSVS, ROOT, make_package, places
from tests.kafka_admin import admin
from tests.kafka_broker import QUICK_START, Broker
from tests.kafka_settings import ADMIN, Address

PROGRAM = ROOT / "topologies" / "flights.py"
READER = "reader"
PATIENCE_S = 900
MONTH = "2"
DAYS = frozenset({"1", "2", "3", "11", "12"})
"""With a flight that left too early, and a wind that cannot have been."""
INPUTS = ("flights", "airport-weather", "airlines")
BETWEEN = tuple(f"flights-by-{name}-repartition" for name in ("carrier", "hour", "weather"))
OUTPUTS = ("flights-in-weather", "weather-delays", "carrier-delays", "hourly-departures")
STORES = (
    "airlines-table", "carrier_delay-total", "departures-count", "weather_delay-total",
    "with_weather-reports",
)  # fmt: skip
DEAD_LETTERS = "flights-dead-letters"
TOPICS = "topics"
"""A source of replays: straight from the topics."""


class Row(NamedTuple):
    """A record of a topic as text, whoever has made it."""

    partition: int
    key: str
    value: str | None
    timestamp_ms: int
    headers: dict[str, str]


class Made:
    """What a replay has written to ``--out``."""

    def __init__(self, path: Path) -> None:
        self.raw = path.read_bytes()
        self.rows: dict[str, list[Row]] = defaultdict(list)
        self.stores: dict[str, dict[int, dict[bytes, bytes]]] = {name: {} for name in STORES}
        self.raised: list[dict[str, Any]] = []
        for line in map(msgspec.json.decode, self.raw.splitlines()):
            if "store" in line:
                store = self.stores[line["store"]].setdefault(line["partition"], {})
                store[data_of(line["key"])] = data_of(line["value"])
            elif "raised" in line:
                self.raised.append(line)
            else:
                headers = dict(line.get("headers", ()))
                place, at_ms = line["partition"], line["timestamp_ms"]
                row = Row(place, line["key"] or "", line["value"], at_ms, headers)
                self.rows[line["topic"]].append(row)


class Flown:
    """The flights after their live run."""

    def __init__(self, address: Address, folder: Path, stack: ExitStack) -> None:
        self.address, self.folder, self._stack = address, folder, stack
        self.client = Client(address)
        stack.callback(self.client.close)
        self.package = make_days(folder / "data")
        self.before: dict[str, Any] = {}
        self._live: dict[str, Reader] = {}
        self._made: dict[tuple[str, ...], Made] = {}
        for user in (ADMIN, READER):
            text = "".join(f"{name}={word}\n" for name, word in address.settings(user).items())
            (folder / f"{user}.properties").write_text(text)

    @property
    def figures(self) -> Figures:
        """What is to be found, by a program that has nothing to do with streamfn."""
        return figures(*places(self.package))

    def at(self, user: str = READER) -> list[str]:
        """The options that lead to the broker."""
        properties = str(self.folder / f"{user}.properties")
        return ["--broker", self.address.bootstrap, "--kafka-config", properties]

    def streamfn(self, *words: object, code: int = 0) -> "subprocess.CompletedProcess[str]":
        """Run a verb as a process of its own, on the data of these days."""
        done = subprocess.run(
            self.command(*words), cwd=self.folder, env=self.environment, capture_output=True,
            text=True, check=False, timeout=PATIENCE_S,
        )  # fmt: skip
        assert done.returncode == code, done.stdout[-3_000:] + done.stderr[-3_000:]
        return done

    @staticmethod
    def command(*words: object) -> list[str]:
        """A verb as a command."""
        return [sys.executable, "-m", "streamfn", *map(str, words)]

    @property
    def environment(self) -> dict[str, str]:
        """What a verb's process is to have: the data of these days come first."""
        path = f"{self.package}{os.pathsep}{ROOT}"
        return {**os.environ, "PYTHONPATH": path, "NO_COLOR": "1"}

    def run(self) -> None:
        """Run the program as an operator would, and wait for its end."""
        self.streamfn(
            "run", PROGRAM, *self.at(ADMIN), "--workers", 2, "--create-topics", "--until-end",
            "--state-dir", "state", "-o", "consumer.session.timeout.ms=6000",
        )  # fmt: skip

    def recording(self, name: str, *options: object) -> Path:
        """Record the program's topics under a name, once."""
        path = self.folder / name
        if not path.exists():
            self.streamfn("record", "--app", PROGRAM, *self.at(), "--output", path, *options)
        return path

    def made(self, source: str, *options: str) -> Made:
        """Replay from the topics, or from a recording by its name; once for the same words."""
        words = source, *options
        if words not in self._made:
            out = self.folder / f"made-{len(self._made)}.jsonl"
            given = self.at() if source == TOPICS else [self.recording(source)]
            said = self.streamfn("replay", PROGRAM, *given, "--out", out, *options).stdout
            assert "nothing was committed, and no topic was written to" in said
            self._made[words] = Made(out)
            out.unlink()
        return self._made[words]

    def live(self, topic: str) -> list[Row]:
        """What the live run has written to a topic, in order of partition and offset."""
        seen = sorted(self.seen(topic), key=lambda one: (one.partition, one.offset))
        return [Row(s.partition, s.key, s.value, s.timestamp_ms, s.headers) for s in seen]

    def seen(self, topic: str) -> list[Seen]:
        """All committed records of a topic."""
        return self._reader(topic).to_end()

    def folded(self, topic: str) -> dict[int, dict[bytes, bytes]]:
        """What a compacted topic holds, by partition."""
        reader = self._reader(topic)
        reader.to_end()
        found = {
            partition: {key: value for key, value in held.items() if value is not None}
            for partition, held in reader.raw.items()
        }
        return {partition: held for partition, held in found.items() if held}

    def _reader(self, topic: str) -> Reader:
        if topic not in self._live:
            self._live[topic] = reader = Reader(self.address, self.client, topic)
            self._stack.callback(reader.close)
        return self._live[topic]

    def everything(self) -> dict[str, Any]:
        """All that recording and replaying has to leave as it is."""
        topics = sorted(self.client.topics())
        mine = [topic for topic in topics if not topic.startswith("__")]
        self.client.wait_settled(mine)
        return {
            "topics": topics,
            "ends": {topic: self.client.ends(topic) for topic in mine},
            "groups": groups_of(self.address),
            "positions": self.client.committed("flights", [*INPUTS, *BETWEEN]),
        }


@contextmanager
def flown(folder: Path) -> Generator[Flown]:
    """Start a Kafka, run the flights, and look that nothing has changed when all is done."""
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(java_options=QUICK_START, users=(READER,)))
        world = Flown(broker.address, folder, stack)
        world.run()
        world.client.grant(READER, [("TOPIC", "*", False, "READ")])
        world.before = world.everything()
        assert world.before["groups"] == ["flights"]
        yield world
        assert world.everything() == world.before


def groups_of(address: Address) -> list[str]:
    """All groups of the cluster."""
    client: Any = admin(address)  # its stubs know no types of answers
    return sorted(group.group_id for group in client.list_consumer_groups().result(60).valid)


def make_days(folder: Path) -> Path:
    """Write the package with some days of a month; STREAMFN_TEST_FLIGHTS=year takes all."""
    year = os.environ.get("STREAMFN_TEST_FLIGHTS") == "year"
    package = make_package(folder, {str(month) for month in range(1, 13)} if year else {MONTH})
    flights, weather, _ = places(package)
    if not year:
        with zipfile.ZipFile(flights) as archive:
            text = of_days(archive.read("flights.csv").decode())
        with zipfile.ZipFile(flights, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("flights.csv", text)
        weather.write_text(of_days(weather.read_text()))
    assert [path.name for path in places(package)] == list(CSVS)
    return package


def of_days(text: str) -> str:
    """Keep the rows of the days."""
    rows, kept = csv.DictReader(io.StringIO(text)), io.StringIO()
    assert rows.fieldnames
    writer = csv.DictWriter(kept, rows.fieldnames, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row for row in rows if row["day"] in DAYS)
    return kept.getvalue()


def data_of(shown: str | dict[str, str]) -> bytes:
    """The bytes of a key or a value of ``--out``."""
    if isinstance(shown, dict):
        return b64decode(shown["base64"])
    return str(shown).encode()


def grouped(rows: Iterable[Row], by: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    """Rows by what they have in common, in their order."""
    found: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        found[by(row)].append(row)
    return dict(found)


def task_of(airport: str) -> int:
    """The partition of ``flights``, and so the task, that an airport's flights are in."""
    return Partitioner().partition_of(airport.encode(), 4)
