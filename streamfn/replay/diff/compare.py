"""Comparisons of a program with its real run, with another version, and in memory.

    diff_against_run   does a replay write what the real run wrote?
    diff_versions      does another version of the code write the same?
    compare_effects    the same for effects that are in memory: for tests

All end in a ``Comparison``. Invariant: programs are never loaded into this process; each version
runs in a child of its own, with a hash seed of its own, and reads the same recording.
"""

import tempfile
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from streamfn.graph.plan import Plan
from streamfn.graph.topology import Topology
from streamfn.replay.diff.child import Job, VersionError, planned_for
from streamfn.replay.diff.children import COMPARING, Tell, quiet, self_check, two, with_run
from streamfn.replay.diff.code import other_version, this_version
from streamfn.replay.diff.fields import Rules, rules
from streamfn.replay.diff.frames import translated_effects
from streamfn.replay.diff.graph import graph_of, translations
from streamfn.replay.diff.kinds import Comparison, Example, Group, Kind, Options
from streamfn.replay.diff.two_versions import StateRow, Versions, state_rows
from streamfn.replay.effects import Effects, Raised
from streamfn.replay.recording import Inputs
from streamfn.replay.recordings.files import create_recording, open_recording

__all__ = [
    "Comparison",
    "Example",
    "Group",
    "Kind",
    "Options",
    "Rules",
    "StateRow",
    "VersionError",
    "compare_effects",
    "diff_against_run",
    "diff_versions",
    "rules",
    "state_rows",
]


def diff_versions(
    target: str, against: str, inputs: Inputs, options: Options | None = None, *,
    end_to_end: bool = False, repartitions: bool = False, workers: int = 1, tell: Tell = quiet,
) -> Comparison:  # fmt: skip
    """Replay two versions of a program on the same records and compare all that comes of it.

    What the other version does is expected.

    Args:
        target: the program, as on a command line.
        against: the other version: a program, or a git revision of the same file.
        inputs: a recording; what is read from a log is first written to a temporary file.
        options: how to compare.
        end_to_end: topics that the program writes and reads come from itself.
        repartitions: repartition topics come from the recording, where it has them.
        workers: so many workers in each replay.
        tell: is told how far it is.

    Raises:
        ConfigError: ``against`` is neither a program nor a revision.
        VersionError: a version cannot be loaded or replayed.
    """
    options = options or Options()
    with ExitStack() as stack:
        other = stack.enter_context(other_version(target, against))
        this = this_version(target)
        recording = stack.enter_context(recorded(inputs))
        job = Job(
            target, recording, end_to_end=end_to_end, repartitions=repartitions, workers=workers
        )
        unstable, mask = self_check(this, job, options, tell)
        found = two(other, this, job, options, mask, tell, COMPARING)
    found.unstable = unstable
    return found


def diff_against_run(
    target: str, inputs: Inputs, options: Options | None = None, *,
    expected: Inputs | None = None, end_to_end: bool = False, repartitions: bool = True,
    workers: int = 1, tell: Tell = quiet, topology: Topology | None = None,
) -> Comparison:  # fmt: skip
    """Replay a program and compare what it writes with what the real run wrote.

    Args:
        target: the program, as on a command line.
        inputs: a recording; what is read from a log is first written to a temporary file.
        options: how to compare.
        expected: where the outputs of the real run are; None: in the same recording.
        end_to_end: topics that the program writes and reads come from itself.
        repartitions: repartition topics come from the recording, where it has them.
        workers: so many workers in each replay.
        tell: is told how far it is.
        topology: the program; without it topics whose bytes only its own serdes can read (Avro,
            keys of windows) are compared as bytes.

    Raises:
        ConfigError: nothing that the program writes was recorded.
        VersionError: the program cannot be loaded or replayed.
    """
    options = options or Options()
    with ExitStack() as stack:
        this = this_version(target)
        recording = stack.enter_context(recorded(inputs))
        outputs = expected or stack.enter_context(reopened(inputs, recording))
        job = Job(
            target, recording, taps=False, end_to_end=end_to_end, repartitions=repartitions,
            workers=workers, state=False, translated=topology is not None,
        )  # fmt: skip
        planned = topology and planned_for(topology, inputs, taps=False)
        unstable, mask = self_check(this, job, options, tell)
        serdes = translations(planned) if planned else {}
        found = with_run(this, job, outputs, options, mask, tell, serdes)
    found.unstable = unstable
    return found


def compare_effects(
    expected: Iterable[Effects], actual: Iterable[Effects], plan: Plan,
    options: Options | None = None, *, other_plan: Plan | None = None,
    raised: tuple[Sequence[Raised], Sequence[Raised]] = ((), ()),
    states: tuple[Iterable[StateRow], Iterable[StateRow]] = ((), ()),
) -> Comparison:  # fmt: skip
    """Compare what two replays of the same inputs have made, in this process.

    ``plan`` is the one of the replay that made ``actual`` (``Replayed.plan``), ``other_plan`` that
    of ``expected`` where it is another.
    """
    plans = other_plan or plan, plan
    versions = Versions(graph_of(plans[0]), graph_of(plans[1]), options or Options())
    for side, (found, planned) in enumerate(zip((expected, actual), plans, strict=True)):
        serdes = translations(planned)
        for one in raised[side]:
            versions.raised(side, one)
        for effects in found:
            versions.effects(side, [translated_effects(effects, serdes)])
    versions.settle(whole=True)
    versions.states(*states)
    comparison = Comparison(plan.application, "expected", "actual", [])
    versions.finish(comparison)
    return comparison


# files
@contextmanager
def recorded(inputs: Inputs) -> Generator[str]:
    """The path of the inputs' recording; of a log's topics, that of a temporary one.

    It is a whole path: a revision is replayed in the folder in which it was unpacked.
    """
    if Path(inputs.place).is_file():
        yield str(Path(inputs.place).resolve())
        return
    with tempfile.TemporaryDirectory(prefix="streamfn-diff-") as folder:
        path = Path(folder) / "inputs.jsonl"
        writer = create_recording(path, inputs.header)
        try:
            for entry in inputs.state():
                writer.entry(entry)
            for chunk in inputs.chunks():
                writer.chunk(chunk)
            writer.finish()
        finally:
            writer.abandon()
        yield str(path)


@contextmanager
def reopened(inputs: Inputs, recording: str) -> Generator[Inputs]:
    """The recording once more, for the outputs in it."""
    if Path(recording) == Path(inputs.place).resolve():
        yield inputs
        return
    found = open_recording(recording)
    try:
        yield found
    finally:
        found.close()
