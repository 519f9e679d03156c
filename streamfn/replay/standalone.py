"""Runs a call of a history again, alone: the function with parameters built from what was kept.

No engine, no store: the parameters are those with which functions are tested by calling them, made
to behave as in a task. Invariant: if the function depends on nothing but its arguments, what comes
of it is what came of the call in the replay.
"""

# pyright: reportPrivateUsage=false
# What a task writes into the slots of a parameter is written here from the history.

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from streamfn.chance import root_text
from streamfn.engine.operators.timed import UNKNOWN_MS as _UNKNOWN
from streamfn.function.state import ABSENT, MISSING, PRESENT, Context, Map, Outgoing, Store, Value
from streamfn.graph.stores import entry_serde
from streamfn.graph.topology import PLAIN_KINDS, Parameter
from streamfn.replay.history import (
    Call,
    ContextKept,
    EntriesKept,
    Failure,
    Kept,
    LookupKept,
    Outcome,
    ValueKept,
    answers_of,
    copied,
    failure_of,
)
from streamfn.replay.parameters import entry_key, value_kept

Run: TypeAlias = Callable[[Callable[..., Any], tuple[Any, ...], bool], Any]
"""``run(function, arguments, spread)`` answers what the function does, a list if spread."""
