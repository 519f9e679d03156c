"""The Log port of a replay: one worker's view of the exchange.

Records come from the exchange, turn by turn; what the worker commits goes back to it. The worker,
its commit protocol and its stores are the ones of production. Invariant: nothing here leads out of
the process: there is no topic to write to, no group, no offset that anybody else sees.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NoReturn

from streamfn.connectors.log import Committed, Listener, TopicInfo
from streamfn.errors import InternalError, StageError
from streamfn.record import Batch, Columns, TopicPartition
from streamfn.replay.exchange import Exchange, Failure
from streamfn.replay.feeding import Feeding


class ReplayLog:
    """What one of ``members`` workers reads and writes."""

    cluster_id = "replay"

    def __init__(self, exchange: Exchange, feeding: Feeding, member: int, members: int) -> None:
        self._exchange, self._feeding = exchange, feeding
        self.member, self._members = member, members
        self._listener: Listener | None = None
        self._tokens: list[int] = []
        self._told = False
        self._positions: dict[TopicPartition, int] = {}
        self._rows: list[tuple[str, int | None, Columns]] = []
        self._offsets: dict[TopicPartition, Committed] = {}
        self._failures: list[Failure] = []

    def note(self, error: StageError) -> None:
        """Take what fails under ``on_error`` fail: it counts once its record is committed."""
        self._failures.append((error.rank, self._exchange.turn, error.task, error))

    # membership and input
    def join(self, group: str, tokens: int, listener: Listener) -> None:
        """Have every ``members``-th token assigned by the first ``poll``."""
        self._listener, self._told = listener, False
        self._tokens = list(range(self.member, tokens, self._members))

    def leave(self) -> None:
        """Leave; whoever replays goes on or ends as a whole."""
        listener, self._listener = self._listener, None
        if listener is not None and self._told:
            listener.revoked(self._tokens)

    def verify_membership(self) -> None:
        """Nobody can take a token away."""

    def poll(self, timeout_s: float) -> list[Batch]:
        """Return what has arrived in this turn and was not returned yet; never wait."""
        if self._listener is not None and not self._told:
            self._told = True
            self._listener.assigned(list(self._tokens))
        found: list[Batch] = []
        for source in self._positions.keys() & self._exchange.arrived.keys():
            found += self._unread(source)
            if found:
                self._positions[source] = self._exchange.arrived[source][-1].next_offset
        return found

    def _unread(self, source: TopicPartition) -> list[Batch]:
        """What has arrived in a partition at and behind the position."""
        position, found = self._positions[source], list[Batch]()
        for batch in self._exchange.arrived.get(source, ()):
            if batch.next_offset > position:
                skipped = sum(1 for offset in batch.offsets if offset < position)
                found.append(batch.part(skipped, len(batch)))
        return [batch for batch in found if len(batch)]

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Add partitions to read, each from its position."""
        self._positions.update(positions)

    def unassign(self, sources: Iterable[TopicPartition]) -> None:
        """Read these partitions no more."""
        for source in sources:
            self._positions.pop(source, None)

    def pause(self, sources: Iterable[TopicPartition]) -> None:
        """Nothing is held back: a turn is small, and all of it is needed to end it."""

    def resume(self, sources: Iterable[TopicPartition]) -> None:
        """Nothing was held back."""

    def seek(self, source: TopicPartition, offset: int) -> None:
        """Read on from an offset of this turn."""
        self._positions[source] = offset

    def caught_up(self, source: TopicPartition, at_least: int = 0) -> bool:
        """True if all that has arrived in this turn was read."""
        return not self._unread(source)

    def lag(self, source: TopicPartition) -> int:
        """Records of this turn that were not read."""
        return sum(map(len, self._unread(source)))

    # reading apart from membership
    def committed(self, sources: Iterable[TopicPartition]) -> dict[TopicPartition, Committed]:
        """The positions of this replay."""
        held = self._exchange.committed
        return {source: held[source] for source in sources if source in held}

    def positions_kept_ms(self) -> int | None:
        """As long as the replay takes."""
        return None

    def begin_offsets(self, sources: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Where the recorded ranges begin; topics of the replay's own begin at 0."""
        return {source: self._feeding.range_of(source).start for source in sources}

    def end_offsets(self, sources: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Where the recorded ranges end, or what the replay has made."""
        ends = self._exchange.ends
        return {s: max(self._feeding.range_of(s).end, ends.get(s, 0)) for s in sources}

    def stable_ends(self, sources: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The same: a transaction is not seen before it is committed."""
        return self.end_offsets(sources)

    def offsets_at(
        self, sources: Iterable[TopicPartition], timestamp_ms: int
    ) -> dict[TopicPartition, int]:
        """A replay is not recorded."""
        self._refuse("offsets_at")

    def read(self, source: TopicPartition, start: int, end: int) -> Iterator[Batch]:
        """Read a changelog as the recording has its state, or a global table's topic."""
        return self._feeding.read(source, start, end)

    def read_many(
        self, ranges: Mapping[TopicPartition, tuple[int, int]]
    ) -> dict[TopicPartition, Iterator[Batch]]:
        """A replay is not recorded."""
        self._refuse("read_many")

    def _refuse(self, call: str) -> NoReturn:
        message = f"{call} was asked of a replay, which is no log to record from"
        raise InternalError(message)

    # transactions
    def open_producer(self) -> None:
        """Drop what was emitted or has failed and is not committed: it comes again."""
        self._failures = []
        self.begin()

    def begin(self) -> None:
        """Start a transaction."""
        self._rows, self._offsets = [], {}

    def emit(self, topic: str, partition: int | None, columns: Columns) -> None:
        """Add rows to the transaction: copies, as the columns go on being used."""
        kept = Columns(
            columns.keys[:], columns.values[:], columns.timestamps[:], dict(columns.headers),
            stages=columns.stages[:], ranks=columns.ranks[:], task=columns.task,
            places=columns.places,
        )  # fmt: skip
        self._rows.append((topic, partition, kept))

    def flush(self) -> dict[TopicPartition, int]:
        """Return where each named partition will end."""
        ends: dict[TopicPartition, int] = {}
        for topic, partition, columns in self._rows:
            if partition is not None:
                source = TopicPartition(topic, partition)
                ends[source] = ends.get(source, self.end_offsets([source])[source]) + len(columns)
        return ends

    def send_offsets(self, offsets: Mapping[TopicPartition, Committed]) -> None:
        """Add positions to the transaction."""
        self._offsets.update(offsets)

    def commit(self) -> None:
        """Give all to the exchange."""
        for topic, partition, columns in self._rows:
            self._exchange.take(topic, partition, columns)
        self._exchange.committed.update(self._offsets)
        self._exchange.fail(self._failures)
        self._failures = []
        self.begin()

    # administration
    def topic_names(self) -> set[str]:
        """The topics of the replay."""
        return set(self._exchange.widths)

    def topics(self, names: Iterable[str] | None = None) -> dict[str, TopicInfo]:
        """Topics by name, each as the program wants it."""
        widths = self._exchange.widths
        wanted = widths if names is None else [name for name in names if name in widths]
        return {name: self._feeding.info(name, widths[name]) for name in wanted}

    def create_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> TopicInfo:
        """Note how wide a topic is."""
        self._exchange.widths.setdefault(name, partitions)
        return self._feeding.info(name, self._exchange.widths[name])

    def delete_topic(self, name: str) -> None:
        """A replay deletes nothing."""
        self._refuse("delete_topic")

    def delete_records(self, source: TopicPartition, before: int) -> None:
        """What a turn has brought is forgotten with it."""

    def close(self) -> None:
        """Nothing was opened."""
