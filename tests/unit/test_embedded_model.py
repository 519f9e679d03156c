"""The embedded log against a plain model: transactions, trims, upkeep, reopening in any order."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from streamfn.connectors import upkeep
from streamfn.connectors.log import Committed
from streamfn.record import TopicPartition
from tests.unit.embedded_world import World
from tests.unit.log_contract import Listening, Row, columns

TOPICS = {"plain": {}, "compact": {"cleanup.policy": "compact", "delete.retention.ms": "5000"}}
SOURCES = [TopicPartition(topic, index) for topic in TOPICS for index in range(2)]
ROWS = st.lists(
    st.tuples(
        st.sampled_from([b"a", b"b", b"c"]),
        st.sampled_from([None, b"x", b"y"]),
        st.integers(0, 20_000),
    ),
    max_size=12,
)


class Machine(RuleBasedStateMachine):
    """The model: what was appended per partition, begins, positions; a reader that polls."""

    on_disk = False

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp()) if self.on_disk else None
        self.world = World(self.folder / "log" if self.folder else None)
        self.rows: dict[TopicPartition, list[Row]] = {source: [] for source in SOURCES}
        self.begins = dict.fromkeys(SOURCES, 0)
        self.positions: dict[TopicPartition, Committed] = {}
        self.polled: dict[TopicPartition, dict[int, Row]] = {source: {} for source in SOURCES}

    @initialize()
    def create(self) -> None:
        """Create the topics and read them all."""
        for topic, config in TOPICS.items():
            self.world.log.create_topic(topic, 2, config)
        self.read_on()

    def read_on(self) -> None:
        """Assign all partitions behind what was polled."""
        self.world.log.join("g", 1, Listening())
        self.world.log.assign(
            {
                source: max([self.begins[source], *(row + 1 for row in self.polled[source])])
                for source in SOURCES
            }
        )

    @rule(
        writes=st.lists(st.tuples(st.sampled_from(SOURCES), ROWS), max_size=3),
        commit=st.booleans(),
        times=st.integers(1, 6),
    )
    def transaction(
        self, writes: list[tuple[TopicPartition, list[Row]]], commit: bool, times: int
    ) -> None:
        """Write to some partitions with a position, and commit or abandon it; several times."""
        for _ in range(times):
            self.world.log.begin()
            for source, rows in writes:
                self.world.log.emit(source.topic, source.partition, columns(rows))
            position = Committed(sum(map(len, self.rows.values())), f"token {len(writes)}")
            self.world.log.send_offsets({SOURCES[0]: position})
            if not commit:
                self.world.log.open_producer()
                continue
            self.world.log.commit()
            self.positions = {SOURCES[0]: position}
            for source, rows in writes:
                self.rows[source] += rows

    @rule(source=st.sampled_from(SOURCES), part=st.integers(0, 10))
    def trim(self, source: TopicPartition, part: int) -> None:
        """Delete records up to what was polled, or less."""
        before = max([0, *(row + 1 for row in self.polled[source])]) * part // 10
        self.world.log.delete_records(source, before)
        self.begins[source] = max(self.begins[source], before)

    @rule(times=st.integers(1, 5), milliseconds=st.integers(0, 6000))
    def poll(self, times: int, milliseconds: int) -> None:
        """Poll while time passes; upkeep happens here."""
        self.world.clock.advance_ms(milliseconds)
        for _ in range(times):
            for batch in self.world.log.poll(0):
                seen = self.polled[batch.source]
                rows = zip(batch.keys, batch.values, batch.timestamps, strict=True)
                for offset, row in zip(batch.offsets, rows, strict=True):
                    assert offset not in seen
                    assert self.rows[batch.source][offset] == row
                    seen[offset] = row

    @rule()
    def reopen(self) -> None:
        """Close and open."""
        self.world.reopen()
        self.read_on()

    @invariant()
    def the_log_is_the_model(self) -> None:
        """Ends, begins and positions are exact; records too, but for what compaction may drop."""
        log = self.world.log
        assert log.end_offsets(SOURCES) == {source: len(self.rows[source]) for source in SOURCES}
        assert log.begin_offsets(SOURCES) == self.begins
        assert log.committed(SOURCES) == self.positions
        for source in SOURCES:
            self.check_records(source)

    def check_records(self, source: TopicPartition) -> None:
        """Compare a partition's records."""
        rows, begin = self.rows[source], self.begins[source]
        found: dict[int, Row] = {}
        for batch in self.world.log.read(source, begin, len(rows)):
            columns = zip(batch.keys, batch.values, batch.timestamps, strict=True)
            found.update(zip(batch.offsets, columns, strict=True))
        expected = dict(enumerate(rows[begin:], begin))
        if source.topic == "plain":
            assert found == expected
            return
        assert found.items() <= expected.items()
        latest = {row[0]: offset for offset, row in expected.items()}
        for key, offset in latest.items():
            value, timestamp_ms = rows[offset][1:]
            if value is not None or timestamp_ms >= self.world.clock.now_ms() - 5000:
                assert offset in found, f"the last record of {key!r} is gone"
            if offset not in found:
                assert not [1 for row in found.values() if row[0] == key], "a tombstone went early"

    def teardown(self) -> None:
        """Close the log and remove its folder."""
        self.world.log.close()
        if self.folder is not None:
            shutil.rmtree(self.folder)


class MachineOnDisk(Machine):
    """The same on RocksDB."""

    on_disk = True


@pytest.fixture
def small_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let upkeep begin at a few records, so that short runs reach it."""
    for name, value in {
        "SMALL_ROWS": 6, "MERGE_ROWS": 4, "CHUNK_ROWS": 10, "COMPACT_ROWS": 5, "COMPACT_KEYS": 2,
        "WARM_ROWS": 3, "STEP_CHUNKS": 4, "PLAN_INTERVAL_S": 1.0, "BUSY_POLLS": 2,
    }.items():  # fmt: skip
        monkeypatch.setattr(upkeep, name, value)


@pytest.mark.usefixtures("small_numbers")
@pytest.mark.parametrize(("machine", "examples"), [(Machine, 60), (MachineOnDisk, 8)])
def test_any_order_of_things_leaves_the_model(machine: type[Machine], examples: int) -> None:
    """Nothing is lost, doubled or reordered, whatever comes between."""
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples, stateful_step_count=30, deadline=None)
    )
