"""The embedded log against kill -9, full disks, other processes and folders it cannot use."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamfn.clock import CountingRandom, ManualClock
from streamfn.connectors.embedded import open_embedded
from streamfn.connectors.folder_lock import refuse_network
from streamfn.errors import LogError, LogLockedError
from streamfn.record import TopicPartition
from tests.unit.log_contract import Listening, everything


def run(script: str, *, wait: bool = True) -> "subprocess.Popen[str]":
    """Start a Python process in this tree."""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    if wait:
        process.wait()
    return process


OPEN = """
import sys
from pathlib import Path
from streamfn.clock import SystemClock, SystemRandom
from streamfn.connectors.embedded import open_embedded
from streamfn.connectors.log import Committed
from streamfn.record import Columns, TopicPartition
log = open_embedded(Path({path!r}), clock=SystemClock(), random=SystemRandom())
"""


def test_a_second_process_is_told_who_has_the_log(tmp_path: Path) -> None:
    """The error names process, command and since when; after a close the log is free."""
    path = tmp_path / "log"
    script = OPEN.format(path=str(path)) + "print('open', flush=True); sys.stdin.read()"
    owner = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == "open\n"
    with pytest.raises(LogLockedError, match=rf"process {owner.pid} \(-c\) since \d\d:\d\d:\d\d;"):
        open_embedded(path, clock=ManualClock(), random=CountingRandom())
    owner.communicate("")
    log = open_embedded(path, clock=ManualClock(), random=CountingRandom())
    holder = json.loads((tmp_path / "log.lock").read_text())
    assert (holder["pid"], holder["since"][:4]) == (os.getpid(), "1970")
    log.close()
    log.close()
    assert (tmp_path / "log.lock").exists()


def test_a_folder_that_cannot_be_used_is_told_in_a_line(tmp_path: Path) -> None:
    """A file in the way gives a LogError and leaves the lock free."""
    (tmp_path / "file").touch()
    with pytest.raises(LogError, match="cannot be locked"):
        open_embedded(tmp_path / "file" / "log", clock=ManualClock(), random=CountingRandom())
    (tmp_path / "log").touch()
    for _ in range(2):
        with pytest.raises(LogError, match="cannot be used") as raised:
            open_embedded(tmp_path / "log", clock=ManualClock(), random=CountingRandom())
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_network_file_systems_are_refused(tmp_path: Path, kind: str) -> None:
    """The innermost mount decides; those that containers use are fine."""
    mounts = tmp_path / "mounts"
    place = str(tmp_path / "my data").replace(" ", "\\040")
    mounts.write_text(f"overlay / overlay rw 0 0\nserver:/x {place} {kind} rw 0 0\n")
    refuse_network(tmp_path / "elsewhere", mounts)
    refuse_network(tmp_path / "my data2", mounts)
    with pytest.raises(LogError, match=kind):
        refuse_network(tmp_path / "my data" / "log", mounts)


WRITER = (
    OPEN
    + """
log.open_producer()
for name in ("out", "change"):
    log.create_topic(name, 1, {{}})
log.join("g", 1, None)
source = TopicPartition("out", 0)
held = log.committed([source]).get(source, Committed(0, ""))
number = held.offset
while True:
    rows = number % 37 + 1
    log.begin()
    for topic in ("out", "change"):
        columns = Columns.empty()
        for row in range(number, number + rows):
            columns.add(b"k%d" % (row % 5), b"%d" % row, row)
        log.emit(topic, 0, columns)
    log.flush()
    number += rows
    log.send_offsets({{source: Committed(number, "token")}})
    log.commit()
    log.poll(0)
    print(number, flush=True)
"""
)


@pytest.mark.slow
def test_killed_writers_leave_whole_transactions(tmp_path: Path) -> None:
    """After each kill -9: outputs, changelog and positions agree, nothing acknowledged is lost."""
    path = tmp_path / "log"
    out, change = TopicPartition("out", 0), TopicPartition("change", 0)
    for kill in range(10):
        writer = run(WRITER.format(path=str(path)), wait=False)
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(20 + kill * 30)][-1]
        writer.kill()
        # Not communicate(): it reads past what readline() has buffered, and begins in mid-line.
        acknowledged = [acknowledged, *map(int, writer.stdout.read().split("\n")[:-1])][-1]
        writer.communicate()
        log = open_embedded(path, clock=ManualClock(), random=CountingRandom())
        log.join("g", 1, Listening())
        committed = log.committed([out])[out].offset
        assert committed >= acknowledged
        expected = [(b"k%d" % (row % 5), b"%d" % row, row) for row in range(committed)]
        assert everything(log, out) == everything(log, change) == expected
        log.close()


FULL = (
    OPEN
    + """
import resource, signal
from streamfn.errors import LogError, UnknownOutcomeError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log.create_topic("out", 1, {{}})
log.open_producer()
log.join("g", 1, None)
source = TopicPartition("out", 0)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
number = 0
while True:
    columns = Columns.empty()
    for row in range(number, number + 10):
        columns.add(b"k", b"%050d" % row, row)
    log.begin()
    log.emit("out", 0, columns)
    log.send_offsets({{source: Committed(number + 10, str(number))}})
    try:
        log.commit()
    except UnknownOutcomeError as error:
        print(error)
        break
    number += 10
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
log.open_producer()
held = log.committed([source])[source]
end = log.end_offsets([source])[source]
read = sum(len(batch) for batch in log.read(source, 0, end))
print(number, held.offset, held.metadata, end, read)
"""
)


def test_a_disk_that_takes_no_more_is_an_unknown_outcome(tmp_path: Path) -> None:
    """A limit on file sizes stands for a full disk; then records, end and position agree."""
    writer = run(FULL.format(path=str(tmp_path / "log")))
    text, errors = writer.communicate()
    assert "unknown outcome" in text, errors
    assert "Traceback" not in errors
    number, offset, token, end, read = map(int, text.split("\n")[1].split())
    assert offset == end == read == token + 10
    assert offset in (number, number + 10)
    assert number > 1000
