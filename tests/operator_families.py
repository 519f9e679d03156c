"""The programs with one operator, and what can be said of their answers.

Invariant: what a family says of the order of its answers (``Order``) holds on any commit interval,
any number of workers, and whatever is killed meanwhile.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from streamfn.app import App
from tests.operator_programs import (
    Build,
    Ends,
    cogroup,
    cogroup_close,
    dedup,
    foreign_key,
    foreign_key_inner,
    hopping,
    idle_cogroup,
    idle_counts,
    idle_session,
    idle_sliding,
    idle_suppress,
    idle_tumbling,
    late,
    regroup,
    seconds,
    self_join,
    session,
    session_close,
    sliding,
    sliding_close,
    stream_join_left,
    stream_join_outer,
    stream_table,
    stream_table_short,
    suppress_close,
    suppress_limit,
    suppress_sessions,
    suppressed_joined,
    table_join,
    tumbling,
    tumbling_close,
    windows_joined,
    windows_regrouped,
)


class Order(Enum):
    """What of a program's answers follows from the inputs of its partitions."""

    PARTITION = "all of a partition, in order"
    FINAL = "the last value of a key: records of several tasks meet in the order they come"


class Across(Enum):
    """What of a program's answers is the same over any number of partitions, if none is late."""

    SEQUENCE = "all of a key, in order"
    SET = "all of a key; when each comes follows from the times of other keys too"
    LAST = "the last of a key; what comes before it depends on other keys"
    NOTHING = "time, and so what is forgotten, is each partition's own"


@dataclass(frozen=True, slots=True)
class Family:
    """A program, and what can be said of its answers."""

    build: Build
    inputs: tuple[str, ...] = ("left",)
    across: Across = Across.SEQUENCE
    order: Order = Order.PARTITION

    @property
    def name(self) -> str:
        """As the tests tell it."""
        return self.build.__name__


BOTH: Final = ("left", "right")
FAMILIES: Final[Mapping[str, Family]] = {
    family.name: family
    for family in (
        Family(tumbling),
        Family(late),
        Family(hopping),
        Family(sliding),
        Family(session),
        Family(tumbling_close, across=Across.SET),
        Family(sliding_close, across=Across.SET),
        Family(session_close, across=Across.SET),
        Family(suppress_close, across=Across.SET),
        Family(suppress_sessions, across=Across.SET),
        Family(suppress_limit, across=Across.LAST),
        Family(table_join, BOTH),
        Family(regroup, across=Across.LAST, order=Order.FINAL),
        Family(stream_join_left, BOTH, Across.SET),
        Family(stream_join_outer, BOTH, Across.SET),
        Family(stream_table, BOTH, Across.SET),
        Family(stream_table_short, BOTH, Across.NOTHING),
        Family(foreign_key, BOTH, Across.LAST, Order.FINAL),
        Family(foreign_key_inner, BOTH, Across.LAST, Order.FINAL),
        Family(self_join),
        Family(windows_joined, BOTH, Across.SET),
        Family(suppressed_joined, BOTH, Across.LAST),
        Family(windows_regrouped, across=Across.LAST, order=Order.FINAL),
        Family(cogroup, BOTH),
        Family(cogroup_close, BOTH, Across.SET),
        Family(dedup),
    )
}
IDLE_FAMILIES: Final[Mapping[str, Family]] = {
    family.name: family
    for family in (
        Family(idle_tumbling),
        Family(idle_sliding),
        Family(idle_session),
        Family(idle_suppress),
        Family(idle_cogroup, BOTH),
        Family(idle_counts),
    )
}
"""What also depends on the wall clock, and so is apart from the others."""
GRACES: Final = (0, 7)
"""In seconds."""


def program(name: str, partitions: int, grace_s: float = 0, **policy: Any) -> Ends:
    """Make an app of one family."""
    ends = Ends(App("app", **policy), partitions)
    family_of(name).build(ends, seconds(grace_s))
    return ends


def family_of(name: str) -> Family:
    """The family of a name."""
    return FAMILIES.get(name) or IDLE_FAMILIES[name]
