"""Pairs the rows that two replays have made of the same input records.

Effects of both sides come in as they are read; pairs of what differs go out. Invariant: rows are
only looked at one by one where columns differ.
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from streamfn.record import Headers
from streamfn.replay.diff.rows import Pair, Row, align, row_of
from streamfn.replay.effects import Effects, Root


class ByRoot:
    """Rows of one topic, made by two replays of the same inputs."""

    def __init__(self, headers: Callable[[Headers], Headers] = lambda found: found) -> None:
        """``headers`` leaves those out that are not compared."""
        self._headers = headers
        self._sides: tuple[list[Effects], list[Effects]] = ([], [])

    def add(self, side: int, effects: Effects) -> None:
        """Take what one side (0 expected, 1 actual) has made; the ranks never go back."""
        self._sides[side].append(effects)

    def orders(self, rank: int | None) -> tuple[dict[int, Root], dict[int, Root]]:
        """Which input records have which ranks up to one, on both sides."""
        left, right = (
            {
                at: root
                for block in blocks
                for at, root in zip(block.ranks, block.roots, strict=True)
                if rank is None or at <= rank
            }
            for blocks in self._sides
        )
        return left, right

    def ranked(self, side: int, rank_of: Callable[[Root, int], int]) -> None:
        """Give the rows of one side other ranks."""
        self._sides[side][:] = [
            replace(block, ranks=list(map(rank_of, block.roots, block.ranks)))
            for block in self._sides[side]
        ]

    def held(self, side: int) -> int:
        """How many rows of one side are not paired yet."""
        return sum(map(len, self._sides[side]))

    def settle(self, rank: int | None) -> tuple[int, list[Pair]]:
        """Pair all rows up to a rank that both sides have passed; None: all.

        Returns how many rows were the same, and the pairs of the others, in order of rank.
        """
        left, right = (self._taken(blocks, rank) for blocks in self._sides)
        if len(left) == len(right) and all(map(_alike, left, right)):
            return sum(map(len, left)), []
        ranks = _differing(left, right)
        pairs = self._paired(left, right, ranks)
        rows = sum(len(block) for block in left) - sum(p.expected is not None for p in pairs)
        different = [pair for pair in pairs if not pair.equal]
        return rows + len(pairs) - len(different), different

    def _taken(self, blocks: list[Effects], rank: int | None) -> list[Effects]:
        """Take the rows up to a rank out of the blocks, in order of partition."""
        taken: list[Effects] = []
        kept: list[Effects] = []
        for block in blocks:
            end = len(block) if rank is None else bisect_right(block.ranks, rank)
            if end:
                taken.append(block if end == len(block) else _part(block, 0, end))
            if end < len(block):
                kept.append(block if not end else _part(block, end, len(block)))
        blocks[:] = kept
        return sorted(taken, key=lambda block: (block.partition, block.first_offset))

    def _paired(self, left: list[Effects], right: list[Effects], ranks: set[int]) -> list[Pair]:
        """Pair the rows that go back to some of the input records."""
        roots: dict[int, tuple[list[Row], list[Row]]] = {rank: ([], []) for rank in sorted(ranks)}
        for side, blocks in enumerate((left, right)):
            for block in blocks:
                for at, rank in enumerate(block.ranks):
                    if rank in ranks:
                        roots[rank][side].append(row_of(block, at, self._headers))
        found: list[Pair] = []
        for expected, actual in roots.values():
            found += align(expected, actual)
        return found


def _differing(left: list[Effects], right: list[Effects]) -> set[int]:
    """Return the ranks of the input records at which something differs, seen from the columns."""
    found: set[int] = set()
    sides = [_by_partition(blocks) for blocks in (left, right)]
    for partition in {*sides[0], *sides[1]}:
        one, other = (side.get(partition, {}) for side in sides)
        found |= {rank for rank in one.keys() | other.keys() if one.get(rank) != other.get(rank)}
    return found


def _by_partition(blocks: list[Effects]) -> dict[int, dict[int, list[Any]]]:
    """Rows by partition and rank."""
    found: dict[int, dict[int, list[Any]]] = {}
    for block in blocks:
        ranks = found.setdefault(block.partition, {})
        columns = zip(block.ranks, block.keys, block.values, block.timestamps, strict=True)
        for at, row in enumerate(columns):
            ranks.setdefault(row[0], []).append(row)
            if at in block.headers:
                ranks[row[0]].append(block.headers[at])
    return found


def _alike(left: Effects, right: Effects) -> bool:
    return (
        left.partition == right.partition
        and left.ranks == right.ranks
        and left.values == right.values
        and left.keys == right.keys
        and left.timestamps == right.timestamps
        and left.headers == right.headers
    )


def _part(effects: Effects, begin: int, end: int) -> Effects:
    return Effects(
        effects.topic, effects.partition, effects.first_offset + begin,
        effects.keys[begin:end], effects.values[begin:end], effects.timestamps[begin:end],
        {at - begin: found for at, found in effects.headers.items() if begin <= at < end},
        effects.ranks[begin:end], effects.roots[begin:end], effects.stages[begin:end],
    )  # fmt: skip
