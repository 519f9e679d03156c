"""Runs a program again on recorded records, apart from everything that is in production.

Chunks of records come from the inputs, go through workers of the engine as it is, and end as
effects in a sink; state lives in a temporary folder. Invariant (protocol §6): given the recorded
inputs and pure functions, effects and final state are the same bytes in each replay, on any commit
interval and number of workers.
"""

import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from streamfn.clock import CountingRandom, SystemClock
from streamfn.config import Config
from streamfn.connectors.partitioner import Partitioner
from streamfn.engine.failure import user_traceback
from streamfn.engine.worker import Worker
from streamfn.errors import RecordingError, StageError, StateTypeError
from streamfn.graph.plan import Plan, plan
from streamfn.graph.stores import decode_entry, encode_key, entry_serde
from streamfn.graph.topology import Topology
from streamfn.metrics import Metrics
from streamfn.record import TopicPartition
from streamfn.replay.effects import EffectSink, Raised
from streamfn.replay.event_order import in_order
from streamfn.replay.exchange import Exchange
from streamfn.replay.feeding import Feeding
from streamfn.replay.notices import notices_of
from streamfn.replay.programs import as_replayed
from streamfn.replay.recording import Chunk, Inputs
from streamfn.replay.replay_log import ReplayLog
from streamfn.replay.taps import tapped
from streamfn.results import store_name
from streamfn.run import calm_memory
from streamfn.serde.avro_registry import trying
from streamfn.state.directory import StateDirectory
from streamfn.state.home import FolderHomes, MemoryHomes

_FIXED: Final[dict[str, Any]] = {
    "broker": "", "poll_timeout_ms": 0, "start": "earliest", "max_task_idle_ms": 0,
}  # fmt: skip
"""What a replay is not asked about: it waits for nobody, as all that will come is there."""


@dataclass(slots=True)
class Replayed:
    """A replay that has come to its end; its state can be read until it is closed."""

    plan: Plan
    notices: tuple[str, ...]
    """What a reader of the results has to know: what a replay leaves out."""
    workers: list[Worker]
    exchange: Exchange
    records: int = 0
    raised: list[Raised] = field(default_factory=list[Raised])
    """Records that failed under ``on_error`` fail: undone, and the replay went on."""

    @property
    def metrics(self) -> list[Metrics]:
        """The figures of each worker."""
        return [worker.metrics for worker in self.workers]

    def entries(self, store: str) -> Iterator[tuple[bytes, bytes, int]]:
        """Yield key, value and partition of a store's entries as bytes, in order."""
        serde = entry_serde(self.plan.topology.stores[store])
        tasks = [task for worker in self.workers for task in worker.tasks.values()]
        for task in sorted(tasks, key=lambda task: task.partition):
            levels = task.scope.levels.get(store)
            for key, value in () if levels is None else levels.scan(b"", None):
                yield key, serde.encode(value), task.partition

    def state(self, stage: object, parameter: str = "") -> dict[Any, Any]:
        """Return the entries of a function's parameter, or of a table, in key order."""
        spec = self.plan.topology.stores[store_name(self.plan.topology, stage, parameter)]
        seen, order, decode = decode_entry(spec), encode_key(spec), entry_serde(spec).decode
        shown = (seen(key, decode(value)) for key, value, _ in self.entries(spec.name))
        found = [entry for entry in shown if entry is not None]
        return dict(sorted(found, key=lambda entry: order(entry[0])))


@contextmanager
def replay(
    topology: Topology,
    inputs: Inputs,
    sink: EffectSink,
    *,
    config: Config | None = None,
    workers: int = 1,
    end_to_end: bool = False,
    repartitions: bool = False,
    taps: bool = False,
    fail_fast: bool = False,
    in_memory: bool = False,
    fold_changelogs: bool = False,
    generated: bool = True,
    progress: Callable[[int, int | None], None] = lambda records, total: None,
) -> Generator[Replayed]:
    """Run a program on recorded inputs to their end; what it has left can be read inside ``with``.

    Args:
        topology: the program; its feeds are left out.
        inputs: a recording, or the topics of a log.
        sink: takes all outputs, repartition records and dead letters.
        config: ``commit_interval_ms`` and the bounds of memory.
        workers: so many workers share the tasks, in one thread.
        end_to_end: the user's topics that the program writes and reads come from itself.
        repartitions: repartition topics come from the recording, in the order of the live run.
        taps: also give what each stage hands on, as topics ``stage:<name>``.
        fail_fast: a record that fails under ``on_error`` fail ends the replay.
        in_memory: keep state in memory rather than in a temporary folder.
        fold_changelogs: keep what the changelogs hold in ``exchange.folded``.
        generated: False runs the reference compiler.
        progress: told after each chunk how many records are done, of how many if that is known.

    Raises:
        ConfigError: the program reads topics that are not recorded.
        StageError: with ``fail_fast``, a record failed.
    """
    whole = as_replayed(topology, inputs.header)
    widths = {topic.name: topic.partitions for topic in inputs.header.topics}
    planned = replace(plan(tapped(whole) if taps else whole, widths), replayed=True)
    feeding = Feeding(planned, inputs, end_to_end=end_to_end, repartitions=repartitions)
    exchange = _exchange(planned, feeding, widths, sink, fold_changelogs=fold_changelogs)
    config = replace(config or Config(), **_FIXED)
    with ExitStack() as stack:
        stack.enter_context(trying())
        calm = stack.enter_context(calm_memory())
        folder = None if in_memory else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        logs = [ReplayLog(exchange, feeding, member, workers) for member in range(workers)]
        plans = [replace(planned, noted=None if fail_fast else log.note) for log in logs]
        made = [
            _worker(own, log, config, folder, generated=generated)
            for own, log in zip(plans, logs, strict=True)
        ]
        done = Replayed(planned, notices_of(whole, inputs), made, exchange)
        for worker in made:
            stack.callback(worker.close, commit=False)
        _start(made, calm)
        _run(done, in_order(inputs, planned, feeding.fed), lambda n: progress(n, feeding.total))
        yield done


def _exchange(
    planned: Plan, feeding: Feeding, widths: Mapping[str, int], sink: EffectSink, *,
    fold_changelogs: bool,
) -> Exchange:  # fmt: skip
    """The topics, as wide as they were recorded, from where the recording begins."""
    exchange = Exchange(planned, {**widths, **_widths(planned)}, feeding.fed, sink)
    exchange.committed.update(feeding.positions())
    if fold_changelogs:
        exchange.folded = {each: dict(feeding.state_of(each)) for each in _changelogs(planned)}
    return exchange


def _start(workers: list[Worker], calm: Callable[[], None]) -> None:
    """Have the workers open their tasks, with the state that they begin with."""
    for worker in workers:
        worker.start()
    try:
        _settle(workers)
    except StateTypeError as error:
        message = (
            f"the recorded state does not fit the program; {str(error).partition('; ')[0]}; replay "
            "the version that was recorded, or record again without --state"
        )
        raise RecordingError(message) from error
    calm()


def _run(done: Replayed, chunks: Iterable[Chunk], progress: Callable[[int], None]) -> None:
    """Let all chunks through."""
    for chunk in chunks:
        for _ in done.exchange.turns(chunk):
            _settle(done.workers)
        done.raised += [_raised(error, done.exchange) for error in done.exchange.failures()]
        done.records += sum(map(len, chunk))
        progress(done.records)


def _widths(planned: Plan) -> dict[str, int]:
    internal = {topic.name: topic.partitions for topic in planned.internal_topics}
    return {**planned.partitions, **internal}


def _changelogs(planned: Plan) -> list[TopicPartition]:
    return [
        TopicPartition(topic.name, partition)
        for topic in planned.internal_topics
        if topic.purpose == "changelog"
        for partition in range(topic.partitions)
    ]


def _worker(
    planned: Plan, log: ReplayLog, config: Config, folder: Path | None, *, generated: bool
) -> Worker:
    """A worker of the engine as it is; each has a state folder of its own, or none."""
    clock, random = SystemClock(), CountingRandom(log.member << 32)
    homes: FolderHomes | MemoryHomes = MemoryHomes()
    if folder is not None:
        own = folder / f"worker-{log.member}"
        homes = FolderHomes(StateDirectory(own, planned.application, clock=clock, random=random))
    return Worker(
        planned, log, homes, clock, random, config,
        partition_of=Partitioner().partition_of, generated=generated,
    )  # fmt: skip


def _settle(workers: list[Worker]) -> None:
    """Go round until all that has arrived is processed and committed."""
    while True:
        for worker in workers:
            worker.step()
        if all(worker.quiet for worker in workers) and all([w.commit() for w in workers]):
            return


def _raised(error: StageError, exchange: Exchange) -> Raised:
    cause = error.__cause__ or error
    return Raised(
        error.stage, error.task, TopicPartition(error.topic, error.partition), error.offset,
        exchange.root(error.rank), error.key, type(cause).__name__, str(cause),
        user_traceback(cause),
    )  # fmt: skip
