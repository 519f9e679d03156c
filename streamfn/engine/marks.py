"""What a transaction leaves in the metadata of each position that it commits, as JSON.

``Task`` and ``FeedTask`` write it, the commit protocol and restores read it. Invariant: metadata
that is not ours (a tool has set the group's offsets) reads as an empty mark, never as an error.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Final

import msgspec

from streamfn.connectors.log import Committed

CHANGELOGS_MAX: Final = 60
"""Of a task with more stores the mark does not tell of them: 5 kB would fail every commit."""
DIGITS: Final = 6


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """The transaction's token, and what a new owner needs to know."""

    token: str = ""
    stream_time_ms: int = -1
    at_end: bool = False
    """Of a feed: all its rows are in the log."""
    changelogs: tuple[str, ...] = ()
    """Of a task: which topics hold its state, one short text a store; see ``changelogs_of``."""
    ends: tuple[int, ...] = ()
    """How far each of these changelogs held what was committed, so that it can be copied."""


def written(mark: Mark) -> str:
    """Encode a mark."""
    return msgspec.json.encode(mark).decode()


def mark_of(committed: Committed | None) -> Mark:
    """Return the mark of a committed position, empty if it has none of ours."""
    if committed is None or not committed.metadata:
        return Mark()
    try:
        return msgspec.json.decode(committed.metadata, type=Mark)
    except msgspec.MsgspecError:
        return Mark()


def changelogs_of(ids: Mapping[str, str]) -> tuple[str, ...]:
    """Say in short which topic, by its id, is the changelog of each store."""
    said = (f"{_short(store)}{_short(topic_id)}" for store, topic_id in sorted(ids.items()))
    return tuple(said) if len(ids) <= CHANGELOGS_MAX else ()


def ends_of(ends: Mapping[str, int]) -> tuple[int, ...]:
    """Return the ends of the stores' changelogs in the order of ``changelogs_of``."""
    return tuple(end for _, end in sorted(ends.items())) if len(ends) <= CHANGELOGS_MAX else ()


def end_in(mark: Mark, store: str) -> int | None:
    """Return how far a store's changelog held the committed state, if the mark tells."""
    for changelog, end in zip(mark.changelogs, mark.ends, strict=False):
        if changelog[:DIGITS] == _short(store):
            return end
    return None


def made_anew(marks: Iterable[Mark], ids: Mapping[str, str]) -> list[str]:
    """Return the stores whose changelog is not the one that the marks know: its records are gone.

    A store that the marks do not know is new.
    """
    known = {each[:DIGITS]: each[DIGITS:] for mark in marks for each in mark.changelogs}
    return [
        s for s, topic_id in ids.items() if known.get(_short(s), "") not in ("", _short(topic_id))
    ]


def without(mark: Mark, store: str) -> Mark:
    """Return a mark that does not know of a store, whose changelog may then be deleted."""
    kept = [n for n, each in enumerate(mark.changelogs) if not each.startswith(_short(store))]
    return msgspec.structs.replace(
        mark,
        changelogs=tuple(mark.changelogs[n] for n in kept),
        ends=tuple(mark.ends[n] for n in kept if n < len(mark.ends)),
    )


def _short(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:DIGITS]


def token_of(committed: Committed | None) -> str:
    """Return the token of the transaction that committed a position, or ""."""
    return mark_of(committed).token
