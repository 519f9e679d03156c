"""Whether a function may ask its context for what follows from the root of a record.

Most functions with a ``Context`` only want its key or time; their repartition topics need no
header. It is read off the function's code. Invariant: the answer is no only if the context is used
for nothing but other attributes: whoever hands it on, or is no Python function, may ask.
"""

import dis
from collections.abc import Callable
from functools import lru_cache
from types import CodeType
from typing import Any, Final

from streamfn.graph.topology import Function, Timer

_ASKED: Final = frozenset({"now", "random", "uuid"})
_ATTRIBUTES: Final = frozenset({"LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR"})


def may_ask_root(node: Function | Timer) -> bool:
    """True if the function has a context and may call ``now``, ``random`` or ``uuid`` of it."""
    names = [parameter.name for parameter in node.parameters if parameter.kind == "context"]
    return any(_may_ask(node.fn, name) for name in names)


def _may_ask(fn: Callable[..., Any], name: str) -> bool:
    code = getattr(fn, "__code__", None)
    return code is None or _code_may_ask(code, name)


@lru_cache(maxsize=1_000)
def _code_may_ask(code: CodeType, name: str) -> bool:
    """Read the code; once for all tasks, as each of them wants to know."""
    if name not in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
        return True  # it is handed on under another name, as by a decorator
    found = list(dis.get_instructions(code))
    for at, instruction in enumerate(found):
        names: Any = instruction.argval  # later Pythons load two variables at once
        if not (
            names == name or (isinstance(names, tuple) and name in names)
        ) or instruction.opname in ("MAKE_CELL", "COPY_FREE_VARS"):
            continue
        after = found[at + 1] if at + 1 < len(found) else instruction
        plain = instruction.opname.startswith("LOAD_FAST") and names == name
        if not plain or after.opname not in _ATTRIBUTES or after.argval in _ASKED:
            return True
    return False
