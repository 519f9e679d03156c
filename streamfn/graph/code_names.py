"""Which names of its module a piece of code refers to, with the attributes asked of them.

Names come from instructions or from a syntax tree and go to whoever looks up what they stand for.
Invariant: each name that may be looked up in the module, or is imported on the way, is told.
"""

import ast
import dis
from collections.abc import Iterator
from types import CodeType
from typing import Any, Final, TypeAlias, cast

Chain: TypeAlias = tuple[str, ...]
"""A name and the attributes asked of it: ``rates.TABLE`` is ``("rates", "TABLE")``."""

_GLOBALS: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_ATTRIBUTES: Final = frozenset({"LOAD_ATTR", "LOAD_METHOD"})


def names_of(code: CodeType) -> Iterator[Chain]:
    """The names that code looks up in its module, those of the functions in it too."""
    chain: list[str] = []
    for instruction in dis.get_instructions(code):
        if chain and instruction.opname in _ATTRIBUTES:
            chain.append(str(instruction.argval))
            continue
        if chain:
            yield tuple(chain)
        chain = [str(instruction.argval)] if instruction.opname in _GLOBALS else []
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_of(constant)


def names_in(tree: ast.AST) -> Iterator[Chain]:
    """The names in a tree, those that are bound in it too."""
    for node in ast.iter_child_nodes(tree):
        chain = _chain(node)
        if chain:
            yield chain
        else:
            yield from names_in(node)


def _chain(node: ast.AST) -> Chain:
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        before = _chain(node.value)
        return (*before, node.attr) if before else ()
    return ()


def imports_of(code: CodeType) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    """What code imports while it runs: the module, how many folders up, the names taken of it."""
    before: list[Any] = []
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME":
            level, names = _level_and_names(before[-2:])
            yield str(instruction.argval), level, names
        before.append(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from imports_of(constant)


def _level_and_names(given: list[Any]) -> tuple[int, tuple[str, ...]]:
    level = given[0] if len(given) == 2 and isinstance(given[0], int) else 0
    if len(given) == 2 and isinstance(given[1], tuple):
        return level, cast("tuple[str, ...]", given[1])
    return level, ()


def code_text(code: CodeType, docstring: str | None) -> str:
    """Write instructions and constants, for code without source; its docstring is left out."""
    constants = list(code.co_consts)
    if docstring is not None and constants and constants[0] == docstring:
        constants[0] = None
    told = [
        code_text(each, None) if isinstance(each, CodeType) else constant_text(each)
        for each in constants
    ]
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    return f"{code.co_code.hex()} {code.co_exceptiontable.hex()} {names} {counts} {told}"


def constant_text(constant: object) -> str:
    """Write a constant; a set has no order of its own."""
    if isinstance(constant, frozenset):
        return f"frozenset({sorted(map(repr, cast('frozenset[object]', constant)))})"
    if isinstance(constant, tuple):
        return f"({', '.join(map(constant_text, cast('tuple[object, ...]', constant)))})"
    return f"{type(constant).__name__} {constant!r}"
