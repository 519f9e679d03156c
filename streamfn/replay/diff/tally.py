"""From pairs of rows to groups of differences.

Pairs come from ``rows``; what differs in them goes, with the stage that made the row, to
``blame`` and then into a group. Invariant: each pair counts once as a record, each of its
fields once in a group; an example is only made if its group still takes one.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from streamfn.record import Headers
from streamfn.replay.diff.blame import Upstream
from streamfn.replay.diff.fields import (
    ABSENT,
    KEY,
    TIMESTAMP,
    TOMBSTONE,
    FieldDifference,
    differences,
    general,
    read_json,
    read_state,
    same,
)
from streamfn.replay.diff.graph import Graph, readers
from streamfn.replay.diff.headers import header_differences
from streamfn.replay.diff.kinds import KINDS, STATE, Example, Group, Kind, NotJudged, Options
from streamfn.replay.diff.rows import Edge, Pair, Row
from streamfn.replay.effects import Raised
from streamfn.replay.taps import PREFIX as TAP

OTHER_FIELDS: Final = "(other fields)"
FIELDS_MAX: Final = 100
"""Of one stage; a map with many keys has that many fields."""
ERROR: Final = "<error>"


@dataclass
class Mask:
    """What differs between two runs of the same program, by topic: no difference of versions."""

    fields: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    rows: set[tuple[str, bool]] = field(default_factory=set[tuple[str, bool]])
    """Topics whose rows come and go, or (True) change places."""

    def add(self, groups: Iterable[Group]) -> None:
        """Take what a program's comparison with itself has found."""
        for group in groups:
            for place in group.places:
                if group.field:
                    self.fields.add((place, group.field))
                else:
                    self.rows.add((place, group.kind == "reordered"))

    def hides_field(self, place: str, path: str) -> bool:
        """Tell whether a field says nothing."""
        return (place, path) in self.fields or (place, OTHER_FIELDS) in self.fields

    def hides_row(self, place: str, kind: Kind) -> bool:
        """Tell whether a row that is not there, or not in its place, says nothing."""
        return (place, kind == "reordered") in self.rows


class Found(NamedTuple):
    """A difference before it is known who is to blame."""

    stage: str
    field: str
    kind: Kind
    place: str
    timestamp_ms: int
    example: Callable[[], Example]
    of_topic: bool = False
    """It is let pass in a topic in which it ends: worth telling only if others follow from it."""


class Tally:
    """Takes pairs, and what else can differ; keeps groups."""

    def __init__(self, graph: Graph, options: Options, mask: Mask | None = None) -> None:
        self.graph, self.options = graph, options
        self.records = self._equal = 0
        self._passed: Counter[str] = Counter()
        """By stage: rows that differ in nothing but what is let pass in its topic."""
        self._told_all_the_same: set[str] = set()
        self._not_judged: Counter[tuple[str, Edge, bool]] = Counter()
        self._mask = mask or Mask()
        self._upstream = Upstream(graph)
        self._readers = readers()
        self._leads_to = self._ways(graph)
        self._groups: dict[tuple[str, str, str, str, bool], Group] = {}
        self._fields: dict[str, set[str]] = {}

    def _ways(self, graph: Graph) -> dict[str, tuple[str, ...]]:
        """The topics that what a stage hands on may end in."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        for stage in graph.stages:
            for name in (stage.name, *self._upstream.of[stage.name]):
                found[name].update(topic for topic in stage.writes if not topic.startswith(TAP))
        return {name: tuple(sorted(topics)) for name, topics in found.items()}

    @property
    def equal(self) -> int:
        """How many records are the same, by the groups that were told last."""
        told = self._told_all_the_same
        return self._equal + sum(n for stage, n in self._passed.items() if stage not in told)

    @property
    def not_judged(self) -> list[NotJudged]:
        """What could not be judged, by topic and edge."""
        found = self._not_judged
        names = sorted({name[:2] for name in found})
        return [
            NotJudged(topic, edge, found[topic, edge, False], found[topic, edge, True])
            for topic, edge in names
        ]

    def same(self, rows: int) -> None:
        """Count rows that are the same on both sides."""
        self.records += rows
        self._equal += rows

    # rows
    def compare(self, topic: str, pair: Pair) -> list[Found]:
        """Return the differences of a pair, and count it."""
        if pair.edge:
            self._not_judged[topic, pair.edge, pair.expected is None] += 1
            return []
        found = self._of(topic, pair)
        self.records += 1
        if found and all(one.of_topic for one in found):
            self._passed[found[0].stage] += 1
        self._equal += not found
        return found

    def _of(self, topic: str, pair: Pair) -> list[Found]:
        if pair.equal:
            return []
        row = pair.actual or pair.expected
        assert row is not None
        stage = self.stage_of(topic, row)
        if pair.expected is None or pair.actual is None:
            return self._alone(topic, stage, row, "extra" if pair.expected is None else "missing")
        if pair.moved:
            return self._moved(topic, stage, pair.expected, pair.actual)
        sides, scopes = (pair.expected, pair.actual), (stage, topic)
        found = list(self._fields_of(topic, *sides, scopes))
        ends = self._leads_to.get(stage, ()) if topic.startswith(TAP) else ()
        if not found or not ends:
            return [self._changed(topic, stage, pair.actual, one) for one in found]
        left = {one.path for one in self._fields_of(topic, *sides, scopes + ends)}
        return [
            self._changed(topic, stage, pair.actual, one)._replace(of_topic=one.path not in left)
            for one in found
        ]

    def _alone(self, topic: str, stage: str, row: Row, kind: Kind) -> list[Found]:
        """A row without another side; a dead letter tells that its stage has raised."""
        letter = topic == self.graph.dead_letters

        def example() -> Example:
            shown = _why(row.content.headers) if letter else self._value(topic, row.content.value)
            sides = (shown, ABSENT) if kind == "missing" else (ABSENT, shown)
            return self._example(topic, row, "", *sides)

        if self._mask.hides_row(topic, kind):
            return []
        time_ms = row.content.timestamp_ms
        return [Found(stage, "", "raised" if letter else kind, topic, time_ms, example)]

    def _moved(self, topic: str, stage: str, expected: Row, actual: Row) -> list[Found]:
        def example() -> Example:
            sides = (f"at offset {row.offset}" for row in (expected, actual))
            return self._example(topic, actual, "", *sides)

        hidden = self._mask.hides_row(topic, "reordered")
        time_ms = actual.content.timestamp_ms
        return [] if hidden else [Found(stage, "", "reordered", topic, time_ms, example)]

    def _changed(self, topic: str, stage: str, row: Row, one: FieldDifference) -> Found:
        path = self._bounded(stage, general(one.path))

        def example() -> Example:
            return self._example(topic, row, one.path, one.expected, one.actual)

        return Found(stage, path, "changed", topic, row.content.timestamp_ms, example)

    def _fields_of(
        self, topic: str, expected: Row, actual: Row, scopes: tuple[str, ...]
    ) -> Iterator[FieldDifference]:
        """Yield what differs between two rows: key, time, headers, value."""
        left, right = expected.content, actual.content
        keys = self._key(topic, left.key), self._key(topic, right.key)
        outside = [
            FieldDifference(KEY, *keys),
            FieldDifference(TIMESTAMP, left.timestamp_ms, right.timestamp_ms),
        ]
        if left.headers != right.headers:
            outside += header_differences(left.headers, right.headers)
        for found in outside:
            if not same(found.expected, found.actual) and self._counts(topic, found.path, scopes):
                yield found
        if left.value != right.value:
            values = self._value(topic, left.value), self._value(topic, right.value)
            for found in differences(*values, self.options.rules, scopes):
                if not self._mask.hides_field(topic, general(found.path)):
                    yield found

    def _counts(self, topic: str, path: str, scopes: tuple[str, ...]) -> bool:
        ignored = self.options.rules.ignores(path, scopes)
        return not ignored and not self._mask.hides_field(topic, path)

    def _bounded(self, stage: str, path: str) -> str:
        """Keep the number of groups small."""
        known = self._fields.setdefault(stage, set())
        if path in known or len(known) < FIELDS_MAX:
            known.add(path)
            return path
        return OTHER_FIELDS

    def stage_of(self, topic: str, row: Row) -> str:
        """The stage that made a row: of a dead letter, the one that failed."""
        if topic == self.graph.dead_letters:
            for name, value in row.content.headers:
                if name == "streamfn.stage":
                    return value.decode(errors="replace")
        writers = self.graph.writers(topic)
        known = row.stage if row.stage in writers or not writers else ""
        return known or " or ".join(writers) or topic

    # what is no row
    def failure(self, expected: Raised | None, actual: Raised | None) -> list[Found]:
        """Return what differs where a function raised on one side, or on both."""
        raised = actual or expected
        assert raised is not None
        self.records += 1
        kind: Kind = "raised" if expected is None or actual is None else "changed"
        path, place = ERROR if kind == "changed" else "", raised.source.topic
        said = _says(expected), _says(actual)
        hidden = (
            self._mask.hides_field(place, path)
            or self.options.rules.ignores(path, (raised.stage, place))
            if path
            else self._mask.hides_row(place, kind)
        )
        if (said[0] == said[1] and kind == "changed") or hidden:
            self._equal += 1
            return []
        key = None if raised.key is None else self._readers["text"](raised.key)
        example = Example(place, raised.source.partition, key, -1, raised.root, path, *said)
        return [Found(raised.stage, path, kind, place, -1, lambda: example)]

    def entry(
        self, store: str, partition: int, shown: bytes,
        expected: bytes | None, actual: bytes | None,
    ) -> list[Found]:  # fmt: skip
        """Return what differs in an entry of a store's last state."""
        self.records += 1
        stage, place, key = self.graph.owner(store), f"{STATE}{store}", read_json(shown)
        found: list[Found] = []
        if expected is None or actual is None:
            kind: Kind = "extra" if expected is None else "missing"
            if not self._mask.hides_row(place, kind):
                sides = [ABSENT if raw is None else read_state(raw) for raw in (expected, actual)]
                found.append(_of_entry(stage, kind, place, partition, key, "", *sides))
        elif expected != actual:
            scopes = (stage, store)
            for one in differences(
                read_state(expected), read_state(actual), self.options.rules, scopes
            ):
                if not self._mask.hides_field(place, general(one.path)):
                    found.append(
                        _of_entry(stage, "changed", place, partition, key, *one)._replace(
                            field=self._bounded(stage, general(one.path))
                        )
                    )
        self._equal += not found
        return found

    # how it is shown
    def _value(self, topic: str, raw: bytes | None) -> object:
        if raw is None:
            return TOMBSTONE
        written = self.graph.topics.get(topic)
        return self._readers[written.value if written else "json"](raw)

    def _key(self, topic: str, raw: bytes | None) -> object:
        if raw is None:
            return None
        written = self.graph.topics.get(topic)
        return self._readers[written.key if written else "text"](raw)

    def _example(
        self, topic: str, row: Row, path: str, expected: object, actual: object
    ) -> Example:
        return Example(
            topic, row.partition, self._key(topic, row.content.key), row.content.timestamp_ms,
            row.root, path, expected, actual,
        )  # fmt: skip

    # groups
    def add(self, found: Found, follows: str) -> None:
        """Put a difference into its group."""
        name = (found.stage, found.field, found.kind, follows, found.of_topic)
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = Group(found.stage, found.field, found.kind, follows)
        group.places[found.place] += 1
        if found.timestamp_ms >= 0:
            times = [time for time in (group.first_ms, found.timestamp_ms) if time >= 0]
            group.first_ms = min(times)
        shown = [example.place for example in group.examples]
        if shown and shown[0].startswith(TAP) and not found.place.startswith(TAP):
            group.examples.clear()  # what is in a topic can be looked up there
        elif shown and found.place.startswith(TAP) and not shown[0].startswith(TAP):
            return
        if len(group.examples) < self.options.examples:
            group.examples.append(found.example())

    def groups(self, followed: Mapping[str, str] | None = None) -> list[Group]:
        """All groups: those to blame first, then in order of the program.

        ``followed``: stages that turned out to follow others.
        """
        found: dict[tuple[str, str, str, str], Group] = {}
        for group in self._worth_telling():
            late = (followed or {}).get(group.follows or group.stage, "")
            follows = group.follows if late in ("", group.stage) else late
            name = (group.stage, group.field, group.kind, follows)
            found[name] = _joined(found.get(name), group, follows, self.options.examples)
        return sorted(found.values(), key=self._place)

    def _worth_telling(self) -> list[Group]:
        """All groups, but for what is let pass in a topic if nothing else follows from it."""
        firm = [group for name, group in self._groups.items() if not name[-1]]
        follow, differ = {group.follows for group in firm}, {group.stage for group in firm}
        self._told_all_the_same = follow - differ
        return [
            group
            for name, group in self._groups.items()
            if not name[-1] or group.stage in self._told_all_the_same
        ]

    def _place(self, group: Group) -> tuple[Any, ...]:
        index = self._upstream.index(group.stage)
        kind = KINDS.index(group.kind)
        return bool(group.follows), index, group.stage, kind, -group.count, group.field


def _joined(before: Group | None, group: Group, follows: str, examples: int) -> Group:
    """Put a group to another one of the same name."""
    if before is None:
        return replace(group, follows=follows)
    times = [time for time in (before.first_ms, group.first_ms) if time >= 0]
    return replace(
        before,
        places=before.places + group.places,
        first_ms=min(times, default=-1),
        examples=(before.examples + group.examples)[:examples],
    )


def _why(headers: Headers) -> str:
    """What a dead letter says of its error."""
    told = {name: value.decode(errors="replace") for name, value in headers}
    return f"{told.get('streamfn.error', 'failed')}: {told.get('streamfn.message', '')}"


def _says(raised: Raised | None) -> object:
    return ABSENT if raised is None else f"{raised.error}: {raised.message}"


def _of_entry(
    stage: str, kind: Kind, place: str, partition: int, key: object, path: str, expected: object,
    actual: object,
) -> Found:  # fmt: skip
    example = Example(place, partition, key, -1, None, path, expected, actual)
    return Found(stage, path, kind, place, -1, lambda: example)
