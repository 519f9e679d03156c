"""A replay and a schema registry: what is there is read, nothing is registered."""

from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest

import streamfn as sf
from streamfn.graph.topology import Topology
from streamfn.replay.effects import Effects
from streamfn.replay.recordings.files import open_recording
from streamfn.replay.replay import replay
from streamfn.testing import TestDriver
from tests.unit.registry_server import RegistryServer, registry_server

RECORDING = """\
{"streamfn_recording": 1}
{"topic": "sales", "timestamp_ms": 0, "key": "a", "value": 1}
{"topic": "sales", "timestamp_ms": 1, "key": "b", "value": 2}
"""


class Sale(msgspec.Struct):
    """What is written."""

    amount: int


@pytest.fixture
def server() -> Generator[RegistryServer]:
    """A registry that knows nothing."""
    with registry_server() as world:
        yield world


def program(server: RegistryServer) -> sf.App:
    """A program whose output has a schema that nobody has registered."""
    app = sf.App("sales")
    sales = app.topic("sales", key=str, value=int)
    registry = sf.SchemaRegistry(server.url, {"max.retries": 0})
    written = app.topic("written", key=str, value=sf.avro(Sale, registry=registry))
    app.stream(sales).map_values(lambda amount: Sale(amount), value=Sale, name="sale").to(written)
    return app


class Kept:
    """Keeps what a replay makes."""

    def __init__(self) -> None:
        self.values: list[bytes | None] = []

    def effects(self, found: list[Effects]) -> None:
        """Take a chunk's."""
        for each in found:
            self.values += each.values


def replayed(topology: Topology, path: Path) -> list[bytes | None]:
    """The values that a replay writes."""
    kept = Kept()
    inputs = open_recording(path)
    try:
        with replay(topology, inputs, kept, in_memory=True) as done:
            assert done.raised == []
    finally:
        inputs.close()
    return kept.values


def test_nothing_is_registered(server: RegistryServer, tmp_path: Path) -> None:
    """A schema that is tried out has an id of its own, the same in each replay, and no version."""
    path = tmp_path / "sales.jsonl"
    path.write_text(RECORDING)
    one, other = (
        replayed(program(server).topology(), path),
        replayed(program(server).topology(), path),
    )
    assert one == other
    assert [value and value[5:] for value in one] == [b"\x02", b"\x04"]
    assert server.subjects == {}
    assert not any("/versions" in asked for asked in server.asked if asked.startswith("POST"))


def test_run_behind_a_replay_registers(server: RegistryServer, tmp_path: Path) -> None:
    """The id of a trial does not stay with the program."""
    path = tmp_path / "sales.jsonl"
    path.write_text(RECORDING)
    app = program(server)
    replayed(app.topology(), path)
    with TestDriver(app) as driver:
        driver.send_raw("sales", b"1", key=b"a")
    assert list(server.subjects) == ["written-value"]


def test_known_schema_has_its_id(server: RegistryServer, tmp_path: Path) -> None:
    """What a subject has already is written as a run writes it."""
    path = tmp_path / "sales.jsonl"
    path.write_text(RECORDING)
    app = program(server)
    with TestDriver(app) as driver:
        driver.send_raw("sales", b"1", key=b"a")
    assert replayed(app.topology(), path)[0] == b"\0\0\0\0\x01\x02"
