"""The Log port: the only way the engine reaches topics, wherever they live.

It is fine-grained on purpose (begin, emit, flush, send_offsets, commit): the commit protocol and
its ``resolve`` stand above it, in ``streamfn.engine.commit``, so that a simulator of the port tests
the protocol that runs in production. Records come out of ``poll`` and ``read`` as columns and go in
through ``emit``.

Invariant: **only ``commit`` may raise ``UnknownOutcomeError``; any other error of a transaction's
calls means that nothing of it was committed.** One thread makes every call; the listener is called
from inside ``poll`` only.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from streamfn.record import Batch, Columns, TopicPartition


class Committed(NamedTuple):
    """A committed position: the next offset to read, and the text committed with it."""

    offset: int
    metadata: str


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic as the log has it; ``id`` is unique to this incarnation of its name."""

    name: str
    partitions: int
    id: str
    config: Mapping[str, str] = field(default_factory=dict[str, str])
    may: frozenset[str] | None = None
    """What we may do with it (READ, WRITE, ...); None: not known."""


class Listener(Protocol):
    """Told of changes of the assignment from inside ``poll``; a token is a partition's index."""

    def assigned(self, tokens: list[int]) -> None:
        """These tokens are ours now."""
        ...

    def revoked(self, tokens: list[int]) -> None:
        """The tokens go away; their work may still be committed."""
        ...

    def lost(self, tokens: list[int]) -> None:
        """The tokens are gone; their work must not be committed."""
        ...


class Log(Protocol):
    """Topics with transactions. Positions are offsets of the *next* record."""

    @property
    def cluster_id(self) -> str:
        """Identifies this log for ever; another log has another one."""
        ...

    # membership and input
    def join(self, group: str, tokens: int, listener: Listener) -> None:
        """Become a member of ``group``: ``poll`` will tell ``listener`` which tokens are ours.

        A member that calls it again only raises the number of tokens. With none at all, one looks
        at the group's positions without being a member.
        """
        ...

    def leave(self) -> None:
        """Leave the group; ``revoked`` is called for what is still ours."""
        ...

    def verify_membership(self) -> None:
        """See that what the assignment stands on is still there.

        Raises:
            StopError: it is gone or was made anew, so that tokens no longer mean what they did.
        """
        ...

    def poll(self, timeout_s: float) -> list[Batch]:
        """Return records of assigned, unpaused partitions.

        Wait up to ``timeout_s`` if there are none.
        """
        ...

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Add partitions to read, each from its position; they start unpaused."""
        ...

    def unassign(self, sources: Iterable[TopicPartition]) -> None:
        """Read these partitions no more."""
        ...

    def pause(self, sources: Iterable[TopicPartition]) -> None:
        """Give no records of these partitions until ``resume``."""
        ...

    def resume(self, sources: Iterable[TopicPartition]) -> None:
        """Give records of these partitions again."""
        ...

    def seek(self, source: TopicPartition, offset: int) -> None:
        """Read on from another offset."""
        ...

    def caught_up(self, source: TopicPartition, at_least: int = 0) -> bool:
        """True if the end was reached since the last record, assign, resume or seek.

        ``at_least``: and that end was no earlier than this one of ``end_offsets``.
        """
        ...

    def lag(self, source: TopicPartition) -> int:
        """Records between the position and the end, as far as known; never negative."""
        ...

    # reading apart from membership
    def committed(self, sources: Iterable[TopicPartition]) -> dict[TopicPartition, Committed]:
        """The stable committed positions of the group; partitions without one are missing."""
        ...

    def positions_kept_ms(self) -> int | None:
        """How long a position lives that is not committed again; None: for ever, or unknown."""
        ...

    def begin_offsets(self, sources: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset of the first record that each partition still has."""
        ...

    def end_offsets(self, sources: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The *uncommitted* ends: the offset after the last record, open transactions included."""
        ...

    def stable_ends(self, sources: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The *committed* ends: what is in front is committed or aborted, and stays so."""
        ...

    def offsets_at(
        self, sources: Iterable[TopicPartition], timestamp_ms: int
    ) -> dict[TopicPartition, int]:
        """Each partition's first offset whose timestamp is this one or later; its end if none."""
        ...

    def read(self, source: TopicPartition, start: int, end: int) -> Iterator[Batch]:
        """Yield committed records from ``start`` until the position is ``end``.

        An empty batch says that nothing has come for now: the caller has other things to do.
        """
        ...

    def read_many(
        self, ranges: Mapping[TopicPartition, tuple[int, int]]
    ) -> dict[TopicPartition, Iterator[Batch]]:
        """Read (start, end) of partitions side by side, taking whichever is wanted next.

        Each iterator yields as ``read`` does, with nothing missing: it raises ``LogError`` where
        records are gone that it has not yielded. What is held for those that wait is bounded.
        """
        ...

    # transactions
    def open_producer(self) -> None:
        """Start a new epoch: what an older one left open is aborted, and it can commit no more."""
        ...

    def begin(self) -> None:
        """Start a transaction."""
        ...

    def emit(self, topic: str, partition: int | None, columns: Columns) -> None:
        """Add rows to the transaction; without a partition each row goes by its key (murmur2).

        The columns belong to the caller again when this returns.
        """
        ...

    def flush(self) -> dict[TopicPartition, int]:
        """Have all emitted rows taken by the log; return the end of each partition written to.

        Raises:
            RefusedError: the log will never take one of the rows.
        """
        ...

    def send_offsets(self, offsets: Mapping[TopicPartition, Committed]) -> None:
        """Add committed positions to the transaction."""
        ...

    def commit(self) -> None:
        """Make rows and offsets visible together.

        Raises:
            UnknownOutcomeError: committed or not; ``open_producer``, then ``committed`` tell.
        """
        ...

    # administration
    def topic_names(self) -> set[str]:
        """Return the names of all topics that we may see."""
        ...

    def topics(self, names: Iterable[str] | None = None) -> dict[str, TopicInfo]:
        """Return topics by name: all, or those of ``names`` that exist."""
        ...

    def create_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> TopicInfo:
        """Create a topic; the same name with the same partition count is not an error."""
        ...

    def delete_topic(self, name: str) -> None:
        """Forget a topic and its records."""
        ...

    def delete_records(self, source: TopicPartition, before: int) -> None:
        """Forget all records before an offset; end offsets stay."""
        ...

    def close(self) -> None:
        """Release everything that was opened."""
        ...
