"""Comparisons: in what two sides differ, by stage, field and kind, with examples.

Pairs of rows come from ``rows`` and go as differences into groups; groups end in a
``Comparison``, which ``cli.diff_view`` shows and the pytest plugin asserts. Invariant: the same two
sides give the same comparison, whatever the chunks and the order in which processes were read.
"""

import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from streamfn.replay.diff.blame import Suspect
from streamfn.replay.diff.fields import Rules
from streamfn.replay.diff.rows import Edge, Root
from streamfn.replay.taps import PREFIX as TAP

Kind: TypeAlias = Literal["changed", "missing", "extra", "reordered", "raised"]
KINDS: Final[tuple[Kind, ...]] = ("raised", "missing", "extra", "changed", "reordered")
WALL_CLOCK: Final = "wall clock"
STATE: Final = "state "
"""What stands in front of a store where else a topic stands."""


@dataclass(frozen=True)
class Options:
    """How a comparison is made, and how much of it is kept."""

    rules: Rules = dataclasses.field(default_factory=Rules)
    examples: int = 3
    """So many of each group."""
    self_check: bool = True
    """First compare the program with itself, under another hash seed."""


class Example(NamedTuple):
    """One place where the two sides differ."""

    place: str
    """A topic, or a store."""
    partition: int
    key: object
    timestamp_ms: int
    root: Root | None
    path: str
    expected: object
    actual: object


@dataclass
class Group:
    """Differences of one stage in one field, of one kind; ``follows`` is who is to blame."""

    stage: str
    field: str
    kind: Kind
    follows: str = ""
    places: Counter[str] = dataclasses.field(default_factory=Counter[str])
    """How many in which topic or store."""
    first_ms: int = -1
    examples: list[Example] = dataclasses.field(default_factory=list[Example])

    @property
    def count(self) -> int:
        """How many; what a stage hands on counts where it is not written to a topic."""
        written = sum(n for place, n in self.places.items() if not place.startswith(TAP))
        return written or sum(self.places.values())


class NotJudged(NamedTuple):
    """Rows at an edge of the recording of which it cannot be known whether they differ."""

    topic: str
    edge: Edge
    expected: int
    """So many are on this side only."""
    actual: int

    def __str__(self) -> str:
        sides = [
            f"{count:,} of {side}"
            for count, side in ((self.expected, "the real run"), (self.actual, "the replay"))
            if count
        ]
        at = "by" if self.edge == WALL_CLOCK else "at"
        return f"{' and '.join(sides)} {at} the {self.edge} of {self.topic}"


@dataclass
class Comparison:
    """What came of it."""

    application: str
    expected: str
    """What the one side is called."""
    actual: str
    groups: list[Group]
    unstable: list[Group] = dataclasses.field(default_factory=list[Group])
    """In what the program differs from itself; left out of ``groups``."""
    inputs: int = 0
    records: int = 0
    """How many rows and entries were compared."""
    equal: int = 0
    suspect: Suspect | None = None
    notices: list[str] = dataclasses.field(default_factory=list[str])
    not_judged: list[NotJudged] = dataclasses.field(default_factory=list[NotJudged])
    """What is neither equal nor different, as it lies at an edge; not among ``records``."""

    @property
    def exit_code(self) -> int:
        """0 if nothing differs, 1 if something does."""
        return 1 if self.groups or self.unstable else 0

    @property
    def blamed(self) -> list[str]:
        """The stages that differ of themselves, in order of the program."""
        return list(dict.fromkeys(group.stage for group in self.groups if not group.follows))

    @property
    def different(self) -> int:
        """How many rows and entries are not equal."""
        return self.records - self.equal

    def lines(self) -> list[str]:
        """Say it in plain lines, for an assertion's message."""
        if not self.groups and not self.unstable:
            return [f"{self.records:,} records compared, all equal"]
        said = [f"{self.different:,} of {self.records:,} records differ"]
        for head, groups in (("", self.groups), ("not deterministic: ", self.unstable)):
            for group in groups:
                behind = f" (follows from {group.follows})" if group.follows else ""
                where = f" {group.field}" if group.field else ""
                said.append(f"{head}{group.stage}{where} {group.kind} {group.count:,}{behind}")
                said += [f"  {line_of(example)}" for example in group.examples[:1]]
        return [*said, *self.notices]


def line_of(example: Example) -> str:
    """Write an example on one line."""
    path = f" {example.path}" if example.path else ""
    return (
        f"{example.place} key {example.key!r} at {example.timestamp_ms}{path}: "
        f"{example.expected!r} → {example.actual!r}"
    )
