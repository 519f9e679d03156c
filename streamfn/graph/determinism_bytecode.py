"""What the bytecode of a function names: for lambdas and functions whose source is not there.

Invariant: nothing is said that ``determinism_source`` would not say; less is seen: no sets, of
local variables only imports.
"""

import dis
from collections.abc import Iterator
from types import CodeType
from typing import Any, Final

from streamfn.graph.determinism_names import SHARED
from streamfn.graph.determinism_scope import NOTHING, Scope, Sight, attribute, imported

_NAMES: Final = {
    "LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF",
    "LOAD_FROM_DICT_OR_GLOBALS", "LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW",
}  # fmt: skip
_ATTRIBUTES: Final = {"LOAD_ATTR", "LOAD_METHOD"}
_DOUBLE: Final = {
    "LOAD_FAST_LOAD_FAST": ("LOAD_FAST", "LOAD_FAST"),
    "LOAD_FAST_BORROW_LOAD_FAST_BORROW": ("LOAD_FAST", "LOAD_FAST"),
    "STORE_FAST_LOAD_FAST": ("STORE_FAST", "LOAD_FAST"),
    "STORE_FAST_STORE_FAST": ("STORE_FAST", "STORE_FAST"),
}
_BETWEEN: Final = {"PUSH_NULL", "PRECALL", "CACHE", "KW_NAMES"}


def sights_in_bytecode(code: CodeType, scope: Scope) -> Iterator[Sight]:
    """Yield what a code object names, and the code inside it."""
    thing: Any = NOTHING
    said, line, module = "", code.co_firstlineno, NOTHING
    for instruction, name, argument in _single(code):
        if name in _BETWEEN:
            continue
        if thing is not NOTHING:
            if name in _ATTRIBUTES:
                thing, said = attribute(thing, argument), f"{said}.{argument}"
                continue
            if name == "STORE_FAST" and module is not NOTHING:
                scope.known[argument] = thing
            yield Sight(line, said, thing, instruction.arg if name.startswith("CALL") else None)
        if instruction.positions is not None and instruction.positions.lineno is not None:
            line = instruction.positions.lineno
        if name in _NAMES:
            thing, said = scope.name(argument), str(argument)
        elif name == "IMPORT_NAME":
            module = imported(argument)
            thing, said = imported(argument.partition(".")[0]), str(argument)
        elif name == "IMPORT_FROM":
            thing, said = attribute(module, argument), str(argument)
        else:
            thing = NOTHING
        if name == "STORE_GLOBAL":
            yield Sight(line, f"{argument} = …", kind=SHARED)
        if name == "POP_TOP":
            module = NOTHING
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            scope.hidden |= set(inner.co_varnames)
            yield from sights_in_bytecode(inner, scope)


def _single(code: CodeType) -> Iterator[tuple[dis.Instruction, str, Any]]:
    """Yield instructions with their names and arguments; later Pythons have some that do two."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in _DOUBLE:
            both = zip(_DOUBLE[instruction.opname], instruction.argval, strict=True)
            yield from ((instruction, name, argument) for name, argument in both)
        else:
            yield instruction, instruction.opname, instruction.argval
