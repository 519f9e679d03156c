"""The injected parameters of a function, bound to one task's stores.

One object a parameter lives as long as the task; ``bind`` points it at the record's key before each
call, ``settle`` writes a ``Value`` back after it. Invariant: nothing reaches a store before the
function has returned or, for a map or a store, without an entry in the journal, so that a record
that raises leaves no trace.
"""

# pyright: reportPrivateUsage=false
# The engine drives the slots of what it injects; users are not to touch them.

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, get_args, get_origin

from streamfn.chance import Chance, root_text, time_at
from streamfn.engine.keys import KeyForm, to_object, to_store
from streamfn.engine.operators.timed import Timed, row_of
from streamfn.engine.scope import Scope
from streamfn.errors import InternalError
from streamfn.function.state import Context, Map, Store, Value
from streamfn.graph.stores import decode_entry, encode_key
from streamfn.graph.topology import PLAIN_KINDS, Function, Parameter, StoreSpec, Timer
from streamfn.record import Headers
from streamfn.serde import Serde
from streamfn.state.keys import key_codec, prefix_end
from streamfn.state.levels import MISSING, Levels
from streamfn.windowed import Windowed


class ValueBinding:
    """A ``Value`` parameter: loaded before the call, written after it if it changed."""

    def __init__(self, scope: Scope, parameter: Parameter, form: KeyForm) -> None:
        assert parameter.store is not None
        assert parameter.start is not None
        self.levels = scope.levels[parameter.store.name]
        self.start = parameter.start
        self.store_key = to_store(form, parameter.store.key)
        self.target: Value[Any] = Value(None)
        self.target._start = self.start
        self._key, self._entry = b"", MISSING
        self._seed_raw = self.levels.encode(self.start()) if self.levels.mutable else b""

    def bind(self, key: Any) -> None:
        """Load the value of a record's key."""
        levels, box = self.levels, self.target
        self._key = key = self.store_key(key)
        cache = levels.cache
        self._entry = entry = cache[key] if key in cache else levels.load(key)
        if entry is MISSING:
            box.value = box._seed = self.start()
            box._state = 1
        else:
            box.value = levels.get(key) if levels.mutable else entry
            box._state = 0

    def settle(self) -> None:
        """Write the value back if it changed."""
        entry = self.outcome()
        changed = entry != self._entry if self.levels.mutable else entry is not self._entry
        if changed:
            self.levels.put_cached(self._key, entry)

    def outcome(self) -> Any:
        """What the cache is to hold now: a value, its bytes if mutable, or ``MISSING``."""
        box, levels = self.target, self.levels
        state, box._state = box._state, 0
        untouched = state and box.value is box._seed
        if not levels.mutable:
            value = MISSING if untouched else box.value
            return value if value.__class__ is levels.exact else levels.fit(value)
        raw = levels.encode(box.value)
        return MISSING if untouched and raw == self._seed_raw else raw


class TaskStore(Store[Any, Any]):
    """A task's whole store, as ``sf.Store``."""

    __slots__ = ("_codec", "_levels")

    def __init__(self, levels: Levels, key_type: object) -> None:
        self._levels = levels
        self._codec = key_codec(key_type)

    def _get(self, key: Any) -> Any:
        return self._levels.get(self._codec.encode(key))

    def _put(self, key: Any, value: Any) -> None:
        self._levels.put(self._codec.encode(key), value)

    def _delete(self, key: Any) -> None:
        self._levels.delete(self._codec.encode(key))

    def _scan(self, start: Any, end: Any, reverse: bool) -> Iterator[tuple[Any, Any]]:
        encode, decode = self._codec.encode, self._codec.decode
        low = b"" if start is None else encode(start)
        high = None if end is None else encode(end)
        for key, value in self._levels.scan(low, high, reverse=reverse):
            yield decode(key), value


class TaskMap(Map[Any, Any]):
    """The map under the current key, as ``sf.Map``: store keys are (record key, map key)."""

    __slots__ = ("_end", "_levels", "_map_key", "_prefix")

    def __init__(self, levels: Levels, map_key_type: object) -> None:
        self._levels = levels
        self._map_key = key_codec(map_key_type).component
        self._prefix = b""
        self._end: bytes | None = None

    def under(self, prefix: bytes) -> None:
        """Point at the entries under a record's key."""
        self._prefix, self._end = prefix, prefix_end(prefix)

    def _get(self, key: Any) -> Any:
        return self._levels.get(self._prefix + self._map_key.encode(key))

    def _put(self, key: Any, value: Any) -> None:
        self._levels.put(self._prefix + self._map_key.encode(key), value)

    def _delete(self, key: Any) -> None:
        self._levels.delete(self._prefix + self._map_key.encode(key))

    def _scan(self, start: Any, end: Any, reverse: bool) -> Iterator[tuple[Any, Any]]:
        prefix, encode, decode = self._prefix, self._map_key.encode, self._map_key.decode
        low = prefix if start is None else prefix + encode(start)
        high = self._end if end is None else prefix + encode(end)
        for key, value in self._levels.scan(low, high, reverse=reverse):
            yield decode(key, len(prefix))[0], value


class TimedTaskStore(Store[Any, Any]):
    """The store of a table or an aggregate, shared as ``sf.Store``: entries have a time too.

    What a function writes to a table bears the time of the record that it is called for; what is
    of windows or has versions can only be read.
    """

    __slots__ = ("_encode", "_row", "_scope", "_seen", "_spec", "_timed")

    def __init__(self, scope: Scope, spec: StoreSpec) -> None:
        self._spec = spec
        self._scope, self._timed = scope, Timed(scope.levels[spec.name], spec)
        self._encode, self._seen = encode_key(spec), decode_entry(spec)
        self._row = row_of(self._timed, spec)

    def _get(self, key: Any) -> Any:
        found = self._row(key)
        return MISSING if found is None or found[0] is None else found[0]

    def _put(self, key: Any, value: Any) -> None:
        self._check_writable(key)
        cursor = self._scope.cursor
        now_ms = cursor.raw[2] if cursor.offset >= 0 else max(self._scope.stream_time_ms, 0)
        self._timed.put(self._encode(key), value, now_ms)

    def _delete(self, key: Any) -> None:
        self._check_writable(key)
        self._timed.delete(self._encode(key))

    def _check_writable(self, key: Any) -> None:
        """Windows and versions have indexes, and operators that know what they hold."""
        if self._spec.kind != "table":
            message = (
                f"store {self._spec.name!r} of kind {self._spec.kind} can only be read; got a "
                f"write of key {key!r:.100}; send what is to change to the topic it is made of"
            )
            raise TypeError(message)

    def _scan(self, start: Any, end: Any, reverse: bool) -> Iterator[tuple[Any, Any]]:
        low = b"" if start is None else self._encode(start)
        high = None if end is None else self._encode(end)
        for raw, entry in self._timed.scan(low, high, reverse=reverse):
            found = self._seen(raw, entry)
            if found is not None:
                yield found


class TableLookup:
    """A table of the same partitioning, as ``sf.Lookup``; a key of another partition raises."""

    __slots__ = ("_of_windows", "_row", "_scope", "_spec", "_topic_key", "_width")

    def __init__(self, scope: Scope, spec: StoreSpec, topic_key: Serde[Any]) -> None:
        self._scope, self._spec = scope, spec
        self._row = row_of(Timed(scope.levels[spec.name], spec), spec)
        self._topic_key = topic_key
        self._of_windows = get_origin(topic_key.type) is Windowed
        """The topic that brought the keys has windows in them; else an operator made those."""
        self._width = scope.subtopology.partitions

    def get(self, key: Any, /) -> Any:
        """Return the table's value for a key, or None."""
        if self._width > 1:
            self._check(key)
        found = self._row(key)
        return None if found is None else found[0]

    def _has_window(self, key: Any) -> bool:
        return isinstance(key, Windowed) and not self._of_windows

    def _check(self, key: Any) -> None:
        serde = self._topic_key
        raw = serde.encode(key.key if self._has_window(key) else key)
        hashed = raw if serde.hashed is None else serde.hashed(raw)
        partition = self._scope.partition_of(hashed, self._width)
        if partition != self._scope.partition:
            message = (
                f"look-up of key {key!r} in store {self._spec.name!r} is of another partition; "
                f"got a record of partition {self._scope.partition}, the key is in {partition}; "
                "look up the record's own key, or key the stream by it first"
            )
            raise LookupError(message)


class TaskContext(Context[Any]):
    """What a function may ask about its record, and where it may send more of them."""

    __slots__ = ("_cursor", "_scope", "_send")

    def __init__(self, scope: Scope, send: Callable[[Any], None], stage: str) -> None:
        self._scope, self._cursor, self._send = scope, scope.cursor, send
        self._now_ms = self._record_ms if scope.replayed else scope.clock.now_ms
        self._chance = scope.chances.setdefault(stage, Chance(stage))
        self.key, self.timestamp_ms, self.emitted = None, 0, []

    @property
    def headers(self) -> Headers:
        """The current record's headers."""
        return self._cursor.headers

    @property
    def topic(self) -> str:
        """The topic of the current record."""
        return self._cursor.source.topic

    @property
    def partition(self) -> int:
        """The task's partition."""
        return self._scope.partition

    @property
    def offset(self) -> int:
        """The current record's offset, -1 in a timer."""
        return self._cursor.offset

    @property
    def stream_time_ms(self) -> int:
        """The highest timestamp the task has seen."""
        return max(self._scope.stream_time_ms, self._cursor.highest_timestamp_ms)

    def emit(self, record: Any) -> None:
        """Put what is to be sent into the transaction."""
        self._send(record)

    def now(self) -> datetime:
        """When the record happened that this call goes back to, or a timer's time."""
        return time_at(self.timestamp_ms) if self._cursor.offset < 0 else super().now()

    def _record_ms(self) -> int:
        return self.timestamp_ms

    def _root(self) -> str:
        cursor = self._cursor
        if cursor.offset < 0:  # a timer: of one firing there may be results of several times
            return root_text(self._scope.task, self._scope.partition, -1, cursor.fired_ms)
        topic = cursor.source.topic  # one root may come by several repartitions
        return f"{cursor.root} {topic}" if topic in self._scope.internal else cursor.root


class Bound:
    """All injected parameters of one function in one task, in call order."""

    def __init__(
        self,
        scope: Scope,
        node: Function | Timer,
        form: KeyForm,
        send: Callable[[Any], None],
        topic_keys: dict[str, Any],
    ) -> None:
        self.values: dict[str, ValueBinding] = {}
        self.context: TaskContext | None = None
        self.maps: list[tuple[TaskMap, Callable[[Any], bytes]]] = []
        self.arguments: dict[str, Any] = {}
        self._object, self._stage = to_object(form), node.name
        for parameter in node.parameters:
            self.arguments[parameter.name] = self._make(scope, parameter, form, send, topic_keys)

    def _make(
        self,
        scope: Scope,
        parameter: Parameter,
        form: KeyForm,
        send: Callable[[Any], None],
        topic_keys: dict[str, Any],
    ) -> Any:
        if parameter.kind == "context":
            self.context = TaskContext(scope, send, self._stage)
            return self.context
        store = parameter.store
        if store is None:
            message = f"parameter {parameter.name!r} has no store"
            raise InternalError(message)
        if store.kind == "global":
            return scope.global_tables[store.name]
        levels = scope.levels[store.name]
        if parameter.kind == "value":
            binding = self.values[parameter.name] = ValueBinding(scope, parameter, form)
            return binding.target
        if parameter.kind == "map":
            record_key, map_key = get_args(store.key)
            made = TaskMap(levels, map_key)
            object_, component = to_object(form), key_codec(record_key).component
            self.maps.append((made, lambda key: component.encode(object_(key))))
            return made
        if parameter.kind == "lookup":
            return TableLookup(scope, store, topic_keys[store.name])
        if store.kind not in PLAIN_KINDS:
            return TimedTaskStore(scope, store)
        return TaskStore(levels, store.key)

    def bind(self, key: Any, timestamp_ms: int) -> None:
        """Point everything at a record's key."""
        for value in self.values.values():
            value.bind(key)
        for made, prefix in self.maps:
            made.under(prefix(key))
        if self.context is not None:
            self.context.key = self._object(key)
            self.context.timestamp_ms = timestamp_ms

    def settle(self) -> None:
        """Write changed values; called once the function has returned."""
        for value in self.values.values():
            value.settle()

    def reset(self) -> None:
        """After a failure: no value is absent or deleted any more."""
        for value in self.values.values():
            value.target._state = 0
