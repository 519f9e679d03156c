"""Suppression: changes of a table are held back until their window is closed, or for a time.

A change waits in the store, in the place of the first one of its key; later ones replace it there
(``KTableSuppressProcessorSupplier``, ``InMemoryTimeOrderedKeyValueChangeBuffer``). Invariant: what
goes on and when follows from the changes that came alone, and from the wall clock where
``idle_close_ms`` is given; what was closed by the wall clock stays closed.

    01 place key → (new value, its time)       what waits, in the order in which it goes on
    02 key → (value before it waited, place)   where it waits, and what went on last

``place`` is the end of the window, or the time of the first change. Where it follows from the key
and nobody behind looks at old values, the second is left out.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from streamfn.engine.keys import OBJECT, KeyForm, to_object
from streamfn.engine.operators.timed import Register, Timed
from streamfn.engine.scope import Idle, Run
from streamfn.function.annotations import plain_type
from streamfn.graph.operators import Suppress, ToStream
from streamfn.graph.stores import ENTRY, INDEX
from streamfn.serde.operators import windowed_key_type
from streamfn.state.keys import component, key_codec
from streamfn.windowed import FOREVER_MS, Windowed

if TYPE_CHECKING:
    from streamfn.engine.closures import Compiler

_SPAN: Final = Struct(">QQ")
_PLACE: Final = Struct(">cQ")


def _place_of(entry: bytes) -> int:
    place: int = _PLACE.unpack_from(entry)[1]
    return place


def compile_suppress(compiler: "Compiler", node: Suppress, form: KeyForm, parent: str) -> Run:
    """Hold changes back until stream time, as far as changes tell it, is past their place."""
    waiting = _waiting(compiler, node)
    waiting.then = compiler.apart(node, compiler.children(node, OBJECT))
    key_of, drop, name = to_object(form), compiler.scope.metrics.drop, node.name
    stream_time, first, closed = waiting.stream_time, waiting.first, waiting.closed
    final, hold_ms = node.limit_ms is None, _hold_ms(node)
    records_max, idle = node.records_max, node.idle_close_ms is not None
    if idle:
        compiler.idle.append(Idle(name, waiting.idle_is_over, waiting.close_all))

    def run(key: Any, change: Any, timestamp: int) -> None:
        until = stream_time.advance(timestamp) - hold_ms
        key = key_of(key)
        place = key.end_ms if final else timestamp
        waiting.idle_since_ms = None
        if idle and final and place <= closed.get():
            if change[0] is not None:
                drop("late record", name)
        else:
            waiting.put(key, change, place, timestamp)
        if first.get() <= until:
            waiting.go_on_until(until)
        if records_max is not None and waiting.count.get() > records_max:
            waiting.overfull(records_max)

    return run


def value_before(compiler: "Compiler", node: Suppress) -> Callable[[Any], tuple[Any] | None]:
    """Return what tells, of a key, the value that was there before its change began to wait.

    None: nothing waits, and the row is as its parent has it (``KTableSuppressProcessorSupplier``).
    """
    store, encode = compiler.timed(node.store), _waiting(compiler, node).encode

    def before(key: Any) -> tuple[Any] | None:
        found = store.get(ENTRY + encode(key))
        return None if found is None else (found[0],)

    return before


def _hold_ms(node: Suppress) -> int:
    """How far stream time must be past a place; an inclusive end is over a millisecond later."""
    if node.limit_ms is not None:
        return node.limit_ms
    return node.close_after_ms + node.inclusive_end


def _waiting(compiler: "Compiler", node: Suppress) -> "Waiting":
    key = plain_type(node.key)
    inner = windowed_key_type(key)
    if inner is None:
        encode, decode = _plain_key(key)
    else:
        encode, decode = (_windowed_key if node.limit_ms is not None else _closing_key)(inner)
    children = compiler.scope.subtopology.children(node.name)
    asks_old = not all(isinstance(child, ToStream) for child in children)
    return Waiting(node, compiler.timed(node.store), encode, decode, asks_old)


def _plain_key(key_type: object) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    codec = key_codec(key_type)
    return codec.encode, codec.decode


def _windowed_key(inner: object) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    """The key and then the window: the order in which changes of one time go on."""
    part, pack, unpack = component(inner), _SPAN.pack, _SPAN.unpack_from

    def encode(key: Windowed[Any]) -> bytes:
        return part.encode(key.key) + pack(key.start_ms, key.end_ms)

    def decode(raw: bytes) -> Windowed[Any]:
        key, at = part.decode(raw, 0)
        return Windowed(key, *unpack(raw, at))

    return encode, decode


def _closing_key(inner: object) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    """The window and then the key: the order in which emission on close hands results on."""
    codec, pack, unpack = key_codec(inner), _SPAN.pack, _SPAN.unpack_from

    def encode(key: Windowed[Any]) -> bytes:
        return pack(key.start_ms, key.end_ms) + codec.encode(key.key)

    def decode(raw: bytes) -> Windowed[Any]:
        return Windowed(codec.decode(raw[_SPAN.size :]), *unpack(raw))

    return encode, decode


@dataclass(slots=True)
class Waiting:
    """What waits. ``asks_old``: somebody behind looks at old values or at rows."""

    node: Suppress
    store: Timed
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    asks_old: bool
    then: Run = field(init=False)
    idle_since_ms: int | None = None
    """When the wall clock was first looked at after the last change."""
    stream_time: Register = field(init=False)
    first: Register = field(init=False)
    """The first place where something waits."""
    count: Register = field(init=False)
    """How many wait; only where there is a limit."""
    closed: Register = field(init=False)
    """Windows that end here or before were closed as nothing came."""

    def __post_init__(self) -> None:
        register = self.store.register
        self.stream_time, self.closed = register(b"t"), register(b"c")
        self.first, self.count = register(b"f", FOREVER_MS), register(b"n", 0)

    @property
    def _noted(self) -> bool:
        """Whether there is an entry that says where a key waits."""
        return self.asks_old or self.node.limit_ms is not None

    def put(self, key: Any, change: Any, place: int, timestamp: int) -> None:
        """Have a change wait, where one of its key waits already if there is one."""
        at, store = self.encode(key), self.store
        new, old, _ = change
        if self._noted:
            noted = store.get(ENTRY + at)
            if noted is None:
                store.put(ENTRY + at, old if self.asks_old else None, place)
                self._added(place)
            else:
                place = noted[1]
        elif store.get(_PLACE.pack(INDEX, place) + at) is None:
            self._added(place)
        store.put(_PLACE.pack(INDEX, place) + at, new, timestamp)

    def _added(self, place: int) -> None:
        if place < self.first.get():
            self.first.set(place)
        if self.node.records_max is not None:
            self.count.set(self.count.get() + 1)

    def go_on_until(self, until: int) -> None:
        """Hand on all that waits at places up to one, in order."""
        start, end = _PLACE.pack(INDEX, self.first.get()), _PLACE.pack(INDEX, until + 1)
        self._hand_on(list(self.store.scan(start, end)))

    def overfull(self, records_max: int) -> None:
        """Hand the oldest on before their time, or refuse the change that is too much."""
        if self.node.when_full == "fail":
            message = (
                f"suppress {self.node.name!r} holds back {records_max} records at most; got one "
                "more; raise max_records, or say when_full='emit' to have the oldest go on early"
            )
            raise OverflowError(message)
        oldest = self.store.scan(_PLACE.pack(INDEX, self.first.get()), ENTRY)
        self._hand_on(list(islice(oldest, self.count.get() - records_max)))

    def _hand_on(self, entries: list[tuple[bytes, tuple[Any, int]]]) -> None:
        """Hand the first changes on; each waits until it has arrived, for who looks up its row.

        The old value, for who takes it back, is what went on last and not what waited meanwhile.
        Kafka Streams gives that of the last change, and a sum of the groups behind it goes wrong.
        """
        store, drops_deletions = self.store, self.node.limit_ms is None
        for entry, (new, timestamp) in entries:
            at = entry[9:]
            if new is not None or not drops_deletions:
                before = store.get(ENTRY + at) if self.asks_old else None
                old = None if before is None else before[0]
                self.then(self.decode(at), (new, old, True), timestamp)
            store.delete(entry)
            if self._noted:
                store.delete(ENTRY + at)
        if entries:
            following = next(store.scan(entries[-1][0] + b"\x00", ENTRY), None)
            self.first.set(FOREVER_MS if following is None else _place_of(following[0]))
        if self.node.records_max is not None:
            self.count.set(self.count.get() - len(entries))

    def idle_is_over(self, now_ms: int) -> bool:
        """Tell whether something waits and nothing has come for too long on the wall clock."""
        if self.idle_since_ms is None or now_ms < self.idle_since_ms:  # a clock may be set back
            self.idle_since_ms = now_ms
        idle_ms = self.node.idle_close_ms
        late = idle_ms is not None and now_ms - self.idle_since_ms >= idle_ms
        return late and self.first.get() < FOREVER_MS

    def close_all(self, now_ms: int) -> None:
        """Hand on all that waits; windows that are closed so take no more changes."""
        start, end = _PLACE.pack(INDEX, self.first.get()), _PLACE.pack(INDEX, FOREVER_MS)
        entries = list(self.store.scan(start, end))
        if entries and self.node.limit_ms is None:
            self.closed.advance(_place_of(entries[-1][0]))
        self._hand_on(entries)
