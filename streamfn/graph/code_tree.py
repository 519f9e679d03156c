"""The source of a function or class as text in which only what it does is left.

It comes from the file that it was imported from and goes into the code's version. Invariant: where
things stand, comments, layout and docstrings leave no trace; everything else does. What has no
source, or not for certain, has no text here.
"""

import ast
import linecache
import sys
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType
from typing import Any, TypeAlias

Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def function_tree(code: CodeType, module_globals: dict[str, Any]) -> ast.AST | None:
    """Find the ``def`` or ``lambda`` that a code object was made of."""
    tree = _tree(code.co_filename, module_globals)
    if tree is None:
        return None
    if code.co_name == "<lambda>":
        found = [node for node in _lambdas(tree, code.co_firstlineno) if _spans(node, code)]
        return found[0] if len(found) == 1 else None
    defined = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name == code.co_name
        and _first_line(node) == code.co_firstlineno
    ]
    return defined[0] if len(defined) == 1 else None


def class_tree(cls: type) -> ast.Module | None:
    """Find the statements that define a class; several of one name (in an if) are all taken."""
    module = sys.modules.get(cls.__module__)
    file = getattr(module, "__file__", None)
    tree = _tree(file, vars(module)) if module is not None and file is not None else None
    if tree is None:
        return None
    path = [part for part in cls.__qualname__.split(".") if part != "<locals>"]
    found = list(_defined(tree, path))
    return ast.Module(found, []) if found else None


def module_tree(file: str, module_globals: dict[str, Any]) -> ast.Module | None:
    """A whole module."""
    return _tree(file, module_globals)


def tree_text(tree: ast.AST) -> str:
    """Write a tree without docstrings; a function's own decorators are what called us."""
    kept = _Stripped().visit(_copied(tree))
    if isinstance(kept, ast.FunctionDef | ast.AsyncFunctionDef):
        kept.decorator_list = []
    return ast.dump(kept)


def _copied(tree: ast.AST) -> Any:
    """A tree of our own: the parsed one is kept for the next who asks."""
    fields = {name: _copied_field(value) for name, value in ast.iter_fields(tree)}
    return type(tree)(**fields)


def _copied_field(value: Any) -> Any:
    if isinstance(value, ast.AST):
        return _copied(value)
    return list(map(_copied_field, value)) if value.__class__ is list else value


class _Stripped(ast.NodeTransformer):
    """Takes docstrings away."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Go through a node, without the text that its body begins with."""
        super().generic_visit(node)
        if isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module
        ) and _has_docstring(node.body):
            node.body = node.body[1:] or [ast.Pass()]
        return node


def _has_docstring(body: list[ast.stmt]) -> bool:
    first = body[0] if body else None
    return (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )


def _tree(file: str, module_globals: dict[str, Any]) -> ast.Module | None:
    linecache.checkcache(file)
    return _parsed("".join(linecache.getlines(file, module_globals)))


@lru_cache(maxsize=64)
def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text) if text else None
    except SyntaxError:
        return None  # it has been changed since: what runs is another text


def _lambdas(tree: ast.AST, line: int) -> Iterator[ast.Lambda]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda) and node.lineno == line:
            yield node


def _spans(node: ast.Lambda, code: CodeType) -> bool:
    """True if the instructions stand where the lambda's body does: several may share a line."""
    places = [place for place in code.co_positions() if None not in place and place[3]]
    inside = [place for place in places if place[0] != place[1] or place[2] != place[3]]
    if not inside:
        return False
    begin = min((line, column) for line, _, column, _ in inside)
    end = max((line, column) for _, line, _, column in inside)
    body = node.body
    return begin == (body.lineno, body.col_offset) and end == (
        body.end_lineno,
        body.end_col_offset,
    )


def _first_line(node: Definition) -> int:
    """Where its code object says that it begins: at its first decorator."""
    return min([node.lineno, *(each.lineno for each in node.decorator_list)])


def _defined(tree: ast.AST, path: list[str]) -> Iterator[ast.stmt]:
    """Follow a qualified name through a module, conditions included."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name == path[0] and len(path) > 1:
                yield from _defined(node, path[1:])
            elif node.name == path[0] and isinstance(node, ast.ClassDef):
                yield node
        else:
            yield from _defined(node, path)
