"""What outputs tell of where they come from: ranks in a replay, roots and provenance in headers.

A sink notes the input row and the stage of each output; here that becomes a rank or a header, once
a slice is done. Invariant: headers of our own never reach a function and are never inherited; an
output's are those of the record that it was made for.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice, repeat
from typing import Final

from streamfn.chance import root_text
from streamfn.engine.scope import NO_SOURCE, Scope, root_of
from streamfn.graph.plan import Plan, Subtopology
from streamfn.graph.roots import (
    OWN_HEADERS,
    PROVENANCE_HEADER,
    ROOT_HEADER,
    repartition_topics,
    rooted_topics,
    written_topics,
)
from streamfn.record import Batch, Columns, Headers, TopicPartition

NOWHERE: Final = "- 0 -1"
"""Instead of a topic, partition and offset: a timer of the wall clock."""


def is_traced(plan: Plan, sub: Subtopology) -> bool:
    """True if the outputs of a sub-topology are to note what made them."""
    rooted = rooted_topics(plan.subtopologies) & written_topics(sub)
    return plan.replayed or bool(plan.provenance) or bool(rooted)


class Tracer:
    """Settles the outputs of one task."""

    def __init__(self, scope: Scope, plan: Plan) -> None:
        self._scope, self._version = scope, plan.provenance
        self._rooted = rooted_topics(plan.subtopologies)
        if plan.provenance:  # repartition topics are trimmed: what is behind must not be lost
            self._rooted |= repartition_topics(plan.subtopologies)
        self._begins: dict[tuple[str, TopicPartition], str] = {}
        self._meet = sum(source.internal for source in scope.subtopology.sources) > 1
        """What one record has become may come here by several repartitions."""

    def settle(self, batch: Batch | None) -> None:
        """Give the outputs of a slice what their causes, rows of the batch, have to say.

        What a timer of the wall clock has made goes back to no record: then there is no batch.
        """
        last = self._scope.cursor.last
        for topic, columns in self._scope.outputs.items():
            done, rows = columns.settled, len(columns.left)
            if done == rows:
                continue
            causes = [last - left for left in islice(columns.left, done, rows)]
            if batch is not None and batch.ranks is not None:
                columns.ranks += map(batch.ranks.__getitem__, causes)
            told: list[Iterable[tuple[str, bytes]]] = []
            if topic in self._rooted:
                roots = self._roots(batch, causes, islice(columns.timestamps, done, rows))
                told.append(zip(repeat(ROOT_HEADER), roots))
            elif self._version and batch is not None and batch.roots is not None:
                told.append(zip(repeat(ROOT_HEADER), map(batch.roots.__getitem__, causes)))
            if self._version:
                made = self._provenance(batch, causes, columns.stages[done:rows])
                told.append(zip(repeat(PROVENANCE_HEADER), made))
            if told:
                _add(columns, range(done, rows), zip(*told, strict=True))
            columns.settled = rows

    def _roots(
        self, batch: Batch | None, causes: list[int], timestamps: Iterable[int]
    ) -> Iterator[bytes]:
        """The *n*-th row that a record sent here bears its root and ``.n``: none is twice."""
        seen: Counter[int] = Counter()
        task, partition = self._scope.task, self._scope.partition
        way = f" {batch.source.topic}" if batch is not None and self._meet else ""
        fired = self._scope.cursor.fired_ms
        for cause, at_ms in zip(causes, timestamps, strict=True):
            if batch is None:  # firings apart may give rows of the same time
                root = f"{root_text(task, partition, -1, at_ms)} @{fired}"
            else:
                root = root_of(batch, cause)
            yield f"{root}{way} .{seen[cause]}".encode()
            seen[cause] += 1

    def _provenance(
        self, batch: Batch | None, causes: list[int], stages: list[str]
    ) -> Iterable[bytes]:
        """All of it but the offset is the same for all rows of a stage and an input."""
        source = NO_SOURCE if batch is None else batch.source
        begins = {stage: self._begin(stage, source) for stage in set(stages)}
        if batch is None:
            return [begins[stage].encode() for stage in stages]
        offsets = map(str, map(batch.offsets.__getitem__, causes))
        if len(begins) > 1:
            rows = zip(stages, offsets, strict=True)
            return [f"{begins[stage]}{offset}".encode() for stage, offset in rows]
        (begin,) = begins.values()  # one text for all rows, made in C
        between = f"\n{begin}"
        return f"{begin}{between.join(offsets)}".encode().split(b"\n")

    def _begin(self, stage: str, source: TopicPartition) -> str:
        found = self._begins.get((stage, source))
        if found is None:
            where = NOWHERE if source is NO_SOURCE else f"{source.topic} {source.partition} "
            found = f"{stage} {self._version} {where}"
            self._begins[stage, source] = found
        return found


def _add(columns: Columns, rows: range, told: Iterable[Headers]) -> None:
    """Put headers behind those that the newest rows have."""
    headers = columns.headers
    if not headers or next(reversed(headers)) < rows.start:  # none of them has any
        headers.update(zip(rows, told, strict=True))
        return
    for row, own in zip(rows, told, strict=True):
        headers[row] = (*headers.get(row, ()), *own)


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
