"""The stateful operators as nodes: aggregates, tables, windows, joins, suppression.

Built by ``dsl``, read by ``plan`` and compiled by ``engine.operators``, one file a family. Two
kinds of edges leave nodes: records ``(key, value)`` of a stream, and changes ``(key, (new, old,
latest))`` of a table (``hands_on_changes``). Invariant: what a node keeps is in its named stores,
and nowhere else; ``parents`` are in the order in which its parts or sides are numbered.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from streamfn.graph.topology import GlobalTableSpec as GlobalTableSpec
from streamfn.graph.topology import Node, StoreSpec, TableStore, WindowSpec

JoinKind: TypeAlias = Literal["inner", "left", "outer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableNode(Node):
    """A node whose edges carry changes: ``value`` is the type of the table's values."""


# --- aggregates


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate(TableNode):
    """Aggregates a grouped stream per key, or per key and window; a cogroup has several parents.

    ``fns[i](aggregate, value)`` is for records of ``parents[i]``. ``initial`` None (reduce): the
    first value is the aggregate.
    """

    what: ClassVar[str] = "aggregate"

    store: StoreSpec
    fns: tuple[Callable[[Any, Any], Any], ...]
    initial: Callable[[], Any] | None
    counts: bool = False
    """It only counts: no function needs to be called."""
    merge: Callable[[Any, Any], Any] | None = None
    """Sessions: the aggregate of two sessions that became one."""
    window: WindowSpec | None = None
    emit: Literal["update", "close"] = "update"

    @property
    def stores(self) -> tuple[StoreSpec, ...]:
        """Its store."""
        return (self.store,)


@dataclass(frozen=True, slots=True, kw_only=True)
class LateRecords(Node):
    """Hands on the records of a stream that its windows would not take any more, and no others."""

    what: ClassVar[str] = "late"

    store: StoreSpec
    window: WindowSpec

    @property
    def stores(self) -> tuple[StoreSpec, ...]:
        """Its store, which holds its stream time."""
        return (self.store,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Regroup(Node):
    """Gives each row of a table the key of its group; a repartition of changes follows.

    ``value`` is a serde of changes (``serde.changes.change_serde``).
    """

    what: ClassVar[str] = "group_by"

    fn: Callable[..., Any]
    takes_key: bool = False
    check_str: bool = False

    @property
    def changes_key(self) -> bool:
        """Always."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class TableAggregate(TableNode):
    """Aggregates the groups of a table: subtracts a row's old value, then adds its new one."""

    what: ClassVar[str] = "aggregate"

    store: StoreSpec
    add: Callable[[Any, Any], Any]
    subtract: Callable[[Any, Any], Any]
    initial: Callable[[], Any] | None

    @property
    def stores(self) -> tuple[StoreSpec, ...]:
        """Its store."""
        return (self.store,)


# --- tables


@dataclass(frozen=True, slots=True, kw_only=True)
class TableStep(TableNode):
    """``filter``, ``filter_not``, ``map_values`` or ``transform_values`` of a table.

    Without a ``store`` its values are worked out from its parent's when somebody asks.
    """

    kind: Literal["filter", "filter_not", "map_values", "transform_values"]
    fn: Callable[..., Any]
    takes_key: bool = False
    store: StoreSpec | None = None

    @property
    def stores(self) -> tuple[StoreSpec, ...]:
        """Its store, if it has one."""
        return () if self.store is None else (self.store,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToStream(Node):
    """The new value of each change as a record; a deleted row is a null value."""

    what: ClassVar[str] = "to_stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppress(TableNode):
    """Holds changes back: until their window is closed (``limit_ms`` None), or for a time.

    ``close_after_ms`` is how long after its end a window closes (grace, and gap of a session);
    ``inclusive_end``: its end belongs to it (sliding, session), so it closes a millisecond later.
    """

    what: ClassVar[str] = "suppress"

    store: StoreSpec
    limit_ms: int | None = None
    close_after_ms: int = 0
    inclusive_end: bool = False
    idle_close_ms: int | None = None
    records_max: int | None = None
    when_full: Literal["emit", "fail"] = "emit"

    @property
    def stores(self) -> tuple[StoreSpec, ...]:
        """Its buffer."""
        return (self.store,)


# --- joins


@dataclass(frozen=True, slots=True, kw_only=True)
class Join(Node):
    """What joins have in common: ``fn(left, right)``, or ``fn(key, left, right)``.

    ``parents`` are (left, right).
    """

    what: ClassVar[str] = "join"

    kind: JoinKind
    fn: Callable[..., Any]
    takes_key: bool = False

    @property
    def keyed(self) -> bool:
        """Both sides must have a key's records in one task."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamJoin(Join):
    """Two streams: records of a key whose times are near. ``after_ms`` is seen from the left."""

    left: StoreSpec
    right: StoreSpec
    unmatched: StoreSpec
    before_ms: int
    after_ms: int
    grace_ms: int

    @property
    def stores(self) -> tuple[StoreSpec, ...]:
        """What is remembered of either side, and what waits for a match (left and outer)."""
        kept = (self.left, self.right)
        return kept if self.kind == "inner" else (*kept, self.unmatched)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTableJoin(Join):
    """A stream looks up a table.

    With ``grace_ms`` its records wait, and look up what was there at their time.
    """

    grace_ms: int | None = None
    buffer: StoreSpec | None = None

    @property
    def stores(self) -> tuple[StoreSpec, ...]:
        """Records that wait, if they do."""
        return () if self.buffer is None else (self.buffer,)


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalJoin(Join):
    """A stream, its only parent, looks up a global table.

    The key is ``on(value)`` or ``on(key, value)``.
    """

    table: StoreSpec
    on: Callable[..., Any]
    on_takes_key: bool = False

    @property
    def keyed(self) -> bool:
        """Every worker has the whole table."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class TableJoin(Join, TableNode):
    """Two tables, key by key."""

    store: StoreSpec | None = None

    @property
    def stores(self) -> tuple[StoreSpec, ...]:
        """Its store, if it has one."""
        return () if self.store is None else (self.store,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKeySend(Node):
    """Left table of a foreign-key join: tells the right side which row asks for which key.

    It hands on ``(foreign key, subscription)``; a repartition to the right table follows.
    """

    what: ClassVar[str] = "foreign_key"

    on: Callable[..., Any]
    on_takes_key: bool = False
    kind: JoinKind = "inner"
    left_key: object
    left_value: object

    @property
    def changes_key(self) -> bool:
        """Always."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKeyLookup(Node):
    """Right side of a foreign-key join. ``parents``: (subscriptions, right table).

    It keeps who asked for which key, and hands on ``(left key, answer)``; a repartition to the
    left table follows.
    """

    what: ClassVar[str] = "foreign_key"

    kind: JoinKind
    store: StoreSpec
    left_key: object

    @property
    def stores(self) -> tuple[StoreSpec, ...]:
        """The subscriptions."""
        return (self.store,)

    @property
    def changes_key(self) -> bool:
        """What it hands on has the left table's key."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKeyJoin(Join):
    """Joins answers with the left rows as they are now; an answer to an older row is dropped.

    ``parents``: (answers, left table). It hands on records (a null value: no row); a
    ``TableStore`` follows.
    """


def hands_on_changes(node: Node) -> bool:
    """Tell whether a node's edges carry changes."""
    return isinstance(node, TableNode | TableStore)
