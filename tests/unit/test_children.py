"""Worker processes and their pipes: tiny programs in the place of workers."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import msgspec
import pytest

from streamfn.cli.children import Lines, ProcessChild, wait_for
from streamfn.cli.job import Job, job_of, job_on, line_of
from streamfn.cli.link import UNSENT_BYTES_MAX, Outbox
from streamfn.config import Config
from streamfn.engine.status import Message, Note, Status, message_of

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 120
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
SAYING = """
import json, os, sys
job = json.loads(sys.stdin.readline())
os.write(job["status_fd"], b'{"type":"status","counts":{"records":3}}\\n{"type":"no')
sys.stderr.write("to stderr\\n")
sys.stderr.flush()
print("to stdout")
for line in sys.stdin:
    os.write(job["status_fd"], b'te","word":"warning","text":"%s"}\\n' % line.strip().encode())
sys.exit(4)
"""
PARENT = """
import sys
from streamfn.cli.children import ProcessChild
child = ProcessChild([sys.executable, "-c", "import sys; sys.stdin.read()"], lambda fd: b"")
print(child.pid, flush=True)
sys.stdin.read()
"""


@contextmanager
def started(text: str, *, take_stdout: bool = True) -> Generator[ProcessChild]:
    """Run a program as a child."""
    command = [sys.executable, "-c", text]
    child = ProcessChild(
        command, lambda fd: line_of(Job("x", {"a": 1}, False, fd)), take_stdout=take_stdout
    )
    try:
        yield child
    finally:
        child.close()


def heard(child: ProcessChild, enough: Callable[[list[Message]], bool]) -> list[Message]:
    """Listen until enough was said."""
    found: list[Message] = []
    give_up_s = monotonic() + DEADLINE_S
    while not enough(found):
        assert monotonic() < give_up_s, found
        wait_for(child.fds(), 0.1)
        found += child.messages()
    return found


def ended(child: ProcessChild) -> int:
    """Wait for the end."""
    heard(child, lambda found: child.exit_code() is not None)
    code = child.exit_code()
    assert code is not None
    return code


def test_a_child_says_and_is_told() -> None:
    """Its status, its streams line by line, and a line that comes in two pieces."""
    with started(SAYING) as child:
        found = heard(child, lambda found: len(found) == 3)
        assert Status({"records": 3}) in found
        assert Note("stderr", "to stderr") in found
        assert child.exit_code() is None
        child.tell("hello")
        assert heard(child, lambda found: Note("warning", "hello") in found)


def test_the_end_of_stdin_ends_a_child_and_its_code_is_kept() -> None:
    """``close`` asks; what it said last is heard though it has ended."""
    with started(SAYING) as child:
        heard(child, lambda found: len(found) >= 2)
        child.close()
        assert child.exit_code() == 4
        child.tell("nobody hears this")
        child.terminate()
        child.kill()


def test_a_child_that_does_not_listen_is_killed() -> None:
    """A signal ends it: the code is negative."""
    with started("import signal; signal.pause()") as child:
        assert os.getsid(child.pid) == child.pid  # Ctrl-C on our terminal does not reach it
        child.kill()
        assert ended(child) == -signal.SIGKILL


def test_what_a_child_said_before_it_died_is_heard() -> None:
    """Also without a line end, as a dying process writes it."""
    with started("import os; os.write(2, b'Fatal: no line end'); os.abort()") as child:
        assert ended(child) == -signal.SIGABRT
        said = child.messages()
    assert said in ([Note("stderr", "Fatal: no line end")], [])


@on_linux
def test_children_notice_that_their_parent_was_killed() -> None:
    """Nobody closes anything: the kernel does."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=environment,
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.kill()
            assert select.select([child], [], [], DEADLINE_S)[0], "the child lives on"
        finally:
            os.close(child)


@on_linux
def test_secrets_are_not_where_others_can_see_them() -> None:
    """Neither among the arguments nor in the environment; and printing a job tells none."""
    secret = "canary-7Qx"
    config = Config.parse([f"kafka.sasl.password={secret}"], broker="b:1", state_dir=Path("here"))
    job = job_of("words.py", config, create_topics=True)
    child = ProcessChild(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], lambda fd: line_of(job)
    )
    try:
        for name in ("cmdline", "environ"):
            assert secret.encode() not in Path(f"/proc/{child.pid}/{name}").read_bytes()
    finally:
        child.close()
    assert secret not in repr(job)
    back = job_on(line_of(job))
    assert back is not None
    assert back.config() == config
    assert dict(back.config().client_settings) == {"kafka.sasl.password": secret}
    assert job_on(b"{}") is None


def test_lines_are_cut_and_never_waited_for() -> None:
    """Nothing there is no line; the end gives what is left."""
    reading, writing = os.pipe()
    lines = Lines(reading)
    assert lines.read() == []
    os.write(writing, b"a\nb")
    assert lines.read() == [b"a"]
    os.write(writing, b"c\nd")
    os.close(writing)
    assert lines.read() == [b"bc", b"d"]
    assert (lines.read(), lines.fd) == ([], -1)


def test_a_line_without_end_is_bounded() -> None:
    """A program that writes no line ends does not fill our memory."""
    text = "import os\nwhile True: os.write(2, b'x' * 65536)"
    with started(text) as child:
        found = heard(child, lambda found: len(found) > 1)
        child.kill()
    assert all(isinstance(note, Note) and len(note.text) < 2_000_000 for note in found)


def test_an_outbox_that_nobody_reads_holds_up_nothing() -> None:
    """A status is dropped for a newer one, a line is kept, within bounds; then all comes."""
    reading, writing = os.pipe()
    outbox, lines = Outbox(writing), Lines(reading)
    for number in range(3_000):
        outbox.send(Status({"records": number}, waits_for="x" * 100))
    outbox.send(Note("warning", "kept"))
    outbox.send(Status({"records": 5_000}))
    found = [message_of(line) for line in lines.read()]
    outbox.send(Note("warning", "last"))
    found += [message_of(line) for line in lines.read()]
    statuses = [m.records for m in found if isinstance(m, Status)]
    assert statuses == list(range(len(statuses)))
    assert 100 < len(statuses) < 3_000
    assert found[-2:] == [Note("warning", "kept"), Note("warning", "last")]
    for _ in range(100):
        outbox.send(Note("warning", "x" * (UNSENT_BYTES_MAX // 20)))
    outbox.send(Note("warning", "dropped"))
    lines.close()
    outbox.close()  # nobody is there: it does not wait
    os.close(writing)


def test_a_line_that_is_no_message_is_told_as_one() -> None:
    """What is wrong with it, not what is in it."""
    note = message_of(b'{"type":"status","counts":"secret"}')
    assert isinstance(note, Note)
    assert "cannot be read" in note.text
    assert "secret" not in note.text
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b"[]", type=Status)
