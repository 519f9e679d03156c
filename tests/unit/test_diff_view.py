"""How a comparison is shown: at 80 columns, and as JSON."""

import json
from collections import Counter
from datetime import UTC, datetime

import pytest

from streamfn.cli.diff_view import facts, show
from streamfn.record import TopicPartition
from streamfn.replay.diff.blame import Suspect
from streamfn.replay.diff.compare import Comparison, Example, Group
from streamfn.replay.diff.fields import ABSENT, TOMBSTONE

ROOT = (TopicPartition("flights", 2), 12)
CHANGED = Group(
    "carrier_delay", "legs[].minutes", "changed", "",
    Counter({"carrier-delays": 1_200, "stage:carrier_delay": 1_200}), 1_357_034_400_000,
    [Example("carrier-delays", 0, "UA", 1_357_034_400_000, ROOT, "legs[1].minutes", 4, 5.5)],
)  # fmt: skip
MISSING = Group(
    "weather_delay", "", "missing", "carrier_delay", Counter({"weather-delays": 3}), -1,
    [Example("weather-delays", 0, None, -1, None, "", TOMBSTONE, ABSENT)],
)  # fmt: skip
STATE = Group(
    "reports", "seen", "changed", "", Counter({"state reports-last": 2}), -1,
    [Example("state reports-last", 1, ["JFK", 3], -1, None, "seen",
             datetime(2013, 1, 1, tzinfo=UTC), b"\xff")],
)  # fmt: skip


def compared(*groups: Group, unstable: tuple[Group, ...] = ()) -> Comparison:
    """A comparison with these groups."""
    return Comparison(
        "flights", "flights.py at HEAD~1", "flights.py", list(groups), list(unstable),
        20_000, 30_000, 28_797 if groups else 30_000, None, ["global tables are read whole"],
    )  # fmt: skip


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of the usual width."""
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.usefixtures("narrow")
def test_differences_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Who is to blame, a table, those behind, and examples of both sides."""
    show(compared(CHANGED, STATE, MISSING))
    out = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[:2] == [
        "flights.py at HEAD~1 → flights.py: 30,000 records compared of 20,000 inputs, 1,203 differ",
        "to blame: carrier_delay, reports",
    ]
    assert "carrier_delay legs[].minutes changed 1,200 2013-01-01 10:00" in lines
    assert "reports seen (state) changed 2" in lines
    assert "weather_delay missing 3 carrier_delay" in lines
    assert "key UA 2013-01-01 10:00:00Z carrier-delays[0] input flights[2]:12" in lines
    at = lines.index("- legs[1].minutes: 4")
    assert lines[at + 1] == "+ legs[1].minutes: 5.5"
    assert "- 2013-01-01T00:00:00Z" in lines
    assert "+ 0xff" in lines
    assert lines[-1] == "note: global tables are read whole"
    assert "\x1b" not in out
    assert all(len(line) <= 80 for line in out.splitlines()[1:])


@pytest.mark.usefixtures("narrow")
def test_equal_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to say, but what the replay leaves out."""
    show(compared())
    assert capsys.readouterr().out.splitlines() == [
        "flights.py at HEAD~1 → flights.py: 30,000 records compared of 20,000 inputs, all equal",
        "note: global tables are read whole",
    ]


@pytest.mark.usefixtures("narrow")
def test_not_deterministic(capsys: pytest.CaptureFixture[str]) -> None:
    """What the program does differently by itself has a heading of its own."""
    comparison = compared(unstable=(CHANGED,))
    show(comparison)
    out = capsys.readouterr().out
    assert "all else equal" in out
    assert "not deterministic: replayed twice, the program differs from itself in" in out
    assert "carrier_delay" in out
    assert comparison.exit_code == 1


def test_suspect(capsys: pytest.CaptureFixture[str]) -> None:
    """A stage that nobody could look at is named in place of those behind it."""
    comparison = compared(CHANGED)
    comparison.suspect = Suspect("checked", ("carrier_delay", "departures"))
    show(comparison)
    text = "to blame: checked, or what is between it and carrier_delay and departures"
    assert text in capsys.readouterr().out


def test_many_groups_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """A table does not grow without end; the rest is counted."""
    show(compared(*(Group("s", f"f{n}", "changed", "", Counter(t=1)) for n in range(60))))
    assert "20 more" in capsys.readouterr().out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One line that a program reads: all that was found."""
    comparison = compared(CHANGED, MISSING, STATE)
    show(comparison, json=True)
    read = json.loads(capsys.readouterr().out)
    assert read == json.loads(json.dumps(facts(comparison)))
    assert read["exit_code"] == 1
    assert read["to_blame"] == ["carrier_delay", "reports"]
    first, missing, state = read["differences"]
    assert first["places"] == {"carrier-delays": 1200, "stage:carrier_delay": 1200}
    assert first["count"] == 1200
    assert first["examples"] == [
        {
            "place": "carrier-delays", "partition": 0, "key": "UA",
            "timestamp_ms": 1_357_034_400_000, "field": "legs[1].minutes", "expected": 4,
            "input": {"topic": "flights", "partition": 2, "offset": 12}, "actual": 5.5,
        }
    ]  # fmt: skip
    assert missing["follows_from"] == "carrier_delay"
    assert missing["examples"][0]["expected"] is None
    assert "actual" not in missing["examples"][0]
    assert state["examples"][0]["actual"] == "0xff"
