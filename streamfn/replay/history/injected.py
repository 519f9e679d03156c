"""What a function got for its injected parameters, seen from outside while a replay calls it.

The engine's own objects come in; the function gets them, or a stand-in that notes what it touches.
Invariant: to the function they are the same: answers, state and errors are those of a replay in
which nobody looks.
"""

# pyright: reportPrivateUsage=false
# The slots of what the engine injects are read here as the engine reads them.

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, get_args

from streamfn.function.state import MISSING, PRESENT, Map, Outgoing, Store, Value
from streamfn.graph.stores import encode_key, entry_serde
from streamfn.graph.topology import Parameter
from streamfn.replay.history.calls import (
    ContextKept,
    EntriesKept,
    Kept,
    LookupKept,
    ValueKept,
    copied,
    failure_of,
)
from streamfn.state.keys import key_codec


def entry_key(parameter: Parameter) -> Callable[[Any], bytes]:
    """Return what turns a key of a map or store into bytes: they give the order of the entries."""
    spec = parameter.store
    assert spec is not None, "only what has a store has entries"
    if parameter.kind == "map":
        encode: Callable[[Any], bytes] = key_codec(get_args(spec.key)[1]).component.encode
        return encode
    return encode_key(spec)


class Noting:
    """Notes, of the entries that a call touches, what they were before."""

    def watch(self, inner: Any, key_of: Callable[[Any], bytes]) -> "Noting":
        """Stand before a map or store of the engine."""
        self._inner, self._key_of = inner, key_of
        self.first: dict[bytes, tuple[Any, Any]] = {}
        """By the bytes of the key: key and value, ``MISSING`` if there was none."""
        return self

    def _note(self, key: Any, value: Any) -> None:
        at = self._key_of(key)
        if at not in self.first:
            self.first[at] = copied(key), copied(value)

    def _get(self, key: Any) -> Any:
        value = self._inner._get(key)
        self._note(key, value)
        return value

    def _put(self, key: Any, value: Any) -> None:
        self._note(key, self._inner._get(key))
        self._inner._put(key, value)

    def _delete(self, key: Any) -> None:
        self._note(key, self._inner._get(key))
        self._inner._delete(key)

    def _scan(self, start: Any, end: Any, reverse: bool) -> Iterator[tuple[Any, Any]]:
        for key, value in self._inner._scan(start, end, reverse):
            self._note(key, value)
            yield key, value

    def before(self) -> EntriesKept:
        """The entries that were touched, as they were."""
        found = {key: value for key, value in self.first.values() if value is not MISSING}
        return EntriesKept(found, whole=False)

    def after(self) -> EntriesKept:
        """The same entries, as they are."""
        now = ((key, self._inner._get(key)) for key, _ in self.first.values())
        found = {key: copied(value) for key, value in now if value is not MISSING}
        return EntriesKept(found, whole=False)


class NotingMap(Noting, Map[Any, Any]):
    """A map that is too large to be kept whole."""


class NotingStore(Noting, Store[Any, Any]):
    """A store that is too large to be kept whole."""


class NotingLookup:
    """A table that is looked up: notes questions and answers."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.asked: list[tuple[Any, Any]] = []

    def get(self, key: Any, /) -> Any:
        """Return what the table has."""
        try:
            found = self._inner.get(key)
        except Exception as error:
            self.asked.append((copied(key), failure_of(error)))
            raise
        self.asked.append((copied(key), copied(found)))
        return found


def value_kept(parameter: Parameter, box: Value[Any]) -> ValueKept:
    """Keep a value as it is; one that still is what a new key starts with does not exist."""
    exists = box._state == PRESENT or box.value is not box._seed
    if not exists and parameter.start is not None and parameter.store is not None:
        encode = entry_serde(parameter.store).encode
        try:
            exists = encode(box.value) != encode(parameter.start())
        except Exception:  # the engine will raise it again, as the record's failure
            exists = True
    return ValueKept(exists, copied(box.value))


def _entries(inner: Any, most: int) -> dict[Any, Any] | None:
    """Copy all entries; None if there are more than ``most``."""
    found = dict(islice(inner._scan(None, None, False), most + 1))
    if len(found) > most:
        return None
    return {copied(key): copied(value) for key, value in found.items()}


class Injected:
    """The parameters of one call: what was there, what the function gets, what is there now."""

    def __init__(
        self, parameters: tuple[Parameter, ...], arguments: tuple[Any, ...], whole_max: int
    ) -> None:
        self._parameters = parameters
        self._inner = dict(zip((p.name for p in parameters), arguments, strict=True))
        self._whole: dict[str, EntriesKept] = {}
        self._values: dict[str, ValueKept] = {}
        self._contexts: dict[str, ContextKept] = {}
        self.sent: list[Outgoing[Any, Any]] = []
        self.arguments: dict[str, Any] = {
            p.name: self._argument(p, self._inner[p.name], whole_max) for p in parameters
        }

    def _argument(self, parameter: Parameter, inner: Any, whole_max: int) -> Any:
        match parameter.kind:
            case "value":
                exists = inner._state == PRESENT
                self._values[parameter.name] = ValueKept(exists, copied(inner.value))
                return inner
            case "lookup":
                return NotingLookup(inner)
            case "context":
                self._contexts[parameter.name] = ContextKept(
                    inner.stream_time_ms, inner.now_ms, copied(inner._chance), inner._root(), []
                )
                return inner
            case kind:
                found = _entries(inner, whole_max) if whole_max else None
                if found is not None:
                    self._whole[parameter.name] = EntriesKept(found)
                    return inner
                noting = NotingMap() if kind == "map" else NotingStore()
                return noting.watch(inner, entry_key(parameter))

    def listen(self) -> Callable[[], None]:
        """Note what contexts send; the answer ends that."""
        before = [(self._inner[name], self._inner[name]._send) for name in self._contexts]
        for (context, send), kept in zip(before, self._contexts.values(), strict=True):
            context._send = self._tee(send, kept)

        def end() -> None:
            for context, send in before:
                context._send = send

        return end

    def _tee(self, send: Callable[[Any], None], kept: ContextKept) -> Callable[[Any], None]:
        def both(record: Any) -> None:
            try:
                send(record)
            except Exception as error:
                kept.refused.append((len(self.sent), error))
                raise
            self.sent.append(copied(record))

        return both

    def before(self) -> dict[str, Kept]:
        """What was there; of what is noted, known only after the call."""
        return {p.name: self._before(p) for p in self._parameters}

    def _before(self, parameter: Parameter) -> Kept:
        name, given = parameter.name, self.arguments[parameter.name]
        if isinstance(given, Noting):
            return given.before()
        if isinstance(given, NotingLookup):
            return LookupKept(given.asked)
        for held in (self._values, self._contexts, self._whole):
            if name in held:
                return held[name]
        return EntriesKept({})

    def after(self) -> dict[str, Kept]:
        """The state as the function left it."""
        return {p.name: self._after(p) for p in self._parameters if p.store and p.kind != "lookup"}

    def _after(self, parameter: Parameter) -> Kept:
        given = self.arguments[parameter.name]
        if isinstance(given, Noting):
            return given.after()
        if parameter.kind == "value":
            return value_kept(parameter, given)
        found = dict(given._scan(None, None, False))
        return EntriesKept({copied(key): copied(value) for key, value in found.items()})
