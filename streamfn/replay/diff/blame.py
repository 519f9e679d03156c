"""Which stage is to blame for a difference, and which stages only follow it.

Differences come in order of the input records that they go back to, at each record upstream stages
first, and leave with the stage that they follow from, "" for the stage's own. Invariant: a stage
follows another only if that one is upstream of it and differs at the same record, or, where what
the stage does depends on the past, at an earlier one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from streamfn.replay.diff.graph import Graph


@dataclass(frozen=True)
class Suspect:
    """A stage that nobody could look at, and those behind it that differ."""

    stage: str
    behind: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.stage}, or what is between it and {' and '.join(self.behind)}"


class Upstream:
    """What is in front of each stage."""

    def __init__(self, graph: Graph) -> None:
        parents = {stage.name: stage.parents for stage in graph.stages}
        self.place = {stage.name: at for at, stage in enumerate(graph.stages)}
        self.of = {name: self._walk(name, parents) for name in parents}

    def _walk(self, name: str, parents: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
        """All ancestors, in order of the program; in a ring a stage is not its own."""
        seen, waiting = set[str](), [*parents[name]]
        while waiting:
            at = waiting.pop()
            if at not in seen and at != name:
                seen.add(at)
                waiting += parents.get(at, ())
        return tuple(sorted(seen, key=lambda one: self.place.get(one, -1)))

    def index(self, stage: str) -> int:
        """Where a stage stands in the program; what is none stands last."""
        return self.place.get(stage.split(" or ")[0], len(self.place))

    def above(self, stage: str) -> tuple[str, ...]:
        """The stages upstream of one, or of each of ``a or b``."""
        return tuple(
            dict.fromkeys(up for one in stage.split(" or ") for up in self.of.get(one, ()))
        )


class Blame:
    """Between two replays: all stages can be seen, record by record."""

    def __init__(self, graph: Graph, seen: Iterable[str] = ()) -> None:
        """``seen`` are the stages of which it is known what they hand on."""
        self.upstream = Upstream(graph)
        seen_stages = set(seen)
        own = {stage.name for stage in graph.stages if stage.remembers}
        self._remembering = {
            stage.name
            for stage in graph.stages
            if stage.name in own
            or any(up in own and up not in seen_stages for up in self.upstream.of[stage.name])
        }
        self._first: dict[str, str] = {}
        """The stages that have differed, with the one that each followed from at first."""
        self._own: set[str] = set()
        self._rank = -1
        self._here: dict[str, str] = {}
        """The stages that differ at this input record, and whom they follow."""

    def follows(self, stage: str, rank: int, undone_by: str = "") -> str:
        """Take the next difference; return the stage that it follows from, "" if it is its own.

        ``undone_by``: the stage at which the record failed, on one side only; all else that the
        record did was undone there.
        """
        if rank != self._rank:
            self._rank, self._here = rank, {}
        if undone_by:
            found = self._here.get(undone_by) or undone_by
            self._here.setdefault(stage, found)
            self._first.setdefault(stage, found)
            return found
        if stage in self._here:
            return self._here[stage]
        found = self._from_upstream(stage)
        self._here[stage] = found
        self._first.setdefault(stage, found)
        if not found:
            self._own.add(stage)
        return found

    def _from_upstream(self, stage: str) -> str:
        above = self.upstream.above(stage)
        here = [up for up in above if up in self._here]
        if here:
            return self._here[here[0]] or here[0]
        if stage in self._own or not any(s in self._remembering for s in stage.split(" or ")):
            return ""
        if stage in self._first:  # its state does not come back to what it was
            return self._first[stage]
        before = [up for up in above if up in self._first]
        return (self._first[before[0]] or before[0]) if before else ""

    def of_failure(self, stage: str) -> str:
        """Tell whom a failing stage follows, when all records are through.

        What it was given cannot be seen, as it is undone; whoever upstream gives others something
        else may have given it that, too.
        """
        return next((up for up in self.upstream.above(stage) if up in self._own), "")

    def of_state(self, stage: str) -> str:
        """Tell whom the state of a stage follows, when all records are through."""
        if stage in self._own:
            return ""
        if stage in self._first:
            return self._first[stage]
        before = [up for up in self.upstream.above(stage) if up in self._first]
        return (self._first[before[0]] or before[0]) if before else ""


def followed(stages: Iterable[str], graph: Graph) -> dict[str, str]:
    """Tell of each differing stage whom it follows, where only topics could be seen.

    Nothing is known of single records then: whoever is behind a differing stage follows it.
    """
    upstream, differing = Upstream(graph), list(dict.fromkeys(stages))
    found: dict[str, str] = {}
    for stage in sorted(differing, key=upstream.index):
        above = [up for up in upstream.above(stage) if up in differing]
        found[stage] = (found[above[0]] or above[0]) if above else ""
    return found


def suspect(blamed: Iterable[str], seen: Iterable[str], graph: Graph) -> Suspect | None:
    """Name the nearest stage upstream of all to blame, if it could not be seen itself.

    All that could be seen behind it must differ, or else it did its work.
    """
    to_blame, observed, upstream = list(dict.fromkeys(blamed)), set(seen), Upstream(graph)
    if len(to_blame) < 2:
        return None
    common = set(upstream.above(to_blame[0]))
    for stage in to_blame[1:]:
        common &= set(upstream.above(stage))
    passing = {stage.name for stage in graph.stages if stage.passes}
    near = [s.name for s in graph.stages if s.name in common - observed - passing]
    for name in reversed(near):
        behind = [s for s in observed if name in upstream.above(s)]
        if all(s in to_blame or set(upstream.above(s)) & set(to_blame) for s in behind):
            return Suspect(name, tuple(sorted(to_blame, key=upstream.index)))
    return None
