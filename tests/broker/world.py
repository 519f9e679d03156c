"""The world of one scenario: topics, input, worker processes, and the look at what came of it.

Invariant: what is checked is read from Kafka by plain consumers after every transaction has ended.
"""

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from streamfn.connectors.partitioner import Partitioner
from tests.broker.client import Client
from tests.broker.feeder import Feeder
from tests.broker.programs import Job
from tests.broker.reader import Reader, Seen
from tests.broker.truth import check_counts, folded
from tests.broker.workers import PATIENCE_S, Workers
from tests.kafka_settings import Address

SESSION_S: Final = 4
QUICK: Final = (
    "commit_interval_ms=50",
    "store_interval_ms=300",
    "poll_timeout_ms=20",
    f"consumer.session.timeout.ms={SESSION_S * 1000}",
    "consumer.heartbeat.interval.ms=400",
    "consumer.reconnect.backoff.max.ms=500",
    "producer.reconnect.backoff.max.ms=500",
    "producer.transaction.timeout.ms=6000",
    "producer.message.timeout.ms=6000",
)
"""Settings that make faults show within seconds."""


class World(Workers):
    """One program on a broker, its workers, and readers of its topics."""

    def __init__(self, address: Address, job: Job, folder: Path, stack: ExitStack) -> None:
        super().__init__(job, folder)
        self.address, self._stack = address, stack
        self.client = Client(address)
        stack.callback(self.client.close)
        self._readers: dict[str, Reader] = {}

    def create(
        self, suffix: str, partitions: int = 4, config: Mapping[str, str] | None = None
    ) -> None:
        """Create a topic of the program's own."""
        self.client.create(self.job.topic(suffix), partitions, config or {})

    def feeder(self, suffix: str = "in", **options: Any) -> Feeder:
        """Make a writer of an input."""
        return Feeder(self.address, self.job.topic(suffix), **options)

    def reader(self, suffix: str = "out") -> Reader:
        """The reader of a topic; there is one for each."""
        if suffix not in self._readers:
            self._readers[suffix] = reader = Reader(
                self.address, self.client, self.job.topic(suffix)
            )
            self._stack.callback(reader.close)
        return self._readers[suffix]

    def seen(self, suffix: str = "out") -> list[Seen]:
        """All committed records of a topic."""
        return self.reader(suffix).to_end()

    def behind(self, suffix: str = "in") -> dict[str, tuple[int, int]]:
        """Where the group's position of an input is short of its end: both, by partition."""
        topic = self.job.topic(suffix)
        at = self.client.committed(self.job.name, [topic])
        return {
            place: (at[place], end)
            for number, end in self.client.ends(topic).items()
            if at[place := f"{topic}[{number}]"] < end and (end or at[place] >= 0)
        }

    def wait_answers(self, count: int, suffix: str = "out", within_s: float = PATIENCE_S) -> None:
        """Wait until so many committed answers can be read."""
        reader = self.reader(suffix)
        self.wait(
            lambda: reader.look() >= count,
            f"{count} answers in {suffix}",
            within_s,
        )

    def wait_more(self, more: int, within_s: float = PATIENCE_S) -> None:
        """Wait for some further answers: the whole gets on."""
        self.wait_answers(self.reader().look() + more, within_s=within_s)

    def finish(self, answers: int | None = None) -> list[Seen]:
        """Wait until all input is committed and answered, stop all workers; return the inputs."""
        inputs = self.seen("in")
        self.wait(lambda: not self.behind(), "all input is committed")
        self.wait_answers(len(inputs) if answers is None else answers)
        self.stop()
        return inputs

    def check_counting(self, store: str = "count-total") -> None:
        """End a run of ``counting``: answers and changelog are what the input says."""
        inputs = self.finish()
        check_counts(inputs, self.seen())
        assert self.changelog(store) == counts_of(inputs)

    def partition_of(self, key: str, partitions: int) -> int:
        """Where a key is, as Kafka's clients hash it."""
        return Partitioner().partition_of(key.encode(), partitions)

    def changelog(self, store: str, *, of_table: bool = False) -> dict[str, Any]:
        """What the changelog of a store holds."""
        return folded(self.reader(f"{store}-changelog"), of_table=of_table)


def counts_of(inputs: list[Seen]) -> dict[str, int]:
    """How many records each key has."""
    counts: dict[str, int] = {}
    for record in inputs:
        counts[record.key] = counts.get(record.key, 0) + 1
    return counts


@contextmanager
def world_of(
    address: Address,
    name: str,
    folder: Path,
    program: str = "counting",
    *,
    partitions: int = 4,
    settings: tuple[str, ...] = QUICK,
    config: tuple[str, ...] = (),
    topics: tuple[str, ...] = ("in", "out"),
    **job: Any,
) -> Generator[World]:
    """Make a world with its topics; everything in it ends with the block."""
    with ExitStack() as stack:
        given = [*settings, *config]
        made = Job(program, name, address.bootstrap, str(folder / "state"), given, **job)
        world = World(address, made, folder, stack)
        stack.enter_context(world)
        for suffix in topics:
            world.create(suffix, partitions)
        yield world
