"""Where inputs begin: at what is committed, or for the first time where the user says.

Positions come from the log when a task is opened and when it is rewound. Invariant: start positions
are resolved once for each (application, source topic) and committed; afterwards a missing or
impossible position is an error, never a new start.
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from types import MappingProxyType

from streamfn.config import Config
from streamfn.connectors.log import Committed, Log
from streamfn.engine.commit import Committer, Rewind
from streamfn.engine.marks import Mark, written
from streamfn.errors import StopError
from streamfn.graph.plan import Plan
from streamfn.record import TopicPartition

log_ = logging.getLogger("streamfn")


class Starts:
    """Under ``start=latest``: whether all topics have positions, and if not, who commits them."""

    def __init__(self, log: Log, config: Config) -> None:
        self._log = log
        self.known = config.start != "latest"
        """True if every topic has positions, so that tasks may be opened."""
        self._latest: LatestStart | None = None

    def resolve(self, plan: Plan, committer: Committer, tokens: Collection[int]) -> bool:
        """Look, and commit the ends of new topics for all workers; whoever holds token 0 does.

        Return False if a commit has failed: all goes back, and the same ends are tried again.
        """
        if self._latest is None or 0 not in tokens:
            self._latest = LatestStart(plan, self._log)
        self.known = not self._latest.needed
        if self._latest.needed and 0 in tokens:
            try:
                committer.commit([self._latest])
            except Rewind as rewind:
                log_.warning("start positions not committed, tried again: %s", rewind.__cause__)
                return False
        self._latest = None
        return True

    def forget(self) -> None:
        """Token 0 is gone: whoever has it now decides, and what we asked for is of the past."""
        self._latest = None


def start_positions(
    plan: Plan,
    sources: Iterable[TopicPartition],
    log: Log,
    config: Config,
    known: Iterable[str],
    resolved: Mapping[TopicPartition, Committed] = MappingProxyType({}),
) -> dict[TopicPartition, Committed]:
    """Return each source's committed position, or where it begins if it has never had one.

    Args:
        resolved: start positions that were resolved before and are not committed yet.
        plan: tells internal topics, which start at their beginning, from the user's.
        sources: the partitions of one task.
        log: asked for what is committed and what it still holds.
        config: ``start`` and ``on_gap``.
        known: topics that the task's store has read before: a missing position there is an error.

    Raises:
        StopError: a position is missing beside state, or points where the log has nothing.
    """
    sources = list(sources)
    committed = {s: resolved[s] for s in sources if s in resolved} | log.committed(sources)
    begins, ends = log.begin_offsets(sources), log.end_offsets(sources)
    known = set(known)
    for source in sources:
        if source not in committed:
            if source.topic in known:
                message = (
                    f"position of {source} is missing; the application's state has read it before; "
                    "restore the committed offsets, or start over: streamfn reset"
                )
                raise StopError(message)
            committed[source] = Committed(begins[source], "")
        elif not begins[source] <= committed[source].offset <= ends[source]:
            held = begins[source], ends[source]
            committed[source] = _gap(source, committed[source], held, config)
    return committed


class LatestStart:
    """The start positions of topics that the application has never read, under ``start=latest``.

    A participant of one transaction: all partitions at once, so that a partition that comes later
    begins at its beginning, as all of it is new.
    """

    dirty = True

    def __init__(self, plan: Plan, log: Log) -> None:
        """Ask for the topics' positions.

        Raises:
            StopError: the application has state, and no position at all.
        """
        widths: dict[str, int] = {}
        for sub in plan.subtopologies:
            widths |= {n: w for n, w in sub.source_partitions.items() if n in plan.user_topics}
        sources = {
            name: [TopicPartition(name, partition) for partition in range(width)]
            for name, width in widths.items()
        }
        known = {source.topic for source in log.committed(chain(*sources.values()))}
        self._new = [s for name, each in sources.items() if name not in known for s in each]
        if self._new and not known:
            _check_no_state(plan, log)
        self._ends = log.end_offsets(self._new)

    @property
    def needed(self) -> bool:
        """True if there is a topic without any position."""
        return bool(self._new)

    def emit(self, log: Log) -> None:
        """Nothing but positions."""

    def offsets(
        self, token: str, ends: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, Committed]:
        """The ends."""
        text = written(Mark(token))
        return {source: Committed(end, text) for source, end in self._ends.items()}

    def committed(self, token: str, ends: dict[TopicPartition, int]) -> None:
        """They are known from now on."""


def _check_no_state(plan: Plan, log: Log) -> None:
    changelogs = [
        TopicPartition(plan.changelog(store), partition)
        for sub in plan.subtopologies
        for store in sub.stores
        for partition in range(sub.partitions)
    ]
    if any(log.end_offsets(changelogs).values()):
        message = (
            f"positions of application {plan.application!r} are missing; its state has read the "
            "inputs before; restore the committed offsets, or start over: streamfn reset"
        )
        raise StopError(message)


def _gap(source: TopicPartition, at: Committed, held: tuple[int, int], config: Config) -> Committed:
    begin, end = held
    if at.offset > end:
        message = (
            f"position {at.offset} of {source} lies behind the log's end, {end}; the topic was "
            "made anew, or the broker has lost records; see that it is the right one, then start "
            "over: streamfn reset"
        )
        raise StopError(message)
    if config.on_gap == "skip":
        log_.warning("records %d to %d of %s are gone; skipped", at.offset, begin, source)
        return Committed(begin, at.metadata)
    message = (
        f"records {at.offset} to {begin} of {source} are gone; the log begins at {begin}; "
        "go on behind the gap with --on-gap skip, or start over: streamfn reset"
    )
    raise StopError(message)
