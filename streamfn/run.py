"""The composition root: puts plan, log, state folders and a worker together, and takes them apart.

Here, in ``app``, ``testing`` and ``cli`` concrete adapters are named, and nowhere else. Records go
from the embedded log through the worker and back into it. Invariant: whatever was opened is closed,
in the reverse order, also when the next thing could not be opened.
"""

import gc
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

from streamfn.clock import Clock, Random, SystemClock, SystemRandom
from streamfn.config import Config
from streamfn.connectors.embedded import EmbeddedLog, open_embedded
from streamfn.connectors.log import Log
from streamfn.connectors.partitioner import Partitioner
from streamfn.engine.watchdog import Watchdog
from streamfn.engine.worker import Worker
from streamfn.errors import ConfigError, StopError
from streamfn.graph.plan import Plan, plan
from streamfn.graph.topology import Topology
from streamfn.results import Results
from streamfn.state.directory import StateDirectory
from streamfn.state.home import FolderHomes
from streamfn.state.slots import WorkerSlot

CRASHES_MAX: Final = 3
"""So many crashes at one record, and the worker stops on purpose."""

RESETTING: Final = "resetting"
"""A file in the application's folder while ``streamfn reset`` is at work."""

GC_THRESHOLDS: Final = (100_000, 20, 100)
"""The default looks at young objects every 700 allocations: a tenth of the time of a hot loop."""


@dataclass(frozen=True, slots=True)
class EmbeddedRun:
    """A worker on the embedded log, ready to start."""

    worker: Worker
    plan: Plan
    log: EmbeddedLog
    directory: StateDirectory
    config: Config
    watchdog: Watchdog

    def results(self) -> Results:
        """What is there to read once the worker is closed."""
        return Results(self.plan, self.log, self.worker.metrics)


def existing_partitions(log: Log) -> dict[str, int]:
    """Partition counts of the topics that the log has."""
    return {name: topic.partitions for name, topic in log.topics().items()}


@contextmanager
def embedded(
    topology: Topology,
    config: Config,
    *,
    clock: Clock | None = None,
    random: Random | None = None,
    generated: bool = True,
    adapt: Callable[[Plan, Log], Plan] = lambda planned, log: planned,
) -> Generator[EmbeddedRun]:
    """Open the embedded log and the state folder of a topology and make a worker over them.

    ``adapt`` may change the plan before the worker gets it.

    Raises:
        LogLockedError: another process runs this application here.
        TopologyError: the topology does not fit the topics that are there.
        StopError: a record has crashed the process too often, or a reset was not finished.
    """
    clock, random = clock or SystemClock(), random or SystemRandom()
    with ExitStack() as stack:
        directory = StateDirectory(
            config.state_dir, topology.application, clock=clock, random=random
        )
        slot = directory.claim_worker_slot()
        stack.callback(slot.close)
        log = _open(directory, config, clock, random)
        stack.callback(log.close)
        _check_reset(directory, topology.application)
        _check_crashes(slot)
        watchdog = Watchdog(config.watchdog_ms, slot.crash_file())
        stack.callback(watchdog.stop)
        planned = adapt(plan(topology, existing_partitions(log)), log)
        worker = Worker(
            planned, log, FolderHomes(directory), clock, random, config,
            partition_of=Partitioner().partition_of, slot=slot, beat=watchdog.beat,
            generated=generated,
        )  # fmt: skip
        yield EmbeddedRun(worker, planned, log, directory, config, watchdog)


@contextmanager
def opened_log(state_dir: Path, application: str) -> Generator[tuple[EmbeddedLog, StateDirectory]]:
    """Open the log of an application that is not running, to look at it or to mend it.

    Raises:
        ConfigError: there is no such application here.
        LogLockedError: it is running.
    """
    clock, random = SystemClock(), SystemRandom()
    directory = StateDirectory(state_dir, application, clock=clock, random=random)
    if not (directory.path / "log").is_dir():
        message = (
            f"application {application!r} has nothing under {str(state_dir)!r}; got no log there; "
            "run it first, or name another --state-dir"
        )
        raise ConfigError(message)
    log = _open(directory, Config(state_dir=state_dir), clock, random)
    try:
        log.join(application, 0, _Onlooker())
        yield log, directory
    finally:
        log.close()


def run_embedded(topology: Topology, config: Config, *, until_end: bool = False) -> Worker:
    """Run a topology on the embedded log until stopped, or with ``until_end`` to its inputs' end.

    What was processed before an error is committed; the error goes on to the caller.
    """
    with embedded(topology, config) as run:
        work(run, until_end=until_end)
        return run.worker


def work(
    run: EmbeddedRun, *, until_end: bool = False, each_round: Callable[[], None] = lambda: None
) -> None:
    """Start the worker, go round until it is to stop, close it; commit unless it failed."""
    worker, clean = run.worker, False
    with _calm_memory() as calm:
        try:
            worker.start()
            run.directory.remove_unowned(run.config.unowned_folder_delay_ms / 1000)
            calm()
            worker.run(until_end=until_end, each_round=_after_restores(worker, calm, each_round))
            clean = True
        finally:
            worker.close(commit=clean)
            run.watchdog.stop()


def _after_restores(
    worker: Worker, calm: Callable[[], None], each_round: Callable[[], None]
) -> Callable[[], None]:
    """What is done each round: also set what restores have left in memory apart, once they end."""
    restoring = False

    def after_round() -> None:
        nonlocal restoring
        if restoring and not worker.restores:
            calm()
        restoring = bool(worker.restores)
        each_round()

    return after_round


@contextmanager
def _calm_memory() -> Generator[Callable[[], None]]:
    """Keep the garbage collector off what lives as long as the worker; yield what says so anew."""
    before = gc.get_threshold()
    gc.set_threshold(*GC_THRESHOLDS)

    def calm() -> None:
        gc.collect()
        gc.freeze()

    try:
        yield calm
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


def _open(directory: StateDirectory, config: Config, clock: Clock, random: Random) -> EmbeddedLog:
    durability = cast(Literal["wal", "fsync"], config.durability)
    return open_embedded(directory.path / "log", durability=durability, clock=clock, random=random)


class _Onlooker:
    """Joins a group only to read its positions: it is given no token, and wants none."""

    def assigned(self, tokens: list[int]) -> None:
        """Nothing is assigned."""

    def revoked(self, tokens: list[int]) -> None:
        """Nothing was ours."""

    def lost(self, tokens: list[int]) -> None:
        """Nothing was ours."""


def _check_reset(directory: StateDirectory, application: str) -> None:
    if (directory.path / RESETTING).exists():
        message = (
            f"application {application!r} is half reset; got a reset that was interrupted; "
            f"finish it: streamfn reset {application}"
        )
        raise StopError(message)


def _check_crashes(slot: WorkerSlot) -> None:
    for (task, source, offset), count in slot.crashes().items():
        if count >= CRASHES_MAX:
            message = (
                f"task {task!r} has crashed the process {count} times at or behind {source} "
                f"offset {offset}; "
                "see the stack in the worker's .crash file, mend the function, "
                "then remove crashes.json in the state folder"
            )
            raise StopError(message)
