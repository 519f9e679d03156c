"""Which partition a key belongs to: murmur2 as Java's Kafka producer has it, with a bounded memo.

Keys come from ``EmbeddedLog.emit`` and from whoever must know where the log would put a record.

Invariant: the same key and count always give the same partition, and the one that a Java producer
and librdkafka's ``murmur2_random`` would choose.
"""

from collections.abc import Sequence
from struct import Struct

MEMO_SIZE = 1 << 18
_MASK = 0xFFFFFFFF
_MULTIPLIER = 0x5BD1E995
_SEED = 0x9747B28C
_UNPACK = tuple(Struct(f"<{words}I").unpack for words in range(64))


def murmur2(data: bytes) -> int:
    """Return Java's ``Utils.murmur2`` as an unsigned number.

    >>> murmur2(b"foobar") == -790332482 & 0xFFFFFFFF
    True
    """
    length = len(data)
    hashed = _SEED ^ length
    words = length >> 2
    unpack = _UNPACK[words] if words < len(_UNPACK) else Struct(f"<{words}I").unpack
    for word in unpack(data[: words << 2]):
        word = word * _MULTIPLIER & _MASK
        hashed = (hashed * _MULTIPLIER & _MASK) ^ ((word ^ word >> 24) * _MULTIPLIER & _MASK)
    if length & 3:
        hashed ^= int.from_bytes(data[words << 2 :], "little")
        hashed = hashed * _MULTIPLIER & _MASK
    hashed = (hashed ^ hashed >> 13) * _MULTIPLIER & _MASK
    return hashed ^ hashed >> 15


class Partitioner:
    """Partitions of keys, remembered.

    Null keys of one call of ``rows`` go together into one partition, those of the next call into
    the next one: spread as by Kafka's sticky partitioner, and the same in each run.
    """

    def __init__(self, memo_size: int = MEMO_SIZE) -> None:
        self._memos: dict[int, dict[bytes | None, int]] = {}
        """Number of partitions → key → partition: small numbers, which Python has only once."""
        self._memo_size = memo_size
        self._nulls = 0

    def partition_of(self, key: bytes, count: int) -> int:
        """Return the partition of a key among ``count``."""
        memo = self._memos.setdefault(count, {})
        partition = memo.get(key)
        if partition is None:
            if len(memo) >= self._memo_size:
                memo.clear()
            partition = memo[key] = (murmur2(key) & 0x7FFFFFFF) % count
        return partition

    def rows(self, keys: Sequence[bytes | None], count: int) -> list[list[int]]:
        """Return for each partition which rows go there, in order."""
        rows: list[list[int]] = [[] for _ in range(count)]
        add = [partition.append for partition in rows]
        known: list[int | None] = list(map(self._memos.setdefault(count, {}).get, keys))
        null = self._nulls % count
        for row, partition in enumerate(known):
            if partition is not None:
                add[partition](row)
            elif (key := keys[row]) is not None:
                add[self.partition_of(key, count)](row)
            else:
                add[null](row)
        self._nulls += None in keys
        return rows
