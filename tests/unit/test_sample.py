"""Which records a sample takes: whole keys, the same ones each time, or a span of time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.errors import ConfigError
from streamfn.record import Batch, TopicPartition
from streamfn.replay.sample import both, by_keys, by_share, by_time, share_of


def batch_of(keys: list[bytes | None], times: list[int] | None = None) -> Batch:
    """Make a batch of these keys."""
    count = len(keys)
    values: list[bytes | None] = [b"%d" % n for n in range(count)]
    source = TopicPartition("a", 1)
    return Batch(
        source, keys, values, times or [0] * count, range(10, 10 + count), 10 + count,
        [(("n", b"%d" % n),) for n in range(count)],
    )  # fmt: skip


@given(st.lists(st.binary(max_size=3) | st.none()), st.sampled_from([0.01, 0.3, 0.5, 1.0]))
def test_a_key_is_taken_whole(keys: list[bytes | None], share: float) -> None:
    """In any batch, by any sample of the same share; columns stay together."""
    found = by_share(share)(batch_of(keys))
    again = by_share(share)
    taken = {key for key in found.keys if key is not None}
    for key in {key for key in keys if key is not None}:
        assert (len(again(batch_of([key]))) == 1) == (key in taken)
        assert found.keys.count(key) == (keys.count(key) if key in taken else 0)
    assert found.next_offset == 10 + len(keys)
    assert [keys[offset - 10] for offset in found.offsets] == found.keys
    assert found.values == [b"%d" % (offset - 10) for offset in found.offsets]
    assert [h for ((_, h),) in found.headers or []] == found.values


def test_a_share_is_about_right() -> None:
    """Of many keys, and of records without any."""
    many = batch_of([b"%d" % n for n in range(20_000)])
    none = batch_of([None] * 20_000)
    for batch in (many, none):
        assert 1_800 < len(by_share(0.1)(batch)) < 2_200
    assert {*by_share(0.05)(many).offsets} < {*by_share(0.1)(many).offsets}


@pytest.mark.parametrize(
    ("text", "share"), [("1%", 0.01), ("0.25", 0.25), (".5%", 0.005), ("1", 1)]
)
def test_shares(text: str, share: float) -> None:
    """As a percentage or a fraction."""
    assert share_of(text) == share


@pytest.mark.parametrize("text", ["0", "0%", "101%", "2", "x", "-1%", "1e-3"])
def test_what_is_no_share(text: str) -> None:
    """Nothing, and more than all."""
    with pytest.raises(ConfigError, match="is no share"):
        share_of(text)


def test_keys_and_times_thin_out() -> None:
    """Each alone, and both together."""
    batch = batch_of([b"a", b"b", None, b"a"], [5, 6, 7, 8])
    keys, times = by_keys(frozenset({b"a"})), by_time(6, None)
    assert list(keys(batch).offsets) == [10, 13]
    assert list(times(batch).offsets) == [11, 12, 13]
    assert list(by_time(None, 6)(batch).offsets) == [10]
    assert list(both(keys, times)(batch).offsets) == [13]
    assert len(both(by_time(99, None), keys)(batch)) == 0
