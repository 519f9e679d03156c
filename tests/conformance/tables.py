"""Ops of tables: sources, steps, suppression, and the way back to a stream.

Invariant: what a table op leaves is a table, however its rows come about.
"""

from collections.abc import Mapping
from typing import Any

from tests.conformance.cases import Op
from tests.conformance.functions import mapper, predicate
from tests.conformance.made import Build, Made, key_text, milliseconds


def build_table(made: Made, op: Op) -> None:
    """A topic's last values, or all of them by time."""
    history = None if op.versioned is None else milliseconds(op.versioned)
    topic = made.topic(op.topic)
    made.keep(op, made.app.table(topic, versioned=history, name=op.id))


def build_global_table(made: Made, op: Op) -> None:
    """A table that every worker has whole."""
    made.global_tables[op.id] = made.app.global_table(made.topic(op.topic), name=op.id)


def build_to_table(made: Made, op: Op) -> None:
    """A stream's last values."""
    made.keep(op, made.streams[op.in_].to_table(store=op.store, name=op.id))


def build_filter(made: Made, op: Op) -> None:
    """Keep the rows that pass, or those that do not."""
    table, holds = made.tables[op.in_], predicate(op.fn)

    def passes(key: Any, value: str) -> bool:
        return holds(key_text(key), value)

    keep = table.filter if op.op == "filter" else table.filter_not
    made.keep(op, keep(passes, store=op.store, name=op.id))


def build_map_values(made: Made, op: Op) -> None:
    """A function of the value."""
    table, apply = made.tables[op.in_], mapper(op.fn)
    made.keep(op, table.map_values(apply, value=str, store=op.store, name=op.id))


def build_suppress(made: Made, op: Op) -> None:
    """Hold changes back."""
    table = made.tables[op.in_]
    if op.until == "close":
        made.tables[op.id] = table.suppress("close", max_records=op.max_records, name=op.id)
    else:
        limit = milliseconds(op.limit)
        made.tables[op.id] = table.suppress(limit, max_records=op.max_records, name=op.id)


def build_to_stream(made: Made, op: Op) -> None:
    """The changes as records; it counts as a change of the key, and counts become texts."""

    def record(key: Any, value: Any) -> tuple[str, Any]:
        return key_text(key), None if value is None else str(value)

    changes = made.tables[op.in_].to_stream()
    made.streams[op.id] = changes.map(record, key=str, value=str, name=op.id)


TABLES: Mapping[str, Build] = {
    "table": build_table,
    "global_table": build_global_table,
    "to_table": build_to_table,
    "filter": build_filter,
    "filter_not": build_filter,
    "map_values": build_map_values,
    "suppress": build_suppress,
    "to_stream": build_to_stream,
}
