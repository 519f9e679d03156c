"""Which function compiles which operator.

``FAMILIES[type(node)](compiler, node, form, parent)`` gives what runs for a record that comes from
``parent`` with its key in ``form``. Invariant: every node of ``graph.operators`` is here.
"""

from collections.abc import Callable, Mapping
from typing import Any

from streamfn.engine.operators.aggregates import compile_aggregate
from streamfn.engine.operators.tables import compile_table, compile_to_stream
from streamfn.graph.operators import Aggregate, ToStream
from streamfn.graph.topology import TableStore

FAMILIES: Mapping[type, Callable[..., Any]] = {
    Aggregate: compile_aggregate,
    TableStore: compile_table,
    ToStream: compile_to_stream,
}
