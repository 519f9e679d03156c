"""``streamfn run --workers`` on a real Kafka: to the end, through crashes, and all ways to stop."""

import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import monotonic

import pytest

from tests.broker.client import Client
from tests.broker.reader import Reader
from tests.broker.workers import Process
from tests.kafka_settings import Address, free_port
from tests.unit.cli_shell import ROOT

PROGRAM = """
import os
import time
import msgspec
import streamfn as sf

app = sf.App("{name}")

class Line(msgspec.Struct):
    text: str

lines = app.topic("{name}.lines", key=str, value=Line, partitions=2)
counts = app.topic("{name}.counts", key=str, value=int, partitions=2)
app.feed(lines, "{folder}/lines.csv", key="text")
words = app.stream(lines).flat_map_values(lambda line: line.text.split(), value=str)
seen = []

@app.function(words.key_by(lambda word: word), to=counts)
def count(word: str, total: sf.Value[int]) -> int:
    if not seen:
        print("at work", os.getpid(), flush=True)
        seen.append(word)
        while os.path.exists("{folder}/held"):
            time.sleep(0.01)
    if word == "bad":
        raise ValueError("a bad word")
    total.value += 1
    return total.value

@app.report
def show(results: sf.Results) -> None:
    totals = results.state(count, "total")
    print("report", len(totals), sum(totals.values()), flush=True)
"""
QUICK = ("-o", "consumer.session.timeout.ms=6000")
DEADLINE_S = 240.0
LINES = 20_000


class Workers:
    """The program that counts words, run by supervisors in a folder of its own."""

    def __init__(self, folder: Path, name: str, address: Address) -> None:
        self.folder, self.name, self.address = folder, name, address
        (folder / "words.py").write_text(PROGRAM.format(name=name, folder=folder))
        self.lines(f"w{n % 50} w{n % 7} w{3 * n % 50}" for n in range(LINES))
        self.all: list[Process] = []
        self.hold = folder / "held"

    def lines(self, texts: Iterable[str]) -> None:
        """Write the input."""
        rows = "".join(f"{text}\n" for text in texts)
        (self.folder / "lines.csv").write_text(f"text\n{rows}")

    def run(self, *words: str, workers: int = 2, broker: str = "") -> Process:
        """Start a supervisor."""
        command = [sys.executable, "-m", "streamfn", "run", str(self.folder / "words.py"), *QUICK]
        command += ["--broker", broker or self.address.bootstrap, "--workers", str(workers)]
        command += ["--state-dir", str(self.folder / "state"), "--create-topics", *words]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.all.append(Process(f"run{len(self.all)}", command, self.folder, environment))
        return self.all[-1]

    @contextmanager
    def counting(self, *words: str) -> Generator[tuple[Process, int]]:
        """Start a supervisor; in the block a worker, by its process id, is at its first record."""
        self.hold.touch()
        run = self.run(*words)
        wait(run, lambda: at_work(run), "a worker counts")
        yield run, at_work(run)[0]
        self.hold.unlink()

    def true_counts(self) -> Counter[str]:
        """How often each word is in the input."""
        return Counter((self.folder / "lines.csv").read_text().split()[1:])

    def check_counts(self) -> None:
        """Each word was counted by one, without gap or double: an independent reader says so."""
        reader = Reader(self.address, Client(self.address), f"{self.name}.counts")
        found: dict[str, list[int]] = {}
        try:
            for record in reader.to_end():
                found.setdefault(record.key, []).append(int(record.value or 0))
        finally:
            reader.close()
        wanted = {word: list(range(1, n + 1)) for word, n in self.true_counts().items()}
        assert found == wanted


@pytest.fixture
def workers(tmp_path: Path, name: str, broker: Address) -> Iterator[Workers]:
    """A program, its input, and its supervisors, which end with the test."""
    found = Workers(tmp_path, name, broker)
    yield found
    for process in found.all:
        if process.code is None:
            process.kill()


def wait(process: Process, met: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    deadline_s, moment = monotonic() + DEADLINE_S, Event()
    while not met():
        late = monotonic() > deadline_s or process.has_failed
        assert not late, f"{what}: {process.tail()}"
        moment.wait(0.05)


def at_work(process: Process) -> list[int]:
    """The worker processes that have said that they work."""
    return [int(pid) for pid in re.findall(r"at work (\d+)", process.said)]


def test_workers_go_to_the_end_though_one_is_killed(workers: Workers) -> None:
    """The file is loaded once, each word counted once, and the report sees all of it."""
    with workers.counting("--until-end") as (run, pid):
        os.kill(pid, signal.SIGKILL)
    assert run.ended(DEADLINE_S) == 0, run.tail()
    total = workers.true_counts().total()
    assert "(killed by SIGKILL), starts again in 1 s" in run.said
    assert f"report {len(workers.true_counts())} {total}\n" in run.said
    assert "1 restart" in run.said
    again = workers.run("--until-end", workers=1)
    assert again.ended(DEADLINE_S) == 0
    assert f"{workers.name}: 0 records in" in again.said
    workers.check_counts()


def test_workers_are_restarted_one_by_one_and_stopped_as_one(workers: Workers) -> None:
    """SIGTERM to a worker restarts it, SIGINT to the supervisor stops all: both lose nothing."""
    with workers.counting() as (run, pid):
        os.kill(pid, signal.SIGTERM)
    wait(run, lambda: "left (SIGTERM), starts again" in run.said, "it is started again")
    run.send(signal.SIGINT)
    assert run.ended(DEADLINE_S) == 0, run.tail()
    assert run.said.count("stopped; committed up to here") == 1
    assert workers.run("--until-end").ended(DEADLINE_S) == 0
    workers.check_counts()


def test_a_stop_before_the_end_is_no_success(workers: Workers) -> None:
    """As in one process: 128 + the signal."""
    with workers.counting("--until-end") as (run, _):
        run.may_fail = True
        run.send(signal.SIGTERM)
    code = run.ended(DEADLINE_S)
    assert (code, "stopped before the end" in run.said) == (143, True), run.tail()


def test_a_bad_record_stops_the_whole_with_its_reason(workers: Workers) -> None:
    """Once, in one line, with the user's own traceback and the documented code."""
    workers.lines(["a b", "c bad", "d e"])
    run = workers.run()
    assert run.ended(DEADLINE_S) == 5, run.tail()
    errors = [line for line in run.said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "stage 'count' failed on" in errors[0]
    assert "ValueError: a bad word" in errors[0]
    assert run.said.count('raise ValueError("a bad word")') == 1
    assert "starts again" not in run.said


def test_a_supervisor_that_is_killed_takes_its_workers_along(workers: Workers) -> None:
    """They notice, commit and leave; the next run has the whole state folder to itself."""
    with workers.counting() as (run, pid):
        run.kill()
    wait(run, lambda: not Path(f"/proc/{pid}").exists(), "the worker leaves")
    assert workers.run("--until-end").ended(DEADLINE_S) == 0
    workers.check_counts()


def test_a_broker_that_is_not_there_is_one_line(workers: Workers) -> None:
    """No worker is started for that, and none again and again."""
    quick = ("-o", "connect_timeout_ms=2000")
    run = workers.run(*quick, broker=f"127.0.0.1:{free_port()}")
    assert run.ended(DEADLINE_S) == 7, run.tail()
    errors = [line for line in run.said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "does not answer" in errors[0]
    assert "worker" not in run.said
