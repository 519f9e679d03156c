"""Which function compiles which operator.

``FAMILIES[type(node)](compiler, node, form, parent)`` gives what runs for a record that comes from
``parent`` with its key in ``form``. Invariant: every node of ``graph.operators`` is here.
"""

from collections.abc import Callable, Mapping
from typing import Any

from streamfn.engine.operators.aggregates import compile_aggregate
from streamfn.engine.operators.foreign_keys import compile_answers, compile_lookup, compile_send
from streamfn.engine.operators.late import compile_late
from streamfn.engine.operators.regroup import compile_regroup, compile_table_aggregate
from streamfn.engine.operators.stream_joins import compile_stream_join
from streamfn.engine.operators.stream_table_joins import (
    compile_global_join,
    compile_stream_table_join,
)
from streamfn.engine.operators.suppress import compile_suppress
from streamfn.engine.operators.table_joins import compile_table_join
from streamfn.engine.operators.table_steps import compile_table_step
from streamfn.engine.operators.tables import compile_table, compile_to_stream
from streamfn.graph.operators import (
    Aggregate,
    ForeignKeyJoin,
    ForeignKeyLookup,
    ForeignKeySend,
    GlobalJoin,
    LateRecords,
    Regroup,
    StreamJoin,
    StreamTableJoin,
    Suppress,
    TableAggregate,
    TableJoin,
    TableStep,
    ToStream,
)
from streamfn.graph.topology import TableStore

FAMILIES: Mapping[type, Callable[..., Any]] = {
    Aggregate: compile_aggregate,
    ForeignKeyJoin: compile_answers,
    ForeignKeyLookup: compile_lookup,
    ForeignKeySend: compile_send,
    GlobalJoin: compile_global_join,
    LateRecords: compile_late,
    Regroup: compile_regroup,
    StreamJoin: compile_stream_join,
    StreamTableJoin: compile_stream_table_join,
    Suppress: compile_suppress,
    TableAggregate: compile_table_aggregate,
    TableJoin: compile_table_join,
    TableStep: compile_table_step,
    TableStore: compile_table,
    ToStream: compile_to_stream,
}
