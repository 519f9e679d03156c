"""What a transaction leaves in the metadata of each position that it commits, as JSON.

``Task`` and ``FeedTask`` write it, the commit protocol and restores read it. Invariant: metadata
that is not ours (a tool has set the group's offsets) reads as an empty mark, never as an error.
"""

import msgspec

from streamfn.connectors.log import Committed

METADATA_BYTES_MAX = 1_000
"""Five times as much fails every commit on a broker."""


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """The transaction's token, and what a new owner needs to know."""

    token: str = ""
    stream_time_ms: int = -1
    at_end: bool = False
    """Of a feed: all its rows are in the log."""


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


def token_of(committed: Committed | None) -> str:
    """Return the token of the transaction that committed a position, or ""."""
    return mark_of(committed).token
