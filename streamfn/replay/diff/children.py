"""Drives the child processes of a comparison: two versions side by side, or one and the real run.

Frames come from the children's pipes and go to the comparison while the replays go on. Invariant:
neither side gets far ahead of the other, and at the end no process is left.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from streamfn.errors import ConfigError, InternalError
from streamfn.replay.diff.child import Child, Children, Job, readable
from streamfn.replay.diff.code import Version
from streamfn.replay.diff.edges import has_edges
from streamfn.replay.diff.frames import (
    Ended,
    Entries,
    Failing,
    Hello,
    Made,
    Translations,
    effects_of,
    translated_batch,
)
from streamfn.replay.diff.graph import Graph
from streamfn.replay.diff.kinds import Comparison, Group, Options
from streamfn.replay.diff.run import AgainstRun
from streamfn.replay.diff.tally import Mask
from streamfn.replay.diff.two_versions import AT_END, StateRow, Versions
from streamfn.replay.recording import CUT_BY_TIME, Chunk, Inputs

Tell: TypeAlias = Callable[[str, int], None]
"""Told now and then what is being done, and how many input records of it."""

HELD_ROWS_MAX: Final = 500_000
"""A replay that is so many rows ahead of the other waits for it."""
SELF_CHECK: Final = "comparing the program with itself"
COMPARING: Final = "comparing"
SEEDS: Final = (1, 2)


def quiet(doing: str, records: int) -> None:
    """Nobody looks."""


# two versions
def self_check(this: Version, job: Job, options: Options, tell: Tell) -> tuple[list[Group], Mask]:
    """Compare a version with itself under another hash seed."""
    mask = Mask()
    if not options.self_check:
        return [], mask
    found = two(this, this, job, options, mask, tell, SELF_CHECK)
    mask.add(found.groups)
    return [group for group in found.groups if not group.follows], mask


def two(
    expected: Version, actual: Version, job: Job, options: Options, mask: Mask, tell: Tell,
    doing: str,
) -> Comparison:  # fmt: skip
    """Replay two versions side by side."""
    sides = zip((expected, actual), SEEDS, strict=True)
    with Children([Child(version, job, seed) for version, seed in sides]) as children:
        hellos = [_hello(child) for child in children]
        graphs = [hello.graph for hello in hellos]
        versions = Versions(graphs[0], graphs[1], options, mask)
        versions.policies(*(hello.policies for hello in hellos))
        ends = _replays(children, versions, tell, doing)
        if job.state:
            versions.states(*(_state_rows(child) for child in children))
    comparison = Comparison(graphs[1].application, expected.name, actual.name, [])
    comparison.inputs = max(end.records for end in ends)
    comparison.notices = list(dict.fromkeys(note for end in ends for note in end.notices))
    versions.finish(comparison)
    return comparison


def _hello(child: Child) -> Hello:
    frame = next(child.frames())
    if not isinstance(frame, Hello):
        message = f"{child.version.name}: a replay began with {type(frame).__name__}"
        raise InternalError(message)
    return frame


def _replays(children: Sequence[Child], versions: Versions, tell: Tell, doing: str) -> list[Ended]:
    """Read both up to the end of their inputs, comparing as they go."""
    ends: dict[int, Ended] = {}
    done = [0, 0]
    while len(ends) < len(children):
        working = [side for side in range(len(children)) if side not in ends]
        near = [side for side in working if versions.held(side) < HELD_ROWS_MAX]
        chosen = {children[side].fd: side for side in near or working}
        for child in readable([children[side] for side in chosen.values()]):
            side = chosen[child.fd]
            child.fill()
            end = _take(child, side, versions, done)
            if end is not None:
                ends[side] = end
                versions.passed(side, AT_END)
        versions.settle()
        tell(doing, min(done))
    versions.settle(whole=True)
    return [ends[side] for side in range(len(children))]


def _take(child: Child, side: int, versions: Versions, done: list[int]) -> Ended | None:
    """Take the frames that have come, up to the end of the inputs."""
    while child.waiting:
        match child.waiting.popleft():
            case Made(found, records):
                versions.effects(side, [effects_of(rows) for rows in found])
                done[side] = records
            case Failing(raised):
                versions.raised(side, raised)
            case Ended() as end:
                done[side] = end.records
                return end
            case _:
                continue
    return None


def _state_rows(child: Child) -> Iterator[StateRow]:
    for frame in child.frames():
        if isinstance(frame, Entries):
            rows = zip(frame.keys, frame.values, frame.shown, strict=True)
            for key, value, shown in rows:
                yield StateRow(frame.store, frame.partition, key, value, shown)


# a child and the real run
def with_run(
    this: Version, job: Job, outputs: Inputs, options: Options, mask: Mask, tell: Tell,
    serdes: Translations,
) -> Comparison:  # fmt: skip
    """Replay a version and read what the real run wrote beside it, by the same serdes."""
    with Children([Child(this, job, SEEDS[0])]) as (child,):
        hello = _hello(child)
        run = AgainstRun(hello.graph, options, outputs.header, fed=hello.reads, mask=mask)
        _check_compared(run, outputs)
        chunks = _readable(outputs.chunks(run.topics), serdes)
        end: Ended | None = None
        for frame in child.frames():
            match frame:
                case Made(found, records):
                    run.effects([effects_of(rows) for rows in found])
                    while run.rows[0] < run.rows[1] and (chunk := next(chunks, None)):
                        run.expected(chunk)
                    run.settle()
                    tell(COMPARING, records)
                case Failing(raised):
                    run.raised(raised)
                case Ended():
                    end = frame
                case _:
                    continue
    for chunk in chunks:
        run.expected(chunk)
        run.settle()
    run.settle(whole=True)
    comparison = Comparison(hello.graph.application, "the real run", f"{this.name} replayed", [])
    if end is not None:
        comparison.inputs, comparison.notices = end.records, list(end.notices)
    run.finish(comparison)
    if outputs.header.note == CUT_BY_TIME:
        comparison.notices.append(
            "the records were cut by time: inputs at the first of that time or later, outputs by "
            "their own times"
        )
    if has_edges(outputs.header) and hello.graph.stores and not outputs.header.stores:
        comparison.notices.append(
            "the records begin in the middle of the run and stores begin empty: stages with state "
            f"({', '.join(_with_state(hello.graph))}) and those behind them differ for that alone "
            "(record with --state)"
        )
    return comparison


def _with_state(graph: Graph) -> list[str]:
    return [stage.name for stage in graph.stages if stage.stores]


def _readable(chunks: Iterable[Chunk], serdes: Translations) -> Iterator[Chunk]:
    for chunk in chunks:
        yield [translated_batch(batch, serdes) for batch in chunk]


def _check_compared(run: AgainstRun, outputs: Inputs) -> None:
    """Refuse a recording without anything that the program writes.

    Raises:
        ConfigError: with what is in it.
    """
    if not run.topics:
        message = (
            f"nothing that the program writes is in {outputs.place}; got "
            f"{', '.join(topic.name for topic in outputs.header.topics) or 'no topics'}; record "
            "with --app and its outputs, or compare versions: --against"
        )
        raise ConfigError(message)
