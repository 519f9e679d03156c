"""Windowed aggregates: which file aggregates which kind of window."""

from typing import TYPE_CHECKING

from streamfn.engine.keys import KeyForm
from streamfn.engine.scope import Run
from streamfn.graph.operators import Aggregate

if TYPE_CHECKING:
    from streamfn.engine.closures import Compiler


def compile_windows(compiler: "Compiler", node: Aggregate, form: KeyForm, parent: str) -> Run:
    """Aggregate per key and window."""
    raise NotImplementedError
