"""Which records of a topic are taken: of some keys, of a share of all keys, of a span of time.

Batches come from a log and go on thinner. Invariant: a key is taken whole or not at all, in every
partition, topic and recording alike, as its bytes alone decide.
"""

import re
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from streamfn.errors import ConfigError
from streamfn.record import Batch

KNOWN_MAX: Final = 200_000
"""Keys whose answer is remembered, rather than hashed again."""
WHOLE: Final = 1 << 64

Keep = Callable[[Batch], Batch]
"""Returns a batch without the records that are not wanted."""


def share_of(text: str) -> float:
    """Read a share: ``1%`` or ``0.01``.

    Raises:
        ConfigError: it is none, or nothing, or more than all.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)(%?)", text.strip())
    share = float(found[1]) / (100 if found[2] else 1) if found else 0.0
    if not 0 < share <= 1:
        message = f"sample {text!r} is no share; got nothing from 0 to 100 %; give 1% or 0.01"
        raise ConfigError(message)
    return share


def by_share(share: float) -> Keep:
    """Take a share of the keys; records without a key are taken one by one."""
    limit = round(share * WHOLE)
    known: dict[bytes, bool] = {}

    def wanted(key: bytes) -> bool:
        found = known.get(key)
        if found is None:
            if len(known) >= KNOWN_MAX:
                known.clear()
            digest = blake2b(key, digest_size=8).digest()
            found = known[key] = int.from_bytes(digest, "big") < limit
        return found

    def keep(batch: Batch) -> Batch:
        return thinned(
            batch,
            [
                row
                for row, key in enumerate(batch.keys)
                if wanted(f"{batch.source} {batch.offsets[row]}".encode() if key is None else key)
            ],
        )

    return keep


def by_keys(keys: frozenset[bytes]) -> Keep:
    """Take the records of these keys."""
    return lambda batch: thinned(batch, [row for row, key in enumerate(batch.keys) if key in keys])


def by_time(first_ms: int | None, end_ms: int | None) -> Keep:
    """Take the records of a span of time, wherever they stand."""

    def wanted(at_ms: int) -> bool:
        return (first_ms is None or at_ms >= first_ms) and (end_ms is None or at_ms < end_ms)

    return lambda batch: thinned(
        batch, [row for row, at_ms in enumerate(batch.timestamps) if wanted(at_ms)]
    )


def both(one: Keep, other: Keep) -> Keep:
    """Take what both take."""

    def keep(batch: Batch) -> Batch:
        left = one(batch)
        return other(left) if len(left) else left

    return keep


def thinned(batch: Batch, rows: list[int]) -> Batch:
    """Return a batch of some rows, in order; its position stays behind all of them."""
    if len(rows) == len(batch):
        return batch
    headers = batch.headers
    return Batch(
        batch.source, [batch.keys[row] for row in rows], [batch.values[row] for row in rows],
        [batch.timestamps[row] for row in rows], [batch.offsets[row] for row in rows],
        batch.next_offset, None if headers is None else [headers[row] for row in rows],
    )  # fmt: skip
