"""What both type checkers must also take without a word: schemas, tests with recordings.

Only read by mypy and pyright, never run.
"""

from pathlib import Path
from typing import Any, assert_type

import msgspec

import streamfn as sf

app = sf.App("flights")


class Flight(msgspec.Struct, gc=False):
    """One departure."""

    carrier: str
    dep_delay: float | None


delays = app.topic("carrier-delays", key=str, value=Flight)

registry = sf.SchemaRegistry("mock://types", compatibility="FULL")
by_type = sf.avro(Flight, registry=registry, subject="record", namespace="air")
by_schema = sf.avro({"type": "string"}, type=str)
in_avro = app.topic("in-avro", key=sf.avro(str), value=by_type)
optional = app.topic("optional", key=sf.avro(str), value=sf.avro(Flight | None))
assert_type(by_type, sf.Serde[Flight])
assert_type(by_schema, sf.Serde[str])
assert_type(in_avro, sf.Topic[str, Flight])
assert_type(optional, sf.Topic[str, Flight | None])


def of_files() -> None:
    """Schemas that would have to be there."""
    assert_type(sf.avro("flight.avsc", type=Flight, register=False), sf.Serde[Flight])
    assert_type(sf.avro(Path("flight.avsc")), sf.Serde[Any])


# tests
def test_replay(replay: sf.testing.Replay, driver: sf.testing.MakeDriver) -> None:
    """What a test gets from the fixtures has the types of its topics."""
    result = replay("recordings/week.jsonl.zst", app, workers=2, commit_interval_ms=0)
    assert_type(result, sf.testing.ReplayResult)
    assert_type(result.read(delays), list[sf.Record[str, Flight]])
    assert_type(result.dead_letters(), list[sf.Record[bytes | None, bytes | None]])
    assert_type(result.raised[0].stage, str)
    result.check("week", first=10)
    result.check_same_as(replay("recordings/week.jsonl.zst"), ignore="minutes")
    assert_type(driver(app), sf.testing.TestDriver)
