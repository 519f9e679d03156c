"""What a function asks for by annotation (Value, Map, Store, Context, Lookup), and Outgoing.

All of them also work stand-alone, so that a function is tested by calling it. Inside a task the
engine puts itself underneath: it reuses one ``Value`` a parameter and writes its slots, it
overrides the four primitives of ``Map`` and ``Store`` (``_get``, ``_put``, ``_delete``, ``_scan``),
and it writes ``key`` and ``timestamp_ms`` of a ``Context`` for each record and answers the rest
when asked. Invariant: nothing here knows bytes or transactions.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, Protocol, TypeVar, cast, overload
from uuid import UUID

import typing_extensions

from streamfn.chance import Chance, Random, root_text, root_time
from streamfn.record import Headers
from streamfn.state.levels import MISSING as MISSING
from streamfn.state.levels import Missing

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")
KeyIn = TypeVar("KeyIn", contravariant=True)
KeyOut = TypeVar("KeyOut", covariant=True)
ValueOut = TypeVar("ValueOut", covariant=True)
ContextKey = typing_extensions.TypeVar("ContextKey", default=Any)


PRESENT: Final = 0
ABSENT: Final = 1
DELETED: Final = 2
_NOTHING: Final[Any] = None


class Value(Generic[T]):
    """One value for the current key: ``.value`` is read and set like any attribute.

    >>> total = Value(2.5)
    >>> total.value += 1
    >>> total.value, total.exists
    (3.5, True)
    """

    __slots__ = ("_seed", "_start", "_state", "value")

    value: T
    _state: int
    _seed: Any
    """What ``value`` was when the entry was absent or deleted: if it still is, there is none."""
    _start: Callable[[], T] | None

    def __init__(self, value: T) -> None:
        self.value = value
        self._state = PRESENT
        self._seed = None
        self._start = None

    @property
    def exists(self) -> bool:
        """True if the key has an entry, or was given one in this call."""
        if self._state == PRESENT or self.value is not self._seed:
            return True
        return self._start is not None and _changed_in_place(self.value, self._start)

    def delete(self) -> None:
        """Remove the key's entry; ``value`` reads as for a new key again."""
        self.value = self._seed = cast("T", None) if self._start is None else self._start()
        self._state = DELETED

    def __repr__(self) -> str:
        return f"Value({self.value!r})"


def _changed_in_place(value: object, start: Callable[[], object]) -> bool:
    fresh = start()
    comparable = fresh == start()  # else the type compares by identity and says nothing
    return comparable and value != fresh


class _Entries(Generic[K, V]):
    """Sorted entries, all operations built on four primitives; stand-alone they hold a dict."""

    __slots__ = ("_entries",)

    _entries: dict[K, V]

    def __init__(self, entries: Mapping[K, V] | Iterable[tuple[K, V]] = ()) -> None:
        self._entries = dict(entries)

    def _get(self, key: K) -> V | Missing:
        return self._entries.get(key, MISSING)

    def _put(self, key: K, value: V) -> None:
        self._entries[key] = value

    def _delete(self, key: K) -> None:
        self._entries.pop(key, None)

    def _scan(self, start: K | None, end: K | None, reverse: bool) -> Iterator[tuple[K, V]]:
        """Yield entries with ``start <= key < end`` in the order of their keys, or backwards."""
        ordered: list[Any] = sorted(cast("Iterable[Any]", self._entries), reverse=reverse)
        for key in ordered:
            if (start is None or key >= start) and (end is None or key < end):
                yield key, self._entries[key]

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, default: V | D, /) -> V | D: ...
    def get(self, key: K, default: Any = None, /) -> Any:
        """Return the key's value, or ``default``."""
        value = self._get(key)
        return default if value is MISSING else value

    def __getitem__(self, key: K) -> V:
        value = self._get(key)
        if value is MISSING:
            raise KeyError(key)
        return value

    def __setitem__(self, key: K, value: V) -> None:
        self._put(key, value)

    def __delitem__(self, key: K) -> None:
        if self._get(key) is MISSING:
            raise KeyError(key)
        self._delete(key)

    def __contains__(self, key: object) -> bool:
        return self._get(cast("K", key)) is not MISSING

    def __iter__(self) -> Iterator[K]:
        return self.keys()

    def __len__(self) -> int:
        return sum(1 for _ in self._scan(None, None, False))

    def __bool__(self) -> bool:
        return any(True for _ in self._scan(None, None, False))

    def keys(
        self, *, start: K | None = None, end: K | None = None, reverse: bool = False
    ) -> Iterator[K]:
        """Yield the keys from ``start`` up to but not including ``end``, in order."""
        for key, _ in self._scan(start, end, reverse):
            yield key

    def values(
        self, *, start: K | None = None, end: K | None = None, reverse: bool = False
    ) -> Iterator[V]:
        """Yield the values of the keys from ``start`` up to but not including ``end``, in order."""
        for _, value in self._scan(start, end, reverse):
            yield value

    def items(
        self, *, start: K | None = None, end: K | None = None, reverse: bool = False
    ) -> Iterator[tuple[K, V]]:
        """Yield the entries from ``start`` up to but not including ``end``, in order."""
        return self._scan(start, end, reverse)

    @overload
    def pop(self, key: K, /) -> V: ...
    @overload
    def pop(self, key: K, default: V | D, /) -> V | D: ...
    def pop(self, key: K, default: Any = MISSING, /) -> Any:
        """Remove a key and return its value, or ``default``."""
        value = self._get(key)
        if value is not MISSING:
            self._delete(key)
            return value
        if default is MISSING:
            raise KeyError(key)
        return default

    def setdefault(self, key: K, default: V, /) -> V:
        """Return the key's value; store ``default`` first if there is none."""
        value = self._get(key)
        if value is not MISSING:
            return value
        self._put(key, default)
        return default

    def update(self, entries: Mapping[K, V] | Iterable[tuple[K, V]], /) -> None:
        """Store all of ``entries``."""
        for key, value in dict(entries).items():
            self._put(key, value)

    def clear(self) -> None:
        """Remove all entries."""
        for key in list(self.keys()):
            self._delete(key)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self.items())!r})"


class Map(_Entries[K, V]):
    """A sorted map under the current key.

    >>> seen = Map({"b": 2, "a": 1, "c": 3})
    >>> list(seen.items(end="c"))
    [('a', 1), ('b', 2)]
    """

    __slots__ = ()


class Store(_Entries[K, V]):
    """The task's whole store: every key of its partitions.

    >>> counts = Store({"AA": 1})
    >>> counts.get("DL", 0)
    0
    """

    __slots__ = ()


class Lookup(Protocol[KeyIn, ValueOut]):
    """What a function reads of a table; a dict serves as one in tests."""

    def get(self, key: KeyIn, /) -> ValueOut | None:
        """Return the key's value, or None."""
        ...


@dataclass(slots=True)
class Outgoing(Generic[KeyOut, ValueOut]):
    """An answer to one topic, made by ``Topic.record``; without a timestamp it gets the input's."""

    topic: str
    key: KeyOut
    value: ValueOut
    timestamp_ms: int | None = None
    headers: Headers = ()


class Context(Generic[ContextKey]):
    """The record being processed, the clocks, and ``emit``; stand-alone, ``emitted`` collects.

    >>> context = Context(key="AA", timestamp_ms=1000)
    >>> context.key, context.timestamp_ms, context.emitted
    ('AA', 1000, [])
    """

    __slots__ = (
        "_chance",
        "_headers",
        "_now_ms",
        "_offset",
        "_partition",
        "_stream_time_ms",
        "_topic",
        "emitted",
        "key",
        "timestamp_ms",
    )

    _now_ms: Callable[[], int]
    """Asked only when the function asks: a look at the clock for each record would cost."""

    def __init__(
        self,
        *,
        key: ContextKey = _NOTHING,
        timestamp_ms: int = 0,
        headers: Headers = (),
        topic: str = "",
        partition: int = 0,
        offset: int = 0,
        stream_time_ms: int | None = None,
        now_ms: int = 0,
    ) -> None:
        self.key = key
        self.timestamp_ms = timestamp_ms
        self._headers = headers
        self._topic = topic
        self._partition = partition
        self._offset = offset
        self._stream_time_ms = timestamp_ms if stream_time_ms is None else stream_time_ms
        self._now_ms = lambda: now_ms
        self._chance = Chance("")
        self.emitted: list[Outgoing[Any, Any]] = []

    @property
    def headers(self) -> Headers:
        """The record's headers."""
        return self._headers

    @property
    def topic(self) -> str:
        """The topic the record was read from."""
        return self._topic

    @property
    def partition(self) -> int:
        """The partition the record was read from."""
        return self._partition

    @property
    def offset(self) -> int:
        """The record's offset."""
        return self._offset

    @property
    def stream_time_ms(self) -> int:
        """The highest timestamp that the task has seen."""
        return self._stream_time_ms

    @property
    def now_ms(self) -> int:
        """Wall-clock time in milliseconds; in a replay, the record's own time."""
        return self._now_ms()

    def now(self) -> datetime:
        """When the record happened that this call goes back to: the same in each replay."""
        return root_time(self._root())

    @property
    def random(self) -> Random:
        """Random numbers that follow from the record and the stage: the same in each replay."""
        return self._chance.random(self._root())

    def uuid(self) -> UUID:
        """A fresh id that follows from the record and the stage: the same in each replay."""
        return self._chance.uuid(self._root())

    def _root(self) -> str:
        """Where the record entered the program, as text."""
        return root_text(self._topic, self._partition, self._offset, self.timestamp_ms)

    def emit(self, record: Outgoing[Any, Any]) -> None:
        """Send a record made by ``Topic.record``, besides what the function answers."""
        self.emitted.append(record)
