"""What a worker process tells its supervisor: one JSON object a line.

``Status`` is the heartbeat and the picture at once; it comes from the worker's own loop, so that a
loop that hangs is silent. Invariant: a message holds no setting and no record, so no secret.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Final, TypeAlias

import msgspec

from streamfn.metrics import Metrics

DROPPED: Final = "dropped: "


class TaskStatus(msgspec.Struct, frozen=True, array_like=True):
    """A task now; ``lag`` counts records, while it restores those of its changelogs."""

    name: str
    state: str
    lag: int


class FeedStatus(msgspec.Struct, frozen=True, array_like=True):
    """How far a feed is that is not at its end; both counts are bytes."""

    name: str
    done: int
    total: int


class Status(msgspec.Struct, frozen=True, tag="status"):
    """A worker now."""

    counts: dict[str, int]
    """Its metrics, as ``counts_of`` makes them."""
    tasks: tuple[TaskStatus, ...] = ()
    feeds: tuple[FeedStatus, ...] = ()
    waits_for: str = ""
    tasks_planned: int = 0
    """The tasks of all workers together."""
    finished: bool = False
    """True if it has nothing more to do, as far as it knows."""
    checked: int = 0
    """The last check of the supervisor that it has passed; see ``supervisor``."""

    @property
    def records(self) -> int:
        """Input records processed."""
        return self.counts.get("records", 0)

    @property
    def lag(self) -> int:
        """Records to process in all tasks."""
        return sum(task.lag for task in self.tasks if task.state != "restoring")

    @property
    def restoring(self) -> int:
        """Changelog records to restore in all tasks."""
        return sum(task.lag for task in self.tasks if task.state == "restoring")


class Waiting(msgspec.Struct, frozen=True, tag="waiting"):
    """Said in the place of a loop that is silent: it starts, or a call of it takes long."""

    waits_for: str
    alive: bool = False
    """True if the loop is known to live: it tries something again and again."""


class Note(msgspec.Struct, frozen=True, tag="note"):
    """A line for people: ``word`` is warning or error, or where it was written to."""

    word: str
    text: str


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """Why the worker ends: a traceback if it is of use, one line or several, and the exit code."""

    lines: tuple[str, ...]
    exit_code: int
    trace: str = ""
    retry: bool = False
    """True if the same start may succeed later."""


Message: TypeAlias = Status | Waiting | Note | Failure

_encode = msgspec.json.Encoder().encode
_decoder: Final[msgspec.json.Decoder[Message]] = msgspec.json.Decoder(Message)


def line_of(message: Message) -> bytes:
    """Write a message as a line."""
    return _encode(message) + b"\n"


def message_of(line: bytes) -> Message:
    """Read a line; what is no message becomes a note."""
    try:
        return _decoder.decode(line)
    except msgspec.MsgspecError as error:
        return Note("warning", f"a line of its status cannot be read; got {error}")


def counts_of(metrics: Metrics) -> dict[str, int]:
    """Metrics as numbers that can be added up.

    >>> from collections import Counter
    >>> counts_of(Metrics(records=3, dropped=Counter(late=2)))
    {'records': 3, 'dropped: late': 2}
    """
    values = {field.name: getattr(metrics, field.name) for field in fields(metrics)}
    counts = {name: value for name, value in values.items() if isinstance(value, int) and value}
    return counts | {f"{DROPPED}{name}": count for name, count in metrics.dropped.items()}


def metrics_of(counts: Mapping[str, int]) -> Metrics:
    """Metrics as they were, with the sums of several workers."""
    metrics = Metrics()
    for name, count in counts.items():
        if name.startswith(DROPPED):
            metrics.dropped[name.removeprefix(DROPPED)] = count
        else:
            setattr(metrics, name, count)
    return metrics
