"""Records that fail before they are run."""

import pytest

from streamfn.engine.condemned import condemned_rows
from streamfn.record import TIME_END_MS, Batch, TopicPartition


def batch(keys: list[bytes | None], times: list[int]) -> Batch:
    """Records from offset 7 on."""
    end = 7 + len(keys)
    return Batch(TopicPartition("in", 0), keys, [b"v"] * len(keys), times, range(7, end), end)


@pytest.mark.parametrize("text_keys", [True, False])
def test_what_is_fine_is_not_named(text_keys: bool) -> None:
    """Null keys and the last millisecond of 9999 are."""
    fine = batch([b"a", None, "ü".encode()], [0, -1, TIME_END_MS - 1])
    assert list(condemned_rows(fine, text_keys=text_keys)) == []


def test_each_bad_record_is_named_with_its_offset() -> None:
    """The others of the batch are not."""
    bad = batch([b"a", b"\xff", None], [0, 1, TIME_END_MS])
    found = dict(condemned_rows(bad, text_keys=True))
    assert [*found] == [8, 9]
    assert "after the year 9999" in str(found[9])
    assert [*dict(condemned_rows(bad, text_keys=False))] == [9]
