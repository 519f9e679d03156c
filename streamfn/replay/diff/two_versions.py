"""Compares two replays of the same inputs, row by row, by the input record each goes back to.

Effects come in as both replays are read; differences go, in order of the input records, through the
blame into the tally. Invariant: what is not compared yet is what one side is ahead of the other,
and no more.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from streamfn.graph.stores import decode_entry, entry_serde
from streamfn.graph.topology import PLAIN_KINDS
from streamfn.replay.diff.blame import Blame
from streamfn.replay.diff.graph import Graph, as_json, merged
from streamfn.replay.diff.headers import compared_headers
from streamfn.replay.diff.kinds import STATE, Comparison, Example, Group, Options
from streamfn.replay.diff.roots import ByRoot
from streamfn.replay.diff.rows import Pair, Root
from streamfn.replay.diff.tally import Found, Mask, Tally
from streamfn.replay.effects import Effects, Raised
from streamfn.replay.replay import Replayed
from streamfn.replay.taps import PREFIX as TAP

AT_END: Final = 2**62
"""The rank of what has none: it comes last."""
NOT_EXPECTED: Final = 2**61
"""From here on are ranks of rows whose input record has made nothing on the other side."""
POLICY: Final = "on_error"
"""The field in which a stage differs that does something else with records that fail."""


class StateRow(NamedTuple):
    """An entry of a store at the end of a replay; ``shown`` is its key as JSON."""

    store: str
    partition: int
    key: bytes
    value: bytes
    shown: bytes


def state_rows(replayed: Replayed) -> Iterator[StateRow]:
    """Yield what all stores hold that people can see, in order of store, partition and key."""
    for store, spec in sorted(replayed.plan.topology.stores.items()):
        seen, decode = decode_entry(spec), entry_serde(spec).decode
        plain = spec.kind in PLAIN_KINDS
        for key, value, partition in replayed.entries(store):
            found = seen(key, None if plain else decode(value))
            if found is not None:
                yield StateRow(store, partition, key, value, as_json(found[0]))


@dataclass
class Side:
    """What has come of one of two replays, and is not compared yet."""

    rank: int = -1
    """All rows up to it are there."""
    raised: dict[tuple[Root, str, int, int], Raised] = field(
        default_factory=dict[tuple[Root, str, int, int], Raised]
    )


class Versions:
    """Two replays of the same inputs."""

    def __init__(
        self, expected: Graph, actual: Graph, options: Options, mask: Mask | None = None
    ) -> None:
        self.graph = merged(expected, actual)
        self.tally = Tally(self.graph, options, mask)
        both = set(expected.seen) & set(actual.seen)
        self._blame = Blame(self.graph, both)
        self._one_sided = {
            topic
            for topic in expected.topics.keys() ^ actual.topics.keys()
            if topic.startswith(TAP)
        }
        self._topics: dict[str, ByRoot] = {}
        self._sides = (Side(), Side())
        self._failed: dict[Root, tuple[str, str]] = {}
        """Input records that failed on one side only: at which stage, and how rows that are undone
        there show."""
        self._told: set[str] = set()
        """Stages that differ of themselves, and not only by failing."""
        self.notices = list(_new_and_gone(expected, actual))
        self._timed = {*expected.timed, *actual.timed}
        self._apart = False
        """The two read their inputs in different orders, as they give them other times."""
        self._policies: dict[str, tuple[str, str]] = {}
        self._letters: tuple[Counter[str], Counter[str]] = Counter(), Counter()

    def policies(self, expected: Mapping[str, str], actual: Mapping[str, str]) -> None:
        """Take what the stages of both do with records that fail, where that is not the same."""
        self._policies = {
            stage: (policy, actual[stage])
            for stage, policy in expected.items()
            if actual.get(stage, policy) != policy
        }

    def effects(self, side: int, found: list[Effects]) -> None:
        """Take what a chunk of inputs has made on one side (0 expected, 1 actual)."""
        for effects in found:
            if effects.topic == self.graph.dead_letters and self._policies:
                self._letters[side].update(effects.stages)
            if effects.topic not in self._one_sided and len(effects):
                topic = self._topics.get(effects.topic)
                if topic is None:
                    topic = self._topics[effects.topic] = ByRoot(compared_headers)
                topic.add(side, effects)
                self.passed(side, effects.ranks[-1])

    def passed(self, side: int, rank: int) -> None:
        """Note up to where one side has come."""
        self._sides[side].rank = max(self._sides[side].rank, rank)

    def raised(self, side: int, raised: Raised) -> None:
        """Take a failure of one side; it comes before the rows of its chunk."""
        name = (raised.root, raised.source.topic, raised.source.partition, raised.offset)
        self._sides[side].raised[name] = raised

    def held(self, side: int) -> int:
        """How many rows of one side wait for the other."""
        return sum(topic.held(side) for topic in self._topics.values())

    def settle(self, *, whole: bool = False) -> None:
        """Compare all that is there on both sides."""
        limit = None if whole else min(side.rank for side in self._sides)
        self._apart = self._apart or self._in_other_order(limit)
        if self._apart:
            if not whole:
                return
            self._rank_by_root()
        pairs: list[tuple[str, Pair]] = []
        for topic, rows in sorted(self._topics.items()):
            same, different = rows.settle(limit)
            self.tally.same(same)
            pairs += [(topic, pair) for pair in different]
        if not pairs and not whole:
            return
        ranks: dict[Root | None, int] = {
            row.root: row.rank for _, pair in pairs for row in pair[:2] if row and row.root
        }
        found = self._failures(ranks, whole=whole)
        for topic, pair in pairs:
            row = pair.actual or pair.expected
            assert row is not None
            for one in self.tally.compare(topic, pair):
                if one.kind == "raised" and row.root:
                    self._failed[row.root] = one.stage, _undone(pair.expected is None)
                found.append((row.rank, row.root, one))
        self._assign(found)

    def _in_other_order(self, limit: int | None) -> bool:
        """Tell whether the inputs up to a rank are not the same on both sides."""
        orders = (self._topics[tap].orders(limit) for tap in self._timed & self._topics.keys())
        return any(left != right for left, right in orders)

    def _rank_by_root(self) -> None:
        """Give the actual rows the ranks that their input records have among the expected."""
        ranks: dict[Root, int] = {}
        for rows in self._topics.values():
            ranks.update((root, rank) for rank, root in rows.orders(None)[0].items())
        for rows in self._topics.values():
            rows.ranked(1, lambda root, rank: ranks.get(root, NOT_EXPECTED + rank))

    def _failures(
        self, ranks: dict[Root | None, int], *, whole: bool
    ) -> list[tuple[int, Root | None, Found]]:
        """Compare the failures at input records where rows differ, too; at the end, all."""
        found: list[tuple[int, Root | None, Found]] = []
        left, right = (side.raised for side in self._sides)
        for name in [*left, *(name for name in right if name not in left)]:
            one, other = left.get(name), right.get(name)
            if whole or name[0] in ranks or (one is not None and other is not None):
                left.pop(name, None)
                right.pop(name, None)
                for difference in self.tally.failure(one, other):
                    found.append((ranks.get(name[0], AT_END), name[0], difference))
                    if difference.kind == "raised":
                        self._failed[name[0]] = difference.stage, _undone(one is None)
        return found

    def _assign(self, found: list[tuple[int, Root | None, Found]]) -> None:
        """Go through differences in order of records, at each upstream stages first.

        Last comes what a failure further on has undone: it says nothing of its own stage.
        """

        def place(item: tuple[int, Root | None, Found]) -> tuple[int, bool, int, bool, str, str]:
            rank, root, one = item
            index, failure = self._blame.upstream.index(one.stage), self._is_failure(one)
            return rank, bool(self._undone_by(root, one)), index, not failure, one.place, one.field

        for rank, root, one in sorted(found, key=place):
            undone_by = self._undone_by(root, one)
            follows = self._blame.follows(one.stage, rank, undone_by)
            if not follows and not self._is_failure(one):
                self._told.add(one.stage)
            self.tally.add(one, follows)
        self._failed.clear()

    def _undone_by(self, root: Root | None, found: Found) -> str:
        """The stage whose failure undid a row, if one did."""
        stage, kind = self._failed.get(root, ("", "")) if root is not None else ("", "")
        return stage if found.kind == kind and not self._is_failure(found) else ""

    def _is_failure(self, found: Found) -> bool:
        return found.kind == "raised" or found.place == self.graph.dead_letters

    def states(self, expected: Iterable[StateRow], actual: Iterable[StateRow]) -> None:
        """Compare the last states: entries in order of store, partition and key."""
        left, right = iter(expected), iter(actual)
        one, other = next(left, None), next(right, None)
        while one is not None or other is not None:
            if other is None or (one is not None and one[:3] < other[:3]):
                assert one is not None
                self._entry(one, one.value, None)
                one = next(left, None)
            elif one is None or other[:3] < one[:3]:
                self._entry(other, None, other.value)
                other = next(right, None)
            else:
                self._entry(one, one.value, other.value)
                one, other = next(left, None), next(right, None)

    def _entry(self, row: StateRow, expected: bytes | None, actual: bytes | None) -> None:
        if expected == actual:
            self.tally.same(1)
            return
        for one in self.tally.entry(row.store, row.partition, row.shown, expected, actual):
            self.tally.add(one, self._blame.of_state(one.stage))

    def finish(self, comparison: Comparison) -> None:
        """Put what was found into a comparison."""
        others = list(self._other_policies())
        comparison.groups = [*others, *self._groups()]
        comparison.records = self.tally.records
        comparison.equal = self.tally.equal - sum(group.count for group in others)
        comparison.notices += self.notices

    def _other_policies(self) -> Iterator[Group]:
        """Yield the stages that treat records otherwise that fail on both sides."""
        left, right = self._letters
        place = self.graph.dead_letters
        for stage, policies in self._policies.items():
            count = min(left[stage], right[stage])
            if count:
                example = Example(place, -1, None, -1, None, POLICY, *policies)
                places = Counter({place: count})
                yield Group(stage, POLICY, "changed", places=places, examples=[example])

    def _groups(self) -> list[Group]:
        """All groups, now that all is known."""
        groups = self.tally.groups()
        own = {group.stage for group in groups if not group.follows}
        later: dict[str, str] = {}
        for stage in own - self._told:
            of_state = all(
                place.startswith(STATE) for g in groups if g.stage == stage for place in g.places
            )
            before = "" if of_state else self._blame.of_failure(stage)
            if before:
                later[stage] = before
        return self.tally.groups(later | self._hidden(groups, own))

    def _hidden(self, groups: list[Group], own: set[str]) -> dict[str, str]:
        """Have stages follow those that only their state tells of: tables have no taps."""
        seen = set(self.graph.seen)
        silent = [
            group.stage
            for group in groups
            if group.stage in own - seen and all(place.startswith(STATE) for place in group.places)
        ]
        found: dict[str, str] = {}
        for stage in own - set(silent):
            above = [up for up in silent if up in self._blame.upstream.above(stage)]
            if above:
                found[stage] = above[0]
        return found


def _undone(in_actual: bool) -> str:
    return "missing" if in_actual else "extra"


def _new_and_gone(expected: Graph, actual: Graph) -> Iterable[str]:
    before, now = ({stage.name for stage in graph.stages} for graph in (expected, actual))
    for names, what in ((now - before, "new"), (before - now, "gone")):
        if names:
            yield f"stages that are {what}: {', '.join(sorted(names))}"
