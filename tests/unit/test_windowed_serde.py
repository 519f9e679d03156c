"""Keys of windows: their bytes, and the partition that they go to."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamfn as sf
from streamfn.connectors.partitioner import Partitioner
from streamfn.engine.outputs import by_partition
from streamfn.record import Columns
from streamfn.serde import Serde, key_serde, time_windowed
from streamfn.testing.driver import TestDriver

KEYS = st.text(max_size=5)
TIMES = st.integers(0, 2**62)
HOUR = timedelta(hours=1)
PARTITION_OF = Partitioner().partition_of


# --- bytes


@given(KEYS, TIMES, TIMES)
def test_key_with_window_comes_back(key: str, start_ms: int, end_ms: int) -> None:
    """As ``SessionWindowedSerde`` writes it: key, end, start."""
    serde, windowed = key_serde(sf.Windowed[str]), sf.Windowed(key, start_ms, end_ms)
    raw = serde.encode(windowed)
    assert raw == key.encode() + end_ms.to_bytes(8, "big") + start_ms.to_bytes(8, "big")
    assert serde.decode(raw) == windowed


@given(KEYS, st.integers(0, 10**12))
def test_key_with_start_comes_back(key: str, start_ms: int) -> None:
    """As ``TimeWindowedSerde`` writes it: key, start."""
    serde = time_windowed(key_serde(str), HOUR)
    windowed = sf.Windowed(key, start_ms, start_ms + 3_600_000)
    assert serde.encode(windowed) == key.encode() + start_ms.to_bytes(8, "big")
    assert serde.decode(serde.encode(windowed)) == windowed


@given(KEYS, TIMES)
def test_partition_is_chosen_by_the_innermost_key(key: str, start_ms: int) -> None:
    """Of a window of windows too."""
    serde = key_serde(sf.Windowed[sf.Windowed[str]])
    raw = serde.encode(sf.Windowed(sf.Windowed(key, start_ms, start_ms), start_ms, start_ms))
    assert serde.hashed is not None
    assert serde.hashed(raw) == key.encode()


# --- partitions


@given(st.lists(st.tuples(st.none() | KEYS, st.integers(0, 99), st.booleans()), max_size=30))
def test_rows_are_told_apart_in_order(rows: list[tuple[str | None, int, bool]]) -> None:
    """Nothing is lost, doubled or reordered; headers stay with their rows."""
    serde, columns = key_serde(sf.Windowed[str]), Columns.empty()
    for number, (key, start_ms, headed) in enumerate(rows):
        raw = None if key is None else serde.encode(sf.Windowed(key, start_ms, start_ms))
        columns.add(raw, b"%d" % number, number, (("n", b"%d" % number),) if headed else ())
    assert serde.hashed is not None
    found: list[int] = []
    for partition, part in by_partition(columns, serde.hashed, 4, PARTITION_OF):
        assert part.timestamps == sorted(part.timestamps)
        for row, number in enumerate(part.timestamps):
            key = rows[number][0]
            assert partition == (None if key is None else PARTITION_OF(key.encode(), 4))
            assert part.values[row] == b"%d" % number
            assert part.headers.get(row, ()) == (
                (("n", b"%d" % number),) if rows[number][2] else ()
            )
        found += part.timestamps
    assert sorted(found) == list(range(len(rows)))


def _counts(keys: Serde[sf.Windowed[str]] | None, *, repartitioned: bool) -> sf.App:
    app = sf.App("app")
    words = app.topic("words", key=str, value=str, partitions=4)
    plain = app.topic("plain", key=str, value=str, partitions=4)
    out = app.topic("out", key=keys or sf.Windowed[str], value=int, partitions=4)
    app.stream(words).to(plain)
    counted = app.stream(words).group_by_key().window(sf.Tumbling(timedelta(seconds=1))).count()
    results = counted.to_stream()
    (results.repartition() if repartitioned else results).to(out)
    return app


@pytest.mark.parametrize("repartitioned", [False, True])
@pytest.mark.parametrize("keys", [None, time_windowed(key_serde(str), timedelta(seconds=1))])
@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 5_000)), max_size=20))
def test_results_of_a_key_are_where_the_key_is(
    keys: Serde[sf.Windowed[str]] | None, repartitioned: bool, rows: list[tuple[str, int]]
) -> None:
    """In one partition of four whatever the window, and in the one of the plain key."""
    app = _counts(keys, repartitioned=repartitioned)
    topics = app.topology().topics
    with TestDriver(app) as driver:
        words = app.topic("words", key=str, value=str, partitions=4)
        plain = app.topic("plain", key=str, value=str, partitions=4)
        out = app.topic("out", key=keys or sf.Windowed[str], value=int, partitions=4)
        for key, at_ms in rows:
            driver.send(words, "x", key=key, timestamp_ms=at_ms)
        places = {record.key: record.partition for record in driver.read(plain)}
        for record in driver.read(out):
            assert record.partition == places[record.key.key]
    assert set(topics) == {"words", "plain", "out"}


def test_driver_sends_windowed_keys_to_their_partition() -> None:
    """So that a test of what reads them finds them where they would be."""
    app = sf.App("app")
    results = app.topic("results", key=sf.Windowed[str], value=int, partitions=4)
    app.stream(results).map_values(str).to("seen")
    with TestDriver(app) as driver:
        for number, key in enumerate("abcdefgh" * 3):
            driver.send(results, number, key=sf.Windowed(key, number, number + 1))
        records = driver.read(results)
        assert len(records) == 24
        for record in records:
            assert record.partition == PARTITION_OF(record.key.key.encode(), 4)
