"""What a function names and does, read from its source, or from its bytecode without one.

Invariant: a line with ``# streamfn: deterministic`` says nothing, and a function whose ``def`` has
it neither. Functions come from ``determinism``, sights go back to it.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from linecache import getlines
from types import FunctionType
from typing import Any, Final, TypeAlias

from streamfn.graph.code_tree import function_tree
from streamfn.graph.determinism_bytecode import sights_in_bytecode
from streamfn.graph.determinism_names import SET_ORDER, SHARED
from streamfn.graph.determinism_scope import (
    NOTHING,
    Instance,
    Method,
    Nothing,
    Scope,
    Sight,
    attribute,
    imported,
)

SILENCE: Final = "# streamfn: deterministic"

AnyFunction: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def sights(fn: FunctionType, owner: object = NOTHING) -> list[Sight]:
    """List what a function names and does, in order; lines that are silenced are left out.

    ``owner`` is the instance whose method it is, or ``NOTHING``.
    """
    lines = getlines(fn.__code__.co_filename, fn.__globals__)
    node = function_tree(fn.__code__, fn.__globals__)
    scope = Scope(fn, owner)
    if not isinstance(node, AnyFunction):
        silent = _silenced(lines)
        found = sights_in_bytecode(fn.__code__, scope)
        return [sight for sight in found if sight.line not in silent]
    first = node.lineno
    if SILENCE in lines[first - 1] and not isinstance(node, ast.Lambda):
        return []
    reader = _Reader(scope, node, _silenced(lines))
    return reader.read()


def _silenced(lines: list[str]) -> set[int]:
    return {number for number, line in enumerate(lines, 1) if SILENCE in line}


# reading it
class _Reader(ast.NodeVisitor):
    """One function's source."""

    def __init__(self, scope: Scope, node: AnyFunction, silent: set[int]) -> None:
        self._scope, self._node, self._silent = scope, node, silent
        self._found: list[Sight] = []
        self._arguments: dict[ast.AST, int] = {}
        self._calm: set[ast.AST] = set()
        """Iterations whose order nobody sees."""
        self._sets: set[str] = set()
        self._outer: set[str] = set()
        """Names declared global or nonlocal."""

    def read(self) -> list[Sight]:
        """List all sights."""
        body = [self._node.body] if isinstance(self._node, ast.Lambda) else self._node.body
        self._learn()
        for part in body:
            self.visit(part)
        return self._found

    def _add(self, node: ast.expr | ast.stmt, said: str = "", **what: Any) -> None:
        span = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        if not self._silent.intersection(span):
            self._found.append(Sight(node.lineno, said or ast.unparse(node), **what))

    # what local names are
    def _learn(self) -> None:
        """Tell local names from others, and what some of them are."""
        stored: Counter[str] = Counter()
        shared: set[str] = set()
        for node in ast.walk(self._node):
            stored.update(_stored(node))
            if isinstance(node, ast.Global | ast.Nonlocal):
                self._outer.update(node.names)
            if isinstance(node, ast.Global):
                shared.update(node.names)
        own = {each.arg for each in ast.walk(self._node.args) if isinstance(each, ast.arg)}
        stored.subtract(own)
        scope = self._scope
        scope.known = {name: what for name, what in scope.known.items() if not stored[name]}
        scope.hidden = (scope.hidden | set(stored)) - shared - scope.free
        for node in ast.walk(self._node):
            self._learn_import(node)
            self._learn_assignment(node, stored)

    def _learn_import(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name if alias.asname else alias.name.partition(".")[0]
                imported(alias.name)
                self._scope.known[alias.asname or top] = imported(top)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            module = imported(node.module or "")
            for alias in node.names:
                self._scope.known[alias.asname or alias.name] = attribute(module, alias.name)

    def _learn_assignment(self, node: ast.AST, stored: Counter[str]) -> None:
        if not (isinstance(node, ast.Assign) and len(node.targets) == 1):
            return
        target = node.targets[0]
        if isinstance(target, ast.Name) and stored[target.id] == 1:
            made = self._resolve(node.value)
            if isinstance(made, Instance):
                self._scope.known[target.id] = made
            if self._is_set(node.value):
                self._sets.add(target.id)

    def _resolve(self, node: ast.AST) -> Any:
        """What an expression is, or ``NOTHING``."""
        if isinstance(node, ast.Name):
            return self._scope.name(node.id)
        if isinstance(node, ast.Attribute):
            return attribute(self._resolve(node.value), node.attr)
        if isinstance(node, ast.Call):
            made = self._resolve(node.func)
            return Instance(made) if isinstance(made, type) else NOTHING
        return NOTHING

    # what is named
    def visit_Name(self, node: ast.Name) -> None:
        """Note a name that is read; one that is declared global and written, as a change."""
        if isinstance(node.ctx, ast.Load):
            self._note(node)
        elif node.id in self._outer and node.id not in self._scope.hidden:
            self._add(node, f"{node.id} = …", kind=SHARED)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """Note a dotted name as a whole."""
        if not isinstance(node.ctx, ast.Load):
            self._check_change(node, node.value)
        elif self._resolve(node) is not NOTHING:
            self._note(node)
            made = node.value
            while isinstance(made, ast.Attribute):
                made = made.value
            if not isinstance(made, ast.Name):
                self.visit(made)
            return
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        """Note a change of what stands outside."""
        if not isinstance(node.ctx, ast.Load):
            self._check_change(node, node.value)
        self.generic_visit(node)

    def _note(self, node: ast.Name | ast.Attribute) -> None:
        thing = self._resolve(node)
        if thing is not NOTHING and not isinstance(thing, Instance):
            self._add(node, thing=thing, arguments=self._arguments.get(node))

    def _check_change(self, node: ast.expr, holder: ast.expr) -> None:
        thing = self._resolve(holder)
        if not isinstance(thing, Nothing | Instance | Method):
            self._add(node, f"{ast.unparse(node)} = …", kind=SHARED)

    # sets
    def _is_set(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Set):
            numbers = [isinstance(item, ast.Constant) and item.value for item in node.elts]
            return not all(type(number) is int for number in numbers)
        if isinstance(node, ast.Name):
            return node.id in self._sets
        if isinstance(node, ast.BinOp):
            return self._is_set(node.left) or self._is_set(node.right)
        if isinstance(node, ast.Call):
            made = self._resolve(node)
            return made in (Instance(set), Instance(frozenset)) or (
                isinstance(node.func, ast.Attribute)
                and node.func.attr in _GIVING_SETS
                and self._is_set(node.func.value)
            )
        return isinstance(node, ast.SetComp)

    def _check_order(self, node: ast.expr, by: ast.AST) -> None:
        if self._is_set(node) and by not in self._calm:
            self._add(node, f"for … in {ast.unparse(node)}", kind=SET_ORDER)

    def visit_Call(self, node: ast.Call) -> None:
        """Note what is called, with how many arguments, and a set that is gone through."""
        starred = any(isinstance(each, ast.Starred) for each in node.args)
        self._arguments[node.func] = 99 if starred else len(node.args) + len(node.keywords)
        fn = self._resolve(node.func)
        joins = isinstance(node.func, ast.Attribute) and node.func.attr in ("join", "fromkeys")
        if node in self._calm or any(fn is each for each in _CALM):
            self._calm.update(node.args)
        elif joins or any(fn is each for each in _IN_ORDER):
            for argument in node.args:
                self._check_order(argument, node)
        if fn is next and node.args and isinstance(self._resolve(node.args[0]), Iterator):
            self._add(node, kind=SHARED)
        self.generic_visit(node)

    def visit_Starred(self, node: ast.Starred) -> None:
        """Note a set that is spread."""
        self._check_order(node.value, node)
        self.generic_visit(node)

    def visit_YieldFrom(self, node: ast.YieldFrom) -> None:
        """Note a set whose items are answers."""
        self._check_order(node.value, node)
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        """Note a loop over a set."""
        self._check_order(node.iter, node)
        self.generic_visit(node)

    def _visit_comprehension(self, node: ast.ListComp | ast.GeneratorExp | ast.DictComp) -> None:
        for each in node.generators:
            self._check_order(each.iter, node)
        self.generic_visit(node)

    visit_ListComp = visit_GeneratorExp = visit_DictComp = _visit_comprehension


def _stored(node: ast.AST) -> Iterator[str]:
    """The names that one node of a function binds."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, _BINDING) and node.name:
        yield node.name
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest
    elif isinstance(node, ast.alias):
        yield node.asname or node.name.partition(".")[0]


_BINDING: Final = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef,
    ast.ExceptHandler, ast.MatchAs, ast.MatchStar,
)  # fmt: skip
_GIVING_SETS: Final = {"union", "intersection", "difference", "symmetric_difference", "copy"}
_CALM: Final = (sorted, sum, any, all, min, max, len, set, frozenset, Counter)
"""What tells nothing of the order it was given."""
_IN_ORDER: Final = (list, tuple, enumerate, iter, map, filter, zip, next, dict)
