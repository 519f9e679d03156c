"""The composition root: puts plan, log, state folders and a worker together, and takes them apart.

Here, in ``app``, ``testing`` and ``cli`` concrete adapters are named, and nowhere else. Records go
from a log, embedded or a Kafka, through the worker and back into it. Invariant: whatever was opened
is closed, in the reverse order, also when the next thing could not be opened.
"""

import gc
import logging
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final, Literal, cast

from streamfn.clock import Clock, Random, SystemClock, SystemRandom
from streamfn.config import Config
from streamfn.connectors.embedded import open_embedded
from streamfn.connectors.log import Log
from streamfn.connectors.partitioner import Partitioner
from streamfn.engine.topics import existing_partitions
from streamfn.engine.watchdog import Watchdog
from streamfn.engine.worker import Worker
from streamfn.errors import ConfigError, LogError, StopError
from streamfn.graph.plan import Plan, plan
from streamfn.graph.topology import Topology
from streamfn.graph.version import told
from streamfn.results import Results
from streamfn.state.directory import StateDirectory
from streamfn.state.home import FolderHomes
from streamfn.state.slots import WorkerSlot

log_ = logging.getLogger("streamfn")

CRASHES_MAX: Final = 3
"""So many crashes at one record, and the worker stops on purpose."""

RESETTING: Final = "resetting"
"""A file in the application's folder while ``streamfn reset`` is at work."""

SAY_EVERY_S: Final = 5.0
CONNECT_AGAIN_S: Final = 0.5

GC_THRESHOLDS: Final = (100_000, 20, 100)
"""The default looks at young objects every 700 allocations: a tenth of the time of a hot loop."""


@dataclass(frozen=True, slots=True)
class Run:
    """A worker on its log, ready to start."""

    worker: Worker
    plan: Plan
    log: Log
    directory: StateDirectory
    config: Config
    watchdog: Watchdog

    def results(self) -> Results:
        """What is there to read once the worker is closed."""
        return Results(self.plan, self.log, self.worker.metrics)


@contextmanager
def opened(
    topology: Topology,
    config: Config,
    *,
    clock: Clock | None = None,
    random: Random | None = None,
    generated: bool = True,
    create_user_topics: bool = False,
    adapt: Callable[[Plan, Log], Plan] = lambda planned, log: planned,
) -> Generator[Run]:
    """Open the log and the state folder of a topology and make a worker over them.

    The log is a Kafka if the configuration names a broker, else embedded. ``adapt`` may change the
    plan before the worker gets it.

    Raises:
        LogLockedError: another process runs this application here, embedded.
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
        log = _open_log(directory, config, clock, random, slot.transactional_id)
        stack.callback(log.close)
        _check_reset(directory, topology.application)
        _check_crashes(slot)
        wait_for(log, config, clock)
        watchdog = Watchdog(config.watchdog_ms, slot.crash_file())
        stack.callback(watchdog.stop)
        planned = adapt(told(plan(topology, existing_partitions(topology, log)), config), log)
        worker = Worker(
            planned, log, FolderHomes(directory), clock, random, config,
            partition_of=Partitioner().partition_of, slot=slot, beat=watchdog.beat,
            generated=generated, create_user_topics=create_user_topics or not config.broker,
        )  # fmt: skip
        yield Run(worker, planned, log, directory, config, watchdog)


embedded = opened
"""The same; without a broker in the configuration the log is embedded."""


def wait_for(log: Log, config: Config, clock: Clock) -> None:
    """Wait until the log answers, for ``connect_timeout_ms`` at most, and say so meanwhile.

    Raises:
        LogError: it does not answer, or says no.
    """
    started_s = said_s = clock.monotonic_s()
    while True:
        try:
            log.topic_names()
        except LogError as error:
            now_s = clock.monotonic_s()
            if not error.retriable or now_s - started_s >= config.connect_timeout_ms / 1000:
                raise
            if now_s - said_s >= SAY_EVERY_S:
                said_s = now_s
                log_.warning("waiting since %.0f s: %s", now_s - started_s, error)
            clock.sleep(CONNECT_AGAIN_S)
        else:
            return


@contextmanager
def opened_log(application: str, config: Config) -> Generator[tuple[Log, StateDirectory]]:
    """Open the log of an application that is not running, to look at it or to mend it.

    Raises:
        ConfigError: embedded, there is no such application here.
        LogLockedError: embedded, it is running.
    """
    clock, random = SystemClock(), SystemRandom()
    directory = StateDirectory(config.state_dir, application, clock=clock, random=random)
    if not config.broker and not (directory.path / "log").is_dir():
        message = (
            f"application {application!r} has nothing under {str(config.state_dir)!r}; got no log "
            "there; run it first, or name another --state-dir"
        )
        raise ConfigError(message)
    log = _open_log(directory, config, clock, random, f"{application}-onlooker-{random.token()}")
    try:
        wait_for(log, config, clock)
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
    run: Run, *, until_end: bool = False, each_round: Callable[[], None] = lambda: None
) -> None:
    """Start the worker, go round until it is to stop, close it; commit unless it failed."""
    worker, clean = run.worker, False
    with calm_memory() as calm:
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
def calm_memory() -> Generator[Callable[[], None]]:
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


def _open_log(
    directory: StateDirectory, config: Config, clock: Clock, random: Random, transactional_id: str
) -> Log:
    """Open the log that the configuration names."""
    if config.broker:
        from streamfn.connectors.kafka import KafkaLog

        return KafkaLog(
            config.broker, config.client_settings, transactional_id=transactional_id, clock=clock,
            exactly_once=config.guarantee == "exactly_once",
            replication_factor=config.replication_factor or -1,
            create_token_topic=config.internal_topics == "create",
        )  # fmt: skip
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
