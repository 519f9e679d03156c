"""What a program is.

A graph of nodes as frozen data, built by ``dsl`` and ``app``, read by ``plan`` and ``engine``.

A record enters at a ``Source`` and goes depth first through the children of each node, in the order
in which they were declared, until it ends in sinks, stores or nothing. Invariants: names are unique
and never numbered by position; parents come before children in ``Topology.nodes``; a topic has one
``Source`` however often it is used.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, TypeAlias

from streamfn.serde import Serde


class _Unknown:
    """The type of a value that nobody has said; a place that needs the type makes it a mistake."""

    def __repr__(self) -> str:
        return "unknown"


UNKNOWN: Final = _Unknown()

OnError: TypeAlias = Literal["fail", "skip", "dead_letter"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What happens to a record that fails: so many retries, then ``on_error``.

    None means the app's.
    """

    on_error: OnError | None = None
    retries: int | None = None
    retry_backoff_ms: int | None = None


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as the program declares it. ``partitions`` None: as the log has it, else 1."""

    name: str
    key: Serde[Any]
    value: Serde[Any]
    partitions: int | None = None
    timestamp: Callable[[Any], int] | None = None
    """Event time in ms from the decoded value; None: the record's own timestamp."""
    config: Mapping[str, str] = field(default_factory=dict[str, str])
    where: str = ""


WindowKind: TypeAlias = Literal["tumbling", "hopping", "sliding", "session", "unlimited"]


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """Windows over event time.

    ``size_ms`` is of a sliding one the time difference, of a session its gap.
    """

    kind: WindowKind
    size_ms: int
    advance_ms: int = 0
    """Hopping windows: from one start to the next; tumbling ones: their size."""
    start_ms: int = 0
    """Unlimited windows: where the one window begins."""
    grace_ms: int = 0
    retention_ms: int | None = None
    """How long windows are remembered at least; None: as long as they take records."""
    idle_close_ms: int | None = None
    """Windows close when no record has come for so long on the wall clock; None: never."""


StoreKind: TypeAlias = Literal[
    "value", "map", "store",
    "table", "window", "sliding", "session", "versioned", "buffer", "global",
]  # fmt: skip
PLAIN_KINDS: Final = frozenset({"value", "map", "store"})
"""Stores of functions: their entries are values. The entries of all others have a time too."""


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """A store: its name and types. ``key`` is the whole key.

    Of a map that is (record key, map key); of windows the record's key, without the window.
    """

    name: str
    kind: StoreKind
    key: object
    value: object
    where: str = ""
    window: WindowSpec | None = None
    history_ms: int | None = None
    """Versioned tables: how long a superseded value can be looked up."""


ParameterKind: TypeAlias = Literal["value", "map", "store", "lookup", "context"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One injected parameter of a function.

    ``start`` makes a new key's value (kind ``value`` only).
    """

    name: str
    kind: ParameterKind
    store: StoreSpec | None = None
    start: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Timer:
    """A function called at each multiple of ``interval_ms`` that its clock passes, per task."""

    name: str
    fn: Callable[..., Any]
    interval_ms: int
    clock: Literal["stream", "wall"]
    parameters: tuple[Parameter, ...]
    generator: bool
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node with the types of what it hands on; ``where`` is file:line of its declaration."""

    name: str
    parents: tuple[str, ...] = ()
    key: object = UNKNOWN
    value: object = UNKNOWN
    where: str = ""

    what: ClassVar[str] = "stage"
    """What people call it."""

    @property
    def stores(self) -> tuple[StoreSpec, ...]:
        """The stores that it reads or writes."""
        return ()

    @property
    def keyed(self) -> bool:
        """True if it needs all records of a key in one task."""
        return bool(self.stores)

    @property
    def changes_key(self) -> bool:
        """True if behind it a record's partition need not be its key's."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Source(Node):
    """Records of a topic: the user's or a repartition topic (``internal``)."""

    what: ClassVar[str] = "source"

    topic: TopicSpec
    internal: bool = False


StepKind: TypeAlias = Literal[
    "map", "map_values", "filter", "filter_not", "flat_map", "flat_map_values", "peek", "key_by"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Node):
    """A stateless operator: ``fn(value)``, or ``fn(key, value)`` if ``takes_key``.

    ``map`` and ``flat_map`` always take the key and answer (key, value) pairs; ``key_by`` answers a
    key. An unannotated key function is checked to answer ``str`` at run time (``check_str``).
    """

    kind: StepKind
    fn: Callable[..., Any]
    takes_key: bool = False
    check_str: bool = False

    @property
    def changes_key(self) -> bool:
        """True for map, flat_map and key_by, whatever they answer."""
        return self.kind in KEY_CHANGING


@dataclass(frozen=True, slots=True, kw_only=True)
class Split(Node):
    """Hands a record to the first branch whose predicate holds; without one it goes nowhere.

    ``branches`` pairs the name of the ``Branch`` child with its predicate (None: always, the
    default).
    """

    what: ClassVar[str] = "split"

    branches: tuple[tuple[str, Callable[..., bool] | None, bool], ...]
    """(branch node's name, predicate, predicate takes the key)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch(Node):
    """One way out of a ``Split``."""

    what: ClassVar[str] = "branch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge(Node):
    """Records of several parents, as they come."""

    what: ClassVar[str] = "merge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Function(Node):
    """A user's function with injected parameters; answers go to ``sinks`` and to the children.

    An answer that is a record of a topic (``Outgoing``) goes to that topic only. ``null_values``:
    the function takes None as a value; else tombstones are dropped and counted.
    """

    what: ClassVar[str] = "function"

    fn: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    sinks: tuple[TopicSpec, ...] = ()
    timers: tuple[Timer, ...] = ()
    generator: bool = False
    null_values: bool = False
    outgoing: bool = False
    """The function may answer with records of topics."""
    policy: Policy = Policy()

    @property
    def stores(self) -> tuple[StoreSpec, ...]:
        """The stores by name; a global table is the worker's, and none of them."""
        stores = [p.store for p in self.parameters if p.store is not None]
        return tuple(store for store in stores if store.kind != "global")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableStore(Node):
    """Keeps the last value of each key of its parent in a store; a null value deletes.

    What it hands on are changes. A ``versioned`` store also keeps what was before.
    """

    what: ClassVar[str] = "table"

    store: StoreSpec
    kept: bool = True
    """False: a table that Kafka Streams keeps only if somebody asks for its rows (of a stream and
    without ``store=``, or of a foreign-key join): filters may not know what was there before."""

    @property
    def stores(self) -> tuple[StoreSpec, ...]:
        """Its store."""
        return (self.store,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink(Node):
    """Writes records to topics."""

    what: ClassVar[str] = "sink"

    topics: tuple[TopicSpec, ...]
    choose: Callable[[Any, Any], Any] | None = None
    """``choose(key, value)`` answers each record's topic or its name: one of ``topics``, if any."""
    drops_null_keys: bool = False
    """True in front of a repartition topic: what has no key has no partition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repartition(Node):
    """Sends records through an internal topic so that each key is in one partition.

    Declared by ``repartition()``; behind a change of key the plan adds one where a keyed node
    follows. ``partitions`` None: as what it feeds needs, else as many as its widest source.
    """

    what: ClassVar[str] = "repartition"

    partitions: int | None = None


AnyNode: TypeAlias = Node
"""The kinds here, and those of ``graph.operators``."""

KEY_CHANGING: Final = frozenset({"map", "flat_map", "key_by"})
"""Steps after which the record's partition need not be its key's."""


@dataclass(frozen=True, slots=True)
class Feed:
    """A source outside the log whose rows go into a topic; ``open`` makes the connector."""

    name: str
    topic: TopicSpec
    open: Callable[[], Any]
    where: str = ""


@dataclass(frozen=True, slots=True)
class GlobalTableSpec:
    """A table of which every worker has all partitions."""

    store: StoreSpec
    topic: TopicSpec
    where: str = ""


@dataclass(frozen=True, slots=True)
class Topology:
    """A whole program: validated, named, frozen."""

    application: str
    nodes: Mapping[str, AnyNode]
    feeds: tuple[Feed, ...] = ()
    policy: Policy = Policy("fail", 0, 1000)
    global_tables: Mapping[str, GlobalTableSpec] = field(default_factory=dict[str, GlobalTableSpec])
    """By the name of their store; they are no nodes of a sub-topology."""
    topics: Mapping[str, TopicSpec] = field(default_factory=dict[str, TopicSpec])
    """All topics that are declared, also those that nothing reads or writes by itself."""

    @property
    def stores(self) -> dict[str, StoreSpec]:
        """Every store by name."""
        found: dict[str, StoreSpec] = {}
        for node in self.nodes.values():
            found.update({store.name: store for store in node.stores})
        return found

    def children(self, name: str) -> list[AnyNode]:
        """The nodes fed by a node, in order of declaration."""
        return [node for node in self.nodes.values() if name in node.parents]
