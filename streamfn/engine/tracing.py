"""What outputs tell of where they come from: ranks in a replay, roots and provenance in headers.

A sink notes the input row and the stage of each output; here that becomes a rank or a header, once
a slice is done. Invariant: headers of our own never reach a function and are never inherited; an
output's are those of the record that it was made for.
"""

from collections import Counter
from dataclasses import replace
from itertools import islice
from typing import Final

from streamfn.chance import root_text
from streamfn.engine.scope import Scope, root_of
from streamfn.graph.plan import Plan, Subtopology
from streamfn.graph.roots import (
    OWN_HEADERS,
    PROVENANCE_HEADER,
    ROOT_HEADER,
    rooted_topics,
    written_topics,
)
from streamfn.record import Batch, Columns, Headers

NOWHERE: Final = "- 0 -1"
"""Instead of a topic, partition and offset: a timer of the wall clock."""


def is_traced(plan: Plan, sub: Subtopology) -> bool:
    """True if the outputs of a sub-topology are to note what made them."""
    rooted = rooted_topics(plan.subtopologies) & written_topics(sub)
    return plan.replayed or bool(plan.provenance) or bool(rooted)


class Tracer:
    """Settles the outputs of one task."""

    def __init__(self, scope: Scope, plan: Plan) -> None:
        self._scope, self._version, self._replayed = scope, plan.provenance, plan.replayed
        self._rooted = rooted_topics(plan.subtopologies)

    def settle(self, batch: Batch | None) -> None:
        """Give the outputs of a slice what their causes, rows of the batch, have to say.

        What a timer of the wall clock has made goes back to no record: then there is no batch.
        """
        for topic, columns in self._scope.outputs.items():
            done, rows = columns.settled, len(columns.causes)
            if done == rows:
                continue
            if batch is not None and batch.ranks is not None:
                columns.ranks += map(batch.ranks.__getitem__, islice(columns.causes, done, rows))
            if topic in self._rooted:
                self._tell_roots(batch, columns, done)
            if self._version:
                self._tell_provenance(batch, columns, done)
            columns.settled = rows

    def _tell_roots(self, batch: Batch | None, columns: Columns, done: int) -> None:
        """The *n*-th row that a record sent here bears its root and ``.n``, so that none is twice."""
        seen: Counter[int] = Counter()
        for row in range(done, len(columns.causes)):
            cause = columns.causes[row]
            if batch is None:
                at_ms = columns.timestamps[row]
                root = root_text(self._scope.task, self._scope.partition, -1, at_ms)
            else:
                root = root_of(batch, cause)
            _add(columns, row, ROOT_HEADER, f"{root} .{seen[cause]}")
            seen[cause] += 1

    def _tell_provenance(self, batch: Batch | None, columns: Columns, done: int) -> None:
        for row in range(done, len(columns.causes)):
            where = NOWHERE
            if batch is not None:
                topic, partition = batch.source
                where = f"{topic} {partition} {batch.offsets[columns.causes[row]]}"
            text = f"{columns.stages[row]} {self._version} {where}"
            _add(columns, row, PROVENANCE_HEADER, text)


def _add(columns: Columns, row: int, name: str, text: str) -> None:
    columns.headers[row] = (*columns.headers.get(row, ()), (name, text.encode()))


def without_own_headers(batch: Batch, *, internal: bool) -> Batch:
    """Take our own headers off a batch; from a repartition topic, keep the roots beside it."""
    if batch.headers is None:
        return batch
    left = [tuple(h for h in headers if h[0] not in OWN_HEADERS) for headers in batch.headers]
    told = [_root(headers) for headers in batch.headers] if internal else []
    roots = None
    if any(told):  # one that was written before roots were told is its own
        roots = [root or root_of(batch, row).encode() for row, root in enumerate(told)]
    return replace(batch, headers=left if any(left) else None, roots=roots)


def _root(headers: Headers) -> bytes | None:
    return next((value for name, value in headers if name == ROOT_HEADER), None)
