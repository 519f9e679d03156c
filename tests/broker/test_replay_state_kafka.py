"""Recordings with state, of an application that runs and commits all the while, and their replay.

What a replay of such a recording holds at its end is what the live run holds at the positions at
which the recording ends.
"""

import json
import random
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streamfn.cli.place import Place
from streamfn.cli.recorder import ALL, Asked, Recorder
from streamfn.clock import SystemClock
from streamfn.config import Config
from streamfn.replay.ranges import Bound, Span
from streamfn.replay.recording import Header
from streamfn.replay.recordings.files import open_recording
from streamfn.replay.roles import Selection
from tests.broker.feeder import start_ms
from tests.broker.replay_flights import data_of
from tests.broker.replay_shell import Verbs
from tests.broker.workers import Worker
from tests.broker.world import QUICK, World, world_of
from tests.kafka_settings import Address
from tests.operator_records import KEYS

APP = "tests.broker.supervised:app"
KEEP = "repartition_trim_interval_ms=3600000"
SETTINGS = (*QUICK, KEEP)
CALM = (
    *SETTINGS,
    "consumer.session.timeout.ms=60000",
    "producer.transaction.timeout.ms=60000",
    "producer.message.timeout.ms=60000",
)
"""Nobody is given up, and no transaction, because the machine is busy."""
WAIT_MS = 600_000
SHORT_S = 0.5


@pytest.fixture
def verbs_of(tmp_path: Path) -> Any:
    """Verbs for the program of a world."""

    @contextmanager
    def opened(world: World) -> Generator[Verbs]:
        folder = tmp_path / "verbs"
        folder.mkdir()
        made = Verbs(folder, world.address.bootstrap, world.job)
        try:
            yield made
        finally:
            made.close()

    return opened


def stores_of(out: Path) -> dict[str, dict[int, dict[bytes, bytes]]]:
    """The final state in what a replay has written, by store and partition."""
    found: dict[str, dict[int, dict[bytes, bytes]]] = {}
    for line in map(json.loads, out.read_text().splitlines()):
        if "store" in line:
            store = found.setdefault(line["store"], {}).setdefault(line["partition"], {})
            store[data_of(line["key"])] = data_of(line["value"])
    return found


def changelogs_of(world: World) -> dict[str, dict[int, dict[bytes, bytes]]]:
    """What the changelogs of a program hold, by store and partition."""
    prefix, suffix = f"{world.job.name}-", "-changelog"
    found: dict[str, dict[int, dict[bytes, bytes]]] = {}
    for topic in world.client.topics():
        if topic.startswith(prefix) and topic.endswith(suffix):
            reader = world.reader(topic.removeprefix(prefix))
            reader.to_end()
            held = {
                partition: {key: value for key, value in rows.items() if value is not None}
                for partition, rows in reader.raw.items()
            }
            store = topic.removeprefix(prefix).removesuffix(suffix)
            found[store] = {partition: rows for partition, rows in held.items() if rows}
    return {store: parts for store, parts in found.items() if parts}


def header_of(path: Path) -> Header:
    """What is in a recording."""
    inputs = open_recording(path)
    try:
        return inputs.header
    finally:
        inputs.close()


class Meanwhile(SystemClock):
    """A clock for a recording: what it waits for happens while it waits, and then it is time."""

    def __init__(self, happens: Callable[[], None]) -> None:
        self._happens = happens
        self._ahead_ms = 0

    def now_ms(self) -> int:
        """The time, later than it is once all has happened."""
        return super().now_ms() + self._ahead_ms

    def sleep(self, seconds: float) -> None:
        """Have it happen; a short sleep is one before the next try."""
        if seconds < SHORT_S:
            super().sleep(seconds)
            return
        self._happens()
        self._ahead_ms = WAIT_MS


def record_while(world: World, path: Path, happens: Callable[[], None]) -> None:
    """Record with state, as ``record --state all --to +10m``; all this happens from there on."""
    job = world.job
    config = Config(broker=world.address.bootstrap, state_dir=Path(job.state_dir))
    place = Place(job.name, config, job.app().topology())
    asked = Asked(Selection(), Span(end=Bound(SystemClock().now_ms() + WAIT_MS)), stores=(ALL,))
    Recorder(place, asked, path, overwrite=False, clock=Meanwhile(happens)).run()


def rewinds(workers: Iterable[Worker]) -> list[int]:
    """How often each worker has gone back to its last commit."""
    return [worker.told["rewinds"] for worker in workers]


def wait_settled(world: World, workers: Sequence[Worker]) -> None:
    """Wait until each worker has committed in the group as it is now.

    One whose group has changed behind its back is refused at its next commit, and goes back.
    """
    begin = [worker.told["commits"] for worker in workers]
    world.wait(
        lambda: all(
            worker.told["commits"] >= count + 2
            for worker, count in zip(workers, begin, strict=True)
        ),
        "all commit on",
    )


def check_ends(world: World, header: Header) -> None:
    """The recording ends where its inputs do, so that the live state of now is that of its end."""
    for topic in header.topics:
        if topic.role in ("input", "repartition"):
            for number, end in world.client.ends(topic.name).items():
                at = topic.ranges[number].end
                assert at == end, f"{topic.name}[{number}] went on behind the recording, to {end}"


def repartitions_are_done(world: World) -> bool:
    """All input being committed: tell whether all that it has led to in between is, too.

    Positions are asked first: whatever was written before they were committed is seen then.
    """
    prefix = f"{world.job.name}-"
    topics = [topic for topic in world.client.topics() if topic.endswith("-repartition")]
    suffixes = [topic.removeprefix(prefix) for topic in topics if topic.startswith(prefix)]
    assert suffixes
    positions = world.client.committed(world.job.name, [prefix + each for each in suffixes])
    return all(
        positions[f"{prefix}{suffix}[{record.partition}]"] > record.offset
        for suffix in suffixes
        for record in world.seen(suffix)
    )


def check_state(world: World, verbs: Verbs, path: Path, without: str = "?") -> None:
    """Replay, in several ways, while the workers run; each ends in the state of the live run."""
    live = changelogs_of(world)
    but_for = {store for store in live if without in store}
    assert live.keys() > but_for
    for number, more in enumerate(((), ("--workers", "3", "-o", "commit_interval_ms=7"))):
        out = verbs.folder / f"out-{number}.jsonl"
        verbs("replay", APP, path, "--out", out, *more)
        made = stores_of(out)
        assert made.keys() == live.keys()
        for store in live.keys() - but_for:
            assert made[store] == live[store], store


def test_counts_at_the_end_of_a_recording_with_state(
    broker: Address, name: str, tmp_path: Path, verbs_of: Any
) -> None:
    """Counts and lists, behind a repartition: the same as in the changelogs, to the byte.

    No worker goes back to its last commit for being recorded.
    """
    with (
        world_of(broker, name, tmp_path, "regrouping", settings=CALM) as world,
        verbs_of(world) as verbs,
    ):
        workers = world.start("one"), world.start("two")
        path = verbs.folder / "state.jsonl.zst"
        words = tuple(f"w{number}" for number in range(30))
        with world.feeder(rate=400, words=words) as feeder:

            def rest() -> None:
                world.wait_more(300)
                feeder.stop()
                world.wait(lambda: not world.behind(), "all input is committed")
                world.wait_answers(len(world.seen("in")))

            world.wait_running(8, *workers)
            wait_settled(world, workers)
            before = rewinds(workers)
            world.wait_answers(500)
            record_while(world, path, rest)
        assert rewinds(workers) == before, [worker.warnings for worker in workers]
        header = header_of(path)
        check_ends(world, header)
        starts = sum(part.start for topic in header.topics for part in topic.ranges.values())
        assert starts > 500
        check_state(world, verbs, path)
        assert all(worker.running for worker in workers)
        world.stop()


def test_a_diff_of_a_recording_with_state(
    broker: Address, name: str, tmp_path: Path, verbs_of: Any
) -> None:
    """It begins in the midst of things, and the untouched program still has no difference.

    What cannot be judged is what was under way when it was asked for, and that is said.
    """
    with (
        world_of(broker, name, tmp_path, "regrouping", settings=SETTINGS) as world,
        verbs_of(world) as verbs,
    ):
        workers = world.start("one"), world.start("two")
        path = verbs.folder / "state.avro"
        with world.feeder(rate=400, words=("a", "b", "c")):
            world.wait_running(8, *workers)
            world.wait_answers(500)
            record_while(world, path, lambda: world.wait_more(300))
            said = verbs("replay", APP, path, "--diff", "--json", "--no-self-check")
        found = json.loads(said.splitlines()[0])
        assert found["differences"] == []
        assert found["equal"] == found["records"] > 300
        assert {each["edge"] for each in found["not_judged"]} <= {"begin", "end"}
        told = any(text.startswith("not judged: ") for text in found["notices"])
        assert told == bool(found["not_judged"])
        world.stop()


def test_operators_at_the_end_of_a_recording_with_state(
    broker: Address, name: str, tmp_path: Path, verbs_of: Any
) -> None:
    """Windows, sessions, groups, tables: each store as its changelog holds it.

    Not those of joins: how the live run merged two inputs, and so what was late, is not known.
    """
    topics = ("left", "right", "sums", "sessions", "pairs", "groups", "names")
    with (
        world_of(broker, name, tmp_path, "operating", settings=SETTINGS, topics=topics) as world,
        verbs_of(world) as verbs,
    ):
        workers = world.start("one"), world.start("two")
        path = verbs.folder / "state.jsonl"
        feeders = [world.feeder(suffix) for suffix in ("left", "right")]
        choose, at_ms = random.Random(1), start_ms()

        def say(count: int) -> None:
            nonlocal at_ms
            for _ in range(count):
                at_ms += choose.choice((0, 200, 1_400))
                place, key = choose.randrange(2), choose.choice(KEYS)
                feeders[place].say(key, str(choose.randrange(90)), at_ms // 2 * 2 + place)
            for feeder in feeders:
                feeder.flush()

        say(600)
        world.wait(lambda: all(worker.running for worker in workers), "both run")
        world.wait_answers(100, "sums")

        def rest() -> None:
            say(600)
            world.wait(
                lambda: not world.behind("left") and not world.behind("right"),
                "all input is committed",
            )
            world.wait(lambda: repartitions_are_done(world), "all in between is committed")

        record_while(world, path, rest)
        check_ends(world, header_of(path))
        check_state(world, verbs, path, without="left_join")
        world.stop()
