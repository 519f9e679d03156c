"""Looks at a worker between two rounds of its loop: the numbers that a run shows.

From here a ``Status`` goes to the display of a run, or down a pipe to a supervisor's. Invariant:
looking changes nothing and costs little; nothing here imports what draws.
"""

from typing import TYPE_CHECKING, Final

from streamfn.engine.status import FeedStatus, Status, TaskStatus, counts_of

if TYPE_CHECKING:
    from streamfn.engine.task import Task
    from streamfn.run import Run

NOTHING: Final = "records"
"""What a worker waits for that has done all."""

TASKS: Final = "tasks to be assigned"


def take(run: "Run", *, finished: bool = False, checked: int = 0) -> Status:
    """Look at a worker."""
    tasks = tuple(_task(run, task) for task in run.worker.tasks.values())
    feeds = tuple(FeedStatus(f.feed.name, *f.progress()) for f in run.worker.feeds if not f.at_end)
    planned = sum(sub.partitions for sub in run.plan.subtopologies)
    return Status(
        counts_of(run.worker.metrics), tasks, feeds, _waits_for(run, tasks, feeds), planned,
        finished, checked,
    )  # fmt: skip


def _waits_for(run: "Run", tasks: tuple[TaskStatus, ...], feeds: tuple[FeedStatus, ...]) -> str:
    """Say what the worker waits for, or "" if it works."""
    said = run.worker.waiting_for
    if said or feeds or any(task.lag or task.state != "running" for task in tasks):
        return said
    return NOTHING if tasks or not run.config.broker else TASKS


def _task(run: "Run", task: "Task") -> TaskStatus:
    restore = run.worker.restores.get(task.name)
    if restore is not None:
        return TaskStatus(task.name, "restoring", restore.remaining)
    if task.state.value != "running":
        return TaskStatus(task.name, task.state.value, 0)
    lag = len(task.buffer) + sum(run.log.lag(source) for source in task.sources)
    return TaskStatus(task.name, "parked" if task.parked_reason else "running", lag)
