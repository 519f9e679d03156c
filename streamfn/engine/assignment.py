"""Which tasks are ours: tokens come and go, their tasks are opened, restored, run and released.

Token *i* stands for task *i* of every sub-topology. The log's callbacks leave word of tokens only;
tasks are opened in the loop, where waiting for a lock or restoring a slice holds up nobody.
Invariant: a partition is read only while its task runs.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product

from streamfn.clock import Clock
from streamfn.config import Config
from streamfn.connectors.log import Log
from streamfn.engine.global_table import GlobalTable
from streamfn.engine.restore import Restore
from streamfn.engine.starts import start_positions
from streamfn.engine.task import Task, TaskState
from streamfn.errors import LogError, StateLockedError, StreamfnError
from streamfn.graph.plan import Plan, Subtopology
from streamfn.metrics import Metrics
from streamfn.record import TopicPartition
from streamfn.state.store import TaskHome, TaskHomes

log_ = logging.getLogger("streamfn")

SESSION_TIMEOUT_MS = 15_000
BROKERS_SESSION_TIMEOUT_MS = 45_000
"""Of a group whose sessions the broker decides on (KIP-848)."""


@dataclass(slots=True)
class Arrival:
    """A task that is ours and not open yet."""

    subtopology: Subtopology
    partition: int
    since_s: float
    reason: str = ""
    """Why it could not be opened yet."""

    def waits_for(self, what: str, error: StreamfnError) -> None:
        """Remember why it could not be opened, and say so if that is news."""
        reason = f"{what}: {error}"
        if reason != self.reason:
            log_.info("task %s waits for %s", self.task, reason)
        self.reason = reason

    @property
    def task(self) -> str:
        """The name of the task to be."""
        return f"{self.subtopology.name}_{self.partition}"


class Assignment:
    """The tasks of one worker."""

    def __init__(
        self,
        plan: Plan,
        log: Log,
        homes: TaskHomes,
        clock: Clock,
        metrics: Metrics,
        config: Config,
        *,
        partition_of: Callable[[bytes, int], int],
        generated: bool,
        global_tables: Mapping[str, GlobalTable],
    ) -> None:
        self._plan, self._log, self._homes = plan, log, homes
        self._clock, self._metrics, self._config = clock, metrics, config
        self._partition_of, self._generated = partition_of, generated
        self._global_tables = global_tables
        self._lock_patience_s = _session_timeout_ms(config.client_settings) / 1000
        """A folder locked for longer is held by one whom the group has given up: use another."""
        self.tasks: dict[str, Task] = {}
        self.restores: dict[str, Restore] = {}
        self.arrivals: list[Arrival] = []
        self.owners: dict[TopicPartition, Task] = {}
        """The running task of each partition that is read."""

    @property
    def running(self) -> list[Task]:
        """The tasks that process records."""
        return [task for task in self.tasks.values() if task.state is TaskState.RUNNING]

    @property
    def settled(self) -> bool:
        """True if every task that is ours runs."""
        return not self.arrivals and not self.restores

    @property
    def waits_for(self) -> str:
        """What tasks that are ours wait for before they run, or ""."""
        said = [f"task {each.task}: {each.reason}" for each in self.arrivals if each.reason]
        return "; ".join(said)

    def add(self, tokens: Iterable[int]) -> None:
        """Leave word of tokens; called from the log's callback, so nothing may fail here."""
        self._arrive(self._plan.subtopologies, tokens)

    def _arrive(self, subtopologies: Iterable[Subtopology], tokens: Iterable[int]) -> None:
        now_s = self._clock.monotonic_s()
        self.arrivals += [
            Arrival(sub, token, now_s)
            for sub, token in product(subtopologies, list(tokens))
            if token < sub.partitions
        ]

    def open_arrivals(self) -> None:
        """Open what has arrived; a task whose folder is locked is tried again next round."""
        arrivals, self.arrivals = self.arrivals, []
        for number, arrival in enumerate(arrivals):
            patient = self._clock.monotonic_s() - arrival.since_s < self._lock_patience_s
            stores = arrival.subtopology.stores
            try:
                home = self._homes.open(arrival.task, stores, private=not patient)
            except StateLockedError as error:
                if not patient:
                    raise
                arrival.waits_for("its folder", error)
                self.arrivals.append(arrival)
            except StreamfnError:
                self.arrivals += arrivals[number:]
                raise
            else:
                if not self._open_patiently(arrival, home, patient):
                    self.arrivals += arrivals[number + 1 :]  # not each of them for as long
                    break

    def _open_patiently(self, arrival: Arrival, home: TaskHome, patient: bool) -> bool:
        """Open a task; if the log does not answer, it is tried again next round; then False."""
        try:
            self._open(arrival, home)
        except LogError as error:
            if not (error.retriable and (patient or self._config.broker)):
                raise
            arrival.waits_for("the log", error)
            self.arrivals.append(arrival)
            return False
        return True

    def _open(self, arrival: Arrival, home: TaskHome) -> None:
        try:
            task = Task(
                self._plan, arrival.subtopology, arrival.partition, home, self._clock,
                self._metrics, self._partition_of, self._config, generated=self._generated,
                global_tables=self._global_tables,
            )  # fmt: skip
            known = Restore.known_sources(task, self._log)
            found = start_positions(self._plan, task.sources, self._log, self._config, known)
            task.begin(found)
            task.transition_to(TaskState.RESTORING)
            restore = Restore(task, self._log, self._clock, self._metrics, self._config, found)
        except StreamfnError:
            home.close()
            raise
        self.tasks[task.name], self.restores[task.name] = task, restore

    def restore_slice(self) -> list[Task]:
        """Restore a slice of each task that needs it; return those that run from now on."""
        begun: list[Task] = []
        for name, restore in list(self.restores.items()):
            if restore.step(self._config.restore_slice_records):
                del self.restores[name]
                self._begin(restore.task)
                begun.append(restore.task)
        return begun

    def _begin(self, task: Task) -> None:
        task.transition_to(TaskState.RUNNING)
        self._log.assign(task.positions)
        self.owners.update(dict.fromkeys(task.sources, task))
        task.touch()

    def replan(self, plan: Plan, tokens: Iterable[int]) -> list[TopicPartition]:
        """Go on by another plan, whose stateless sub-topologies may have grown.

        Tasks of those are closed and opened anew; their work is committed. Return the partitions
        that are no longer read for now.
        """
        before, self._plan = self._plan, plan
        widths = {sub.name: sub.source_partitions for sub in before.subtopologies}
        grown = [s for s in plan.subtopologies if s.source_partitions != widths.get(s.name)]
        gone: list[TopicPartition] = []
        for task in [task for task in self.tasks.values() if task.subtopology.name in widths]:
            if any(sub.name == task.subtopology.name for sub in grown):
                gone += self._close(task, write=True)
        names = {sub.name for sub in grown}
        self.arrivals = [each for each in self.arrivals if each.subtopology.name not in names]
        self._arrive(grown, tokens)
        return gone

    def rewind(self) -> list[TopicPartition]:
        """Take every task back to what is committed and its inputs with it.

        One that somebody else has gone on from is opened anew; return what it no longer reads.
        """
        gone: list[TopicPartition] = []
        for task in self.running:
            known = [source.topic for source in task.sources if source not in task.started]
            found = start_positions(
                self._plan, task.sources, self._log, self._config, known, task.started
            )
            if not task.is_last_of(found):
                log_.warning("task %s was taken over meanwhile: it is opened anew", task.name)
                gone += self._close(task, write=False)
                self._arrive([task.subtopology], [task.partition])
                continue
            task.rewind(found)
            for source, position in found.items():
                self._log.seek(source, position.offset)
        return gone

    def release(self, tokens: Iterable[int] | None = None, *, write: bool) -> list[TopicPartition]:
        """Close the tasks of some tokens or of all; return the partitions that are no longer read.

        ``write`` has committed changes written to the stores first; of lost tokens they are
        dropped: whoever owns them now has the changelog.
        """
        wanted = None if tokens is None else set(tokens)
        self.arrivals = [
            a for a in self.arrivals if wanted is not None and a.partition not in wanted
        ]
        gone: list[TopicPartition] = []
        for task in list(self.tasks.values()):
            if wanted is None or task.partition in wanted:
                gone += self._close(task, write=write)
        return gone

    def _close(self, task: Task, *, write: bool) -> list[TopicPartition]:
        sources = [source for source in task.sources if source in self.owners]
        self._log.unassign(sources)
        for source in sources:
            del self.owners[source]
        self.restores.pop(task.name, None)
        del self.tasks[task.name]
        try:
            if write and task.unwritten:
                task.write_store()
        finally:
            task.close()
        return sources


def _session_timeout_ms(settings: Mapping[str, str]) -> int:
    """How long the group waits for a silent member, as far as our settings say."""
    protocol = settings.get("consumer.group.protocol", settings.get("kafka.group.protocol", ""))
    own = BROKERS_SESSION_TIMEOUT_MS if protocol.lower() == "consumer" else SESSION_TIMEOUT_MS
    text = settings.get("consumer.session.timeout.ms", settings.get("kafka.session.timeout.ms", ""))
    return int(text) if text.isdigit() else own
