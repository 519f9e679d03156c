"""Restore: how fast a count's state comes back from its changelog when its folder is gone.

A short run makes topics and positions; then the changelog is filled with changes in transactions,
as a long life would have left it, and the folder dropped. What is measured begins before the poll
that brought the tasks and ends when none restores any more. Afterwards each key gets one more
record, and the outputs (read_committed) must go on from the restored counts. Invariant: no figures
unless they do.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import msgspec

from benchmarks.kafka_case import Figures, Span, Task, key_of, orders, value_of
from benchmarks.kafka_product import marking, open_run
from benchmarks.kafka_topics import Topics, filler, finish
from benchmarks.kafka_verify import compare, pairs
from streamfn.run import Run, work

TRANSACTION_RECORDS = 10_000
FIRST_RECORDS = 1_000


def run(task: Task) -> Figures:
    """Prepare, measure, verify."""
    topics, keys = Topics(task.broker), [key_of(user) for user in range(task.case.keys)]
    _send(task, keys[:FIRST_RECORDS])
    _life(task, FIRST_RECORDS)
    totals = Counter(keys[:FIRST_RECORDS])
    [changelog] = [name for name in topics.names(task.id) if name.endswith("-changelog")]
    _fill_changelog(task, changelog, totals)
    _send(task, keys)
    figures = _life(task, len(keys))
    if figures.changes < task.records:
        message = f"{figures.changes} changes restored of {task.records}"
        raise AssertionError(message)
    _verify(task, topics, totals)
    return figures


def _life(task: Task, records: int) -> Figures:
    """A run on an empty folder, until so many records are processed; measure its restore."""
    life, restoring, restored = Span(), Span(), 0
    with tempfile.TemporaryDirectory() as folder, open_run(task, Path(folder)) as running:
        stop_at_end = marking(running, Span(), records)
        mark_restore = _marking_restore(running, restoring)

        def after_round() -> None:
            mark_restore()
            stop_at_end()

        work(running, each_round=after_round)
        restored = running.worker.metrics.restored_records
    life.committed()
    return Figures.of(restored, restoring, life, commits=0, changes=restored)


def _marking_restore(running: Run, span: Span) -> Callable[[], None]:
    worker, done = running.worker, False

    def after_round() -> None:
        nonlocal done
        if not worker.tasks:
            span.waiting()
        elif not done and worker.assignment.settled:
            done = True
            span.committed()

    return after_round


def _send(task: Task, keys: Iterable[bytes]) -> None:
    """Send an order of each key."""
    producer = filler(task.broker)
    for number, key in enumerate(keys):
        producer.produce(task.source, value_of(number, number, 0), key)
    finish(producer)


def _fill_changelog(task: Task, changelog: str, totals: Counter[bytes]) -> None:
    """Write the changes that so many orders, each committed alone, would have made."""
    producer, encode = filler(task.broker, **{"transactional.id": task.id}), msgspec.msgpack.encode
    producer.init_transactions()
    drawn = orders(task.case.keys, task.records)
    while keys := [key for key, _, _ in islice(drawn, TRANSACTION_RECORDS)]:
        producer.begin_transaction()
        for key in keys:
            totals[key] += 1
            producer.produce(changelog, encode(totals[key]), key)
        producer.commit_transaction()


def _verify(task: Task, topics: Topics, totals: Counter[bytes]) -> None:
    """The last output of each key is one more than what was restored."""
    found: dict[bytes, bytes] = {}
    for partition in range(task.case.partitions):
        found.update(pairs(topics.read(task.sink, partition)))
    wanted = {key_of(user): b"%d" % (totals[key_of(user)] + 1) for user in range(task.case.keys)}
    compare("restored counts", sorted(wanted.items()), sorted(found.items()))
