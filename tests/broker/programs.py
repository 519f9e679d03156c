"""The programs of the scenarios, each small enough that a test can work out its answers itself.

A program is made from a ``Job``, in the test's process and in the workers' alike. Values are text:
a number in its key's order, and perhaps a word that makes something happen. Topics bear the
application's name, so that any number of tests share a broker.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import streamfn as sf
from streamfn.app import App
from tests.operator_programs import (
    Build,
    Ends,
    foreign_key,
    regroup,
    session_close,
    stream_join_left,
    tumbling,
)

TRAP: Final = "trap"
"""A value that begins so makes its function do what the trap's file says; the file is used up."""

BAD: Final = "bad"
BIG: Final = "big"
TOO_MUCH: Final = random.Random(1).randbytes(10_000).hex()
"""What a record is made large with; it does not get small when it is compressed."""

TICK_MS: Final = 1_000


@dataclass(frozen=True)
class Job:
    """What a worker process runs, and how."""

    program: str
    name: str
    broker: str
    state_dir: str
    config: list[str] = field(default_factory=list[str])
    on_error: str = "fail"
    pace_ms: float = 0.0
    """Time that a function takes for a record, until there is a file ``hurry``."""
    hurry: str = ""
    """Path of that file; what has to happen in the midst of the work cannot come too late then."""
    trap: str = ""
    """Path of the file that says what a trap does."""
    door: str = ""
    """Path of a file: while it is there, the worker is away from the group."""
    mended: bool = False
    """True if bad records are borne."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, for the way to another process."""
        return asdict(self)

    def app(self) -> App:
        """Make the program."""
        app = App(self.name, on_error=self.on_error)  # type: ignore[arg-type]  # a choice as text
        PROGRAMS[self.program](app, self)
        return app

    def topic(self, suffix: str) -> str:
        """Name a topic of this program."""
        return f"{self.name}-{suffix}"

    def work_on(self, value: str) -> None:
        """Take the time that a record takes, fail where it is bad, and mind the trap."""
        if self.pace_ms and not (self.hurry and Path(self.hurry).exists()):
            time.sleep(self.pace_ms / 1000)
        if value.startswith(BAD) and not self.mended:
            message = f"cannot bear {value}"
            raise ValueError(message)
        if value.startswith(TRAP) and self.trap:
            spring(Path(self.trap))


def spring(trap: Path) -> None:
    """Do what the trap says, once: whoever comes second finds it gone."""
    try:
        deed = trap.read_text()
        trap.unlink()
    except FileNotFoundError:
        return
    if deed == "freeze":
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(0.5)  # as a client of Kafka learns in the background that it was given up
    elif deed == "hang":
        time.sleep(3_600)


def counting(app: App, job: Job) -> None:
    """Count records per key, with an answer each: how many, and the record."""
    records = app.topic(job.topic("in"), key=str, value=str)
    counts = app.topic(job.topic("out"), key=str, value=str)

    @app.function(records, to=counts)
    def count(value: str, total: sf.Value[int]) -> str:
        job.work_on(value)
        total.value += 1
        return f"{total.value} {value}"


def regrouping(app: App, job: Job) -> None:
    """Count by the first word of the value, behind a repartition; keep a list of all records."""
    records = app.topic(job.topic("in"), key=str, value=str)
    counts = app.topic(job.topic("out"), key=str, value=str)

    @app.function(app.stream(records).key_by(lambda value: value.split()[0]), to=counts)
    def count(value: str, total: sf.Value[int], seen: sf.Value[list[str]]) -> str:
        job.work_on(value)
        total.value += 1
        seen.value.append(value)
        return f"{total.value} {value}"


def looking_up(app: App, job: Job) -> None:
    """Answer each order with the price of its key at that time."""
    prices = app.table(app.topic(job.topic("prices"), key=str, value=str), name="prices")
    orders = app.topic(job.topic("in"), key=str, value=str)
    bills = app.topic(job.topic("out"), key=str, value=str)

    @app.function(orders, to=bills)
    def bill(order: str, context: sf.Context[str], price: sf.Lookup[str, str] = prices) -> str:
        job.work_on(order)
        return f"{order} at {price.get(context.key)}"


def ticking(app: App, job: Job) -> None:
    """Count per key; each second of stream time, tell the sum of a partition."""
    records = app.topic(job.topic("in"), key=str, value=str)
    ticks = app.topic(job.topic("out"), key=str, value=str)

    @app.function(records, to=(ticks,))
    def count(value: str, seen: sf.Map[str, int]) -> None:
        job.work_on(value)
        seen["n"] = seen.get("n", 0) + 1

    @count.every(timedelta(milliseconds=TICK_MS), clock="stream")
    def tick(
        context: sf.Context[str], seen: sf.Store[tuple[str, str], int]
    ) -> Iterator[sf.Outgoing[str, str]]:
        yield ticks.record(key=f"p{context.partition}", value=f"{sum(seen.values())}")


def passing(app: App, job: Job) -> None:
    """Hand each record on, without any state."""
    records = app.topic(job.topic("in"), key=str, value=str)
    copies = app.topic(job.topic("out"), key=str, value=str)

    @app.function(records, to=copies)
    def copy(value: str) -> str:
        job.work_on(value)
        return value + TOO_MUCH if value.startswith(BIG) else value


def splitting(app: App, job: Job) -> None:
    """Count as ``counting``; records that begin with an ``x`` also go to another topic."""
    records = app.topic(job.topic("in"), key=str, value=str)
    counts = app.topic(job.topic("out"), key=str, value=str)
    others = app.topic(job.topic("guarded"), key=str, value=str)

    @app.function(records, to=(counts, others))
    def count(
        value: str, context: sf.Context[str], total: sf.Value[int]
    ) -> Iterator[sf.Outgoing[str, str]]:
        job.work_on(value)
        total.value += 1
        more = TOO_MUCH if value.startswith(BIG) else ""
        yield counts.record(key=context.key, value=f"{total.value} {value}{more}")
        if value.startswith("x"):
            yield others.record(key=context.key, value=value)


def operating(app: App, job: Job) -> None:
    """Some operators side by side on ``left`` and ``right``, each with a topic for its answers."""
    outs: dict[str, Build] = {
        "sums": tumbling,
        "sessions": session_close,
        "groups": regroup,
        "pairs": stream_join_left,
        "names": foreign_key,
    }
    prefix = job.topic("")
    for out, build in outs.items():
        build(Ends(app, 4, prefix, out), timedelta(seconds=7))

    @app.function(Ends(app, 4, prefix).left)
    def pace(value: int) -> None:
        job.work_on("")


def naming(app: App, job: Job) -> None:
    """Give each order the name of its first word, from a table that every worker has whole.

    Orders of an unnamed word go to one topic, the others to another.
    """
    names = app.global_table(app.topic(job.topic("names"), key=str, value=str), name="names")
    orders = app.stream(app.topic(job.topic("in"), key=str, value=str))
    named = orders.left_join(
        names,
        lambda order, name: f"{order} by {name}",
        on=lambda order: order.split()[0],
        value=str,
    )
    known, unknown = job.topic("out"), job.topic("unnamed")
    named.to(lambda order: unknown if order.endswith("by None") else known)


PROGRAMS: Final[dict[str, Callable[[App, Job], None]]] = {
    "counting": counting,
    "regrouping": regrouping,
    "looking_up": looking_up,
    "ticking": ticking,
    "passing": passing,
    "splitting": splitting,
    "naming": naming,
    "operating": operating,
}
