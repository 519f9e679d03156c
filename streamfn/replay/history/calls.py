"""What one stage was called with for a key, and what came of it: its history, as data.

Calls come from the stand-ins of ``watching`` during a replay and go to the debugger, or are run
again by ``standalone``. Invariant: a call is a copy; what a function or a later stage changes in
place never shows in it. The last calls are kept, so many of them and of their entries that memory
is bounded.
"""

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from streamfn.chance import Chance
from streamfn.engine.failure import user_traceback
from streamfn.function.state import Outgoing
from streamfn.graph.topology import Parameter
from streamfn.record import Headers
from streamfn.replay.effects import Raised

CALLS_MAX: Final = 10_000
ENTRIES_MAX: Final = 1_000_000
"""Entries of maps and stores in all calls that are kept."""
WHOLE_MAX: Final = 10_000
"""A map or store of more entries is kept as far as the call touched it."""
KEYS_MAX: Final = 10_000
"""So many other keys are remembered, to say which there were."""
_PLAIN: Final = (int, float, str, bytes, bool, type(None))


def copied(value: Any) -> Any:
    """Copy a value; of what refuses to be copied, the thing itself."""
    if type(value) in _PLAIN:
        return value
    try:
        return copy.deepcopy(value)
    except Exception:  # a user's own class may raise anything; its text may change later
        return value


@dataclass(frozen=True, slots=True)
class Failure:
    """What a call raised."""

    error: str
    """The class."""
    message: str
    traceback: str
    """The user's own frames."""


def failure_of(error: BaseException) -> Failure:
    """Keep what was raised."""
    return Failure(type(error).__name__, str(error), user_traceback(error))


@dataclass(frozen=True, slots=True)
class ValueKept:
    """A ``Value`` parameter."""

    exists: bool
    value: Any


@dataclass(frozen=True, slots=True)
class EntriesKept:
    """A ``Map`` or ``Store`` parameter: all entries, or those that the call touched."""

    entries: dict[Any, Any]
    whole: bool = True


@dataclass(frozen=True, slots=True)
class LookupKept:
    """What a ``Lookup`` parameter was asked, and its answers: a ``Failure`` if it raised."""

    asked: list[tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class ContextKept:
    """A ``Context`` parameter, besides what a call says of its record."""

    stream_time_ms: int
    now_ms: int
    chance: Chance
    """How far the record's random numbers and ids were."""
    root: str
    """What they are made from."""
    refused: list[tuple[int, Exception]]
    """Which ``emit`` of the call raised what."""


Kept: TypeAlias = ValueKept | EntriesKept | LookupKept | ContextKept


@dataclass(frozen=True, slots=True)
class Place:
    """The record that a call was for."""

    key: Any
    timestamp_ms: int
    topic: str
    """"" for a timer."""
    partition: int
    offset: int
    """-1 for a timer."""
    headers: Headers = ()
    root: str = ""
    """Where the record entered the program: topic, partition, offset, time in ms."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call."""

    answers: list[Any]
    sent: list[Outgoing[Any, Any]]
    """By ``Context.emit``."""
    after: dict[str, Kept]
    """State by parameter; empty if it raised."""
    raised: Failure | None = None


@dataclass(slots=True)
class Call:
    """One call of the stage for the key."""

    place: Place
    fn: Callable[..., Any]
    """The user's own function."""
    part: str
    """Which of the stage's functions; "" for the one it is named after."""
    given: tuple[Any, ...]
    """What it was called with before the injected parameters."""
    spread: bool
    """Its answers are the items of what it returns."""
    quiet: bool
    """None is no answer."""
    parameters: tuple[Parameter, ...]
    before: dict[str, Kept]
    outcome: Outcome
    stage: str = ""
    number: int = 0
    """Among all calls for the key, from 1."""
    undone: str = ""
    """Why the record was undone after the call, if it was."""

    @property
    def failed(self) -> bool:
        """True if nothing has come of it."""
        return self.outcome.raised is not None or bool(self.undone)

    @property
    def at(self) -> tuple[str, int, int]:
        """Topic, partition and offset of its record; of a timer its name and time."""
        place = self.place
        if place.offset < 0:
            return self.part, place.partition, place.timestamp_ms
        return place.topic, place.partition, place.offset

    @property
    def weight(self) -> int:
        """How many entries are kept."""
        kept = (*self.before.values(), *self.outcome.after.values())
        return 1 + sum(len(each.entries) for each in kept if isinstance(each, EntriesKept))


def answers_of(result: Any, *, spread: bool, quiet: bool) -> list[Any]:
    """Return what a result holds as answers."""
    found: list[Any] = result if spread else [result]
    return [copied(one) for one in found if not (quiet and one is None)]


@dataclass(slots=True)
class History:
    """The calls of one stage for one key, oldest first."""

    stage: str
    wanted: Callable[[Any], bool]
    """Tells whether a decoded key is the one."""
    calls_max: int = CALLS_MAX
    entries_max: int = ENTRIES_MAX
    made: int = 0
    """How many calls there were for the key; not all may be kept."""
    seen: dict[Any, int] = field(default_factory=dict[Any, int])
    """Other keys and how often the stage was called for them, as far as they fit."""
    _calls: deque[Call] = field(default_factory=deque[Call])
    _weight: int = 0

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(self._calls)

    def __getitem__(self, index: int) -> Call:
        return self._calls[index]

    @property
    def dropped(self) -> int:
        """How many of the first calls are not kept."""
        return self.made - len(self._calls)

    def wants(self, key: Any) -> bool:
        """Tell whether a call for a key is to be kept, and remember which others there were."""
        if self.wanted(key):
            return True
        try:
            if key in self.seen or len(self.seen) < KEYS_MAX:
                self.seen[key] = self.seen.get(key, 0) + 1
        except TypeError:  # a key that has no hash
            self.seen[repr(key)] = self.seen.get(repr(key), 0) + 1
        return False

    def add(self, call: Call) -> None:
        """Keep a call; the oldest ones make room."""
        self.made += 1
        call.number, call.stage = self.made, self.stage
        self._calls.append(call)
        self._weight += call.weight
        while len(self._calls) > 1 and (
            len(self._calls) > self.calls_max or self._weight > self.entries_max
        ):
            self._weight -= self._calls.popleft().weight

    def undo(self, raised: Iterable[Raised]) -> None:
        """Note which calls were undone because their record failed, here or further on."""
        failed = {(*each.source, each.offset): each for each in raised}
        for call in self._calls:
            found = failed.get(call.at)
            if found is not None and call.outcome.raised is None:
                call.undone = f"stage {found.stage!r} raised {found.error}: {found.message}"
