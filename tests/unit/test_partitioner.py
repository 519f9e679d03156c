"""The partitioner against Java's own vectors."""

import pytest

from streamfn.connectors.partitioner import Partitioner, murmur2

VECTORS = [  # from Kafka's UtilsTest.testMurmur2
    (b"21", -973932308),
    (b"foobar", -790332482),
    (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
]


@pytest.mark.parametrize(("key", "java"), VECTORS)
def test_murmur2_is_javas(key: bytes, java: int) -> None:
    """The hash equals what Kafka's own test expects."""
    assert murmur2(key) == java & 0xFFFFFFFF


@pytest.mark.parametrize(("key", "java"), VECTORS)
def test_the_sign_bit_is_masked_as_in_kafka(key: bytes, java: int) -> None:
    """The partition is the hash without its sign, modulo the count."""
    assert Partitioner().partition_of(key, 7) == (java & 0x7FFFFFFF) % 7


def test_the_memo_forgets_but_answers_stay() -> None:
    """More keys than the memo holds get the same partitions as without one."""
    partitioner = Partitioner(memo_size=10)
    keys = [b"%d" % number for number in range(50)]
    expected = [(murmur2(key) & 0x7FFFFFFF) % 3 for key in keys]
    for _ in range(2):
        assert [partitioner.partition_of(key, 3) for key in keys] == expected
    rows = partitioner.rows(keys, 3)
    assert [partition for row in range(50) for partition in range(3) if row in rows[partition]] == (
        expected
    )


def test_null_keys_stay_together_in_a_call_and_take_turns_between_calls() -> None:
    """Null keys of a call share a partition; keyed calls between do not move it on."""
    partitioner = Partitioner()
    turns: list[int] = []
    for _ in range(4):
        rows = partitioner.rows([None, None], 3)
        turns.append(next(partition for partition in range(3) if rows[partition] == [0, 1]))
        partitioner.rows([b"key"], 3)
    assert turns == [0, 1, 2, 0]


def test_rows_keep_their_order_within_a_partition() -> None:
    """Each partition gets its rows in the order they came."""
    keys = [b"a", None, b"b", b"a", None, b"b"]
    for rows in Partitioner().rows(keys, 2):
        assert rows == sorted(rows)
