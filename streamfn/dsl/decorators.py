"""The types of ``@app.function``: which functions fit a source and where their answers go.

Which decorator ``app.function`` returns depends on ``to=``; all of them do the same. Invariant:
overloads go from the narrowest answer to the widest, so that ``V | None`` is tried last and an
iterator is what it yields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from streamfn.dsl.endpoints import Point
from streamfn.dsl.function import Function, add_function
from streamfn.graph.topology import Policy

P = ParamSpec("P")
K = TypeVar("K")
V = TypeVar("V")
Answer = TypeVar("Answer")
SinkValue = TypeVar("SinkValue")


@dataclass(frozen=True, slots=True)
class Declaration:
    """What ``app.function`` was told."""

    point: Point
    to: object
    name: str | None
    policy: Policy

    def add(self, fn: Callable[..., Any]) -> Function[..., Any, Any, Any]:
        """Add the function as a stage."""
        return add_function(self.point, fn, self.to, self.name, self.policy)


class Decorator(Generic[K, V]):
    """Makes a function of values ``V`` a stage whose answers are read on."""

    def __init__(self, declaration: Declaration) -> None:
        self._declaration = declaration

    @overload
    def __call__(
        self, fn: Callable[Concatenate[V, P], Iterator[Answer]]
    ) -> Function[Concatenate[V, P], Iterator[Answer], K, Answer]: ...
    @overload
    def __call__(
        self, fn: Callable[Concatenate[V, P], Answer | None]
    ) -> Function[Concatenate[V, P], Answer | None, K, Answer]: ...
    def __call__(self, fn: Callable[..., Any]) -> Any:
        """Declare the function."""
        return self._declaration.add(fn)


class DecoratorTo(Generic[K, V, SinkValue]):
    """Makes a function of values ``V`` a stage whose answers go to a sink of ``SinkValue``."""

    def __init__(self, declaration: Declaration) -> None:
        self._declaration = declaration

    @overload
    def __call__(
        self, fn: Callable[Concatenate[V, P], SinkValue]
    ) -> Function[Concatenate[V, P], SinkValue, K, SinkValue]: ...
    @overload
    def __call__(
        self, fn: Callable[Concatenate[V, P], Iterator[SinkValue]]
    ) -> Function[Concatenate[V, P], Iterator[SinkValue], K, SinkValue]: ...
    @overload
    def __call__(
        self, fn: Callable[Concatenate[V, P], SinkValue | None]
    ) -> Function[Concatenate[V, P], SinkValue | None, K, SinkValue]: ...
    def __call__(self, fn: Callable[..., Any]) -> Any:
        """Declare the function."""
        return self._declaration.add(fn)
