"""A merge by time waits for rows that a feed has read and not committed yet."""

from datetime import timedelta
from pathlib import Path

import msgspec

import streamfn as sf


class Name(msgspec.Struct):
    """A row of the file."""

    name: str


def test_uncommitted_rows_come_first(tmp_path: Path) -> None:
    """The file is read to its end, but not in the log: a later record may not go before it."""
    file = tmp_path / "names.csv"
    file.write_text("carrier,name\nAA,American\n", encoding="utf-8")
    app = sf.App("order")
    names = app.topic("names", key=str, value=Name)
    codes = app.topic("codes", key=str, value=str)
    named = app.topic("named", key=str, value=str)
    app.feed(names, file, key="carrier", timestamp=lambda name: 0)
    table = app.table(names)

    @app.function(codes, to=named)
    def full_name(code: str, names: sf.Lookup[str, Name] = table) -> str:
        found = names.get(code)
        return found.name if found else "unknown"

    with sf.testing.TestDriver(app, commit_interval_ms=1_000, feeds=True) as driver:
        driver.send(codes, "AA", key="AA", timestamp_ms=1)
        for _ in range(2):
            driver.advance(timedelta(seconds=1))
        assert [record.value for record in driver.read(named)] == ["American"]
