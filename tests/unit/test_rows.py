"""``row_encoder``: rows become typed values, whole, or say which field is wrong."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfn.clock import ManualClock
from streamfn.connectors.rows import milliseconds, row_encoder
from streamfn.errors import SerdeError
from streamfn.serde import INT64


class Flight(msgspec.Struct):
    """A row with its types."""

    carrier: str
    flight: int
    delay: float | None
    at: datetime


ROW = {"carrier": "UA", "flight": "7", "delay": None, "at": "2013-01-01T10:00:00Z", "more": "x"}
AT_MS = 1_357_034_400_000


def test_rows_become_typed_values() -> None:
    """Text turns into numbers and times; key and timestamp are columns."""
    key, value, timestamp_ms = row_encoder(Flight, key="carrier", timestamp="at")(ROW)
    assert (key, timestamp_ms) == (b"UA", AT_MS)
    at = datetime(2013, 1, 1, 10, tzinfo=UTC)
    assert msgspec.json.decode(value or b"", type=Flight) == Flight("UA", 7, None, at)


def test_keys_and_timestamps_by_function() -> None:
    """Functions see the value; a serde writes the key; None is a null key; the clock is last."""
    by_value = row_encoder(
        Flight, key=lambda row: row.flight, timestamp=lambda row: row.at, key_serde=INT64
    )
    assert by_value(ROW)[0] == b"\0" * 7 + b"\7"
    assert by_value(ROW)[2] == AT_MS
    assert row_encoder(Flight, key="flight", key_serde=int)(ROW)[0] == b"7"
    clock = ManualClock(5)
    assert row_encoder(Flight, key=lambda row: None, clock=clock)(ROW)[::2] == (None, 5)
    assert row_encoder(Flight, key="delay", clock=clock)(ROW)[::2] == (None, 5)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (ROW | {"flight": "seven"}, r"\$.flight"),
        (ROW | {"flight": None}, "Expected `int`, got `null`"),
        ({key: ROW[key] for key in ("flight", "delay", "at")}, "missing required field `carrier`"),
        (ROW | {"at": "noon"}, "at"),
    ],
)
def test_wrong_rows_say_which_field(row: dict[str, Any], text: str) -> None:
    """The reason of a refused row names its field."""
    with pytest.raises(msgspec.ValidationError, match=text):
        row_encoder(Flight, key="carrier")(row)
    with pytest.raises(SerdeError, match="no column 'where'; got carrier, flight"):
        row_encoder(Flight, key="where")(ROW)


FIRST, LAST = (datetime(year, 6, 1, tzinfo=UTC).replace(tzinfo=None) for year in (1971, 9999))


@given(st.datetimes(FIRST, LAST, timezones=st.timezones()))
def test_milliseconds_are_exact(moment: datetime) -> None:
    """Text, datetime and number say the same millisecond; what is none is refused."""
    expected = (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000 // 1
    assert abs(milliseconds(moment) - expected) <= 1
    fixed = moment.astimezone(UTC)
    assert milliseconds(fixed.isoformat()) == milliseconds(moment)
    assert milliseconds(str(milliseconds(moment))) == milliseconds(moment)
    assert milliseconds(fixed.replace(tzinfo=None)) == milliseconds(fixed)
    with pytest.raises(SerdeError, match="got None"):
        milliseconds(None)
    with pytest.raises(SerdeError, match=r"from 1970 on.*got -1"):
        milliseconds(-1)
