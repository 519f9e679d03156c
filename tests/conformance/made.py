"""What the ops of a case have become so far: streams, tables, groups, each by its op's id.

The files of operators put things in and take them out. Invariant: everything is made through
``import streamfn as sf`` and nothing below it.
"""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from typing_extensions import TypeIs

import streamfn as sf
from tests.conformance.cases import Case, Op


class Made:
    """One case's program while it is being built."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.app = sf.App("conformance")
        self.streams: dict[str, sf.Stream[Any, Any]] = {}
        self.tables: dict[str, sf.Table[Any, Any]] = {}
        self.global_tables: dict[str, sf.GlobalTable[Any, Any]] = {}
        self.grouped: dict[str, sf.Grouped[Any, Any]] = {}
        self.regrouped: dict[str, sf.GroupedTable[Any, Any]] = {}
        self.windows: dict[str, Op] = {}
        self.stores: dict[str, sf.Table[str, str]] = {}
        """Tables by the name of their store, which a later op may share."""
        self.answered: set[str] = set()
        """Ops that have written to their only sink themselves."""
        self._topics: dict[str, sf.Topic[str, str]] = {}

    def topic(self, name: str) -> sf.Topic[str, str]:
        """A topic of the case; what Kafka does not have in a name becomes an underscore."""
        if name not in self._topics:
            safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)
            self._topics[name] = self.app.topic(safe, key=str, value=str)
        return self._topics[name]

    def keep(self, op: Op, table: sf.Table[Any, Any]) -> None:
        """Remember an op's table, under its store's name too."""
        self.tables[op.id] = table
        if op.store is not None:
            self.stores[op.store] = table


Build = Callable[[Made, Op], None]
"""Makes one op of a case."""


def milliseconds(count: int) -> timedelta:
    """A duration of a case."""
    return timedelta(milliseconds=count)


def _is_windowed(key: object) -> TypeIs[sf.Windowed[Any]]:
    return isinstance(key, sf.Windowed)


def key_text(key: Any) -> Any:
    """A key as cases write it: of a window ``key@start/end``."""
    return f"{key.key}@{key.start_ms}/{key.end_ms}" if _is_windowed(key) else key
