"""Replays in processes of their own: one a version of the program, each with its own hash seed.

The parent spawns a child, writes the job on its stdin, and reads frames from a pipe. Invariant: a
child ends when its parent is gone, as nobody reads its pipe any more; whatever becomes of it, the
parent gets its frames to the end or one clear error that names the version.
"""

import os
import subprocess
import sys
import tempfile
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path
from select import select
from types import TracebackType
from typing import IO, Final

import msgspec

from streamfn.engine.failure import policy_of
from streamfn.errors import StreamfnError
from streamfn.graph.plan import Plan, plan
from streamfn.graph.topology import Function, OnError, Topology
from streamfn.replay.diff.code import Version
from streamfn.replay.diff.frames import (
    Closed,
    Ended,
    Entries,
    Failed,
    Failing,
    Frame,
    Hello,
    Outlet,
    Unread,
    written,
)
from streamfn.replay.diff.graph import graph_of, translations
from streamfn.replay.diff.two_versions import state_rows
from streamfn.replay.feeding import fed_topics
from streamfn.replay.recording import Inputs
from streamfn.replay.replay import Replayed, replay
from streamfn.replay.taps import tapped

MODULE: Final = "streamfn.cli.replay_child"
READ_BYTES: Final = 1_048_576
ENTRIES_MAX: Final = 2_000
PATIENCE_S: Final = 5.0
LAST_LINES: Final = 3


class Job(msgspec.Struct, frozen=True):
    """What a child is to do: a program, where it is found, a recording, how to replay it."""

    target: str
    recording: str
    paths: tuple[str, ...] = ()
    """Folders in which modules are looked for first."""
    taps: bool = True
    end_to_end: bool = False
    repartitions: bool = False
    workers: int = 1
    state: bool = True
    """Send the last state, too."""
    translated: bool = True
    """Send what only the program's serdes can read as JSON."""
    frames_fd: int = -1


class VersionError(StreamfnError):
    """A version of the program cannot be loaded or replayed; the text says which, and why."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        self.exit_code = exit_code
        super().__init__(message)


# the child's side
def work(job: Job, topology: Topology, inputs: Inputs, send: Callable[[bytes], None]) -> None:
    """Replay a program and send all that comes of it."""
    policies = policies_of(topology)
    topology = failures_told(topology) if job.taps else topology
    planned = planned_for(topology, inputs, taps=job.taps)
    fed = fed_topics(planned, inputs, end_to_end=job.end_to_end, repartitions=job.repartitions)
    send(written(Hello(graph_of(planned), sorted(fed), policies)))
    outlet = Outlet(send, translations(planned) if job.translated else {})
    with replay(
        topology, inputs, outlet,
        workers=job.workers, taps=job.taps, progress=outlet.progress, end_to_end=job.end_to_end,
        repartitions=job.repartitions,
    ) as replayed:  # fmt: skip
        for raised in replayed.raised:
            if id(raised) not in outlet.told:
                send(written(Failing(raised)))
        send(written(Ended(replayed.records, list(replayed.notices))))
        for frame in _frames_of_state(replayed) if job.state else ():
            send(written(frame))
        send(written(Closed()))


def failures_told(topology: Topology) -> Topology:
    """Have all records that fail become dead letters, whatever the policies.

    A record that fails is undone as a whole: only the dead letter tells at which stage, in time to
    know that what is missing in front of it was undone. Timers have no record: theirs stay.
    """
    told = topology.policy.on_error
    nodes = {
        name: replace(node, policy=replace(node.policy, on_error=_told(node, told)))
        if isinstance(node, Function)
        else node
        for name, node in topology.nodes.items()
    }
    policy = replace(topology.policy, on_error="dead_letter")
    return replace(topology, nodes=nodes, policy=policy)


def policies_of(topology: Topology) -> dict[str, str]:
    """Return what each stage does with a record that fails."""
    return {name: policy_of(topology, name).on_error or "" for name in topology.nodes}


def _told(node: Function, otherwise: OnError | None) -> OnError | None:
    return (node.policy.on_error or otherwise) if node.timers else "dead_letter"


def planned_for(topology: Topology, inputs: Inputs, *, taps: bool) -> Plan:
    """The plan that the replay will have, as far as a comparison asks."""
    widths = {topic.name: topic.partitions for topic in inputs.header.topics}
    whole = replace(topology, feeds=())
    return plan(tapped(whole) if taps else whole, widths)


def _frames_of_state(replayed: Replayed) -> Iterator[Entries]:
    """Pack the last state."""
    for (store, partition), rows in groupby(state_rows(replayed), lambda row: row[:2]):
        while part := list(islice(rows, ENTRIES_MAX)):
            _, _, keys, values, shown = zip(*part, strict=True)
            yield Entries(store, partition, list(keys), list(values), list(shown))


# the parent's side
class Child:
    """A process that replays one version."""

    def __init__(self, version: Version, job: Job, seed: int) -> None:
        self.version, self._closed = version, False
        self.waiting: deque[Frame] = deque()
        """What has come and was not looked at."""
        self._unread = Unread()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the process
        # Its state is in here: a process that is terminated does not tidy up.
        folder = tempfile.TemporaryDirectory(prefix="streamfn-version-")
        self.fd, writing = os.pipe()
        started: list[subprocess.Popen[bytes]] = []
        # Registered before there is a process: Ctrl-C may come before whoever closes us has us.
        self._give_back = weakref.finalize(self, _end, self.fd, self._errors, folder, started)
        try:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-P", "-m", MODULE],
                    stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._errors,
                    pass_fds=(writing,), start_new_session=True,
                    env=_environment(seed, folder.name), cwd=version.folder,
                )
            )  # fmt: skip
        except OSError:
            self._give_back()
            raise
        finally:
            os.close(writing)
        (self._process,) = started
        job = msgspec.structs.replace(
            job, target=version.target, paths=version.paths, frames_fd=writing
        )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it may have ended: reading says why
            self._process.stdin.write(msgspec.json.encode(job) + b"\n")
            self._process.stdin.flush()

    def frames(self) -> Iterator[Frame]:
        """Yield frames up to the end, waiting for each."""
        while True:
            while self.waiting:
                yield self.waiting.popleft()
            if self._closed:
                return
            self.fill()

    def fill(self) -> None:
        """Wait for bytes; put the frames that are whole to those waiting.

        Raises:
            VersionError: the version has failed, or its process has died.
        """
        data = os.read(self.fd, READ_BYTES)
        for frame in self._unread.add(data):
            if isinstance(frame, Failed):
                said = "; ".join(frame.lines).replace(f"{self.version.root}{os.sep}", "")
                message = f"{self.version.name}: {said}"
                raise VersionError(message, frame.exit_code)
            self._closed = self._closed or isinstance(frame, Closed)
            self.waiting.append(frame)
        if not data and not self._closed:
            raise VersionError(self._why())

    def _why(self) -> str:
        """Say how a process went that did not say it itself."""
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        said = " / ".join(line.strip() for line in lines if line.strip()[:1])
        last = " / ".join(said.split(" / ")[-LAST_LINES:])
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return (
            f"{self.version.name}: its process died while it replayed; got {how}"
            f"{last and f' ({last})'}; replay this version on its own"
        )

    def close(self) -> None:
        """End the process if it still runs, and give everything back."""
        if self._closed:  # it has said all, and may take its time to end
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE_S)
        self._give_back()


def _end(
    fd: int,
    errors: IO[bytes],
    folder: tempfile.TemporaryDirectory[str],
    started: Sequence[subprocess.Popen[bytes]],
) -> None:
    """End a process, if it was started and still runs, and give all back that it had."""
    os.close(fd)
    for process in started:
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it may have ended before it read its job
            process.stdin.close()
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    errors.close()
    folder.cleanup()


class Children:
    """Processes that are read side by side; at the end of the block none is left."""

    def __init__(self, children: Sequence[Child]) -> None:
        self.children = children

    def __enter__(self) -> Sequence[Child]:
        return self.children

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for child in self.children:
            child.close()


def readable(children: Sequence[Child]) -> list[Child]:
    """Wait until at least one of these has something to read."""
    found, _, _ = select([child.fd for child in children], [], [])
    return [child for child in children if child.fd in found]


def _environment(seed: int, temporary: str) -> dict[str, str]:
    """The environment of a child: a hash seed, a folder, and where streamfn itself is."""
    found = {**os.environ, "PYTHONHASHSEED": str(seed), "TMPDIR": temporary}
    home = str(Path(__file__).resolve().parents[3])
    if Path(home).name not in ("site-packages", "dist-packages"):
        before = found.get("PYTHONPATH")
        found["PYTHONPATH"] = home + (f"{os.pathsep}{before}" if before else "")
    return found
