"""Runs a call of a history again, alone: the function with parameters built from what was kept.

No replay, no database: a call goes in, and what comes of it now comes out. Invariant: if the
function depends on nothing but its arguments, that is what came of the call in the replay, however
often it is run.
"""

# pyright: reportPrivateUsage=false
# What a task writes into the slots of a parameter is written here from the history.

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, get_args

from streamfn.engine.bindings import TaskMap, TaskStore
from streamfn.function.state import ABSENT, MISSING, PRESENT, Context, Outgoing, Store, Value
from streamfn.graph.stores import entry_serde
from streamfn.graph.topology import PLAIN_KINDS, Parameter, StoreSpec
from streamfn.replay.history.calls import (
    Call,
    ContextKept,
    EntriesKept,
    Failure,
    Kept,
    LookupKept,
    Outcome,
    Place,
    ValueKept,
    answers_of,
    copied,
    failure_of,
)
from streamfn.replay.history.injected import entry_key, value_kept
from streamfn.serde import is_immutable
from streamfn.state.levels import Levels
from streamfn.state.memory import MemoryStore

Run: TypeAlias = Callable[[Callable[..., Any], tuple[Any, ...], bool], Any]
"""``run(function, arguments, spread)`` answers what the function does, a list if it is spread."""


def at_once(fn: Callable[..., Any], arguments: tuple[Any, ...], spread: bool) -> Any:
    """Run a function to its end."""
    result = fn(*arguments)
    return list(result) if spread else result


def run_again(call: Call, run: Run = at_once) -> Outcome:
    """Run a call from the state that was before it; ``run`` may stop on the way."""
    made = {p.name: _made(p, call.before[p.name], call) for p in call.parameters}
    context = next((each for each in made.values() if isinstance(each, KeptContext)), None)
    sent: list[Outgoing[Any, Any]] = [] if context is None else context.emitted
    given = tuple(map(copied, call.given))
    try:
        result = run(call.fn, (*given, *made.values()), call.spread)
    except (Exception, SystemExit) as error:
        return Outcome([], sent, {}, failure_of(error))
    answers = answers_of(result, spread=call.spread, quiet=call.quiet)
    after = {p.name: _after(p, made[p.name], call.before[p.name]) for p in call.parameters}
    return Outcome(answers, sent, {name: kept for name, kept in after.items() if kept is not None})


def _made(parameter: Parameter, kept: Kept, call: Call) -> Any:
    match kept:
        case ValueKept():
            return _value(parameter, kept)
        case LookupKept():
            return KeptLookup(parameter.name, kept)
        case ContextKept():
            return KeptContext(call.place, kept)
        case EntriesKept():
            assert parameter.store is not None, "entries are of a store"
            return _entries(parameter, parameter.store, kept)


def _after(parameter: Parameter, made: Any, before: Kept) -> Kept | None:
    match before:
        case ValueKept():
            return value_kept(parameter, made)
        case EntriesKept():
            found = dict(made._scan(None, None, False))
            return EntriesKept({key: copied(found[key]) for key in found}, before.whole)
        case _:
            return None


def _value(parameter: Parameter, kept: ValueKept) -> Value[Any]:
    """A value as a task binds it."""
    assert parameter.start is not None, "a value has a start"
    box: Value[Any] = Value(copied(kept.value))
    box._start = parameter.start
    if not kept.exists:
        box._seed = box.value
    box._state = PRESENT if kept.exists else ABSENT
    return box


def _entries(parameter: Parameter, spec: StoreSpec, kept: EntriesKept) -> Any:
    if spec.kind not in PLAIN_KINDS:
        return KeptStore(parameter, kept)
    serde, key_of = entry_serde(spec), entry_key(parameter)
    levels = Levels(
        spec.name, MemoryStore([spec.name]), serde.encode, serde.decode,
        mutable=not is_immutable(spec.value), undo=[],
        exact=spec.value if isinstance(spec.value, type) else None,
    )  # fmt: skip
    for key, value in kept.entries.items():
        levels.put(key_of(key), value)
    if parameter.kind == "map":
        made = KeptMap(levels, get_args(spec.key)[1])
        made.under(b"")
        made._end = None
        return made
    return KeptTaskStore(levels, spec.key)


class KeptMap(TaskMap):
    """The map under the call's key."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Map({dict(self.items())!r})"


class KeptTaskStore(TaskStore):
    """The store of a function."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Store({dict(self.items())!r})"


class KeptStore(Store[Any, Any]):
    """The store of a table: in the order of its keys, and a copy of a value for each reader."""

    __slots__ = ("_key_of",)

    def __init__(self, parameter: Parameter, kept: EntriesKept) -> None:
        super().__init__({key: copied(value) for key, value in kept.entries.items()})
        self._key_of = entry_key(parameter)

    def _get(self, key: Any) -> Any:
        return copied(self._entries.get(key, MISSING))

    def _scan(self, start: Any, end: Any, reverse: bool) -> Iterator[tuple[Any, Any]]:
        low = b"" if start is None else self._key_of(start)
        high = None if end is None else self._key_of(end)
        for key in sorted(self._entries, key=self._key_of, reverse=reverse):
            at = self._key_of(key)
            if at >= low and (high is None or at < high):
                yield key, copied(self._entries[key])

    def __repr__(self) -> str:
        return f"Store({self._entries!r})"


class KeptLookup:
    """A table, as far as the call asked for it."""

    def __init__(self, name: str, kept: LookupKept) -> None:
        self._name, self._asked = name, kept.asked

    def get(self, key: Any, /) -> Any:
        """Return what the table answered in the replay.

        Raises:
            LookupError: it was not asked for this key.
        """
        for asked, answer in self._asked:
            if asked == key:
                if isinstance(answer, Failure):
                    raise LookupError(answer.message)
                return copied(answer)
        known = ", ".join(repr(asked) for asked, _ in self._asked) or "nothing"
        message = (
            f"{self._name!r} was not asked for {key!r} in the replay; it was asked for {known}; "
            "only that is kept"
        )
        raise LookupError(message)

    def __repr__(self) -> str:
        return f"Lookup({self._asked!r})"


class KeptContext(Context[Any]):
    """The context of the call: its record, its clocks, its random numbers and ids."""

    __slots__ = ("_kept_root", "_refused")

    def __init__(self, place: Place, kept: ContextKept) -> None:
        super().__init__(
            key=copied(place.key), timestamp_ms=place.timestamp_ms, headers=place.headers,
            topic=place.topic, partition=place.partition, offset=place.offset,
            stream_time_ms=kept.stream_time_ms, now_ms=kept.now_ms,
        )  # fmt: skip
        self._kept_root, self._refused = kept.root, list(kept.refused)
        self._chance = copied(kept.chance)

    def emit(self, record: Outgoing[Any, Any]) -> None:
        """Note what is sent; what was refused in the replay is refused again."""
        if self._refused and self._refused[0][0] == len(self.emitted):
            raise self._refused.pop(0)[1]
        self.emitted.append(copied(record))

    def _root(self) -> str:
        return self._kept_root
