"""Compares a replay with what the real run wrote.

Recorded rows and effects come in as both are read and are paired as far as the real run's order is
known (protocol §6): in order where one task read one input, else by key. Invariant: a difference of
order is reported as one only where the order could be known.
"""

from collections.abc import Hashable, Iterable

from streamfn.replay.diff.blame import Upstream, followed, suspect
from streamfn.replay.diff.edges import Edges
from streamfn.replay.diff.graph import Graph
from streamfn.replay.diff.kinds import WALL_CLOCK, Comparison, Group, Options
from streamfn.replay.diff.orders import Ordered, Unordered, in_lanes
from streamfn.replay.diff.rows import Pair, Row
from streamfn.replay.diff.tally import Mask, Tally
from streamfn.replay.effects import Effects, Raised
from streamfn.replay.recording import Chunk, Header


class AgainstRun:
    """A replay and the rows that the real run wrote."""

    def __init__(
        self, graph: Graph, options: Options, header: Header, *,
        fed: Iterable[str] = (), mask: Mask | None = None,
    ) -> None:  # fmt: skip
        """Topics of the recording are compared; the order of ``fed`` ones was the real run's."""
        self.graph = graph
        self.tally = Tally(graph, options, mask)
        self._fed = set(fed)
        self._topics = {topic: self._way(topic) for topic in compared_topics(graph, header)}
        self._edges = Edges(
            header, self._inputs(), self._fed, graph.dead_letters, self._steady()
        )  # fmt: skip
        self._timed = topics_by_wall_clock(graph)
        self._waiting: dict[str, tuple[list[Row], list[Row]]] = {}
        self.rows = [0, 0]
        """How many rows of each side have come."""

    @property
    def topics(self) -> set[str]:
        """The topics that are compared."""
        return set(self._topics)

    def _inputs(self) -> dict[str, tuple[str, ...]]:
        """What the rows of each topic are made of; where several stages write, of anything."""
        every = tuple(stage.reads for stage in self.graph.stages if stage.reads)
        names = {*self.graph.topics, *self._topics}
        written = {name: self.graph.topics.get(name) for name in names}
        return {
            name: every if found is None or found.mixed else found.inputs
            for name, found in written.items()
        }

    def _steady(self) -> list[str]:
        """The topics whose rows are written as their inputs are read: nothing keeps them back."""
        upstream = Upstream(self.graph)
        keeping = {stage.name for stage in self.graph.stages if stage.remembers}
        return [
            topic
            for topic in self.graph.topics
            if not any(
                keeping & {name, *upstream.of.get(name, ())} for name in self.graph.writers(topic)
            )
        ]

    def _way(self, topic: str) -> Ordered | Unordered:
        """How the rows of a topic are paired."""
        written = self.graph.topics.get(topic)
        if topic == self.graph.dead_letters:
            return Ordered(_origin)
        if written is None or written.mixed:
            return Unordered()
        internal = {name for name, other in self.graph.topics.items() if other.internal}
        known = not (set(written.inputs) & internal) - self._fed
        return Ordered(_partition if written.ordered and known else _key)

    def expected(self, chunk: Chunk) -> None:
        """Take rows that the real run wrote."""
        for batch in chunk:
            if batch.source.topic in self._topics:
                rows = [row for row in self._edges.recorded(batch) if not _of_feed(row)]
                self._into(batch.source.topic)[0].extend(rows)
                self.rows[0] += len(batch)

    def effects(self, found: list[Effects]) -> None:
        """Take what a chunk of inputs has made."""
        for effects in found:
            if effects.topic in self._topics:
                self._into(effects.topic)[1].extend(self._edges.made(effects))
                self.rows[1] += len(effects)

    def raised(self, raised: Raised) -> None:
        """Take a failure: a real run would have stopped there."""
        for found in self.tally.failure(None, raised):
            self.tally.add(found, "")

    def _into(self, topic: str) -> tuple[list[Row], list[Row]]:
        return self._waiting.setdefault(topic, ([], []))

    def settle(self, *, whole: bool = False) -> None:
        """Compare what can be paired already; at the end, all."""
        for topic, (expected, actual) in sorted(self._waiting.items()):
            self._add(topic, self._topics[topic].add(expected, actual))
        self._waiting.clear()
        for topic, rows in sorted(self._topics.items()) if whole else ():
            self._add(topic, rows.finish())

    def _add(self, topic: str, pairs: Iterable[Pair]) -> None:
        for pair in in_lanes(pairs):
            row = pair.actual or pair.expected
            if pair.moved and row is not None and row.content.key is None:
                pair = pair._replace(moved=topic == self.graph.dead_letters)
            for one in self._by_the_clock(pair) if topic in self._timed else (pair,):
                for found in self.tally.compare(topic, one):
                    self.tally.add(found, "")

    @staticmethod
    def _by_the_clock(pair: Pair) -> Iterable[Pair]:
        """Judge only what is equal: a live run's timers fired at times that nobody has recorded."""
        if pair.equal or pair.edge:
            yield pair
            return
        if pair.expected is not None:
            yield Pair(pair.expected, None, edge=WALL_CLOCK)
        if pair.actual is not None:
            yield Pair(None, pair.actual, edge=WALL_CLOCK)

    def finish(self, comparison: Comparison) -> None:
        """Put what was found into a comparison."""
        groups = self.tally.groups()
        later = followed((group.stage for group in groups), self.graph)
        comparison.groups = self.tally.groups(later)
        comparison.records, comparison.equal = self.tally.records, self.tally.equal
        seen = [name for topic in self._topics for name in self.graph.writers(topic)]
        comparison.suspect = suspect(comparison.blamed, seen, self.graph)
        comparison.not_judged = self.tally.not_judged
        comparison.notices += self._of_edges()
        comparison.notices += self._orders(comparison.groups)

    def _of_edges(self) -> Iterable[str]:
        """Say what was left out, and what cannot be judged."""
        sides = zip(self._edges.left_out, ("the real run", "the replay"), strict=True)
        gone = [f"{count:,} rows of {side}" for count, side in sides if count]
        if gone:
            yield (
                f"{' and '.join(gone)} are left out: they are of inputs, or times, that were not "
                "recorded, or that the real run had not come to"
            )
        edges = [each for each in self.tally.not_judged if each.edge != WALL_CLOCK]
        if edges:
            yield (
                f"not judged: {', '.join(map(str, edges))}; whether they are of recorded inputs "
                "cannot be known"
            )
        timed = [each for each in self.tally.not_judged if each.edge == WALL_CLOCK]
        if timed:
            yield (
                f"not judged: {', '.join(map(str, timed))}; when the real run's timers fired is "
                "not recorded"
            )

    def _orders(self, groups: list[Group]) -> Iterable[str]:
        """Say where a difference may be one of order only."""
        for topic in dict.fromkeys(place for group in groups for place in group.places):
            written = self.graph.topics.get(topic)
            if written is None or topic not in self._topics:
                continue
            unknown = [name for name in written.inputs if name not in self._fed]
            several = len(written.inputs) > 1
            if unknown:
                names = ", ".join(unknown)
                yield (
                    f"{topic}: in which order the real run read {names} is not recorded; values "
                    "that depend on it may differ and be right (record with --repartitions)"
                )
            elif several:
                names = " and ".join(written.inputs)
                yield (
                    f"{topic}: how the real run merged {names} is not known; values that depend "
                    "on it may differ and be right"
                )


def _partition(row: Row) -> Hashable:
    return row.partition


def _key(row: Row) -> Hashable:
    return row.content.key


def _origin(row: Row) -> Hashable:
    """Dead letters stand in order with others of the same stage and input partition."""
    told = dict(row.content.headers)
    return tuple(told.get(f"streamfn.{name}") for name in ("stage", "topic", "partition"))


def _of_feed(row: Row) -> bool:
    """Tell whether a row is a dead letter of a file that was loaded: a replay loads none."""
    return any(name == "streamfn.feed" for name, _ in row.content.headers)


def topics_by_wall_clock(graph: Graph) -> set[str]:
    """The topics in which there may be rows of wall-clock timers, or rows that follow from them."""
    upstream = Upstream(graph)
    timed = {stage.name for stage in graph.stages if stage.by_wall_clock}
    return {
        topic
        for stage in graph.stages
        if timed & {stage.name, *upstream.above(stage.name)}
        for topic in stage.writes
    }


def compared_topics(graph: Graph, header: Header) -> list[str]:
    """The recorded topics that the program writes, or that the one that was recorded wrote."""
    written = {*graph.topics, graph.dead_letters}
    return sorted(
        topic.name
        for topic in header.topics
        if topic.name in written or topic.role in ("output", "dead_letters")
    )
