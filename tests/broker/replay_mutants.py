"""Small mistakes in the flights, as people make them, and as what each is to be found.

Each is a change of the source text. Invariant: what is changed occurs once in it.
"""

from typing import Final, NamedTuple

from tests.broker.replay_flights import PROGRAM

STRICT: Final = ("EARLY_MINUTES_MAX = 30", "EARLY_MINUTES_MAX = 33")
"""One flight left 33 minutes early."""


class Found(NamedTuple):
    """What a comparison is to say."""

    stages: tuple[str, ...]
    """Who is to blame."""
    field: str
    kind: str = "changed"


class Mutant(NamedTuple):
    """A mistake; ``live``: what a comparison with the real run finds, if that is something else."""

    old: str
    new: str
    found: Found
    live: Found | None = None
    base: tuple[str, str] = ("", "")
    """What the program is changed to before, and for comparison."""


MUTANTS: Final = {
    "< to <=": Mutant(
        "dep_delay < -EARLY", "dep_delay <= -EARLY", Found(("checked",), "", "raised"), base=STRICT
    ),
    "a constant": Mutant(*STRICT, Found(("checked",), "", "raised")),
    "a field is dropped": Mutant(
        "self.planned + 1, left, self",
        "self.planned + 1, minutes=self",
        Found(("carrier_delay", "weather_delay"), "left"),
    ),
    "a wrong key": Mutant(
        "flight: flight.carrier, name=",
        "flight: flight.dest, name=",
        Found(("by-carrier",), "<key>"),
        live=Found(("by-carrier",), "", "missing"),
    ),
    "+= to =": Mutant("count.value += 1", "count.value = 1", Found(("departures",), "<value>")),
    "branches are swapped": Mutant(
        "airline.name if airline else flight.carrier",
        'flight.carrier if airline else ""',
        Found(("carrier_delay",), "name"),
    ),
    "an error is raised": Mutant(
        "    airline = names",
        "    assert flight.carrier != 'VX'\n    airline = names",
        Found(("carrier_delay",), "", "raised"),
    ),
    "no dead letter": Mutant(
        "        raise ValueError(message)",
        "        return None",
        Found(("checked",), "", "raised"),
    ),
    "another time": Mutant(
        "count: sf.Value[int]) -> int:",
        "count: sf.Value[int], at: sf.Context[tuple[str, str]]) -> sf.Outgoing[tuple[str, str], "
        "int]:",
        Found(("departures",), "<timestamp>"),
    ),
    "None for a value": Mutant(
        "kind.key)\n    return total.value",
        "kind.key)\n    return total.value if total.value.left % 2 else None",
        Found(("weather_delay",), "", "missing"),
    ),
    "rounding": Mutant(
        "self.minutes + (late or 0))",
        "self.minutes + round(late or 0, -1))",
        Found(("carrier_delay", "weather_delay"), "minutes"),
    ),
    "a default": Mutant(
        "minutes: int = 0",
        "minutes: int = 1",
        Found(("carrier_delay", "weather_delay"), "minutes"),
    ),
    "the first report, not the last": Mutant(
        "reports.get(hour) or next(reports.values(end=hour, reverse=True), None)",
        "next(reports.values(end=hour), None)",
        Found(("with_weather",), "weather.time_hour"),
    ),
    "a kind is forgotten": Mutant(
        'if met.weather else "unknown"',
        'if met.weather and met.weather.kind != "fair" else "unknown"',
        Found(("by-weather",), "<key>"),
        live=Found(("by-weather",), "", "missing"),
    ),
}

TIMED: Final = (
    "    return count.value\n",
    "    return hourly_departures.record(\n        key=at.key, value=count.value, "
    "timestamp_ms=at.timestamp_ms + 1\n    )\n",
)


def changed(mutant: Mutant) -> tuple[str, str]:
    """The program as it is to be, and with the mistake."""
    before = replaced(PROGRAM.read_text(), *mutant.base)
    after = replaced(before, mutant.old, mutant.new)
    if mutant.found.field == "<timestamp>":
        after = replaced(after, *TIMED)
    return before, after


def replaced(text: str, old: str, new: str) -> str:
    """The text with a change."""
    assert not old or text.count(old) == 1, old
    return text.replace(old, new) if old else text
