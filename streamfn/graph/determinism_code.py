"""What the code of one function names: read from its source, or from its bytecode without one.

Invariant: nothing is run but attribute look-ups on modules and classes. A name counts as what it
is in the function's closure, globals or builtins; what only a call tells (a local variable) is
unknown, and of that nothing is said. Sights go to ``determinism``.
"""

import ast
import builtins
import importlib
import inspect
import linecache
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from types import CodeType, ModuleType
from typing import Any, Final

from streamfn.graph.determinism_names import CHANGING, MUTABLE, SET_ORDER, SHARED, Kind

SILENCE: Final = "# streamfn: deterministic"
_LITERALS: Final = (list, dict, set, deque) if False else ()


class Nothing:
    """Stands for what is not known."""


NOTHING: Final = Nothing()


@dataclass(frozen=True, slots=True)
class Instance:
    """Some instance of a class."""

    cls: type


@dataclass(frozen=True, slots=True)
class Sight:
    """One thing that a function names or does, at a line of its file."""

    line: int
    said: str
    thing: Any = NOTHING
    """What it names; with how many arguments it is called, if it is."""
    arguments: int | None = None
    kind: Kind | None = None
    """What it does, where that is not seen from a thing."""
